"""From a configuration to the objects of a run: task, trainer, policy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from ppo_jax import ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.config.checks import check_argument
from ppo_jax.config.imported import check_call, imported
from ppo_jax.config.task_id import is_import_path, named_outside
from ppo_jax.devices.collectives import default_collectives
from ppo_jax.networks.check import call_own_code, check_network, convolves
from ppo_jax.ops import network as network_calls
from ppo_jax.ops import normalization
from ppo_jax.results import Judged
from ppo_jax.runs.given import describe_code, describe_given
from ppo_jax.runs.loss_check import OwnLoss, check_loss
from ppo_jax.runs.trust import import_paths
from ppo_jax.tasks.check import check_draws, check_environment, check_first_observation, odd_images, odd_masks
from ppo_jax.tasks.make import make_network, make_task
from ppo_jax.tasks.task import Task
from ppo_jax.tasks.wrappers import ClipReward, EpisodeStatistics, steps_outside
from ppo_jax.types import Environment, PPOJaxError

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

    params: PyTree  # of the network
    observation_moments: PyTree  # by which observations are standardised; () where they are not
    value_moments: normalization.Moments  # by which the network's values become returns
    reward_scale: jax.Array  # [] the raw reward that a unit of it stood for in training


@dataclass(frozen=True)
class NetworkPolicy:
    """A network as a policy; those of equal networks are equal, and share what a task compiles for them."""

    network: nn.Module

    def initial_carry(self, n: int) -> PyTree:
        """Memory [n, ...] at the beginning of n episodes; () without."""
        return network_calls.initial_carry(self.network, n)

    def __call__(
        self, params: PolicyParams, observation: PyTree, carry: PyTree, start: jax.Array
    ) -> tuple[Any, jax.Array, PyTree]:
        """Distribution, value in raw return units and next memory, for raw observations [n, ...].

        `start` [n] bool says where an episode begins.
        """
        observation = normalization.normalize_observation(params.observation_moments, observation)
        distribution, value, carry = network_calls.apply(self.network, params.params, observation, carry, start)
        value = normalization.denormalize(params.value_moments, value) * params.reward_scale
        return distribution, value, carry


@dataclass(frozen=True, eq=False)
class Experiment:
    """A configuration made concrete."""

    config: Config  # as it was given
    task: Task  # what is learnt, and how it is judged
    trainer: ppo.Trainer  # what `ppo_jax.ppo` needs
    # What `build` was given beside the configuration, such as "loss", and a description of each.
    given: Mapping[str, str] = field(default_factory=dict)
    # Of each part that the configuration names by its import path a description, with a digest of its code.
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> Environment:
        """That of the task, without episode statistics."""
        return self.task.env

    @property
    def policy(self) -> NetworkPolicy:
        """What is judged and used."""
        return NetworkPolicy(self.trainer.network)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about configuration, data and network, a line each."""
        found, network = (*self.config.warnings, *self.task.warnings), self.trainer.network
        ours = type(network).__module__.startswith("ppo_jax.")
        if "env" in self.given or is_import_path(self.config.task.env_id):
            flattened = self.config.network.network == "auto" and "network" not in self.given
            normalized = self.config.ppo.normalize_observations
            if getattr(self.env, "needs_memory", None) and not (
                network_calls.has_memory(network) or self.config.task.frame_stack
            ):
                found += ('environment: needs_memory is true, and the network has none; core = "gru" gives it one',)
            found += odd_masks(self.env, self.trainer.env_params)
            found += odd_images(self.env, self.trainer.env_params, normalized, flattened)
        if jax.default_backend() == "cpu" and not ours and convolves(network, self.env, self.trainer.env_params):
            found += (
                "network: the gradient of XLA's convolution takes a CPU six to eight times as long within a run as it "
                "could; write nn.Conv(…, conv_general_dilated=ppo_jax.networks.cpu.convolution)",
            )
        return found

    def untrained(self, seed: int) -> PolicyParams:
        """A policy with fresh parameters."""
        return self.trained(self.initial_state(seed))

    def trained(self, state: ppo.TrainState) -> PolicyParams:
        """The policy of a training state, for `evaluate`, `test` and `ppo_jax.Policy`."""
        return policy_params(self.trainer, state)

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
    # Runs once. LLVM at a lower level compiles it a quarter faster, with the same results; a level that is asked for
    # holds.
    level = "xla_backend_optimization_level"
    asked = level in os.environ.get("XLA_FLAGS", "")
    lower = jax.default_backend() == "cpu" and not asked
    return jax.jit(ppo.init, compiler_options={level: 1} if lower else None)


def policy_params(trainer: ppo.Trainer, state: ppo.TrainState) -> PolicyParams:
    """Copy out of a training state what a policy needs (a copy: the state's buffers are donated)."""
    normalizers = state.normalizers
    scale = jnp.sqrt(normalizers.reward.var + 1e-8) if trainer.settings.normalize_rewards else jnp.ones(())
    observation, value = normalization.rounded((normalizers.observation, normalizers.value))
    return _copy(PolicyParams(state.learner.params, observation, value, scale))


