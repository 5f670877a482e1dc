"""Observations of many parts: what the actor sees of them, and what the critic alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.networks.conv import ConvActorCritic
from ppo_jax.networks.cpu import MIN_COLUMNS, ColumnMLPActorCritic
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.networks.observations import as_vector, images_and_vector, look
from ppo_jax.networks.recurrent import RecurrentActorCritic
from ppo_jax.types import Discrete, PPOJaxError

N = MIN_COLUMNS
SPACE = Discrete(3)


def parts(seed: int = 0):
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "image": jax.random.normal(keys[0], (N, 5, 6, 2)),
        "goal": jax.random.normal(keys[1], (N, 2)),
        "inventory": (jnp.arange(N), jax.random.bernoulli(keys[2], 0.5, (N, 2, 2))),
        "action_mask": jnp.arange(3)[None] <= jnp.arange(N)[:, None] % 3,
    }


def outputs(network, observation, variables=None):
    """Logits, value and parameters of a network, with or without memory."""
    memory = (network.initial_carry(N), jnp.zeros(N, bool)) if hasattr(network, "initial_carry") else ()
    if variables is None:
        variables = network.init(jax.random.key(0), observation, *memory)
    distribution, value, *_ = network.apply(variables, observation, *memory)
    return distribution.log_probs(), value, variables


NETWORKS = [
    MLPActorCritic(SPACE, (8,)),
    ColumnMLPActorCritic(SPACE, (8,)),
    ConvActorCritic(SPACE, (8,)),
    RecurrentActorCritic(SPACE, core_size=4, hidden_sizes=(8,)),
    RecurrentActorCritic(SPACE, core_size=4, hidden_sizes=(8,), encoder="cnn"),
]


def test_a_vector_holds_every_array_in_alphabetical_order():
    observation = look(parts()).actor
    expected = [observation["goal"], observation["image"].reshape(N, -1), np.arange(N)[:, None]]
    expected.append(observation["inventory"][1].reshape(N, -1))
    np.testing.assert_array_equal(as_vector(observation), np.concatenate(expected, axis=1))


def test_images_are_told_from_the_rest():
    images, vector = images_and_vector(look(parts()).actor)
    assert [image.shape for image in images] == [(N, 5, 6, 2)]
    assert vector.shape == (N, 2 + 1 + 4)
    assert images_and_vector(jnp.zeros((2, 3, 3, 1)))[1] is None


@pytest.mark.parametrize("network", NETWORKS)
def test_every_part_reaches_policy_and_value(network):
    observation = parts()
    log_probs, value, variables = outputs(network, observation)
    assert log_probs.shape == (N, 3)
    assert np.array_equal(log_probs > -1e8, observation["action_mask"])
    for name in ("image", "goal", "inventory"):
        other = {**observation, name: parts(seed=1)[name]}
        if name == "inventory":
            other[name] = (other[name][0] + 1, other[name][1])
        other_log_probs, other_value, _ = outputs(network, other, variables)
        assert not np.allclose(value, other_value), name
        assert not np.allclose(log_probs[2::3], other_log_probs[2::3]), name


@pytest.mark.parametrize("network", NETWORKS)
def test_the_privileged_part_reaches_the_critic_alone(network):
    observation = parts() | {"privileged": {"wind": jnp.ones((N, 2))}}
    log_probs, value, variables = outputs(network, observation)
    calm = observation | {"privileged": {"wind": jnp.zeros((N, 2))}}
    calm_log_probs, calm_value, _ = outputs(network, calm, variables)
    np.testing.assert_array_equal(log_probs, calm_log_probs)
    assert not np.allclose(value, calm_value)


def test_a_shared_trunk_cannot_keep_a_secret():
    observation = parts() | {"privileged": jnp.ones((N, 2))}
    with pytest.raises(PPOJaxError, match="needs separate_critic = true"):
        outputs(MLPActorCritic(SPACE, separate_critic=False), observation)


def test_a_mask_alone_is_nothing_to_see():
    with pytest.raises(PPOJaxError, match="nothing for the policy to see"):
        look({"action_mask": jnp.ones((N, 3), bool)})


def test_one_array_is_seen_as_it_is_and_under_a_name():
    x = jax.random.normal(jax.random.key(0), (N, 4))
    network = MLPActorCritic(SPACE)
    log_probs, value, variables = outputs(network, x)
    for observation in ({"observation": x}, {"position": x}, (x,)):
        again, value_again, _ = outputs(network, observation, variables)
        np.testing.assert_array_equal(again, log_probs)
        np.testing.assert_array_equal(value_again, value)


@pytest.mark.parametrize(
    "network", [ConvActorCritic(SPACE), RecurrentActorCritic(SPACE, encoder="cnn"), MLPActorCritic(SPACE)]
)
def test_an_image_of_bytes_is_seen_as_shares_of_255(network):
    image = jax.random.randint(jax.random.key(0), (N, 5, 5, 1), 0, 256).astype(jnp.uint8)
    other = jnp.arange(2 * N, dtype=jnp.uint8).reshape(N, 2)  # no image
    of_bytes = outputs(network, {"image": image, "other": other})
    of_shares = outputs(network, {"image": image / 255.0, "other": other * 1.0}, of_bytes[2])
    np.testing.assert_allclose(of_bytes[0], of_shares[0], atol=1e-6)
    np.testing.assert_allclose(of_bytes[1], of_shares[1], atol=1e-4)
