"""Environments of Brax (Freeman et al. 2021): ``brax/ant``, with the backend that Brax chooses for each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from brax import envs

from ppo_jax.tasks.suites import physics
from ppo_jax.tasks.suites.common import SuiteEnvironment

__all__ = ["make", "names"]

EPISODE_LENGTH = 1000  # steps, as in Brax's own training


def names() -> Collection[str]:
    """Of every environment."""
    return list(envs._envs)  # there is no public list


def make(name: str, episode_length: int = EPISODE_LENGTH, **options: Any) -> SuiteEnvironment:
    """Make an environment.

    Args:
        name: Brax's.
        episode_length: steps after which an episode is truncated.
        **options: of Brax's constructor, such as ``backend="mjx"``.
    """
    return physics.adapt(f"brax/{name}", envs.get_environment(name, **options), episode_length)
