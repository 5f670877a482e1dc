"""What a user's environment can do to a run: each fault ends it, or is said, by its name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class NotANumber(toys.Probe):
    """Observes NaN after the first step."""

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> Any:
        step = super().step(key, state, action, params)
        return step._replace(observation=jnp.full(1, jnp.nan))


@dataclass(frozen=True)
class Rich(toys.NeverEnds):
    """Rewards of a size that has no square in float32, and no end."""

    reward: float = 1e30

    def outcome(self, key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return state.observation, self.reward, False, False


@dataclass(frozen=True)
class RichAtOnce(Rich):
    """The same in episodes of one step."""

    def outcome(self, key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return state.observation, self.reward, True, False


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


@pytest.mark.parametrize(
    ("env", "cause"),
    [
        (NotANumber(), "The environment's observations are not finite"),
        (Rich(), "Returns reach 8e+30, and float32 cannot square them: make the rewards smaller"),
        (RichAtOnce(), "Returns reach 1e+30, and float32 cannot square them: make the rewards smaller"),
        (Rich(reward=float("nan")), "The environment's rewards are not finite"),
        (RichAtOnce(reward=float("inf")), "The environment's rewards are not finite"),
    ],
    ids=lambda x: "" if isinstance(x, str) else f"{type(x).__name__} {getattr(x, 'reward', '')}",
)
def test_what_is_not_finite_is_traced_to_the_environment(tmp_path, env, cause):
    with pytest.raises(recorder.NotFinite) as caught:
        train(tmp_path, env)
    assert str(caught.value).endswith(cause)
    assert read_summary(tmp_path / "run")["status"] == "failed"


def test_a_run_whose_every_update_was_skipped_is_not_completed(tmp_path):
    with pytest.raises(PPOJaxError) as caught:
        train(tmp_path, NotANumber(), **SKIP)
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

    def loss(*arguments):
        total, metrics = ppo.loss(*arguments)
        return total + jnp.nan, metrics

    with pytest.raises(recorder.NotFinite, match=told) as caught:
        train(tmp_path, toys.Probe(), loss, **settings)
    assert "nothing was learnt. Look" in str(caught.value) or "written yet. Look" in str(caught.value)
    assert "first at your loss tests.runs.test_faults.test_a_loss" in str(caught.value)
    assert "<locals>.loss: its value and its gradient (sqrt, log and norms at 0). Lower learn" in str(caught.value)


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
