from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_jax.config import SCHEDULE_SHAPES, Config, KLAdaptive, Schedule, TaskConfig
from ppo_jax.ops import schedules
from ppo_jax.types import PPOJaxError

INIT, FINAL = 3e-4, 1e-5
# At a quarter of the way, by hand: what the formulas of `schedules.value` say with u = 1/4.
QUARTER = {
    "constant": INIT,
    "linear": FINAL + (INIT - FINAL) * 0.75,
    "cosine": FINAL + (INIT - FINAL) * (1 + math.sqrt(0.5)) / 2,
    "exponential": INIT * (FINAL / INIT) ** 0.25,
}


def schedule(shape: str, **changes: float) -> Schedule:
    return Schedule(**{"init": INIT, "final": FINAL, "shape": shape} | changes)


def value(of: Schedule, progress: float) -> float:
    return float(jax.jit(schedules.value)(of, jnp.asarray(progress, jnp.float32)))


@pytest.mark.parametrize("shape", SCHEDULE_SHAPES)
def test_formulas(shape: str) -> None:
    assert value(schedule(shape), 0.0) == np.float32(INIT)  # exactly
    assert value(schedule(shape), 0.25) == pytest.approx(QUARTER[shape], rel=1e-5)
    assert value(schedule(shape), 1.0) == pytest.approx(INIT if shape == "constant" else FINAL, rel=1e-4)


@pytest.mark.parametrize("shape", SCHEDULE_SHAPES)
def test_the_change_lies_between_start_and_end(shape: str) -> None:
    window = schedule(shape, start=0.4, end=0.8)
    assert value(window, 0.0) == value(window, 0.4) == np.float32(INIT)
    assert value(window, 0.5) == pytest.approx(QUARTER[shape], rel=1e-5)
    assert value(window, 0.8) == value(window, 1.0) == pytest.approx(value(schedule(shape), 1.0), rel=1e-6)


def test_warmup_rises_linearly_from_zero_and_multiplies() -> None:
    warm = schedule("linear", warmup=0.2)
    assert value(warm, 0.0) == 0.0
    assert value(warm, 0.05) == pytest.approx(value(schedule("linear"), 0.05) / 4, rel=1e-5)
    assert value(warm, 0.2) == value(schedule("linear"), 0.2)


def test_warmup_counts_the_update_at_hand() -> None:
    warm = schedule("constant", warmup=0.2)
    levels = [float(schedules.value(warm, jnp.float32(done), jnp.float32(0.05))) for done in (0.0, 0.05, 0.15, 0.2)]
    np.testing.assert_allclose(levels, [INIT / 4, INIT / 2, INIT, INIT], rtol=1e-5)


@given(st.sampled_from(SCHEDULE_SHAPES), st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_monotone_within_its_ends(shape: str, earlier: float, later: float) -> None:
    earlier, later = sorted((earlier, later))
    tolerance = 1e-9
    assert FINAL - tolerance <= value(schedule(shape), later) <= value(schedule(shape), earlier) + tolerance
    assert value(schedule(shape), earlier) <= INIT + tolerance


@pytest.mark.parametrize("shape", SCHEDULE_SHAPES)
def test_zero_ends_are_finite(shape: str) -> None:
    for ends in ({"final": 0.0}, {"init": 0.0}, {"init": 0.0, "final": 0.0}):
        for progress in (0.0, 0.5, 1.0):
            assert math.isfinite(value(schedule(shape, **ends), progress))


def test_a_constant_stays() -> None:
    assert value(schedules.constant(0.2), 0.7) == np.float32(0.2)


def test_numbers_are_traced_and_the_shape_is_static() -> None:
    together = Schedule(init=jnp.array([INIT, 2 * INIT]), final=0.0, shape="linear")
    axes = Schedule(init=0, final=None, shape="linear", start=None, end=None, warmup=None)
    values = jax.vmap(schedules.value, (axes, None))(together, jnp.asarray(0.25))
    np.testing.assert_allclose(values, [0.75 * INIT, 1.5 * INIT], rtol=1e-5)
    with pytest.raises(ValueError, match="unknown shape of a schedule: 'logarithmic'"):
        schedules.value(Schedule(INIT, FINAL, "logarithmic"), jnp.asarray(0.0))


def test_the_critic_follows_the_learning_rate_unless_it_has_its_own() -> None:
    hyperparams = Config(task=TaskConfig(env_id="CartPole-v1")).hyperparams
    assert hyperparams.critic_learning_rate is None
    replaced = hyperparams._replace(learning_rate=schedules.constant(0.5))
    scheduled = schedules.scheduled(replaced, jnp.zeros((), jnp.int32), 128)
    assert scheduled["critic_learning_rate"] == scheduled["learning_rate"] == 0.5
    own = replaced._replace(critic_learning_rate=schedules.constant(0.25))
    assert schedules.scheduled(own, jnp.zeros((), jnp.int32), 128)["critic_learning_rate"] == 0.25


def oracle(of: Schedule, step: int, n_updates: int) -> float:
    """The formulas of `schedules.value` in float64."""
    progress, share = step / n_updates, 1 / n_updates
    u = min(max((progress - of.start) / (of.end - of.start), 0.0), 1.0)
    levels = {
        "constant": of.init,
        "linear": of.final + (of.init - of.final) * (1 - u),
        "cosine": of.final + (of.init - of.final) * (1 + math.cos(math.pi * u)) / 2,
        "exponential": of.init * (of.final / of.init) ** u,
    }
    return levels[of.shape] * (min((progress + share) / of.warmup, 1.0) if of.warmup else 1.0)


@pytest.mark.parametrize("shape", SCHEDULE_SHAPES)
@pytest.mark.parametrize("window", [{}, {"start": 0.25, "end": 0.75, "warmup": 0.125}], ids=["", "window"])
@pytest.mark.parametrize("n_updates", [10**8, 2**31 - 1])
def test_schedules_of_a_hundred_million_updates_and_more(shape: str, window: dict[str, float], n_updates: int) -> None:
    """3.2e10 environment steps and more, which no int32 holds: within a ten-millionth or so of training of float64."""
    of, rollout_size = schedule(shape, **window), 320
    hyperparams = Config(task=TaskConfig(env_id="CartPole-v1")).hyperparams._replace(
        learning_rate=of, total_timesteps=float(n_updates * rollout_size)
    )
    shares = (0, 1e-6, 0.1, 0.25, 0.250001, 0.5, 0.749999, 0.9, 1)
    steps = sorted({min(int(share * n_updates) + more, n_updates - 1) for share in shares for more in (0, 1, 2)})
    function = jax.jit(jax.vmap(lambda step: schedules.scheduled(hyperparams, step, rollout_size)["learning_rate"]))
    found = function(jnp.asarray(steps, jnp.int32))
    want = [oracle(of, step, n_updates) for step in steps]
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6 * INIT)
    assert found.min() >= 0.0


