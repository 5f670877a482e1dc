"""The default optimizer: Adam with two learning rates that a schedule sets before each update."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import optax

__all__ = ["adam", "clip_by_global_norm", "set_hyperparams"]

PyTree = Any


@lru_cache
def adam() -> optax.GradientTransformation:
    """Adam with epsilon 1e-5. Its hyperparameters `learning_rate` and `critic_learning_rate` are set by schedules.

    Parameters of modules whose name begins with ``critic`` take the second rate. One object a process, so that
    trainers compare equal and share compiled programs.
    """

    def make(learning_rate: jax.Array, critic_learning_rate: jax.Array) -> optax.GradientTransformation:
        rates = {
            "actor": optax.scale_by_learning_rate(learning_rate),
            "critic": optax.scale_by_learning_rate(critic_learning_rate),
        }
        return optax.chain(optax.scale_by_adam(eps=1e-5), optax.partition(rates, _actor_or_critic))

    optimizer: optax.GradientTransformation = optax.inject_hyperparams(make)(
        learning_rate=0.0, critic_learning_rate=0.0
    )
    return optimizer


def set_hyperparams(opt_state: PyTree, **values: jax.Array) -> PyTree:
    """An optimizer's state with other hyperparameters, where `optax.inject_hyperparams` gave it some of these names."""

    def replace(node: Any) -> Any:
        if not _is_injected(node):
            return node
        known = {name: value for name, value in values.items() if name in node.hyperparams}
        return node._replace(hyperparams=node.hyperparams | known)

    return jax.tree.map(replace, opt_state, is_leaf=_is_injected)


def clip_by_global_norm(grads: PyTree, max_norm: jax.Array | float) -> tuple[PyTree, jax.Array]:
    """Gradients scaled down to the global norm `max_norm` where theirs is larger, and the norm that they had, [].

    PyTorch's formula, ``min(1, max_norm / (norm + 1e-6))``, so that numbers agree with SB3's.
    """
    norm = optax.tree.norm(grads)
    factor = jnp.minimum(1.0, max_norm / (norm + 1e-6))
    return jax.tree.map(lambda g: g * factor, grads), norm


def _is_injected(node: Any) -> bool:
    return hasattr(node, "hyperparams") and hasattr(node, "inner_state")


def _actor_or_critic(params: PyTree) -> PyTree:
    def label(path: tuple[Any, ...], _: Any) -> str:
        in_critic = any(str(getattr(entry, "key", "")).startswith("critic") for entry in path)
        return "critic" if in_critic else "actor"

    return jax.tree_util.tree_map_with_path(label, params)
