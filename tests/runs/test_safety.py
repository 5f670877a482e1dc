"""Nothing of a run, and nothing of others, is lost or replaced without being asked for."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import pytest

from ppo_jax.cli import main
from ppo_jax.runs import checkpoint, files, lock, loop, manifest, run_folder, runner
from ppo_jax.runs.contents import LINES
from ppo_jax.types import PPOJaxError
from tests import toys
from tests.cli.console import call, fail
from tests.runs.test_resume import TOY, assert_same, kill_at, lines, resume
from tests.runs.test_runner import CARTPOLE, Stop, snapshot

train = runner.train


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("safety") / "run"
    train(TOY, folder, progress=False)
    return folder


@pytest.fixture
def copied(run, tmp_path) -> Path:
    return shutil.copytree(run, tmp_path / "copied")


def overwrite(folder: Path, config=TOY) -> None:
    train(config, folder, overwrite=True, progress=False)


# ------------------------------------------------------------------------------------------------ nothing of others


@pytest.mark.parametrize("name", ["summary.json", "config.toml", "environment.json"])
def test_a_folder_is_no_run_for_a_file_of_its_name(tmp_path, name):
    (tmp_path / name).write_text("{}")
    before = snapshot(tmp_path)
    with pytest.raises(PPOJaxError, match="in use by something else than a run"):
        overwrite(tmp_path)
    assert snapshot(tmp_path) == before


def test_overwriting_keeps_what_the_run_did_not_write(copied, monkeypatch):
    others = [
        "notes.md",
        "checkpoints/mine.bin",
        "checkpoints/resume/mine.bin",
        "tensorboard/mine.txt",
        ".hidden.1.txt",
    ]
    (copied / "tensorboard").mkdir()
    (copied / "tensorboard" / "events.out.tfevents.1").write_text("of the run")
    for name in others:
        (copied / name).write_text(name)
    monkeypatch.setattr(loop, "fit", Stop(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        overwrite(copied)
    assert {str(path) for path in snapshot(copied)} == {"config.toml", "environment.json", "summary.json", *others}


@pytest.mark.parametrize("name", ["", "checkpoints", "metrics.jsonl", "checkpoints/best"])
def test_overwriting_follows_no_link(copied, tmp_path, name):
    elsewhere = (copied / name).rename(tmp_path / "elsewhere")
    (copied / name).symlink_to(elsewhere)
    before = snapshot(tmp_path)
    with pytest.raises(PPOJaxError, match="is a link, and --overwrite follows none"):
        overwrite(copied)
    assert snapshot(tmp_path) == before


@dataclasses.dataclass(frozen=True)
class Untraceable(toys.Probe):
    def step(self, key, state, action, params):
        raise ZeroDivisionError("in the environment")


def test_an_environment_that_cannot_be_traced_costs_nothing(copied):
    before = snapshot(copied)
    with pytest.raises(PPOJaxError, match="step raised ZeroDivisionError: in the environment"):
        overwrite(copied, TOY.override({"env_id": "tests.runs.test_safety:Untraceable"}))
    assert snapshot(copied) == before


def test_what_a_kill_left_does_not_occupy_a_folder(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    (folder / manifest.STAGE).mkdir(parents=True)
    for name in (".summary.json.4711", ".config.toml.4711.new", lock.LOCK, f"{manifest.STAGE}/config.toml"):
        (folder / name).write_text("{")
    monkeypatch.setattr(loop, "fit", Stop(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(TOY, folder, progress=False)
    assert {path.name for path in folder.iterdir()} == {"config.toml", "environment.json", "summary.json"}


@pytest.mark.parametrize("name", ["summary", "config.toml", "metrics.jsonl", "checkpoints/best/ocdbt.process_0/d/x"])
def test_no_policy_is_exported_over_a_file_of_a_run(copied, name):
    before = snapshot(copied)
    assert "is a file of a run, which is not replaced" in fail("export", copied, "--out", copied / name)
    assert snapshot(copied) == before


def test_nothing_is_played_over_a_file_of_a_run(copied, tmp_path):
    (tmp_path / "link").symlink_to(copied)
    for folder in (copied, tmp_path / "link"):
        assert "is a file of a run" in fail("play", copied, "--out", folder / "config.toml")


def test_reuse_never_replaces(run, tmp_path):
    (tmp_path / "other.toml").write_text(TOY.override({"gamma": 0.5, "seed": 1}).to_toml())
    for status in ('{"status": "interrupted"}', '{"status": "compl', (run / "summary.json").read_text()):
        folder = shutil.copytree(run, tmp_path / "run", dirs_exist_ok=True)
        (folder / "summary.json").write_text(status)
        before = snapshot(folder)
        told = fail("train", tmp_path / "other.toml", "--run-dir", folder, "--reuse")
        assert "holds a run of another configuration (ppo.gamma, run.seed); choose another --run-dir" in told
        assert snapshot(folder) == before


def test_reuse_goes_on_with_other_settings_of_writing(run, tmp_path):
    kill_at(tmp_path / "run", 8)
    (tmp_path / "a.toml").write_text(TOY.override({"checkpoint_interval": 5}).to_toml())
    assert call("train", tmp_path / "a.toml", "--run-dir", tmp_path / "run", "--reuse", "--quiet").code == 0
    assert_same(tmp_path / "run", run)
    assert "checkpoint_interval = 5" in (tmp_path / "run" / "config.toml").read_text()


def test_validate_never_replaces(copied, tmp_path):
    folder = copied.rename(tmp_path / "s0")
    (folder / "summary.json").write_text('{"status": "interrupted"}')
    (tmp_path / "a.toml").write_text(TOY.override({"gamma": 0.5}).to_toml())
    before = snapshot(folder)
    command = ("validate", tmp_path / "a.toml", "--run-dir", tmp_path, "--limit", "early_stopped=1")
    assert "another configuration (ppo.gamma)" in fail(*command)
    assert snapshot(folder) == before


# --------------------------------------------------------------------------------------------------- going on


def stopped(folder: Path, **summary) -> Path:
    (folder / "summary.json").write_text(json.dumps({"status": "running", **summary}))
    return folder


def refused(folder: Path) -> str:
    before = snapshot(folder)
    told = fail("resume", folder)
    assert snapshot(folder) == before
    return told


def test_checkpoints_that_cannot_be_read_are_no_reason_to_begin_anew(copied):
    for one in (stopped(copied) / "checkpoints" / "resume").iterdir():
        (one / "record" / "metadata").write_text("{}")
    told = refused(copied)
    assert "cannot go on: no checkpoint can be read:" in told
    assert "update 12 is damaged (record/metadata is not as it was written) and 1 more; nothing was changed" in told
    assert f"ppo-jax train {copied / 'config.toml'} --run-dir {copied} --overwrite" in told


@pytest.mark.parametrize("gone", ["checkpoints", "checkpoints/resume"])
def test_nor_are_checkpoints_that_are_gone(copied, gone):
    shutil.rmtree(stopped(copied) / gone)
    assert "holds no checkpoint any more; nothing was changed" in refused(copied)


def test_other_arithmetic_is_named_and_the_run_kept(copied):
    stopped(copied)
    with jax.enable_x64(True):
        told = refused(copied)
    assert "float32[1] there, float64[1] here" in told
    assert told.endswith("the configuration or JAX's settings (JAX_ENABLE_X64, …) are other than they were\n")


def test_another_kind_of_random_keys_is_named_and_the_run_kept(copied):
    stopped(copied)
    with jax.default_prng_impl("rbg"):
        assert "state.key is uint32[2] there, uint32[4] here" in refused(copied)


def test_a_run_with_nothing_left_to_train_is_judged(copied, run, capsys):
    stopped(copied)
    shutil.rmtree(copied / "checkpoints" / "last")
    assert main(["resume", str(copied), "--quiet"]) == 0
    assert "compiling" in capsys.readouterr().out
    assert_same(copied, run)


def test_lines_are_on_disk_before_the_checkpoint_that_follows_them(tmp_path, monkeypatch):
    synced, checkpoints, sync, save = set(), [], files.sync, checkpoint.Checkpoints.save

    def saves(self, update, *rest):
        checkpoints.append(update)
        assert synced >= {*LINES}
        synced.clear()
        save(self, update, *rest)

    monkeypatch.setattr("ppo_jax.runs.loggers.sync", lambda path: (synced.add(path.name), sync(path)))
    monkeypatch.setattr(checkpoint.Checkpoints, "save", saves)
    train(TOY, tmp_path / "run", progress=False)
    assert checkpoints


def test_a_run_whose_lines_have_holes_is_named(tmp_path):
    kill_at(tmp_path / "run", 8)
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in lines(path) if row["update"] not in (2, 4)))
    summary = resume(tmp_path / "run", warned=(warned := []))
    hole = "metrics.jsonl: of updates 2 to 4, 2 are missing or there twice"
    assert warned == [f"{tmp_path / 'run'}/{hole}; the run will not count as completed"]
    assert (summary["status"], summary["error"]) == ("failed", hole)
    assert run_folder.holes(tmp_path / "run", 12) == hole


def test_a_longer_run_that_is_stopped_keeps_the_results_of_the_shorter(copied, run, monkeypatch):
    before = json.loads((run / "summary.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(loop, "compile_chunk", Stop(KeyboardInterrupt))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                resume(copied, "total_timesteps=640")
            summary = json.loads((copied / "summary.json").read_text())
            assert (summary["status"], summary["tested_update"]) == ("interrupted", 12)
            assert all(summary[name] == before[name] for name in ("valid", "test", "test_last", "best_update"))
    assert "tested_update" not in resume(copied)
    assert call("train", run / "config.toml", "--run-dir", copied, "--reuse").code == 2  # it is another, longer, now


def test_ctrl_c_before_there_is_a_run_advises_no_resume(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text(CARTPOLE.to_toml())
    monkeypatch.setattr(runner.mesh, "resolve", Stop(KeyboardInterrupt))
    result = call("train", tmp_path / "a.toml", "--run-dir", tmp_path / "run")
    assert (result.code, result.err) == (130, "interrupted\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("key", "what"), [("dataset_sha256", "data set"), ("prior_sha256", "prior")])
def test_a_run_of_other_data_is_refused_in_a_line_that_names_both(copied, key, what):
    environment = json.loads((copied / "environment.json").read_text()) | {key: "a" * 64}
    (copied / "environment.json").write_text(json.dumps(environment))
    stopped(copied)
    for command in (["resume"], ["eval"], ["export"], ["play"]):
        told = fail(*command, copied)
        assert f"its {what}" in told and "is another than the run began with: sha256 aaaaaaaaaaaaaaaa… then" in told


def test_a_run_in_a_folder_of_any_name(run, tmp_path):
    folder = tmp_path / "lr=[1e-3] {a}*?%20\n#é"
    kill_at(folder, 8)
    resume(folder, warned=(warned := []))
    assert warned == []
    assert_same(folder, run)
    assert call("eval", folder).code == 0
