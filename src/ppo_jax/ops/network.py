"""Networks with memory and without, called in one way.

A network is a flax module, ``apply(params, observation) -> (distribution, value)``. One with memory has
``initial_carry(n)`` and ``apply(params, observation, carry, start) -> (distribution, value, carry)``. Without memory
the carry is ().
"""

from __future__ import annotations

from typing import Any

import jax

from ppo_jax.ops.distributions import Distribution
from ppo_jax.ops.sequences import unroll
from ppo_jax.types import Batch

__all__ = ["apply", "evaluate", "has_memory", "init", "initial_carry"]

PyTree = Any


def has_memory(network: Any) -> bool:
    """Whether a network has a carry."""
    return hasattr(network, "initial_carry")


def initial_carry(network: Any, n: int) -> PyTree:
    """The carry [n, ...] at the beginning of n episodes."""
    return network.initial_carry(n) if has_memory(network) else ()


def init(network: Any, key: jax.Array, observation: PyTree, carry: PyTree, start: jax.Array) -> PyTree:
    """Fresh parameters, for observations [n, ...]."""
    inputs = (observation, carry, start) if has_memory(network) else (observation,)
    # One by one under vmap: on a CPU the QR of a batch, for orthogonal weights, can wait for its own threads for good.
    params: PyTree = jax.custom_batching.sequential_vmap(network.init)(key, *inputs)
    return params


def apply(
    network: Any, params: PyTree, observation: PyTree, carry: PyTree, start: jax.Array
) -> tuple[Distribution, jax.Array, PyTree]:
    """Distribution [n], value [n] and next carry [n, ...] for observations [n, ...].

    `start` [n] bool says where an episode begins.
    """
    if has_memory(network):
        output: Any = network.apply(params, observation, carry, start)
        return output
    distribution, value = network.apply(params, observation)
    return distribution, value, carry


def evaluate(network: Any, params: PyTree, batch: Batch, length: int) -> tuple[Distribution, jax.Array]:
    """Distributions and values [N] along sequences of `length` steps, each begun with the carry of the rollout."""
    if length == 1 or not has_memory(network):
        return apply(network, params, batch.observation, batch.carry, batch.start)[:2]

    def step(carry: PyTree, inputs: tuple[PyTree, jax.Array]) -> tuple[PyTree, Any]:
        observation, start = inputs
        distribution, value, carry = apply(network, params, observation, carry, start)
        return carry, (distribution, value)

    outputs: Any = unroll(step, batch.carry, (batch.observation, batch.start), length)
    return outputs
