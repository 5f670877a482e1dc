"""Wrappers that take an environment and are one: each is a frozen data class over any `ppo_jax.types.Environment`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.config.schema import TaskConfig
from ppo_jax.ops.distributions import to_bounds, valid_by_choice
from ppo_jax.types import ActionSpace, Box, Environment, EnvStep, MultiDiscrete, PPOJaxError, PyTree

__all__ = [
    "NO_VALID_ACTION",
    "ActionRepeat",
    "ClipReward",
    "EpisodeStatistics",
    "EpisodeStatisticsState",
    "FrameStack",
    "SquashActions",
    "TimeLimit",
    "Wrapper",
    "rewrap",
    "steps_outside",
    "unwrap",
    "wrap",
]

NO_VALID_ACTION = "no_valid_action"


@dataclass(frozen=True)
class Wrapper:
    """An environment that is another one but for what its subclass changes."""

    env: Environment

    @property
    def action_space(self) -> ActionSpace:
        """What the policy chooses from."""
        return self.env.action_space

    @property
    def can_truncate(self) -> bool:
        """Whether an episode can be cut."""
        return self.env.can_truncate

    @property
    def default_params(self) -> PyTree:
        """The wrapped environment's."""
        return self.env.default_params

    @property
    def max_episode_length(self) -> int | None:
        """Steps after which an episode is cut; None where nothing is known."""
        return getattr(self.env, "max_episode_length", None)

    @property
    def needs_memory(self) -> bool | None:
        """Whether the observation hides what the best action depends on; None where the environment does not say."""
        return getattr(self.env, "needs_memory", None)

    def inner_state(self, state: PyTree) -> PyTree:
        """The wrapped environment's state, of the wrapper's."""
        return state

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, PyTree]:
        """Return ``(observation, state)`` of a fresh episode."""
        return self.env.reset(key, params)

    def step(self, key: Any, state: PyTree, action: Any, params: PyTree) -> EnvStep:
        """Take one step."""
        return self.env.step(key, state, action, params)


def wrap(env: Environment, config: TaskConfig) -> Environment:
    """The environment as the settings of ``[task]`` change it; rewards are clipped elsewhere, in training alone."""
    for key in ("action_repeat", "time_limit"):
        if getattr(config, key) is not None and steps_outside(env):  # they step or begin more often than they need
            raise PPOJaxError(f"task.{key}: not for an environment of Gymnasium; task.env_params takes its own options")
    if config.action_repeat is not None:
        env = ActionRepeat(env, config.action_repeat)
    if config.time_limit is not None:
        env = TimeLimit(env, config.time_limit)
    if config.frame_stack is not None:
        env = FrameStack(env, config.frame_stack)
    if config.squash_actions:
        env = SquashActions(env)
    return env


def unwrap(env: Environment, states: list[PyTree]) -> tuple[Environment, list[PyTree]]:
    """The environment inside all wrappers, and its states of theirs."""
    while isinstance(env, Wrapper):
        states = [env.inner_state(state) for state in states]
        env = env.env
    return env, states


def rewrap(env: Environment, inner: Environment) -> Environment:
    """`inner` in the wrappers of `env`."""
    return replace(env, env=rewrap(env.env, inner)) if isinstance(env, Wrapper) else inner


def steps_outside(env: Environment) -> bool:
    """Whether an environment lives outside the compiled program, which calls it back."""
    return getattr(unwrap(env, [])[0], "steps_outside", False)


