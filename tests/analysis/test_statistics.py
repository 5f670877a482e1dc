"""Statistics over seeds: against numbers worked out by hand, brute force, and SciPy's own test."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ppo_jax.analysis.statistics import (
    holm,
    improvement_interval,
    improvement_p_value,
    interquartile_mean,
    iqm_interval,
    probability_of_improvement,
)

scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=7)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([0.0, 1.0, 5.0], 2.0),  # fewer than four: none is left out
        ([-100.0, 1.0, 2.0, 100.0], 1.5),
        ([9.0, 0.0, 2.0, 4.0, 1.0], 7 / 3),  # five: int(1.25) = 1 off each end
        ([[-9.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 99.0]], 3.5),  # both tasks pooled: two off each end
    ],
)
def test_interquartile_mean_by_hand(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


@given(scores, scores)
def test_probability_of_improvement_counts_pairs(x, y):
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(pairs))
    assert probability_of_improvement(x, y) == pytest.approx(1.0 - probability_of_improvement(y, x))


def test_probability_of_improvement_is_mann_whitneys_u():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=9), rng.normal(0.5, size=6)
    assert probability_of_improvement(x, y) == pytest.approx(stats.mannwhitneyu(x, y).statistic / 54)


def test_interval_against_every_resample():
    """Three seeds have 27 equally likely resamples: the bootstrap's quantiles are those of their means."""
    values = [0.0, 1.0, 4.0]
    means = [np.mean(drawn) for drawn in itertools.product(values, repeat=3)]
    estimate = iqm_interval([values], confidence=0.6, resamples=20_000)
    assert estimate.value == pytest.approx(5 / 3)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(means, [0.2, 0.8])))


def test_seeds_are_redrawn_within_their_task():
    """Two tasks without spread: a resample that mixed them would vary, one within them cannot."""
    estimate = iqm_interval([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert estimate[:3] == (0.5, 0.5, 0.5)
    assert iqm_interval([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]).low < 0.4


def test_improvement_is_averaged_over_tasks():
    estimate = improvement_interval([[1.0, 1.0], [1.0, 1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]])
    assert estimate == (0.75, 0.75, 0.75, 9)


def test_interval_shrinks_with_seeds_and_repeats_by_its_seed():
    rng = np.random.default_rng(1)
    few, many = rng.normal(size=9), rng.normal(size=200)
    wide, narrow = iqm_interval([few]), iqm_interval([many])
    assert wide.low < wide.value < wide.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2
    assert iqm_interval([few]) == wide != iqm_interval([few], seed=1)


def test_one_seed_has_no_interval():
    for estimate in (iqm_interval([[0.3]]), improvement_interval([[0.3]], [[0.1, 0.2]])):
        assert math.isnan(estimate.low) and math.isnan(estimate.high)
    assert iqm_interval([[0.3]]).value == 0.3


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.5, which never falls."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx((0.06, 0.04, 0.5, 0.06))
    assert holm([0.4, 0.9]) == pytest.approx((0.8, 0.9))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


@pytest.mark.parametrize(
    ("x", "y", "p_value"),
    [
        ([4.0, 5.0, 6.0], [1.0, 2.0, 3.0], 2 / 20),  # the most different of 20 ways to deal the seeds out, on two sides
        ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], 2 / 20),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], 1.0),
        ([1.0, 1.0], [0.0, 0.0], 2 / 6),
    ],
)
def test_p_value_of_improvement_by_hand(x, y, p_value):
    assert improvement_p_value(x, y) == pytest.approx(p_value)


def test_p_value_of_improvement_is_that_of_mann_whitney():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=5), rng.normal(1.0, size=6)
    assert improvement_p_value(x, y) == pytest.approx(stats.mannwhitneyu(x, y, method="exact").pvalue)
