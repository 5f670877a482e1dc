"""What reaches Weights & Biases and TensorBoard: every update, and every evaluation as eval/…."""

from __future__ import annotations

import importlib.machinery
import sys
import types

import pytest

from ppo_jax.runs import loggers, runner
from ppo_jax.runs.recorder import _flat_numbers
from ppo_jax.sweeps import sweep
from ppo_jax.sweeps.plan import make_plan
from tests.runs.test_resume import TOY

FEW = TOY.override({"total_timesteps": 128, "eval_interval": 2})  # 4 updates of 32 steps


@pytest.fixture
def wandb(monkeypatch) -> list[types.SimpleNamespace]:
    """The runs that a stand-in for the library was given."""
    begun: list[types.SimpleNamespace] = []

    def init(**options):
        run = types.SimpleNamespace(options=options, rows=[], open=True)
        run.log = lambda row, step: run.rows.append((step, row))
        run.finish = lambda: setattr(run, "open", False)
        begun.append(run)
        return run

    library = types.ModuleType("wandb")
    library.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    library.init = init
    monkeypatch.setitem(sys.modules, "wandb", library)
    return begun


def test_evaluations_and_the_name_of_the_project(wandb, tmp_path):
    config = FEW.override({"wandb": True, "wandb_project": "pendulums"})
    summary = runner.train(config, tmp_path / "run", progress=False)
    (run,) = wandb
    assert (run.options["project"], run.options["name"], run.options["group"]) == ("pendulums", "run", None)
    assert [step for step, row in run.rows if "policy_loss" in row] == [32, 64, 96, 128]
    judged = {step: row["eval/return_mean"] for step, row in run.rows if "eval/return_mean" in row}
    assert list(judged) == [64, 128] and summary["valid"]["return_mean"] in judged.values()
    assert not run.open


def test_members_of_a_sweep_log_where_it_is_asked(wandb, tmp_path):
    assert not loggers.open_writers(tmp_path, FEW, None, sweep="sweep")
    sweep.run(make_plan(FEW.override({"wandb": True}), 2), tmp_path / "sweep", progress=False)
    assert [run.options["name"] for run in wandb] == ["sweep-s0", "sweep-s1"]
    assert {run.options["group"] for run in wandb} == {"sweep"}
    assert len({run.options["id"] for run in wandb}) == 2
    for run in wandb:
        assert sum("eval/return_mean" in row for _, row in run.rows) == 2
        assert not run.open


def test_tensorboard_has_evaluations(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runner.train(FEW.override({"tensorboard": True}), tmp_path / "run", progress=False)
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in found.Scalars("eval/return_mean")] == [64, 128]


def test_numbers_within_numbers():
    result = {"greedy": {"mrr": 0.5, "proved": 3}, "loss": None, "name": "x"}
    assert dict(_flat_numbers("eval", result)) == {"eval/greedy/mrr": 0.5, "eval/greedy/proved": 3.0}
