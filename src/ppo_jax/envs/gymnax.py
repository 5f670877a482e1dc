"""gymnax environments as `ppo_jax.types.Environment`; the only module that imports gymnax, and only when called.

`import gymnax` pulls in seaborn, pandas, matplotlib and scipy whichever environment is wanted: no cheaper entry exists.

What the adapter evens out in gymnax 1.0.1, so that a trainer sees one kind of environment:

- most ids have weakly typed states, which would compile a chunked trainer twice: all weak types are stripped;
- UmbrellaChain and BernoulliBandit reward with int32, FourRooms observes int32: both become float32;
- FrozenLake observes a scalar integer: it becomes a one-hot vector;
- a step can be both terminated and truncated (DeepSea's last always is): terminated wins;
- Swimmer needs NumPy's rank promotion: allowed inside gymnax, however strict the caller is;
- MNISTBandit downloads its images when made: refused with a clear error.

Every id ends its episodes: the longest, Freeway, is cut after 2500 steps.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.types import ActionSpace, Box, Discrete, EnvStep, PPOJaxError, PyTree

__all__ = ["GymnaxEnvironment", "describe", "environment_ids", "from_environment", "make"]

_NEEDS_DOWNLOAD = "MNISTBandit-bsuite"
_NEVER_TERMINATES = "never terminates, only truncates"
_NOTES = {
    "BernoulliBandit-misc": _NEVER_TERMINATES,
    "DiscountingChain-bsuite": _NEVER_TERMINATES,
    "Freeway-MinAtar": _NEVER_TERMINATES,
    "FrozenLake-misc": "the position is observed as a one-hot vector",
    "GaussianBandit-misc": _NEVER_TERMINATES,
    "Pendulum-v1": _NEVER_TERMINATES,
    "PointRobot-misc": _NEVER_TERMINATES,
    "Reacher-misc": _NEVER_TERMINATES,
    "SimpleBandit-bsuite": "the arms are permuted anew at every step: there is nothing to learn",
    "Swimmer-misc": _NEVER_TERMINATES,
}


@dataclass(frozen=True, eq=False)
class GymnaxEnvironment:
    """One gymnax environment behind the `Environment` protocol. Build it with `make` or `from_environment`.

    Equal only to itself, since parameters may hold arrays, which have no hash. So build it once: each instance
    compiles anew.
    """

    env_id: str
    environment: Any  # a gymnax Environment
    default_params: PyTree
    action_space: ActionSpace
    can_truncate: bool  # holds for `default_params`
    action_shape: tuple[int, ...]  # what gymnax expects; [] or the shape of its Box
    observation_categories: int | None  # of a Discrete observation space, which is one-hot encoded

    @property
    def max_episode_length(self) -> int | None:
        """Steps after which an episode is cut, under ``default_params``; None where gymnax has no such parameter."""
        limit = getattr(self.default_params, "max_steps_in_episode", None)
        return None if limit is None else int(limit)

    def reset(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        """Return ``(observation, state)`` of a fresh episode; observations are float32 and keep their shape."""
        with jax.numpy_rank_promotion("allow"):
            observation, state = self.environment.reset(key, params)
        return self._convert_observation(observation), _strip_weak_types(state)

    def step(self, key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> EnvStep:
        """Take one step and restart the episode if it ended there.

        Args:
            key: a PRNG key, used for the transition and for a restart.
            state: as `reset` or `step` returned it.
            action: [] integer, or [size] float for a Box, clipped here to its bounds.
            params: the environment's parameters, ``default_params`` or others like them.

        Returns:
            The step with a float32 reward, boolean flags of which at most one is true, and an info dictionary
            with ``final_observation`` and whatever else the environment reports.
        """
        with jax.numpy_rank_promotion("allow"):
            observation, state, reward, terminated, truncated, info = self.environment.step(
                key, state, self._convert_action(action), params
            )
        terminated = jnp.asarray(terminated, bool)
        # The two flags and the discount say again what EnvStep says; a rollout would store them for every step.
        reported = {name: x for name, x in info.items() if name not in ("terminated", "truncated", "discount")}
        final_observation = self._convert_observation(reported.pop("final_observation"))
        return EnvStep(
            observation=self._convert_observation(observation),
            state=_strip_weak_types(state),
            reward=jnp.asarray(reward, jnp.float32).reshape(()),
            terminated=terminated,
            truncated=jnp.asarray(truncated, bool) & ~terminated,
            info={**_strip_weak_types(reported), "final_observation": final_observation},
        )

    def _convert_action(self, action: jax.Array) -> jax.Array:
        if isinstance(self.action_space, Discrete):
            return jnp.asarray(action, jnp.int32)
        low, high = (jnp.asarray(bound, jnp.float32) for bound in (self.action_space.low, self.action_space.high))
        return jnp.clip(jnp.asarray(action, jnp.float32), low, high).reshape(self.action_shape)

    def _convert_observation(self, observation: PyTree) -> PyTree:
        if self.observation_categories is not None:
            return jax.nn.one_hot(observation, self.observation_categories, dtype=jnp.float32)
        if isinstance(observation, dict) and "action_mask" in observation:
            numbers = {name: x for name, x in observation.items() if name != "action_mask"}
            return {**_as_float32(numbers), "action_mask": jnp.asarray(observation["action_mask"], bool)}
        return _as_float32(observation)


@functools.cache
def make(env_id: str, **env_kwargs: Any) -> GymnaxEnvironment:
    """Make a registered environment; the same arguments give the same instance, so nothing compiles twice.

    Args:
        env_id: one of `environment_ids`.
        **env_kwargs: (hashable) arguments of the environment's constructor, for example ``size`` of DeepSea.

    Raises:
        PPOJaxError: the id is unknown (names the nearest ones), needs a download, or refuses the arguments.
    """
    import gymnax

    if env_id == _NEEDS_DOWNLOAD:
        raise PPOJaxError(
            f"env_id {env_id!r} downloads its images when it is made and is not offered; where the network allows it, "
            "pass gymnax.environments.MNISTBandit() to ppo_jax.envs.gymnax.from_environment"
        )
    if env_id not in gymnax.registered_envs:
        raise PPOJaxError(f"unknown env_id {env_id!r}; {_nearest(env_id, environment_ids())}")
    try:
        # Concrete even when called under a trace: the instance outlives it, in the cache.
        with jax.ensure_compile_time_eval():
            environment, params = gymnax.make(env_id, **env_kwargs)
    except (TypeError, ValueError) as error:
        raise PPOJaxError(f"env_id {env_id!r} cannot be made with the arguments {env_kwargs}: {error}") from error
    return _adapt(env_id, environment, params)


def from_environment(environment: Any, params: PyTree = None) -> GymnaxEnvironment:
    """Adapt your own instance of gymnax's ``Environment``, or one of gymnax's with other ``params``.

    Raises:
        PPOJaxError: its action space is neither Discrete nor Box.
    """
    return _adapt(environment.name, environment, environment.default_params if params is None else params)


def environment_ids() -> list[str]:
    """Return every registered id that `make` accepts, in gymnax's order."""
    import gymnax

    return [env_id for env_id in gymnax.registered_envs if env_id != _NEEDS_DOWNLOAD]


