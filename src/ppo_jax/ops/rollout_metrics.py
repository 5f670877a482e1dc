"""Metrics of a rollout: what the returns, the critic and the episodes look like."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ppo_jax.ops.collectives import Collectives
from ppo_jax.types import Transition

__all__ = ["masked_mean", "rollout_metrics"]

ONE_DEVICE = Collectives()


def masked_mean(values: jax.Array, mask: jax.Array, collectives: Collectives) -> jax.Array:
    """Mean of `values` where `mask`, []; NaN where nothing is."""
    count = collectives.sum(mask)
    total = collectives.sum(jnp.where(mask, values, 0.0))
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def rollout_metrics(
    transitions: Transition,
    values: jax.Array,
    returns: jax.Array,
    advantages: jax.Array,
    collectives: Collectives = ONE_DEVICE,
) -> dict[str, jax.Array]:
    """Metrics of a rollout; `values`, `returns`, `advantages` [T, B] in raw return units, values before the update."""
    rewards, info = transitions.reward, transitions.info
    reward_range = jnp.maximum(collectives.max(rewards), 0.0) - jnp.minimum(collectives.min(rewards), 0.0)
    _, returns_var = collectives.mean_and_var(returns)
    _, error_var = collectives.mean_and_var(returns - values)
    _, advantage_var = collectives.mean_and_var(advantages)
    degenerate = jnp.sqrt(returns_var) <= 0.01 * reward_range
    done = info["episode_done"]
    metrics = {
        "explained_variance": jnp.where(degenerate, jnp.nan, 1.0 - error_var / returns_var),
        "returns_degenerate": degenerate.astype(jnp.float32),
        "returns_std": jnp.sqrt(returns_var),
        "value_error_std": jnp.sqrt(error_var),
        "advantage_std": jnp.sqrt(advantage_var),
        "episodes": collectives.sum(done).astype(jnp.float32),
        "episode_return_mean": masked_mean(info["episode_return"], done, collectives),
        "episode_length_mean": masked_mean(info["episode_length"].astype(jnp.float32), done, collectives),
        "truncated_fraction": masked_mean(transitions.truncated.astype(jnp.float32), done, collectives),
    }
    # An environment reports metrics of its own as (value, weight) a step; zero weight everywhere is null.
    for name, (value, weight) in info.get("metrics", {}).items():
        weights = collectives.sum(weight)
        mean = collectives.sum(value * weight) / jnp.where(weights > 0, weights, 1.0)
        metrics[name] = jnp.where(weights > 0, mean, jnp.nan)
    return metrics
