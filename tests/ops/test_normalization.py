from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.ops import normalization

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_moments_are_those_of_all_batches_together(shape: tuple[int, ...]) -> None:
    batches = [RNG.normal(5.0, 3.0, (n, 2, *shape)).astype(np.float32) for n in (1, 7, 20)]
    moments = normalization.initial_moments(shape)
    for batch in batches:
        moments = normalization.update_moments(moments, jnp.asarray(batch))
    everything = np.concatenate(batches)
    np.testing.assert_allclose(moments.mean, everything.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(moments.var, everything.var((0, 1)), rtol=1e-5)
    assert moments.seen == 28 * 2


def test_small_variance_far_from_zero_survives() -> None:
    moments = normalization.initial_moments()
    batches = [(1000.0 + RNG.normal(0.0, 0.5, 64)).astype(np.float32) for _ in range(10)]
    for batch in batches:
        moments = normalization.update_moments(moments, jnp.asarray(batch))
    np.testing.assert_allclose(moments.var, np.concatenate(batches).astype(np.float64).var(), rtol=1e-3)


def oracle(mean: float, var: float, seen: float, batches: np.ndarray) -> tuple[float, float, float]:
    """Moments after `batches` [k, n], in float64."""
    sums = np.array([mean * seen, (var + mean**2) * seen], np.float64)
    x = batches.astype(np.float64)
    first, second = (sums[0] + x.sum()) / (seen + x.size), (sums[1] + (x**2).sum()) / (seen + x.size)
    return first, second - first**2, seen + x.size


def merge(moments: normalization.RunningMoments, batches: np.ndarray, how: str) -> normalization.RunningMoments:
    """All batches [k, n], compiled as in a run or step by step."""
    if how == "compiled":
        step = lambda now, batch: (normalization.update_moments(now, batch), None)  # noqa: E731
        return jax.jit(lambda now: jax.lax.scan(step, now, batches)[0])(moments)
    for batch in batches:
        moments = normalization.update_moments(moments, jnp.asarray(batch))
    return moments


@pytest.mark.parametrize("mean", [0.0, 0.5, 100.0])
def test_moments_still_move_after_two_billion_samples(mean: float) -> None:
    seen = 2.0**31
    start = normalization.initial_moments()._replace(mean=jnp.float32(mean), seen=jnp.float32(seen))
    batches = (mean + 1.0 + RNG.normal(0.0, 2.0, (20_000, 33))).astype(np.float32)
    want = oracle(mean, 1.0, seen, batches)
    found = merge(start, batches, "compiled")
    exact = [np.float64(a) + np.float64(b) for a, b in zip(found, found.rest, strict=False)]
    assert exact[2] == want[2]  # float32 alone has steps of 256 here
    assert exact[0] - mean == pytest.approx(want[0] - mean, rel=1e-4)
    assert exact[1] - 1.0 == pytest.approx(want[1] - 1.0, rel=1e-3)


@pytest.mark.parametrize("how", ["compiled", "step by step"])
def test_a_large_offset_costs_no_digits(how: str) -> None:
    """Observations of 10^6 ± 1, which float32 knows to 1/16, drift by a fraction of that in each batch."""
    drift = np.linspace(0.0, 1.0, 200)[:, None]
    batches = (1e6 + drift + RNG.uniform(-1.0, 1.0, (200, 64))).astype(np.float32)
    want_mean, want_var, _ = oracle(0.0, 1.0, 0.0, batches - np.float32(1e6))
    found = merge(normalization.initial_moments(), batches, how)
    mean = np.float64(found.mean) - 1e6 + np.float64(found.rest.mean)
    assert mean == pytest.approx(want_mean, abs=1e-4)
    assert found.var == pytest.approx(want_var, rel=1e-4)
    scaled = normalization.normalize_observation(normalization.rounded(found), jnp.asarray(batches))
    expected = (batches.astype(np.float64) - 1e6 - want_mean) / np.sqrt(want_var)
    np.testing.assert_allclose(scaled, expected, atol=1 / 16 / np.sqrt(want_var))


def test_a_tiny_spread_is_seen_from_the_first_batch_on() -> None:
    batch = (RNG.normal(0.0, 1e-3, 64)).astype(np.float32)
    found = normalization.update_moments(normalization.initial_moments(), jnp.asarray(batch))
    assert found.var == pytest.approx(batch.astype(np.float64).var(), rel=1e-5)


def test_observations_have_mean_zero_and_variance_one() -> None:
    observation = {"a": RNG.normal(7.0, 2.0, (10, 4, 3)).astype(np.float32), "b": np.ones((10, 4), np.float32)}
    moments = normalization.observation_moments(jax.tree.map(lambda x: x[0], observation))
    unseen = normalization.normalize_observation(moments, observation)
    np.testing.assert_array_equal(unseen["b"], observation["b"])
    normalized = normalization.normalize_observation(
        normalization.update_observation_moments(moments, observation), observation
    )
    np.testing.assert_allclose(normalized["a"].mean((0, 1)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(normalized["a"].std((0, 1)), np.ones(3), rtol=1e-4)
    np.testing.assert_array_equal(normalized["b"], np.zeros((10, 4)))


def test_observations_are_clipped_at_ten() -> None:
    moments = normalization.Moments(jnp.zeros(2), jnp.ones(2), jnp.ones(()))
    normalized = normalization.normalize_observation(moments, jnp.array([[30.0, -30.0]]))
    np.testing.assert_array_equal(normalized, [[10.0, -10.0]])


def test_masks_and_indices_are_left_alone() -> None:
    observation: dict[str, Any] = {
        "x": jnp.full((4, 3), 5.0),
        "action_mask": jnp.array([[True, False]] * 4),
        "constants": jnp.arange(8).reshape(4, 2),
    }
    moments = normalization.update_observation_moments(normalization.observation_moments(observation), observation)
    normalized = normalization.normalize_observation(moments, observation)
    np.testing.assert_array_equal(normalized["x"], jnp.zeros((4, 3)))
    for name in ("action_mask", "constants"):
        assert normalized[name].dtype == observation[name].dtype
        np.testing.assert_array_equal(normalized[name], observation[name])


def test_nothing_is_normalised_without_moments() -> None:
    observation = {"x": jnp.ones((2, 3))}
    assert normalization.normalize_observation((), observation) is observation


def test_denormalize_inverts() -> None:
    returns = jnp.asarray(RNG.normal(-20.0, 8.0, 50), jnp.float32)
    moments = normalization.update_moments(normalization.initial_moments(), returns)
    targets = (returns - moments.mean) / jnp.sqrt(moments.var)
    np.testing.assert_allclose(normalization.denormalize(moments, targets), returns, rtol=1e-5)


def test_rewards_are_divided_by_the_std_of_their_discounted_sums() -> None:
    gamma = 0.9
    rewards = RNG.normal(3.0, 20.0, (12, 2)).astype(np.float32)
    done = RNG.random((12, 2)) < 0.3
    moments, running = normalization.initial_moments(), jnp.zeros(2)
    scales = []
    for rows in (slice(0, 5), slice(5, 12)):
        moments, running, scaled, scale = normalization.scale_rewards(
            moments, running, jnp.asarray(rewards[rows]), jnp.asarray(done[rows]), jnp.asarray(gamma)
        )
        np.testing.assert_allclose(scaled, np.clip(rewards[rows] / scale, -10, 10), rtol=1e-5)
        scales.append(scale)

    sums, total = [], np.zeros(2)
    for reward, ended in zip(rewards, done, strict=True):
        total = gamma * total + reward
        sums.append(total)
        total = np.where(ended, 0.0, total)
    # The sum runs on from one rollout to the next, and the divisor knows the rollout it divides.
    np.testing.assert_allclose(running, total, rtol=1e-5)
    np.testing.assert_allclose(scales, [np.std(sums[:5]), np.std(sums)], rtol=1e-5)


def test_scaled_rewards_are_clipped_at_ten() -> None:
    rewards = jnp.zeros((1000, 1)).at[500, 0].set(1.0)
    _, _, scaled, _ = normalization.scale_rewards(
        normalization.initial_moments(), jnp.zeros(1), rewards, jnp.ones((1000, 1), bool), jnp.asarray(0.9)
    )
    assert scaled.max() == 10.0
