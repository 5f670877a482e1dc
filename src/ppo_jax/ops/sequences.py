"""Rollouts [T, B, ...] as sequences of L steps, each of one environment, and a network's way along them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["flatten", "to_sequences", "unroll"]

PyTree = Any


def to_sequences(rollout: PyTree, length: int) -> PyTree:
    """Arrays [T, B, ...] as sequences [T B / L, L, ...], those of the first L steps first."""

    def convert(x: jax.Array) -> jax.Array:
        steps = x.reshape(-1, length, *x.shape[1:])  # [T / L, L, B, ...]
        return steps.swapaxes(1, 2).reshape(-1, length, *x.shape[2:])

    return jax.tree.map(convert, rollout)


def flatten(sequences: PyTree) -> PyTree:
    """Arrays [n, L, ...] as [n L, ...], sequence after sequence."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), sequences)


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
    return flatten(jax.tree.map(lambda x: x.swapaxes(0, 1), outputs))
