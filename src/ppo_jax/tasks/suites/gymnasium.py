"""Environments of Gymnasium (Towers et al. 2024): ``gymnasium/LunarLander-v3``, which Python steps.

They live outside the compiled program, which calls back once a step, for the whole batch. What it holds of an episode
is a `Handle`. One that is out of date, after a resume or where it was used before, cuts the episode where it stood.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode
from jax.experimental import io_callback

from ppo_jax.config.own_code import keep_raised
from ppo_jax.tasks.suites import gymnasium_spaces as spaces
from ppo_jax.types import ActionSpace, Box, EnvStep, PPOJaxError, PyTree

__all__ = ["NOT_OFFERED", "GymnasiumEnvironment", "Handle", "make", "names"]

MOST = 4  # batches of environments that stay open: that which trains, and those which were judged last
NOT_OFFERED = {
    name: "runs JAX in its steps, which a callback must not do,"
    for name in gymnasium.registry
    if name.startswith(("phys2d/", "tabular/"))
}
TOKEN = jax.ShapeDtypeStruct((2,), jnp.int32)
REWARD, FLAG = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.bool_)


def names() -> Collection[str]:
    """Of every environment that is registered, also by packages which do so when Gymnasium is imported."""
    return gymnasium.registry.keys() - NOT_OFFERED.keys()


def make(name: str, **options: Any) -> GymnasiumEnvironment:
    """Make an environment.

    Args:
        name: Gymnasium's.
        **options: of `gymnasium.make`, such as ``max_episode_steps``, and of the environment's constructor.

    Raises:
        PPOJaxError: its observations or actions are of a kind that no network can read or give.
    """
    env_id, one = f"gymnasium/{name}", gymnasium.make(name, **options)
    picture: PyTree = ()
    if one.render_mode is not None:
        one.reset()
        picture = jax.ShapeDtypeStruct(np.asarray(one.render()).shape, jnp.uint8)
    one.close()
    return GymnasiumEnvironment(
        env_id,
        options,
        observations=one.observation_space,
        actions=one.action_space,
        action_space=spaces.action_space(env_id, one.action_space),
        max_episode_length=None if one.spec is None else one.spec.max_episode_steps,
        like=(TOKEN, spaces.shapes(env_id, one.observation_space), picture),
    )


class Handle(NamedTuple):
    """What a program holds of an episode."""

    token: jax.Array  # [2] int32: a random number of the environments that are stepped together, and their steps so far
    observation: PyTree  # the newest
    picture: PyTree  # [height, width, 3] uint8 where ``render_mode = "rgb_array"``, else ()


class _Batch(NamedTuple):
    """Environments that are stepped together."""

    envs: Any  # gymnasium.vector.SyncVectorEnv
    token: np.ndarray  # [n, 2] int32, as of those handles that are up to date


@dataclass(frozen=True, eq=False)
class GymnasiumEnvironment:
    """An environment of Gymnasium as `ppo_jax.types.Environment`; equal only to itself, so build it once.

    `reset` and `step` must be under at most one ``jax.vmap``, that over the environments of a batch.
    """

    env_id: str
    options: dict[str, Any]
    observations: gymnasium.Space
    actions: gymnasium.Space
    action_space: ActionSpace
    max_episode_length: int | None  # steps after which an episode is cut; None where Gymnasium does not say
    like: tuple[PyTree, PyTree, PyTree]  # shapes and types of token, observation and picture
    can_truncate: bool = True
    default_params: PyTree = ()
    steps_outside: bool = True  # of the compiled program
    _open: OrderedDict[int, _Batch] = field(default_factory=OrderedDict)  # the one used last at the end

    def reset(self, key: jax.Array, params: PyTree) -> tuple[PyTree, Handle]:
        """Return ``(observation, state)`` of a fresh episode."""
        begin = self._one_of_a_batch(self._reset, self.like)
        # Some environments take seeds of 31 bits only.
        token, observed, picture = begin(jax.random.bits(key, (), jnp.uint32) >> 1)
        observation = spaces.as_network_sees(self.observations, observed)
        return observation, Handle(token, observation, picture)

    def step(self, key: jax.Array, state: Handle, action: jax.Array, params: PyTree) -> EnvStep:
        """Take one step and restart the episode if it ended there; actions of a Box are clipped to its bounds."""
        space = self.action_space
        if isinstance(space, Box):
            action = jnp.clip(action, jnp.array(space.low, jnp.float32), jnp.array(space.high, jnp.float32))
        advance = self._one_of_a_batch(self._step, (*self.like, self.like[1], REWARD, FLAG, FLAG, FLAG))
        token, observed, picture, last, reward, terminated, truncated, lost = advance(state.token, action)
        observation, final = (spaces.as_network_sees(self.observations, x) for x in (observed, last))
        # A lost episode was not stepped: its last observation is the one that it stood at.
        final = jax.tree.map(lambda stood, x: jnp.where(lost, stood, x), state.observation, final)
        info = {"final_observation": final}
        return EnvStep(observation, Handle(token, observation, picture), reward, terminated, truncated, info)

    def render(self, state: Handle) -> Any:
        """The picture [height, width, 3] uint8 that Gymnasium drew where ``render_mode = "rgb_array"``."""
        return state.picture

    # What follows is called back, with NumPy's arrays of a whole batch.

    def _reset(self, seeds: np.ndarray) -> tuple[Any, ...]:
        """Begin in other environments than any that are stepped: ``(token, observation, picture)``."""
        n = len(seeds)
        oldest = self._open.popitem(last=False)[1].envs if len(self._open) >= MOST else None
        if oldest is not None and oldest.num_envs != n:
            oldest.close()
            oldest = None
        envs: Any = oldest or gymnasium.make_vec(
            self.env_id.partition("/")[2],
            n,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP, "copy": False},
            **self.options,
        )
        observation, _ = envs.reset(seed=[int(x) for x in seeds])
        token = np.tile(np.array([secrets.randbits(31), 0], np.int32), (n, 1))
        self._open[int(token[0, 0])] = _Batch(envs, token)
        return token, spaces.as_program_takes(self.observations, observation), self._pictures(envs)

    def _step(self, token: np.ndarray, actions: np.ndarray) -> tuple[Any, ...]:
        """Step all: ``(token, observation, picture, last observation, reward, terminated, truncated, lost)``."""
        n, number = len(token), int(token[0, 0])
        held = self._open.get(number)
        if held is None or not np.array_equal(held.token, token):
            begun = self._reset(np.random.SeedSequence(token.ravel().tolist()).generate_state(n) >> 1)
            no, yes = np.zeros(n, bool), np.ones(n, bool)
            return *begun, begun[1], np.zeros(n, np.float32), no, yes, yes
        del self._open[number]  # not to be gone on with where one of them fails
        actions = spaces.to_gymnasium(self.actions, actions)
        observed, reward, terminated, truncated, info = held.envs.step(actions)
        token = token + np.array([0, 1], np.int32)
        self._open[number] = _Batch(held.envs, token)
        observation = last = spaces.as_program_takes(self.observations, observed)
        if "final_obs" in info:
            ended = {i: info["final_obs"][i] for i in np.flatnonzero(info["_final_obs"]).tolist()}
            last = spaces.with_rows(self.observations, observation, ended)
        ends = terminated, truncated & ~terminated, np.zeros(n, bool)
        return token, observation, self._pictures(held.envs), last, reward.astype(np.float32), *ends

    def _pictures(self, envs: Any) -> PyTree:
        return np.stack(envs.render()) if envs.render_mode is not None else ()

    def _one_of_a_batch(self, callback: Callable[..., Any], like: PyTree) -> Callable[..., Any]:
        """A function of one environment, which ``jax.vmap`` makes one call of `callback` with the whole batch.

        Args:
            callback: takes NumPy's arrays [n, ...] and returns a pytree of them.
            like: shapes and types of what it returns, without n.
        """

        def called(*arguments: jax.Array) -> PyTree:
            with keep_raised(f"env_id {self.env_id!r}"):
                return callback(*map(np.asarray, arguments))

        def of_batch(*arguments: jax.Array) -> PyTree:
            n = len(arguments[0])
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), like)
            call = jax.custom_batching.custom_vmap(partial(io_callback, called, shapes))
            call.def_vmap(self._refuse_batches)
            return call(*arguments)

        @jax.custom_batching.custom_vmap
        def one(*arguments: jax.Array) -> PyTree:
            return jax.tree.map(lambda x: x[0], of_batch(*(x[None] for x in arguments)))

        @one.def_vmap
        def of_all(n: int, batched: list[bool], *arguments: jax.Array) -> tuple[PyTree, PyTree]:
            each = [x if b else jnp.broadcast_to(x, (n, *x.shape)) for x, b in zip(arguments, batched, strict=True)]
            return of_batch(*each), jax.tree.map(lambda _: True, like)

        return one

    def _refuse_batches(self, n: int, batched: Any, *arguments: Any) -> Any:
        raise PPOJaxError(f"{self.env_id} is stepped outside the compiled program, by one run at a time: not in a vmap")


class _Told(logging.Filter):
    """Keeps JAX from logging the traceback of what is told in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, PPOJaxError | KeyboardInterrupt)


logging.getLogger("jax._src.callback").addFilter(_Told())
