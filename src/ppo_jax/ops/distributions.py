"""Action distributions: masked categorical, several of them at once, and diagonal Gaussian.

All are pytrees with the same five methods, so `ppo.py` never asks which one it holds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.types import ActionSpace, Box, Discrete, MultiDiscrete

__all__ = [
    "Categorical",
    "DiagonalGaussian",
    "Distribution",
    "MultiCategorical",
    "from_outputs",
    "to_bounds",
    "valid_by_choice",
]

# Finite, so that no inf * 0 reaches a gradient; exp() of it is exactly zero, so invalid actions have probability zero.
MASKED_LOGIT = -1e9


class Categorical(NamedTuple):
    """A choice among n actions of which `mask` are valid; every state needs at least one valid action."""

    logits: jax.Array  # [..., n]
    mask: jax.Array | None = None  # [..., n] bool; None: all are valid

    def log_probs(self) -> jax.Array:
        """Log-probabilities of all actions, [..., n]; -1e9 or less for invalid ones."""
        logits = self.logits if self.mask is None else jnp.where(self.mask, self.logits, MASKED_LOGIT)
        return jax.nn.log_softmax(logits)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions, [...] int32."""
        return jax.random.categorical(key, self.log_probs()).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """The most likely action, [...] int32; the first one of equals."""
        return jnp.argmax(self.log_probs(), axis=-1).astype(jnp.int32)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-probability of `action` [...], [...]."""
        return jnp.take_along_axis(self.log_probs(), action[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """``-sum p log p`` in nats over the valid actions, [...]."""
        log_probs = self.log_probs()
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def max_entropy(self) -> jax.Array:
        """Log of the number of valid actions, [...]: the entropy of the uniform choice; 0 where a choice is forced."""
        if self.mask is None:
            return jnp.full(self.logits.shape[:-1], math.log(self.logits.shape[-1]), jnp.float32)
        return jnp.log(jnp.sum(self.mask, axis=-1).astype(jnp.float32))


class MultiCategorical(NamedTuple):
    """k independent choices, the longest among m; shorter ones are filled up with actions that are never valid."""

    logits: jax.Array  # [..., k, m]
    mask: jax.Array  # [..., k, m] bool

    def choices(self) -> Categorical:
        """The choices by themselves, [..., k]."""
        return Categorical(self.logits, self.mask)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions, [..., k] int32."""
        return self.choices().sample(key)

    def mode(self) -> jax.Array:
        """The most likely action, [..., k] int32."""
        return self.choices().mode()

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-probability of `action` [..., k], summed over the choices, [...]."""
        return jnp.sum(self.choices().log_prob(action), axis=-1)

    def entropy(self) -> jax.Array:
        """Sum of the entropies of the choices in nats, [...]."""
        return jnp.sum(self.choices().entropy(), axis=-1)

    def max_entropy(self) -> jax.Array:
        """Sum of their largest entropies, [...]."""
        return jnp.sum(self.choices().max_entropy(), axis=-1)


class DiagonalGaussian(NamedTuple):
    """Independent normals; unbounded (no tanh): the environment's boundary clips the action."""

    mean: jax.Array  # [..., size]
    log_std: jax.Array  # [..., size]

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions, [..., size]."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def mode(self) -> jax.Array:
        """The mean, [..., size]."""
        return self.mean

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-density of `action` [..., size], summed over the last axis, [...]."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return jnp.sum(-0.5 * z**2 - self.log_std - 0.5 * math.log(2.0 * math.pi), axis=-1)

    def entropy(self) -> jax.Array:
        """Differential entropy ``sum(log std) + size/2 log(2 pi e)`` in nats, [...]; can be negative."""
        return jnp.sum(self.log_std + 0.5 * math.log(2.0 * math.pi * math.e), axis=-1)

    def max_entropy(self) -> jax.Array:
        """Zeros, [...]: a Gaussian has no largest entropy, so `entropy_normalized` is null for it."""
        return jnp.zeros(self.mean.shape[:-1])


Distribution = Categorical | MultiCategorical | DiagonalGaussian


def from_outputs(
    space: ActionSpace, outputs: jax.Array, mask: jax.Array | None = None, log_std: jax.Array | None = None
) -> Distribution:
    """The distribution that a policy's numbers stand for.

    Args:
        space: of the actions.
        outputs: [..., space.n_outputs], the means of a Box, else logits.
        mask: [..., space.n_outputs] bool, the valid actions; None: all. Not of a Box.
        log_std: of a Box, of the shape of `outputs` or [size].
    """
    match space:
        case Discrete():
            return Categorical(outputs, mask)
        case MultiDiscrete():
            mask = jnp.ones(outputs.shape, bool) if mask is None else mask
            return MultiCategorical(_by_choice(space, outputs, 0.0), valid_by_choice(space, mask))
        case Box():
            log_std = jnp.zeros(space.size) if log_std is None else log_std
            return DiagonalGaussian(outputs, jnp.broadcast_to(log_std, outputs.shape))


def to_bounds(space: Box, action: jax.Array) -> jax.Array:
    """Actions [..., size] as the environment receives them, within the bounds of `space`."""
    low, high = (jnp.broadcast_to(jnp.asarray(x, action.dtype), action.shape) for x in (space.low, space.high))
    if space.squashed:
        return low + (high - low) * (0.5 + 0.5 * jnp.tanh(action))
    return jnp.clip(action, low, high)


def valid_by_choice(space: MultiDiscrete, mask: jax.Array) -> jax.Array:
    """An ``action_mask`` [..., sum of k sizes] as [..., k, m], false beyond the end of a choice."""
    return _by_choice(space, mask, False)


def _by_choice(space: MultiDiscrete, x: jax.Array, fill: float) -> jax.Array:
    longest, ends = max(space.sizes), np.cumsum(space.sizes)
    parts = jnp.split(x, ends[:-1].tolist(), axis=-1)
    margins = [(0, 0)] * (x.ndim - 1)
    padded = (jnp.pad(part, [*margins, (0, longest - part.shape[-1])], constant_values=fill) for part in parts)
    return jnp.stack(list(padded), axis=-2)
