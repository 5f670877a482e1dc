"""Wrappers that settings add, each against a Python loop over the environment within."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import ppo
from ppo_jax.config import from_dict
from ppo_jax.policies.policy import Policy
from ppo_jax.runs.experiment import build
from ppo_jax.tasks import gymnax
from ppo_jax.tasks.check import check_environment
from ppo_jax.tasks.episodes import random_actions
from ppo_jax.tasks.wrappers import ActionRepeat, FrameStack, SquashActions, TimeLimit, unwrap
from ppo_jax.types import Box, Discrete, EnvStep, PPOJaxError

TWO_ACTIONS = Discrete(2)


@dataclass(frozen=True)
class Counter:
    """Observes an episode's number and its step, earns the step, and ends after `length` steps."""

    length: int = 5
    truncates: bool = False
    action_space: Any = TWO_ACTIONS
    default_params: Any = ()

    @property
    def can_truncate(self) -> bool:
        return self.truncates

    def reset(self, key, params):
        state = (jax.random.uniform(key), jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def _observe(self, state):
        return {"seen": jnp.stack([state[0], state[1].astype(jnp.float32)]), "action_mask": jnp.arange(2) <= state[1]}

    def step(self, key, state, action, params):
        here = (state[0], state[1] + 1)
        end = here[1] == self.length
        after = jax.tree.map(lambda a, b: jnp.where(end, a, b), self.reset(key, params)[1], here)
        no = jnp.zeros((), bool)
        flags = (no, end) if self.truncates else (end, no)
        return EnvStep(self._observe(after), after, here[1] * 1.0, *flags, {"final_observation": self._observe(here)})


def walk(env, steps, actions=None):
    """The first observation, and all steps taken, on the host."""
    check_environment(env, ())
    observation, state = env.reset(jax.random.key(0), ())
    first = jax.device_get(observation)
    step, taken = jax.jit(env.step), []
    for t in range(steps):
        action = jnp.zeros((), jnp.int32) if actions is None else actions[t]
        taken.append(step(jax.random.fold_in(jax.random.key(1), t), state, action, ()))
        state = taken[-1].state
    return first, jax.device_get(taken)


@pytest.mark.parametrize("truncates", [False, True])
def test_frames_are_the_last_observations_of_this_episode(truncates):
    first, taken = walk(FrameStack(Counter(4, truncates), 3), 10)
    episode = [first["seen"][-2:]]
    np.testing.assert_array_equal(first["seen"], np.tile(episode[0], 3))
    for step in taken:
        newest = step.info["final_observation"]["seen"][-2:]
        episode.append(newest)
        frames = [episode[max(i, 0)] for i in range(len(episode) - 3, len(episode))]
        np.testing.assert_array_equal(step.info["final_observation"]["seen"], np.concatenate(frames))
        assert step.observation["action_mask"].shape == (2,)
        if step.terminated | step.truncated:
            assert newest[1] == 4 and step.truncated == truncates
            episode = [step.observation["seen"][-2:]]
            frames = episode * 3
        np.testing.assert_array_equal(step.observation["seen"], np.concatenate(frames))


def test_images_are_stacked_by_channels():
    env = FrameStack(gymnax.make("Breakout-MinAtar"), 2)
    observation, _ = jax.eval_shape(env.reset, jax.random.key(0), env.default_params)
    assert observation.shape == (10, 10, 8)


@pytest.mark.parametrize(("limit", "length"), [(3, 5), (5, 5), (7, 5), (4, 9)])
def test_a_time_limit_cuts_and_begins_anew(limit, length):
    env = TimeLimit(Counter(length), limit)
    assert env.can_truncate and env.max_episode_length == limit
    first, taken = walk(env, 3 * limit)
    here, seen = 0, {float(first["seen"][0])}
    for step in taken:
        here += 1
        ends = here == min(limit, length)
        assert step.terminated == (ends and length <= limit)
        assert step.truncated == (ends and length > limit)
        assert step.info["final_observation"]["seen"][1] == here == step.reward
        here = 0 if ends else here
        assert step.observation["seen"][1] == here
        seen.add(float(step.observation["seen"][0]))
    assert len(seen) == 1 + 3 * limit // min(limit, length)  # an episode of its own each time


@pytest.mark.parametrize("times", [1, 2, 3, 5, 7])
def test_a_repeated_action_stops_at_the_end_of_the_episode(times):
    _, taken = walk(ActionRepeat(Counter(5), times), 8)
    here = 0
    for step in taken:
        earned = range(here + 1, min(here + times, 5) + 1)
        here = earned[-1]
        assert step.reward == sum(earned)
        assert step.info["final_observation"]["seen"][1] == here
        assert step.terminated == (here == 5)
        here %= 5
        assert step.observation["seen"][1] == here


def test_the_greatest_length_is_counted_as_the_policy_steps():
    env = gymnax.make("CartPole-v1")
    assert ActionRepeat(env, 3).max_episode_length == 167
    assert TimeLimit(ActionRepeat(env, 3), 200).max_episode_length == 167
    assert ActionRepeat(Counter(), 3).max_episode_length is None


class TestSquashing:
    ENV = gymnax.make("Pendulum-v1")  # torque in [-2, 2]

    def test_an_action_is_brought_into_its_bounds_by_tanh(self):
        env = SquashActions(self.ENV)
        _, state = env.reset(jax.random.key(0), env.default_params)
        for number in (-50.0, -0.3, 0.0, 1.0):
            squashed = env.step(jax.random.key(1), state, jnp.array([number]), env.default_params)
            plain = self.ENV.step(jax.random.key(1), state, jnp.array([2.0 * np.tanh(number)]), env.default_params)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), squashed, plain)

    def test_a_random_policy_stays_uniform(self):
        space = SquashActions(self.ENV).action_space
        drawn = 2.0 * np.tanh(random_actions(space, jnp.zeros((20_000, 3)), jax.random.key(0)))
        np.testing.assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), [-1.6, 0.0, 1.6], atol=0.06)

    @pytest.mark.parametrize("space", [Discrete(2), Box((-1.0,), (float("inf"),))])
    def test_without_bounds_it_is_refused(self, space):
        with pytest.raises(PPOJaxError, match="must be a Box with bounds"):
            SquashActions(Counter(action_space=space))


