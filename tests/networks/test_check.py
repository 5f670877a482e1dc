"""Mistakes in a network of your own: each is one line, before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from ppo_jax.config import load_config
from ppo_jax.networks import cpu
from ppo_jax.networks.check import check_network, convolves
from ppo_jax.networks.conv import ConvActorCritic
from ppo_jax.networks.cpu import ColumnMLPActorCritic
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.networks.recurrent import RecurrentActorCritic
from ppo_jax.ops.distributions import Categorical, DiagonalGaussian
from ppo_jax.runs.experiment import build
from ppo_jax.types import Box, Discrete, PPOJaxError

BOX = Box((-1.0, -1.0), (1.0, 1.0))


@dataclass(frozen=True)
class Room:
    """An environment of which only the first observation is asked for."""

    action_space: Any = field(default=Discrete(2))
    shape: tuple[int, ...] = (5,)
    default_params: Any = field(default=1.0)

    def reset(self, key, params):
        observation = params * jax.random.normal(key, self.shape)
        return observation, observation


def said(network, env=None):
    env = Room() if env is None else env
    with pytest.raises(PPOJaxError) as error:
        check_network(network, env, env.default_params)
    assert "\n" not in str(error.value)
    return str(error.value)


class Wrong(nn.Module):
    """A network whose output is what `output` makes of a layer's [n, 2] and a value [n]."""

    output: Any
    size: int = 2

    @nn.compact
    def __call__(self, x):
        return self.output(nn.Dense(self.size)(x), nn.Dense(1)(x)[:, 0])


class Remembering(Wrong):
    before: Any = staticmethod(lambda n: jnp.zeros((n, 4)))

    @nn.nowrap
    def initial_carry(self, n):
        return self.before(n)

    @nn.compact
    def __call__(self, x, carry, start):
        return self.output(Categorical(nn.Dense(2)(x)), nn.Dense(1)(x)[:, 0], carry)


@pytest.mark.parametrize("space", [Discrete(2), Discrete(3), BOX])
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLPActorCritic, (5,)),
        (ColumnMLPActorCritic, (5,)),
        (ConvActorCritic, (4, 4, 2)),
        (RecurrentActorCritic, (5,)),
        (lambda space: RecurrentActorCritic(space, "lstm", encoder="cnn", separate_critic=False), (4, 4, 2)),
    ],
)
def test_our_own_networks_pass(network, space, shape):
    env = Room(space, shape)
    check_network(network(space), env, env.default_params)


def test_nothing_is_compiled(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("compiled")

    monkeypatch.setattr(jax._src.compiler, "compile_or_get_cached", refuse)
    jax.clear_caches()
    check_network(MLPActorCritic(Discrete(2)), Room(), 1.0)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (lambda y, v: (Categorical(y), v[:, None]), "value must be [n], got [n, 1]"),
        (lambda y, v: (Categorical(y), v.sum()), "value must be [n], got []"),
        (lambda y, v: (Categorical(y), v.astype(jnp.int32)), "value must be floating point, got int32"),
        (
            lambda y, v: (Categorical(jnp.tile(y, (1, 2))[:, :3]), v),
            "logits must be [n, 2] for Discrete(2), got [n, 3]",
        ),
        (lambda y, v: (Categorical(y.T), v), "logits must be [n, 2] for Discrete(2), got [2, 3]"),
        (
            lambda y, v: (Categorical(y, jnp.ones((len(y), 1), bool)), v),
            "mask must be [n, 2] for Discrete(2), got [n, 1]",
        ),
        (
            lambda y, v: (DiagonalGaussian(y, y), v),
            "the actions are Discrete(2), which need a Categorical, got a DiagonalGaussian",
        ),
        (lambda y, v: (y, v), "must return (distribution, value), got ([n, 2], [n])"),
        (lambda y, v: (v, Categorical(y)), "must return (distribution, value), got ([n], Categorical)"),
        (lambda y, v: Categorical(y), "must return (distribution, value), got Categorical"),
        (lambda y, v: (Categorical(y), v, v), "must return (distribution, value), got (Categorical, [n], [n])"),
        (lambda y, v: (Categorical(y), None), "must return (distribution, value), got (Categorical, None)"),
        (lambda y, v: None, "must return (distribution, value), got None"),
    ],
)
def test_what_does_not_fit_is_told_with_both_shapes(output, line):
    assert said(Wrong(output)) == f"network: {line}"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (lambda y, v: (DiagonalGaussian(y[:, :1], y), v), "mean must be [n, 2] for a Box of 2, got [n, 1]"),
        (lambda y, v: (DiagonalGaussian(y, y[0]), v), "log_std must be [n, 2] for a Box of 2, got [2]"),
        (
            lambda y, v: (Categorical(y), v),
            "the actions are a Box of 2, which need a DiagonalGaussian, got a Categorical",
        ),
    ],
)
def test_a_box_needs_its_size(output, line):
    assert said(Wrong(output), Room(BOX)) == f"network: {line}"


