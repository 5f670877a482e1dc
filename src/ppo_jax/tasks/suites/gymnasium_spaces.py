"""Gymnasium's spaces: what actions are, how observations come into a compiled program, and what a network sees of them.

A dictionary or a tuple of spaces stays one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from ppo_jax.types import ActionSpace, Box, Discrete, MultiDiscrete, PPOJaxError, PyTree

__all__ = ["action_space", "as_network_sees", "as_program_takes", "shapes", "to_gymnasium", "with_rows"]

_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def action_space(env_id: str, space: spaces.Space) -> ActionSpace:
    """The actions of `space`; those of several dimensions in one.

    Raises:
        PPOJaxError: no policy gives such actions.
    """
    match space:
        case spaces.Discrete():
            return Discrete(int(space.n))
        case spaces.MultiDiscrete():
            return MultiDiscrete(tuple(int(n) for n in space.nvec.ravel()))
        case spaces.MultiBinary():
            return MultiDiscrete((2,) * int(np.prod(space.shape)))
        case spaces.Box() if np.issubdtype(space.low.dtype, np.floating):
            low, high = (tuple(float(x) for x in bound.ravel()) for bound in (space.low, space.high))
            return Box(low, high)
    raise PPOJaxError(f"env_id {env_id!r}: no policy gives actions of {space}")


def to_gymnasium(space: spaces.Space, actions: np.ndarray) -> np.ndarray:
    """Actions [n, ...] of a policy as `space` has them."""
    actions = actions.reshape(len(actions), *(space.shape or ())).astype(space.dtype)
    return actions + space.start if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) else actions


def shapes(env_id: str, space: spaces.Space) -> PyTree:
    """Shapes and types of an observation as a program takes it.

    Raises:
        PPOJaxError: a part of it is no array.
    """

    def shape(part: spaces.Space) -> jax.ShapeDtypeStruct:
        if not isinstance(part, _ARRAYS):
            raise PPOJaxError(f"env_id {env_id!r}: no network reads observations of {part}")
        return jax.ShapeDtypeStruct(part.shape, _dtype(part))

    return _over(shape, space)


def as_program_takes(space: spaces.Space, observation: PyTree) -> PyTree:
    """Observations [n, ...] in types that are quick to hand over: categories are numbers, pictures bytes."""
    return _over(lambda part, x: np.asarray(x, _dtype(part)), space, observation)


def with_rows(space: spaces.Space, observation: PyTree, others: dict[int, PyTree]) -> PyTree:
    """Observations [n, ...] as a program takes them, with others in the place of some."""

    def put(part: spaces.Space, x: np.ndarray, *rows: Any) -> np.ndarray:
        x = x.copy()
        for i, row in zip(others, rows, strict=True):
            x[i] = row
        return x

    return _over(put, space, observation, *others.values())


def as_network_sees(space: spaces.Space, observation: PyTree) -> PyTree:
    """One observation in float32: categories one-hot, bytes as shares of 255."""

    def see(part: spaces.Space, x: jax.Array) -> jax.Array:
        match part:
            case spaces.Discrete():
                return jax.nn.one_hot(x - int(part.start), int(part.n), dtype=jnp.float32)
            case spaces.MultiDiscrete():
                numbers = (x - np.asarray(part.start, np.int32)).ravel()
                each = [
                    jax.nn.one_hot(x, int(n), dtype=jnp.float32)
                    for x, n in zip(numbers, part.nvec.ravel(), strict=True)
                ]
                return jnp.concatenate(each)
        return x.astype(jnp.float32) / 255 if _dtype(part) is np.uint8 else x

    return _over(see, space, observation)


def _dtype(space: spaces.Space) -> Any:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return np.int32
    return np.uint8 if isinstance(space, spaces.Box) and space.dtype == np.uint8 else np.float32


def _over(function: Callable[..., Any], space: spaces.Space, *values: Any) -> Any:
    """`function` of each space in `space` that is no dictionary or tuple, and of what it holds of `values`."""
    if isinstance(space, spaces.Dict):
        return {name: _over(function, part, *(x[name] for x in values)) for name, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_over(function, part, *(x[i] for x in values)) for i, part in enumerate(space))
    return function(space, *values)