@dataclass(frozen=True)
class ActionRepeat(Wrapper):
    """Take each action `times` times, or until the episode ends; the reward is the sum."""

    times: int

    @property
    def max_episode_length(self) -> int | None:
        """Of the steps that the policy takes."""
        steps = super().max_episode_length
        return None if steps is None else -(-steps // self.times)

    def step(self, key: Any, state: PyTree, action: Any, params: PyTree) -> EnvStep:
        """Step until the action was taken often enough."""

        def again(taken: EnvStep, key: Any) -> tuple[EnvStep, None]:
            after = self.env.step(key, taken.state, action, params)
            after = after._replace(reward=taken.reward + after.reward)
            return _select(taken.terminated | taken.truncated, taken, after), None

        first, *others = jax.random.split(key, self.times)
        taken = EnvStep(*_strongly_typed(tuple(self.env.step(first, state, action, params))))
        if others:
            taken, _ = jax.lax.scan(again, taken, jnp.stack(others))
        return taken


class Timed(NamedTuple):
    """The wrapped environment's state, and the steps of this episode."""

    env_state: PyTree
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class TimeLimit(Wrapper):
    """Cut an episode after `steps` steps: `truncated`, and a new one begins."""

    steps: int

    @property
    def can_truncate(self) -> bool:
        """It does."""
        return True

    @property
    def max_episode_length(self) -> int | None:
        """The shorter of both limits."""
        return min(self.steps, super().max_episode_length or self.steps)

    def inner_state(self, state: Timed) -> PyTree:
        """Without the time."""
        return state.env_state

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, Timed]:
        """Return ``(observation, state)`` of a fresh episode."""
        observation, state = self.env.reset(key, params)
        return observation, Timed(state, jnp.zeros((), jnp.int32))

    def step(self, key: Any, state: Timed, action: Any, params: PyTree) -> EnvStep:
        """Step, and begin anew where time is up."""
        key_step, key_reset = jax.random.split(key)
        taken = self.env.step(key_step, state.env_state, action, params)
        ended = taken.terminated | taken.truncated
        cut = ~ended & (state.time + 1 >= self.steps)
        final = taken.info.get("final_observation", taken.observation)  # only read where an episode is cut
        observation, env_state = _select(cut, self.env.reset(key_reset, params), (taken.observation, taken.state))
        return taken._replace(
            observation=observation,
            state=Timed(env_state, jnp.where(ended | cut, 0, state.time + 1)),
            truncated=taken.truncated | cut,
            info={**taken.info, "final_observation": final},
        )


class Stacked(NamedTuple):
    """The wrapped environment's state, and the last observations."""

    env_state: PyTree
    frames: PyTree  # [k, ...], the newest last


@dataclass(frozen=True)
class FrameStack(Wrapper):
    """Observe the last `k` observations at once, along the last axis, the newest last.

    At the beginning of an episode its first one is there k times. In a dictionary `action_mask` and `privileged` are
    the present ones.
    """

    k: int

    def inner_state(self, state: Stacked) -> PyTree:
        """Without the frames."""
        return state.env_state

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, Stacked]:
        """Return ``(observation, state)`` of a fresh episode."""
        observation, state = _strongly_typed(self.env.reset(key, params))
        frames = self._repeated(observation)
        return self._observe(frames, observation), Stacked(state, frames)

    def step(self, key: Any, state: Stacked, action: Any, params: PyTree) -> EnvStep:
        """Step and take in what is observed."""
        taken = EnvStep(*_strongly_typed(tuple(self.env.step(key, state.env_state, action, params))))
        done = taken.terminated | taken.truncated
        going_on = self._with(state.frames, taken.observation)
        frames = _select(done, self._repeated(taken.observation), going_on)
        info = taken.info
        if "final_observation" in info:
            final = info["final_observation"]
            info = {**info, "final_observation": self._observe(self._with(state.frames, final), final)}
        return taken._replace(
            observation=self._observe(frames, taken.observation), state=Stacked(taken.state, frames), info=info
        )

    def _repeated(self, observation: PyTree) -> PyTree:
        return jax.tree.map(lambda x: jnp.repeat(x[None], self.k, axis=0), _stackable(observation))

    def _with(self, frames: PyTree, observation: PyTree) -> PyTree:
        return jax.tree.map(lambda old, x: jnp.concatenate([old[1:], x[None]]), frames, _stackable(observation))

    def _observe(self, frames: PyTree, observation: PyTree) -> PyTree:
        stacked = jax.tree.map(_side_by_side, frames)
        return {**observation, **stacked} if isinstance(observation, dict) else stacked


def _side_by_side(frames: jax.Array) -> jax.Array:
    """[k, ..., c] as [..., k c], and [k] as it is."""
    return frames if frames.ndim == 1 else jnp.concatenate(list(frames), axis=-1)


def _stackable(observation: PyTree) -> PyTree:
    if not isinstance(observation, dict):
        return observation
    return {name: x for name, x in observation.items() if name not in ("action_mask", "privileged")}


