"""The probes of tests/toys.py are learnt: values and policies become those that are known exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import ppo
from ppo_jax.config import load_config
from ppo_jax.ops.distributions import Categorical, DiagonalGaussian
from ppo_jax.runs.experiment import build
from tests import toys
from tests.conftest import WELL

GAMMA = 0.8
DISCRETE = toys.OneOf(
    probes=(
        toys.ConstantReward(),
        toys.ObservedReward(),
        toys.DelayedReward(),
        toys.ChosenReward(),
        toys.MatchedReward(),
        toys.EndlessReward(),
    )
)


def trained(env: toys.Probe, *observations: float, **changes: Any) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    """The policy and the values at some observations after training, and the metrics."""
    shared = env in DISCRETE.probes and not changes
    settings = {"n_envs": 8, "n_steps": 20, "n_epochs": 4, "batch_size": 40, "gamma": GAMMA} | changes
    trainer, hyperparams = toys.build(DISCRETE if shared else env, n_updates=60, **settings)
    if shared:
        trainer = replace(trainer, env_params=DISCRETE.probes.index(env))
    state, metrics = jax.jit(ppo.train)(trainer, jax.random.key(1), hyperparams)
    policy, value = trainer.network.apply(state.learner.params, jnp.array(observations)[:, None])
    return policy, np.asarray(value), metrics


def test_the_value_of_a_constant_reward() -> None:
    _, value, metrics = trained(toys.ConstantReward(), 1.0)
    assert value == pytest.approx([1.0], abs=0.02)
    assert metrics["value_loss"][-1] < 1e-3
    # Solved, and the returns do not vary: no explained variance to report.
    assert metrics["returns_degenerate"].all() and np.isnan(metrics["explained_variance"]).all()


def test_the_value_depends_on_the_observation() -> None:
    _, value, metrics = trained(toys.ObservedReward(), -1.0, 1.0)
    assert value == pytest.approx([-1.0, 1.0], abs=0.05)
    assert metrics["explained_variance"][-1] > 0.98


def test_the_value_is_discounted() -> None:
    _, value, metrics = trained(toys.DelayedReward(), 0.0, 1.0)
    assert value == pytest.approx([GAMMA, 1.0], abs=0.05)
    np.testing.assert_array_equal(metrics["episode_length_mean"], np.full(60, 2.0))


def test_the_better_action_is_chosen() -> None:
    policy, value, metrics = trained(toys.ChosenReward(), 1.0)
    assert isinstance(policy, Categorical)
    assert np.exp(policy.log_probs()[0, 1]) > 0.97
    assert value == pytest.approx([1.0], abs=0.1)
    assert metrics["entropy_normalized"][0] > 0.8 > 0.2 > metrics["entropy_normalized"][-1]


def test_the_action_depends_on_the_observation() -> None:
    policy, value, metrics = trained(toys.MatchedReward(), -1.0, 1.0)
    np.testing.assert_array_equal(policy.mode(), [0, 1])
    assert metrics["episode_return_mean"][-1] > 0.9
    assert value == pytest.approx([1.0, 1.0], abs=0.1)


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_what_was_seen_is_remembered(core: str) -> None:
    """The sign seen at first is named three steps later; the value then is what that earns."""
    env = toys.RememberedSign()
    sizes = {"n_envs": 16, "n_steps": 16, "n_epochs": 4, "batch_size": 64, "sequence_length": 8, "gamma": GAMMA}
    trainer, hyperparams = toys.build(env, n_updates=60, core=core, **sizes)
    state, metrics = jax.jit(ppo.train)(trainer, jax.random.key(1), hyperparams)
    assert metrics["episode_return_mean"][-5:].mean() > 0.95
    signs = jnp.array([[-1.0], [1.0]])
    carry, values = trainer.network.initial_carry(2), []
    for time in range(env.length):
        observation = signs if time == 0 else jnp.zeros((2, 1))
        start = jnp.full(2, time == 0)
        policy, value, carry = trainer.network.apply(state.learner.params, observation, carry, start)
        values.append(value)
    np.testing.assert_array_equal(policy.mode(), [0, 1])
    for left, value in zip(range(env.length - 1, -1, -1), values, strict=True):
        assert value == pytest.approx([GAMMA**left] * 2, abs=0.15)


def test_without_a_memory_what_was_seen_is_lost() -> None:
    """The same probe, as many steps: the last action is right half of the time."""
    sizes = {"n_envs": 16, "n_steps": 16, "n_epochs": 4, "batch_size": 64, "gamma": GAMMA}
    trainer, hyperparams = toys.build(toys.RememberedSign(), n_updates=60, **sizes)
    _, metrics = jax.jit(ppo.train)(trainer, jax.random.key(1), hyperparams)
    assert metrics["episode_return_mean"][-20:].mean() == pytest.approx(0.0, abs=0.1)


def test_normalised_units_learn_the_same() -> None:
    """All three normalisations on, a reward in the hundreds: the policy is found and the metrics are in raw units."""
    switches = dict.fromkeys(("normalize_observations", "normalize_rewards", "normalize_values"), True)
    _, _, metrics = trained(toys.ObservedReward(scale=300.0), 1.0, **switches)
    assert metrics["explained_variance"][-1] > 0.98
    assert metrics["returns_std"][-1] == pytest.approx(300.0, rel=0.05)
    assert metrics["value_loss"][-1] < 0.02 * 300.0**2 < metrics["value_loss"][0]


def test_a_time_limit_is_bootstrapped() -> None:
    _, value, _ = trained(toys.EndlessReward(), 1.0)
    assert value == pytest.approx([1 / (1 - GAMMA)], rel=0.05)


def test_a_time_limit_that_is_part_of_the_task_is_not() -> None:
    """Without the bootstrap 1..5 steps are to come, which all look alike: the mean of their sums."""
    _, value, _ = trained(toys.EndlessReward(), 1.0, bootstrap_truncation=False, gae_lambda=1.0)
    sums = [(1 - GAMMA**steps) / (1 - GAMMA) for steps in range(1, 6)]
    assert value == pytest.approx([np.mean(sums)], rel=0.05)  # 2.31, not 5


def test_several_choices_by_the_parts_of_an_observation() -> None:
    sizes = {"n_envs": 8, "n_steps": 20, "n_epochs": 4, "batch_size": 40, "gamma": GAMMA}
    trainer, hyperparams = toys.build(toys.Switchboard(), n_updates=60, **sizes)
    state, metrics = jax.jit(ppo.train)(trainer, jax.random.key(1), hyperparams)
    goals, limits, costs = (x.ravel() for x in np.meshgrid([-1.0, 1.0], [False, True], [-1.0, 1.0]))
    observation = {
        "goal": (jnp.array(goals)[:, None],),
        "action_mask": jnp.stack([jnp.ones(8, bool)] * 4 + [jnp.array(limits)], axis=1),
        "privileged": {"cost": jnp.array(costs)[:, None]},
    }
    policy, value = trainer.network.apply(state.learner.params, observation)
    np.testing.assert_array_equal(policy.mode(), np.stack([goals > 0, 1 + limits], axis=1))
    assert value == pytest.approx(1.0 - costs, abs=0.2)  # what only the critic is told
    assert metrics["entropy_normalized"][0] > 0.8 > 0.3 > metrics["entropy_normalized"][-1]


def test_a_continuous_action_finds_its_target() -> None:
    policy, _, metrics = trained(toys.TargetReward(), -1.0, 1.0)
    assert isinstance(policy, DiagonalGaussian)
    assert policy.mean[:, 0] == pytest.approx(np.array([-0.5, 0.5]), abs=0.1)
    assert metrics["episode_return_mean"][-1] > -0.2 > -0.9 > metrics["episode_return_mean"][0]
    assert np.isnan(metrics["entropy_normalized"]).all()


@pytest.mark.slow
def test_cartpole_is_learnt_in_bfloat16() -> None:
    """As in float32; parameters and metrics stay float32."""
    config = load_config("cartpole", ["dtype=bfloat16", "total_timesteps=100000"])
    train = jax.jit(ppo.train, compiler_options=WELL)
    state, metrics = train(build(config).trainer, jax.random.key(0), config.hyperparams)
    assert {x.dtype for x in jax.tree.leaves((state.learner.params, metrics))} == {jnp.dtype("float32")}
    assert np.nanmean(metrics["episode_return_mean"][-10:]) > 400
