"""Which runs are seeds of one configuration, and how such a set is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ppo_jax.analysis.compare import configuration
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.run_sets import gather_run_sets


def run(
    name: str = "run-s0",
    kind: str = "ppo_jax",
    settings: dict[str, Any] | None = None,
    given: dict[str, str] | None = None,
) -> RunLog:
    return RunLog(
        name, kind, settings or {}, {"update": np.arange(3.0), "env_steps": np.arange(3.0)}, given=given or {}
    )


def test_runs_that_differ_in_their_seed_alone_are_one_set():
    logs = [
        run("a-s0", settings={"n_epochs": 20, "seed": 0}),
        run("b-s0", settings={"n_epochs": 10, "seed": 0}),
        run("a-s1", settings={"n_epochs": 20, "seed": 1, "wandb": True}),
        run("a-s1", settings={"n_epochs": 20, "seed": 1, "target_kl": 0.02}),
    ]
    run_sets = gather_run_sets(logs)
    assert [(one.name, len(one.logs)) for one in run_sets] == [("a", 2), ("b-s0", 1), ("a-s1", 1)]


def test_what_python_gave_and_numbers_of_a_table_tell_runs_apart():
    losses = ["mine.pen(c=1.0)", "mine.pen(c=0.0)", None, "mine.pen(c=1.0)"]
    given = [{} if loss is None else {"loss": loss} for loss in losses]
    logs = [run(settings={"loss": None, "seed": seed}, given=one) for seed, one in enumerate(given)]
    run_sets = gather_run_sets(logs)
    assert [len(one.logs) for one in run_sets] == [2, 1, 1]
    rows = {row.key: row.values for row in configuration(run_sets)}
    assert rows["loss"] == ("mine.pen(c=1.0) (Python)", "mine.pen(c=0.0) (Python)", "none")

    codes = ["mine.pen#1", "mine.pen#2", "mine.pen#1"]  # of one import path
    logs = [replace(run(settings={"loss": "mine:pen", "seed": i}), code={"loss": one}) for i, one in enumerate(codes)]
    run_sets = gather_run_sets(logs)
    assert [len(one.logs) for one in run_sets] == [2, 1]
    assert {row.key: row.values for row in configuration(run_sets)}["code of loss"] == ("mine.pen#1", "mine.pen#2")

    tables = [{"loss_coefs": {"logit": 0.1}, "env_params": {"size": 5}}, {"loss_coefs": {"logit": 1.0}}, {}]
    run_sets = gather_run_sets([run(settings={"loss_coefs": None, "seed": 0} | one) for one in tables])
    rows = {row.key: row.values for row in configuration(run_sets)}
    assert rows["loss_coefs.logit"] == ("0.1", "1", "none") and rows["env_params.size"] == ("5", "none", "none")
    assert "loss_coefs" not in rows


def test_a_seed_counts_once():
    again = [run(settings={"seed": 0}), run(settings={"seed": 0}), run(settings={"seed": 1})]
    assert [len(one.logs) for one in gather_run_sets(again)] == [2, 1]


def test_names_of_sets_differ_and_seeds_leave_them():
    logs = [run(f"countries_s3-s1{i}", settings={"gamma": gamma, "seed": i}) for gamma in (0.9, 0.5) for i in range(3)]
    assert [one.name for one in gather_run_sets(logs)] == ["countries_s3", "countries_s3 (2)"]


def test_logs_of_other_trainers_stand_alone():
    assert len(gather_run_sets([run(kind="sb3", settings={}), run(kind="sb3", settings={})])) == 2
    assert (
        len(gather_run_sets([run(settings={}), run(settings={})])) == 2
    )  # nothing says that their settings are the same
