"""Environments of MuJoCo Playground (Zakka et al. 2025): ``playground/CheetahRun``, in MJX's JAX implementation."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mujoco_playground import dm_control_suite, registry
from mujoco_playground._src import mjx_env

from ppo_jax.tasks.suites import physics
from ppo_jax.tasks.suites.common import SuiteEnvironment
from ppo_jax.types import PPOJaxError

__all__ = ["make", "names"]


def names() -> Collection[str]:
    """Of every environment."""
    return registry.ALL_ENVS


def make(name: str, **options: Any) -> SuiteEnvironment:
    """Make an environment.

    Args:
        name: Playground's.
        **options: entries of its configuration, such as ``episode_length``, nested ones by a dotted name.

    Raises:
        PPOJaxError: it needs models of robots that are not on this machine; Playground would download them.
    """
    if name not in dm_control_suite.ALL_ENVS and not mjx_env.MENAGERIE_PATH.exists():
        raise PPOJaxError(
            f"env_id 'playground/{name}' needs models of robots that are downloaded once: python -c "
            "'from mujoco_playground._src import mjx_env; mjx_env.ensure_menagerie_exists()'"
        )
    config = registry.get_default_config(name)
    config.update_from_flattened_dict({"impl": "jax", **options})
    return physics.adapt(f"playground/{name}", registry.load(name, config=config), config.episode_length)
