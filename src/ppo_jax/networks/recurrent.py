"""Actor-critic with a memory, for tasks whose observations do not tell everything.

A recurrent network maps ``(observation [n, ...], carry, start [n])`` to ``(distribution [n], value [n], carry)``. Its
carry is a pytree of arrays [n, ...], what it remembers of each of the n episodes. `initial_carry` gives the carry of
episodes that begin, and where `start` is true the step begins with that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax.networks.conv import ConvEncoder
from ppo_jax.networks.mlp import ACTIVATIONS, MLP, dense, heads
from ppo_jax.networks.observations import PyTree, as_vector, look
from ppo_jax.ops.distributions import Distribution
from ppo_jax.types import ActionSpace

__all__ = ["CORES", "RecurrentActorCritic", "RecurrentTrunk"]

Carry = Any

CORES: dict[str, Callable[..., nn.RNNCellBase]] = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


def open_gate(x: jax.Array) -> jax.Array:
    """A gate that starts at 0.73 rather than 0.5, so that a core remembers for longer before it has learned to.

    It is the bias of 1 that Jozefowicz et al. (2015) give the forget gate. With it a GRU and an LSTM learn within 100
    steps of Adam to recall a sign through 32 steps of noise; without it neither does in 800.
    """
    return nn.sigmoid(x + 1.0)


class RecurrentTrunk(nn.Module):
    """An encoder of each observation, and a core that remembers."""

    core: str = "gru"
    core_size: int = 64
    encoder: str = "mlp"
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    dtype: Any = None
    convolution: Callable[..., jax.Array] = jax.lax.conv_general_dilated

    @nn.compact
    def __call__(self, observation: PyTree, carry: Carry) -> tuple[Carry, jax.Array]:
        """Map observations [n, ...] and a carry to the next carry and features [n, core_size]."""
        layers = (self.hidden_sizes, self.activation, self.residual_layers, self.dtype)
        if self.encoder == "cnn":
            x = ConvEncoder(*layers, convolution=self.convolution, name="encoder")(observation)
        else:
            x = MLP(*layers, name="encoder")(as_vector(observation))
        core: Any = CORES[self.core](features=self.core_size, gate_fn=open_gate, dtype=self.dtype, name="core")
        carry, features = core(carry, x)
        return carry, features


class RecurrentActorCritic(nn.Module):
    """Policy and value from what was seen since the episode began.

    Encoder, core and one layer after the core, in this order, are those of PureJaxRL's recurrent PPO (Lu et al. 2022).
    A separate critic has all three of its own; else the two share encoder and core.
    The observation is one that `ppo_jax.networks.observations` takes apart.
    """

    action_space: ActionSpace
    core: str = "gru"  # or "lstm"
    core_size: int = 64
    encoder: str = "mlp"  # or "cnn", for images [n, h, w, c]
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True
    log_std_init: float = 0.0
    state_dependent_std: bool = False
    dtype: Any = None  # as of `MLPActorCritic`; the carry stays float32
    convolution: Callable[..., jax.Array] = jax.lax.conv_general_dilated

    @nn.nowrap
    def initial_carry(self, n: int) -> Carry:
        """The carry of n episodes that begin: zeros, float32, ``{"actor": ...}`` and the critic's where it has one.

        Of a GRU it is an array [n, core_size], of an LSTM a pair of them, cell and output.
        """

        def zeros() -> jax.Array:
            return jnp.zeros((n, self.core_size))

        trunks = ("actor", "critic") if self.separate_critic else ("actor",)
        return {trunk: (zeros(), zeros()) if self.core == "lstm" else zeros() for trunk in trunks}

    @nn.compact
    def __call__(self, observation: PyTree, carry: Carry, start: jax.Array) -> tuple[Distribution, jax.Array, Carry]:
        """Take one step in n episodes.

        Args:
            observation: arrays [n, ...].
            carry: as `initial_carry` or the step before returned it.
            start: [n] bool, whether `observation` is the first of its episode; there the carry is reset before use.

        Returns:
            The action distribution [n], the value [n] and the carry of the next step.
        """
        seen = look(observation, self.separate_critic)
        carry = jax.tree.map(lambda c: jnp.where(start[:, None], 0.0, c), carry)
        layers = (self.hidden_sizes, self.activation, self.residual_layers, self.dtype, self.convolution)
        trunk = (self.core, self.core_size, self.encoder, *layers)
        activate = ACTIVATIONS[self.activation]
        after = {}
        after["actor"], actor = RecurrentTrunk(*trunk, name="actor")(seen.actor, carry["actor"])
        critic = actor
        if self.separate_critic:
            after["critic"], critic = RecurrentTrunk(*trunk, name="critic")(seen.critic, carry["critic"])
        actor = activate(dense(self.core_size, dtype=self.dtype, name="actor_hidden")(actor))
        critic = activate(dense(self.core_size, dtype=self.dtype, name="critic_hidden")(critic))
        return *heads(self, self.action_space, actor, critic, seen.action_mask), after
