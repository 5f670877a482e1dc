"""To begin: copy an experiment, ask for the version, name what is not there."""

from __future__ import annotations

import json
from importlib.metadata import version

from ppo_jax.config import load_config
from ppo_jax.config.experiments import experiment_file
from tests.cli.console import fail, succeed


def test_init_copies_an_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = succeed("init")
    assert "wrote cartpole.toml; train it with: ppo-jax train cartpole.toml" in said and "pendulum" in said
    assert (tmp_path / "cartpole.toml").read_text() == experiment_file("cartpole").read_text()
    assert "cartpole.toml: exists; choose another file with --out" in fail("init", "CartPole-v1")
    found = json.loads(succeed("init", "MountainCar-v0", "--out", "mine.toml", "--json"))
    assert found["file"] == "mine.toml" and "umls" in found["experiments"]
    assert load_config("mine.toml") == load_config("MountainCar-v0")
    assert "did you mean cartpole" in fail("init", "cartpoel")


def test_version():
    assert succeed("--version") == f"ppo-jax {version('ppo-jax')}\n"


def test_training_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "error: nonsense: no such file, and no experiment; known: acrobot, " in fail("train", "nonsense")
    assert "unknown env_id 'CartPol-v1'; nearest: CartPole-v1" in fail("train", "CartPol-v1")
    assert "CartPole-v1 has no parameter 'size'" in fail("train", "cartpole", "--set", "env_params.size=3")
    proof = fail("train", "countries_s3", "--set", "env_params.size=3")
    assert "task.env_params: a proof task has keys of its own; leave them out" in proof
    assert not any(tmp_path.iterdir())
