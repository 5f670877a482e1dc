"""Random keys as plain numbers, and back: files and hosts hold no keys, and environments keep some in their states."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["as_data", "as_keys"]

PyTree = Any


def as_data(tree: PyTree) -> PyTree:
    """The tree with every random key replaced by its data."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def as_keys(tree: PyTree, like: PyTree) -> PyTree:
    """What `as_data` made of a tree of the shapes and types of `like`, as it was; its keys of JAX's default kind."""
    return jax.tree.map(lambda old, x: jax.random.wrap_key_data(x) if _is_key(old) else x, like, tree)


def _is_key(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
