"""The actor-critic for vectors: its parameters, their first values, and its heads."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.networks.cpu import MIN_COLUMNS, ColumnMLPActorCritic
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.ops.distributions import Categorical, DiagonalGaussian
from ppo_jax.types import Box, Discrete


@pytest.fixture(scope="module")
def network():
    network = MLPActorCritic(Discrete(3), hidden_sizes=(24, 16), residual_layers=1)
    return network, network.init(jax.random.key(0), jnp.zeros((1, 5)))["params"]


def test_names_and_shapes_of_the_parameters(network):
    """Those of every checkpoint so far; residual layers go on counting after the hidden ones."""
    tower = {
        "Dense_0": {"kernel": (5, 24), "bias": (24,)},
        "Dense_1": {"kernel": (24, 16), "bias": (16,)},
        "Dense_2": {"kernel": (16, 16), "bias": (16,)},
    }
    assert jax.tree.map(jnp.shape, network[1]) == {
        "actor": tower,
        "critic": tower,
        "actor_head": {"kernel": (16, 3), "bias": (3,)},
        "critic_head": {"kernel": (16, 1), "bias": (1,)},
    }


def test_initial_values_stay_those_of_the_first_version(network):
    """Taken from it with the same key; training with a seed repeats only if these do."""
    params = network[1]
    kernels = {
        "actor": params["actor"]["Dense_0"]["kernel"][0, :3],
        "critic": params["critic"]["Dense_2"]["kernel"][0, :3],
        "actor_head": params["actor_head"]["kernel"][0],
        "critic_head": params["critic_head"]["kernel"][:3, 0],
    }
    expected = {
        "actor": np.array([-0.13937861, 0.082648113, -0.35961032], np.float32),
        "critic": np.array([0.7186287, -0.37136531, 0.097894892], np.float32),
        "actor_head": np.array([0.0018857229, 0.0041509117, -0.0034612347], np.float32),
        "critic_head": np.array([0.21289206, 0.19117822, 0.11635408], np.float32),
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), kernels, expected)


def test_weights_are_orthogonal_and_biases_zero(network):
    params = network[1]
    for kernel, scale in [
        (params["critic"]["Dense_1"]["kernel"], 2**0.5),
        (params["actor_head"]["kernel"], 0.01),
        (params["critic_head"]["kernel"], 1.0),
    ]:
        np.testing.assert_allclose(kernel.T @ kernel, scale**2 * np.eye(kernel.shape[1]), atol=1e-5)
    assert all(not np.any(x) for path, x in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "bias")


def test_an_observation_is_an_array_or_a_dict_with_a_mask(network):
    network, params = network
    x = jax.random.normal(jax.random.key(1), (4, 5))
    mask = jnp.array([True, False, True])[None] & jnp.ones((4, 1), bool)
    plain, value = network.apply({"params": params}, x)
    masked, same_value = network.apply({"params": params}, {"observation": x, "action_mask": mask})
    assert plain.mask is None
    assert np.array_equal(masked.mask, mask)
    assert np.array_equal(plain.logits, masked.logits)
    assert np.array_equal(value, same_value)
    assert value.shape == (4,)


NARROW = {"log_std_init": -1.0}


@pytest.mark.parametrize("network", [MLPActorCritic, ColumnMLPActorCritic])
def test_a_gaussian_starts_as_wide_as_it_is_told(network):
    x = jax.random.normal(jax.random.key(0), (2 * MIN_COLUMNS, 4))
    space = Box((-1.0, -1.0), (1.0, 1.0))
    (everywhere, _), params = network(space, **NARROW).init_with_output(jax.random.key(1), x)
    np.testing.assert_array_equal(everywhere.log_std, -np.ones((len(x), 2)))
    assert params["params"]["log_std"].shape == (2,)
    (here, _), params = network(space, **NARROW, state_dependent_std=True).init_with_output(jax.random.key(1), x)
    assert "log_std" not in params["params"]
    np.testing.assert_allclose(here.log_std, -1.0, atol=0.2)
    assert np.ptp(here.log_std, axis=0).min() > 0.001  # each observation has its own


@pytest.mark.parametrize("space", [Discrete(3), Box((-1.0, -1.0), (1.0, 1.0))])
def test_a_shared_trunk_serves_both_heads(space):
    network = MLPActorCritic(space, hidden_sizes=(8,), separate_critic=False)
    x = jnp.ones((2, 3, 2))  # flattened
    (distribution, value), params = network.init_with_output(jax.random.key(0), x)
    names = {"actor", "actor_head", "critic_head"} | ({"log_std"} if isinstance(space, Box) else set())
    assert set(params["params"]) == names
    assert isinstance(distribution, DiagonalGaussian if isinstance(space, Box) else Categorical)
    assert distribution.mode().shape == ((2, 2) if isinstance(space, Box) else (2,))
    assert value.shape == (2,)
