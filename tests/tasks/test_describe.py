"""What `ppo-jax envs` says of environments."""

from __future__ import annotations

import pytest

from ppo_jax.config.experiments import NEEDS_MEMORY
from ppo_jax.tasks import describe, gymnax
from ppo_jax.tasks.suites import registry
from ppo_jax.types import PPOJaxError
from tests import toys


class Forgetful(toys.Probe):
    needs_memory = True


def test_describe() -> None:
    assert describe.describe("Pendulum-v1") == {
        "env_id": "Pendulum-v1",
        "suite": "classic control",
        "extra": None,
        "observation_shape": [3],
        "action_space": {"type": "box", "low": [-2.0], "high": [2.0]},
        "needs_memory": False,
        "can_truncate": True,
        "max_episode_length": 200,
        "note": "never terminates, only truncates",
    }
    described = describe.describe("Catch-bsuite")
    assert described["action_space"] == {"type": "discrete", "n": 3}
    assert (described["can_truncate"], described["note"]) == (False, None)


def test_describe_an_environment_of_a_users_own() -> None:
    assert describe.environment_ids("tests.toys:Probe") == ["tests.toys:Probe"]
    described = describe.describe("tests.toys:Probe")
    assert (described["suite"], described["observation_shape"]) == ("your own", [1])
    assert described["max_episode_length"] is None and not described["needs_memory"]
    assert describe.describe("tests.tasks.test_describe:Forgetful")["needs_memory"]


def test_describe_a_proof_task() -> None:
    described = describe.describe("Proof-countries_s3")
    assert described["observation_shape"]["goals"] == [6, 3]
    assert described["action_space"] == {"type": "discrete", "n": 19}
    assert (described["can_truncate"], described["max_episode_length"]) == (False, 20)
    assert described["note"].startswith("prove locatedInCR from 983 facts of locatedInCR, locatedInCS, locatedInSR, n")


def test_of_several_those_that_cannot_be_made_are_named_apart() -> None:
    rows, lacking = describe.describe_all(["gymnasium/Pendulum-v1", "gymnasium/NoSuch-v1"])
    assert [row["suite"] for row in rows] == ["Gymnasium"] and lacking == ["gymnasium/NoSuch-v1"]
    with pytest.raises(PPOJaxError, match="unknown env_id 'gymnasium/NoSuch-v1'"):
        describe.describe_all(["gymnasium/NoSuch-v1"])


def test_every_note_is_about_a_registered_id() -> None:
    assert set(describe._NOTES) <= set(gymnax.environment_ids())


def test_suites_and_memories() -> None:
    suites = {env_id: describe.suite_of(env_id).name for env_id in gymnax.environment_ids()}
    assert suites["Breakout-MinAtar"] == "MinAtar"
    assert suites["MemoryChain-bsuite"] == "bsuite"
    assert suites["Pong-misc"] == "others of gymnax"
    assert suites["Proof-countries_s3"] == "knowledge graphs"
    assert {name for name, suite in suites.items() if suite == "classic control"} == {
        *("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0")
    }
    assert set(NEEDS_MEMORY) <= set(suites)
    assert describe.describe("MemoryChain-bsuite")["needs_memory"]


def test_a_suite_is_listed_by_its_prefix(monkeypatch) -> None:
    suite = registry.SUITES["jumanji"]
    monkeypatch.setattr(type(suite), "ids", lambda self: [f"{self.prefix}/Snake-v1", f"{self.prefix}/Maze-v0"])
    assert describe.environment_ids("jumanji") == ["jumanji/Snake-v1", "jumanji/Maze-v0"]
    assert describe.environment_ids("Jumanji/sna") == ["jumanji/Snake-v1"]
    every = describe.environment_ids("")
    assert "CartPole-v1" in every and not any("/" in name for name in every)
    assert describe.suite_of("jumanji/Snake-v1").extra == "jumanji"
