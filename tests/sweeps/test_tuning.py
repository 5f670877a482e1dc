"""Tuning: what may be searched, that a study is shared and goes on, and that test is never looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppo_jax.cli import main
from ppo_jax.config import load_config
from ppo_jax.runs import runner
from ppo_jax.sweeps import side_by_side, tuning
from ppo_jax.sweeps.tuning import Choice, Range
from ppo_jax.types import PPOJaxError
from tests.runs.test_resume import REPOSITORY
from tests.sweeps.test_sweep import QUICK

SEARCH = """
[search]
learning_rate.init = { low = 1e-3, high = 1e-1, log = true }
gamma = { choices = [0.9, 0.99] }
"""


@pytest.fixture
def experiment(tmp_path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(QUICK.to_toml() + SEARCH)
    return path


def test_the_search_space_stands_in_the_experiment(experiment):
    config = load_config(experiment)
    assert config == QUICK
    space = tuning.read_search_space(experiment, config)
    assert space == {"learning_rate.init": Range(1e-3, 1e-1, log=True), "gamma": Choice((0.9, 0.99))}


@pytest.mark.parametrize(
    "search, message",
    [
        ("", "nothing to search"),
        ("gama = { low = 0.1, high = 0.9 }", "unknown key 'gama'; did you mean gamma"),
        ("gamma = { low = 0.1, high = 1.9 }", "ppo.gamma: Expected"),
        ("gamma = { low = 0.9, high = 0.1 }", "low must be under high"),
        ("ent_coef = { low = 0, high = 0.1, log = true }", "above 0 where log is set"),
        ("gamma = { lo = 0.1, high = 0.9 }", "expected { low, high, log } or { choices }"),
        ("gamma = 0.9", "expected { low, high, log } or { choices }"),
        ("gamma = { choices = [] }", "choices is empty"),
        ("n_steps = { choices = [8, 7] }", "does not divide the rollout"),
    ],
)
def test_what_cannot_be_searched_is_one_line(tmp_path, search, message, capsys):
    path = tmp_path / "toy.toml"
    path.write_text(f"{QUICK.to_toml()}\n[search]\n{search}\n")
    assert main(["tune", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_study_goes_on_where_it_was_and_never_looks_at_test(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "test", None)
    monkeypatch.setattr(runner, "test_context", None)
    build, built = side_by_side.build, []
    monkeypatch.setattr(side_by_side, "build", lambda config: built.append(config) or build(config))
    side_by_side.share.cache_clear()
    command = ["tune", str(experiment), "--storage", f"sqlite:///{tmp_path}/tune.db", "--seeds", "2", "--json"]
    assert main([*command, "--trials", "2"]) == 0
    assert main([*command, "--trials", "4", "--out", str(tmp_path / "best.toml")]) == 0
    found = [json.loads(text) for text in capsys.readouterr().out.replace("}\n{", "}\0{").split("\0")]
    assert [sum(one["states"].values()) for one in found] == [2, 4]
    assert len(built) == 1  # every trial of the process shares what was compiled
    best = found[1]["best"]
    assert best["score"] == max(trial["score"] for trial in found[1]["trials"])
    config = load_config(tmp_path / "best.toml")
    assert config.ppo.gamma == best["setting"]["gamma"]
    assert config.ppo.learning_rate.init == best["setting"]["learning_rate.init"]


@pytest.mark.parametrize("storage", [[], ["--storage", "sqlite:///:memory:"]], ids=["", "sqlite"])
def test_the_table_fits(experiment, capsys, monkeypatch, storage):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["tune", str(experiment), "--trials", "2", "--seeds", "1", "--pruner", "none", *storage]) == 0
    captured = capsys.readouterr()
    assert max(map(len, captured.out.splitlines())) <= 80
    assert "study toy: 2 complete" in captured.out
    assert [line.split("  ")[0].rsplit(" ", 1)[0] for line in captured.err.splitlines()] == [
        "trial 0 complete",
        "trial 1 complete",
    ]


def test_a_storage_that_cannot_be_reached(experiment, tmp_path, capsys):
    assert main(["tune", str(experiment), "--storage", f"sqlite:///{tmp_path}/no/such/folder.db"]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert main(["tune", str(experiment), "--storage", "nonsense"]) == 2
    assert "--storage nonsense: cannot be reached" in capsys.readouterr().err
    assert main(["tune", str(experiment), "--trials", "0"]) == 2


def test_a_diverging_setting_is_no_result(experiment):
    config = QUICK.override({"normalize_rewards": False, "normalize_values": False, "max_grad_norm": 1e30})
    study = tuning.tune(
        config, {"learning_rate": Choice((1e30,))}, n_trials=1, n_seeds=1, storage=None, study_name="diverges"
    )
    assert tuning.conclude(study)["best"] is None


@pytest.mark.slow
def test_a_killed_worker_loses_at_most_its_trial(experiment, tmp_path):
    command = [sys.executable, "-m", "ppo_jax", "tune", str(experiment), "--storage", f"sqlite:///{tmp_path}/tune.db"]
    options = dict(cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    workers = [subprocess.Popen([*command, "--trials", "12", "--seeds", "2"], **options) for _ in range(2)]
    for line in workers[0].stderr:
        if line.startswith("trial "):
            break
    time.sleep(0.5)
    os.kill(workers[0].pid, signal.SIGKILL)
    out, err = workers[1].communicate(timeout=300)
    assert workers[1].returncode == 0, err
    assert "12 complete" in out
    workers[0].communicate()


def test_a_missing_library_is_said(experiment, monkeypatch):
    monkeypatch.setattr(tuning.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PPOJaxError, match="pip install 'ppo-jax\\[tune\\]'"):
        tuning.tune(QUICK, {}, n_trials=1, n_seeds=1, storage=None, study_name="x")
