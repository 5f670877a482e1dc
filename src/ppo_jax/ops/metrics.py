"""Metrics of a rollout (what the returns, the critic and the episodes look like), and means over minibatches."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.types import Transition

__all__ = ["REPORTED", "masked_mean", "mean_metrics", "rollout_metrics"]

# What metrics are made of, of all that an environment reports of a step: devices gather nothing else of it.
REPORTED = ("episode_done", "episode_return", "episode_length", "metrics")


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of `values` where `mask`, []; NaN where nothing is."""
    count = jnp.sum(mask)
    total = jnp.sum(jnp.where(mask, values, 0.0))
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def rollout_metrics(
    transitions: Transition,
    values: jax.Array,
    returns: jax.Array,
    advantages: jax.Array,
    reward_scale: jax.Array | float = 1.0,
) -> dict[str, jax.Array]:
    """Metrics of a rollout, in raw return units; `values` are those before the update.

    One unit of `values`, `returns` and `advantages` [T, B] is `reward_scale` [] raw ones.
    """
    values, returns, advantages = values * reward_scale, returns * reward_scale, advantages * reward_scale
    rewards, info = transitions.reward, transitions.info
    reward_range = jnp.maximum(jnp.max(rewards), 0.0) - jnp.minimum(jnp.min(rewards), 0.0)
    returns_var = jnp.var(returns)
    error_var = jnp.var(returns - values)
    advantage_var = jnp.var(advantages)
    degenerate = jnp.sqrt(returns_var) <= 0.01 * reward_range
    done = info["episode_done"]
    metrics = {
        "explained_variance": jnp.where(degenerate, jnp.nan, 1.0 - error_var / returns_var),
        "returns_degenerate": degenerate.astype(jnp.float32),
        "returns_std": jnp.sqrt(returns_var),
        "value_error_std": jnp.sqrt(error_var),
        "advantage_std": jnp.sqrt(advantage_var),
        "episodes": jnp.sum(done).astype(jnp.float32),
        "episode_return_mean": masked_mean(info["episode_return"], done),
        "episode_length_mean": masked_mean(info["episode_length"].astype(jnp.float32), done),
        "truncated_fraction": masked_mean(transitions.truncated.astype(jnp.float32), done),
    }
    # An environment reports metrics of its own as (value, weight) a step; zero weight everywhere is null.
    for name, (value, weight) in info.get("metrics", {}).items():
        weights = jnp.sum(weight)
        mean = jnp.sum(value * weight) / jnp.where(weights > 0, weights, 1.0)
        metrics[name] = jnp.where(weights > 0, mean, jnp.nan)
    return metrics


def mean_metrics(sums: dict[str, Any], count: jax.Array) -> dict[str, jax.Array]:
    """Means [] of metrics summed over `count` [] minibatches; a pair of a sum and its weight becomes their ratio."""
    means = jax.tree.map(lambda total: total / count, sums)
    return {name: mean[0] / mean[1] if isinstance(mean, tuple) else mean for name, mean in means.items()}
