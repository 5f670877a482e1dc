"""The adapter against gymnax itself: every id's types and shapes, and what the adapter evens out."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.tasks import gymnax as adapter
from ppo_jax.types import Box, Discrete, Environment, PPOJaxError

OBSERVATION_SHAPES = {
    "CartPole-v1": (4,),
    "Pendulum-v1": (3,),
    "Acrobot-v1": (6,),
    "MountainCar-v0": (2,),
    "MountainCarContinuous-v0": (2,),
    "Asterix-MinAtar": (10, 10, 4),
    "Breakout-MinAtar": (10, 10, 4),
    "Freeway-MinAtar": (10, 10, 7),
    "Seaquest-MinAtar": (10, 10, 10),
    "SpaceInvaders-MinAtar": (10, 10, 6),
    "Catch-bsuite": (10, 5),
    "DeepSea-bsuite": (8, 8),
    "MemoryChain-bsuite": (3,),
    "UmbrellaChain-bsuite": (3,),
    "DiscountingChain-bsuite": (2,),
    "SimpleBandit-bsuite": (1, 1),
    "FourRooms-misc": (4,),
    "MetaMaze-misc": (15,),
    "PointRobot-misc": (6,),
    "BernoulliBandit-misc": (4,),
    "GaussianBandit-misc": (4,),
    "Reacher-misc": (8,),
    "Swimmer-misc": (16,),
    "Pong-misc": (30, 40, 3),
    "FrozenLake-misc": (16,),
}
PROOF_IDS = [f"Proof-{name}" for name in datasets.BUILTIN]
BOX_BOUNDS = {  # size and bound of the action
    "Pendulum-v1": (1, 2.0),
    "MountainCarContinuous-v0": (1, 1.0),
    "PointRobot-misc": (2, 0.1),
    "Reacher-misc": (2, 1.0),
    "Swimmer-misc": (2, 1.0),
}
ALWAYS_TERMINATE = {  # steps an episode has, whatever the actions
    "Catch-bsuite": 9,
    "DeepSea-bsuite": 8,
    "MemoryChain-bsuite": 6,
    "SimpleBandit-bsuite": 1,
    "UmbrellaChain-bsuite": 10,
}


def random_action(key: jax.Array, env: Environment) -> jax.Array:
    space = env.action_space
    if isinstance(space, Discrete):
        return jax.random.randint(key, (), 0, space.n)
    return jax.random.uniform(key, (space.size,), minval=jnp.asarray(space.low), maxval=jnp.asarray(space.high))


def roll(env: Environment, n_steps: int) -> tuple[Any, Any]:
    """Take random steps in one program; returns the first observation and the steps without their states."""

    def advance(state: Any, key: jax.Array) -> tuple[Any, Any]:
        key_action, key_step = jax.random.split(key)
        step = env.step(key_step, state, random_action(key_action, env), env.default_params)
        return step.state, step._replace(state=None)

    def episode(key: jax.Array) -> tuple[Any, Any]:
        key_reset, key_steps = jax.random.split(key)
        observation, state = env.reset(key_reset, env.default_params)
        return observation, jax.lax.scan(advance, state, jax.random.split(key_steps, n_steps))[1]

    return jax.device_get(jax.jit(episode)(jax.random.key(0)))


def types(tree: Any) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


def test_neither_importing_the_adapter_nor_a_proof_task_imports_gymnax() -> None:
    program = (
        "import sys, ppo_jax.tasks.wrappers; from ppo_jax.tasks import gymnax as adapter;"
        "adapter.make('Proof-countries_s3'); sys.exit('gymnax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_registered_id_is_covered_here() -> None:
    import gymnax

    left_out = {"MNISTBandit-bsuite", *PROOF_IDS}
    registered = [env_id for env_id in gymnax.registered_envs if env_id not in left_out]
    assert adapter.environment_ids() == [*registered, *PROOF_IDS]
    assert set(registered) == set(OBSERVATION_SHAPES)


@pytest.mark.parametrize("env_id", OBSERVATION_SHAPES)
def test_types_are_uniform_and_stable(env_id: str) -> None:
    env = adapter.make(env_id)
    key, params = jax.random.key(0), env.default_params
    observation, state = jax.eval_shape(env.reset, key, params)
    action = jax.eval_shape(lambda key: random_action(key, env), key)
    step = jax.eval_shape(env.step, key, state, action, params)

    seen = (OBSERVATION_SHAPES[env_id], jnp.float32, False)
    assert types(observation) == types(step.observation) == types(step.info["final_observation"]) == seen
    assert types(step.state) == types(state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((state, step)))
    assert types(step.reward) == ((), jnp.float32, False)
    assert types((step.terminated, step.truncated)) == (((), jnp.bool, False),) * 2
    assert isinstance(env, Environment)


@pytest.mark.parametrize("env_id", OBSERVATION_SHAPES)
def test_three_real_steps(env_id: str) -> None:
    env = adapter.make(env_id)
    first, steps = roll(env, 3)
    shape = OBSERVATION_SHAPES[env_id]
    assert first.shape == shape
    assert steps.observation.shape == steps.info["final_observation"].shape == (3, *shape)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((first, steps)))
    # Whatever does not end an episode leads on to what it led to.
    goes_on = ~(steps.terminated | steps.truncated)
    np.testing.assert_array_equal(steps.observation[goes_on], steps.info["final_observation"][goes_on])
    assert goes_on.all() == (env_id != "SimpleBandit-bsuite")


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-misc", "UmbrellaChain-bsuite"])
def test_agrees_with_gymnax(env_id: str) -> None:
    import gymnax

    raw, params = gymnax.make(env_id)
    env = adapter.make(env_id)
    key_reset, *keys = jax.random.split(jax.random.key(1), 13)
    raw_observation, raw_state = raw.reset(key_reset, params)
    observation, state = jax.jit(env.reset)(key_reset, params)
    step_once = jax.jit(env.step)

    def assert_equal(ours: jax.Array, theirs: jax.Array) -> None:
        encoded = np.eye(16)[theirs] if env_id == "FrozenLake-misc" else theirs
        np.testing.assert_allclose(ours, encoded, rtol=1e-6, atol=1e-6)

    assert_equal(observation, raw_observation)
    for key in keys:
        action = random_action(key, env)
        raw_observation, raw_state, reward, terminated, truncated, info = raw.step(key, raw_state, action, params)
        step = step_once(key, state, action, params)
        state, step = step.state, jax.device_get(step)
        assert_equal(step.observation, raw_observation)
        assert_equal(step.info["final_observation"], info["final_observation"])
        assert (step.terminated, step.truncated) == (terminated, truncated & ~terminated)
        np.testing.assert_allclose(step.reward, np.float32(reward), rtol=1e-6)
    assert step_once._cache_size() == 1


@pytest.mark.parametrize("env_id", OBSERVATION_SHAPES)
def test_action_space(env_id: str) -> None:
    space = adapter.make(env_id).action_space
    if env_id in BOX_BOUNDS:
        size, bound = BOX_BOUNDS[env_id]
        assert space == Box((-bound,) * size, (bound,) * size)
    else:
        assert isinstance(space, Discrete)
        assert space.n >= 2


@pytest.mark.parametrize("env_id", OBSERVATION_SHAPES)
def test_only_episodes_of_known_length_cannot_truncate(env_id: str) -> None:
    assert adapter.make(env_id).can_truncate == (env_id not in ALWAYS_TERMINATE)


@pytest.mark.parametrize("env_id", ALWAYS_TERMINATE)
def test_episodes_of_known_length_terminate_there(env_id: str) -> None:
    env, length = adapter.make(env_id), ALWAYS_TERMINATE[env_id]
    _, steps = roll(env, 2 * length)
    assert not steps.truncated.any()
    np.testing.assert_array_equal(np.flatnonzero(steps.terminated) + 1, [length, 2 * length])


def test_a_time_limit_truncates() -> None:
    env = adapter.make("PointRobot-misc")
    assert env.max_episode_length == 100
    _, steps = roll(env, 101)
    assert not steps.terminated.any()
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated) + 1, [100])
    assert (steps.observation[99] != steps.info["final_observation"][99]).any()


@pytest.mark.parametrize("env_id", ALWAYS_TERMINATE)
def test_parameters_decide_whether_an_episode_can_be_cut(env_id: str) -> None:
    env, length = adapter.make(env_id), ALWAYS_TERMINATE[env_id]
    for limit, can_truncate in ((length, False), (length - 1, True)):
        params = env.default_params.replace(max_steps_in_episode=limit)
        assert adapter.from_environment(env.environment, params).can_truncate == can_truncate


def test_a_shorter_time_limit_truncates() -> None:
    import gymnax

    raw, params = gymnax.make("DeepSea-bsuite")
    assert not adapter.from_environment(raw).can_truncate
    shorter = adapter.from_environment(raw, params.replace(max_steps_in_episode=5))
    assert shorter.can_truncate
    _, steps = roll(shorter, 5)
    assert steps.truncated.tolist() == [False] * 4 + [True]


def test_an_environment_of_your_own() -> None:
    import gymnax
    from flax import struct
    from gymnax.environments import environment, spaces

    @struct.dataclass
    class State(gymnax.EnvState):
        secret: jax.Array  # a typed key

    class Own(environment.Environment):
        """Rewards the sum of the action; both flags are set after two steps."""

        def reset_env(self, key: jax.Array, params: Any) -> Any:
            return self.observation(0), State(time=0, secret=key)

        def step_env(self, key: jax.Array, state: State, action: jax.Array, params: Any) -> Any:
            time = state.time + 1
            assert action.shape == (2, 1)
            return (
                self.observation(time),
                State(time=time, secret=key),
                action.sum(),
                time >= 2,
                {"seen": 7, "time": time},
            )

        def observation(self, time: Any) -> Any:
            return {"time": time, "action_mask": jnp.array([1, 0])}

        def action_space(self, params: Any) -> spaces.Box:
            return spaces.Box(-1.0, jnp.array([[1.0], [2.0]]), (2, 1))

        def observation_space(self, params: Any) -> spaces.Dict:
            return spaces.Dict({"time": spaces.Discrete(3), "action_mask": spaces.Box(0, 1, (2,))})

    env = adapter.from_environment(Own(), gymnax.EnvParams(max_steps_in_episode=2))
    assert env.env_id == "Own"
    assert env.action_space == Box((-1.0, -1.0), (1.0, 2.0))
    assert env.can_truncate
    params = env.default_params
    observation, state = env.reset(jax.random.key(0), params)
    step_once = jax.jit(env.step)
    first = step_once(jax.random.key(1), state, jnp.array([9.0, 9.0]), params)
    second = step_once(jax.random.key(2), first.state, jnp.array([-9.0, 0.5]), params)
    assert step_once._cache_size() == 1
    assert types(observation) == {"time": ((), jnp.float32, False), "action_mask": ((2,), jnp.bool, False)}
    assert [first.reward, second.reward] == [3.0, -0.5]
    assert not first.terminated and not first.truncated
    assert second.terminated and not second.truncated
    assert second.observation["time"] == 0
    assert second.info["final_observation"]["time"] == 2
    assert set(second.info) == {"final_observation", "seen", "time"}


def test_an_instance_is_made_once() -> None:
    assert adapter.make("DeepSea-bsuite", size=4) is adapter.make("DeepSea-bsuite", size=4)
    assert adapter.make("DeepSea-bsuite", size=4) is not adapter.make("DeepSea-bsuite")
    assert hash(adapter.make("DiscountingChain-bsuite")) is not None


def test_made_under_a_trace_it_stays_usable() -> None:
    def reset(key: jax.Array) -> Any:
        env = adapter.make("DeepSea-bsuite", size=3)
        return env.reset(key, env.default_params)

    jax.jit(reset)(jax.random.key(0))
    _, steps = roll(adapter.make("DeepSea-bsuite", size=3), 3)
    assert steps.terminated.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("cartpole", "unknown env_id 'cartpole'; nearest: CartPole-v1"),
        ("Breakout-v5", "nearest: Breakout-MinAtar"),
        ("zzz", "`ppo-jax envs` lists all"),
        ("MNISTBandit-bsuite", "downloads"),
        ("proof-countries_s3", "nearest: Proof-countries_s3"),
        ("Proof-countries_s4", "no data set 'countries_s4'"),
    ],
)
def test_ids_that_cannot_be_made(env_id: str, message: str) -> None:
    with pytest.raises(PPOJaxError, match=message):
        adapter.make(env_id)


def test_parameters_and_arguments_of_an_environment() -> None:
    env = adapter.make("CartPole-v1", gravity=3, max_steps_in_episode=20)
    assert (env.default_params.gravity, env.max_episode_length) == (3.0, 20)
    assert type(env.default_params.gravity) is float  # as the parameter is: no program is compiled for an int
    assert adapter.make("CartPole-v1", gravity=3, max_steps_in_episode=20) is env
    sea = adapter.make("DeepSea-bsuite", size=5, unscaled_move_cost=0.5)
    assert (sea.environment.size, sea.default_params.unscaled_move_cost) == (5, 0.5)
    observation, _ = jax.eval_shape(sea.reset, jax.random.key(0), sea.default_params)
    assert observation.shape == (5, 5)


def test_wrong_constructor_arguments_name_the_place() -> None:
    with pytest.raises(PPOJaxError, match="CartPole-v1 has no parameter 'gravty'; did you mean gravity"):
        adapter.make("CartPole-v1", gravty=3)
    with pytest.raises(
        PPOJaxError, match=r"DeepSea-bsuite cannot be made with the env_params \{'size': 'x'\}: TypeError"
    ):
        adapter.make("DeepSea-bsuite", size="x")
    with pytest.raises(PPOJaxError, match=r"task.env_params.gravity: Expected `float`, got `str`"):
        adapter.make("CartPole-v1", gravity="strong")
    with pytest.raises(PPOJaxError, match=r"'Proof-countries_s3' cannot be made with the arguments .*depth"):
        adapter.make("Proof-countries_s3", depth=3)


def test_action_spaces_that_no_policy_serves_are_refused() -> None:
    import gymnax
    from gymnax.environments import spaces

    class TwoActions(type(gymnax.make("CartPole-v1")[0])):  # type: ignore[misc]
        def action_space(self, params: Any = None) -> spaces.Tuple:
            return spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])

    with pytest.raises(PPOJaxError, match="only Discrete and Box"):
        adapter.from_environment(TwoActions())


def test_registered_proof_tasks_step_as_proof_environments_do() -> None:
    import gymnax

    adapter.register_proof_tasks()
    adapter.register_proof_tasks()  # again changes nothing
    assert [env_id for env_id in gymnax.registered_envs if env_id.startswith("Proof")] == PROOF_IDS
    task, params = gymnax.make("Proof-countries_s3", max_atoms=4)
    env = adapter.from_environment(task)
    assert isinstance(task, type(gymnax.make("CartPole-v1")[0]).__mro__[1]) and isinstance(env, ProofEnv)
    assert (task.name, task.num_actions) == ("Proof-countries_s3", env.sizes.n_actions)
    assert task.action_space(params).n == task.num_actions
    boxes = task.observation_space(params).spaces

    step_once = jax.jit(env.step)
    key = jax.random.key(0)
    observation, state = task.reset(key, params)
    jax.tree.map(np.testing.assert_array_equal, (observation, state), jax.jit(env.reset)(key, params))
    n_episodes, rng = 0, np.random.default_rng(0)
    for i in range(30):
        key, before = jax.random.key(i), state
        action = jnp.int32(rng.choice(np.flatnonzero(state.action_mask)))
        observation, state, reward, terminated, truncated, info = task.step(key, state, action)
        assert (info.pop("terminated"), info.pop("truncated")) == (terminated, truncated)
        ours = tuple(step_once(key, before, action, params))
        theirs = (observation, state, reward, terminated, truncated, info)
        jax.tree.map(np.testing.assert_array_equal, theirs, ours)
        assert observation.keys() == boxes.keys()
        for name, leaf in observation.items():
            assert boxes[name].contains(leaf) and (leaf.shape, leaf.dtype) == (boxes[name].shape, boxes[name].dtype)
        n_episodes += int(terminated)
    assert n_episodes > 3


def test_a_proof_task_can_also_step_without_restarting() -> None:
    env = adapter.make("Proof-countries_s3", max_atoms=4)
    task, params = adapter.as_gymnax(env), env.default_params
    _, state = task.reset(jax.random.key(2), params)
    assert not task.is_terminated(state, params)
    end = jnp.int32(task.num_actions - 1)
    observation, last, reward, terminated, info = jax.jit(task.step_env)(jax.random.key(3), state, end, params)
    assert terminated and task.is_terminated(last, params) and not task.is_truncated(last, params)
    assert abs(reward) == 1
    np.testing.assert_array_equal(last.root, state.root)
    np.testing.assert_array_equal(observation["goals"], info["final_observation"]["goals"])
