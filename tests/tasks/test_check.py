"""Mistakes in a user's environment: each is one line, before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from ppo_jax.tasks.check import check_environment
from ppo_jax.types import EnvStep, PPOJaxError
from tests import toys


@dataclass(frozen=True)
class Twisted(toys.EndlessReward):
    """An environment that does not keep to the protocol, in the way that `twist` changes a step."""

    twist: Any = None

    def step(self, key, state, action, params):
        return self.twist(super().step(key, state, action, params))


@dataclass(frozen=True)
class Masked(toys.Probe):
    """An environment whose observation is a dict with a mask."""

    mask: Any = (True, True)

    def reset(self, key, params):
        observation, state = super().reset(key, params)
        return {"observation": observation, "action_mask": jnp.asarray(self.mask)}, state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(observation=self.reset(key, params)[0])


@pytest.mark.parametrize(
    ("twist", "line"),
    [
        (
            lambda s: s._replace(observation=jnp.zeros(2)),
            "observation of a step must stay [1] float32 as in reset, got",
        ),
        (
            lambda s: s._replace(observation=jnp.zeros(1, int)),
            "observation of a step must stay [1] float32 as in reset",
        ),
        (lambda s: s._replace(observation={"x": jnp.zeros(1)}), "observation of a step must be built as that of reset"),
        (lambda s: s._replace(state=s.state._replace(time=0.0)), "state.time of a step must stay [] int32 as in reset"),
        (lambda s: s._replace(reward=jnp.zeros(1)), "reward of a step must be one number [], got [1]"),
        (lambda s: s._replace(terminated=jnp.zeros((1,), bool)), "terminated of a step must be one number [], got [1]"),
        (lambda s: s._replace(truncated=0.0), "truncated of a step must be bool, got float32"),
        (lambda s: s._replace(info={}), "can_truncate is true, so info of a step must hold final_observation"),
        (lambda s: s._replace(info=None), "info of a step must be a dict, got NoneType"),
        (lambda s: s[:5], "step must return an EnvStep, (observation, state, reward, terminated, truncated, info)"),
        (lambda s: 1 / 0, "step raised ZeroDivisionError: division by zero (test_check.py:"),
    ],
)
def test_what_does_not_fit_is_one_line(twist, line):
    with pytest.raises(PPOJaxError) as caught:
        check_environment(Twisted(twist=twist), ())
    assert str(caught.value).startswith(f"environment: {line}")
    assert "\n" not in str(caught.value)


def test_reset_must_return_a_pair():
    class Lonely(toys.Probe):
        def reset(self, key, params):
            return jnp.zeros(1)

    with pytest.raises(PPOJaxError, match=r"environment: reset must return \(observation, state\), got"):
        check_environment(Lonely(), ())


@pytest.mark.parametrize(
    ("mask", "found"),
    [((True,), "[1] bool"), (True, "[] bool"), ((True, True, False), "[3] bool"), ((1, 1), "[2] int32")],
)
def test_a_mask_is_as_long_as_there_are_actions(mask, found):
    with pytest.raises(PPOJaxError) as caught:
        check_environment(Masked(mask=mask), ())
    assert str(caught.value) == f"environment: action_mask must be [2] bool for Discrete(2), got {found}"


def test_masks_are_for_discrete_actions():
    with pytest.raises(PPOJaxError, match="action_mask is for Discrete actions"):
        check_environment(Masked(action_space=toys.ONE_NUMBER), ())


@pytest.mark.parametrize(
    "env", [toys.Walk(), toys.EndlessReward(), toys.TargetReward(), Masked(), toys.RememberedSign()]
)
def test_what_keeps_to_the_protocol_passes(env):
    check_environment(env, env.default_params)


def test_params_are_those_that_are_trained_with():
    @dataclass(frozen=True)
    class Sized(toys.Probe):
        def start(self, key):
            return jnp.zeros(1) + jax.tree.leaves(self.default_params)[0]

    check_environment(replace(Sized(), default_params=jnp.float32(1)), jnp.float32(1))
    assert EnvStep._fields[0] == "observation"
