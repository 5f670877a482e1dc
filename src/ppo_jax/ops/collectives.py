"""Sums, means and variances over a batch, which may lie in equal parts on several devices.

`axis` names the mesh axis that `jax.shard_map` runs over; each device then calls these with its part and gets the
result over all parts, the same to the bit on every one. None: there is one device, and they are those of `jax.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

__all__ = [
    *("largest", "mean_and_var", "mean_of_devices", "mean_over_parts"),
    *("size", "smallest", "standardize", "standardize_rows", "total", "var"),
]

PyTree = Any
# Samples whose activations, a few 64-wide layers, stay in a processor's cache: its last one, of all cores, and that of
# a core, which a device among several has for itself. One device shares products of fewer than 2048 badly among cores.
CACHED, CACHED_BY_CORE = 8192, 1024


def size(x: jax.Array, axis: str | None = None) -> int:
    """Number of elements of the whole batch."""
    return x.size if axis is None else x.size * jax.lax.axis_size(axis)


def total(x: jax.Array, axis: str | None = None) -> jax.Array:
    """Sum, []."""
    return jnp.sum(x) if axis is None else jax.lax.psum(jnp.sum(x), axis)


def largest(x: jax.Array, axis: str | None = None) -> jax.Array:
    """Maximum, []."""
    return jnp.max(x) if axis is None else jax.lax.pmax(jnp.max(x), axis)


def smallest(x: jax.Array, axis: str | None = None) -> jax.Array:
    """Minimum, []."""
    return jnp.min(x) if axis is None else jax.lax.pmin(jnp.min(x), axis)


def mean_and_var(
    x: jax.Array, dims: tuple[int, ...] | None = None, ddof: int = 0, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over the dimensions `dims`, by default all; n − `ddof` is what divides the squares.

    The parts' own means and variances are merged (Chan et al. 1979), so nothing large cancels.
    """
    if axis is None:
        return jnp.mean(x, dims), jnp.var(x, dims, ddof=ddof)
    means, variances = jax.lax.all_gather(jnp.stack([jnp.mean(x, dims), jnp.var(x, dims)]), axis, axis=1)
    n = size(x, axis) // max(means[0].size, 1)
    return means.mean(0), (variances.mean(0) + means.var(0)) * (n / (n - ddof))


def var(x: jax.Array, axis: str | None = None) -> jax.Array:
    """Biased variance, []."""
    return jnp.var(x) if axis is None else mean_and_var(x, axis=axis)[1]


def standardize(x: jax.Array, axis: str | None = None) -> jax.Array:
    """``(x - mean) / (std + 1e-8)`` with the unbiased standard deviation; a single number stays as it is."""
    if size(x, axis) == 1:
        return x
    mean, variance = mean_and_var(x, ddof=1, axis=axis)
    return (x - mean) / (jnp.sqrt(variance) + 1e-8)


def standardize_rows(x: jax.Array, axis: str | None = None) -> jax.Array:
    """`standardize` of each row of x [m, n], whose columns lie in equal parts on the devices, in one exchange."""
    if axis is None:
        return jax.lax.map(standardize, x)  # to the bits of each row by itself
    # On two cores an exchange takes 60 microseconds: once for all rows, 1.03 times the speed of 64 environments.
    mean, variance = mean_and_var(x, (1,), ddof=1, axis=axis)
    return (x - mean[:, None]) / (jnp.sqrt(variance)[:, None] + 1e-8)


def mean_of_devices(tree: PyTree, axis: str | None = None) -> PyTree:
    """Mean over the devices of every array of `tree`, in one exchange: of means over parts, those over the batch."""
    if axis is None:
        return tree
    flat, restore = ravel_pytree(tree)
    return restore(jax.lax.pmean(flat, axis))


def mean_over_parts(function: Callable[[PyTree], PyTree], batch: PyTree, axis: str | None = None) -> PyTree:
    """Mean of what `function` finds for equal parts of `batch` [n, ...]: of means over parts, those over the batch.

    On a CPU a part has at most `CACHED` samples, where n divides so, and among the devices of an `axis` at most
    `CACHED_BY_CORE`: the gradient of 32,768 samples is a sixth quicker then, and on two devices an update another
    eighth. Elsewhere the batch is one part.
    """
    n = len(jax.tree.leaves(batch)[0])
    fewest = -(-n // (CACHED if axis is None else CACHED_BY_CORE)) if jax.default_backend() == "cpu" else 1
    k = next((k for k in range(fewest, 2 * fewest) if n % k == 0), 1)
    if k == 1:
        return function(batch)
    found = jax.lax.map(function, jax.tree.map(lambda x: x.reshape(k, n // k, *x.shape[1:]), batch))
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), found)
