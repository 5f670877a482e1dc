"""Probe environments: so small that their optimal values and policies are known exactly.

A probe that fails says which part of the algorithm is wrong: the value loss, the dependence on the observation, the
discount, the policy gradient, the bootstrap of a time limit, the memory. Observations are one float, [1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp

from ppo_jax import ppo
from ppo_jax.config import Config, Hyperparams, NetworkConfig, PPOConfig, TaskConfig
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.networks.recurrent import RecurrentActorCritic
from ppo_jax.tasks.wrappers import EpisodeStatistics
from ppo_jax.types import ActionSpace, Box, Discrete, EnvStep, MultiDiscrete


class ProbeState(NamedTuple):
    observation: jax.Array  # [1]
    time: jax.Array  # [] int32, steps of this episode


TWO_ACTIONS = Discrete(2)
ONE_NUMBER = Box((-2.0,), (2.0,))
SWITCH_AND_DIAL = MultiDiscrete((2, 3))


@dataclass(frozen=True)
class Probe:
    """An environment given by how an episode starts and what one step does; reward 1 and the end, unless overridden."""

    action_space: ActionSpace = TWO_ACTIONS
    can_truncate: bool = False
    default_params: Any = ()

    def start(self, key: jax.Array) -> jax.Array:
        """First observation [1]."""
        return jnp.ones(1)

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        """Next observation [1], reward, terminated, truncated."""
        return state.observation, 1.0, True, False

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, ProbeState]:
        observation = self.start(key)
        return observation, ProbeState(observation, jnp.zeros((), jnp.int32))

    def step(self, key: jax.Array, state: ProbeState, action: jax.Array, params: Any) -> EnvStep:
        step_key, reset_key = jax.random.split(key)
        final, reward, terminated, truncated = self.outcome(step_key, state, action)
        terminated, truncated = jnp.asarray(terminated), jnp.asarray(truncated)
        fresh = self.reset(reset_key, params)[1]
        state = jax.tree.map(
            lambda new, old: jnp.where(terminated | truncated, new, old), fresh, ProbeState(final, state.time + 1)
        )
        reward = jnp.asarray(reward, jnp.float32)
        return EnvStep(state.observation, state, reward, terminated, truncated, {"final_observation": final})


@dataclass(frozen=True)
class ConstantReward(Probe):
    """Reward 1 and the end. V = 1."""


@dataclass(frozen=True)
class ObservedReward(Probe):
    """The observation, `scale` or -`scale`, is the reward. V(x) = x."""

    scale: float = 1.0

    def start(self, key: jax.Array) -> jax.Array:
        return self.scale * jax.random.rademacher(key, (1,), jnp.float32)

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return state.observation, state.observation[0], True, False


@dataclass(frozen=True)
class DelayedReward(Probe):
    """Nothing after the first step, 1 after the second. V(0) = gamma, V(1) = 1."""

    def start(self, key: jax.Array) -> jax.Array:
        return jnp.zeros(1)

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return jnp.ones(1), state.time, state.time == 1, False


@dataclass(frozen=True)
class ChosenReward(Probe):
    """Action 1 earns 1, action 0 costs 1."""

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return state.observation, 2.0 * action - 1.0, True, False


@dataclass(frozen=True)
class MatchedReward(ObservedReward):
    """The action must name the sign of the observation: earns 1, else costs 1."""

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        right = (action == 1) == (state.observation[0] > 0)
        return state.observation, jnp.where(right, 1.0, -1.0), True, False


@dataclass(frozen=True)
class EndlessReward(Probe):
    """Reward 1 for ever, only cut after five steps. V = 1 / (1 - gamma), which needs the bootstrap at the cut."""

    can_truncate: bool = True

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return state.observation, 1.0, False, state.time == 4


@dataclass(frozen=True)
class NeverEnds(Probe):
    """Reward 1 for ever, and no end of any kind."""

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return state.observation, 1.0, False, False


@dataclass(frozen=True)
class TargetReward(ObservedReward):
    """A continuous action is to be half the observation, x: reward -(a - x/2)². The best mean is x/2."""

    action_space: ActionSpace = ONE_NUMBER

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return state.observation, -((action[0] - state.observation[0] / 2) ** 2), True, False


@dataclass(frozen=True)
class Switchboard(Probe):
    """A switch and a dial of three, observed by parts: the switch must follow a sign, the dial be as high as it goes.

    Each earns 1/2. The dial's highest position is not always valid. What a round costs is told to the critic alone.
    """

    action_space: ActionSpace = SWITCH_AND_DIAL

    def reset(self, key: jax.Array, params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        keys = jax.random.split(key, 3)
        observation = {
            "goal": (jax.random.rademacher(keys[0], (1,), jnp.float32),),
            "action_mask": jnp.array([True] * 4 + [False]).at[4].set(jax.random.bernoulli(keys[1])),
            "privileged": {"cost": jax.random.rademacher(keys[2], (1,), jnp.float32)},
        }
        return observation, observation

    def step(self, key: jax.Array, state: dict[str, Any], action: jax.Array, params: Any) -> EnvStep:
        right = (action[0] == 1) == (state["goal"][0][0] > 0)
        high = action[1] == jnp.where(state["action_mask"][4], 2, 1)
        reward = (right + high.astype(jnp.float32)) / 2 - state["privileged"]["cost"][0]
        observation, after = self.reset(key, params)
        return EnvStep(
            observation, after, reward, jnp.ones((), bool), jnp.zeros((), bool), {"final_observation": state}
        )


class SignState(NamedTuple):
    sign: jax.Array  # [1]
    time: jax.Array  # [] int32, steps of this episode
    key: jax.Array  # of the next episode: some environments keep one


@dataclass(frozen=True)
class RememberedSign(Probe):
    """The first observation is a sign, later ones are 0. The last action must name it: earns 1, else costs 1.

    With a memory V = gamma^k with k steps to come; without one the sign is a guess when it is asked for, and V = 0.
    """

    length: int = 4

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, SignState]:
        sign_key, next_key = jax.random.split(key)
        sign = jax.random.rademacher(sign_key, (1,), jnp.float32)
        return sign, SignState(sign, jnp.zeros((), jnp.int32), next_key)

    def step(self, key: jax.Array, state: SignState, action: jax.Array, params: Any) -> EnvStep:
        last, right = state.time == self.length - 1, (action == 1) == (state.sign[0] > 0)
        reward = jnp.where(last, jnp.where(right, 1.0, -1.0), 0.0)
        final = jnp.zeros(1)
        fresh, here = self.reset(state.key, params), (final, state._replace(time=state.time + 1))
        observation, state = jax.tree.map(lambda new, old: jnp.where(last, new, old), fresh, here)
        return EnvStep(observation, state, reward, last, jnp.zeros((), bool), {"final_observation": final})


@dataclass(frozen=True)
class Walk(Probe):
    """A noisy walk: past 2 it terminates, after seven steps it is cut, sometimes both. For identities, not learning.

    Everything is a multiple of 1/8, so that its sums are exact however a compiler orders them.
    """

    can_truncate: bool = True

    def start(self, key: jax.Array) -> jax.Array:
        return self.noise(key)

    def noise(self, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (1,), -8, 9) / 8.0

    def outcome(self, key: jax.Array, state: ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        x = state.observation + 0.5 * (2.0 * action - 1.0) + self.noise(key)
        return x, x[0], jnp.abs(x[0]) > 2.0, state.time == 6


@dataclass(frozen=True)
class OneOf(Probe):
    """Several probes in one program, which so compiles once for all; the parameter, [] int32, says which it is."""

    probes: tuple[Probe, ...] = ()
    can_truncate: bool = True
    default_params: Any = 0

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, ProbeState]:
        return jax.lax.switch(params, [probe.reset for probe in self.probes], key, ())

    def step(self, key: jax.Array, state: ProbeState, action: jax.Array, params: Any) -> EnvStep:
        return jax.lax.switch(params, [probe.step for probe in self.probes], key, state, action, ())


def build(env: Probe, n_updates: int = 4, core: str | None = None, **changes: Any) -> tuple[ppo.Trainer, Hyperparams]:
    """A trainer with a small network, and hyperparameters; `changes` are settings of `PPOConfig`."""
    settings = {"n_envs": 4, "n_steps": 8, "n_epochs": 2, "batch_size": 16, "learning_rate": 1e-2} | changes
    steps = n_updates * settings["n_envs"] * settings["n_steps"]
    config = Config(
        task=TaskConfig(env_id="probe"),
        ppo=PPOConfig(**settings, total_timesteps=steps),
        network=NetworkConfig(core=core),
    )
    network: Any = MLPActorCritic(env.action_space, hidden_sizes=(16,))
    if core is not None:
        network = RecurrentActorCritic(env.action_space, core, core_size=16, hidden_sizes=(16,))
    trainer = ppo.Trainer(
        env=EpisodeStatistics(env), env_params=env.default_params, network=network, settings=config.settings
    )
    return trainer, config.hyperparams


@contextmanager
def given_order(indices: Any, key: jax.Array) -> Iterator[Callable[..., Any]]:
    """`ppo.update_epochs` with the random key `key`, whose minibatches are `indices` [epochs, minibatches, size]."""

    def permutation(of_epoch: jax.Array, n: int) -> jax.Array:
        # The epoch is known by its key: `update_epochs` folds the number in.
        keys = jax.vmap(lambda epoch: jax.random.key_data(jax.random.fold_in(key, epoch)))(jnp.arange(len(indices)))
        epoch = jnp.argmax(jnp.all(keys == jax.random.key_data(of_epoch)[None], axis=1))
        return jnp.ravel(jnp.asarray(indices)[epoch])

    with mock.patch.object(ppo, "permutation", permutation):
        yield jax.jit(lambda *given: ppo.update_epochs(*given))
