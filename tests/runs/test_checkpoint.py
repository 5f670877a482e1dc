"""Checkpoints are the arrays that were written or one line that says they are not, wherever they lie."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ppo_jax.runs import checkpoint, files
from ppo_jax.types import PPOJaxError

TREE = {"a": np.arange(300.0, dtype=np.float32), "b": [np.ones((2, 2), np.int32), np.float32(3)]}
ODD = (
    *(
        "lr=[1e-3]",
        "[a]b",
        "a*b",
        "a?b",
        "{a}",
        "100%",
        "a%20b",
        "two\nlines",
        "a b",
        "été",
        "-x",
        "a\\b",
        "gs:",
        "a:b",
    ),
    *("~a", "#", "'", '"', "$HOME", "a;b|c&d"),
)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(x) for x in (tree["a"], *tree["b"])]


def assert_equal(found, tree=TREE) -> None:
    for a, b in zip(leaves(found), leaves(tree), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def newest(folder: Path):
    return checkpoint.newest(folder, {"state": TREE}, lambda record: None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoint.save(folder / "best", TREE)
    with checkpoint.Checkpoints(folder / "resume", keep=2) as checkpoints:
        checkpoints.save(3, {"state": TREE}, {"n": 3})
    return folder


def test_checksums_are_those_of_the_common_tool(saved):
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", checkpoint.SUMS], cwd=saved / "best", check=True)


def test_a_setting_that_was_not_there_yet_does_not_keep_a_checkpoint_from_being_read(saved):
    grown = {"state": TREE | {"new_coef": None}}
    stored, problems = checkpoint.newest(saved / "resume", grown, lambda record: None)
    assert_equal(stored.trees["state"])
    assert stored.trees["state"]["new_coef"] is None
    assert problems == []


def test_the_folder_of_a_checkpoint_may_have_any_name(tmp_path):
    for name in ODD:
        folder = tmp_path / name
        checkpoint.save(folder / "best", TREE)
        assert_equal(checkpoint.restore(folder / "best", TREE))
        with checkpoint.Checkpoints(folder / "resume") as checkpoints:
            checkpoints.save(3, {"state": TREE}, {"n": 3})
        stored, problems = newest(folder / "resume")
        assert (stored.update, stored.record["n"], problems) == (3, 3, [])
        assert_equal(stored.trees["state"])
    assert {path.name for path in tmp_path.iterdir()} == set(ODD)


def flipped(folder: Path, random: random.Random) -> str:
    """Flip a bit of some file, weighted by neither size nor kind."""
    file = random.choice(sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size))
    content = bytearray(file.read_bytes())
    bit = random.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    return f"{file.name}, bit {bit}"


def test_no_flipped_bit_is_silent_or_more_than_a_line(saved, tmp_path):
    moments = random.Random(0)
    for i in range(60):
        folder = shutil.copytree(saved, tmp_path / str(i))
        where = flipped(folder / "best", moments), flipped(folder / "resume" / "3", moments)
        with pytest.raises(checkpoint.Damaged, match=r"best: the checkpoint is damaged \(") as caught:
            checkpoint.restore(folder / "best", TREE)
        stored, (problem,) = newest(folder / "resume")
        assert stored is None, where
        assert "resume: the checkpoint of update 3 is damaged (" in problem
        assert "\n" not in str(caught.value) + problem


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine")  # orbax's own
def test_without_checksums_every_failure_is_a_line(saved, tmp_path):
    """As earlier versions wrote them: orbax and its storage raise what they like."""
    moments = random.Random(1)
    for i in range(30):
        folder = shutil.copytree(saved / "best", tmp_path / str(i))
        (folder / checkpoint.SUMS).unlink()
        if i == 0:
            assert_equal(checkpoint.restore(folder, TREE))
        flipped(folder, moments)
        try:
            checkpoint.restore(folder, TREE)
        except PPOJaxError as error:
            assert "\n" not in str(error)


def test_a_file_that_is_missing_or_longer_is_damage(saved, tmp_path):
    for i, change in enumerate((Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b"\0"))):
        folder = shutil.copytree(saved / "best", tmp_path / str(i))
        change(folder / "_METADATA")
        with pytest.raises(checkpoint.Damaged, match="_METADATA is not as it was written"):
            checkpoint.restore(folder, TREE)


def test_other_types_are_no_damage_but_named(saved):
    with pytest.raises(
        PPOJaxError, match=r"state\.a is float32\[300\] there, float64\[300\] here \(1 differ\)"
    ) as caught:
        checkpoint.newest(saved / "resume", {"state": TREE | {"a": TREE["a"].astype(np.float64)}}, lambda record: None)
    assert not isinstance(caught.value, checkpoint.Damaged)


def test_a_policy_is_there_at_every_moment_of_its_replacement(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "best", TREE)
    rename = files.os.rename

    def watched(source, target):
        rename(source, target)
        assert_equal(checkpoint.restore(tmp_path / "best", TREE))

    monkeypatch.setattr(files.os, "rename", watched)
    checkpoint.save(tmp_path / "best", TREE)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_what_cannot_be_written_is_a_line_and_leaves_nothing(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "best", TREE)

    def full(*_):
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device [errno=28]\nmany\nlines")

    monkeypatch.setattr(checkpoint, "_write_tree", full)
    with pytest.raises(PPOJaxError, match=r"best: cannot be written: No space left on device; what was there is unch"):
        checkpoint.save(tmp_path / "best", TREE)
    with pytest.raises(PPOJaxError, match="No space left"), checkpoint.Checkpoints(tmp_path / "resume") as checkpoints:
        checkpoints.save(1, {"state": TREE}, {})
    monkeypatch.undo()
    assert_equal(checkpoint.restore(tmp_path / "best", TREE))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "resume"]
    assert not list((tmp_path / "resume").iterdir())


def test_the_newest_are_kept_and_later_ones_go_with_their_lines(tmp_path):
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        for update in (1, 9, 10, 11):
            checkpoints.save(update, {"state": TREE}, {})
    assert checkpoint.updates(tmp_path) == [10, 11]
    checkpoint.discard_after(tmp_path, 10)
    assert checkpoint.updates(tmp_path) == [10]
