"""The actor-critic for images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.networks.conv import ConvActorCritic
from ppo_jax.types import Box, Discrete, PPOJaxError


def test_names_and_shapes_of_the_parameters():
    network = ConvActorCritic(Discrete(3), (32,))
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 10, 10, 4)))["params"]
    encoder = {
        "conv": {"kernel": (3, 3, 4, 16), "bias": (16,)},
        "mlp": {"Dense_0": {"kernel": (8 * 8 * 16, 32), "bias": (32,)}},
    }
    assert jax.tree.map(jnp.shape, params) == {
        "actor": encoder,
        "critic": encoder,
        "actor_head": {"kernel": (32, 3), "bias": (3,)},
        "critic_head": {"kernel": (32, 1), "bias": (1,)},
    }


def test_a_convolution_is_the_sum_over_each_window():
    """The encoder against a loop over places, with one hidden layer of one unit to look through."""
    network = ConvActorCritic(Discrete(2), (5,), "relu", separate_critic=False)
    x = jax.random.normal(jax.random.key(1), (2, 4, 5, 3))
    (distribution, value), variables = network.init_with_output(jax.random.key(0), x)
    p = jax.tree.map(np.asarray, variables["params"])
    seen = np.zeros((2, 2, 3, 16), np.float32)
    for i in range(2):
        for j in range(3):
            window = np.asarray(x)[:, i : i + 3, j : j + 3]
            seen[:, i, j] = np.maximum(np.einsum("nklc,klcf->nf", window, p["actor"]["conv"]["kernel"]), 0.0)
    hidden = np.maximum(seen.reshape(2, -1) @ p["actor"]["mlp"]["Dense_0"]["kernel"], 0.0)
    np.testing.assert_allclose(distribution.logits, hidden @ p["actor_head"]["kernel"], atol=1e-6)
    np.testing.assert_allclose(value, (hidden @ p["critic_head"]["kernel"])[:, 0], atol=1e-5)


def test_weights_are_orthogonal():
    network = ConvActorCritic(Box((-1.0,), (1.0,)))
    variables = network.init(jax.random.key(0), jnp.zeros((1, 6, 6, 2)))
    kernel = variables["params"]["critic"]["conv"]["kernel"].reshape(-1, 16)
    np.testing.assert_allclose(kernel.T @ kernel, 2.0 * np.eye(16), atol=1e-5)
    assert variables["params"]["log_std"].shape == (1,)


def test_pixels_have_the_three_convolutions_of_atari():
    network = ConvActorCritic(Discrete(4), (512,), "relu", separate_critic=False)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 84, 84, 4)))["params"]["actor"]
    assert jax.tree.map(jnp.shape, params) == {
        "conv": {"kernel": (8, 8, 4, 32), "bias": (32,)},
        "conv1": {"kernel": (4, 4, 32, 64), "bias": (64,)},
        "conv2": {"kernel": (3, 3, 64, 64), "bias": (64,)},
        "mlp": {"Dense_0": {"kernel": (7 * 7 * 64, 512), "bias": (512,)}},
    }


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((4,), "[4]; use 'mlp'"),
        ((2, 8, 3), "[2, 8, 3]; use 'mlp'"),
        ((), "[]; use 'mlp'"),
        ((84, 84), "[84, 84]; give a grey image its channel, observation[..., None]"),
        ((1, 8, 8), "[1, 8, 8]; put the channels last, jnp.moveaxis(observation, 0, -1)"),
        ((1, 84, 84), "[1, 84, 84]; put the channels last, jnp.moveaxis(observation, 0, -1)"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(shape, said):
    with pytest.raises(PPOJaxError) as error:
        jax.eval_shape(ConvActorCritic(Discrete(2)).init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert str(error.value) == (
        f"network 'cnn' needs observations [height, width, channels] of 3 x 3 or more, got {said}"
    )