def experiment(**task):
    return build(
        from_dict(
            {
                "task": {"env_id": "Pendulum-v1", **task},
                "ppo": {"total_timesteps": 16, "n_envs": 2, "n_steps": 4, "batch_size": 8},
                "network": {"hidden_sizes": [4]},
            }
        )
    )


def test_settings_wrap_the_environment_and_the_policy_keeps_to_its_bounds():
    settings = {"frame_stack": 2, "action_repeat": 2, "time_limit": 5, "squash_actions": True, "clip_rewards": 0.5}
    made = experiment(**settings)
    state, metrics = jax.jit(ppo.train)(made.trainer, jax.random.key(0), made.config.hyperparams)
    assert metrics["episode_length_mean"][1] == 5
    assert metrics["episode_return_mean"][1] < -2.5  # not clipped
    rewards = jax.jit(ppo.rollout)(made.trainer, state)[1].reward
    assert (rewards >= -0.5).all() and (rewards == -0.5).any()
    policy = Policy(made, made.trained(state))
    assert policy.observation.shape == (6,)
    actions = jax.vmap(policy)(30.0 * jnp.ones((64, 6)), jax.random.split(jax.random.key(0), 64))
    assert (np.abs(actions) < 2.0).all() and np.abs(actions).max() > 1.0
    env, states = unwrap(made.trainer.env, [state.rollout.env_state])
    assert env is gymnax.make("Pendulum-v1") and states[0].theta.shape == (2,)


def test_resets_are_shared_in_suites_alone():
    with pytest.raises(PPOJaxError, match=r"task\.optimistic_resets: for environments of the suites"):
        build(from_dict({"task": {"env_id": "CartPole-v1", "optimistic_resets": 16}}))


def test_a_proof_task_has_no_wrappers():
    with pytest.raises(PPOJaxError, match=r"task\.frame_stack: not for a proof task"):
        build(from_dict({"task": {"env_id": "Proof-countries_s1", "frame_stack": 2}}))
