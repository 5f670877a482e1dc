"""What the adapters share: an environment given by two functions, episodes that restart, time limits, actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.types import ActionSpace, Box, EnvStep, PyTree

__all__ = [
    "Advance",
    "Begin",
    "Limited",
    "SuiteEnvironment",
    "as_float32",
    "auto_reset",
    "limit_steps",
    "one_hot_channels",
    "share_resets",
    "typed_like",
]

Begin = Callable[[jax.Array, PyTree], tuple[PyTree, PyTree]]
"""``(key, params) -> (observation, state)`` of a fresh episode."""
Advance = Callable[[jax.Array, PyTree, jax.Array, PyTree], EnvStep]
"""``(key, state, action, params)`` -> the step, also where the episode ends there; its info is empty."""


@dataclass(frozen=True, eq=False)
class SuiteEnvironment:
    """An environment of a suite as `ppo_jax.types.Environment`; equal only to itself, so build it once."""

    env_id: str
    environment: Any  # the suite's own
    begin: Begin
    advance: Advance
    action_space: ActionSpace
    can_truncate: bool
    max_episode_length: int | None  # steps after which an episode is cut; None where it is not
    default_params: PyTree = ()
    optimistic_resets: int = 1  # environments side by side that one fresh episode a step is drawn for

    def reset(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        """Return ``(observation, state)`` of a fresh episode, strongly typed."""
        with jax.numpy_rank_promotion("allow"):  # however strict the caller is
            return typed_like(begun := self.begin(key, params), begun)

    def step(self, key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        """Take one step and restart the episode if it ended there; actions of a Box are clipped to its bounds."""
        key_step, key_reset = jax.random.split(key)
        if isinstance(self.action_space, Box):
            low, high = (jnp.asarray(bound, jnp.float32) for bound in (self.action_space.low, self.action_space.high))
            action = jnp.clip(action, low, high)
        with jax.numpy_rank_promotion("allow"):
            taken = self.advance(key_step, state, action, params)
        if self.optimistic_resets == 1:
            return auto_reset(taken, self.reset(key_reset, params))
        ended = jnp.reshape(jnp.asarray(taken.terminated | taken.truncated, bool), ())
        return auto_reset(taken, share_resets(self.reset, self.optimistic_resets)(key_reset, ended, params))


def share_resets(reset: Begin, ratio: int) -> Callable[[jax.Array, jax.Array, PyTree], tuple[PyTree, PyTree]]:
    """``(key, ended, params) -> (observation, state)``, which under `jax.vmap` over n environments resets n // ratio.

    Those that ended take the fresh episodes in turn, so that two begin alike only where more end in one step than are
    reset. As Craftax's wrapper for optimistic resets (Matthews et al. 2024); alone an environment resets for itself.
    """

    @jax.custom_batching.custom_vmap
    def fresh(key: jax.Array, ended: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        return reset(key, params)

    @fresh.def_vmap
    def _fresh(n: int, batched: Any, key: jax.Array, ended: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        key_axis, ended_axis, params_axes = batched
        if not (key_axis and ended_axis) or any(jax.tree.leaves(params_axes)):  # parameters of each environment's own
            axes = tuple(jax.tree.map(lambda axis: 0 if axis else None, one) for one in (key_axis, params_axes))
            begun = jax.vmap(reset, axes, axis_size=n)(key, params)
        else:
            few = max(n // ratio, 1)
            begun = jax.vmap(reset, (0, None))(key[:few], params)
            turn = jnp.maximum(jnp.cumsum(ended) - 1, 0) % few
            begun = jax.tree.map(lambda x: x[turn], begun)
        return begun, jax.tree.map(lambda _: True, begun)

    return fresh


def auto_reset(taken: EnvStep, fresh: tuple[PyTree, PyTree]) -> EnvStep:
    """A step that goes on in another episode where its own ends; it is as strongly typed as the other's beginning.

    Args:
        taken: a step that does not restart.
        fresh: ``(observation, state)`` of an episode that begins.

    Returns:
        The step with ``info["final_observation"]``; where it is both terminated and truncated, it is terminated.
    """
    final = typed_like((taken.observation, taken.state), fresh)
    terminated = jnp.asarray(taken.terminated, bool).reshape(())
    truncated = jnp.asarray(taken.truncated, bool).reshape(()) & ~terminated
    observation, state = jax.tree.map(lambda new, old: jnp.where(terminated | truncated, new, old), fresh, final)
    reward = jnp.asarray(taken.reward, jnp.float32).reshape(())
    return EnvStep(observation, state, reward, terminated, truncated, {**taken.info, "final_observation": final[0]})


class Limited(NamedTuple):
    """The state of an episode that is cut after some steps."""

    state: PyTree
    time: jax.Array  # [] int32, steps so far


def limit_steps(begin: Begin, advance: Advance, limit: int) -> tuple[Begin, Advance]:
    """The same environment where an episode is truncated after `limit` steps."""

    def begin_limited(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, state = begin(key, params)
        return observation, Limited(state, jnp.zeros((), jnp.int32))

    def advance_limited(key: jax.Array, state: Limited, action: jax.Array, params: PyTree) -> EnvStep:
        taken, time = advance(key, state.state, action, params), state.time + 1
        return taken._replace(state=Limited(taken.state, time), truncated=time >= limit)

    return begin_limited, advance_limited


def as_float32(tree: PyTree) -> PyTree:
    """Every array as float32."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def one_hot_channels(grid: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """Integers [..., C], the c-th of them a category below ``sizes[c]``, as [..., sum(sizes)] float32."""
    return jnp.concatenate([jax.nn.one_hot(grid[..., c], n, dtype=jnp.float32) for c, n in enumerate(sizes)], axis=-1)


def typed_like(tree: PyTree, model: PyTree) -> PyTree:
    """The arrays of `tree` with the types of those of `model`, none of them weak."""
    return jax.tree.map(lambda x, y: jax.lax.convert_element_type(x, jnp.result_type(y)), tree, model)
