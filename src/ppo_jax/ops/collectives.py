"""What the algorithm does with a whole batch, as methods that several devices replace. These are those of one device.

`ppo_jax.devices.collectives` has those of a mesh, on which each device holds a part of the environments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.ops.distributions import Distribution
from ppo_jax.ops.shuffle import permutation

__all__ = ["Collectives"]

PyTree = Any


@dataclass(frozen=True)
class Collectives:
    """Draw, shuffle, average and sum over all B environments. Equal instances share compiled programs."""

    def split(self, key: jax.Array, n: int) -> jax.Array:
        """A key for each of n environments, [B]."""
        return jax.random.split(key, n)

    def sample(self, distribution: Distribution, key: jax.Array) -> jax.Array:
        """Actions [B, ...] of the environments' distributions [B]."""
        return distribution.sample(key)

    def gather(self, transitions: PyTree) -> PyTree:
        """The transitions [T, B, ...] of all environments, from which minibatches are taken."""
        return transitions

    def shuffle(self, key: jax.Array, n: int, size: int) -> jax.Array:
        """Indices below n in a fresh order, as the minibatches [n / size, size] of an epoch."""
        return permutation(key, n).reshape(-1, size)

    def average(self, function: Callable[[PyTree], PyTree], minibatch: PyTree) -> PyTree:
        """``function(minibatch)``, a gradient for example: a mean over the minibatch [n, ...]."""
        return function(minibatch)

    def sum(self, x: jax.Array) -> jax.Array:
        """Sum over all elements, []."""
        return jnp.sum(x)

    def max(self, x: jax.Array) -> jax.Array:
        """Maximum, []."""
        return jnp.max(x)

    def min(self, x: jax.Array) -> jax.Array:
        """Minimum, []."""
        return jnp.min(x)

    def size(self, x: jax.Array) -> int:
        """Number of elements."""
        return x.size

    def mean_and_var(
        self, x: jax.Array, dims: tuple[int, ...] | None = None, ddof: int = 0
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and variance over the dimensions `dims`, by default all; n − `ddof` is what divides the squares."""
        return jnp.mean(x, dims), jnp.var(x, dims, ddof=ddof)
