"""The forms for a CPU agree with the plain networks, and their gradients are multiplied the quick way."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.networks import cpu
from ppo_jax.networks.conv import ConvActorCritic
from ppo_jax.networks.cpu import MIN_COLUMNS, ColumnMLPActorCritic
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.types import Box, Discrete, MultiDiscrete, PPOJaxError

N_IN = 5
SHAPE = {"hidden_sizes": (24, 16), "residual_layers": 1}
BOX = Box((-1.0, -1.0), (1.0, 1.0))
convolution = jax.jit(cpu.convolution, static_argnums=(2, 3))


def squares(network, params, x):
    """Mean square of everything the network says, by its parameters."""
    distribution, value = network.apply(params, x)
    return jnp.mean(distribution[0] ** 2) + jnp.mean(value**2)


def assert_agree(plain, quick, x):
    """Same parameters to the bit, same outputs and gradients to rounding."""
    params = jax.jit(plain.init)(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, params, jax.jit(quick.init)(jax.random.key(0), x))
    (expected, value), (found, quick_value) = jax.jit(plain.apply)(params, x), jax.jit(quick.apply)(params, x)
    assert type(found) is type(expected)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(quick_value, value, atol=1e-5)
    slopes, quick_slopes = (
        jax.jit(jax.grad(squares, argnums=1), static_argnums=0)(m, params, x) for m in (plain, quick)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), quick_slopes, slopes)


@pytest.mark.parametrize("n", [MIN_COLUMNS - 1, MIN_COLUMNS])
@pytest.mark.parametrize(
    ("space", "separate_critic"), [(Discrete(3), True), (BOX, False), (MultiDiscrete((2, 3)), True)]
)
def test_columns_agree_with_rows(n, space, separate_critic):
    x = jax.random.normal(jax.random.key(1), (n, N_IN))
    plain, columns = (
        network(space, **SHAPE, separate_critic=separate_critic) for network in (MLPActorCritic, ColumnMLPActorCritic)
    )
    assert_agree(plain, columns, x)


def test_columns_keep_the_mask():
    x = jax.random.normal(jax.random.key(1), (MIN_COLUMNS, N_IN))
    mask = jnp.arange(3)[None] < 1 + jnp.arange(len(x))[:, None] % 3
    seen = {"observation": x, "action_mask": mask}
    (distribution, _), _ = jax.jit(ColumnMLPActorCritic(Discrete(3)).init_with_output)(jax.random.key(0), seen)
    assert np.array_equal(distribution.mask, mask)


def test_the_gradient_of_no_layer_multiplies_columns_with_columns():
    """A CPU does that at a fifth to a half of the speed; a product over the samples is one of rows with something."""
    network = ColumnMLPActorCritic(Discrete(3), **SHAPE)
    x = jax.random.normal(jax.random.key(1), (2 * MIN_COLUMNS, N_IN))
    params = jax.jit(network.init)(jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda params, x: squares(network, params, x)))
    program = gradient.lower(params, x).compile().as_text()
    shapes = {name: shape.split(",") for name, shape in re.findall(r"%?([\w.-]+) = \w+\[([\d,]+)\]", program)}
    products = re.findall(r" dot\(%?([\w.-]+), [^)]*\), lhs_contracting_dims={(\d)}", program)
    summed = [(shapes[name], int(axis)) for name, axis in products if "1" not in shapes[name]]  # a vector is both
    over_samples = [axis for shape, axis in summed if shape[axis] == str(len(x))]
    assert len(summed) > len(over_samples) > 4
    assert set(over_samples) == {1}


@pytest.mark.parametrize("padding", ["VALID", "SAME", ((2, 1), (0, 3))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_the_convolution_pads_as_xlas(padding, strides):
    x, kernel = (jax.random.normal(jax.random.key(k), shape) for k, shape in enumerate([(2, 7, 6, 3), (3, 2, 3, 4)]))
    expected = jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(convolution(x, kernel, strides, padding), expected, atol=1e-4)


def test_a_convolution_that_it_does_not_know_is_refused():
    x, kernel = jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 4))
    for changes in ({"rhs_dilation": (2, 2)}, {"feature_group_count": 2}, {"x": x[0]}):
        with pytest.raises(PPOJaxError, match=r"of images .*, neither dilated nor grouped"):
            cpu.convolution(**{"x": x, "kernel": kernel} | changes)


@pytest.mark.parametrize("separate_critic", [True, False])
def test_the_convolution_by_windows_agrees_with_xlas(separate_critic):
    x = jax.random.normal(jax.random.key(1), (6, 5, 4, 2))
    plain, windows = (
        ConvActorCritic(Discrete(3), (8,), separate_critic=separate_critic, **more)
        for more in ({}, {"convolution": cpu.convolution})
    )
    assert_agree(plain, windows, x)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1), (4, 3)])
def test_windows_at_strides(strides):
    x, kernel = jax.random.normal(jax.random.key(0), (2, 9, 11, 3)), jax.random.normal(jax.random.key(1), (4, 3, 3, 5))
    expected = jax.lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(convolution(x, kernel, strides), expected, atol=1e-4)
