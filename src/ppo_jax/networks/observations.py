"""What a network sees of an observation: an array, or a dictionary or tuple of arrays, nested or not.

Two keys of a dictionary are not seen as the rest is. ``action_mask`` [n, actions] says which actions are valid.
``privileged`` goes to the critic alone (Pinto et al. 2018), which a policy in use does without. Images of uint8 are
seen as shares of 255.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.types import PPOJaxError

__all__ = ["Seen", "as_vector", "images_and_vector", "look", "seems_channels_first"]

PyTree = Any


class Seen(NamedTuple):
    """An observation, by who sees it."""

    actor: PyTree  # arrays [n, ...]
    critic: PyTree  # arrays [n, ...], the actor's among them
    action_mask: jax.Array | None  # [n, actions] bool


def look(observation: PyTree, separate_critic: bool = True) -> Seen:
    """Take an observation [n, ...] apart, images of uint8 [n, height, width, channels] divided by 255.

    Raises:
        PPOJaxError: it has a `privileged` part, and the critic no trunk of its own; or it has nothing for the actor.
    """
    observation = jax.tree.map(_scale_bytes, observation)
    if not isinstance(observation, dict):
        return Seen(observation, observation, None)
    public = {name: x for name, x in observation.items() if name not in ("action_mask", "privileged")}
    if not jax.tree.leaves(public):
        raise PPOJaxError(
            "network: the observation has nothing for the policy to see beside action_mask and privileged"
        )
    critic: PyTree = public
    if "privileged" in observation:
        if not separate_critic:
            raise PPOJaxError("network: the observation has a `privileged` part, which needs separate_critic = true")
        critic = (public, observation["privileged"])
    return Seen(public, critic, observation.get("action_mask"))


def _scale_bytes(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) / 255.0 if x.ndim == 4 and x.dtype == jnp.uint8 else x


def as_vector(observation: PyTree) -> jax.Array:
    """All arrays [n, ...] flattened and put one after the other, [n, size]; keys in alphabetical order."""
    arrays = [jnp.reshape(x, (x.shape[0], -1)) for x in jax.tree.leaves(observation)]
    if len(arrays) == 1:
        return arrays[0]
    return jnp.concatenate([x.astype(jnp.float32) for x in arrays], axis=-1)


def images_and_vector(observation: PyTree) -> tuple[list[jax.Array], jax.Array | None]:
    """The images [n, height, width, channels], and the rest as one vector [n, size]; None where there is no rest."""
    leaves = jax.tree.leaves(observation)
    others = [x for x in leaves if x.ndim != 4]
    return [x for x in leaves if x.ndim == 4], as_vector(others) if others else None


def seems_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether an image of `shape`, without n, is rather [channels, height, width] than [height, width, channels]."""
    return len(shape) == 3 and any(
        shape[0] <= channels and min(shape[1:]) >= pixels for channels, pixels in ((2, 8), (4, 16))
    )
