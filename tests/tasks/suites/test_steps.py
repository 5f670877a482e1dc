"""Each adapter beside the suite's own step, through ends and time limits; and two updates of training on each.

They need the libraries, and compile for minutes: `make test-suites` installs the one and runs the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import ppo
from ppo_jax.config import Config, NetworkConfig, PPOConfig, TaskConfig
from ppo_jax.runs import experiment
from ppo_jax.tasks.check import check_environment
from ppo_jax.tasks.episodes import random_actions
from ppo_jax.tasks.suites import registry
from ppo_jax.tasks.suites.common import SuiteEnvironment
from ppo_jax.types import Box, Discrete, MultiDiscrete

pytestmark = [pytest.mark.suites, pytest.mark.filterwarnings("ignore")]  # the libraries warn of much

TRAINED = [
    *("brax/inverted_pendulum", "playground/CartpoleBalance", "jumanji/Snake-v1", "jumanji/LevelBasedForaging-v0"),
    *("navix/Navix-Empty-5x5-v0", "craftax/Craftax-Classic-Symbolic-v1", "xminigrid/MiniGrid-Empty-5x5"),
    "pgx/tic_tac_toe",
]


class Own(NamedTuple):
    """An environment by the suite's own functions. Its state is what they return."""

    reset: Callable[[Any, Any], Any]  # (key, state of ours) -> state
    step: Callable[[Any, Any, Any], Any]  # (key, state, action) -> state
    report: Callable[[Any], tuple[Any, Any, Any, Any]]  # state -> observation as ours, reward, terminated, truncated


def make(env_id: str, **options: Any) -> SuiteEnvironment:
    suite = registry.SUITES[env_id.partition("/")[0]]
    pytest.importorskip(suite.library)
    return registry.make(env_id, **options)


def compare(env: SuiteEnvironment, own: Own, actions: Sequence[Any] | int, legal: bool = True) -> tuple[int, int]:
    """Take the actions, or so many random ones, side by side; returns how many episodes terminated and truncated."""
    check_environment(env, env.default_params)
    reset, step_once = jax.jit(env.reset), jax.jit(env.step)
    own = Own(*(jax.numpy_rank_promotion("allow")(function) for function in own))
    observation, state = reset(jax.random.key(100), env.default_params)
    own_state, ends = own.reset(jax.random.key(100), state), np.zeros(2, int)
    assert_equal(observation, own.report(own_state)[0])
    for i in range(actions if isinstance(actions, int) else len(actions)):
        key = jax.random.key(i)
        action = draw(env, observation, key, legal) if isinstance(actions, int) else jnp.asarray(actions[i])
        step = step_once(key, state, action, env.default_params)
        key_step, key_reset = jax.random.split(key)
        own_state = own.step(key_step, own_state, action)
        seen, reward, terminated, truncated = own.report(own_state)
        assert_equal(step.info["final_observation"], seen)
        np.testing.assert_allclose(step.reward, np.sum(reward), rtol=1e-4, atol=1e-5)
        assert (step.terminated, step.truncated) == (terminated, truncated), i
        if terminated or truncated:
            ends += [terminated, truncated]
            assert_equal(step.observation, reset(key_reset, env.default_params)[0])
            own_state = own.reset(key_reset, step.state)
        assert_equal(step.observation, own.report(own_state)[0])
        observation, state = step.observation, step.state
    assert step_once._cache_size() == 1
    return int(ends[0]), int(ends[1])


def draw(env: SuiteEnvironment, observation: Any, key: jax.Array, legal: bool) -> jax.Array:
    batch = jax.tree.map(lambda x: x[None], observation)
    if not legal:
        batch = jnp.zeros(1)
    return random_actions(env.action_space, batch, key)[0]


def assert_equal(ours: Any, theirs: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (a.dtype, a.shape) == (a.dtype if a.dtype == bool else np.float32, np.shape(b))
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=1e-4, atol=1e-4)


