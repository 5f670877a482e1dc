from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from ppo_jax.ops.distributions import Categorical, DiagonalGaussian, from_outputs
from ppo_jax.types import MultiDiscrete

LOGITS = np.random.default_rng(0).normal(0.0, 2.0, 5).astype(np.float32)
MASKS = np.array([mask for mask in itertools.product([False, True], repeat=5) if any(mask)])  # [31, 5]


def every_mask() -> Categorical:
    return Categorical(jnp.broadcast_to(LOGITS[None], MASKS.shape), jnp.asarray(MASKS))


def test_categorical_against_the_valid_actions_alone() -> None:
    """Every mask over five actions: the same as a softmax that never heard of the invalid ones."""
    policy = every_mask()
    for i, mask in enumerate(MASKS):
        weights = np.exp(LOGITS[mask].astype(np.float64))
        probs = weights / weights.sum()
        np.testing.assert_allclose(np.asarray(policy.log_probs()[i])[mask], np.log(probs), rtol=1e-5, atol=1e-6)
        assert (np.exp(policy.log_probs()[i])[~mask] == 0.0).all()
        np.testing.assert_allclose(policy.entropy()[i], scipy.stats.entropy(probs), rtol=1e-5, atol=1e-6)
        assert policy.mode()[i] == np.flatnonzero(mask)[probs.argmax()]
        np.testing.assert_allclose(policy.max_entropy()[i], math.log(mask.sum()), rtol=1e-6)


def test_categorical_without_a_mask_is_the_full_mask() -> None:
    free, full = Categorical(jnp.asarray(LOGITS)[None]), Categorical(jnp.asarray(LOGITS)[None], jnp.ones((1, 5), bool))
    for name in ("log_probs", "entropy", "mode", "max_entropy"):
        np.testing.assert_allclose(getattr(free, name)(), getattr(full, name)(), rtol=1e-6)


def test_log_prob_picks_the_action() -> None:
    policy = Categorical(jnp.asarray(LOGITS).reshape(1, 1, 5).repeat(3, 1))
    action = jnp.array([[4, 0, 2]])
    np.testing.assert_allclose(policy.log_prob(action)[0], scipy.special.log_softmax(LOGITS)[[4, 0, 2]], rtol=1e-5)


def test_samples_are_valid_and_follow_the_probabilities() -> None:
    policy, n = every_mask(), 4000
    actions = jax.vmap(policy.sample)(jax.random.split(jax.random.key(0), n))  # [n, 31]
    assert actions.dtype == jnp.int32
    counts = np.asarray(jax.nn.one_hot(actions, 5)).sum(0)
    assert (counts[~MASKS] == 0).all()
    # Four standard deviations of a frequency, at most 0.5 / sqrt(n).
    np.testing.assert_allclose(counts / n, np.exp(policy.log_probs()), atol=4 * 0.5 / math.sqrt(n))


def test_samples_stay_valid_where_logits_are_extreme() -> None:
    logits = jnp.array([[1e4, -1e4, 0.0]]).repeat(1000, 0)
    mask = jnp.array([[False, True, True]]).repeat(1000, 0)
    assert (Categorical(logits, mask).sample(jax.random.key(0)) == 2).all()
    forced = Categorical(logits, jnp.array([[False, True, False]]).repeat(1000, 0))
    assert (forced.sample(jax.random.key(0)) == 1).all()
    np.testing.assert_array_equal(forced.entropy(), jnp.zeros(1000))


def test_gradients_are_finite_and_none_reaches_an_invalid_action() -> None:
    def objective(logits: jax.Array) -> jax.Array:
        policy = Categorical(logits, jnp.asarray(MASKS))
        return jnp.sum(policy.entropy()) + jnp.sum(policy.log_prob(policy.mode()))

    for scale in (1.0, 1e4):
        gradient = np.asarray(jax.grad(objective)(scale * every_mask().logits))
        assert np.isfinite(gradient).all()
        assert (gradient[~MASKS] == 0.0).all()
    assert np.abs(jax.grad(objective)(every_mask().logits)).max() > 0.01


@pytest.fixture
def gaussian() -> tuple[DiagonalGaussian, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    mean, log_std = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(0, 0.7, (4, 3)).astype(np.float32)
    return DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_std)), mean, np.exp(log_std)


def test_gaussian_against_scipy(gaussian: tuple[DiagonalGaussian, np.ndarray, np.ndarray]) -> None:
    policy, mean, std = gaussian
    action = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    normal = scipy.stats.norm(mean, std)
    np.testing.assert_allclose(policy.log_prob(jnp.asarray(action)), normal.logpdf(action).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(policy.entropy(), normal.entropy().sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(policy.mode(), mean)
    np.testing.assert_array_equal(policy.max_entropy(), np.zeros(4))


def test_gaussian_samples(gaussian: tuple[DiagonalGaussian, np.ndarray, np.ndarray]) -> None:
    policy, mean, std = gaussian
    samples = np.asarray(jax.vmap(policy.sample)(jax.random.split(jax.random.key(0), 4000)))
    for i, j in np.ndindex(4, 3):
        assert scipy.stats.kstest(samples[:, i, j], scipy.stats.norm(mean[i, j], std[i, j]).cdf).pvalue > 1e-3


class TestMultiCategorical:
    """Several choices at once, against `Categorical` on each by itself."""

    SPACE = MultiDiscrete((2, 4, 3))

    def outputs(self):
        logits = jax.random.normal(jax.random.key(0), (5, 9))
        mask = jax.random.bernoulli(jax.random.key(1), 0.6, (5, 9)).at[:, jnp.array([0, 2, 6])].set(True)
        return logits, mask

    def alone(self, logits, mask):
        return [Categorical(logits[:, i:j], mask[:, i:j]) for i, j in ((0, 2), (2, 6), (6, 9))]

    def test_each_choice_is_a_categorical(self):
        logits, mask = self.outputs()
        found, alone = from_outputs(self.SPACE, logits, mask), self.alone(logits, mask)
        action = found.sample(jax.random.key(2))
        assert action.shape == (5, 3) and action.dtype == jnp.int32
        for name, values in {
            "log_prob": [one.log_prob(action[:, k]) for k, one in enumerate(alone)],
            "entropy": [one.entropy() for one in alone],
            "max_entropy": [one.max_entropy() for one in alone],
        }.items():
            given = (action,) if name == "log_prob" else ()
            np.testing.assert_allclose(getattr(found, name)(*given), sum(values), rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(found.mode(), np.stack([one.mode() for one in alone], axis=1))

    def test_draws_are_valid_and_as_often_as_likely(self):
        logits, mask = (x[:1] for x in self.outputs())
        found = from_outputs(self.SPACE, logits, mask)
        drawn = np.asarray(jax.vmap(found.sample)(jax.random.split(jax.random.key(3), 20_000)))[:, 0]
        for k, one in enumerate(self.alone(logits, mask)):
            shares = np.bincount(drawn[:, k], minlength=one.logits.shape[-1]) / len(drawn)
            np.testing.assert_allclose(shares, np.exp(one.log_probs()[0]), atol=0.015)

    def test_without_a_mask_all_of_a_choice_is_valid(self):
        found = from_outputs(self.SPACE, jnp.zeros((1, 9)))
        np.testing.assert_allclose(found.entropy(), np.log(2) + np.log(4) + np.log(3), rtol=1e-6)
        np.testing.assert_allclose(found.max_entropy(), found.entropy(), rtol=1e-6)
