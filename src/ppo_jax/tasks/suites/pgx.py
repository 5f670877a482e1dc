"""Games of Pgx (Koyama et al. 2023): ``pgx/connect_four``, where the other seats are taken by an opponent.

The policy sits in seat 0, which Pgx lets begin or not by chance. The opponent's moves are part of a step, which ends
when the policy is to move again or the game is over; the reward is what seat 0 got meanwhile. Nothing truncates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import pgx

from ppo_jax.tasks.suites.common import SuiteEnvironment, as_float32, typed_like
from ppo_jax.types import Discrete, EnvStep, PyTree

__all__ = ["Opponent", "make", "names", "uniform"]

Opponent = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""``(key, observation [...], action_mask [n]) -> action []`` of whoever is to move."""

SEAT = 0  # of the policy


def names() -> Collection[str]:
    """Of every game."""
    return pgx.available_envs()


def uniform(key: jax.Array, observation: jax.Array, action_mask: jax.Array) -> jax.Array:
    """Any legal move."""
    return jax.random.categorical(key, jnp.where(action_mask, 0.0, -jnp.inf))


def make(name: str, opponent: Opponent = uniform) -> SuiteEnvironment:
    """Make a game against an opponent; a frozen policy is one too."""
    env = pgx.make(name)

    def begin(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        key_init, key_others = jax.random.split(key)
        state, _ = others_move(key_others, env.init(key_init))
        return _observe(state), state

    def advance(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        key_step, key_others = jax.random.split(key)
        state, reward = others_move(key_others, env.step(state, action, key_step))
        return EnvStep(_observe(state), state, reward, state.terminated, state.truncated, {})

    def others_move(key: jax.Array, state: PyTree) -> tuple[PyTree, jax.Array]:
        """The state when it is the policy's turn again, and what it got since its last."""

        def waits(now: tuple[jax.Array, PyTree, jax.Array]) -> jax.Array:
            state = now[1]
            return (state.current_player != SEAT) & ~state.terminated & ~state.truncated

        def move(now: tuple[jax.Array, PyTree, jax.Array]) -> tuple[jax.Array, PyTree, jax.Array]:
            key, state, reward = now
            key, key_choice, key_step = jax.random.split(key, 3)
            action = opponent(key_choice, as_float32(state.observation), state.legal_action_mask)
            after = typed_like(env.step(state, action, key_step), state)
            return key, after, reward + after.rewards[SEAT]

        begun = (key, typed_like(state, state), state.rewards[SEAT])
        if env.num_players == 1:
            return begun[1:]
        return jax.lax.while_loop(waits, move, begun)[1:]

    return SuiteEnvironment(
        f"pgx/{name}", env, begin, advance, Discrete(env.num_actions), can_truncate=False, max_episode_length=None
    )


def _observe(state: Any) -> dict[str, jax.Array]:
    return {"observation": as_float32(state.observation), "action_mask": state.legal_action_mask}
