"""What is random about environments does not depend on the devices that they lie on.

With one group, the default, actions are one draw and transitions one shuffle; several devices then hand each other
their transitions. Or B environments form G groups of B/G neighbours: actions are drawn and transitions are shuffled
within a group by a key of its own, every minibatch takes as many transitions from each group, and a device holds whole
groups, so that nothing is handed over.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.ops.distributions import Distribution
from ppo_jax.ops.shuffle import permutation

__all__ = ["gather", "minibatch_order", "sample", "split"]

PyTree = Any


def split(key: jax.Array, n: int, axis: str | None = None) -> jax.Array:
    """Keys of n things that lie in equal parts on the devices of `axis`: those of this device's part."""
    return _part(jax.random.split(key, n), axis)


def gather(batch: PyTree, n_steps: int, groups: int = 1, axis: str | None = None) -> PyTree:
    """The transitions [n_steps * environments, ...] that this device's part of minibatches is taken from.

    Those of all devices' environments with one group, of its own with several.
    """
    if axis is None or groups > 1:
        return batch

    def of_all(x: jax.Array) -> jax.Array:
        steps = x.reshape(n_steps, -1, *x.shape[1:])
        return jax.lax.all_gather(steps, axis, axis=1, tiled=True).reshape(-1, *x.shape[1:])

    return jax.tree.map(of_all, batch)


def sample(policy: Distribution, key: jax.Array, groups: int = 1, axis: str | None = None) -> jax.Array:
    """Actions [b, ...] from the distributions [b] of this device's environments; all devices hold `groups` groups."""
    if groups == 1:
        # Drawn for all environments: random numbers cost less than an exchange.
        n = 1 if axis is None else jax.lax.axis_size(axis)
        whole = policy if n == 1 else jax.tree.map(lambda x: jnp.concatenate([x] * n), policy)
        return _part(whole.sample(key), axis)
    keys = split(key, groups, axis)
    grouped = jax.tree.map(lambda x: x.reshape(len(keys), -1, *x.shape[1:]), policy)
    actions = jax.vmap(lambda policy, key: policy.sample(key))(grouped, keys)
    return actions.reshape(-1, *actions.shape[2:])


def minibatch_order(
    key: jax.Array,
    epoch: jax.Array,
    n: int,
    batch_size: int,
    groups: int = 1,
    n_steps: int = 1,
    axis: str | None = None,
) -> jax.Array:
    """Indices of a fresh shuffle of n gathered transitions, [minibatches, this device's part of batch_size].

    Args:
        key: of the update.
        epoch: [] int32, number of the shuffle.
        n: transitions [n_steps, environments], flattened.
        batch_size: transitions of a minibatch on all devices.
        groups: groups on all devices.
        n_steps: steps of the rollout.
        axis: mesh axis of the devices.
    """
    key = jax.random.fold_in(key, epoch)
    if groups == 1:
        return _part(permutation(key, n).reshape(-1, batch_size), axis, 1)
    keys = split(key, groups, axis)
    here, size = len(keys), n // len(keys)
    order = jax.vmap(lambda key: permutation(key, size).reshape(-1, batch_size // groups))(keys)
    step, env = jnp.divmod(order.swapaxes(0, 1), size // n_steps)  # [minibatches, groups here, batch_size / G]
    group = jnp.arange(here)[None, :, None]
    indices = (step * here + group) * (size // n_steps) + env
    return indices.reshape(indices.shape[0], -1)


def _part(x: jax.Array, axis: str | None, dim: int = 0) -> jax.Array:
    """This device's equal part of `x` along a dimension."""
    if axis is None:
        return x
    size = x.shape[dim] // jax.lax.axis_size(axis)
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(axis) * size, size, dim)
