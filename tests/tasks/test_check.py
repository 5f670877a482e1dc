"""Mistakes in a user's environment: each is one line, before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config import load_config
from ppo_jax.runs.experiment import build
from ppo_jax.runs.runner import train
from ppo_jax.tasks.check import check_draws, check_environment, check_first_observation, odd_images, odd_masks
from ppo_jax.types import Box, Discrete, EnvStep, PPOJaxError
from tests import toys

SEEMS = "seems to have its channels first; jnp.moveaxis(observation, 0, -1) puts them last"


@dataclass(frozen=True)
class Twisted(toys.EndlessReward):
    """An environment that does not keep to the protocol, in the way that `twist` changes a step."""

    twist: Any = None

    def step(self, key, state, action, params):
        return self.twist(super().step(key, state, action, params))


@dataclass(frozen=True)
class Masked(toys.Probe):
    """An environment whose observation is a dict with a mask."""

    mask: Any = (True, True)

    def reset(self, key, params):
        observation, state = super().reset(key, params)
        return {"observation": observation, "action_mask": jnp.asarray(self.mask)}, state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(observation=self.reset(key, params)[0])


@pytest.mark.parametrize(
    ("twist", "line"),
    [
        (
            lambda s: s._replace(observation=jnp.zeros(2)),
            "observation of a step must stay [1] float32 as in reset, got",
        ),
        (
            lambda s: s._replace(observation=jnp.zeros(1, int)),
            "observation of a step must stay [1] float32 as in reset",
        ),
        (lambda s: s._replace(observation={"x": jnp.zeros(1)}), "observation of a step must be built as that of reset"),
        (lambda s: s._replace(state=s.state._replace(time=0.0)), "state.time of a step must stay [] int32 as in reset"),
        (lambda s: s._replace(reward=jnp.zeros(1)), "reward of a step must be one number [], got [1]"),
        (lambda s: s._replace(terminated=jnp.zeros((1,), bool)), "terminated of a step must be one number [], got [1]"),
        (lambda s: s._replace(truncated=0.0), "truncated of a step must be bool, got float32"),
        (lambda s: s._replace(info={}), "can_truncate is true, so info of a step must hold final_observation"),
        (lambda s: s._replace(info=None), "info of a step must be a dict, got NoneType"),
        (lambda s: s[:5], "step must return an EnvStep, (observation, state, reward, terminated, truncated, info)"),
        (lambda s: 1 / 0, "step raised ZeroDivisionError: division by zero (test_check.py:"),
    ],
)
def test_what_does_not_fit_is_one_line(twist, line):
    with pytest.raises(PPOJaxError) as caught:
        check_environment(Twisted(twist=twist), ())
    assert str(caught.value).startswith(f"environment: {line}")
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Observes(toys.Probe):
    """An environment that observes what `what` makes of a key."""

    what: Any = None

    def reset(self, key, params):
        return self.what(key), super().reset(key, params)[1]

    def step(self, key, state, action, params):
        return super().step(key, state, action, params)._replace(observation=self.what(key), info={})


@pytest.mark.parametrize(
    ("observation", "line"),
    [
        (
            {"grid": jnp.ones(3), "mission": "go"},
            "observation['mission'] of reset must be an array of numbers, got str",
        ),
        ({"grid": jnp.ones(3), 1: jnp.ones(2)}, "the keys of an observation must all be strings"),
        ({"grid": jnp.ones((0, 3))}, "observation['grid'] of reset is empty, [0, 3]; leave it out"),
        (({}, None), "the observation of reset holds no array"),
        (jnp.ones(3, complex), "observation of reset must be an array of numbers, got complex64"),
        (jax.random.key(0), "observation of reset must be an array of numbers, got key<fry>"),
        (jnp.array([0.0, jnp.nan]), "observation of reset is not finite (NaN or infinite)"),
        ((jnp.ones(1), {"x": np.array(np.inf)}), "observation[1]['x'] of reset is not finite (NaN or infinite)"),
    ],
)
def test_an_observation_that_no_network_can_read_is_one_line(observation, line):
    with pytest.raises(PPOJaxError) as caught:
        env = Observes(what=lambda key: observation)
        check_environment(env, ())
        check_first_observation(env, ())
    assert str(caught.value) == f"environment: {line}"


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (np.full((8, 8, 3), 255.0), "[8, 8, 3] has values up to 255; divide them by 255, or observe uint8"),
        (np.ones((8, 8, 3), np.uint8), "[8, 8, 3] of uint8 is divided by 255, but has values up to 1; observe bool"),
        (np.ones((3, 20, 20)), "[3, 20, 20] seems to have its channels first; jnp.moveaxis(observation, 0, -1)"),
        (np.ones((1, 8, 8)), "[1, 8, 8] seems to have its channels first; jnp.moveaxis(observation, 0, -1)"),
        (np.full((1, 8, 8), 255, np.uint8), "[1, 8, 8] seems to have its channels first"),
        (np.full((8, 8, 3), 255, np.uint8), None),
        (np.ones((4, 4, 16)), None),
        (np.full(3, 255.0), None),
    ],
)
def test_an_image_that_is_probably_not_meant_so_is_one_line(image, line):
    env = Observes(what=lambda key: {"image": jnp.asarray(image)})
    found = odd_images(env, (), normalized=False)
    if line is None:
        assert found == ()
    else:
        assert len(found) == 1
        assert found[0].startswith(f"environment: the image observation['image'] {line}")
        assert len(odd_images(env, (), normalized=True)) == ("values up to 255" not in line)


@pytest.mark.parametrize(
    ("shape", "line"), [((8, 8, 3), 'is flattened for an MLP; network = "cnn" sees it as an image'), ((1, 8, 8), SEEMS)]
)
def test_an_image_for_an_mlp_is_one_line(shape, line):
    env = Observes(what=lambda key: jnp.full(shape, 255, jnp.uint8))
    assert odd_images(env, (), normalized=False, flattened=True) == (
        f"environment: the image observation {list(shape)} {line}",
    )


def drawn_by_numpy(key):
    return jnp.full(3, np.random.default_rng().random())  # a number of the program, another one when traced again


@pytest.mark.parametrize(
    ("what", "draws"),
    [
        (drawn_by_numpy, True),
        (lambda key: jnp.asarray(np.random.default_rng().random(3)), True),
        (lambda key: jax.random.normal(key, (3,)), False),
        (lambda key: jnp.asarray(np.array([np.nan, 1.0, 2.0])), False),
        (lambda key: jax.jit(lambda: jnp.arange(3.0))(), False),
    ],
)
def test_numbers_that_numpy_draws_are_one_line(what, draws):
    env = Observes(what=what)
    if not draws:
        return check_draws(env, ())
    with pytest.raises(
        PPOJaxError, match=r"^environment: reset draws by np\.random or random, which would be the same"
    ):
        check_draws(env, ())


def test_an_episode_that_is_truncated_where_none_can_be_is_one_line(tmp_path):
    class Cut(Observes):
        def step(self, key, state, action, params):
            taken = super().step(key, state, action, params)
            return taken._replace(terminated=taken.truncated, truncated=jnp.bool_(True))

    env = Cut(what=lambda key: jnp.ones(3))
    config = load_config(
        "cartpole", {"n_envs": 4, "n_steps": 8, "batch_size": 32, "total_timesteps": 64, "eval_interval": 1}
    )
    line = r"update 1: an episode was truncated, and the environment's can_truncate is False; set it True"
    with pytest.raises(PPOJaxError, match=line):
        train(config, tmp_path / "run", progress=False, build=partial(build, env=env))


@pytest.mark.parametrize(
    ("observation", "names"),
    [
        ({"x": jnp.ones(3), "mask": jnp.ones(2, bool)}, ["mask"]),
        ({"legal_actions": jnp.ones(2, bool), "valid": jnp.ones(2, bool)}, ["legal_actions", "valid"]),
        ({"x": jnp.ones(3), "mask": jnp.ones(2, bool), "action_mask": jnp.ones(2, bool)}, []),
        ({"mask": jnp.ones(2)}, []),
        ({"mask": jnp.ones(3, bool)}, []),
        ({"doors": jnp.ones(2, bool)}, []),
        (jnp.ones(2, bool), []),
    ],
)
def test_a_mask_under_another_name_is_one_line(observation, names):
    found = odd_masks(Observes(what=lambda key: observation), ())
    assert [line.partition(" seems to say which actions are allowed")[0] for line in found] == [
        f"environment: observation[{name!r}]" for name in names
    ]


def test_a_run_warns_of_a_mask_that_it_does_not_heed():
    env = Observes(what=lambda key: {"x": jnp.ones(3), "mask": jnp.ones(2, bool)})
    config = load_config("cartpole", {"n_envs": 4, "n_steps": 8, "batch_size": 32})
    assert "call it action_mask" in " ".join(build(config, env=env).warnings)


def test_a_run_warns_of_its_images():
    env = Observes(what=lambda key: jnp.full((3, 4, 1), 200.0))
    config = load_config("cartpole", {"n_envs": 4, "n_steps": 8, "batch_size": 32, "normalize_observations": False})
    assert "[3, 4, 1] has values up to 200; divide" in " ".join(build(config, env=env).warnings)
    assert build(config.override({"normalize_observations": True}), env=env).warnings == ()


def test_numbers_of_double_precision_are_taken():
    env = Observes(what=lambda key: {"x": np.ones(3), "n": 3})
    check_environment(env, ())
    check_first_observation(env, ())


def test_an_environment_needs_a_hash():
    with pytest.raises(PPOJaxError, match=r"environment: unhashable type: 'list', .*; make it @dataclass"):
        check_environment(Observes(what=[1]), ())


@pytest.mark.parametrize(
    ("reset", "line"),
    [
        (lambda self, key, params: jnp.zeros(1), "reset must return (observation, state), got "),
        (
            lambda self, key, params: (jnp.ones(1), {}),
            "reset must return (observation, state), not Gymnasium's info {}; step raised AttributeError",
        ),
        (lambda self: jnp.zeros(1), "reset must take (key, params), not ()"),
        (lambda self, *, seed=None: 0, "reset must take (key, params), not (*, seed=None)"),
    ],
)
def test_reset_takes_a_key_and_params_and_returns_a_pair(reset, line):
    class Own(Twisted):
        pass

    reset.__name__ = "reset"
    Own.reset = reset
    with pytest.raises(PPOJaxError) as caught:
        check_environment(Own(twist=lambda step: step), ())
    assert str(caught.value).startswith(f"environment: {line}")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Discrete("2"), "Discrete(n): n must be a whole number of actions, got '2'"),
        (lambda: Discrete(0), "Discrete(n): n must be a whole number of actions, got 0"),
        (lambda: Box(-1.0, 1.0), "a tuple each with a bound for each number, as (-1.0,), (1.0,); got -1.0, 1.0"),
        (lambda: Box((-1.0,), (1.0, 2.0)), "got (-1.0,), (1.0, 2.0)"),
    ],
)
def test_a_space_that_is_none_says_so_where_it_is_made(make, told):
    with pytest.raises(PPOJaxError) as caught:
        make()
    assert str(caught.value).endswith(told)


@pytest.mark.parametrize(
    ("space", "found"), [(type("Discrete", (), {})(), f"{__name__}.Discrete"), (3, "3"), (None, "None")]
)
def test_actions_are_of_a_space_of_ours(space, found):
    with pytest.raises(PPOJaxError) as caught:
        check_environment(toys.Probe(action_space=space), ())
    assert str(caught.value) == (
        "environment: action_space must be ppo_jax.Discrete(n), MultiDiscrete((n, m)) or Box(low, high), got " + found
    )


@pytest.mark.parametrize(
    ("mask", "found"),
    [((True,), "[1] bool"), (True, "[] bool"), ((True, True, False), "[3] bool"), ((1, 1), "[2] int32")],
)
def test_a_mask_is_as_long_as_there_are_actions(mask, found):
    with pytest.raises(PPOJaxError) as caught:
        check_environment(Masked(mask=mask), ())
    assert str(caught.value) == f"environment: action_mask must be [2] bool for Discrete(2), got {found}"


def test_masks_are_for_discrete_actions():
    with pytest.raises(PPOJaxError, match="action_mask is for Discrete actions"):
        check_environment(Masked(action_space=toys.ONE_NUMBER), ())


@pytest.mark.parametrize(
    "env", [toys.Walk(), toys.EndlessReward(), toys.TargetReward(), Masked(), toys.RememberedSign()]
)
def test_what_keeps_to_the_protocol_passes(env):
    check_environment(env, env.default_params)


def test_params_are_those_that_are_trained_with():
    @dataclass(frozen=True)
    class Sized(toys.Probe):
        def start(self, key):
            return jnp.zeros(1) + jax.tree.leaves(self.default_params)[0]

    check_environment(replace(Sized(), default_params=1.0), jnp.float32(1))
    assert EnvStep._fields[0] == "observation"
