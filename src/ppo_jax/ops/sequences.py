"""Rollouts [T, B, ...] as sequences of L steps, each of one environment, and a network's way along them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ppo_jax.types import Batch

__all__ = ["flatten", "to_sequences", "unroll"]

PyTree = Any


def to_sequences(batch: Batch, length: int) -> Batch:
    """A batch [T, B, ...] as sequences [T B / L, L, ...], those of the first L steps first.

    Its carry is given where a sequence begins, [T / L, B, ...], and becomes [T B / L, ...].
    """

    def convert(x: jax.Array) -> jax.Array:
        steps = x.reshape(-1, length, *x.shape[1:])  # [T / L, L, B, ...]
        return steps.swapaxes(1, 2).reshape(-1, length, *x.shape[2:])

    sequences: Batch = jax.tree.map(convert, batch._replace(carry=()))
    return sequences._replace(carry=_merge(batch.carry))


def flatten(batch: Batch) -> Batch:
    """Sequences [n, L, ...] as transitions [n L, ...], sequence after sequence; the carry stays [n, ...]."""
    transitions: Batch = _merge(batch._replace(carry=()))
    return transitions._replace(carry=batch.carry)


def unroll(step: Callable[[PyTree, PyTree], tuple[PyTree, Any]], carry: PyTree, inputs: PyTree, length: int) -> Any:
    """What `step` returns along n sequences of `length` steps.

    Args:
        step: ``(carry [n, ...], inputs [n, ...]) -> (carry, outputs [n, ...])``.
        carry: before the first step.
        inputs: [n L, ...], sequence after sequence, as the outputs are.
        length: L.
    """

    def to_steps(x: jax.Array) -> jax.Array:
        return x.reshape(-1, length, *x.shape[1:]).swapaxes(0, 1)

    _, outputs = jax.lax.scan(step, carry, jax.tree.map(to_steps, inputs))
    return _merge(jax.tree.map(lambda x: x.swapaxes(0, 1), outputs))


def _merge(tree: PyTree) -> PyTree:
    """The first two axes as one."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
