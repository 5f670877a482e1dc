"""Brax and MuJoCo Playground, which are alike: a state holds observation, reward and end, actions are in [-1, 1]."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.tasks.suites.common import SuiteEnvironment, as_float32, limit_steps
from ppo_jax.types import Box, EnvStep, PyTree

__all__ = ["adapt"]


def adapt(env_id: str, env: Any, limit: int) -> SuiteEnvironment:
    """An environment of either suite, truncated after `limit` steps.

    The suites' wrappers begin a later episode where the first one began. Here each begins anew, which costs a reset a
    step. ``privileged_state`` of an observation is for the critic alone.
    """

    def begin(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        state = env.reset(key)
        return _observe(state), state

    def advance(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        state = env.step(state, action)
        return EnvStep(_observe(state), state, state.reward, state.done > 0, False, {})

    limited = limit_steps(begin, advance, limit)
    space = Box((-1.0,) * env.action_size, (1.0,) * env.action_size)
    return SuiteEnvironment(env_id, env, *limited, space, can_truncate=True, max_episode_length=limit)


def _observe(state: Any) -> PyTree:
    observation = as_float32(state.obs)
    if not isinstance(observation, dict) or "privileged_state" not in observation:
        return observation
    public = {name: jnp.asarray(x) for name, x in observation.items() if name != "privileged_state"}
    return {**public, "privileged": observation["privileged_state"]}
