"""Wrappers that take an environment and are one: each is a frozen data class over any `ppo_jax.types.Environment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.ops.distributions import valid_by_choice
from ppo_jax.types import ActionSpace, Environment, EnvStep, MultiDiscrete, PyTree

__all__ = ["NO_VALID_ACTION", "EpisodeStatistics", "EpisodeStatisticsState"]

NO_VALID_ACTION = "no_valid_action"


class EpisodeStatisticsState(NamedTuple):
    """The wrapped environment's state and what the running episode has gathered so far."""

    env_state: PyTree
    episode_return: jax.Array  # [] float32
    episode_length: jax.Array  # [] int32


@dataclass(frozen=True)
class EpisodeStatistics:
    """Report the return and the length of every finished episode.

    Each step's info gains

    - ``episode_done`` [] bool: an episode ended at this step, by termination or truncation;
    - ``episode_return`` [] float32: its undiscounted sum of raw rewards;
    - ``episode_length`` [] int32: its number of steps.

    The last two are zero while no episode ends: mask by ``episode_done`` before taking a mean. With `counts_invalid`
    the metric ``no_valid_action`` says in what share of steps an ``action_mask`` leaves nothing to do.
    """

    env: Environment
    counts_invalid: bool = False

    @property
    def action_space(self) -> ActionSpace:
        """The wrapped environment's."""
        return self.env.action_space

    @property
    def can_truncate(self) -> bool:
        """The wrapped environment's."""
        return self.env.can_truncate

    @property
    def default_params(self) -> PyTree:
        """The wrapped environment's."""
        return self.env.default_params

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, EpisodeStatisticsState]:
        """Return ``(observation, state)`` of a fresh episode, strongly typed.

        A weak type (of ``jnp.where(x, 1.0, 0.0)``, say) would become a strong one in the first compiled update, and
        the second would compile anew.
        """
        observation, env_state = _strongly_typed(self.env.reset(key, params))
        return observation, EpisodeStatisticsState(env_state, jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    def step(self, key: Any, state: EpisodeStatisticsState, action: Any, params: PyTree) -> EnvStep:
        """Step the wrapped environment and add the three entries to its info."""
        step = self.env.step(key, state.env_state, action, params)
        done = step.terminated | step.truncated
        episode_return = state.episode_return + step.reward
        episode_length = state.episode_length + 1
        finished_return = jnp.where(done, episode_return, 0.0)
        finished_length = jnp.where(done, episode_length, 0)
        info = dict(step.info)
        if self.counts_invalid and isinstance(step.observation, dict) and "action_mask" in step.observation:
            stuck = ~_has_valid_action(self.action_space, step.observation["action_mask"])
            info["metrics"] = {**info.get("metrics", {}), NO_VALID_ACTION: (stuck.astype(jnp.float32), jnp.ones(()))}
        return step._replace(
            state=EpisodeStatisticsState(
                step.state, jnp.where(done, 0.0, episode_return), jnp.where(done, 0, episode_length)
            ),
            info={
                **info,
                "episode_done": done,
                "episode_return": finished_return,
                "episode_length": finished_length,
            },
        )


def _has_valid_action(space: ActionSpace, mask: jax.Array) -> jax.Array:
    """Whether each choice leaves something to do, []."""
    if isinstance(space, MultiDiscrete):
        return jnp.all(jnp.any(valid_by_choice(space, mask), axis=-1))
    return jnp.any(mask)


def _strongly_typed(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)