def test_a_number_is_a_constant_schedule_and_the_critic_follows_what_is_replaced() -> None:
    hp = Config(TaskConfig("CartPole-v1")).hyperparams

    def rates(**changes: object) -> list[float]:
        values = schedules.scheduled(hp._replace(**changes), jnp.int32(3), 128)
        return [float(values[name]) for name in ("learning_rate", "critic_learning_rate", "clip_range")]

    for rate in (0.25, jnp.array(0.25), np.float64(0.25), schedules.constant(0.25)):
        assert rates(learning_rate=rate, clip_range=0.5) == [0.25, 0.25, 0.5]
    assert rates(learning_rate=0.25, critic_learning_rate=0.5)[:2] == [0.25, 0.5]
    each = jax.vmap(lambda x: schedules.scheduled(hp._replace(learning_rate=x), jnp.int32(3), 128))(jnp.arange(3.0))
    assert each["critic_learning_rate"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "setting", "found"),
    [
        ("learning_rate", jnp.zeros(2), r"\[2\]"),
        ("ent_coef", schedules.constant(jnp.zeros((2, 3))), r"\[2, 3\]"),
        ("gamma", jnp.zeros(2), r"\[2\]"),
        ("clip_range", [0.1, 0.2], "list"),
        ("clip_range", None, "NoneType"),
    ],
)
def test_what_is_not_one_number_is_refused(name: str, setting: object, found: str) -> None:
    hp = Config(TaskConfig("CartPole-v1")).hyperparams._replace(**{name: setting})
    with pytest.raises(PPOJaxError, match=rf"hyperparams.{name}: must be one number \[\], got {found}; .* jax.vmap"):
        schedules.scheduled(hp, jnp.int32(0), 128)


UP = 1.5


@pytest.mark.parametrize(
    ("init", "moves"),
    [
        # Within half and twice the desired 0.01 a rate stays, and so it does where KL says nothing.
        (3e-4, [(0.0, 1), (math.nan, 1), (0.0051, 1), (0.0199, 1), (0.0049, UP), (0.0201, 1), (math.inf, 1 / UP)]),
        (8e-3, [(1e-4, 1.25), (1e-4, 1.25)]),  # no further than 1e-2
        (1.2e-5, [(1.0, 1 / 1.2), (1.0, 1 / 1.2)]),  # nor below 1e-5
    ],
)
def test_a_rate_follows_kl_as_by_hand(init: float, moves: list[tuple[float, float]]) -> None:
    hp = Config(TaskConfig("CartPole-v1")).hyperparams._replace(learning_rate=KLAdaptive(init, 0.01))
    for step, (kl, expected) in enumerate(moves):
        hp = schedules.adapt(hp, jnp.float32(kl))
        rates = schedules.scheduled(hp, jnp.int32(step), 128)
        assert rates["learning_rate"] == rates["critic_learning_rate"] == pytest.approx(init * expected, rel=1e-6)


def test_kl_moves_no_other_setting() -> None:
    hp = Config(TaskConfig("CartPole-v1")).hyperparams
    assert schedules.adapt(hp, jnp.float32(1.0)) == hp
    hp = hp._replace(clip_range=KLAdaptive(0.2, 0.01))
    with pytest.raises(PPOJaxError, match=r"hyperparams.clip_range: learning rates alone follow the KL"):
        schedules.scheduled(hp, jnp.int32(0), 128)
