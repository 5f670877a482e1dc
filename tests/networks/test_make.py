"""Networks by name: which form is built where, and what a network of your own must accept."""

from __future__ import annotations

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.networks import cpu, make
from ppo_jax.networks.conv import ConvActorCritic
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.networks.recurrent import RecurrentActorCritic
from ppo_jax.ops.network import apply, init, initial_carry
from ppo_jax.types import Discrete, PPOJaxError

LAYERS = {"hidden_sizes": (8,), "activation": "relu", "residual_layers": 1, "separate_critic": False}


def test_a_cpu_gets_its_own_form_with_the_same_parameters(monkeypatch):
    built = {}
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        built[backend] = {name: make.make(name, Discrete(2), **LAYERS) for name in make.NETWORKS}
    monkeypatch.undo()
    assert built["gpu"] == {"mlp": MLPActorCritic(Discrete(2), **LAYERS), "cnn": ConvActorCritic(Discrete(2), **LAYERS)}
    assert built["cpu"]["mlp"] == cpu.ColumnMLPActorCritic(Discrete(2), **LAYERS)
    assert built["cpu"]["cnn"] == ConvActorCritic(Discrete(2), **LAYERS, convolution=cpu.convolution)
    for name, x in {"mlp": jnp.ones((1, 4)), "cnn": jnp.ones((1, 4, 4, 1))}.items():
        here, there = (networks[name].init(jax.random.key(0), x) for networks in built.values())
        jax.tree.map(np.testing.assert_array_equal, here, there)


@pytest.mark.parametrize(("name", "core"), [("mlp", None), ("mlp", "gru"), ("cnn", "lstm")])
def test_bfloat16_is_for_activations_alone(name, core):
    """Same parameters to the bit; outputs, carries and gradients in float32, and close to those of float32."""
    x, start = jax.random.normal(jax.random.key(1), (16, 4, 4, 2)), jnp.zeros(16, bool)

    def run(network):
        carry = initial_carry(network, len(x))
        params = init(network, jax.random.key(0), x, carry, start)

        def total(params):
            distribution, value, after = apply(network, params, x, carry, start)
            return (distribution.logits**2).mean() * 1e4 + (value**2).mean(), (distribution, value, after)

        slopes, output = jax.jit(jax.grad(total, has_aux=True))(params)
        return params, output, slopes

    def difference(a, b):
        """Relative to the whole; a rounding to eight bits is 2^-9."""
        a, b = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (a, b))
        return jnp.linalg.norm(a - b) / jnp.linalg.norm(b)

    plain, half = (run(make.make(name, Discrete(2), core=core, dtype=dtype)) for dtype in (None, "bfloat16"))
    jax.tree.map(np.testing.assert_array_equal, half[0], plain[0])
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype("float32")}
    for found, expected in zip(half[1:], plain[1:], strict=True):
        assert 2**-12 < difference(found, expected) < 2**-5


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_a_core_makes_a_recurrent_network(name, core):
    network = make.make(name, Discrete(2), core=core, core_size=5, **LAYERS)
    assert isinstance(network, RecurrentActorCritic)
    assert (network.core, network.core_size, network.encoder, network.activation) == (core, 5, name, "relu")


class NoSpace(MLPActorCritic):
    def __init__(self, sizes):
        raise AssertionError("not called")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (NoSpace, "NoSpace(action_space=...) must work, but: missing a required argument: 'sizes'"),
        (lambda: None, "<lambda>(action_space=...) must work, but: got an unexpected keyword argument"),
        (dict, "dict is no network: it has no init and apply"),
        (breakpoint, "breakpoint is no class or function that was written for ppo_jax"),
        (3, "int is no class or function that was written for ppo_jax"),
    ],
)
def test_a_network_that_takes_no_action_space_is_refused(network, said):
    with pytest.raises(PPOJaxError) as error:
        make.from_class(network, Discrete(2), "network.network = 'own:Network'")
    assert str(error.value).startswith(f"network.network = 'own:Network': {said}")


def test_a_network_of_ones_own_is_built_with_the_action_space():
    assert make.from_class(MLPActorCritic, Discrete(2), "here") == MLPActorCritic(Discrete(2))