@dataclass(frozen=True)
class Own:
    """Not one of ours, so it is known by what it samples."""

    logits: Any
    wide: bool = False

    def sample(self, key):
        return Categorical(self.logits).sample(key)[:, None] if self.wide else Categorical(self.logits).sample(key)

    def mode(self):
        return Categorical(self.logits).mode()

    def log_prob(self, action):
        return Categorical(self.logits).log_prob(action)

    def entropy(self):
        return Categorical(self.logits).entropy()

    def max_entropy(self):
        return Categorical(self.logits).max_entropy().mean()


def test_a_distribution_of_ones_own_is_judged_by_its_samples():
    line = "network: sampled actions must be [n] for Discrete(2), got [n, 1]"
    assert said(Wrong(lambda y, v: (Own(y, wide=True), v))) == line
    seven = Wrong(lambda y, v: (Own(jnp.tile(y, (1, 4))[:, :7]), v))
    assert said(seven) == "network: logits must be [n, 2] for Discrete(2), got [n, 7]"
    assert said(Wrong(lambda y, v: (Own(y), v))) == "network: max_entropy of the distribution must be [n], got []"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (lambda d, v, c: (d, v), "must return (distribution, value, carry), got (Categorical, [n])"),
        (
            lambda d, v, c: (d, v, (c, c)),
            "the carry it returns must be built like initial_carry(n), [n, 4], got ([n, 4], [n, 4])",
        ),
        (lambda d, v, c: (d, v, c[:, :3]), "carry must stay [n, 4] float32, got [n, 3] float32"),
        (lambda d, v, c: (d, v, c.astype(jnp.bfloat16)), "carry must stay [n, 4] float32, got [n, 4] bfloat16"),
    ],
)
def test_a_carry_comes_back_as_it_went_in(output, line):
    assert said(Remembering(output)) == f"network: {line}"


def test_an_initial_carry_has_a_row_for_each_episode():
    network = Remembering(lambda *output: output, before=lambda n: {"h": jnp.zeros(4)})
    assert said(network) == "network: initial_carry(n) must hold arrays [n, ...], got {h: [4]}"


class Broken(nn.Module):
    hint: str = "first line"

    @nn.compact
    def __call__(self, x):
        raise ValueError(f"{self.hint}\nsecond line")


class Mismatched(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x @ jnp.ones((7, 2)), x


def test_what_the_network_raises_is_one_line_with_its_place():
    assert said(Broken()).startswith("network: init raised ValueError: first line (test_check.py:")
    line = said(Mismatched())
    assert line.startswith("network: init raised TypeError: dot_general requires contracting dimensions")
    assert "(test_check.py:" in line
    assert said(ConvActorCritic(Discrete(2))).startswith("network 'cnn' needs observations")
    assert said(Wrong(3)).startswith("network: init raised TypeError: 'int' object is not callable (test_check.py:")


class Convolving(nn.Module):
    convolution: Any = jax.lax.conv_general_dilated
    n: int = 2  # actions

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), conv_general_dilated=self.convolution)(x).reshape(len(x), -1)
        return Categorical(nn.Dense(self.n)(x)), nn.Dense(1)(x)[:, 0]


def test_a_convolution_by_xla_is_found_and_ours_is_none():
    room = Room(shape=(5, 5, 2))
    assert convolves(Convolving(), room, 1.0)
    assert not convolves(Convolving(cpu.convolution), room, 1.0)
    assert not convolves(RecurrentActorCritic(Discrete(2)), Room(), 1.0)


def test_a_slow_convolution_is_a_warning_on_a_cpu_alone(monkeypatch):
    config = load_config("breakout")
    own, quick = (build(config, network=Convolving(one, 3)) for one in (jax.lax.conv_general_dilated, cpu.convolution))
    assert [line[:8] for line in own.warnings] == ["network:"] and quick.warnings == ()
    assert build(config.override(["network=cnn"])).warnings == ()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert own.warnings == ()


def test_what_is_no_module_is_refused():
    assert said(lambda x: x) == "network: must be a flax.linen module, got function without init()"


def test_an_error_of_the_environment_is_not_the_networks():
    class Faulty(Room):
        def reset(self, key, params):
            raise ZeroDivisionError("of the environment")

    with pytest.raises(ZeroDivisionError, match="of the environment"):
        check_network(MLPActorCritic(Discrete(2)), Faulty(), 1.0)


def test_a_convolution_of_a_series_or_in_a_scan_is_told_apart():
    @dataclass(frozen=True)
    class Scanned:
        axes: int

        def init(self, key, x):
            kernel = jnp.ones((1,) * self.axes + (2, 2))
            numbers = ("NHWC", "HWIO", "NHWC") if self.axes == 2 else ("NHC", "HIO", "NHC")
            convolve = partial(jax.lax.conv_general_dilated, dimension_numbers=numbers, padding="SAME")
            return jax.lax.scan(lambda x, _: (convolve(x, kernel, (1,) * self.axes), None), x, None, length=2)

    assert convolves(Scanned(2), Room(shape=(5, 5, 2)), 1.0)
    assert not convolves(Scanned(1), Room(shape=(5, 2)), 1.0)
