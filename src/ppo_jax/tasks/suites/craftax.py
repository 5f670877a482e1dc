"""Craftax and Craftax-Classic (Matthews et al. 2024): ``craftax/Craftax-Symbolic-v1``.

The return is a sum of achievements and of health; Craftax reports it as a share of its maximum, 226 (Classic: 22).
The symbolic observation, one vector there, is taken apart: ``map`` [h, w, c], what the agent sees of the world around
it, and ``player``, the rest. `network = "mlp"` puts them together again, in the same order.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import numpy as np
from craftax.craftax.envs.craftax_symbolic_env import get_map_obs_shape
from craftax.craftax_classic.envs.craftax_symbolic_env import get_map_obs_shape as get_classic_map_obs_shape
from craftax.craftax_env import make_craftax_env_from_name

from ppo_jax.tasks.suites.common import SuiteEnvironment, as_float32
from ppo_jax.types import Discrete, EnvStep, PyTree

__all__ = ["make", "names"]

MAPS = {  # of each environment the shape of what it sees of its map; None where it sees pixels
    "Craftax-Symbolic-v1": get_map_obs_shape(),
    "Craftax-Pixels-v1": None,
    "Craftax-Classic-Symbolic-v1": get_classic_map_obs_shape(),
    "Craftax-Classic-Pixels-v1": None,
}
ENDLESS = 2**31 - 1  # steps


def names() -> Collection[str]:
    """Of every environment."""
    return MAPS


def make(name: str, **options: Any) -> SuiteEnvironment:
    """Make an environment; `options` are fields of Craftax's parameters, such as ``max_timesteps``."""
    env = make_craftax_env_from_name(name, auto_reset=False)
    params, shape = env.default_params.replace(**options), MAPS[name]

    def seen(observation: jax.Array) -> PyTree:
        observation = as_float32(observation)
        if shape is None:
            return observation
        n = int(np.prod(shape))
        return {"map": observation[:n].reshape(shape), "player": observation[n:]}

    def begin(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, state = env.reset(key, params)
        return seen(observation), state

    def advance(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        observation, state, reward, done, _ = env.step(key, state, action, params)
        terminated = env.is_terminal(state, params.replace(max_timesteps=ENDLESS))
        return EnvStep(seen(observation), state, reward, terminated, done, {})

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
