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
from ppo_jax.config import Config, TaskConfig, load_config
from ppo_jax.runs import files, runner
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
        ("gamma = { low = 0.1, high = inf }", "both finite"),
        ("gamma = { low = nan, high = 0.9 }", "both finite"),
        ("gamma = { low = 0.1, high = 0.9, log = 1 }", "expected { low, high, log } or { choices }"),
        ("gamma = { low = 0.1, high = 0.9, choices = [0.5] }", "expected { low, high, log } or { choices }"),
        ("gamma = { choices = [0.5, 0.5] }", "a choice is given twice"),
        (
            "gamma = { choices = [0.5] }\nppo.gamma = { choices = [0.6] }",
            "ppo.gamma: gamma is given twice, before as gamma",
        ),
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


def test_a_trial_that_raises_fails_alone_and_says_why(experiment, tmp_path, capsys):
    experiment.write_text(QUICK.to_toml() + "[search]\nn_envs = { choices = [4, 8] }\nn_steps = { choices = [8, 4] }\n")
    assert load_config(experiment).ppo.batch_size == 16  # of 4 * 4 at least: no combination fails by its shapes
    build = side_by_side.build

    def fails_for_eight(config):
        if config.ppo.n_envs == 8:
            raise ValueError("no room for eight\nnot even there")
        return build(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "build", fails_for_eight)
        side_by_side.share.cache_clear()
        command = ["tune", str(experiment), "--seeds", "1", "--sampler", "random", "--pruner", "none"]
        assert main([*command, "--trials", "6", "--json"]) == 0
    side_by_side.share.cache_clear()
    found = json.loads(capsys.readouterr().out)
    assert found["states"] == {"complete": 6 - len(found["failed"]), "fail": len(found["failed"])}
    assert found["failed"] and all(
        one["error"].endswith("fails_for_eight: raised ValueError: no room for eight") for one in found["failed"]
    )
    assert {one["setting"]["n_envs"] for one in found["failed"]} == {8}
    assert {one["setting"]["n_envs"] for one in found["trials"]} == {4}


def test_where_every_trial_raises_the_study_ends_and_says_why(experiment, monkeypatch, capsys):
    monkeypatch.setattr(side_by_side, "build", lambda config: (_ for _ in ()).throw(PPOJaxError("no such thing")))
    side_by_side.share.cache_clear()
    assert main(["tune", str(experiment), "--trials", "3", "--seeds", "1"]) == 2
    *trials, last = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"trial {i} fail") for i, line in enumerate(trials)] == [True] * 3
    assert "no trial was completed: no such thing" in last


def test_a_list_can_be_chosen(experiment, tmp_path, capsys):
    experiment.write_text(QUICK.to_toml() + "[search]\nhidden_sizes = { choices = [[8], [8, 8]] }\n")
    command = ["tune", str(experiment), "--trials", "1", "--seeds", "1", "--out", str(tmp_path / "best.toml"), "--json"]
    assert main(command) == 0
    best = json.loads(capsys.readouterr().out)["best"]["setting"]["hidden_sizes"]
    assert list(load_config(tmp_path / "best.toml").network.hidden_sizes) == best
    assert best in ([8], [8, 8])


@pytest.mark.parametrize(
    "changes, seeds, search, differing",
    [
        ({"n_steps": 16}, 2, SEARCH, "ppo.n_steps differs"),
        ({}, 3, SEARCH, "--seeds differs"),
        ({}, 2, SEARCH.replace("1e-1", "1e-2"), r"\[search\] learning_rate.init differs"),
        ({}, 2, SEARCH + "ent_coef = { choices = [0, 1] }", r"\[search\] ent_coef differs"),
        ({"seed": 1, "gamma": 0.5}, 2, SEARCH, "ppo.gamma, run.seed differ"),
    ],
)
def test_a_study_of_another_experiment_is_refused_by_name(experiment, tmp_path, changes, seeds, search, differing):
    def open_study(config, search, n_seeds):
        experiment.write_text(config.to_toml() + search)
        space = tuning.read_search_space(experiment, config)
        options = dict(n_trials=0, n_seeds=n_seeds, storage=f"sqlite:///{tmp_path}/tune.db", study_name="toy")
        return tuning.tune(config, space, **options)

    open_study(QUICK, SEARCH, 2)
    open_study(QUICK.override({"checkpoint_interval": 3}), SEARCH, 2)  # decides no score
    with pytest.raises(PPOJaxError, match=f"--study toy: its trials are of another experiment: {differing}"):
        open_study(QUICK.override(changes), search, seeds)


def test_a_study_that_does_not_say_of_what_it_is_is_refused():
    import optuna

    study = optuna.create_study(study_name="old")
    study.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(PPOJaxError, match="--study old: does not say which experiment"):
        tuning._require_same(study, {"--seeds": 1})


def test_the_data_of_a_study_count_and_not_where_they_lie(tmp_path):
    for name in ("here/k", "there/k", "other/k"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "rules.txt").write_text("q(X,Y) :- p(X,Y)\n")
        (folder / "train.txt").write_text("p(a,b)\np(b,c)\nq(a,b)\n" + ("p(c,d)\n" if name == "other/k" else ""))
        for split in ("valid", "test"):
            (folder / f"{split}.txt").write_text("q(b,c)\n")
    one, same, another = (
        tuning._identity(Config(task=TaskConfig(dataset=str(tmp_path / name), mode="verify")), {}, 1)
        for name in ("here/k", "there/k", "other/k")
    )
    assert one == same
    assert one != another


def test_a_file_that_cannot_be_written_is_said_before_the_study(experiment, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tuning, "tune", None)
    assert main(["tune", str(experiment), "--out", str(tmp_path / "no" / "such" / "best.toml")]) == 2
    assert "cannot be written: there is no folder" in capsys.readouterr().err


def test_results_are_printed_whatever_happens_to_the_file(experiment, tmp_path, capsys, monkeypatch):
    write = files.write_atomically

    def full(path, content):
        if path.name == "best.toml":
            raise PPOJaxError(f"{path}: cannot be written: No space left on device")
        write(path, content)

    command = ["tune", str(experiment), "--trials", "1", "--seeds", "1", "--json", "--out", str(tmp_path / "best.toml")]
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", full)
        assert main(command) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["best"]["number"] == 0
    assert "No space left" in captured.err


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
