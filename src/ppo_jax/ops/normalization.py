"""Running statistics and what they normalise: observations, rewards, value targets.

The statistics live in the training state and are frozen in evaluation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.types import Normalizers

__all__ = [
    "Moments",
    "RunningMoments",
    "denormalize",
    "initial_moments",
    "initial_normalizers",
    "normalize",
    "normalize_observation",
    "observation_moments",
    "rounded",
    "scale_rewards",
    "standardize",
    "update_moments",
    "update_normalizers",
    "update_observation_moments",
]

PyTree = Any


class Moments(NamedTuple):
    """Mean and variance of everything seen: what normalises."""

    mean: jax.Array  # [...]
    var: jax.Array  # [...] biased
    seen: jax.Array  # [] number of samples


class RunningMoments(NamedTuple):
    """Moments that go on: the numbers of `Moments`, and of each what float32 had no room for.

    Without the rest, a mean of 10^6 would move in steps of 1/16, and after 2^31 samples nothing would move at all.
    """

    mean: jax.Array  # [...]
    var: jax.Array  # [...] biased
    seen: jax.Array  # [] number of samples
    rest: Moments  # to be added to the above for twice the digits


def initial_moments(shape: tuple[int, ...] = ()) -> RunningMoments:
    """Mean 0 and variance 1 of nothing seen yet: normalising with them changes nothing."""
    rest = Moments(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(()))
    return RunningMoments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()), rest)


def rounded(moments: PyTree) -> PyTree:
    """Running moments, alone or in a tree, as the `Moments` that normalise alike."""
    return jax.tree.map(
        lambda m: Moments(m.mean, m.var, m.seen), moments, is_leaf=lambda m: isinstance(m, RunningMoments)
    )


def update_moments(moments: RunningMoments, batch: jax.Array) -> RunningMoments:
    """Merge `batch` [n..., *shape of the moments] into the running moments (Chan et al. 1979, parallel form)."""
    dims = tuple(range(batch.ndim - moments.mean.ndim))
    n = float(batch.size // max(moments.mean.size, 1))
    rest = moments.rest
    # Around a first estimate of its mean, so that no large offset cancels.
    estimate = jnp.mean(batch, dims)
    around = batch - jnp.broadcast_to(estimate, batch.shape)
    offset, var = jnp.mean(around, dims), jnp.var(around, dims)
    seen, rest_seen = _add(moments.seen, rest.seen, n)
    share = n / seen
    far, near = estimate - moments.mean, offset - rest.mean
    delta = far + near
    mean, rest_mean = _add(*_add(moments.mean, rest.mean, far * share), near * share)
    before = jnp.where(moments.seen > 0.0, moments.var, 0.0)
    after, rest_var = _add(before, rest.var, (var - before - rest.var + delta**2 * (1.0 - share)) * share)
    # The floor keeps a constant signal from being divided by zero.
    floored = after < 1e-8
    after, rest_var = jnp.where(floored, 1e-8, after), jnp.where(floored, 0.0, rest_var)
    return RunningMoments(mean, after, seen, Moments(rest_mean, rest_var, rest_seen))


def _add(number: jax.Array, rest: jax.Array, x: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """``number + rest + x``, again as a number and what it has no room for (Knuth's two-sum)."""
    total = number + x
    taken = total - number
    rest = rest + ((number - (total - taken)) + (x - taken))
    after = total + rest
    return after, rest - (after - total)


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


def update_observation_moments(moments: PyTree, observations: PyTree) -> PyTree:
    """Merge a rollout's raw observations [T, B, ...] leaf by leaf."""
    return jax.tree.map(lambda x, m: m if m == () else update_moments(m, x), observations, moments)


def update_normalizers(normalizers: Normalizers, observations: PyTree, returns: jax.Array | None) -> Normalizers:
    """Merge a rollout's raw observations and its returns, each [T, B, ...]; without returns their statistics stay."""
    observation = update_observation_moments(normalizers.observation, observations)
    if returns is None:
        return normalizers._replace(observation=observation)
    return normalizers._replace(observation=observation, value=update_moments(normalizers.value, returns))


def normalize(moments: Moments | RunningMoments, value: jax.Array) -> jax.Array:
    """Returns [...] to the units of the network's output."""
    return (value - moments.mean) / jnp.sqrt(moments.var)


def denormalize(moments: Moments | RunningMoments, value: jax.Array) -> jax.Array:
    """Network output [...] to return units."""
    return value * jnp.sqrt(moments.var) + moments.mean


def scale_rewards(
    moments: RunningMoments,
    discounted_return: jax.Array,
    rewards: jax.Array,
    done: jax.Array,
    gamma: jax.Array,
) -> tuple[RunningMoments, jax.Array, jax.Array, jax.Array]:
    """Divide rewards by the running std of their discounted sums, clipped to ±10 (SB3's VecNormalize).

    Args:
        moments: of the discounted sums so far.
        discounted_return: [B], each environment's running sum.
        rewards, done: [T, B].
        gamma: [].

    Returns:
        New moments, new running sums [B], scaled rewards [T, B], and the divisor [].
    """

    def forward(total: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward, ended = step
        total = total * gamma + reward
        return jnp.where(ended, 0.0, total), total

    discounted_return, totals = jax.lax.scan(forward, discounted_return, (rewards, done))
    moments = update_moments(moments, totals)
    scale = jnp.sqrt(moments.var + 1e-8)
    return moments, discounted_return, jnp.clip(rewards / scale, -10.0, 10.0), scale


def standardize(x: jax.Array) -> jax.Array:
    """``(x - mean) / (std + 1e-8)`` with the unbiased standard deviation; a single number stays as it is."""
    return x if x.size == 1 else (x - jnp.mean(x)) / (jnp.std(x, ddof=1) + 1e-8)
