"""Environments of XLand-MiniGrid (Nikulin et al. 2024): ``xminigrid/MiniGrid-Empty-8x8``.

A cell of an observation is a tile and a colour, which become one-hot. Ids ``XLand-…`` play one ruleset, the library's
default; its benchmarks of many are downloads, and not offered.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import xminigrid
from xminigrid.core.constants import NUM_COLORS, NUM_TILES

from ppo_jax.tasks.suites.common import SuiteEnvironment, one_hot_channels
from ppo_jax.types import Discrete, EnvStep, PyTree

__all__ = ["make", "names"]


def names() -> Collection[str]:
    """Of every environment."""
    return xminigrid.registered_environments()


def make(name: str, **options: Any) -> SuiteEnvironment:
    """Make an environment; `options` are fields of its parameters, such as ``view_size`` and ``max_steps``."""
    env, params = xminigrid.make(name, **options)

    def observe(timestep: Any) -> jax.Array:
        return one_hot_channels(timestep.observation, (NUM_TILES, NUM_COLORS))

    def begin(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        timestep = env.reset(params, key)
        return observe(timestep), timestep

    def advance(key: jax.Array, timestep: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        timestep = env.step(params, timestep, action)
        terminated = timestep.last() & (timestep.discount == 0)
        return EnvStep(observe(timestep), timestep, timestep.reward, terminated, timestep.last(), {})

    return SuiteEnvironment(
        f"xminigrid/{name}",
        env,
        begin,
        advance,
        Discrete(env.num_actions(params)),
        can_truncate=True,
        max_episode_length=params.max_steps,
        default_params=params,
    )
