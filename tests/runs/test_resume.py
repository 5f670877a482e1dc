"""A run that was stopped, killed or damaged goes on to the bit; a loss that is not finite stops it or is skipped."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.cli import main
from ppo_jax.config import Config, from_dict, load_config
from ppo_jax.proving import datasets
from ppo_jax.proving.priors.embeddings import ComplEx
from ppo_jax.proving.priors.prior import save_prior
from ppo_jax.proving.priors.projection import principal_components
from ppo_jax.runs import checkpoint, files, loggers, loop, recorder, runner
from ppo_jax.runs.experiment import build
from ppo_jax.types import PPOJaxError
from tests import toys
from tests.cli.console import write_data

REPOSITORY = Path(__file__).parents[2]
TOY = from_dict(
    {
        "task": {"env_id": "tests.toys:ObservedReward"},
        "ppo": {
            **{"total_timesteps": 384, "n_envs": 4, "n_steps": 8, "n_epochs": 2, "batch_size": 16},
            **{"learning_rate": {"init": 1e-2, "final": 1e-4}, "normalize_observations": True},
            **{"normalize_rewards": True, "normalize_values": True},
        },
        "network": {"hidden_sizes": [8]},
        "evaluation": {"eval_interval": 2, "eval_episodes": 4},
        "run": {"checkpoint_interval": 3},
    }
)  # 12 updates; checkpoints after chunks that pass 3, 6, 9 and at the end
MEMORY = TOY.override(
    {
        **{"env_id": "tests.toys:RememberedSign", "core": "gru", "core_size": 8},
        **{"total_timesteps": 144, "n_steps": 6, "sequence_length": 3, "batch_size": 12},
    }
)  # 6 updates, a checkpoint after 3; an episode takes 4 steps, so that rollouts end within episodes
BIT_EQUAL = ("metrics.jsonl", "eval.jsonl")


class Killed(BaseException):
    """Stands for a process that ends without a chance to tidy up."""


def train(folder: Path, config: Config = TOY) -> dict:
    return runner.train(config, folder, progress=False)


def resume(folder: Path, *assignments: str, warned: list[str] | None = None) -> dict:
    warn = (lambda text: None) if warned is None else warned.append
    return runner.resume(folder, assignments, progress=False, warn=warn)


def kill_at(folder: Path, update: int, config: Config = TOY) -> None:
    """Train until the line of `update` is written, then stop without saving anything more."""
    with pytest.MonkeyPatch.context() as patch:
        write = loggers.JSONLines.write

        def deadly(self, row):
            write(self, row)
            if self._path.name == "metrics.jsonl" and row["update"] == update:
                raise Killed

        patch.setattr(loggers.JSONLines, "write", deadly)
        patch.setattr(loop, "CHUNK_SECONDS", 0.0)
        with pytest.raises(Killed):
            train(folder, config)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def parameters(folder: Path, which: str = "last") -> list[np.ndarray]:
    _, params = runner.load(folder, which)
    return [np.asarray(x) for x in jax.tree.leaves(params)]


def assert_same(resumed: Path, whole: Path) -> None:
    for name in BIT_EQUAL:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    for which in ("best", "last"):
        for a, b in zip(parameters(resumed, which), parameters(whole, which), strict=True):
            np.testing.assert_array_equal(a, b)
    assert without_clocks(resumed) == without_clocks(whole)


def without_clocks(folder: Path) -> dict:
    clocks = {"compile_seconds", "train_seconds", "valid_seconds", "test_seconds", "steps_per_second"}
    return {k: v for k, v in json.loads((folder / "summary.json").read_text()).items() if k not in clocks}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder)
    return folder


@pytest.mark.parametrize("update", [1, 4, 9, 12])
def test_a_killed_run_goes_on_to_the_bit(whole, tmp_path, update):
    kill_at(tmp_path / "run", update)
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("chunk_seconds", [0.0, 1e9])
def test_chunks_and_logging_may_differ_after_the_kill(whole, tmp_path, monkeypatch, chunk_seconds):
    kill_at(tmp_path / "run", 7)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", chunk_seconds)
    resume(tmp_path / "run", "checkpoint_interval=5", "checkpoint_keep=1")
    assert_same(tmp_path / "run", whole)
    assert load_config(tmp_path / "run" / "config.toml").run.checkpoint_interval == 5


def test_a_run_killed_again_and_again_goes_on_to_the_bit(whole, tmp_path, monkeypatch):
    kill_at(tmp_path / "run", 4)
    write = loggers.JSONLines.write
    for update in (5, 8, 8, 11):

        def deadly(self, row, update=update):
            write(self, row)
            if self._path.name == "eval.jsonl" and row["update"] >= update:
                raise Killed

        monkeypatch.setattr(loggers.JSONLines, "write", deadly)
        with pytest.raises(Killed):
            resume(tmp_path / "run")
    monkeypatch.setattr(loggers.JSONLines, "write", write)
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


def test_a_run_killed_while_it_was_tested_is_only_tested_again(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "test_context", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        train(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "last")  # as if killed before it was written
    monkeypatch.undo()
    monkeypatch.setattr(loop, "compile_chunk", None)  # not called
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


def test_a_killed_run_with_a_memory_goes_on_to_the_bit(tmp_path):
    train(tmp_path / "whole", MEMORY)
    kill_at(tmp_path / "run", 5, MEMORY)
    standing, *_ = recorder.restore(build(MEMORY), tmp_path / "run")
    rollout = standing.state.rollout
    assert standing.update == 3 and not rollout.start.any()
    assert all(x.any() for x in jax.tree.leaves(rollout.carry))  # what was seen of the episodes that go on
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_run_that_uses_a_prior_goes_on_to_the_bit_and_loads(tmp_path):
    """Rewards are shaped, and embeddings begin from the prior; a trained policy has its own, whatever those were."""
    data = write_data(tmp_path / "data", valid="in(c,n).", test="in(z,s).")
    kb = (dataset := datasets.load(data)).kb
    draw = np.random.default_rng(0).normal
    entities, relations = draw(size=(len(kb.constants) + 1, 6)), draw(size=(2, len(kb.predicates) + 1, 6))
    save_prior(tmp_path / "prior.npz", ComplEx(entities, relations), dataset)
    config = from_dict(
        {
            "task": {"dataset": str(data), "prior": str(tmp_path / "prior.npz"), "shaping": 2.0, "max_depth": 3},
            "ppo": {"total_timesteps": 96, "n_envs": 4, "n_steps": 8, "n_epochs": 2, "batch_size": 16},
            "network": {
                **{"hidden_sizes": [8], "embedding_size": 4, "constants": True},
                "initial_embeddings": "prior",
            },
            "evaluation": {"beam_width": 4, "untrained_networks": 0},
            "run": {"checkpoint_interval": 1},
        }
    )  # 3 updates
    train(tmp_path / "whole", config)
    kill_at(tmp_path / "run", 2, config)
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")

    experiment, params = runner.load(tmp_path / "run", "last")
    terms = experiment.untrained(0).params["params"]["actor"]["atoms"]["terms"]
    begun = principal_components(np.pad(entities[1:].astype(np.float32), ((1, 0), (0, 0))), 4)
    np.testing.assert_allclose(terms[1 : len(begun)], 0.1 * begun[1:], atol=1e-6)
    assert not np.allclose(params.params["params"]["actor"]["atoms"]["terms"], terms)
    save_prior(tmp_path / "prior.npz", ComplEx(2.0 - entities, relations), dataset)
    _, again = runner.load(tmp_path / "run", "last")
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_half_lines_and_lines_after_the_checkpoint_are_replayed_not_doubled(whole, tmp_path):
    kill_at(tmp_path / "run", 8)
    assert [row["update"] for row in lines(tmp_path / "run" / "metrics.jsonl")] == list(range(1, 9))
    for name in BIT_EQUAL:
        with open(tmp_path / "run" / name, "a") as file:
            file.write('{"update": 9, "env_st')
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)
    assert [row["update"] for row in lines(tmp_path / "run" / "timing.jsonl")][-1] == 12


def damage(folder: Path, how: str) -> None:
    """Spoil the newest checkpoint: cut its largest file, flip a bit there, or take its commit marker away."""
    newest = max((folder / "checkpoints" / "resume").iterdir(), key=lambda path: int(path.name))
    files = sorted((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    if how == "half":
        files[-1].write_bytes(files[-1].read_bytes()[: files[-1].stat().st_size // 2])
    elif how == "other numbers":
        stored = checkpoint.Checkpoints(folder / "checkpoints" / "resume", keep=2)
        record = json.loads(next(newest.rglob("record/metadata")).read_text())
        next(newest.rglob("record/metadata")).write_text(json.dumps(record | {"sha256": "0" * 64}))
        stored.close()
    else:
        for path in files:
            if path.name == "_CHECKPOINT_METADATA":
                path.unlink()
        shutil.rmtree(newest / "record")


@pytest.mark.parametrize("how", ["half", "other numbers", "no record"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(whole, tmp_path, how):
    kill_at(tmp_path / "run", 8)
    damage(tmp_path / "run", how)
    resume(tmp_path / "run", warned=(warned := []))
    assert len(warned) == 1
    assert "the checkpoint of update 6 is damaged" in warned[0]
    assert warned[0].endswith("trying the one before it")
    assert_same(tmp_path / "run", whole)


def test_without_any_checkpoint_a_run_starts_again_and_says_so(whole, tmp_path):
    kill_at(tmp_path / "run", 2)
    resume(tmp_path / "run", warned=(warned := []))
    assert warned == [f"{tmp_path / 'run'}: no checkpoint to go on from; starting from the beginning"]
    assert_same(tmp_path / "run", whole)


def test_another_configuration_is_refused_by_the_names_of_its_fields(tmp_path):
    kill_at(tmp_path / "run", 8)
    path = tmp_path / "run" / "config.toml"
    path.write_text(TOY.override({"gamma": 0.5, "hidden_sizes": [4]}).to_toml())
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(PPOJaxError, match=r"made with another ppo\.gamma, network\.hidden_sizes; restore config\.toml"):
        resume(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("assignment", ["gamma=0.5", "seed=3", "n_envs=8"])
def test_settings_cannot_change_in_the_middle(whole, assignment):
    with pytest.raises(PPOJaxError, match=assignment.split("=")[0] + " cannot change in the middle of a run"):
        resume(whole, assignment)


def test_other_library_versions_and_other_code_are_a_warning_that_names_them(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    environment = json.loads((folder / "environment.json").read_text())
    environment["versions"]["jax"] = "0.1"
    assert environment["code"]["env"].startswith("tests.toys.ObservedReward#")
    environment["code"]["env"] += "0"
    (folder / "environment.json").write_text(json.dumps(environment))
    resume(folder, "total_timesteps=416", warned=(warned := []))
    assert warned[0].startswith("other library versions than the run began with: jax 0.1 → ")
    assert warned[1] == f"{folder}: its env tests.toys.ObservedReward is not what it began with: other code"


def test_a_run_is_made_longer_and_says_what_its_schedules_do(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    summary = resume(folder, "total_timesteps=640", warned=(warned := []))
    told = "learning_rate was 0.000925 and goes on at 0.00406"
    assert warned == [f"schedules run over 640 steps from update 12 on: {told}"]
    assert (summary["status"], summary["updates"], summary["env_steps"]) == ("completed", 20, 640)
    rows = lines(folder / "metrics.jsonl")
    assert [row["update"] for row in rows] == list(range(1, 21))
    assert rows[:12] == lines(whole / "metrics.jsonl")
    rate = lambda done: 1e-2 + (1e-4 - 1e-2) * done  # noqa: E731
    np.testing.assert_allclose(rows[11]["learning_rate"], rate(11 / 12), rtol=1e-5)
    np.testing.assert_allclose(rows[12]["learning_rate"], rate(12 / 20), rtol=1e-5)
    assert load_config(folder / "config.toml").ppo.total_timesteps == 640
    with pytest.raises(PPOJaxError, match="only be made longer"):
        resume(folder, "total_timesteps=64")


def test_a_rate_that_follows_kl_goes_on_from_where_it_was(tmp_path):
    rate = {"shape": "kl_adaptive", "init": 1e-3, "desired_kl": 1e-2}
    train(tmp_path / "run", TOY.override({"learning_rate": rate, "eval_interval": 0, "total_timesteps": 96}))
    resume(tmp_path / "run", "total_timesteps=192", warned=(warned := []))
    assert warned == []  # no schedule rises again
    rates = [row["learning_rate"] for row in lines(tmp_path / "run" / "metrics.jsonl")]
    np.testing.assert_allclose(rates, 1e-3 * 1.5 ** np.arange(6), rtol=1e-5)  # so small a rate moves nothing


def test_a_completed_run_and_a_folder_without_one(whole, tmp_path, capsys):
    with pytest.raises(PPOJaxError, match="this run is complete"):
        resume(whole)
    assert main(["resume", str(whole)]) == 0
    assert "This run is complete; to make it longer: --set total_timesteps=N" in capsys.readouterr().err
    assert main(["resume", str(tmp_path)]) == 2
    assert "no run there (no config.toml)" in capsys.readouterr().err


def test_checkpoints_by_minutes_and_how_many_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    every_chunk = TOY.override({"checkpoint_interval": 0, "checkpoint_minutes": 1e-9, "checkpoint_keep": 3})
    train(tmp_path / "often", every_chunk)
    assert {path.name for path in (tmp_path / "often" / "checkpoints" / "resume").iterdir()} == {"10", "11", "12"}
    train(tmp_path / "never", TOY.override({"checkpoint_interval": 0, "checkpoint_minutes": 0}))
    assert {path.name for path in (tmp_path / "never" / "checkpoints" / "resume").iterdir()} == {"12"}


# ---------------------------------------------------------------------------------------------------- not finite


@dataclasses.dataclass(frozen=True)
class Poison(toys.Probe):
    """Reward NaN in one step of all, when an environment has taken `at` steps; 1 otherwise."""

    at: int = 44

    def reset(self, key, params):
        observation, state = toys.Probe().reset(key, params)
        return observation, (state, jnp.zeros((), jnp.int32))

    def step(self, key, state, action, params):
        inner, count = state
        step = toys.Probe().step(key, inner, action, params)
        reward = jnp.where(count == self.at, jnp.nan, step.reward)
        return step._replace(state=(step.state, count + 1), reward=reward)


POISONED = TOY.override(
    {"env_id": "tests.runs.test_resume:Poison", "normalize_rewards": False, "normalize_values": False}
)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    with pytest.raises(PPOJaxError, match="update 6: policy_loss is not finite; the checkpoint of update 3 is kept"):
        train(tmp_path / "run", POISONED)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
    assert lines(tmp_path / "run" / "metrics.jsonl")[-1]["update"] == 6
    assert [path.name for path in (tmp_path / "run" / "checkpoints" / "resume").iterdir()] == ["3"]
    summary = resume(tmp_path / "run", "on_nan=skip")
    assert (summary["status"], summary["updates_skipped"]) == ("completed", 1)


def test_such_an_update_is_skipped_inside_the_program_and_counted(tmp_path):
    summary = train(tmp_path / "run", POISONED.override({"on_nan": "skip"}))
    rows = lines(tmp_path / "run" / "metrics.jsonl")
    assert [row["update_skipped"] for row in rows] == [float(update == 6) for update in range(1, 13)]
    assert rows[5]["value_loss"] is None
    assert rows[6]["value_loss"] is not None
    assert summary["updates_skipped"] == 1
    assert all(np.isfinite(x).all() for x in parameters(tmp_path / "run"))


def test_skipping_changes_nothing_where_all_is_finite(well_compiled, tmp_path):
    for on_nan in ("stop", "skip"):
        train(tmp_path / on_nan, TOY.override({"on_nan": on_nan}))
    for a, b in zip(parameters(tmp_path / "stop"), parameters(tmp_path / "skip"), strict=True):
        np.testing.assert_array_equal(a, b)


# -------------------------------------------------------------------------------------------------- real signals


def start(folder: Path, config: Config) -> subprocess.Popen:
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "experiment.toml"
    file.write_text(config.to_toml())
    command = [sys.executable, "-m", "ppo_jax", "train", str(file), "--run-dir", str(folder), "--quiet", "--reuse"]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for_line(process: subprocess.Popen, path: Path, count: int) -> None:
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


# Every update is judged, which makes the run long enough to be hit.
LONG = TOY.override({"total_timesteps": 1280, "eval_interval": 1})


@pytest.fixture(scope="module")
def whole_long(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("long") / "run"
    train(folder, LONG)
    return folder


def test_a_run_stopped_by_each_signal_in_turn_loses_nothing(whole_long, tmp_path):
    folder = tmp_path / "run"
    at_a_checkpoint = f"interrupted; go on with: ppo-jax resume {folder}\n"
    stops = [(signal.SIGTERM, 143, at_a_checkpoint), (signal.SIGINT, 130, at_a_checkpoint), (signal.SIGKILL, -9, "")]
    for i, (number, code, said) in enumerate(stops):
        with start(folder, LONG) as process:
            wait_for_line(process, folder / "metrics.jsonl", 5 + 10 * i)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (code, said)
        summary = files.read_summary(folder)
        assert summary["status"] == ("running" if number == signal.SIGKILL else "interrupted")
        if number != signal.SIGKILL:
            assert (folder / "checkpoints" / "resume" / str(summary["updates"])).is_dir()
    resume(folder)
    assert_same(folder, whole_long)


def killed(folder: Path, count: int, moment: float) -> bool:
    """Kill −9 a process `moment` seconds after `count` lines of metrics; whether that came before its end."""
    with start(folder, LONG) as process:
        wait_for_line(process, folder / "metrics.jsonl", count)
        time.sleep(moment)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    return files.read_summary(folder).get("status") != "completed"


@pytest.mark.slow
def test_kill_9_at_25_random_moments_loses_nothing(whole_long, tmp_path):
    """Every third after the last line, where the last evaluation, the test and the summary are left to do."""
    total = len(lines(whole_long / "metrics.jsonl"))
    moments = random.Random(0)
    for i in range(25):
        folder, at_the_end = tmp_path / str(i) / "run", i % 3 == 2
        count = total if at_the_end else moments.randint(1, total - 5)
        moment = moments.uniform(0.0, 1.0 if at_the_end else 0.1)
        while not killed(folder, count, moment):
            shutil.rmtree(folder)
            moment /= 2
        print(f"{i}: killed {moment:.3f} s after line {count} of {total}")  # shown by -s
        resume(folder)
        assert_same(folder, whole_long)


@pytest.mark.parametrize("name", ["cartpole", "countries"])
def test_the_parameters_of_an_old_run_load(well_compiled, name):
    folder = REPOSITORY / "tests" / "fixtures" / "old_runs" / name
    experiment, params = runner.load(folder, assignments={"n_queries": None})
    recorded = json.loads((folder / "summary.json").read_text())["valid"]
    if name == "countries":  # the version that wrote it judged six of the 24 queries; of all it says this
        recorded["greedy"]["mrr"] = 0.9338888888888889
    score = experiment.task.results.score
    assert score(experiment.evaluate(params, "valid"))[0] == pytest.approx(score(recorded)[0], rel=1e-3)


def test_a_checkpoint_of_an_earlier_version_is_refused_and_kept(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "FORMAT", None)  # as when checkpoints did not say theirs
        train(tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(PPOJaxError, match="its checkpoint was written by an earlier version"):
        runner.resume(tmp_path / "run", {"total_timesteps": 10 * TOY.ppo.total_timesteps}, progress=False)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
