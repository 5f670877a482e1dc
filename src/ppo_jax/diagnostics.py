"""Metrics of a rollout: what the returns, the critic and the episodes look like."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ppo_jax.types import Transition

__all__ = ["masked_mean", "rollout_metrics"]


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of `values` where `mask`, []; NaN where nothing is."""
    count = jnp.sum(mask)
    return jnp.where(count > 0, jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(count, 1), jnp.nan)


def rollout_metrics(
    transitions: Transition, values: jax.Array, returns: jax.Array, advantages: jax.Array
) -> dict[str, jax.Array]:
    """Metrics of a rollout; `values`, `returns`, `advantages` [T, B] in raw return units, values before the update."""
    rewards, info = transitions.reward, transitions.info
    reward_range = jnp.maximum(jnp.max(rewards), 0.0) - jnp.minimum(jnp.min(rewards), 0.0)
    returns_std = jnp.std(returns)
    degenerate = returns_std <= 0.01 * reward_range
    explained = 1.0 - jnp.var(returns - values) / jnp.var(returns)
    done = info["episode_done"]
    metrics = {
        "explained_variance": jnp.where(degenerate, jnp.nan, explained),
        "returns_degenerate": degenerate.astype(jnp.float32),
        "returns_std": returns_std,
        "value_error_std": jnp.std(returns - values),
        "advantage_std": jnp.std(advantages),
        "episodes": jnp.sum(done).astype(jnp.float32),
        "episode_return_mean": masked_mean(info["episode_return"], done),
        "episode_length_mean": masked_mean(info["episode_length"].astype(jnp.float32), done),
        "truncated_fraction": masked_mean(transitions.truncated.astype(jnp.float32), done),
    }
    # An environment reports metrics of its own as (value, weight) a step; zero weight everywhere is null.
    for name, (value, weight) in info.get("metrics", {}).items():
        total = jnp.sum(weight)
        metrics[name] = jnp.where(total > 0, jnp.sum(value * weight) / jnp.where(total > 0, total, 1.0), jnp.nan)
    return metrics
