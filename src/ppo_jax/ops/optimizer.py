"""One gradient step: clip by global norm, Adam's direction, two learning rates."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import optax

__all__ = ["adam", "gradient_step"]

PyTree = Any


@lru_cache
def adam() -> optax.GradientTransformation:
    """Adam's direction with epsilon 1e-5; one object a process, so that trainers compare equal."""
    return optax.scale_by_adam(eps=1e-5)


def gradient_step(
    optimizer: optax.GradientTransformation,
    params: PyTree,
    opt_state: PyTree,
    grads: PyTree,
    max_grad_norm: jax.Array | float,
    learning_rate: jax.Array | float,
    critic_learning_rate: jax.Array | float,
) -> tuple[PyTree, PyTree, dict[str, jax.Array]]:
    """Descend along the clipped gradient; parameters of modules named ``critic…`` at their own rate.

    Returns:
        Parameters, optimizer state, and `grad_norm` (before clipping) and `grad_clip_fraction` (0 or 1), both [].
    """
    norm = optax.tree.norm(grads)
    factor = jnp.minimum(1.0, max_grad_norm / (norm + 1e-6))
    directions, opt_state = optimizer.update(jax.tree.map(lambda g: g * factor, grads), opt_state, params)

    def move(path: tuple[Any, ...], param: jax.Array, direction: jax.Array) -> jax.Array:
        in_critic = any(str(getattr(entry, "key", "")).startswith("critic") for entry in path)
        return param - (critic_learning_rate if in_critic else learning_rate) * direction

    params = jax.tree_util.tree_map_with_path(move, params, directions)
    return params, opt_state, {"grad_norm": norm, "grad_clip_fraction": (norm > max_grad_norm).astype(jnp.float32)}
