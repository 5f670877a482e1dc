"""Actor-critic for vector observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax.distributions import Categorical, DiagonalGaussian, Distribution
from ppo_jax.types import ActionSpace, Box

__all__ = ["ACTIVATIONS", "MLP", "MLPActorCritic", "dense"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": nn.tanh, "relu": nn.relu, "gelu": nn.gelu}


def dense(features: int, scale: float, name: str | None = None, use_bias: bool = True) -> nn.Dense:
    """A linear layer with orthogonal weights times `scale` and zero bias."""
    return nn.Dense(features, use_bias=use_bias, kernel_init=nn.initializers.orthogonal(scale), name=name)


class MLP(nn.Module):
    """Hidden layers, then residual blocks ``x + f(W x)`` as wide as the last of them."""

    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n, features] to [n, hidden_sizes[-1]]."""
        activate = ACTIVATIONS[self.activation]
        for size in self.hidden_sizes:
            x = activate(dense(size, 2**0.5)(x))
        for _ in range(self.residual_layers):
            x = x + activate(dense(x.shape[-1], 2**0.5)(x))
        return x


class MLPActorCritic(nn.Module):
    """Policy and value from a flattened observation.

    The observation is an array [n, ...], or a dict with `observation` and an `action_mask` [n, actions].
    """

    action_space: ActionSpace
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True

    @nn.compact
    def __call__(self, observation: jax.Array | dict[str, jax.Array]) -> tuple[Distribution, jax.Array]:
        """Return the action distribution [n] and the value [n]."""
        mask = None
        if isinstance(observation, dict):
            mask = observation.get("action_mask")
            observation = observation["observation"]
        x = jnp.reshape(observation, (observation.shape[0], -1))
        trunk = (self.hidden_sizes, self.activation, self.residual_layers)
        actor = MLP(*trunk, name="actor")(x)
        critic = MLP(*trunk, name="critic")(x) if self.separate_critic else actor
        value = dense(1, 1.0, name="critic_head")(critic)[:, 0]
        if isinstance(self.action_space, Box):
            mean = dense(self.action_space.size, 0.01, name="actor_head")(actor)
            log_std = self.param("log_std", nn.initializers.zeros, (self.action_space.size,))
            return DiagonalGaussian(mean, jnp.broadcast_to(log_std[None], mean.shape)), value
        return Categorical(dense(self.action_space.n, 0.01, name="actor_head")(actor), mask), value