@dataclass(frozen=True)
class SquashActions(Wrapper):
    """Map the policy's numbers into the bounds of a Box by tanh, where they would be clipped.

    The Gaussian, its probabilities and its entropy are those before. Ratios of probabilities are the same after.
    """

    def __post_init__(self) -> None:
        """Refuse what has no bounds.

        Raises:
            PPOJaxError: the actions are no Box, or one without bounds.
        """
        space = self.env.action_space
        if not isinstance(space, Box) or not all(map(math.isfinite, (*space.low, *space.high))):
            raise PPOJaxError("task.squash_actions: the actions must be a Box with bounds; leave it out")

    @property
    def action_space(self) -> Box:
        """The Box, marked as squashed."""
        assert isinstance(self.env.action_space, Box)
        return replace(self.env.action_space, squashed=True)

    def step(self, key: Any, state: PyTree, action: Any, params: PyTree) -> EnvStep:
        """Step with the action inside the bounds."""
        return self.env.step(key, state, to_bounds(self.action_space, action), params)


@dataclass(frozen=True)
class ClipReward(Wrapper):
    """Clip rewards to ± `limit`."""

    limit: float

    def step(self, key: Any, state: PyTree, action: Any, params: PyTree) -> EnvStep:
        """Step, and clip the reward."""
        taken = self.env.step(key, state, action, params)
        return taken._replace(reward=jnp.clip(taken.reward, -self.limit, self.limit))


class EpisodeStatisticsState(NamedTuple):
    """The wrapped environment's state and what the running episode has gathered so far."""

    env_state: PyTree
    episode_return: jax.Array  # [] float32
    episode_length: jax.Array  # [] int32


@dataclass(frozen=True)
class EpisodeStatistics(Wrapper):
    """Report the return and the length of every finished episode.

    Each step's info gains

    - ``episode_done`` [] bool: an episode ended at this step, by termination or truncation;
    - ``episode_return`` [] float32: its undiscounted sum of raw rewards;
    - ``episode_length`` [] int32: its number of steps.

    The last two are zero while no episode ends: mask by ``episode_done`` before taking a mean. With `counts_invalid`
    the metric ``no_valid_action`` says in what share of steps an ``action_mask`` leaves nothing to do.
    """

    counts_invalid: bool = False

    def inner_state(self, state: EpisodeStatisticsState) -> PyTree:
        """Without what was gathered."""
        return state.env_state

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, EpisodeStatisticsState]:
        """Return ``(observation, state)`` of a fresh episode, strongly typed.

        A weak type (of ``jnp.where(x, 1.0, 0.0)``, say) would become a strong one in the first compiled update, and
        the second would compile anew.
        """
        observation, env_state = _strongly_typed(self.env.reset(key, params))
        return observation, EpisodeStatisticsState(env_state, jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    def step(self, key: Any, state: EpisodeStatisticsState, action: Any, params: PyTree) -> EnvStep:
        """Step the wrapped environment and add the three entries to its info."""
        step = self.env.step(key, state.env_state, action, params)
        done = step.terminated | step.truncated
        episode_return = state.episode_return + step.reward
        episode_length = state.episode_length + 1
        finished_return = jnp.where(done, episode_return, 0.0)
        finished_length = jnp.where(done, episode_length, 0)
        info = dict(step.info)
        if self.counts_invalid and isinstance(step.observation, dict) and "action_mask" in step.observation:
            stuck = ~_has_valid_action(self.action_space, step.observation["action_mask"])
            info["metrics"] = {**info.get("metrics", {}), NO_VALID_ACTION: (stuck.astype(jnp.float32), jnp.ones(()))}
        return step._replace(
            state=EpisodeStatisticsState(
                step.state, jnp.where(done, 0.0, episode_return), jnp.where(done, 0, episode_length)
            ),
            info={
                **info,
                "episode_done": done,
                "episode_return": finished_return,
                "episode_length": finished_length,
            },
        )


def _has_valid_action(space: ActionSpace, mask: jax.Array) -> jax.Array:
    """Whether each choice leaves something to do, []."""
    if isinstance(space, MultiDiscrete):
        return jnp.all(jnp.any(valid_by_choice(space, mask), axis=-1))
    return jnp.any(mask)


def _select(condition: jax.Array, where_true: Any, where_false: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), where_true, where_false)


def _strongly_typed(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)
