"""gymnax environments as `ppo_jax.types.Environment`, and proof tasks as gymnax's; the only module that imports gymnax.

It does so when called, not when imported, and proof tasks under their ids (``Proof-countries_s3``) never need it:
`make` serves them without, and `register_proof_tasks` is for programs written against gymnax.

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

import dataclasses
import difflib
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.config.checks import convert
from ppo_jax.config.own_code import summarize_error
from ppo_jax.config.suggestions import nearest
from ppo_jax.config.task_id import PREFIX
from ppo_jax.ops.distributions import to_bounds
from ppo_jax.proving import environment as proof
from ppo_jax.proving.datasets import BUILTIN
from ppo_jax.proving.environment import ProofEnv, ProofParams, ProofState
from ppo_jax.types import ActionSpace, Box, Discrete, EnvStep, PPOJaxError, PyTree

__all__ = [
    "GymnaxEnvironment",
    "as_gymnax",
    "environment_ids",
    "from_environment",
    "make",
    "register_proof_tasks",
]

_PROOF_IDS = [PREFIX + name for name in BUILTIN]
_NEEDS_DOWNLOAD = "MNISTBandit-bsuite"


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

    @property
    def needs_memory(self) -> bool | None:
        """Whether the observation hides what the best action depends on; None where the class does not say."""
        return getattr(self.environment, "needs_memory", None)

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
        if not isinstance(self.action_space, Box):
            return jnp.asarray(action, jnp.int32)
        return to_bounds(self.action_space, jnp.asarray(action, jnp.float32)).reshape(self.action_shape)

    def _convert_observation(self, observation: PyTree) -> PyTree:
        if self.observation_categories is not None:
            return jax.nn.one_hot(observation, self.observation_categories, dtype=jnp.float32)
        if isinstance(observation, dict) and "action_mask" in observation:
            numbers = {name: x for name, x in observation.items() if name != "action_mask"}
            return {**_as_float32(numbers), "action_mask": jnp.asarray(observation["action_mask"], bool)}
        return _as_float32(observation)


@functools.cache
def make(env_id: str, **env_kwargs: Any) -> GymnaxEnvironment | ProofEnv:
    """Make an environment; the same arguments give the same instance, so nothing compiles twice.

    Args:
        env_id: one of `environment_ids`.
        **env_kwargs: (hashable) parameters of the environment, for example ``gravity`` of CartPole, and arguments of
            its constructor, for example ``size`` of DeepSea; of a proof task those of
            `ppo_jax.proving.environment.make`.

    Raises:
        PPOJaxError: the id is unknown (names the nearest ones), needs a download, or refuses the arguments.
    """
    if env_id.startswith(PREFIX):
        return _make_proof_env(env_id, **env_kwargs)
    import gymnax

    if env_id == _NEEDS_DOWNLOAD:
        raise PPOJaxError(
            f"env_id {env_id!r} downloads its images when it is made and is not offered; where the network allows it, "
            "pass gymnax.environments.MNISTBandit() to ppo_jax.tasks.gymnax.from_environment"
        )
    if env_id not in gymnax.registered_envs:
        raise PPOJaxError(f"unknown env_id {env_id!r}; {_nearest(env_id, environment_ids())}")
    # Concrete even when called under a trace: the instance outlives it, in the cache.
    with jax.ensure_compile_time_eval():
        environment, params = gymnax.make(env_id)
        if env_kwargs:
            environment, params = _with_parameters(env_id, environment, params, env_kwargs)
        return _adapt(env_id, environment, params)


def _with_parameters(env_id: str, environment: Any, params: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    """The environment with other parameters: fields of gymnax's parameters, or arguments of the constructor."""
    import gymnax

    fields = {field.name: type(getattr(params, field.name)) for field in dataclasses.fields(params)}
    arguments = inspect.signature(type(environment)).parameters.keys() - fields.keys()
    for name in given:
        if name not in fields and name not in arguments:
            known = [*fields, *sorted(arguments)]
            raise PPOJaxError(f"task.env_params: {env_id} has no parameter {name!r}; {nearest(name, known)}")
        if name in fields and not issubclass(fields[name], bool | int | float | str):
            raise PPOJaxError(f"task.env_params.{name}: is no single value in {env_id}, and cannot be set here")
    changed = {n: convert(x, fields[n], f"task.env_params.{n}") for n, x in given.items() if n in fields}
    try:
        environment, params = gymnax.make(env_id, **{n: x for n, x in given.items() if n in arguments})
        jax.eval_shape(environment.reset, jax.random.key(0), params)
    except Exception as error:  # whatever the constructor makes of the values
        raise PPOJaxError(f"{env_id} cannot be made with the env_params {given}: {summarize_error(error)}") from error
    return environment, params.replace(**changed)


