"""Environments in groups: what is random about a group does not depend on the device that it lies on.

B environments form G groups of B/G neighbours. Actions are drawn and transitions are shuffled within a group by a key
of its own, and every minibatch takes as many transitions from each group. A device holds whole groups, so that one
device and many make the same minibatches. With one group all of it is one draw and one shuffle.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ppo_jax.distributions import Distribution
from ppo_jax.permutation import permutation

__all__ = ["minibatch_order", "sample", "split"]


def split(key: jax.Array, n: int, axis: str | None = None) -> jax.Array:
    """Keys of n things that lie in equal parts on the devices of `axis`: those of this device's part."""
    keys = jax.random.split(key, n)
    if axis is None:
        return keys
    size = n // jax.lax.axis_size(axis)
    return jax.lax.dynamic_slice_in_dim(keys, jax.lax.axis_index(axis) * size, size)


def sample(policy: Distribution, key: jax.Array, groups: int = 1, axis: str | None = None) -> jax.Array:
    """Actions [b, ...] from the distributions [b] of this device's environments; all devices hold `groups` groups."""
    if groups == 1:
        return policy.sample(key)
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
    """Indices of a fresh shuffle of this device's n transitions, [minibatches, its part of batch_size].

    Args:
        key: of the update.
        epoch: [] int32, number of the shuffle.
        n: transitions [n_steps, environments] of this device, flattened.
        batch_size: transitions of a minibatch on all devices.
        groups: groups on all devices.
        n_steps: steps of the rollout.
        axis: mesh axis of the devices.
    """
    key = jax.random.fold_in(key, epoch)
    if groups == 1:
        return permutation(key, n).reshape(-1, batch_size)
    keys = split(key, groups, axis)
    here, size = len(keys), n // len(keys)
    order = jax.vmap(lambda key: permutation(key, size).reshape(-1, batch_size // groups))(keys)
    step, env = jnp.divmod(order.swapaxes(0, 1), size // n_steps)  # [minibatches, groups here, batch_size / G]
    group = jnp.arange(here)[None, :, None]
    indices = (step * here + group) * (size // n_steps) + env
    return indices.reshape(indices.shape[0], -1)
