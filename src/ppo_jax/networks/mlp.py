"""Actor-critic for vector observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax.ops.distributions import Categorical, DiagonalGaussian, Distribution
from ppo_jax.types import ActionSpace, Box

__all__ = ["ACTIVATIONS", "MLP", "MLPActorCritic", "Observation", "array_and_mask", "dense", "heads"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": nn.tanh, "relu": nn.relu, "gelu": nn.gelu}

Observation = jax.Array | dict[str, jax.Array]


def dense(features: int, scale: float = 2**0.5, *, use_bias: bool = True, name: str | None = None) -> nn.Dense:
    """A linear layer with orthogonal weights times `scale` and zero bias."""
    return nn.Dense(features, use_bias, kernel_init=nn.initializers.orthogonal(scale), name=name)


def array_and_mask(observation: Observation) -> tuple[jax.Array, jax.Array | None]:
    """The array [n, ...] of an observation and its `action_mask` [n, actions], None where it has none."""
    if isinstance(observation, dict):
        return observation["observation"], observation.get("action_mask")
    return observation, None


def heads(
    module: nn.Module, action_space: ActionSpace, actor: jax.Array, critic: jax.Array, mask: jax.Array | None = None
) -> tuple[Distribution, jax.Array]:
    """The last layers, which belong to `module`: from features [n, width] of each to distribution [n] and value [n].

    The policy starts close to uniform, since its weights are small. The logarithm of a Gaussian's standard deviation
    is a parameter that starts at zero and does not depend on the observation.
    """
    value = dense(1, 1.0, name="critic_head")(critic)[:, 0]
    if isinstance(action_space, Box):
        mean = dense(action_space.size, 0.01, name="actor_head")(actor)
        log_std = module.param("log_std", nn.initializers.zeros, (action_space.size,))
        return DiagonalGaussian(mean, jnp.broadcast_to(log_std[None], mean.shape)), value
    return Categorical(dense(action_space.n, 0.01, name="actor_head")(actor), mask), value


class MLP(nn.Module):
    """Hidden layers, then residual blocks ``x + f(W x)`` as wide as the last of them."""

    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n, n_in] to [n, hidden_sizes[-1]]."""
        activate = ACTIVATIONS[self.activation]
        for size in self.hidden_sizes:
            x = activate(dense(size)(x))
        for _ in range(self.residual_layers):
            x = x + activate(dense(x.shape[-1])(x))
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
    def __call__(self, observation: Observation) -> tuple[Distribution, jax.Array]:
        """Return the action distribution [n] and the value [n]."""
        x, mask = array_and_mask(observation)
        x = jnp.reshape(x, (x.shape[0], -1))
        trunk = (self.hidden_sizes, self.activation, self.residual_layers)
        actor = MLP(*trunk, name="actor")(x)
        critic = MLP(*trunk, name="critic")(x) if self.separate_critic else actor
        return heads(self, self.action_space, actor, critic, mask)
