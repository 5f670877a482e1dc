"""Actor-critic for small images, such as MinAtar's 10 x 10 grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax.networks.mlp import MLP, Observation, array_and_mask, heads
from ppo_jax.ops.distributions import Distribution
from ppo_jax.types import ActionSpace, PPOJaxError

__all__ = ["ConvActorCritic", "ConvEncoder"]

KERNEL = (3, 3)


class ConvEncoder(nn.Module):
    """One convolution, 3 x 3 with stride 1 and no padding, and an `MLP` on its flattened output.

    It is the network of MinAtar (Young and Tian, 2019), which has 16 channels and one hidden layer.
    """

    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    channels: int = 16
    convolution: Callable[..., jax.Array] = jax.lax.conv_general_dilated  # `cpu.convolution` is quicker on a CPU

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images [n, h, w, c] to [n, hidden_sizes[-1]].

        Raises:
            PPOJaxError: the observations are not images of 3 x 3 or more.
        """
        if x.ndim != 4 or x.shape[1] < KERNEL[0] or x.shape[2] < KERNEL[1]:
            raise PPOJaxError(
                f"network 'cnn' needs observations [height, width, channels] of 3 x 3 or more, got {list(x.shape[1:])};"
                " use 'mlp'"
            )
        x = nn.Conv(
            self.channels,
            KERNEL,
            padding="VALID",
            kernel_init=nn.initializers.orthogonal(2**0.5),
            conv_general_dilated=self.convolution,
            name="conv",
        )(x)
        x = jnp.reshape(nn.relu(x), (x.shape[0], -1))
        return MLP(self.hidden_sizes, self.activation, self.residual_layers, name="mlp")(x)


class ConvActorCritic(nn.Module):
    """Policy and value from an image.

    The observation is an array [n, h, w, c], or a dict with `observation` and an `action_mask` [n, actions].
    """

    action_space: ActionSpace
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True
    channels: int = 16
    convolution: Callable[..., jax.Array] = jax.lax.conv_general_dilated

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Distribution, jax.Array]:
        """Return the action distribution [n] and the value [n]."""
        x, mask = array_and_mask(observation)
        encoder = (self.hidden_sizes, self.activation, self.residual_layers, self.channels, self.convolution)
        actor = ConvEncoder(*encoder, name="actor")(x)
        critic = ConvEncoder(*encoder, name="critic")(x) if self.separate_critic else actor
        return heads(self, self.action_space, actor, critic, mask)
