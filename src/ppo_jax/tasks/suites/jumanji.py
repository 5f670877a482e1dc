"""Environments of Jumanji (Bonnet et al. 2024): ``jumanji/Snake-v1``.

- Observations become dictionaries of float32 arrays. What Jumanji's specification says is one of a few categories is
  one-hot, one of many (a number of steps) is their share.
- An action of several choices with one mask over all combinations is one choice among them; with a mask for each choice
  it stays several. Rewards of several agents are added up.
- Jumanji ends an episode at its time limit as the task itself does. A twin without the limit takes the same step and
  says which of the two it was.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import jumanji
import numpy as np
from jumanji import specs

from ppo_jax.tasks.suites.common import SuiteEnvironment
from ppo_jax.types import ActionSpace, Box, Discrete, EnvStep, MultiDiscrete, PyTree

__all__ = ["NOT_OFFERED", "make", "names"]

NOT_OFFERED = {"Sokoban-v0": "downloads its levels when it is made"}
MOST_CATEGORIES = 64
ENDLESS = 2**31 - 1  # steps


def names() -> Collection[str]:
    """Of every environment."""
    return jumanji.registered_environments() - NOT_OFFERED.keys()


def make(name: str, **options: Any) -> SuiteEnvironment:
    """Make an environment; `options` are of Jumanji's constructor, such as ``time_limit``."""
    env = jumanji.make(name, **options)
    limit = getattr(env, "time_limit", None)
    endless = copy.copy(env)
    endless.time_limit = ENDLESS
    space, to_action = _actions(env)

    def begin(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        state, timestep = env.reset(key)
        return _observe(timestep.observation, env.observation_spec), state

    def advance(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        action = to_action(action)
        # Each gets a copy, since some write to the state that they are given.
        after, timestep = env.step(_copy(state), action)
        terminated = timestep.last() if limit is None else endless.step(_copy(state), action)[1].last()
        observation = _observe(timestep.observation, env.observation_spec)
        return EnvStep(observation, after, jnp.sum(timestep.reward), terminated, timestep.last(), {})

    return SuiteEnvironment(
        f"jumanji/{name}", env, begin, advance, space, can_truncate=limit is not None, max_episode_length=limit
    )


def _copy(state: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x, state)


def _actions(env: Any) -> tuple[ActionSpace, Callable[[jax.Array], jax.Array]]:
    """The action space, and how an action of it is one of Jumanji's."""
    spec = env.action_spec
    if isinstance(spec, specs.DiscreteArray):
        return Discrete(int(spec.num_values)), lambda action: action.astype(spec.dtype)
    if not jnp.issubdtype(spec.dtype, jnp.integer):
        low, high = (
            tuple(float(str(x)) for x in np.broadcast_to(bound, spec.shape).ravel())
            for bound in (spec.minimum, spec.maximum)
        )
        return Box(low, high), lambda action: action.reshape(spec.shape).astype(spec.dtype)
    mask: Any = getattr(env.observation_spec, "action_mask", None)
    if isinstance(spec, specs.MultiDiscreteArray):
        sizes = tuple(int(n) for n in spec.num_values)
    else:  # of routes for vehicles, whose bound is one more than there is
        sizes = (mask.shape[-1],) * mask.shape[0]
    if mask is not None and mask.shape == sizes:
        return Discrete(math.prod(sizes)), lambda action: jnp.stack(jnp.unravel_index(action, sizes)).astype(spec.dtype)
    return MultiDiscrete(sizes), lambda action: action.astype(spec.dtype)


def _observe(observation: Any, spec: specs.Spec) -> dict[str, Any]:
    """The fields of a named tuple or data class, by name."""
    fields = getattr(observation, "_fields", None) or [field.name for field in dataclasses.fields(observation)]
    seen = {name: _convert(getattr(observation, name), spec[name]) for name in fields if name != "action_mask"}
    if "action_mask" in fields:
        seen["action_mask"] = jnp.asarray(observation.action_mask, bool).ravel()
    return seen


def _convert(value: Any, spec: specs.Spec) -> Any:
    if not isinstance(spec, specs.Array):
        return _observe(value, spec)
    if not isinstance(spec, specs.DiscreteArray):
        return jnp.asarray(value, jnp.float32)
    if spec.num_values <= MOST_CATEGORIES:
        return jax.nn.one_hot(value, spec.num_values, dtype=jnp.float32)
    return jnp.asarray(value, jnp.float32) / spec.num_values
