"""Actor-critic for images: MinAtar's 10 x 10 grids, or 84 x 84 pixels as Atari's are cut to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax.networks.mlp import MLP, heads
from ppo_jax.networks.observations import PyTree, images_and_vector, look, seems_channels_first
from ppo_jax.ops.distributions import Distribution
from ppo_jax.types import ActionSpace, PPOJaxError

__all__ = ["ConvActorCritic", "ConvEncoder"]


class Layer(NamedTuple):
    """A convolution without padding."""

    channels: int
    size: int
    stride: int


GRID = (Layer(16, 3, 1),)
PIXELS = (Layer(32, 8, 4), Layer(64, 4, 2), Layer(64, 3, 1))
PIXELS_FROM = 36  # pixels of height and width; what `PIXELS` needs at least


class ConvEncoder(nn.Module):
    """Convolutions of each image, then an `MLP` on what they give and on whatever else is observed, flattened.

    Small images have one convolution, as MinAtar's network (Young and Tian 2019); from 36 x 36 on they have the three
    of Mnih et al. (2015).
    """

    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    dtype: Any = None
    convolution: Callable[..., jax.Array] = jax.lax.conv_general_dilated  # `cpu.convolution` is quicker on a CPU

    @nn.compact
    def __call__(self, observation: PyTree) -> jax.Array:
        """Map arrays [n, ...], at least one of them an image [n, h, w, c], to [n, hidden_sizes[-1]].

        Raises:
            PPOJaxError: there is no image, or one below 3 x 3.
        """
        images, vector = images_and_vector(observation)
        if not images or min(size for image in images for size in image.shape[1:3]) < GRID[0].size:
            shapes = [x.shape[1:] for x in jax.tree.leaves(observation)]
            remedy = "use 'mlp'"
            if any(len(shape) == 2 and min(shape) >= GRID[0].size for shape in shapes):
                remedy = "give a grey image its channel, observation[..., None]"
            elif any(map(seems_channels_first, shapes)):
                remedy = "put the channels last, jnp.moveaxis(observation, 0, -1)"
            raise PPOJaxError(
                "network 'cnn' needs observations [height, width, channels] of 3 x 3 or more, got "
                f"{', '.join(str(list(shape)) for shape in shapes)}; {remedy}"
            )
        features = [self._convolve(image, f"_{k}" if k else "") for k, image in enumerate(images)]
        x = jnp.concatenate(features if vector is None else [*features, vector], axis=-1)
        return MLP(self.hidden_sizes, self.activation, self.residual_layers, self.dtype, name="mlp")(x)

    def _convolve(self, x: jax.Array, suffix: str) -> jax.Array:
        layers = PIXELS if min(x.shape[1:3]) >= PIXELS_FROM else GRID
        for i, (channels, size, stride) in enumerate(layers):
            x = nn.Conv(
                channels,
                (size, size),
                (stride, stride),
                padding="VALID",
                dtype=self.dtype,
                kernel_init=nn.initializers.orthogonal(2**0.5),
                conv_general_dilated=self.convolution,
                name=f"conv{i or ''}{suffix}",
            )(x)
            x = nn.relu(x)
        return jnp.reshape(x, (x.shape[0], -1))


class ConvActorCritic(nn.Module):
    """Policy and value from images and what comes with them, as `ppo_jax.networks.observations` takes them apart."""

    action_space: ActionSpace
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True
    log_std_init: float = 0.0
    state_dependent_std: bool = False
    dtype: Any = None  # as of `MLPActorCritic`
    convolution: Callable[..., jax.Array] = jax.lax.conv_general_dilated

    @nn.compact
    def __call__(self, observation: PyTree) -> tuple[Distribution, jax.Array]:
        """Return the action distribution [n] and the value [n]."""
        seen = look(observation, self.separate_critic)
        encoder = (self.hidden_sizes, self.activation, self.residual_layers, self.dtype, self.convolution)
        actor = ConvEncoder(*encoder, name="actor")(seen.actor)
        critic = ConvEncoder(*encoder, name="critic")(seen.critic) if self.separate_critic else actor
        return heads(self, self.action_space, actor, critic, seen.action_mask)
