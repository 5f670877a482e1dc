"""Actor-critic for vector observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax.networks.observations import PyTree, as_vector, look
from ppo_jax.ops.distributions import Distribution, from_outputs
from ppo_jax.types import ActionSpace, Box

__all__ = ["ACTIVATIONS", "MLP", "MLPActorCritic", "dense", "heads", "log_std"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": nn.tanh, "relu": nn.relu, "gelu": nn.gelu}


def dense(
    features: int, scale: float = 2**0.5, *, use_bias: bool = True, dtype: Any = None, name: str | None = None
) -> nn.Dense:
    """A linear layer with orthogonal weights times `scale` and zero bias, both float32; it computes in `dtype`."""
    return nn.Dense(features, use_bias, dtype=dtype, kernel_init=nn.initializers.orthogonal(scale), name=name)


def heads(
    module: nn.Module, action_space: ActionSpace, actor: jax.Array, critic: jax.Array, mask: jax.Array | None = None
) -> tuple[Distribution, jax.Array]:
    """The last layers, which belong to `module`: from features [n, width] of each to distribution [n] and value [n].

    The policy starts close to uniform, since its weights are small. Whatever the features are, it computes in float32.
    """
    value = dense(1, 1.0, name="critic_head")(critic)[:, 0]
    outputs = dense(action_space.n_outputs, 0.01, name="actor_head")(actor)
    return from_outputs(action_space, outputs, mask, log_std(module, action_space, actor)), value


def log_std(module: Any, action_space: ActionSpace, actor: jax.Array) -> jax.Array | None:
    """Logarithms of a Gaussian's standard deviations [n or 1, size]; None for choices.

    They are parameters that start at `module.log_std_init`, or where `module.state_dependent_std` is set a layer of
    `module` on features [n, width].
    """
    if not isinstance(action_space, Box):
        return None
    if module.state_dependent_std:
        return dense(action_space.size, 0.01, name="log_std_head")(actor) + module.log_std_init
    start = nn.initializers.constant(module.log_std_init)
    return jnp.asarray(module.param("log_std", start, (action_space.size,)))[None]


class MLP(nn.Module):
    """Hidden layers, then residual blocks ``x + f(W x)`` as wide as the last of them."""

    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n, n_in] to [n, hidden_sizes[-1]]."""
        activate = ACTIVATIONS[self.activation]
        for size in self.hidden_sizes:
            x = activate(dense(size, dtype=self.dtype)(x))
        for _ in range(self.residual_layers):
            x = x + activate(dense(x.shape[-1], dtype=self.dtype)(x))
        return x


class MLPActorCritic(nn.Module):
    """Policy and value from a flattened observation, as `ppo_jax.networks.observations` takes it apart.

    As in flax, the parameters are float32 and the layers compute in `dtype`, by default float32 as well.
    """

    action_space: ActionSpace
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True
    log_std_init: float = 0.0
    state_dependent_std: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, observation: PyTree) -> tuple[Distribution, jax.Array]:
        """Return the action distribution [n] and the value [n]."""
        seen = look(observation, self.separate_critic)
        trunk = (self.hidden_sizes, self.activation, self.residual_layers, self.dtype)
        actor = MLP(*trunk, name="actor")(as_vector(seen.actor))
        critic = MLP(*trunk, name="critic")(as_vector(seen.critic)) if self.separate_critic else actor
        return heads(self, self.action_space, actor, critic, seen.action_mask)