def one_hot(cells: Any, sizes: Sequence[int]) -> np.ndarray:
    """Cells [H, W, C] of categories, written out one by one."""
    cells = np.asarray(cells)
    found = np.zeros((*cells.shape[:2], sum(sizes)))
    for (row, column, channel), category in np.ndenumerate(cells):
        found[row, column, sum(sizes[:channel]) + category] = 1
    return found


def wrapped(episodes: Any) -> Own:
    """Brax's episode wrapper, which says what was truncated."""

    def report(state: Any) -> tuple[Any, Any, Any, Any]:
        truncated = bool(state.info["truncation"])
        return state.obs, state.reward, bool(state.done) and not truncated, truncated

    step = jax.jit(lambda state, action: episodes.step(state, action))
    return Own(jax.jit(lambda key, _: episodes.reset(key)), lambda key, state, action: step(state, action), report)


def test_brax() -> None:
    env = make("brax/inverted_pendulum", episode_length=8, backend="spring")
    from brax import envs

    own = envs.create("inverted_pendulum", episode_length=8, auto_reset=False, backend="spring")
    push, balance = [[1.0]] * 7, [[0.3], [-0.3]] * 4
    assert compare(env, wrapped(own), [*push, *balance, *balance, *push, [0.0]]) == (2, 2)
    assert env.action_space == Box((-1.0,), (1.0,)) and env.max_episode_length == 8


def test_playground() -> None:
    env = make("playground/CartpoleBalance", episode_length=6)
    from brax.envs.wrappers.training import EpisodeWrapper
    from mujoco_playground import registry as playground

    own = EpisodeWrapper(playground.load("CartpoleBalance", config_overrides={"impl": "jax"}), 6, 1)
    assert compare(env, wrapped(own), 20) == (0, 3)
    assert env.default_params == () and env.action_space == Box((-1.0,), (1.0,))


def test_what_playground_calls_privileged_is_for_the_critic_alone() -> None:
    pytest.importorskip("mujoco_playground")
    from types import SimpleNamespace

    from ppo_jax.tasks.suites import physics

    seen = physics._observe(SimpleNamespace(obs={"state": np.ones(2), "privileged_state": np.zeros(3)}))
    assert seen.keys() == {"state", "privileged"} and seen["privileged"].shape == (3,)


def test_models_of_robots_are_not_downloaded_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pytest.importorskip("mujoco_playground")
    from mujoco_playground._src import mjx_env

    from ppo_jax.types import PPOJaxError

    monkeypatch.setattr(mjx_env, "MENAGERIE_PATH", tmp_path / "none")
    with pytest.raises(PPOJaxError, match="needs models of robots that are downloaded once"):
        registry.make("playground/Go1JoystickFlatTerrain")


def jumanji_own(
    env: SuiteEnvironment, observe: Callable[[Any], Any], to_action: Callable[[Any], Any], ends: Any
) -> Own:
    """`ends` of a state before, an action and the time step after says what is terminated and truncated."""
    step = jax.jit(env.environment.step)

    def step_once(key: Any, now: Any, action: Any) -> Any:
        state, timestep = step(now[0], to_action(action))
        return state, timestep, ends(now[0], action, timestep)

    def report(now: Any) -> Any:
        return observe(now[1].observation), now[1].reward, *now[2]

    return Own(lambda key, _: (*env.environment.reset(key), (False, False)), step_once, report)


def test_jumanji() -> None:
    env = make("jumanji/Snake-v1", num_rows=4, num_cols=4, time_limit=5)

    def observe(seen: Any) -> Any:
        return {"grid": seen.grid, "step_count": np.eye(5)[seen.step_count.clip(max=4)] * (seen.step_count < 5)} | {
            "action_mask": seen.action_mask
        }

    def ends(state: Any, action: Any, timestep: Any) -> Any:
        last, valid = bool(timestep.last()), bool(state.action_mask[action])
        return last and not valid, last and valid

    terminated, truncated = compare(env, jumanji_own(env, observe, lambda action: action, ends), 40, legal=False)
    assert terminated and truncated
    assert env.action_space == Discrete(4)


