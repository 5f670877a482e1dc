"""Environments of NAVIX (Pignatelli et al. 2024), MiniGrid in JAX: ``navix/Navix-Empty-8x8-v0``.

A cell of a symbolic observation is three categories, which become one-hot: what it holds, its colour, and whether it is
open or where it looks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import navix
from navix import observations
from navix.environments.environment import StepType

from ppo_jax.tasks.suites.common import SuiteEnvironment, as_float32, one_hot_channels
from ppo_jax.types import Discrete, EnvStep, PPOJaxError, PyTree

__all__ = ["make", "names"]

SYMBOLS = (11, 6, 4)  # entities, colours, states
OBSERVATIONS = ("symbolic", "symbolic_first_person", "rgb", "rgb_first_person")


def names() -> Collection[str]:
    """Of every environment."""
    return navix.registry()


def make(name: str, observation: str = "symbolic", **options: Any) -> SuiteEnvironment:
    """Make an environment.

    Args:
        name: NAVIX's.
        observation: one of `OBSERVATIONS`; those in first person see the cells before the agent alone.
        **options: of NAVIX's constructor, such as ``max_steps`` (100).
    """
    if observation not in OBSERVATIONS:
        raise PPOJaxError(f"navix/{name}: no observation {observation!r}; use {', '.join(OBSERVATIONS)}")
    env = navix.make(name, observation_fn=getattr(observations, observation), **options)

    def observe(timestep: Any) -> jax.Array:
        if observation.startswith("symbolic"):
            return one_hot_channels(timestep.observation, SYMBOLS)
        return as_float32(timestep.observation) / 255

    def begin(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        timestep = env.reset(key)
        return observe(timestep), timestep

    def advance(key: jax.Array, timestep: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        # NAVIX restarts an ended episode at the step after; here none has ended, which spares the compiler the restart.
        timestep = env.step(timestep.replace(step_type=StepType.TRANSITION), action)
        ends = timestep.is_termination(), timestep.is_truncation()
        return EnvStep(observe(timestep), timestep, timestep.reward, *ends, {})

    return SuiteEnvironment(
        f"navix/{name}",
        env,
        begin,
        advance,
        Discrete(len(env.action_set)),
        can_truncate=True,
        max_episode_length=env.max_steps,
    )
