"""Action distributions: masked categorical and diagonal Gaussian.

Both are pytrees with the same five methods, so `ppo.py` never asks which one it holds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Categorical", "DiagonalGaussian", "Distribution"]

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


Distribution = Categorical | DiagonalGaussian
