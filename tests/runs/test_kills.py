"""A process killed before any of its file operations leaves a run that is whole or goes on; never neither."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ppo_jax.config import from_dict, load_config
from ppo_jax.runs import loop, manifest
from tests.cli.console import Result, call
from tests.runs.kills import operations

CONFIG = from_dict(
    {
        "task": {"env_id": "CartPole-v1"},
        "ppo": {"total_timesteps": 32, "n_envs": 2, "n_steps": 4, "n_epochs": 1, "batch_size": 8},
        "network": {"hidden_sizes": [4]},
        "evaluation": {"eval_interval": 2, "eval_episodes": 1},
        "run": {"checkpoint_interval": 1, "checkpoint_minutes": 0},
    }
)  # 4 updates, evaluated after 2 and 4, a checkpoint after each
LONGER = ("--set", "total_timesteps=48")
BITS = ("metrics.jsonl", "eval.jsonl", "config.toml")


@pytest.fixture(scope="module", autouse=True)
def one_compilation() -> Iterator[None]:
    """Runs of one length share a program; one update at a time, so that operations have an order."""
    with pytest.MonkeyPatch.context() as patch:
        compiled, compile_chunk = {}, loop.compile_chunk

        def once(trainer, *arguments):
            length = trainer.settings.n_updates
            if length not in compiled:
                compiled[length] = compile_chunk(trainer, *arguments)
            return compiled[length]

        patch.setattr(loop, "compile_chunk", once)
        patch.setattr(loop, "CHUNK_SECONDS", 0.0)
        yield


@dataclass(frozen=True)
class Place:
    """The files that the commands below name, and runs that were not killed."""

    root: Path

    def config(self, name: str) -> Path:
        return self.root / f"{name}.toml"

    def reference(self, name: str) -> Path:
        return self.root / name


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("place"))
    for name, gamma in (("old", 0.9), ("new", 0.99)):
        place.config(name).write_text(CONFIG.override({"gamma": gamma}).to_toml())
        assert train(place, name, place.reference(name)) == 0
    trial = CONFIG.override({"gamma": 0.9, "checkpoint_interval": 0})  # no trial goes on by itself
    place.config("search").write_text(f"{trial.to_toml()}[search]\ngamma = {{ low = 0.5, high = 0.9 }}\n")
    shutil.copytree(place.reference("old"), place.reference("longer"))
    assert call("resume", place.reference("longer"), *LONGER, "--quiet").code == 0
    assert sweep(place, place.reference("sweep")) == 0
    stopped = shutil.copytree(place.reference("old"), place.root / "stopped")  # as if killed after its second update
    shutil.rmtree(stopped / "checkpoints" / "resume" / "4")
    (stopped / "summary.json").write_text('{"status": "running"}')
    return place


def train(place: Place, name: str, folder: Path, *options: str) -> int:
    return call("train", place.config(name), "--run-dir", folder, "--quiet", *options).code


def is_same(folder: Path, reference: Path) -> bool:
    """Whether a run ended as one that was not killed, and a later start clears away whatever else lies about."""
    with manifest.claimed(folder):
        pass
    summary, other = (json.loads((one / "summary.json").read_text()) for one in (folder, reference))
    results = ("status", "updates", "valid", "test", "test_last", "best_update", "final", "baselines")
    return (
        all((folder / name).read_bytes() == (reference / name).read_bytes() for name in BITS)
        and all(summary[name] == other[name] for name in results)
        and not [path for path in folder.rglob("*") if path.name.startswith(".")]
    )


def goes_on(folder: Path) -> bool:
    return call("resume", folder, "--quiet").code == 0


@dataclass(frozen=True)
class Command:
    """A command, what its folder holds before, and what must be true of the folder after its death."""

    before: str | None
    run: Callable[[Place, Path], object]
    holds: Callable[[Place, Path], bool]


def begun_or_not(place: Place, folder: Path) -> bool:
    again = "resume" if manifest.holds_run(manifest.settled(folder)) else "train"
    assert goes_on(folder) if again == "resume" else train(place, "new", folder) == 0
    return is_same(folder, place.reference("new"))


def one_of_both(place: Place, folder: Path) -> bool:
    assert goes_on(folder)
    which = "new" if "gamma = 0.99\n" in (folder / "config.toml").read_text() else "old"
    return is_same(folder, place.reference(which))


def ends_as(name: str, *resumed: str) -> Callable[[Place, Path], bool]:
    def check(place: Place, folder: Path) -> bool:
        result = call("resume", folder, "--quiet", *resumed)
        assert result.code == 0 or "this run is complete" in result.err
        return is_same(folder, place.reference(name))

    return check


def reports_again(place: Place, folder: Path) -> bool:
    assert call("report", folder).code == 0
    return (folder / "report.html").exists() and not list(folder.glob("report*.new"))


def validates_again(place: Place, folder: Path) -> bool:
    validate(place, folder)
    return is_same(folder / "s0", place.reference("new"))


def validate(place: Place, folder: Path) -> None:
    command = ("validate", place.config("new"), "--run-dir", folder, "--limit", "early_stopped=1", "--json")
    assert call(*command).code in (0, 1)


def sweep(place: Place, folder: Path) -> int:
    return call("sweep", place.config("new"), "--seeds", "2", "--run-dir", folder, "--chunk", "1", "--quiet").code


def sweeps_again(place: Place, folder: Path) -> bool:
    assert sweep(place, folder) == 0
    members = {name: folder / "members" / name for name in ("s0", "s1")}
    return all(is_same(member, place.reference("sweep") / "members" / name) for name, member in members.items())


def tune(place: Place, folder: Path) -> Result:
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder / "trials"))
        options = ("--trials", "2", "--seeds", "1", "--storage", f"sqlite:///{folder}/tune.db", "--json")
        return call("tune", place.config("search"), *options, "--study", "s", "--out", folder / "best.toml")


def tunes_again(place: Place, folder: Path) -> bool:
    """The study goes on to its two trials, and those that had ended are still what they were."""
    before = scores(folder / "tune.db")
    result = tune(place, folder)
    after = scores(folder / "tune.db")
    best = load_config(folder / "best.toml").ppo.gamma
    return (
        result.code == 0
        and len(after) == 2
        and before.items() <= after.items()
        and json.loads(result.out)["best"]["setting"] == {"gamma": best}
    )


def scores(database: Path) -> dict[int, float]:
    """Of the trials that were completed, by their number."""
    if not database.exists():
        return {}
    with closing(sqlite3.connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trial_values'").fetchall():
            return {}
        query = "SELECT number, value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'"
        return dict(connection.execute(query).fetchall())


COMMANDS = {
    "train": Command(None, lambda place, folder: train(place, "new", folder), begun_or_not),
    "overwrite": Command("old", lambda place, folder: train(place, "new", folder, "--overwrite"), one_of_both),
    "reuse": Command("stopped", lambda place, folder: train(place, "old", folder, "--reuse"), ends_as("old")),
    "resume": Command("stopped", lambda place, folder: goes_on(folder), ends_as("old")),
    "lengthen": Command(
        "old", lambda place, folder: call("resume", folder, *LONGER, "--quiet"), ends_as("longer", *LONGER)
    ),
    "validate": Command(None, validate, validates_again),
    "sweep": Command(None, sweep, sweeps_again),
    "tune": Command(None, tune, tunes_again),
    "report": Command("old", lambda place, folder: call("report", folder), reports_again),
}


def killed(place: Place, command: Command, root: Path, deadly: int | None) -> tuple[Path, list[str]]:
    """The folder after the command died before its operation `deadly`, and the operations that came to the disk."""
    folder = root / "run"
    if command.before is not None:
        shutil.copytree(place.reference(command.before), folder)
        (folder / "notes.txt").write_text("not of the run")
    with operations(root, deadly) as done:
        command.run(place, folder)
    return folder, done.seen


def check(place: Place, name: str, root: Path, deadly: int) -> None:
    folder, done = killed(place, COMMANDS[name], root, deadly)
    assert len(done) < deadly  # the checkpointer's threads make some operations more or fewer from time to time
    assert COMMANDS[name].holds(place, folder), f"{name}, killed before operation {deadly}, after {done[-3:]}"
    if COMMANDS[name].before is not None:
        assert (folder / "notes.txt").read_text() == "not of the run"


def count(place: Place, name: str, root: Path) -> int:
    folder, done = killed(place, COMMANDS[name], root, None)
    assert COMMANDS[name].holds(place, folder)
    return len(done)


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_a_few_of_its_operations(place, tmp_path, name):
    total = count(place, name, tmp_path / "whole")
    assert total > 5
    for deadly in random.Random(name).sample(range(1, total + 1), 2):
        check(place, name, tmp_path / str(deadly), deadly)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_every_operation(place, tmp_path, name):
    lost = []
    total = count(place, name, tmp_path / "whole")
    for deadly in range(1, total + 1):
        try:
            check(place, name, tmp_path / str(deadly), deadly)
        except AssertionError as error:
            lost.append(f"{deadly}: {error}")
        shutil.rmtree(tmp_path / str(deadly))
    print(f"{name}: killed {total} times")  # shown by -s
    assert not lost, f"{len(lost)} of {total}"
