"""Environments that Python steps: beside Gymnasium's own step, out of date, refused, and trained in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from ppo_jax.cli.errors import explain
from ppo_jax.config import Config, TaskConfig, load_config
from ppo_jax.runs import experiment, loop, runner
from ppo_jax.runs.trust import import_paths
from ppo_jax.sweeps import sweep
from ppo_jax.sweeps.plan import make_plan
from ppo_jax.tasks import drawing, episodes
from ppo_jax.tasks.check import check_environment
from ppo_jax.tasks.make import make_task
from ppo_jax.tasks.suites import registry
from ppo_jax.types import Box, Discrete, MultiDiscrete, PPOJaxError

N = 3
ACTIONS = {
    "choice": spaces.Discrete(2, start=-1),
    "choices": spaces.MultiDiscrete([2, 3]),
    "numbers": spaces.Box(-1, 1, (2, 1)),
    "switches": spaces.MultiBinary((1, 2)),
    "whole numbers": spaces.Box(0, 9, (2,), int),
}


class Echo(gymnasium.Env):
    """Shows the last action in every kind of observation; ends after `length` steps, by both flags at once."""

    observation_space = spaces.Dict(
        pair=spaces.MultiDiscrete([2, 3]),
        picture=spaces.Box(0, 255, (2, 2, 1), np.uint8),
        rest=spaces.Tuple((spaces.Discrete(3, start=5), spaces.MultiBinary(2))),
        x=spaces.Box(-1.0, 1.0, (2,), np.float64),
    )
    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    broken = False

    def __init__(self, length: int = 3, actions: str = "choices", render_mode: str | None = None) -> None:
        self.action_space, self.length, self.render_mode = ACTIONS[actions], length, render_mode
        self.time, self.taken = 0, np.zeros(self.action_space.shape, int)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time, self.taken = 0, self.taken * 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.time, self.taken = self.time + 1, np.asarray(action)
        if self.broken:
            raise ValueError("the wheel came off\nand more")
        over = self.time >= self.length
        return self._observe(), float(np.sum(action)), over, over, {"note": "text"}

    def _observe(self) -> Any:
        a, b = np.abs(np.resize(self.taken, 2)).astype(int)
        x = np.array([self.time / 10, self.np_random.uniform()])
        picture, flags = np.full((2, 2, 1), 51 * b, np.uint8), np.array([a != 0, True], np.int8)
        return {"pair": np.array([a, b]), "picture": picture, "rest": (np.int64(5 + b), flags), "x": x}

    def render(self) -> Any:
        return np.full((4, 6, 3), self.time, np.uint8)


class Words(Echo):
    observation_space = spaces.Text(4)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    gymnasium.register("Echo-v0", Echo)
    gymnasium.register("Words-v0", Words)
    yield
    for name in ("Echo-v0", "Words-v0"):
        del gymnasium.registry[name]


def functions(env: Any) -> tuple[Any, Any]:
    """Reset and step of N environments, compiled."""
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    return reset, jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, None)))


def keys(seed: int, n: int = N) -> jax.Array:
    return jax.random.split(jax.random.key(seed), n)


@pytest.mark.parametrize(("name", "space"), [("CartPole-v1", Discrete(2)), ("Pendulum-v1", Box((-2.0,), (2.0,)))])
def test_steps_are_those_of_gymnasium(name: str, space: Any) -> None:
    env = registry.make(f"gymnasium/{name}", max_episode_steps=16)
    check_environment(env, ())
    assert (env.action_space, env.max_episode_length, env.can_truncate) == (space, 16, True)
    reset, step = functions(env)
    seen, state = reset(keys(0), ())
    own = [gymnasium.make(name, max_episode_steps=16) for _ in range(N)]
    seeds = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32) >> 1)(keys(0))
    np.testing.assert_array_equal(seen, [e.reset(seed=int(s))[0] for e, s in zip(own, seeds, strict=True)])
    ends = np.zeros(2, int)
    for t in range(40):
        actions = episodes.random_actions(space, seen, jax.random.key(t))
        taken = step(keys(t), state, actions * 3 if isinstance(space, Box) else actions, ())  # clipped to the bounds
        state = taken.state
        for i, one in enumerate(own):
            action = np.clip(actions[i] * 3, -2, 2) if isinstance(space, Box) else int(actions[i])
            observation, reward, terminated, truncated, _ = one.step(np.asarray(action))
            np.testing.assert_array_equal(taken.info["final_observation"][i], np.float32(observation))
            np.testing.assert_allclose(taken.reward[i], reward, rtol=1e-6)
            assert (taken.terminated[i], taken.truncated[i]) == (terminated, truncated and not terminated)
            ends += (terminated, truncated and not terminated)
            after = one.reset()[0] if terminated or truncated else observation
            np.testing.assert_array_equal(taken.observation[i], np.float32(after))
    assert ends[1] > 0 and (ends[0] > 0) == (name == "CartPole-v1")


def test_every_kind_of_space_and_both_flags_at_once() -> None:
    env = registry.make("gymnasium/Echo-v0")
    assert env.action_space == MultiDiscrete((2, 3)) and env.max_episode_length is None
    reset, step = functions(env)
    seen, state = reset(keys(0), ())
    np.testing.assert_array_equal(seen["pair"][0], [1, 0, 1, 0, 0])
    for t in range(3):
        taken = step(keys(t), state, jnp.array([[0, 0], [1, 1], [1, 2]]), ())
        state, last = taken.state, taken.info["final_observation"]
    np.testing.assert_array_equal(last["pair"], [[1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 1, 0, 0, 1]])
    np.testing.assert_allclose(last["picture"][:, 0, 0, 0], [0, 0.2, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(last["rest"][0], np.eye(3))
    np.testing.assert_array_equal(last["rest"][1], [[0, 1], [1, 1], [1, 1]])
    np.testing.assert_allclose(last["x"][:, 0], 0.3, rtol=1e-6)
    np.testing.assert_array_equal(taken.observation["x"][:, 0], 0)
    assert {x.dtype for x in jax.tree.leaves(last)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_array_equal(taken.reward, [0, 2, 3])
    assert taken.terminated.all() and not taken.truncated.any()


@pytest.mark.parametrize(
    ("actions", "ours", "given", "reward"),
    [
        ("choice", Discrete(2), 0, -1.0),
        ("switches", MultiDiscrete((2, 2)), [1, 0], 1.0),
        ("numbers", Box((-1.0, -1.0), (1.0, 1.0)), [0.5, 9.0], 1.5),
    ],
)
def test_kinds_of_actions(actions: str, ours: Any, given: Any, reward: float) -> None:
    env = registry.make("gymnasium/Echo-v0", actions=actions)
    assert env.action_space == ours
    reset, step = functions(env)
    assert step(keys(0), reset(keys(0), ())[1], jnp.array([given] * N), ()).reward.tolist() == [reward] * N


def test_a_state_that_is_out_of_date_cuts_its_episodes_where_they_stood() -> None:
    env = registry.make("gymnasium/Echo-v0", length=5)
    reset, step = functions(env)
    before = reset(keys(0), ())[1]
    actions = jnp.ones((N, 2), int)
    first = step(keys(0), before, actions, ())
    assert not first.truncated.any() and (first.state.token[:, 1] == 1).all()
    again = step(keys(0), before, actions, ())
    assert again.truncated.all() and not again.terminated.any() and not again.reward.any()
    jax.tree.map(np.testing.assert_array_equal, again.info["final_observation"], before.observation)
    assert (again.state.token != first.state.token).all()
    second = step(keys(0), first.state, actions, ())  # which goes on beside those that began anew
    np.testing.assert_allclose(second.observation["x"][:, 0], 0.2, rtol=1e-6)
    assert not second.truncated.any() and not step(keys(0), again.state, actions, ()).truncated.any()
    seeds = [step(keys(0), before, actions, ()).observation["x"] for _ in range(2)]
    np.testing.assert_array_equal(*seeds)  # a run that is resumed twice goes on in one way


def test_the_environments_used_last_stay_open() -> None:
    env = registry.make("gymnasium/Echo-v0", length=6)
    reset, step = functions(env)
    state = reset(keys(0), ())[1]
    for i in range(9):
        reset(keys(i, 2 + i % 2), ())
        taken = step(keys(0), state, jnp.ones((N, 2), int), ())
        state = taken.state
        assert not taken.truncated.any()
    assert len(env._open) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"env_id": "gymnasium/CartPole-v11"},
            "unknown env_id 'gymnasium/CartPole-v11'; did you mean gymnasium/CartPole",
        ),
        ({"env_id": "gymnasium/phys2d/CartPole-v1"}, "runs JAX in its steps, which a callback must not do, and is not"),
        ({"env_id": "gymnasium/gymnasium:phys2d/CartPole-v1"}, "runs JAX in its steps, which a callback must not do"),
        ({"env_id": "gymnasium/Words-v0"}, "'gymnasium/Words-v0': no network reads observations of Text"),
        ({"env_id": "gymnasium/Echo-v0", "env_params": {"size": 3}}, "cannot be made with the arguments .*size"),
        ({"env_id": "gymnasium/Echo-v0", "action_repeat": 2}, "task.action_repeat: not for an environment of Gym"),
        ({"env_id": "gymnasium/Echo-v0", "time_limit": 2}, "task.time_limit: not for .* task.env_params takes"),
    ],
)
def test_what_is_refused_by_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PPOJaxError, match=message) as raised:
        make_task(Config(task=TaskConfig(**settings)))
    assert "\n" not in str(raised.value)


def test_several_devices_and_several_runs_in_a_program_are_refused() -> None:
    with pytest.raises(PPOJaxError, match=r"run.devices = 2: an environment of Gymnasium is stepped by one"):
        experiment.build(config(devices=2))
    with pytest.raises(PPOJaxError, match="gymnasium/Echo-v0 is stepped outside the compiled program"):
        jax.vmap(jax.vmap(registry.make("gymnasium/Echo-v0").reset, (0, None)), (0, None))(jnp.stack([keys(0)] * 2), ())
    with pytest.raises(PPOJaxError, match="no policy gives actions of Box"):
        registry.make("gymnasium/Echo-v0", actions="whole numbers")


def test_gymnasium_imports_the_module_that_an_id_begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registers = f"import gymnasium\ngymnasium.register('Its-v0', '{__name__}:Echo')\n"
    (tmp_path / "its_module.py").write_text(registers)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    named = load_config("gymnasium/its_module:Its-v0")
    assert import_paths(named) == {"env": "its_module:Its-v0"}
    built = experiment.build(named)
    assert built.env.reset(keys(0)[0], ())[0]["x"].shape == (2,)
    assert "needs_memory" not in runner.beginning(built)
    with pytest.raises(PPOJaxError, match=r"no_module:Its-v0' cannot be made: ModuleNotFoundError: .*no_module"):
        make_task(load_config("gymnasium/no_module:Its-v0"))


def config(**settings: Any) -> Config:
    table = dict(env_id="gymnasium/Echo-v0", n_envs=2, n_steps=4, n_epochs=1, batch_size=4, total_timesteps=32)
    return Config(task=TaskConfig("gymnasium/Echo-v0")).override(
        table | dict(hidden_sizes=[4], eval_episodes=2, eval_interval=2) | settings
    )


def test_a_run_that_its_environment_ends_says_why_in_one_line_and_goes_on_when_that_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compile_chunk, compiled = loop.compile_chunk, []

    def compile_once(*arguments: Any) -> Any:
        compiled.append(compiled[0] if compiled else compile_chunk(*arguments))
        return compiled[0]

    def breaks(trainer: Any, state: Any) -> Any:
        monkeypatch.setattr(Echo, "broken", int(state.step) == 1)
        return trainer, state

    monkeypatch.setattr(loop, "compile_chunk", compile_once)
    folder = tmp_path / "run"
    started = config(normalize_observations=True, frame_stack=2, checkpoint_interval=1)
    with pytest.raises(PPOJaxError) as raised:
        runner.train(started, folder, progress=False, hook=breaks)
    message = str(raised.value)
    assert message.startswith("env_id 'gymnasium/Echo-v0': test_gymnasium.py:")
    assert message.endswith("in Echo.step: raised ValueError: the wheel came off")
    assert json.loads((folder / "summary.json").read_text())["error"] == message
    assert not caplog.records

    monkeypatch.setattr(Echo, "broken", False)
    said: list[str] = []
    summary = runner.resume(folder, progress=False, warn=said.append, hook=lambda *both: both)
    assert said == ["gymnasium/Echo-v0 is no part of a checkpoint: episodes that ran are cut, and others begin"]
    assert (summary["status"], summary["test"]["episodes"], summary["test"]["length_mean"]) == ("completed", 2, 3)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["episode_length_mean"] for row in rows] == [3, 2.5, 3, 3]  # one step of an episode, and the cut


def test_a_command_tells_what_a_callback_raised(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    reset, _ = functions(registry.make("gymnasium/Echo-v0", length=4))
    for raised, code, line in (
        (ValueError("no reset"), 2, "ValueError: no reset"),
        (KeyboardInterrupt(), 130, "interru"),
    ):
        monkeypatch.setattr(Echo, "_observe", lambda self, raised=raised: (_ for _ in ()).throw(raised))
        with pytest.raises(jax.errors.JaxRuntimeError) as error:
            jax.block_until_ready(reset(keys(0), ()))
        assert explain(error.value) == code
        told = capsys.readouterr().err
        assert line in told and len(told.splitlines()) == 1


@pytest.mark.slow
def test_members_of_a_sweep_train_one_after_another(tmp_path: Path) -> None:
    record = sweep.run(make_plan(config(), 2), tmp_path / "sweep", progress=False)
    assert [program["width"] for program in record["programs"]] == [1]
    assert [member["status"] for member in record["members"]] == ["completed"] * 2


def test_episodes_are_drawn_by_gymnasium() -> None:
    built = experiment.build(config(frame_stack=2))
    env = drawing.drawable(built.env, "gymnasium/Echo-v0")
    [episode] = episodes.play(env, built.policy, built.untrained(0), 0, 1, 8)
    assert episode.finished and len(episode.rewards) == 3
    inner, states = drawing.unwrap(env, episode.states)
    assert [picture.max() for picture in drawing.draw(inner, states)] == [0, 1, 2]
    played = built.task.play(built.policy, built.untrained(0), seed=0, n=1, max_steps=8)
    assert played.gif.startswith(b"GIF")


@pytest.mark.slow
def test_cartpole_is_learnt(tmp_path: Path) -> None:
    settings = dict(env_id="gymnasium/CartPole-v1", n_envs=8, n_steps=128, n_epochs=8, batch_size=256)
    learning = dict(total_timesteps=80_000, learning_rate=1e-3, eval_episodes=16, eval_interval=80)
    start = Config(task=TaskConfig("gymnasium/CartPole-v1"))
    summary = runner.train(start.override(settings | learning), tmp_path / "run", progress=False)
    assert summary["test"]["return_mean"] > 400 > 50 > summary["baselines"]["random"]["return_mean"]
