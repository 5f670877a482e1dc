"""A run from configuration to folder: what is written, that it repeats to the bit, and that nothing is lost."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import resource
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ppo_jax
from ppo_jax import ppo
from ppo_jax.cli import main
from ppo_jax.config import from_dict, load_config
from ppo_jax.runs import checkpoint, contents, files, loggers, loop, metric_table, recorder, runner
from ppo_jax.runs.experiment import Experiment, build
from ppo_jax.tasks import results
from ppo_jax.tasks.episode_results import EpisodeTaskResults
from ppo_jax.types import PPOJaxError
from tests import toys

CARTPOLE = from_dict(
    {
        "task": {"env_id": "CartPole-v1"},
        "ppo": {"total_timesteps": 224, "n_envs": 4, "n_steps": 8, "n_epochs": 2, "batch_size": 16},
        "network": {"hidden_sizes": [8]},
        "evaluation": {"eval_interval": 3, "eval_episodes": 4},
    }
)
FILES = {
    "config.toml",
    "metrics.jsonl",
    "eval.jsonl",
    "timing.jsonl",
    "summary.json",
    "environment.json",
    "checkpoints",
}
PROGRESS = {"status", "env_id", "seed", "env_steps", "updates"}
SPEED = {"compile_seconds", "train_seconds", "valid_seconds", "test_seconds", "steps_per_second"}
RESULTS = {"final", "best_update", "valid", "test", "test_last", "baselines"}
EPISODES = {"return_mean", "return_std", "length_mean", "episodes"}


def train(folder, config=CARTPOLE, **options):
    return runner.train(config, folder, progress=False, **options)


def read_lines(path):
    def refuse(constant):
        raise AssertionError(f"{path} holds {constant}, which is not JSON")

    lines = path.read_text().split("\n")
    assert lines.pop() == "", f"{path} does not end with a whole line"
    return [json.loads(line, parse_constant=refuse) for line in lines]


def read_summary(folder):
    return json.loads((folder / "summary.json").read_text())


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A completed run on CartPole: 7 updates, evaluated after 3, 6 and 7."""
    folder = tmp_path_factory.mktemp("runs") / "cartpole"
    train(folder)
    return folder


@pytest.fixture
def copied(run, tmp_path) -> Path:
    return shutil.copytree(run, tmp_path / "copied")


def test_a_run_folder_is_complete(run):
    assert {path.name for path in run.iterdir()} == FILES
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "last", "resume"}
    assert load_config(run / "config.toml") == CARTPOLE
    environment = json.loads((run / "environment.json").read_text())
    assert list(environment) == list(contents.ENVIRONMENT)
    assert environment["versions"]["jax"] == jax.__version__
    assert environment["device"].startswith("cpu")
    assert environment["dataset_sha256"] is None


def test_the_summary_has_the_keys_that_readers_rely_on(run):
    summary = read_summary(run)
    assert set(summary) == PROGRESS | SPEED | RESULTS
    assert set(summary) <= set(contents.SUMMARY)
    assert (summary["status"], summary["env_id"], summary["seed"]) == ("completed", "CartPole-v1", 0)
    assert (summary["env_steps"], summary["updates"]) == (224, 7)
    assert all(set(summary[name]) == EPISODES for name in ("valid", "test", "test_last"))
    assert set(summary["baselines"]) == {"random"} and set(summary["baselines"]["random"]) == EPISODES
    assert summary["final"] == {k: v for k, v in read_lines(run / "metrics.jsonl")[-1].items() if k in summary["final"]}
    assert min(summary[name] for name in SPEED) > 0.0
    assert summary["steps_per_second"] == pytest.approx(224 / summary["train_seconds"])


