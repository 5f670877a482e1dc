"""Environments of Gymnasium (Towers et al. 2024): ``gymnasium/LunarLander-v3``, which Python steps.

They live outside the compiled program, which calls back once a step, for the whole batch. What it holds of an episode
is a `Handle`. One that is out of date, after a resume or where it was used before, cuts the episode where it stood.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from jax.experimental import io_callback

from ppo_jax.config.own_code import keep_raised, summarize_error
from ppo_jax.types import ActionSpace, Box, Discrete, EnvStep, MultiDiscrete, PPOJaxError, PyTree

__all__ = ["GymnasiumEnvironment", "Handle", "make", "names"]

MOST = 4  # batches of environments that stay open: that which trains, and those which were judged last
TOKEN = jax.ShapeDtypeStruct((2,), jnp.int32)
REWARD, FLAG = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.bool_)


def names() -> Collection[str]:
    """Of every environment that is registered, also by packages which do so when Gymnasium is imported."""
    return list(gymnasium.registry)


def make(name: str, **options: Any) -> GymnasiumEnvironment:
    """Make an environment.

    Args:
        name: Gymnasium's.
        **options: of `gymnasium.make`, such as ``max_episode_steps``, and of the environment's constructor.

    Raises:
        PPOJaxError: its observations or actions are of a kind that no network can read or give.
    """
    env_id, one = f"gymnasium/{name}", gymnasium.make(name, **options)
    limit = None if one.spec is None else one.spec.max_episode_steps
    made = GymnasiumEnvironment(env_id, name, options, one.observation_space, one.action_space, limit)
    one.close()
    _like(env_id, made.observations)
    made.action_space  # noqa: B018  # refuses what it cannot be
    return made


class Handle(NamedTuple):
    """What a program holds of an episode."""

    token: jax.Array  # [2] int32: a random number of the environments that are stepped together, and their steps so far
    observation: PyTree  # the newest


@dataclass
class _Batch:
    """Environments that are stepped together."""

    envs: SyncVectorEnv
    token: np.ndarray  # [n, 2] int32, as of those handles that are up to date


@dataclass(frozen=True, eq=False)
class GymnasiumEnvironment:
    """An environment of Gymnasium as `ppo_jax.types.Environment`; equal only to itself, so build it once.

    `reset` and `step` must be under at most one ``jax.vmap``, that over the environments of a batch.
    """

    env_id: str
    name: str
    options: dict[str, Any]
    observations: spaces.Space
    actions: spaces.Space
    max_episode_length: int | None  # steps after which an episode is cut; None where Gymnasium does not say
    can_truncate: bool = True
    default_params: PyTree = ()
    steps_outside: bool = True  # of the compiled program
    _open: OrderedDict[int, _Batch] = field(default_factory=OrderedDict)  # the one used last at the end

    @property
    def action_space(self) -> ActionSpace:
        """Gymnasium's.

        Raises:
            PPOJaxError: there is nothing like it.
        """
        match self.actions:
            case spaces.Discrete():
                return Discrete(int(self.actions.n))
            case spaces.MultiDiscrete() if self.actions.nvec.ndim == 1:
                return MultiDiscrete(tuple(map(int, self.actions.nvec)))
            case spaces.MultiBinary():
                return MultiDiscrete((2,) * int(np.prod(self.actions.shape)))
            case spaces.Box():
                low, high = (tuple(map(float, x.ravel())) for x in (self.actions.low, self.actions.high))
                return Box(low, high)
        raise PPOJaxError(f"env_id {self.env_id!r}: no policy gives actions of {self.actions}")

    def reset(self, key: jax.Array, params: PyTree) -> tuple[PyTree, Handle]:
        """Return ``(observation, state)`` of a fresh episode."""
        begin = _one_of_a_batch(self._reset, (TOKEN, _like(self.env_id, self.observations)))
        token, observed = begin(jax.random.bits(key, (), jnp.uint32))
        observation = _observe(self.observations, observed)
        return observation, Handle(token, observation)

    def step(self, key: jax.Array, state: Handle, action: jax.Array, params: PyTree) -> EnvStep:
        """Take one step and restart the episode if it ended there; actions of a Box are clipped to its bounds."""
        space = self.action_space
        if isinstance(space, Box):
            action = jnp.clip(action, jnp.array(space.low, jnp.float32), jnp.array(space.high, jnp.float32))
        observed = _like(self.env_id, self.observations)
        advance = _one_of_a_batch(self._step, (TOKEN, observed, observed, REWARD, FLAG, FLAG, FLAG))
        token, *observed, reward, terminated, truncated, lost = advance(state.token, action)
        observation, final = (_observe(self.observations, x) for x in observed)
        # A lost episode was not stepped: its last observation is the one that it stood at.
        final = jax.tree.map(lambda stood, x: jnp.where(lost, stood, x), state.observation, final)
        info = {"final_observation": final}
        return EnvStep(observation, Handle(token, observation), reward, terminated, truncated, info)

    # What follows is called back, with NumPy's arrays of a whole batch.

    def _reset(self, seeds: np.ndarray) -> tuple[Any, ...]:
        """Begin in other environments than any that are stepped: ``(token, observation)``."""
        n = len(seeds)
        oldest = self._open.popitem(last=False)[1].envs if len(self._open) >= MOST else None
        if oldest is not None and oldest.num_envs != n:
            oldest.close()
            oldest = None
        with keep_raised(self._place("reset")):
            envs = oldest or gymnasium.make_vec(
                self.name, n, "sync", {"autoreset_mode": AutoresetMode.SAME_STEP, "copy": False}, **self.options
            )
            observation, _ = envs.reset(seed=[int(x) for x in seeds])
        number = secrets.randbits(31)
        token = np.tile(np.array([number, 0], np.int32), (n, 1))
        self._open[number] = _Batch(envs, token)
        return token, self._typed(observation)

    def _step(self, token: np.ndarray, actions: np.ndarray) -> tuple[Any, ...]:
        """Step all: ``(token, observation, final observation, reward, terminated, truncated, lost)``."""
        n, number = len(token), int(token[0, 0])
        held = self._open.get(number)
        if held is None or not np.array_equal(held.token, token):
            token, observation = self._reset(np.random.SeedSequence(token.ravel().tolist()).generate_state(n))
            no, yes = np.zeros(n, bool), np.ones(n, bool)
            return token, observation, observation, np.zeros(n, np.float32), no, yes, yes
        self._open.move_to_end(number)
        with keep_raised(self._place("step")):
            observation, reward, terminated, truncated, info = held.envs.step(_to_gymnasium(self.actions, actions))
        held.token = token + np.array([0, 1], np.int32)
        observation = final = self._typed(observation)
        if "final_obs" in info:
            final = _over(lambda _, x: x.copy(), self.observations, observation)
            for i in np.flatnonzero(info["_final_obs"]):
                _over(lambda _, x, last, i=i: x.__setitem__(i, last), self.observations, final, info["final_obs"][i])
        truncated &= ~terminated
        reward = reward.astype(np.float32)
        return held.token, observation, final, reward, terminated, truncated, np.zeros(n, bool)

    def _typed(self, observation: PyTree) -> PyTree:
        return _over(lambda space, x: np.asarray(x, _dtype(space)), self.observations, observation)

    def _place(self, function: str) -> str:
        return f"env_id {self.env_id!r}: its {function}"


def _one_of_a_batch(callback: Callable[..., Any], like: PyTree) -> Callable[..., Any]:
    """A function of one environment that ``jax.vmap`` makes one call of `callback` with a whole batch.

    Args:
        callback: takes NumPy's arrays [n, ...] and returns a pytree of them.
        like: shapes and types of what it returns, without n.
    """

    def of_batch(n: int, *arguments: jax.Array) -> PyTree:
        @jax.custom_batching.custom_vmap
        def call(*arguments: jax.Array) -> PyTree:
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), like)
            return io_callback(lambda *xs: callback(*map(np.asarray, xs)), shapes, *arguments)

        call.def_vmap(_refuse_batch)
        return call(*arguments)

    @jax.custom_batching.custom_vmap
    def one(*arguments: jax.Array) -> PyTree:
        return jax.tree.map(lambda x: x[0], of_batch(1, *(x[None] for x in arguments)))

    @one.def_vmap
    def of_all(n: int, batched: list[bool], *arguments: jax.Array) -> tuple[PyTree, PyTree]:
        each = (x if is_ else jnp.broadcast_to(x, (n, *x.shape)) for x, is_ in zip(arguments, batched, strict=True))
        return of_batch(n, *each), jax.tree.map(lambda _: True, like)

    return one


def _refuse_batch(n: int, batched: Any, *arguments: jax.Array) -> Any:
    raise PPOJaxError(
        "environments of Gymnasium are stepped outside the compiled program, in which they train one run at a time; "
        "train the seeds one after another"
    )


def _over(function: Callable[..., Any], space: spaces.Space, *values: Any) -> Any:
    """`function(space, *values)` of each space of arrays in `space`, and what it holds of `values`."""
    if isinstance(space, spaces.Dict):
        return {name: _over(function, part, *(x[name] for x in values)) for name, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_over(function, part, *(x[i] for x in values)) for i, part in enumerate(space))
    return function(space, *values)


def _dtype(space: spaces.Space) -> Any:
    """In which observations come into the program: pictures as bytes, categories as numbers, all else as float32."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return np.int32
    return np.uint8 if _is_picture(space) else np.float32


