"""What a user's environment can do to a run: each fault ends it, or is said, by its name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import ppo_jax
from ppo_jax import ppo
from ppo_jax.runs import recorder, runner
from ppo_jax.runs.files import read_summary
from ppo_jax.types import PPOJaxError
from tests import toys
from tests.runs.test_resume import TOY

PLAIN = TOY.override(
    {"normalize_observations": False, "normalize_rewards": False, "normalize_values": False, "total_timesteps": 96}
)  # 3 updates
SKIP = {"on_nan": "skip"}


class Fault(NamedTuple):
    """What an environment gives: of steps that end an episode, or do not."""

    observation: float = 1.0
    reward: float = 1.0
    ends: bool = True


@dataclass(frozen=True)
class Faulty(toys.Probe):
    """Its fault is a parameter, so that all of them run one program."""

    default_params: Fault = field(default=Fault(), compare=False)

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Fault) -> Any:
        step = super().step(key, state, action, params)
        observation, reward = jnp.full(1, params.observation, jnp.float32), jnp.asarray(params.reward, jnp.float32)
        return step._replace(observation=observation, reward=reward, terminated=jnp.asarray(params.ends))


def poisoned(*arguments):
    """PPO's loss, whose value alone is NaN where its number `nan` is not 0: in its program too all faults are one."""
    total, metrics = ppo.loss(*arguments)
    return total + jnp.where(arguments[-1].loss_coefs["nan"] > 0.0, jnp.nan, 0.0), metrics


@dataclass(frozen=True)
class Stuck(toys.Probe):
    """Half of its states offer no action."""

    def reset(self, key: jax.Array, params: Any) -> Any:
        observation, state = super().reset(key, params)
        mask = jnp.broadcast_to(jax.random.bernoulli(key), (2,))
        return {"observation": observation, "action_mask": mask}, state

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> Any:
        step = super().step(key, state, action, params)
        return step._replace(observation=self.reset(key, params)[0])


def train(tmp_path, env: toys.Probe, loss: ppo.Loss | None = None, **settings: Any) -> dict[str, Any]:
    build = lambda config: ppo_jax.build(config, env=env, loss=loss)  # noqa: E731
    return runner.train(PLAIN.override(settings), tmp_path / "run", progress=False, build=build)


def train_faulty(tmp_path, fault: Fault, nan: float = 0.0, **settings: Any) -> dict[str, Any]:
    return train(tmp_path, Faulty(default_params=fault), poisoned, loss_coefs={"nan": nan}, **settings)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(observation=float("nan")), "The environment's observations are not finite"),
        (
            Fault(reward=1e30, ends=False),
            "Returns reach 8e+30, and float32 cannot square them: make the rewards smaller",
        ),
        (Fault(reward=1e30), "Returns reach 1e+30, and float32 cannot square them: make the rewards smaller"),
        (Fault(reward=float("nan"), ends=False), "The environment's rewards are not finite"),
        (Fault(reward=float("inf")), "The environment's rewards are not finite"),
    ],
    ids=lambda x: "" if isinstance(x, str) else str(tuple(x)),
)
def test_what_is_not_finite_is_traced_to_the_environment(tmp_path, fault, cause):
    with pytest.raises(recorder.NotFinite) as caught:
        train_faulty(tmp_path, fault)
    assert str(caught.value).endswith(cause)
    assert read_summary(tmp_path / "run")["status"] == "failed"


def test_a_run_whose_every_update_was_skipped_is_not_completed(tmp_path):
    with pytest.raises(PPOJaxError) as caught:
        train_faulty(tmp_path, Fault(observation=float("nan")), **SKIP)
    assert str(caught.value).startswith("every update was skipped, 3 of 3: nothing was learnt. The environment's obs")
    summary = read_summary(tmp_path / "run")
    assert (summary["status"], summary["updates_skipped"], summary["error"]) == ("failed", 3, str(caught.value))


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, "update 1: loss is not finite; no checkpoint"), (SKIP, "every update was skipped, 3 of 3: nothing")],
    ids=["stop", "skip"],
)
def test_a_loss_whose_value_alone_is_not_finite(tmp_path, settings, told):
    """Its gradient is, so that the parameters would never show it."""
    with pytest.raises(recorder.NotFinite, match=told) as caught:
        train_faulty(tmp_path, Fault(), nan=1.0, **settings)
    assert "nothing was learnt. Look" in str(caught.value) or "written yet. Look" in str(caught.value)
    assert "first at your loss tests.runs.test_faults.poisoned: its value and its gradient (sqrt" in str(caught.value)
    assert "its value and its gradient (sqrt, log and norms at 0). Lower learn" in str(caught.value)


@pytest.mark.parametrize("settings", [{}, SKIP], ids=["stop", "skip"])
def test_a_state_without_a_valid_action_ends_the_run_and_is_counted(tmp_path, settings):
    with pytest.raises(recorder.Hopeless, match=r"update 1: after \d+\.\d+% of the steps no action was valid"):
        train(tmp_path, Stuck(), **settings)
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 0.1 < row["no_valid_action"] < 0.9
    assert (row["no_valid_action"] * 32) % 1 == 0.0


@pytest.mark.parametrize(
    ("hook", "line"),
    [
        (lambda trainer, state: state, r"hook: must return \(trainer, state\), got TrainState"),
        (lambda trainer, state: (trainer, state.rollout), "hook: trainer and state must stay built as they were"),
        (
            lambda trainer, state: (trainer, state._replace(step=jnp.zeros(2, jnp.int32))),
            r"hook: \[1\].step must stay \[\] int32, got \[2\] int32",
        ),
        (lambda trainer, state: 1 / 0, r"hook raised ZeroDivisionError: division by zero \(test_faults.py:\d+\)"),
    ],
)
def test_what_a_hook_does_wrong_is_one_line(tmp_path, hook, line):
    with pytest.raises(PPOJaxError, match=line):
        runner.train(PLAIN, tmp_path / "run", progress=False, hook=hook)
    assert read_summary(tmp_path / "run")["status"] == "failed"
