"""Craftax and Craftax-Classic (Matthews et al. 2024): ``craftax/Craftax-Symbolic-v1``.

The return is a sum of achievements and of health; Craftax reports it as a share of its maximum, 226 (Classic: 22).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
from craftax.craftax_env import make_craftax_env_from_name

from ppo_jax.tasks.suites.common import SuiteEnvironment, as_float32
from ppo_jax.types import Discrete, EnvStep, PyTree

__all__ = ["make", "names"]

NAMES = ("Craftax-Symbolic-v1", "Craftax-Pixels-v1", "Craftax-Classic-Symbolic-v1", "Craftax-Classic-Pixels-v1")
ENDLESS = 2**31 - 1  # steps


def names() -> Collection[str]:
    """Of every environment."""
    return NAMES


def make(name: str, **options: Any) -> SuiteEnvironment:
    """Make an environment; `options` are fields of Craftax's parameters, such as ``max_timesteps``."""
    env = make_craftax_env_from_name(name, auto_reset=False)
    params = env.default_params.replace(**options)

    def begin(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, state = env.reset(key, params)
        return as_float32(observation), state

    def advance(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        observation, state, reward, done, _ = env.step(key, state, action, params)
        terminated = env.is_terminal(state, params.replace(max_timesteps=ENDLESS))
        return EnvStep(as_float32(observation), state, reward, terminated, done, {})

    return SuiteEnvironment(
        f"craftax/{name}",
        env,
        begin,
        advance,
        Discrete(env.num_actions),
        can_truncate=True,
        max_episode_length=int(params.max_timesteps),
        default_params=params,
    )
