"""Environments of Brax (Freeman et al. 2021): ``brax/ant``, with the backend that Brax chooses for each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from brax import envs

from ppo_jax.tasks.suites import physics
from ppo_jax.tasks.suites.common import SuiteEnvironment

__all__ = ["NOT_OFFERED", "make", "names"]

NOT_OFFERED = {"swimmer": "cannot be stepped under JAX 0.10 (Brax 0.14.2 calls jnp.clip as it no longer is)"}
EPISODE_LENGTH = 1000  # steps, as in Brax's own training


def names() -> Collection[str]:
    """Of every environment."""
    return envs._envs.keys() - NOT_OFFERED.keys()  # there is no public list


def make(name: str, episode_length: int = EPISODE_LENGTH, **options: Any) -> SuiteEnvironment:
    """Make an environment.

    Args:
        name: Brax's.
        episode_length: steps after which an episode is truncated.
        **options: of Brax's constructor, such as ``backend="mjx"``.
    """
    return physics.adapt(f"brax/{name}", envs.get_environment(name, **options), episode_length)
