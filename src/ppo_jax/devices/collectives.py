"""`ppo_jax.ops.collectives` for a CPU, whose caches are small, and for several devices under `jax.shard_map`.

Every device of a mesh steps its part of the environments and takes the gradient of its part of each minibatch, which is
averaged. All else each computes for itself, from what they have gathered. Random numbers are drawn for all environments
on each device and cut to its part: they cost less than an exchange, and do not depend on the devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ppo_jax.ops.collectives import Collectives
from ppo_jax.ops.distributions import Distribution

__all__ = ["CPU_CACHED", "CPU_CACHED_BY_CORE", "InParts", "OverMesh", "default_collectives"]

PyTree = Any
# Samples whose activations, a few 64-wide layers, stay in a CPU's cache: its last one, of all cores, and that of a
# core, which a device among several has for itself.
CPU_CACHED, CPU_CACHED_BY_CORE = 8192, 1024


def default_collectives(axis: str | None = None) -> Collectives:
    """Those that fit the backend in use; `axis` names the mesh axis that several devices share a batch over."""
    on_cpu = jax.default_backend() == "cpu"
    if axis is not None:
        return OverMesh(axis, CPU_CACHED_BY_CORE if on_cpu else None)
    return InParts(CPU_CACHED) if on_cpu else Collectives()


@dataclass(frozen=True)
class InParts(Collectives):
    """Averages a minibatch in equal parts of at most `largest` rows, where it divides so.

    On a CPU the gradient of 32,768 samples is a sixth quicker then.
    """

    largest: int

    def average(self, function: Callable[[PyTree], PyTree], minibatch: PyTree) -> PyTree:
        return mean_over_parts(function, minibatch, self.largest)


@dataclass(frozen=True)
class OverMesh(Collectives):
    """Each device of the mesh axis `axis` holds an equal part of the environments and of every minibatch."""

    axis: str
    largest: int | None = None  # rows of a minibatch that a device takes at once; None: all

    def split(self, key: jax.Array, n: int) -> jax.Array:
        return self.part(jax.random.split(key, n))

    def sample(self, distribution: Distribution, key: jax.Array) -> jax.Array:
        n = jax.lax.axis_size(self.axis)
        of_all = jax.tree.map(lambda x: jnp.concatenate([x] * n), distribution)
        return self.part(of_all.sample(key))

    def gather(self, tree: PyTree) -> PyTree:
        """Arrays [T, B] of one dtype are exchanged together; an exchange costs more than copying them."""
        leaves, treedef = jax.tree.flatten(tree)
        groups: dict[Any, list[int]] = {}
        for i, x in enumerate(leaves):
            groups.setdefault((x.dtype, None if x.ndim == 2 else i), []).append(i)
        for together in groups.values():
            parts = [leaves[i] for i in together]
            whole = jax.lax.all_gather(jnp.concatenate(parts), self.axis, axis=1, tiled=True)
            ends = np.cumsum([len(x) for x in parts])[:-1]
            for i, x in zip(together, jnp.split(whole, ends), strict=True):
                leaves[i] = x
        return jax.tree.unflatten(treedef, leaves)

    def part(self, tree: PyTree, axis: int = 0) -> PyTree:
        def of(x: jax.Array) -> jax.Array:
            size, rest = divmod(x.shape[axis], jax.lax.axis_size(self.axis))
            assert not rest, f"{x.shape[axis]} cannot be split evenly over the devices"
            return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(self.axis) * size, size, axis)

        return jax.tree.map(of, tree)

    def average(self, function: Callable[[PyTree], PyTree], minibatch: PyTree) -> PyTree:
        mean = function(minibatch) if self.largest is None else mean_over_parts(function, minibatch, self.largest)
        flat, restore = ravel_pytree(mean)  # one exchange for all arrays
        return restore(jax.lax.pmean(flat, self.axis))


def mean_over_parts(function: Callable[[PyTree], PyTree], minibatch: PyTree, largest: int) -> PyTree:
    """Mean of what `function` returns for equal parts of `minibatch` [n, ...], each of at most `largest` rows.

    Where n has no such divisor below twice the fewest parts, the minibatch is one part.
    """
    n = len(jax.tree.leaves(minibatch)[0])
    fewest = -(-n // largest)
    parts = next((k for k in range(fewest, 2 * fewest) if n % k == 0), 1)
    if parts == 1:
        return function(minibatch)
    split = jax.tree.map(lambda x: x.reshape(parts, n // parts, *x.shape[1:]), minibatch)
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), jax.lax.map(function, split))
