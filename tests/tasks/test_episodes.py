"""Evaluation episodes against numbers worked out by hand and against a Python loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.ops.distributions import from_outputs
from ppo_jax.tasks.episodes import EpisodeResults, EpisodeTask, evaluate_episodes, summarize
from ppo_jax.types import Discrete, EnvStep


@dataclass(frozen=True)
class Countdown:
    """An episode of a random length up to `longest`; each step rewards its action. Odd lengths are cut, not ended."""

    longest: int
    action_space = Discrete(4)
    can_truncate = True
    default_params = None

    def reset(self, key: jax.Array, params: None) -> tuple[jax.Array, jax.Array]:
        length = jax.random.randint(key, (), 1, self.longest + 1)
        return length.astype(jnp.float32), jnp.stack([length, length])

    def step(self, key: jax.Array, state: jax.Array, action: jax.Array, params: None) -> EnvStep:
        length, left = state[0], state[1] - 1
        done = left == 0
        fresh_observation, fresh_state = self.reset(key, params)
        observation = jnp.where(done, fresh_observation, left.astype(jnp.float32))
        next_state = jnp.where(done, fresh_state, jnp.stack([length, left]))
        odd = length % 2 == 1
        return EnvStep(observation, next_state, action.astype(jnp.float32), done & ~odd, done & odd, {})


def steps_left(observation: jax.Array, carry: Any, start: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
    return observation.astype(jnp.int32), carry


def test_the_first_episode_of_each_environment_counts() -> None:
    # The policy plays the number of steps left, so an episode of length L returns L + ... + 1 = L (L + 1) / 2.
    env = Countdown(longest=6)
    evaluate = jax.jit(lambda key: evaluate_episodes(env, None, steps_left, key, n_episodes=64, max_steps=50))
    results = evaluate(jax.random.key(0))
    assert results.finished.all()
    assert set(results.lengths.tolist()) == set(range(1, 7))
    np.testing.assert_array_equal(results.returns, results.lengths * (results.lengths + 1) / 2)
    assert (results.returns.dtype, results.lengths.dtype, results.finished.dtype) == (np.float32, np.int32, np.bool_)


def test_only_finished_episodes_count() -> None:
    env = Countdown(longest=6)
    results = evaluate_episodes(env, None, steps_left, jax.random.key(0), n_episodes=64, max_steps=3)
    finished = np.asarray(results.finished)
    assert 0 < finished.sum() < 64
    assert (np.asarray(results.lengths)[~finished] == 3).all()
    summary = summarize(results)
    lengths = np.asarray(results.lengths, np.float64)[finished]
    returns = lengths * (lengths + 1) / 2
    assert summary["episodes"] == finished.sum()
    assert summary["length_mean"] == pytest.approx(lengths.mean())
    assert summary["return_mean"] == pytest.approx(returns.mean())
    assert summary["return_std"] == pytest.approx(returns.std())


def test_more_steps_than_needed_change_nothing() -> None:
    results = [
        evaluate_episodes(Countdown(6), None, steps_left, jax.random.key(3), n_episodes=8, max_steps=max_steps)
        for max_steps in (6, 60)
    ]
    for enough, more in zip(*results, strict=True):
        np.testing.assert_array_equal(enough, more)


def test_nothing_finished_is_none_and_not_zero() -> None:
    results = EpisodeResults(jnp.ones(2), jnp.ones(2, jnp.int32), jnp.zeros(2, bool))
    assert summarize(results) == {"return_mean": None, "return_std": None, "length_mean": None, "episodes": 0}


def test_a_random_policy_gets_a_fresh_key_at_every_step() -> None:
    def random_bits(observation: jax.Array, carry: Any, start: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        return jax.random.randint(key, observation.shape, 0, 2), carry

    evaluate = jax.jit(lambda key: evaluate_episodes(Countdown(6), None, random_bits, key, n_episodes=256, max_steps=6))
    results = jax.device_get(evaluate(jax.random.key(0)))
    # Were one key used throughout, every return would be 0 or the length.
    between = (results.returns > 0) & (results.returns < results.lengths)
    assert between.sum() > 50
    np.testing.assert_array_equal(results.returns, evaluate(jax.random.key(0)).returns)
    assert (results.returns != evaluate(jax.random.key(1)).returns).any()


def test_vmaps_over_policies() -> None:
    def evaluate(action: jax.Array) -> EpisodeResults:
        def act(observation: jax.Array, carry: Any, start: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
            return jnp.broadcast_to(action, observation.shape), carry

        return evaluate_episodes(Countdown(4), None, act, jax.random.key(0), n_episodes=5, max_steps=9)

    both = jax.vmap(evaluate)(jnp.array([1, 3]))
    np.testing.assert_array_equal(both.returns, both.lengths * jnp.array([[1], [3]]))
    np.testing.assert_array_equal(both.lengths[0], both.lengths[1])


def test_cartpole_equals_a_python_loop() -> None:
    from ppo_jax.tasks import gymnax

    env = gymnax.make("CartPole-v1")
    params, n_episodes = env.default_params, 4

    def lean(observation: jax.Array) -> jax.Array:
        return (observation[..., 2] > 0).astype(jnp.int32)

    def act(observation: jax.Array, carry: Any, start: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        return lean(observation), carry

    evaluate = jax.jit(lambda key: evaluate_episodes(env, params, act, key, n_episodes=n_episodes, max_steps=500))
    results = evaluate(jax.random.key(5))

    def play(key: jax.Array) -> list[int]:
        key_reset, key_steps = jax.random.split(key)
        reset, step_all = (
            jax.jit(jax.vmap(f, in_axes=axes)) for f, axes in ((env.reset, (0, None)), (env.step, (0, 0, 0, None)))
        )
        observation, state = reset(jax.random.split(key_reset, n_episodes), params)
        lengths: list[Any] = [None] * n_episodes
        for t in range(1, 501):
            key_steps, _, key_env = jax.random.split(key_steps, 3)
            step = step_all(jax.random.split(key_env, n_episodes), state, lean(observation), params)
            observation, state = step.observation, step.state
            done = np.asarray(step.terminated | step.truncated)
            lengths = [t if length is None and done[i] else length for i, length in enumerate(lengths)]
            if None not in lengths:
                break
        return lengths

    assert results.lengths.tolist() == play(jax.random.key(5))
    np.testing.assert_array_equal(results.returns, results.lengths)
    assert results.finished.all()


@dataclass(frozen=True)
class Indifferent:
    """A policy to which all four actions are equal: the most likely one is the first."""

    def __call__(self, params: None, observation: jax.Array, carry: Any, start: jax.Array) -> tuple[Any, ...]:
        return from_outputs(Discrete(4), jnp.zeros((*observation.shape, 4))), jnp.zeros(observation.shape), carry

    def initial_carry(self, n: int) -> tuple[()]:
        return ()


def test_actions_are_drawn_where_that_is_asked_for() -> None:
    """Rewards are the actions, so the most likely one earns nothing and a drawn one 1.5 a step."""
    likely, drawn = (EpisodeTask(Countdown(6), 256, "Countdown", sample) for sample in (False, True))
    assert likely.evaluate(Indifferent(), None, "test", seed=0)["return_mean"] == 0.0
    result = drawn.evaluate(Indifferent(), None, "test", seed=0)
    assert result["return_mean"] / result["length_mean"] == pytest.approx(1.5, abs=0.15)
