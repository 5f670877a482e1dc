"""The actor-critic for vectors: samples as rows or as columns, and how its gradient is multiplied."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.networks.mlp import MIN_COLUMNS, MLPActorCritic
from ppo_jax.types import Discrete

N_IN = 5


@pytest.fixture(scope="module")
def network():
    network = MLPActorCritic(Discrete(3), hidden_sizes=(24, 16), residual_layers=1)
    return network, network.init(jax.random.key(0), jnp.zeros((1, N_IN)))


def squares(network, params, x):
    """Mean square of everything the network says, by its parameters."""
    distribution, value = network.apply(params, x)
    return jnp.mean(distribution.logits**2) + jnp.mean(value**2)


def test_rows_and_columns_agree(network):
    network, params = network
    x = jax.random.normal(jax.random.key(1), (MIN_COLUMNS, N_IN))
    assert len(x[:-1]) < MIN_COLUMNS
    by_columns, by_rows = network.apply(params, x), network.apply(params, x[:-1])
    np.testing.assert_allclose(by_columns[0].logits[:-1], by_rows[0].logits, atol=1e-6)
    np.testing.assert_allclose(by_columns[1][:-1], by_rows[1], atol=1e-5)
    # The mean over 64 samples is that of the means over two halves, which are rows.
    halves = [jax.grad(squares, argnums=1)(network, params, half) for half in jnp.split(x, 2)]
    both = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    found = jax.grad(squares, argnums=1)(network, params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, both)


def test_the_gradient_of_no_layer_multiplies_columns_with_columns(network):
    """A CPU does that at a fifth to a half of the speed; a product over the samples is one of rows with something."""
    network, params = network
    x = jax.random.normal(jax.random.key(1), (2 * MIN_COLUMNS, N_IN))
    gradient = jax.jit(jax.grad(lambda params, x: squares(network, params, x)))
    program = gradient.lower(params, x).compile().as_text()
    shapes = {name: shape.split(",") for name, shape in re.findall(r"%?([\w.-]+) = \w+\[([\d,]+)\]", program)}
    products = re.findall(r" dot\(%?([\w.-]+), [^)]*\), lhs_contracting_dims={(\d)}", program)
    summed = [(shapes[name], int(axis)) for name, axis in products if "1" not in shapes[name]]  # a vector is both
    over_samples = [axis for shape, axis in summed if shape[axis] == str(len(x))]
    assert len(summed) > len(over_samples) > 4
    assert set(over_samples) == {1}
