"""Networks by name: which form is built where, and what a network of your own must accept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.networks import cpu, make
from ppo_jax.networks.conv import ConvActorCritic
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.networks.recurrent import RecurrentActorCritic
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
