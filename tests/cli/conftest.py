"""Two experiments for the command line, and a completed run of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.console import Result, call, succeed, write_data

SETTINGS = """
[ppo]
total_timesteps = 96
n_envs = 4
n_steps = 8
n_epochs = 2
batch_size = 16
[network]
hidden_sizes = [8]
{network}
[evaluation]
eval_interval = 2
{evaluation}
"""
EPISODES = SETTINGS.format(network="", evaluation="eval_episodes = 4")
PROOFS = SETTINGS.format(network="embedding_size = 8", evaluation="beam_width = 4\nuntrained_networks = 4")


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Path:
    """A folder with two experiments, ``cartpole.toml`` and ``places.toml``, and the data of the latter."""
    folder = tmp_path_factory.mktemp("workplace")
    data = write_data(folder / "data")
    (folder / "cartpole.toml").write_text(f'[task]\nenv_id = "CartPole-v1"\n{EPISODES}')
    task = f"[task]\ndataset = '{data}'\nmode = 'verify'\nmax_depth = 3\nmax_atoms = 3\ncorrupt = 'tail'\n"
    (folder / "places.toml").write_text(task + PROOFS)
    return folder


@pytest.fixture(scope="session")
def cartpole(workplace) -> Path:
    """A completed run."""
    folder = workplace / "runs" / "cartpole"
    assert json.loads(succeed("train", workplace / "cartpole.toml", "--run-dir", folder, "--json"))["run"] == str(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def trained_places(workplace) -> tuple[Path, Result]:
    """A completed run of a proof task, and what it printed."""
    folder = workplace / "runs" / "places"
    return folder, call("train", workplace / "places.toml", "--run-dir", folder, "--quiet", "--seed", "3")


@pytest.fixture(scope="session")
def places(trained_places) -> Path:
    return trained_places[0]