def from_environment(environment: Any, params: PyTree = None) -> GymnaxEnvironment | ProofEnv:
    """Adapt your own instance of gymnax's ``Environment``, or one of gymnax's with other ``params``.

    What `as_gymnax` made becomes the `ProofEnv` that it was.

    Raises:
        PPOJaxError: its action space is neither Discrete nor Box.
    """
    params = environment.default_params if params is None else params
    proof_env = getattr(environment, "proof_env", None)
    if isinstance(proof_env, ProofEnv):
        return dataclasses.replace(proof_env, default_params=params)
    return _adapt(environment.name, environment, params)


def environment_ids() -> list[str]:
    """Return every id that `make` accepts: gymnax's in its order, then the built-in proof tasks."""
    import gymnax

    left_out = {_NEEDS_DOWNLOAD, *_PROOF_IDS}  # the latter are among gymnax's once they are registered
    return [*(env_id for env_id in gymnax.registered_envs if env_id not in left_out), *_PROOF_IDS]


def register_proof_tasks() -> None:
    """Register the built-in proof tasks with gymnax, so that ``gymnax.make("Proof-countries_s3")`` works anywhere.

    ``gymnax.make`` then also takes the options of `ppo_jax.proving.environment.make`. A second call changes nothing.
    """
    from gymnax import registration

    for env_id in _PROOF_IDS:
        if env_id not in registration.registered_envs:
            registration.register(env_id, functools.partial(_make_proof_task, env_id))


def as_gymnax(env: ProofEnv) -> Any:
    """A proof environment as a gymnax ``Environment``, for programs written against gymnax 1.x.

    Its steps are those of `env`, to the bit: ``step`` restarts by itself and derives successors once.
    """
    return _proof_task()(env)


def _make_proof_task(env_id: str, **options: Any) -> Any:
    return as_gymnax(_make_proof_env(env_id, **options))


def _make_proof_env(env_id: str, **options: Any) -> ProofEnv:
    try:
        # Concrete even when called under a trace, as in `make`.
        with jax.ensure_compile_time_eval():
            return proof.make(env_id.removeprefix(PREFIX), **options)
    except TypeError as error:
        raise PPOJaxError(f"env_id {env_id!r} cannot be made with the arguments {options}: {error}") from error


@functools.cache
def _proof_task() -> Any:
    """The class of gymnax environments behind `as_gymnax`; in a function, since its base needs gymnax."""
    from gymnax.environments import environment, spaces

    reset, step = (jax.jit(function, static_argnums=0) for function in (ProofEnv.reset, ProofEnv.step))

    class ProofTask(environment.Environment):
        def __init__(self, proof_env: ProofEnv) -> None:
            self.proof_env = proof_env

        @property
        def name(self) -> str:
            return PREFIX + (self.proof_env.dataset.name if self.proof_env.dataset else "task")

        @property
        def num_actions(self) -> int:
            return self.proof_env.sizes.n_actions

        @property
        def default_params(self) -> Any:
            return self.proof_env.default_params

        def reset(self, key: jax.Array, params: ProofParams | None = None) -> Any:
            return reset(self.proof_env, key, self.default_params if params is None else params)

        def step(self, key: jax.Array, state: ProofState, action: jax.Array, params: ProofParams | None = None) -> Any:
            taken = step(self.proof_env, key, state, action, self.default_params if params is None else params)
            flags = {"terminated": taken.terminated, "truncated": taken.truncated}
            return tuple(taken._replace(info=taken.info | flags))

        def reset_env(self, key: jax.Array, params: ProofParams) -> Any:
            return self.proof_env.reset(key, params)

        def step_env(self, key: jax.Array, state: ProofState, action: jax.Array, params: ProofParams) -> Any:
            # Compiled, successors are derived once here too: those of `taken` are not used.
            taken = self.proof_env.step(key, state, action, params)
            last, _ = self.proof_env.advance(params, state, action)
            return self.proof_env.observe(last), last, taken.reward, taken.terminated, taken.info

        def is_terminated(self, state: ProofState, params: Any = None) -> jax.Array:
            return ~jnp.any(state.action_mask, axis=-1)

        def is_truncated(self, state: ProofState, params: Any = None) -> jax.Array:
            return jnp.zeros_like(state.label)

        def action_space(self, params: Any = None) -> Any:
            return spaces.Discrete(self.num_actions)

        def observation_space(self, params: Any = None) -> Any:
            sizes, max_depth = self.proof_env.sizes, self.proof_env.max_depth
            params = self.default_params if params is None else params
            observation, _ = jax.eval_shape(self.proof_env.reset, jax.random.key(0), params)
            atoms = max(sizes.n_terms - 1, sizes.n_predicates)
            highest = {"depth": max_depth, "action_kind": sizes.end_kind, "action_mask": 1}
            highest["action_constants"] = sizes.n_constants
            return spaces.Dict(
                {name: spaces.Box(0, highest.get(name, atoms), x.shape, x.dtype) for name, x in observation.items()}
            )

    return ProofTask


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
        return Box(_flat_bound(space.low, space.shape), _flat_bound(space.high, space.shape))
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
