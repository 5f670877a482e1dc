"""Every environment under PPO: each id's update is traced, one of each family trains, and with `slow` all of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import ppo
from ppo_jax.config import Config, NetworkConfig, PPOConfig, TaskConfig
from ppo_jax.ops import network
from ppo_jax.ops.distributions import Categorical, DiagonalGaussian
from ppo_jax.proving import datasets
from ppo_jax.runs import experiment
from ppo_jax.runs.experiment import Experiment
from ppo_jax.tasks import gymnax as gymnax_envs
from ppo_jax.types import Box, PPOJaxError

IDS = [
    *("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"),
    *("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar", "SpaceInvaders-MinAtar"),
    *("Catch-bsuite", "DeepSea-bsuite", "MemoryChain-bsuite", "UmbrellaChain-bsuite", "DiscountingChain-bsuite"),
    *("SimpleBandit-bsuite", "FourRooms-misc", "MetaMaze-misc", "PointRobot-misc", "BernoulliBandit-misc"),
    *("GaussianBandit-misc", "Reacher-misc", "Swimmer-misc", "Pong-misc", "FrozenLake-misc"),
    *(f"Proof-{name}" for name in datasets.BUILTIN),
]
# Classic control, discrete and continuous, MinAtar, bsuite, misc, proofs.
FAMILIES = ["CartPole-v1", "Pendulum-v1", "Breakout-MinAtar", "Catch-bsuite", "FrozenLake-misc", "Proof-countries_s1"]
N_UPDATES = 2
# Undefined, and NaN, in an update with nothing to take the mean of; all other metrics are always finite.
NULLABLE = {
    *("explained_variance", "episode_return_mean", "episode_length_mean", "truncated_fraction", "entropy_normalized"),
    *("proved_positive", "proved_negative", "proof_length_mean", "overflow_fraction"),
    "too_long_fraction",
}
# Programs that run for milliseconds: compile them quickly rather than well.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def build(env_id: str) -> Experiment:
    settings = PPOConfig(n_envs=2, n_steps=4, n_epochs=2, batch_size=4, total_timesteps=N_UPDATES * 8)
    return experiment.build(Config(TaskConfig(env_id), settings, NetworkConfig(hidden_sizes=(8,), embedding_size=8)))


def types(tree: Any) -> Any:
    """Shapes, dtypes and weak types: what decides whether a program compiles anew."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False)), tree)


def train(env_id: str) -> tuple[ppo.TrainState, ppo.TrainState, dict[str, np.ndarray]]:
    """The first state, the last one, and the metrics [N_UPDATES] of a run."""
    built = build(env_id)
    hyperparams = built.config.hyperparams
    first = quick_jit(lambda key: ppo.init(built.trainer, key, hyperparams))(jax.random.key(0))
    update = quick_jit(lambda state: ppo.update(built.trainer, state))
    state, metrics = first, []
    for _ in range(N_UPDATES):
        state, these = update(state)
        metrics.append(these)
    assert update._cache_size() == 1
    return first, state, jax.device_get(jax.tree.map(lambda *leaves: jnp.stack(leaves), *metrics))


def test_every_id_is_traced_here() -> None:
    assert gymnax_envs.environment_ids() == IDS


@pytest.mark.parametrize("env_id", IDS)
def test_an_update_is_traced(env_id: str) -> None:
    """A state leads to one of the same types, so that an update compiles once and a run is a scan of it."""
    built = build(env_id)
    trainer = built.trainer
    state = jax.eval_shape(lambda key: ppo.init(trainer, key, built.config.hyperparams), jax.random.key(0))
    after, metrics = jax.eval_shape(lambda state: ppo.update(trainer, state), state)
    assert types(after) == types(state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(after))
    assert {(leaf.shape, leaf.dtype) for leaf in metrics.values()} == {((), np.dtype("float32"))}
    now = state.rollout
    distribution, value, carry = jax.eval_shape(
        partial(network.apply, trainer.network), state.learner.params, now.observation, now.carry, now.start
    )
    assert carry == ()
    continuous = isinstance(trainer.env.action_space, Box)
    assert isinstance(distribution, DiagonalGaussian if continuous else Categorical)
    assert value.shape == (2,)


def check_training(env_id: str) -> None:
    first, last, metrics = train(env_id)
    assert last.step == N_UPDATES
    for name, values in metrics.items():
        assert values.shape == (N_UPDATES,)
        assert np.isfinite(values).all() or name in NULLABLE, (name, values)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.learner.params))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), first.learner.params, last.learner.params)
    assert any(jax.tree.leaves(moved))
    assert (metrics["minibatches_applied"] == 4).all()


@pytest.mark.parametrize("env_id", FAMILIES)
def test_one_of_each_family_trains(env_id: str) -> None:
    check_training(env_id)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", [env_id for env_id in IDS if env_id not in FAMILIES])
def test_every_other_id_trains(env_id: str) -> None:
    check_training(env_id)


def test_an_id_that_needs_a_download_is_refused() -> None:
    with pytest.raises(PPOJaxError, match="'MNISTBandit-bsuite' downloads its images"):
        build("MNISTBandit-bsuite")