def _is_picture(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8


def _like(env_id: str, space: spaces.Space) -> PyTree:
    """Shapes and types of an observation as it comes into the program.

    Raises:
        PPOJaxError: a part of it is no array.
    """

    def shape(part: spaces.Space) -> jax.ShapeDtypeStruct:
        if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise PPOJaxError(f"env_id {env_id!r}: no network reads observations of {part}")
        return jax.ShapeDtypeStruct(part.shape, _dtype(part))

    return _over(shape, space)


def _observe(space: spaces.Space, observation: PyTree) -> PyTree:
    """As a network sees it: float32, categories one-hot, bytes as shares of 255."""

    def see(part: spaces.Space, x: jax.Array) -> jax.Array:
        match part:
            case spaces.Discrete():
                return jax.nn.one_hot(x - part.start, int(part.n), dtype=jnp.float32)
            case spaces.MultiDiscrete():
                choices = zip((x - part.start).ravel(), part.nvec.ravel(), strict=True)
                return jnp.concatenate([jax.nn.one_hot(one, int(n), dtype=jnp.float32) for one, n in choices])
        return x.astype(jnp.float32) / 255 if _is_picture(part) else x

    return _over(see, space, observation)


def _to_gymnasium(space: spaces.Space, actions: np.ndarray) -> np.ndarray:
    """Actions [n, ...] of the program as `space` has them."""
    actions = actions.reshape(len(actions), *(space.shape or ())).astype(space.dtype)
    return actions + space.start if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) else actions