def test_jumanji_tells_apart_what_it_tells_apart_itself() -> None:
    env = make("jumanji/LevelBasedForaging-v0", time_limit=5)

    def observe(seen: Any) -> Any:
        view, steps, mask = seen.agents_view, seen.step_count, seen.action_mask
        return {"agents_view": view, "step_count": steps, "action_mask": np.concatenate(mask)}

    def ends(state: Any, action: Any, timestep: Any) -> Any:
        return bool(timestep.last() & (timestep.discount == 0).all()), bool(timestep.last() & timestep.discount.any())

    assert compare(env, jumanji_own(env, observe, lambda action: action, ends), 12)[1] == 2
    assert env.action_space == MultiDiscrete((6, 6))


def test_jumanji_makes_one_choice_of_all_combinations() -> None:
    pytest.importorskip("jumanji")
    from jumanji.environments.logic.minesweeper.generator import UniformSamplingGenerator

    generator = UniformSamplingGenerator(num_rows=3, num_cols=4, num_mines=2)
    env = make("jumanji/Minesweeper-v0", generator=generator)

    def observe(seen: Any) -> Any:
        return {"board": seen.board, "num_mines": seen.num_mines, "step_count": seen.step_count} | {
            "action_mask": np.concatenate(seen.action_mask)
        }

    def ends(state: Any, action: Any, timestep: Any) -> Any:
        return bool(timestep.last()), False

    own = jumanji_own(env, observe, lambda action: jnp.array([action // 4, action % 4]), ends)
    assert compare(env, own, 20)[0] >= 2
    assert env.action_space == Discrete(12) and not env.can_truncate


def test_jumanji_downloads_nothing() -> None:
    pytest.importorskip("jumanji")
    from ppo_jax.types import PPOJaxError

    with pytest.raises(PPOJaxError, match="'jumanji/Sokoban-v0' downloads its levels when it is made and is not off"):
        registry.make("jumanji/Sokoban-v0")


def test_navix() -> None:
    env = make("navix/Navix-Empty-5x5-v0", max_steps=7)
    step = jax.jit(env.environment.step)

    def report(timestep: Any) -> Any:
        ends = bool(timestep.is_termination()), bool(timestep.is_truncation())
        return one_hot(timestep.observation, (11, 6, 4)), timestep.reward, *ends

    own = Own(lambda key, _: env.environment.reset(key), lambda key, timestep, action: step(timestep, action), report)
    to_the_goal = [2, 2, 1, 2, 2]  # forward, forward, right, forward, forward
    assert compare(env, own, [*to_the_goal, *[0, 2, 3, 4, 5, 6, 1], *to_the_goal, 2, 0]) == (2, 1)


def test_navix_shows_what_it_is_asked_to() -> None:
    from ppo_jax.types import PPOJaxError

    env = make("navix/Navix-Empty-5x5-v0", observation="symbolic_first_person")
    assert jax.eval_shape(env.reset, jax.random.key(0), ())[0].shape == (7, 7, 21)
    with pytest.raises(PPOJaxError, match=r"no observation 'sound'; use symbolic, symbolic_first_person, rgb, "):
        make("navix/Navix-Empty-5x5-v0", observation="sound")


def test_xminigrid() -> None:
    env = make("xminigrid/MiniGrid-Empty-5x5", max_steps=7)
    step = jax.jit(env.environment.step)

    def report(timestep: Any) -> Any:
        last, discount = bool(timestep.last()), float(timestep.discount)
        return one_hot(timestep.observation, (13, 12)), timestep.reward, last and discount == 0, last and discount == 1

    own = Own(
        lambda key, _: env.environment.reset(env.default_params, key),
        lambda key, timestep, action: step(env.default_params, timestep, action),
        report,
    )
    to_the_goal = [0, 0, 1, 0, 0]
    assert compare(env, own, [*to_the_goal, *[1, 2, 0, 3, 4, 5, 1], *to_the_goal, 2, 0]) == (2, 1)


def test_craftax() -> None:
    env = make("craftax/Craftax-Classic-Symbolic-v1", max_timesteps=6)

    def step(key: Any, now: Any, action: Any) -> Any:
        observation, state, reward, done, _ = env.environment.step(key, now[1], action, env.default_params)
        return observation, state, reward, done

    def report(now: Any) -> Any:
        done, alive = bool(now[3]), bool(now[1].player_health > 0)
        n = 7 * 9 * 21
        return {"map": now[0][:n].reshape(7, 9, 21), "player": now[0][n:]}, now[2], done and not alive, done and alive

    own = Own(lambda key, _: (*env.environment.reset(key, env.default_params), 0.0, False), step, report)
    assert compare(env, own, 20) == (0, 3)

    _, state = env.reset(jax.random.key(0), env.default_params)
    dying = state.replace(player_health=jnp.zeros_like(state.player_health))
    for at in (0, 5):  # also where the time is up
        after = env.step(jax.random.key(0), dying.replace(timestep=jnp.int32(at)), jnp.int32(0), env.default_params)
        assert after.terminated and not after.truncated
        assert after.state.timestep == 0 and after.state.player_health > 0


def first_legal(key: Any, observation: Any, action_mask: Any) -> Any:
    return jnp.argmax(action_mask)


def test_pgx() -> None:
    env = make("pgx/tic_tac_toe", opponent=first_legal)
    step_once = jax.jit(env.environment.step)

    def step(key: Any, now: Any, action: Any) -> Any:
        state = step_once(now[0], action)
        reward = state.rewards[0]
        while state.current_player != 0 and not state.terminated:
            state = step_once(state, int(np.argmax(state.legal_action_mask)))
            reward += state.rewards[0]
        return state, reward

    def report(now: Any) -> Any:
        state, reward = now
        seen = {"observation": state.observation, "action_mask": state.legal_action_mask}
        return seen, reward, bool(state.terminated), False

    own = Own(lambda key, ours: (ours, 0.0), step, report)
    assert compare(env, own, 30)[0] >= 5
    assert env.action_space == Discrete(9)


def test_the_opponent_of_pgx_may_begin_and_is_random_unless_told_otherwise() -> None:
    env = make("pgx/tic_tac_toe")
    keys = jax.random.split(jax.random.key(0), 200)
    _, states = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, ())
    assert (states.current_player == 0).all()
    moves = states.observation[..., 1].reshape(200, 9)  # of the opponent
    begun = moves.any(axis=1)
    assert 60 < begun.sum() < 140
    assert moves[begun].any(axis=0).all()  # everywhere


@pytest.mark.parametrize("env_id", TRAINED)
def test_two_updates(env_id: str) -> None:
    make(env_id)
    settings = PPOConfig(n_envs=2, n_steps=4, n_epochs=2, batch_size=4, total_timesteps=16)
    built = experiment.build(Config(TaskConfig(env_id), settings, NetworkConfig(hidden_sizes=(8,))))
    first = jax.jit(lambda key: ppo.init(built.trainer, key, built.config.hyperparams))(jax.random.key(0))
    update = jax.jit(lambda state: ppo.update(built.trainer, state))
    last, _ = update(update(first)[0])
    assert last.step == 2 and update._cache_size() == 1
    leaves = jax.tree.leaves(last.learner.params)
    assert all(np.isfinite(x).all() for x in leaves)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first.learner.params), leaves, strict=True))


@pytest.mark.parametrize("prefix", registry.SUITES)
def test_every_id_keeps_to_the_protocol(prefix: str) -> None:
    """Traced, not run; those that need a download are left out."""
    suite = registry.SUITES[prefix]
    pytest.importorskip(suite.library)
    ids = suite.ids()
    assert ids
    if prefix == "playground":
        from mujoco_playground import dm_control_suite

        ids = [f"playground/{name}" for name in dm_control_suite.ALL_ENVS]
    if prefix == "gymnasium":  # the others need libraries of their own
        ids = [
            f"gymnasium/{name}" for name in ("Acrobot-v1", "Blackjack-v1", "FrozenLake-v1", "Pendulum-v1", "Taxi-v4")
        ]
    for env_id in ids:
        env = registry.make(env_id)
        check_environment(env, env.default_params)
        registry.make.cache_clear()  # their constants are large