def describe(env_id: str) -> dict[str, Any]:
    """Say what an environment observes and does, as plain values; it is traced, never run.

    Returns:
        ``env_id``, ``observation_shape`` (a list, or a dictionary of lists), ``action_space`` (``type`` with ``n``, or
        with ``low`` and ``high``), ``can_truncate``, ``max_episode_length`` and ``note`` (a peculiarity, or None).

    Raises:
        PPOJaxError: as `make`.
    """
    env = make(env_id)
    observation, _ = jax.eval_shape(env.reset, jax.random.key(0), env.default_params)
    space = env.action_space
    return {
        "env_id": env_id,
        "observation_shape": jax.tree.map(lambda x: list(x.shape), observation),
        "action_space": (
            {"type": "discrete", "n": space.n}
            if isinstance(space, Discrete)
            else {"type": "box", "low": list(space.low), "high": list(space.high)}
        ),
        "can_truncate": env.can_truncate,
        "max_episode_length": env.max_episode_length,
        "note": _NOTES.get(env_id),
    }


def _adapt(env_id: str, environment: Any, params: PyTree) -> GymnaxEnvironment:
    from gymnax.environments import spaces

    # Spaces of numbers, not tracers: they are static.
    with jax.ensure_compile_time_eval():
        action_space = environment.action_space(params)
        observation_space = environment.observation_space(params)
        return GymnaxEnvironment(
            env_id=env_id,
            environment=environment,
            default_params=params,
            action_space=_convert_action_space(env_id, action_space),
            can_truncate=_can_truncate(environment, params),
            action_shape=tuple(action_space.shape),
            observation_categories=(
                int(observation_space.n) if isinstance(observation_space, spaces.Discrete) else None
            ),
        )


def _convert_action_space(env_id: str, space: Any) -> ActionSpace:
    from gymnax.environments import spaces

    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        return Box(*(_flat_bound(bound, space.shape) for bound in (space.low, space.high)))
    raise PPOJaxError(f"env_id {env_id!r} has the action space {space!r}; only Discrete and Box can be trained")


def _flat_bound(bound: Any, shape: tuple[int, ...]) -> tuple[float, ...]:
    values = np.broadcast_to(np.asarray(bound, np.float32), shape).reshape(math.prod(shape))
    return tuple(float(str(value)) for value in values)  # the shortest decimal: 0.1, not 0.10000000149


def _can_truncate(environment: Any, params: PyTree) -> bool:
    """Whether an episode can outlast the time limit: false only where its greatest length is known to fit in it."""
    lengths = _greatest_lengths()
    greatest_length = lengths.get(type(environment))
    return greatest_length is None or greatest_length(environment, params) > params.max_steps_in_episode


def _greatest_lengths() -> dict[type, Callable[[Any, Any], int]]:
    """Steps after which gymnax's own classes (not subclasses, which may differ) terminate, whatever the actions."""
    from gymnax import environments

    return {
        environments.Catch: lambda env, params: env.rows - 1,
        environments.DeepSea: lambda env, params: env.size,
        environments.MemoryChain: lambda env, params: params.memory_length + 1,
        environments.MNISTBandit: lambda env, params: 1,
        environments.SimpleBandit: lambda env, params: 1,
        environments.UmbrellaChain: lambda env, params: params.chain_length,
    }


def _nearest(env_id: str, known: list[str]) -> str:
    by_lower_case = {name.lower(): name for name in known}
    close = difflib.get_close_matches(env_id.lower(), by_lower_case, n=3, cutoff=0.5)
    if not close:
        return "`ppo-jax envs` lists all"
    return f"nearest: {', '.join(by_lower_case[name] for name in close)}"


def _as_float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def _strip_weak_types(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)
