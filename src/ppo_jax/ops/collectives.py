"""What the algorithm does for all environments, as methods that several devices replace. These are those of one.

`ppo_jax.devices.collectives` has those of a mesh, on which each device holds a part of the environments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from ppo_jax.ops.distributions import Distribution

__all__ = ["Collectives"]

PyTree = Any


@dataclass(frozen=True)
class Collectives:
    """Draw for all B environments, gather from them, part and average minibatches. Equal ones share programs."""

    def split(self, key: jax.Array, n: int) -> jax.Array:
        """A key for each of n environments, [B]."""
        return jax.random.split(key, n)

    def sample(self, distribution: Distribution, key: jax.Array) -> jax.Array:
        """Actions [B, ...] of the environments' distributions [B]."""
        return distribution.sample(key)

    def gather(self, tree: PyTree) -> PyTree:
        """Arrays [T, B, ...] of all environments."""
        return tree

    def part(self, tree: PyTree, axis: int = 0) -> PyTree:
        """What of arrays that are alike on all devices is this one's, an equal part of `axis`."""
        return tree

    def average(self, function: Callable[[PyTree], PyTree], minibatch: PyTree) -> PyTree:
        """``function(minibatch)``, a gradient for example: a mean over the minibatch [n, ...]."""
        return function(minibatch)
