"""What the adapters share, on an environment of a few lines: restarts, time limits, types."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.tasks.check import check_environment
from ppo_jax.tasks.suites.common import SuiteEnvironment, auto_reset, limit_steps, one_hot_channels, share_resets
from ppo_jax.types import Box, EnvStep

SPACE = Box((-1.0,), (1.0,))


def begin(key: jax.Array, params: Any) -> tuple[Any, Any]:
    start = jax.random.uniform(key)
    return {"x": start[None]}, {"x": start, "steps": jnp.int8(0), "key": key}


def advance(key: jax.Array, state: Any, action: jax.Array, params: Any) -> EnvStep:
    """A walk that ends past 2; its types are as careless as those of some suites."""
    x = state["x"] + action[0]
    after = {"x": x, "steps": state["steps"] + jnp.int32(1), "key": state["key"]}
    return EnvStep({"x": x[None]}, after, 1, x > 2, False, {})


def make(limit: int = 4) -> SuiteEnvironment:
    return SuiteEnvironment("walk", None, *limit_steps(begin, advance, limit), SPACE, True, limit)


def roll(env: SuiteEnvironment, actions: list[float]) -> list[EnvStep]:
    _, state = env.reset(jax.random.key(0), ())
    step_once, steps = jax.jit(env.step), []
    for i, action in enumerate(actions):
        steps.append(step_once(jax.random.key(i), state, jnp.array([action]), ()))
        state = steps[-1].state
    assert step_once._cache_size() == 1  # types stay what they are at the beginning
    return steps


def test_an_ended_episode_goes_on_in_a_fresh_one() -> None:
    env = make()
    check_environment(env, ())
    steps = roll(env, [1.0, 1.0, 1.0, 0.0])
    first = env.reset(jax.random.key(0), ())[0]["x"]
    end = next(i for i, step in enumerate(steps) if step.terminated)
    assert end == (1 if first[0] > 0 else 2)
    np.testing.assert_allclose(steps[end].info["final_observation"]["x"], first + end + 1, rtol=1e-6)
    fresh, _ = env.reset(jax.random.split(jax.random.key(end))[1], ())
    assert steps[end].observation["x"] == fresh["x"] == steps[end].state.state["x"]
    np.testing.assert_allclose(
        steps[end + 1].info["final_observation"]["x"], fresh["x"] + [1.0, 1.0, 1.0, 0.0][end + 1]
    )


def test_a_limit_truncates_and_begins_to_count_again() -> None:
    steps = roll(make(limit=3), [0.0] * 7)
    assert [bool(step.truncated) for step in steps] == [False, False, True, False, False, True, False]
    assert not any(step.terminated for step in steps)
    assert [int(step.state.time) for step in steps] == [1, 2, 0, 1, 2, 0, 1]


def test_an_end_at_the_limit_is_an_end() -> None:
    steps = roll(make(limit=2), [1.0, 1.0])
    assert steps[1].terminated and not steps[1].truncated


def test_actions_are_clipped_to_their_bounds() -> None:
    steps = roll(make(), [-9.0])
    first = make().reset(jax.random.key(0), ())[0]["x"]
    np.testing.assert_allclose(steps[0].observation["x"], first - 1.0, rtol=1e-6)


def test_types_are_those_of_the_beginning() -> None:
    taken = EnvStep(1.0, jnp.int32(3), 1, jnp.array([True]), jnp.array(1), {"seen": 1})
    step = auto_reset(taken, (jnp.float32(0.5), jnp.int8(0)))
    assert (step.observation, step.state, step.reward) == (0.5, 0, 1.0)
    assert (step.state.dtype, step.reward.dtype) == (jnp.int8, jnp.float32)
    assert step.terminated.shape == step.truncated.shape == ()
    assert step.terminated and not step.truncated
    assert step.info == {"seen": 1, "final_observation": 1.0}
    assert not any(x.weak_type for x in (step.observation, step.state, step.info["final_observation"]))


def test_categories_of_channels_become_one_hot() -> None:
    grid = jnp.array([[0, 1], [2, 0]], jnp.uint8)
    expected = [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0]]
    np.testing.assert_array_equal(one_hot_channels(grid, (3, 2)), expected)


def test_environments_that_end_together_share_the_fresh_episodes_in_turn() -> None:
    """Eight environments draw two episodes; of the five that end the first, third and fifth begin alike."""
    ended = jnp.array([0, 1, 1, 0, 1, 1, 0, 1], bool)
    keys = jax.random.split(jax.random.key(3), 8)
    fresh = jax.vmap(share_resets(begin, 4), (0, 0, None))
    observation, state = jax.jit(fresh)(keys, ended, ())
    drawn = jax.vmap(begin, (0, None))(keys[:2], ())[0]["x"]
    np.testing.assert_array_equal(observation["x"][np.array(ended)], drawn[np.array([0, 1, 0, 1, 0])])
    np.testing.assert_array_equal(observation["x"][:, 0], state["x"])
    assert str(jax.make_jaxpr(fresh)(keys, ended, ())).count("key<fry>[2]") > 0
    # Runs side by side do the same, each with its own.
    together = jax.vmap(fresh, (0, 0, None))(jnp.stack([keys, keys]), jnp.stack([ended, ~ended]), ())
    np.testing.assert_array_equal(together[0]["x"][0], observation["x"])


def test_alone_an_environment_resets_for_itself() -> None:
    env = make()
    shared = replace(env, optimistic_resets=16)
    assert [step.observation["x"].item() for step in roll(shared, [1.0] * 6)] == [
        step.observation["x"].item() for step in roll(env, [1.0] * 6)
    ]
    check_environment(shared, ())


def test_as_many_episodes_end_with_shared_resets() -> None:
    env, keys = make(), jax.random.split(jax.random.key(0), 16)
    actions = jnp.full((16, 1), 0.5)
    lengths = []
    for ratio in (1, 8):
        each = replace(env, optimistic_resets=ratio)
        state, ends = jax.vmap(each.reset, (0, None))(keys, ())[1], []
        step = jax.jit(jax.vmap(each.step, (0, 0, 0, None)))
        for _ in range(8):
            taken = step(keys, state, actions, ())
            state, ends = taken.state, [*ends, taken.terminated | taken.truncated]
        lengths.append(np.stack(ends).sum())
        assert not np.isnan(taken.observation["x"]).any()
    assert lengths[0] == lengths[1] == 32  # two each, of three or four steps
