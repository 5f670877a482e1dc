"""monitor.csv: returns only, and so it says."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import read
from ppo_jax.types import PPOJaxError
from tests.analysis.readers.logs import write
from tests.cli.console import call

COMMENT = '#{"t_start": 1700000000.1, "env_id": "Walk-v0"}\n'


def monitor(n: int, start: float = 0.0) -> str:
    return COMMENT + "r,l,t\n" + "".join(f"{i}.5,{20},{start + 2.0 * i}\n" for i in range(n))


def test_a_monitor_file(tmp_path):
    file = write(tmp_path / "run" / "monitor.csv", monitor(50))
    log = read(file)
    assert (log.name, log.kind, log.n_updates) == ("run", "monitor", 50)
    np.testing.assert_allclose(log.columns["episode_return_mean"], np.arange(50) + 0.5)
    np.testing.assert_allclose(log.columns["env_steps"], 20.0 * np.arange(1, 51))
    assert "returns and lengths of 50 episodes and nothing of PPO" in log.notes[0]
    assert [one.id for one in diagnose(log).findings] == ["still-improving"]  # returns that rise are all it has
    result = call("diagnose", file)
    assert result.code == 0
    assert "nothing of PPO" in result.err


def test_many_episodes_are_put_together(tmp_path):
    log = read(write(tmp_path / "monitor.csv", monitor(1050)))
    assert log.n_updates == 100
    assert log.columns["env_steps"][-1] == 1050 * 20
    assert "a group of up to 11 episodes" in log.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        monitor(30).replace(COMMENT, ""),
        monitor(30).replace("\n", "\r\n"),
        COMMENT + "l,r,t,is_success\n" + "".join(f"20,{i}.5,{i},True\n" for i in range(30)),
        monitor(30) + "0.5,2",  # cut off
        monitor(30) + "\n\n",
        monitor(15) + COMMENT + "r,l,t\n" + "".join(f"{i}.5,20,{i}\n" for i in range(15)),  # went on in one file
    ],
)
def test_forms_of_monitor_files(tmp_path, text):
    log = read(write(tmp_path / "my_monitor.csv", text))
    assert log.name == "my_monitor"
    assert log.n_updates == 30
    np.testing.assert_allclose(log.columns["episode_length_mean"], 20.0)


def test_the_files_of_several_environments_are_one_run(tmp_path):
    write(tmp_path / "run" / "0.monitor.csv", monitor(20))
    write(tmp_path / "run" / "1.monitor.csv", monitor(20, start=1.0))
    log = read(tmp_path / "run")
    assert log.name == "run"
    np.testing.assert_allclose(log.columns["episode_return_mean"], np.repeat(np.arange(20), 2) + 0.5)


@pytest.mark.parametrize("text", [COMMENT, COMMENT + "r,l,t\n", COMMENT + "r,l,t\nx,y,z\n"])
def test_a_monitor_file_without_an_episode(tmp_path, text):
    with pytest.raises(PPOJaxError):
        read(write(tmp_path / "monitor.csv", text))
