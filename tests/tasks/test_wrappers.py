"""Episode statistics against a Python loop, over an environment whose every step is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.tasks.wrappers import EpisodeStatistics
from ppo_jax.types import Discrete, Environment, EnvStep


@dataclass(frozen=True)
class Dice:
    """Rewards the action; an episode terminates on a six and is cut after `limit` steps."""

    limit: int
    action_space = Discrete(7)
    can_truncate = True
    default_params = None

    def reset(self, key: jax.Array, params: None) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)

    def step(self, key: jax.Array, state: jax.Array, action: jax.Array, params: None) -> EnvStep:
        time = state + 1
        terminated = action == 6
        truncated = (time >= self.limit) & ~terminated
        next_state = jnp.where(terminated | truncated, 0, time)
        info = {"final_observation": time.astype(jnp.float32)}
        return EnvStep(
            next_state.astype(jnp.float32), next_state, action.astype(jnp.float32), terminated, truncated, info
        )


def run(env: EpisodeStatistics, actions: jax.Array) -> EnvStep:
    key = jax.random.key(0)

    def advance(state: Any, action: jax.Array) -> tuple[Any, EnvStep]:
        step = env.step(key, state, action, None)
        return step.state, step

    return jax.lax.scan(advance, env.reset(key, None)[1], actions)[1]


def test_statistics_equal_a_python_loop() -> None:
    limit, n_steps = 5, 200
    actions = jax.random.randint(jax.random.key(1), (3, n_steps), 1, 7)
    steps = jax.device_get(jax.jit(jax.vmap(lambda actions: run(EpisodeStatistics(Dice(limit)), actions)))(actions))
    n_terminated = n_truncated = 0
    for b in range(3):
        gathered: list[int] = []
        for t in range(n_steps):
            gathered.append(int(actions[b, t]))
            six = gathered[-1] == 6
            done = six or len(gathered) == limit
            n_terminated += six
            n_truncated += done and not six
            info = {name: x[b, t] for name, x in steps.info.items()}
            assert info["final_observation"] == len(gathered)
            assert info["episode_done"] == done
            assert info["episode_return"] == (sum(gathered) if done else 0)
            assert info["episode_length"] == (len(gathered) if done else 0)
            if done:
                gathered = []
    assert n_terminated > 20 and n_truncated > 20


def test_everything_else_passes_through() -> None:
    env = Dice(limit=3)
    wrapped = EpisodeStatistics(env)
    assert isinstance(wrapped, Environment)
    assert wrapped.action_space == env.action_space
    assert wrapped.can_truncate == env.can_truncate
    assert wrapped.default_params == env.default_params
    assert hash(wrapped) == hash(EpisodeStatistics(Dice(limit=3)))
    key, action = jax.random.key(0), jnp.int32(2)
    observation, state = wrapped.reset(key, None)
    assert (observation, state.env_state) == env.reset(key, None)
    step, inner = wrapped.step(key, state, action, None), env.step(key, state.env_state, action, None)
    assert step.state.env_state == inner.state
    assert step[2:5] == inner[2:5]
    assert step.observation == inner.observation


def test_types_do_not_change_from_step_to_step() -> None:
    env = EpisodeStatistics(Dice(limit=3))
    key = jax.random.key(0)
    _, state = jax.eval_shape(env.reset, key, None)
    step = jax.eval_shape(env.step, key, state, jax.ShapeDtypeStruct((), jnp.int32), None)

    def types(tree: Any) -> list[Any]:
        return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]

    assert types(step.state) == types(state)
    names = ("episode_return", "episode_length", "episode_done")
    assert [step.info[name].dtype for name in names] == [np.float32, np.int32, np.bool_]
    assert not any(step.info[name].weak_type for name in names)
