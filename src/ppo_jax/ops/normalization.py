"""Running statistics and what they normalise: observations, rewards, value targets.

The statistics live in the training state and are frozen in evaluation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.ops.collectives import Collectives
from ppo_jax.types import Normalizers

__all__ = [
    "Moments",
    "denormalize",
    "initial_moments",
    "initial_normalizers",
    "normalize",
    "normalize_observation",
    "observation_moments",
    "scale_rewards",
    "standardize",
    "update_moments",
    "update_normalizers",
    "update_observation_moments",
]

PyTree = Any
ONE_DEVICE = Collectives()


class Moments(NamedTuple):
    """Running mean and variance of everything seen (Chan et al. 1979, parallel form)."""

    mean: jax.Array  # [...]
    var: jax.Array  # [...] biased
    seen: jax.Array  # [] number of samples


def initial_moments(shape: tuple[int, ...] = ()) -> Moments:
    """Mean 0 and variance 1 of nothing seen yet: normalising with them changes nothing."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update_moments(moments: Moments, batch: jax.Array, collectives: Collectives = ONE_DEVICE) -> Moments:
    """Merge `batch` [n..., *shape of the moments] into the running moments."""
    dims = tuple(range(batch.ndim - moments.mean.ndim))
    n = float(collectives.size(batch) // max(moments.mean.size, 1))
    mean, var = collectives.mean_and_var(batch, dims)
    total = moments.seen + n
    delta = mean - moments.mean
    merged = moments.var * moments.seen + var * n + delta**2 * moments.seen * n / total
    # The floor keeps a constant signal from being divided by zero.
    return Moments(moments.mean + delta * n / total, jnp.maximum(merged / total, 1e-8), total)


def normalize_observation(moments: PyTree, observation: PyTree) -> PyTree:
    """Standardise and clip to ±10, as SB3's VecNormalize does; moments `()` leave a leaf, or all of it, as it is."""

    def normalize(x: jax.Array, m: PyTree) -> jax.Array:
        if m == ():
            return x
        mean, std = jnp.broadcast_to(m.mean, x.shape), jnp.broadcast_to(jnp.sqrt(m.var + 1e-8), x.shape)
        return jnp.clip((x - mean) / std, -10.0, 10.0)

    return observation if moments == () else jax.tree.map(normalize, observation, moments)


def observation_moments(observation: PyTree) -> PyTree:
    """Initial moments for each leaf [B, ...] of a batch of observations; `()` for masks and indices, no quantities."""
    return jax.tree.map(
        lambda x: initial_moments(x.shape[1:]) if jnp.issubdtype(x.dtype, jnp.floating) else (), observation
    )


def initial_normalizers(observation: PyTree, normalize_observations: bool) -> Normalizers:
    """Those of a run that begins with a batch of observations [B, ...]."""
    return Normalizers(
        observation=observation_moments(observation) if normalize_observations else (),
        reward=initial_moments(),
        value=initial_moments(),
    )


def update_observation_moments(moments: PyTree, observations: PyTree, collectives: Collectives = ONE_DEVICE) -> PyTree:
    """Merge a rollout's raw observations [T, B, ...] leaf by leaf."""
    return jax.tree.map(lambda x, m: m if m == () else update_moments(m, x, collectives), observations, moments)


def update_normalizers(
    normalizers: Normalizers,
    observations: PyTree,
    returns: jax.Array | None,
    collectives: Collectives = ONE_DEVICE,
) -> Normalizers:
    """Merge a rollout's raw observations and its returns, each [T, B, ...]; without returns their statistics stay."""
    observation = update_observation_moments(normalizers.observation, observations, collectives)
    if returns is None:
        return normalizers._replace(observation=observation)
    return normalizers._replace(observation=observation, value=update_moments(normalizers.value, returns, collectives))


def normalize(moments: Moments, value: jax.Array) -> jax.Array:
    """Returns [...] to the units of the network's output."""
    return (value - moments.mean) / jnp.sqrt(moments.var)


def denormalize(moments: Moments, value: jax.Array) -> jax.Array:
    """Network output [...] to return units."""
    return value * jnp.sqrt(moments.var) + moments.mean


def scale_rewards(
    moments: Moments,
    discounted_return: jax.Array,
    rewards: jax.Array,
    done: jax.Array,
    gamma: jax.Array,
    collectives: Collectives = ONE_DEVICE,
) -> tuple[Moments, jax.Array, jax.Array, jax.Array]:
    """Divide rewards by the running std of their discounted sums, clipped to ±10 (SB3's VecNormalize).

    Args:
        moments: of the discounted sums so far.
        discounted_return: [B], each environment's running sum.
        rewards, done: [T, B].
        gamma: [].
        collectives: over the environments.

    Returns:
        New moments, new running sums [B], scaled rewards [T, B], and the divisor [].
    """

    def forward(total: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward, ended = step
        total = total * gamma + reward
        return jnp.where(ended, 0.0, total), total

    discounted_return, totals = jax.lax.scan(forward, discounted_return, (rewards, done))
    moments = update_moments(moments, totals, collectives)
    scale = jnp.sqrt(moments.var + 1e-8)
    return moments, discounted_return, jnp.clip(rewards / scale, -10.0, 10.0), scale


def standardize(x: jax.Array, collectives: Collectives = ONE_DEVICE) -> jax.Array:
    """``(x - mean) / (std + 1e-8)`` with the unbiased standard deviation; a single number stays as it is."""
    if collectives.size(x) == 1:
        return x
    mean, var = collectives.mean_and_var(x, ddof=1)
    return (x - mean) / (jnp.sqrt(var) + 1e-8)