@jax.jit
def _copy(tree: PolicyParams) -> PolicyParams:
    return jax.tree.map(jnp.copy, tree)


def build(
    config: Config,
    *,
    env: Any = None,
    network: nn.Module | None = None,
    loss: ppo.Loss | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Experiment:
    """Task, network and trainer of a configuration; each of the arguments takes the place of what it names.

    Args:
        config: the configuration.
        env: an environment of your own, an `Environment` or one of gymnax's.
        network: a network of your own.
        loss: ``(params, trainer, batch, scheduled, hyperparams) -> (loss [], metrics)``, as `ppo.loss`.
        optimizer: any transformation of optax whose updates are added to the parameters.

    Raises:
        PPOJaxError: an unknown id, data that cannot be read, an import path that leads nowhere, an `env` that lacks
            what an environment needs, or a network that does not fit it.
    """
    check_config(config)
    arguments = {"env": env, "network": network, "loss": loss, "optimizer": optimizer}
    for name, argument in arguments.items():
        if isinstance(argument, str):
            key = "env_id" if name == "env" else name
            raise PPOJaxError(f"build: {name} is no text; name what it is in the configuration: {key} = {argument!r}")
    given = {name: describe_given(argument) for name, argument in arguments.items() if argument is not None}
    task = make_task(config, env)
    if steps_outside(task.env) and (config.run.devices or 1) > 1:
        raise PPOJaxError(f"run.devices = {config.run.devices}: an environment of Gymnasium is stepped by one; use 1")
    own_env = env is not None or is_import_path(config.task.env_id)
    own_network = network is not None or ":" in config.network.network
    if own_env or config.task.env_params:
        check_environment(task.env, task.env_params)
    if own_env:
        check_first_observation(task.env, task.env_params)
        check_draws(task.env, task.env_params)
    network = make_network(config.network, task) if network is None else network
    if own_env or own_network:
        check_network(network, task.env, task.env_params)
    if network_calls.has_memory(network) and not task.takes_memory:
        raise PPOJaxError("network: it has a memory, and a policy with memory cannot be judged on a proof task")
    loss = imported(config.ppo.loss, "ppo.loss") if loss is None and config.ppo.loss else loss
    optimizer = _optimizer(config.ppo.optimizer) if optimizer is None else optimizer
    train_env: Environment = EpisodeStatistics(task.env, counts_invalid=own_env)
    if config.task.clip_rewards is not None:  # around the statistics, which are those of the rewards as they were
        train_env = ClipReward(train_env, config.task.clip_rewards)
    trainer = ppo.Trainer(
        env=train_env,
        env_params=task.env_params,
        network=network,
        settings=config.settings,
        optimizer=optimizer,
        loss=ppo.loss if loss is None or loss is ppo.loss else OwnLoss(loss),
        collectives=default_collectives(),
    )
    if trainer.loss is ppo.loss and config.ppo.loss_coefs:
        raise PPOJaxError("ppo.loss_coefs: PPO's own loss reads none; name one of your own, loss = package.module:loss")
    if trainer.loss is not ppo.loss:
        check_loss(trainer, config.hyperparams)
    if trainer.optimizer is not ppo.adam():
        _check_optimizer(trainer, config.hyperparams)
    named = {name: path for name, path in import_paths(config).items() if name not in given}
    if named_outside(config.task.env_id):
        named.pop("env", None)  # what Gymnasium has registered there
    code = {name: describe_code(imported(path, name)) for name, path in named.items()}
    return Experiment(config, task, trainer, given, code)


def check_config(config: Any) -> None:
    """Make sure that what Python gives as a configuration is one.

    Raises:
        PPOJaxError: it is something else, such as the name of an experiment or an environment.
    """
    check_argument(config, Config, "config must be a Config", "ppo_jax.load_config(PATH) makes one")


def _check_optimizer(trainer: ppo.Trainer, hyperparams: Hyperparams) -> None:
    """Trace a step of an optimizer of the user's own: its updates are added to the parameters, and must look alike."""
    for name in ("init", "update"):
        if not callable(getattr(trainer.optimizer, name, None)):
            raise PPOJaxError(f"optimizer: must be one of optax's, got {type(trainer.optimizer).__name__}")
    plain = replace(trainer, optimizer=ppo.adam())
    params = jax.eval_shape(partial(ppo.init, plain), jax.random.key(0), hyperparams).learner.params
    state = call_own_code("optimizer: init", partial(jax.eval_shape, trainer.optimizer.init), params)
    step = partial(jax.eval_shape, trainer.optimizer.update)
    updates, _ = call_own_code("optimizer: update", step, params, state, params)
    shapes = [jax.tree.map(lambda x: x.shape, tree) for tree in (params, updates)]
    if shapes[0] != shapes[1]:
        raise PPOJaxError("optimizer: its updates must have the shapes of the parameters, to which they are added")


def _optimizer(name: str | None) -> optax.GradientTransformation:
    """The one of an import path; Adam without."""
    if name is None:
        return ppo.adam()
    place, make = f"ppo.optimizer = {name!r}", imported(name, "ppo.optimizer")
    check_call(make, place)
    optimizer: optax.GradientTransformation = call_own_code(place, make)
    return optimizer
