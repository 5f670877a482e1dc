"""From a configuration to the objects of a run: task, trainer, policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax import ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.devices.collectives import default_collectives
from ppo_jax.ops import normalization
from ppo_jax.results import Judged
from ppo_jax.tasks.make import make_network, make_task
from ppo_jax.tasks.task import Task
from ppo_jax.tasks.wrappers import EpisodeStatistics
from ppo_jax.types import Environment

__all__ = [
    "Experiment",
    "NetworkPolicy",
    "PolicyParams",
    "build",
    "policy_params",
]

PyTree = Any


class PolicyParams(NamedTuple):
    """What a trained policy needs: parameters and frozen statistics. This is what a checkpoint of a run holds."""

    params: PyTree
    observation_moments: PyTree
    value_moments: normalization.Moments
    reward_scale: jax.Array  # []


@dataclass(frozen=True)
class NetworkPolicy:
    """A network as a policy; those of equal networks are equal, and share what a task compiles for them."""

    network: nn.Module

    def __call__(self, params: PolicyParams, observation: PyTree) -> tuple[Any, jax.Array]:
        """Distribution and value in raw return units, for raw observations [n, ...]."""
        observation = normalization.normalize_observation(params.observation_moments, observation)
        output: Any = self.network.apply(params.params, observation)
        distribution, value = output
        return distribution, normalization.denormalize(params.value_moments, value) * params.reward_scale


@dataclass(frozen=True, eq=False)
class Experiment:
    """A configuration made concrete."""

    config: Config
    task: Task
    trainer: ppo.Trainer

    @property
    def env(self) -> Environment:
        """That of the task, without episode statistics."""
        return self.task.env

    @property
    def policy(self) -> NetworkPolicy:
        """What is judged and used: ``policy(params, observation) -> (distribution, value)``."""
        return NetworkPolicy(self.trainer.network)

    def untrained(self, seed: int) -> PolicyParams:
        """A policy with fresh parameters."""
        return policy_params(self.trainer, self.initial_state(seed))

    def initial_state(self, seed: int) -> ppo.TrainState:
        """A training state with fresh parameters and environments."""
        return _init()(self.trainer, jax.random.key(seed), self.config.hyperparams)

    def shapes(self) -> tuple[ppo.TrainState, PolicyParams]:
        """Shapes of a training state and of what a policy needs of it; nothing is computed."""
        state = jax.eval_shape(_init(), self.trainer, jax.random.key(0), self.config.hyperparams)
        return state, jax.eval_shape(partial(policy_params, self.trainer), state)

    def variant(self, config: Config) -> Experiment:
        """The same experiment with another seed and other traced hyperparameters; what is compiled is shared."""
        return replace(self, config=config)

    def evaluate(self, params: PolicyParams, split: str, protocols: Iterable[str] | None = None) -> dict[str, Any]:
        """Judge a policy on ``"valid"`` or ``"test"``, as `Task.evaluate`."""
        return self.task.evaluate(self.policy, params, split, seed=self.config.run.seed, protocols=protocols)

    def value_errors(self, params: PolicyParams) -> dict[str, float]:
        """Errors of the critic, as `Task.value_errors`."""
        gamma, seed = self.config.ppo.gamma, self.config.run.seed
        return self.task.value_errors(self.policy, params, gamma=gamma, seed=seed)

    def test(self, params: PolicyParams) -> Judged:
        """Judge a policy on test, as `Task.test`."""
        return self.task.test(self.policy, params, seed=self.config.run.seed)

    def baselines(self) -> dict[str, Any]:
        """Results on test that no learning reaches, as `Task.baselines`."""
        return self.task.baselines(self.policy, self.untrained)


@cache
def _init() -> Any:
    # Runs once, and LLVM at a lower level compiles it a quarter faster, to the same bits.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None

    def init(trainer: ppo.Trainer, key: jax.Array, hyperparams: Hyperparams) -> ppo.TrainState:
        return ppo.init(trainer, key, hyperparams)

    return jax.jit(init, compiler_options=options)


def policy_params(trainer: ppo.Trainer, state: ppo.TrainState) -> PolicyParams:
    """Copy out of a training state what a policy needs (a copy: the state's buffers are donated)."""
    normalizers = state.normalizers
    scale = jnp.sqrt(normalizers.reward.var + 1e-8) if trainer.settings.normalize_rewards else jnp.ones(())
    return _copy(PolicyParams(state.learner.params, normalizers.observation, normalizers.value, scale))


@jax.jit
def _copy(tree: PolicyParams) -> PolicyParams:
    return jax.tree.map(jnp.copy, tree)


def build(config: Config, *, env: Any = None, network: nn.Module | None = None) -> Experiment:
    """Task, network and trainer of a configuration.

    Args:
        config: the configuration.
        env: an environment of your own in place of the one that ``[task]`` names: an `Environment`, or one of gymnax's.
        network: a network of your own, in place of the one that ``[network]`` names.

    Raises:
        PPOJaxError: an unknown id, data that cannot be read, an import path that leads nowhere, or an `env` that lacks
            what an environment needs.
    """
    task = make_task(config, env)
    network = make_network(config.network, task) if network is None else network
    trainer = ppo.Trainer(
        env=EpisodeStatistics(task.env),
        env_params=task.env_params,
        network=network,
        settings=config.settings,
        collectives=default_collectives(),
    )
    return Experiment(config, task, trainer)
