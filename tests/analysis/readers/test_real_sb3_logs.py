"""Logs that Stable-Baselines3 itself wrote (scripts/golden_sb3_logs.py): one training in the forms people keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppo_jax.analysis.readers import read
from tests.cli.console import call, fail

LOGS = Path(__file__).resolve().parents[2] / "golden" / "sb3_logs"


@pytest.fixture(scope="module")
def plain():
    return read(LOGS / "ppo.csv")


@pytest.mark.parametrize(
    "name",
    ["ppo.json", "ppo.txt", "ppo_evaluated_each_rollout.csv"]
    + [f"ppo_evaluated_each_100_steps.{form}" for form in ("csv", "json", "txt")],
)
def test_forms_and_evaluations_change_nothing(plain, name):
    log = read(LOGS / name)
    assert (
        log.settings == plain.settings == {"rollout_size": 128, "n_epochs": 3, "learning_rate": 3e-4, "clip_range": 0.2}
    )
    assert log.notes == ()
    for column in plain.columns.keys() - {"fps"}:
        printed = 1e-2 if name.endswith(".txt") else 1e-6  # to three digits
        np.testing.assert_allclose(log.columns[column], plain.columns[column], rtol=printed, err_msg=column)
    if "evaluated" in name:
        assert np.isfinite(log.columns["eval/episode_return_mean"]).all()


@pytest.mark.parametrize("name", ["ppo_continued", "ppo_continued_steps_from_0"])
def test_continued_runs_are_one_run(plain, name):
    log = read(LOGS / f"{name}.csv")
    assert (log.n_updates, log.settings) == (19, plain.settings)
    np.testing.assert_allclose(log.columns["env_steps"], 128.0 * np.arange(2, 21))
    np.testing.assert_allclose(log.columns["early_stopped"], 0.0)
    np.testing.assert_allclose(log.columns["approx_kl"][:9], plain.columns["approx_kl"][:9])


@pytest.mark.parametrize("name", ["ppo_gsde", "ppo_recurrent", "ppo_maskable"])
def test_kinds_of_ppo(name):
    log = read(LOGS / f"{name}.csv")
    assert (log.trainer, log.settings["n_epochs"], log.settings["rollout_size"]) == ("sb3", 3, 128)
    assert ("action_std" in log.columns) == (name == "ppo_gsde")
    assert ("entropy_normalized" in log.columns) == (name != "ppo_gsde")
    assert call("diagnose", LOGS / f"{name}.csv").code in (0, 1)


@pytest.mark.parametrize(("name", "algorithm"), [("a2c", "A2C"), ("dqn", "DQN"), ("sac", "SAC")])
def test_other_algorithms(name, algorithm):
    assert f"not PPO but {algorithm}" in fail("diagnose", LOGS / f"{name}.csv")
