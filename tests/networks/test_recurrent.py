"""Actor-critics with a memory: what the carry is, where it is reset, and that it can learn to remember."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ppo_jax.networks.recurrent import RecurrentActorCritic
from ppo_jax.types import Box, Discrete

N, N_IN = 4, 3
BOX = Box((-1.0, -1.0), (1.0, 1.0))
VARIANTS = [("gru", True), ("gru", False), ("lstm", True), ("lstm", False)]


def make(core="gru", separate_critic=True, space=BOX, **more):
    network = RecurrentActorCritic(space, core, 8, hidden_sizes=(6,), separate_critic=separate_critic, **more)
    start = jnp.zeros(N, bool)
    return network, network.init(jax.random.key(0), jnp.zeros((N, N_IN)), network.initial_carry(N), start)


@pytest.mark.parametrize(("core", "separate_critic"), VARIANTS)
def test_the_carry_is_zeros_and_keeps_its_shape(core, separate_critic):
    network, params = make(core, separate_critic)
    before = network.initial_carry(N)
    assert set(before) == ({"actor", "critic"} if separate_critic else {"actor"})
    assert all(x.shape == (N, 8) and x.dtype == jnp.float32 and not x.any() for x in jax.tree.leaves(before))
    assert len(jax.tree.leaves(before["actor"])) == (2 if core == "lstm" else 1)
    x = jax.random.normal(jax.random.key(1), (N, N_IN))
    distribution, value, after = network.apply(params, x, before, jnp.zeros(N, bool))
    assert distribution.mean.shape == (N, 2)
    assert value.shape == (N,)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), before)
    assert all(x.any() for x in jax.tree.leaves(after))


@pytest.mark.parametrize(("core", "separate_critic"), VARIANTS)
def test_a_start_forgets_and_nothing_else_does(core, separate_critic):
    network, params = make(core, separate_critic)
    x = jax.random.normal(jax.random.key(1), (N, N_IN))
    carry = jax.tree.map(lambda c: c + 0.5, network.initial_carry(N))
    start = jnp.array([True, False, True, False])
    mixed = network.apply(params, x, carry, start)
    fresh = network.apply(params, x, network.initial_carry(N), ~start)
    kept = network.apply(params, x, carry, jnp.zeros(N, bool))
    choose = lambda a, b: jnp.where(start.reshape((N,) + (1,) * (a.ndim - 1)), a, b)  # noqa: E731
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a, choose(b, c), atol=1e-6), mixed, fresh, kept)
    assert not np.allclose(fresh[1], kept[1])


def test_a_scan_of_steps_is_a_loop_of_them_and_a_vmap_many_of_those():
    network, params = make("lstm")
    x = jax.random.normal(jax.random.key(1), (5, N, N_IN))
    start = jax.random.bernoulli(jax.random.key(2), 0.3, (5, N))

    def scan(params, x, start):
        def step(carry, inputs):
            distribution, value, carry = network.apply(params, inputs[0], carry, inputs[1])
            return carry, (distribution.mean, value)

        return jax.lax.scan(step, network.initial_carry(N), (x, start))

    carry = network.initial_carry(N)
    for t in range(5):
        distribution, value, carry = network.apply(params, x[t], carry, start[t])
    last, (means, values) = scan(params, x, start)
    np.testing.assert_allclose(means[-1], distribution.mean, atol=1e-6)
    np.testing.assert_allclose(values[-1], value, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), last, carry)
    many = jax.vmap(scan, in_axes=(None, 0, 0))(params, jnp.stack([x, 2.0 * x]), jnp.stack([start, start]))
    np.testing.assert_allclose(many[1][1][0], values, atol=1e-5)


def test_a_separate_critic_has_a_memory_of_its_own():
    """Whether it is one that the names say: the critic's rate holds for modules named critic…"""
    _, apart = make(separate_critic=True)
    _, shared = make(separate_critic=False)
    heads = {"actor_hidden", "actor_head", "critic_hidden", "critic_head", "log_std"}
    assert set(apart["params"]) == heads | {"actor", "critic"}
    assert set(shared["params"]) == heads | {"actor"}
    assert set(apart["params"]["critic"]) == {"encoder", "core"}
    network, params = make(separate_critic=True)
    carry = network.initial_carry(N)
    other = carry | {"critic": carry["critic"] + 1.0}
    x, start = jnp.ones((N, N_IN)), jnp.zeros(N, bool)
    (policy, value, _), (same_policy, other_value, _) = (network.apply(params, x, c, start) for c in (carry, other))
    assert np.array_equal(policy.mean, same_policy.mean)
    assert not np.allclose(value, other_value)


def test_weights_of_core_and_heads_are_orthogonal():
    params = make("gru")[1]["params"]
    for kernel, scale in [
        (params["actor"]["core"]["hz"]["kernel"], 1.0),
        (params["critic_hidden"]["kernel"], 2**0.5),
        (params["actor_head"]["kernel"], 0.01),
        (params["critic_head"]["kernel"], 1.0),
    ]:
        np.testing.assert_allclose(kernel.T @ kernel, scale**2 * np.eye(kernel.shape[1]), atol=1e-5)


def test_images_and_masks():
    network = RecurrentActorCritic(Discrete(3), "gru", 8, "cnn", (6,), separate_critic=False)
    mask = jnp.array([[True, False, True]])
    seen = {"observation": jnp.ones((1, 4, 4, 2)), "action_mask": mask}
    inputs = (seen, network.initial_carry(1), jnp.ones(1, bool))
    (distribution, _, _), params = network.init_with_output(jax.random.key(0), *inputs)
    assert np.array_equal(distribution.mask, mask)
    assert set(params["params"]["actor"]["encoder"]) == {"conv", "mlp"}


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_it_learns_to_recall_what_the_first_observation_said(core):
    """Noise hides the sign that came fifteen steps before; a network without memory is right half of the time."""
    steps, n = 16, 32
    network = RecurrentActorCritic(Discrete(2), core, 16, hidden_sizes=(16,), separate_critic=False)

    def recall(params, key):
        sign_key, noise_key = jax.random.split(key)
        sign = jax.random.bernoulli(sign_key, shape=(n,)).astype(jnp.int32)
        x = jax.random.normal(noise_key, (steps, n, 2)).at[:, :, 1].set(0.0)
        x = x.at[0, :, 1].set(2.0 * sign - 1.0)

        def step(carry, x):
            distribution, _, carry = network.apply(params, x, carry, jnp.zeros(n, bool))
            return carry, distribution

        _, distribution = jax.lax.scan(step, network.initial_carry(n), x)
        last = jax.tree.map(lambda x: x[-1], distribution)
        return -jnp.mean(last.log_prob(sign)), jnp.mean(last.mode() == sign)

    @jax.jit
    def train(key):
        init_key, data_key = jax.random.split(key)
        start = (jnp.zeros((n, 2)), network.initial_carry(n), jnp.zeros(n, bool))
        params, adam = network.init(init_key, *start), optax.adam(3e-3)

        def step(state, key):
            params, opt_state = state
            grads, correct = jax.grad(recall, has_aux=True)(params, key)
            updates, opt_state = adam.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), correct

        return jax.lax.scan(step, (params, adam.init(params)), jax.random.split(data_key, 120))[1]

    assert train(jax.random.key(0))[-20:].mean() > 0.95