def test_metrics_are_those_of_the_table_one_line_an_update(run):
    rows = read_lines(run / "metrics.jsonl")
    assert [row["update"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["env_steps"] for row in rows] == [32 * update for update in range(1, 8)]
    table = {
        metric.name
        for metric in metric_table.METRICS
        if not metric.meaning.startswith(("proof tasks", "answers", "with on_nan", "environments of your own"))
    }
    assert all(set(row) == {"update", "env_steps"} | table for row in rows)
    # No episode of CartPole can end within the first 8 steps: its mean is undefined, which JSON calls null.
    assert rows[0]["episodes"] == 0.0
    assert rows[0]["episode_return_mean"] is None


def test_evaluations_fall_on_the_interval_and_on_the_end(run):
    rows = read_lines(run / "eval.jsonl")
    assert [row["update"] for row in rows] == [3, 6, 7]
    assert all(set(row) == {"update", "env_steps"} | EPISODES for row in rows)
    best = max(rows, key=lambda row: (row["return_mean"], row["update"]))
    summary = read_summary(run)
    assert (summary["best_update"], summary["valid"]["return_mean"]) == (best["update"], best["return_mean"])
    assert {metric.name for metric in EpisodeTaskResults.metrics[""]} == EPISODES
    timing = read_lines(run / "timing.jsonl")
    assert all(list(row) == list(contents.TIMING) for row in timing)
    assert sum(row["updates"] for row in timing) == 7
    assert {3, 6, 7} <= {row["update"] for row in timing}


@pytest.mark.parametrize("chunk_seconds", [0.0, 1e9])
def test_a_run_repeats_to_the_bit_from_its_own_config_whatever_the_chunks(run, tmp_path, monkeypatch, chunk_seconds):
    monkeypatch.setattr(loop, "CHUNK_SECONDS", chunk_seconds)
    train(tmp_path / "again", load_config(run / "config.toml"))
    chunks = [row["updates"] for row in read_lines(tmp_path / "again" / "timing.jsonl")]
    assert chunks == ([1] * 7 if chunk_seconds == 0.0 else [1, 2, 3, 1])
    for name in ("config.toml", "metrics.jsonl", "eval.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes(), name
    timed = {*SPEED}
    first, again = read_summary(run), read_summary(tmp_path / "again")
    assert {k: v for k, v in first.items() if k not in timed} == {k: v for k, v in again.items() if k not in timed}


def test_another_seed_is_another_run(run, tmp_path):
    train(tmp_path / "other", CARTPOLE.override({"seed": 1}))
    assert read_lines(tmp_path / "other" / "metrics.jsonl") != read_lines(run / "metrics.jsonl")


def test_a_finished_run_evaluates_to_its_summary(run):
    summary = read_summary(run)
    for which, splits in (("best", ("valid", "test")), ("last", ("test_last",))):
        experiment, params = runner.load(run, which)
        for name in splits:
            assert experiment.evaluate(params, name.removesuffix("_last")) == summary[name]
    assert summary["test"] != summary["valid"]


def test_a_checkpoint_that_does_not_fit_says_which_parameter(run):
    with pytest.raises(PPOJaxError, match=r"does not fit the configuration.*actor.*bias is \(8,\) there, \(9,\) here"):
        runner.load(run, assignments=["hidden_sizes=[9]"])
    with pytest.raises(PPOJaxError, match=r"critic.* there, unknown here"):
        runner.load(run, assignments=["separate_critic=false"])
    with pytest.raises(PPOJaxError, match="no checkpoint there"):
        runner.load(run, "middle")


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(PPOJaxError, match="no run there"):
        runner.load(tmp_path)


def test_an_existing_run_is_not_lost(copied):
    before = snapshot(copied)
    with pytest.raises(PPOJaxError, match=r"already holds a run; .*--overwrite"):
        train(copied)
    # Nor by a configuration that cannot be built, even where overwriting is wanted.
    with pytest.raises(PPOJaxError, match="unknown env_id"):
        train(copied, CARTPOLE.override({"env_id": "CartPole-v2"}), overwrite=True)
    assert snapshot(copied) == before


def test_a_folder_with_something_else_is_not_touched(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine").write_text("precious")
    before = snapshot(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(PPOJaxError, match="something else than a run"):
            train(tmp_path, overwrite=overwrite)
    with pytest.raises(PPOJaxError, match="something else than a run"):
        train(tmp_path / "checkpoints" / "mine")
    assert snapshot(tmp_path) == before


def test_nothing_is_written_where_nothing_can_be_built_or_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    for settings, complaint in (
        ({"env_id": "no_such_module:make"}, "cannot import no_such_module"),
        ({"env_id": "json:loads_of_nothing"}, "json is a module of Python itself"),
        ({"env_id": "numpy:no_such_thing"}, "numpy has no no_such_thing"),
        ({"env_id": "numpy:ndarray"}, "ndarray is no environment: it has no reset and step"),
        ({"env_id": ":make"}, "expected an import path"),
        ({"network": "proof_actions"}, "does not fit this task; use mlp"),
        ({"wandb": True}, r"run.wandb needs the library wandb: pip install 'ppo-jax\[wandb\]'"),
        ({"tensorboard": True}, "run.tensorboard needs the library tensorboardX"),
    ):
        with pytest.raises(PPOJaxError, match=complaint):
            train(tmp_path / "run", CARTPOLE.override(settings))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PPOJaxError, match="cannot be written: Not a directory; choose another --run-dir"):
        train(tmp_path / "file" / "run")


def test_overwriting_leaves_nothing_of_the_earlier_run(copied, monkeypatch):
    (copied / "queries.jsonl").write_text("{}\n")
    monkeypatch.setattr(loop, "fit", stop := Stop(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(copied, CARTPOLE.override({"seed": 1}), overwrite=True)
    assert stop.called
    assert {path.name for path in copied.iterdir()} == {"config.toml", "summary.json", "environment.json"}
    assert set(read_summary(copied)) == PROGRESS


class Stop:
    """A function that works so many times and then raises."""

    def __init__(self, error, function=None, times=0):
        self.error, self.function, self.times, self.called = error, function, times, 0

    def __call__(self, *arguments, **options):
        self.called += 1
        if self.called > self.times:
            raise self.error
        return self.function(*arguments, **options)

    def __get__(self, instance, owner):
        return lambda *arguments, **options: self(instance, *arguments, **options)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed")])
def test_what_was_measured_before_the_end_stays(run, tmp_path, monkeypatch, error, status):
    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(Experiment, "evaluate", Stop(error, Experiment.evaluate, times=1))
        train(tmp_path / "run")
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert rows == read_lines(run / "metrics.jsonl")[:6]
    assert len(read_lines(tmp_path / "run" / "eval.jsonl")) == 1
    summary = read_summary(tmp_path / "run")
    assert (summary["status"], summary["updates"], summary["env_steps"]) == (status, 6, 192)
    assert set(summary) == PROGRESS | SPEED - {"test_seconds"} | {"final"} | (
        {"error"} if status == "failed" else set()
    )
    experiment, params = runner.load(tmp_path / "run")  # the best of the one evaluation is there
    assert experiment.evaluate(params, "valid") is not None


def test_warnings_about_configuration_and_data_come_first(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for name, text in {
        "train.txt": "near(a,b).\nnear(c,b).\nin(b,e).\nin(a,e).\nin(c,e).\n",
        "valid.txt": "in(a,e).\n",
        "test.txt": "in(a,e).\n",
        "rules.txt": "r:1:near(X,Y), in(Y,Z) -> in(X,Z)\n",
    }.items():
        (tmp_path / "data" / name).write_text(text)
    settings = {"env_id": None, "dataset": str(tmp_path / "data"), "mode": "verify", "batch_size": 64}
    settings["eval_episodes"] = 128  # the default: a proof task reads none
    warned = []
    monkeypatch.setattr(loop, "fit", Stop(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", CARTPOLE.override(settings), warn=warned.append)
    assert warned.pop(0).startswith("ppo.batch_size = 64 is larger than the rollout of 32")
    assert [warning.split(",")[0] for warning in warned] == [
        "training facts that are also valid queries: 1",
        "training facts that are also test queries: 1",
        "valid queries that are also test queries: 1",
    ]
    with pytest.warns(UserWarning) as recorded, pytest.raises(KeyboardInterrupt):
        train(tmp_path / "other", CARTPOLE.override(settings))
    assert [str(warning.message) for warning in recorded][1:] == warned
    assert {Path(warning.filename).name for warning in recorded} == {"test_runner.py"}


def offer(best, i, result):
    return best.offer(i, i, result, results.of(result).score(result))


def test_the_best_are_the_highest_and_of_equals_the_latest():
    best = recorder.Best()
    proof = [(0.5, 0.9), (0.6, 0.1), (0.6, 0.2), (0.6, 0.2), (0.4, 1.0), (None, None), (math.nan, 1.0)]
    kept = [offer(best, i, {"greedy": {"mrr": mrr}, "marginal": {"auc_pr": auc}}) for i, (mrr, auc) in enumerate(proof)]
    assert kept == [True, True, True, True, False, False, False]
    assert (best.params, best.update) == (3, 3)
    best = recorder.Best()
    assert [offer(best, i, {"return_mean": mean}) for i, mean in enumerate([None, math.nan, -9.0, None])] == [
        *(True, True, True, False)
    ]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    files.write_atomically(path, "old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, Stop(full))
            with pytest.raises(PPOJaxError, match=r"summary.json: cannot be written: No space left .* unchanged"):
                files.write_atomically(path, "new")
        assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"summary.json": "old"}


def test_a_row_is_written_whole_or_not_at_all(tmp_path):
    lines = loggers.JSONLines(tmp_path / "rows.jsonl")
    lines.write({"a": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12, hard))  # room for half a row, as on a disk that fills up
    try:
        with pytest.raises(PPOJaxError, match=r"rows.jsonl: cannot be written"):
            lines.write({"b": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines.write({"c": 3})
    assert read_lines(tmp_path / "rows.jsonl") == [{"a": 1}, {"c": 3}]


def test_json_has_no_nan():
    value = {"a": np.float32(math.nan), "b": (np.inf, np.int64(3)), "c": jnp.ones(2), 4: np.bool_(True), "e": None}
    assert files.to_json(value) == {"a": None, "b": [None, 3], "c": [1.0, 1.0], "4": True, "e": None}


def test_a_checkpoint_is_replaced_and_read_back(tmp_path):
    tree = {"a": jnp.arange(3.0), "b": (jnp.int32(1), [jnp.ones((2, 2))])}
    checkpoint.save(tmp_path / "c", jax.tree.map(jnp.zeros_like, tree))
    checkpoint.save(tmp_path / "c", tree)
    restored = checkpoint.restore(tmp_path / "c", jax.eval_shape(lambda: tree))
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True))


def test_the_library_as_a_notebook_uses_it():
    experiment = ppo_jax.build(CARTPOLE)
    trainer, hyperparams = experiment.trainer, experiment.config.hyperparams
    key = jax.random.key(0)
    state, rows = jax.eval_shape(ppo.train, trainer, key, hyperparams)
    assert rows["episode_return_mean"].shape == (7,)
    assert isinstance(state, ppo.TrainState)

    seeds = jax.eval_shape(jax.vmap(ppo.train, in_axes=(None, 0, None)), trainer, jax.random.split(key, 3), hyperparams)
    assert seeds[1]["value_loss"].shape == (3, 7)

    def with_entropy(coefficient):
        return ppo.train(trainer, key, hyperparams._replace(ent_coef=ppo_jax.constant(coefficient)))

    assert jax.eval_shape(jax.vmap(with_entropy), jnp.array([0.0, 0.01]))[1]["ent_coef"].shape == (2, 7)


def test_an_environment_and_a_network_of_ones_own():
    env = toys.MatchedReward()
    experiment = build(CARTPOLE, env=env)
    assert experiment.env is env
    network = type(experiment.trainer.network)(env.action_space, hidden_sizes=(3,))
    assert build(CARTPOLE, env=env, network=network).trainer.network is network
    by_path = CARTPOLE.override({"env_id": "tests.toys:MatchedReward"})
    assert build(by_path).env == env


NEEDED = 'environment: needs_memory is true, and the network has none; core = "gru" gives it one'


@pytest.mark.parametrize("says", [None, True, False])
def test_a_run_keeps_whether_its_own_environment_says_that_it_hides_its_state(says):
    class Own(toys.MatchedReward):
        needs_memory = says

    experiment = build(CARTPOLE.override({"clip_rewards": 1.0, "action_repeat": 2}), env=Own())
    assert runner.beginning(experiment)["needs_memory"] is says
    assert [NEEDED in line for line in experiment.warnings] == [True] * (says is True)
    assert not build(CARTPOLE.override({"core": "gru"}), env=Own()).warnings
    assert "needs_memory" not in runner.beginning(build(CARTPOLE))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: ppo_jax.train("fall:Fall", "x"),
            "config must be a Config, got str: ppo_jax.load_config('fall:Fall') ma",
        ),
        (
            lambda: ppo_jax.build(toys.Probe()),
            "config must be a Config, got Probe: ppo_jax.load_config('tests.toys:Pro",
        ),
        (
            lambda: ppo_jax.load_config(toys.Probe),
            "an experiment must be a name or a file, got the class Probe: name it by its import path, 'tests.toys:",
        ),
        (
            lambda: ppo_jax.make_env(3),
            "an experiment must be a name or a file, got int: name it by its import path, 'm",
        ),
        (
            lambda: ppo_jax.export_policy("runs/x", "y"),
            "policy must be a Policy, got str: ppo_jax.load_policy('runs/x')",
        ),
    ],
)
def test_what_a_function_of_the_package_cannot_take_is_one_line(call, line):
    with pytest.raises(PPOJaxError) as raised:
        call()
    assert str(raised.value).startswith(line)


def test_names_of_the_package_are_those_it_lists():
    assert all(getattr(ppo_jax, name) is not None for name in ppo_jax.__all__)
    assert dir(ppo_jax) == sorted(ppo_jax.__all__)
    assert ppo_jax.train is runner.train
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        ppo_jax.trian  # noqa: B018


def counted(params, trainer, batch, scheduled, hyperparams):
    """PPO's loss, and metrics of its own, of which one is never a number."""
    total, metrics = ppo.loss(params, trainer, batch, scheduled, hyperparams)
    return total, metrics | {"mean_action": batch.action.mean(), "never": jnp.nan}


def test_metrics_of_a_loss_of_your_own_reach_every_reader(tmp_path, capsys):
    config = CARTPOLE.override({"loss": "tests.runs.test_runner:counted"})
    summary = train(tmp_path / "run", config)
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert all(0 < row["mean_action"] < 1 for row in rows)
    assert summary["final"]["mean_action"] == rows[-1]["mean_action"]
    assert main(["diagnose", str(tmp_path / "run")]) in (0, 1)
    assert "Your own metrics" in (shown := capsys.readouterr().out) and "mean_action" in shown
    assert "never nan nan" in " ".join(shown.split())
    assert main(["compare", str(tmp_path / "run")]) == 0
    assert "mean_action" in (shown := capsys.readouterr().out) and "never nan nan" in " ".join(shown.split())
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    assert "mean_action" in (text := (tmp_path / "report" / "report.md").read_text())
    assert "\n| never | – → – |" in text


@pytest.mark.parametrize("chunk_seconds", [0.0, 1e9])
def test_a_hook_is_called_between_updates_whatever_the_chunks(tmp_path, monkeypatch, chunk_seconds):
    monkeypatch.setattr(loop, "CHUNK_SECONDS", chunk_seconds)
    steps, norms = [], []

    def hook(trainer, state):
        steps.append(int(state.step))
        norms.append(float(optax.tree.norm(state.learner.params)))
        learner = jax.tree.map(jnp.zeros_like, state.learner) if state.step == 6 else state.learner
        return trainer, state._replace(learner=learner)

    runner.train(CARTPOLE, tmp_path / "run", progress=False, hook=hook, hook_interval=3)
    assert steps == [0, 3, 6]
    _, last = runner.load(tmp_path / "run", "last")
    assert optax.tree.norm(last.params) < 0.1 * norms[-1]  # one update after all weights were zero


def test_what_python_gave_must_be_given_again(tmp_path):
    """No configuration holds it, so a run would go on with PPO's own loss without a word."""
    config = CARTPOLE.override({"total_timesteps": 64, "eval_interval": 0, "loss_coefs": {"mine": 1.0}})

    def loss(*arguments):
        total, metrics = ppo.loss(*arguments)
        return arguments[-1].loss_coefs["mine"] * total, metrics

    own = partial(build, loss=loss)
    runner.train(config, tmp_path / "run", progress=False, build=own)
    longer = {"total_timesteps": 128}
    with pytest.raises(PPOJaxError, match="its loss was given from Python when it began; resume it from Python"):
        runner.resume(tmp_path / "run", longer, progress=False)
    with pytest.raises(
        PPOJaxError, match=r"its loss was .*<locals>\.loss, not ppo_jax\.ppo\.loss; resume it from Python"
    ):
        runner.resume(tmp_path / "run", longer, progress=False, build=partial(build, loss=ppo.loss))
    with pytest.raises(PPOJaxError, match="its hook was not given"):
        runner.resume(tmp_path / "run", longer, progress=False, build=own, hook=lambda *both: both)
    with pytest.raises(PPOJaxError, match=r"^resume total_timestep: unknown key .*did you mean total_timesteps"):
        runner.resume(tmp_path / "run", ["total_timestep=128"], progress=False, build=own)
    with pytest.raises(PPOJaxError, match=r"this run is complete; a larger total_timesteps makes it longer$"):
        runner.resume(tmp_path / "run", progress=False, build=own)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == config.settings.n_updates
    environment = (tmp_path / "run" / "environment.json").read_text()  # as if its code had been mended since
    (tmp_path / "run" / "environment.json").write_text(re.sub(r"loss#\w{8}", "loss#00000000", environment))
    told: list[str] = []
    assert runner.resume(tmp_path / "run", longer, progress=False, build=own, warn=told.append)["env_steps"] == 128
    assert "<locals>.loss is not what it began with: other code or arguments" in told[0]
    runner.load(tmp_path / "run")  # a policy needs no loss
    gone = '[ppo]\nloss = "not_there:loss"\noptimizer = "not_there:make"'
    text = (tmp_path / "run" / "config.toml").read_text()
    (tmp_path / "run" / "config.toml").write_text(text.replace("[ppo]", gone))
    experiment, _ = runner.load(tmp_path / "run", trust=True)
    assert experiment.config.ppo.optimizer == "not_there:make"


def test_a_member_of_a_sweep_does_not_go_on_by_itself(run, tmp_path):
    member = tmp_path / "sweep" / "members" / "s0"
    shutil.copytree(run, member)
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    with pytest.raises(PPOJaxError, match=r"a member of a sweep; .* ppo-jax sweep extract"):
        runner.resume(member, {"total_timesteps": 448}, progress=False)
    for read in (runner.load, runner.resume):
        with pytest.raises(
            PPOJaxError, match=r"sweep: a sweep; name one of the runs in .*members, or .* sweep extract"
        ):
            read(tmp_path / "sweep")
