"""From a configuration to a task and its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flax import linen as nn

from ppo_jax.config import Config, load_config
from ppo_jax.config.imported import check_call, imported
from ppo_jax.config.schema import WRAPPERS, NetworkConfig
from ppo_jax.config.task_id import is_import_path
from ppo_jax.networks.check import call_own_code
from ppo_jax.networks.make import from_class
from ppo_jax.proving import task as proof_task
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.tasks import gymnax as gymnax_envs
from ppo_jax.tasks.episodes import EpisodeTask
from ppo_jax.tasks.suites import registry
from ppo_jax.tasks.suites.common import SuiteEnvironment
from ppo_jax.tasks.task import Task
from ppo_jax.tasks.wrappers import wrap
from ppo_jax.types import Environment, PPOJaxError, PyTree

__all__ = ["adapt", "make_env", "make_network", "make_task", "prepare"]

REQUIRED = ("action_space", "can_truncate", "default_params", "reset", "step")  # of an Environment


def prepare(
    config: Config,
    folder: Path,
    say: Callable[[str], None],
    progress: Callable[[str, int, int], None] | None = None,
    kept_in: Path | None = None,
) -> Config:
    """What a new run needs beyond its configuration is made in `folder`; returns the configuration with it.

    Args:
        config: of the run.
        folder: that of the run; created where something is made.
        say: receives a line about what was made.
        progress: receives what is being done, how far it is and of how much.
        kept_in: where an interruption leaves what is done; by default `folder`.

    Raises:
        PPOJaxError: it cannot be made.
    """
    return proof_task.with_mined_rules(config, folder, say, progress, kept_in or folder)


def make_task(config: Config, env: Any = None) -> Task:
    """The task that ``[task]`` names, or the one of an environment of your own.

    Args:
        config: the configuration.
        env: an `Environment`, or one of gymnax's.

    Raises:
        PPOJaxError: an unknown id, data that cannot be read, an import path that leads nowhere, or no environment.
    """
    name, params = config.task.env_id or "", config.task.env_params or {}
    if params and (env is not None or proof_task.is_named(config)):
        whose = "a proof task has keys of its own" if env is None else "the environment that was given has its own"
        raise PPOJaxError(f"task.env_params: {whose}; leave them out")
    if env is not None:
        env = adapt(env, "env")
    elif proof_task.is_named(config):
        for key in sorted(WRAPPERS):
            if getattr(config.task, key):
                raise PPOJaxError(f"task.{key}: not for a proof task; leave it out")
        if config.network.dtype:
            raise PPOJaxError("network.dtype: not for a proof task, whose networks compute in float32; leave it out")
        return proof_task.make(config)
    elif is_import_path(name):
        place = f"task.env_id = {name!r}"
        env = adapt(_instance(imported(name, "task.env_id"), place, params), place)
    elif registry.is_named(name):
        env = registry.make(name, **params)
    elif meant := registry.other_name(name):
        raise PPOJaxError(f"unknown env_id {name!r}; did you mean {meant}?")
    else:
        env = gymnax_envs.make(name, **params)
    if (shared := config.task.optimistic_resets) is not None:
        if not isinstance(env, SuiteEnvironment):
            raise PPOJaxError("task.optimistic_resets: for environments of the suites (`ppo-jax envs`); leave it out")
        env = replace(env, optimistic_resets=shared)
    if isinstance(env, ProofEnv):
        return proof_task.ProofTask(env, config.evaluation)
    judged = config.evaluation
    return EpisodeTask(wrap(env, config.task), judged.eval_episodes, name, judged.sample_actions)


def make_env(name: str | Path, **env_params: bool | int | float | str) -> tuple[Environment, PyTree]:
    """The environment that training on `name` steps, in its wrappers, and the parameters of its `reset` and `step`.

    For example::

        env, params = ppo_jax.make_env("CartPole-v1", gravity=5.0)
        observation, state = env.reset(key, params)
        observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)

    Args:
        name: an environment, or an experiment by name or file, as for `load_config`.
        **env_params: parameters other than its own defaults.

    Raises:
        PPOJaxError: an unknown name or parameter, or an import path that leads nowhere.
    """
    task = make_task(load_config(name, {f"env_params.{key}": value for key, value in env_params.items()}))
    return task.env, task.env_params


def make_network(config: NetworkConfig, task: Task) -> nn.Module:
    """The network that ``[network]`` names, for `task`.

    Raises:
        PPOJaxError: it does not fit the task, or an import path leads nowhere.
    """
    if ":" in config.network:
        place = f"network.network = {config.network!r}"
        network: nn.Module = from_class(imported(config.network, "network.network"), task.env.action_space, place)
        return network
    return task.default_network(config)


def _instance(found: Any, place: str, params: dict[str, Any]) -> Any:
    """An environment from what an import path leads to: one, or its class or a function, which gets `params`."""
    if _is_environment(found) and not isinstance(found, type):
        if params:
            raise PPOJaxError(f"{place}: is an environment already; task.env_params are for a class or a function")
        return found
    if isinstance(found, type) and not _is_environment(found):
        raise PPOJaxError(f"{place}: {found.__name__} is no environment: it has no reset and step")
    check_call(found, place, **params)
    return call_own_code(place, partial(found, **params) if params else found)


def _is_environment(thing: Any) -> bool:
    return hasattr(thing, "reset") and (hasattr(thing, "step") or hasattr(thing, "step_env"))


def adapt(env: Any, place: str) -> Environment:
    """`env` as an `Environment`: itself, or one of gymnax's behind the adapter.

    Args:
        env: what should be an environment.
        place: begins every error.

    Raises:
        PPOJaxError: it is neither; says what it lacks.
    """
    if isinstance(env, type):
        raise PPOJaxError(f"{place}: {env.__name__} is a class; an instance is needed")
    if isinstance(env, Environment):
        return env
    if hasattr(env, "step_env"):
        return gymnax_envs.from_environment(env)
    if any(cls.__module__.split(".")[0] in ("gymnasium", "gym") for cls in type(env).__mro__):
        raise PPOJaxError(
            f"{place}: {type(env).__name__} is one of Gymnasium's, whose steps are not JAX functions; register its "
            "class there and name it, env_id = 'gymnasium/module:<id>'"
        )
    missing = [name for name in REQUIRED if not hasattr(env, name)]
    raise PPOJaxError(
        f"{place}: neither a ppo_jax Environment nor one of gymnax's: {type(env).__name__} has no {', '.join(missing)}"
    )
