"""Ranking metrics against hand-derived numbers, brute force over the orders of ties, and scikit-learn."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ppo_jax.proving.ranking import (
    average_precision,
    bootstrap_interval,
    expected_hits,
    expected_reciprocal_rank,
    ranks,
    summarize,
)
from ppo_jax.types import PPOJaxError

INF = np.inf
# Few distinct values, so that ties are common; halves and doubles of them are exact.
SCORES = st.sampled_from([-INF, -3.0, -1.5, -1.0, -0.5, 0.0])


@st.composite
def rankings(draw, max_rows=5, max_candidates=6):
    """Scores [Q, N] with many ties, and a mask [Q, N] whose column 0 is true."""
    shape = draw(st.integers(1, max_rows)), draw(st.integers(1, max_candidates))
    size = shape[0] * shape[1]
    scores = np.reshape(draw(st.lists(SCORES, min_size=size, max_size=size)), shape)
    valid = np.reshape(draw(st.lists(st.booleans(), min_size=size, max_size=size)), shape)
    valid[:, 0] = True
    return scores, valid


def brute_force_ranks(scores, valid):
    """The rank of the positive in every order of the valid candidates that sorts them by score."""
    candidates = [int(i) for i in np.flatnonzero(valid)]
    ordered = sorted(scores[candidates], reverse=True)
    return [
        order.index(0) + 1
        for order in permutations(candidates)
        if [scores[candidate] for candidate in order] == ordered
    ]


@given(rankings(max_rows=2))
def test_metrics_are_the_mean_over_all_orders_of_the_tied(ranking):
    scores, valid = ranking
    better, tied = ranks(scores, valid)
    for row in range(len(scores)):
        possible = np.array(brute_force_ranks(scores[row], valid[row]))
        assert possible.min() == better[row] + 1
        assert possible.max() == better[row] + tied[row] + 1
        np.testing.assert_allclose(expected_reciprocal_rank(better, tied)[row], np.mean(1 / possible), rtol=1e-12)
        for k in (1, 2, 3, 10):
            np.testing.assert_allclose(expected_hits(better, tied, k)[row], np.mean(possible <= k), rtol=1e-12)


def test_hand_derived_ranks():
    scores = np.array(
        [
            [-1.0, -2.0, -0.5, -1.0, -INF],  # one above, one tied
            [-INF, -2.0, -INF, -INF, -9.0],  # unproved: two proved above, tied with the other two unproved
            [-0.1, -INF, -INF, -INF, -INF],  # proved alone
            [-INF, -INF, -INF, -INF, -INF],  # all tied
            [-1.0, -0.2, -0.3, -0.4, -1.0],  # the second and the last candidate are padding
        ]
    )
    valid = np.ones_like(scores, bool)
    valid[4, [1, 4]] = False
    better, tied = ranks(scores, valid)
    assert better.tolist() == [1, 2, 0, 0, 2]
    assert tied.tolist() == [1, 2, 0, 4, 0]
    # (1/2 + 1/3)/2 = 5/12;  (1/3 + 1/4 + 1/5)/3 = 47/180;  1;  (1 + 1/2 + 1/3 + 1/4 + 1/5)/5 = 137/300;  1/3
    np.testing.assert_allclose(
        expected_reciprocal_rank(better, tied), [5 / 12, 47 / 180, 1, 137 / 300, 1 / 3], rtol=1e-13
    )
    # Ranks {2,3}, {3,4,5}, {1}, {1..5}, {3}
    np.testing.assert_allclose(expected_hits(better, tied, 1), [0, 0, 1, 1 / 5, 0])
    np.testing.assert_allclose(expected_hits(better, tied, 3), [1, 1 / 3, 1, 3 / 5, 1])
    np.testing.assert_allclose(expected_hits(better, tied, 10), [1, 1, 1, 1, 1])


def test_a_rank_without_ties_is_its_plain_reciprocal():
    better = np.arange(40_000)
    assert (expected_reciprocal_rank(better, np.zeros_like(better)) == 1 / (better + 1)).all()


@given(rankings())
def test_only_the_order_of_scores_matters(ranking):
    scores, valid = ranking
    for transformed in (2 * scores + 7, np.exp(scores), scores**3):
        for before, after in zip(ranks(scores, valid), ranks(transformed, valid), strict=True):
            np.testing.assert_array_equal(before, after)
        assert average_precision(scores[valid], column_0(valid)) == average_precision(
            transformed[valid], column_0(valid)
        )


@given(rankings(), st.randoms(use_true_random=False))
def test_the_order_of_corruptions_and_the_scores_of_padding_do_not_matter(ranking, random):
    scores, valid = ranking
    order = [0, *random.sample(range(1, scores.shape[1]), scores.shape[1] - 1)]
    shuffled = np.where(valid, scores, random.choice([-INF, 5.0, np.nan]))[:, order]
    for before, after in zip(ranks(scores, valid), ranks(shuffled, valid[:, order]), strict=True):
        np.testing.assert_array_equal(before, after)


def column_0(valid):
    """Labels of the valid candidates, flat: the positives are those of column 0."""
    return np.broadcast_to(np.arange(valid.shape[1]) == 0, valid.shape)[valid]


@given(rankings())
def test_average_precision_is_scikit_learns(ranking):
    scores, valid = ranking
    # scikit-learn refuses infinite scores; a finite score below all others is the same threshold.
    finite = np.where(scores == -INF, -100.0, scores)[valid]
    expected = average_precision_score(column_0(valid), finite)
    assert average_precision(scores[valid], column_0(valid)) == pytest.approx(expected, abs=1e-12)


def test_average_precision_of_many_scores_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.random(3000) < 0.2
    scores = rng.normal(size=3000) + labels
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    rounded = scores.round(1)
    assert average_precision(rounded, labels) == pytest.approx(average_precision_score(labels, rounded), abs=1e-12)


def test_average_precision_by_hand():
    # Thresholds 3: P = 1, R = 1/2;  2 (two tied): P = 2/3, R = 1;  1: no recall left.  1/2 + 1/2 * 2/3 = 5/6
    assert average_precision([3, 2, 2, 1], [True, True, False, False]) == pytest.approx(5 / 6, abs=1e-15)
    assert average_precision([-INF, -INF, -INF, -INF], [True, False, False, False]) == 0.25
    assert average_precision([1.0, 2.0], [False, False]) is None
    assert average_precision([], []) is None


def test_bootstrap_interval():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    low, high = bootstrap_interval(values, seed=1)
    # The mean's normal interval is ±1.96 s/sqrt(n); the percentile bootstrap agrees for many queries.
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    assert bootstrap_interval(values, seed=1) == (low, high)
    assert bootstrap_interval(values, seed=2) != (low, high)
    narrow = bootstrap_interval(values, seed=1, confidence=0.5)
    assert low < narrow[0] < values.mean() < narrow[1] < high
    assert bootstrap_interval([0.25], seed=0) == (0.25, 0.25)
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([], seed=0)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    trials = 300
    intervals = np.array([bootstrap_interval(rng.normal(size=50), seed=i, samples=500) for i in range(trials)])
    covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
    assert 0.90 <= covered <= 0.98  # 0.95 less the small-sample bias, ± 2.5 standard errors of 0.0126


def test_bootstrap_batches_draw_the_same_samples(monkeypatch):
    values = np.arange(7.0)
    whole = bootstrap_interval(values, seed=3, samples=100)
    monkeypatch.setattr("ppo_jax.proving.ranking.MAX_RESAMPLED_VALUES", 21)
    assert bootstrap_interval(values, seed=3, samples=100) == whole


def test_summary_by_hand():
    scores = np.array(
        [
            [-1.0, -2.0, -3.0],  # query 7, tails: rank 1
            [-1.0, -0.5, -0.7],  # query 7, heads: rank 3
            [-INF, -INF, 9.0],  # query 2: unproved, tied with one; the last is padding
        ]
    )
    valid = np.array([[True, True, True], [True, True, True], [True, True, False]])
    summary = summarize(scores, valid, [7, 7, 2], auc_pr=True)
    # Query 7: (1 + 1/3)/2 = 2/3, hits@1 1/2; query 2: (1 + 1/2)/2 = 3/4, hits@1 1/2. Both have 3 candidates at most.
    assert summary["mrr"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert summary["hits@1"] == pytest.approx(1 / 2)
    assert summary["hits@3"] == summary["hits@10"] == 1
    assert summary["n_queries"] == 2
    assert summary["proved_positive"] == 1 / 2
    assert summary["proved_negative"] == 4 / 5
    # Two queries: a resample holds query 7 twice, query 2 twice, or one of each.
    assert summary["mrr_interval"] == pytest.approx([2 / 3, 3 / 4])
    # Query 7's positive counts once: -0.5 and -0.7 above it (P = 1/3, R = 1/2), then at -inf all 7 (P = 2/7, R = 1).
    assert summary["auc_pr"] == pytest.approx(1 / 2 * 1 / 3 + 1 / 2 * 2 / 7)
    assert json.loads(json.dumps(summary)) == summary


def test_each_query_weighs_the_same_whatever_its_rows():
    # Query 0 has rank 2 in three rows, query 1 rank 1 in one: (1/2 + 1)/2, where the mean over rows would be 5/8.
    scores, valid = [[0.0, 1.0]] * 3 + [[1.0, 0.0]], np.ones((4, 2), bool)
    assert summarize(scores, valid, [0, 0, 0, 1])["mrr"] == 3 / 4
    shuffled = summarize([scores[i] for i in (3, 0, 1, 2)], valid, [1, 0, 0, 0])
    assert shuffled == summarize(scores, valid, [0, 0, 0, 1])


def test_a_query_with_no_corruptions_left_has_rank_1():
    summary = summarize([[-INF, 0.0]], [[True, False]], [0], auc_pr=True)
    assert summary["mrr"] == summary["hits@1"] == 1
    assert summary["mrr_interval"] == [1, 1]
    assert summary["proved_positive"] == 0
    assert summary["proved_negative"] is None
    assert summary["auc_pr"] == 1
    assert ranks([[-INF]], [[True]]) == ([0], [0])


def test_constant_scores_earn_nothing():
    # 1 positive among 5, all tied: E[1/rank] = (1 + 1/2 + 1/3 + 1/4 + 1/5)/5 = 137/300, a random order's value.
    scores, valid = np.zeros((24, 5)), np.ones((24, 5), bool)
    for constant in (0.0, -INF):
        summary = summarize(scores + constant, valid, np.arange(24), auc_pr=True)
        assert summary["mrr"] == pytest.approx(137 / 300, abs=1e-14)
        assert summary["hits@1"] == pytest.approx(1 / 5)
        assert summary["auc_pr"] == pytest.approx(1 / 5)


def test_no_queries_leave_every_metric_undefined():
    summary = summarize(np.zeros((0, 5)), np.zeros((0, 5), bool), [], auc_pr=True)
    assert summary.pop("n_queries") == 0
    assert set(summary) == {
        *("mrr", "mrr_interval", "hits@1", "hits@3", "hits@10", "proved_positive", "proved_negative", "auc_pr")
    }
    assert set(summary.values()) == {None}
    assert "auc_pr" not in summarize(np.zeros((0, 5)), np.zeros((0, 5), bool), [])


def test_nan_scores_are_refused():
    scores, valid = np.array([[0.0, 1.0], [0.0, np.nan]]), np.ones((2, 2), bool)
    with pytest.raises(PPOJaxError, match=r"row 1 has a NaN score \(1 of 2 do\)"):
        ranks(scores, valid)
    with pytest.raises(PPOJaxError, match="row 1 has a NaN score"):
        summarize(scores, valid, [0, 1])
    with pytest.raises(PPOJaxError, match="candidate 0 has a NaN score"):
        average_precision([np.nan, 1.0], [True, False])


@pytest.mark.parametrize(
    ("scores", "valid", "query", "message"),
    [
        ([0.0, 1.0], [True, True], [0], r"must both be \[Q, N\]"),
        ([[0.0, 1.0]], [[True]], [0], r"must both be \[Q, N\]"),
        (np.zeros((1, 0)), np.zeros((1, 0), bool), [0], "N >= 1"),
        ([[0.0, 1.0], [0.0, 1.0]], [[True, True], [False, True]], [0, 1], "row 1 has no positive"),
        ([[0.0, 1.0]], [[True, True]], [0, 1], "name one query for each of the 1 rows"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(scores, valid, query, message):
    with pytest.raises(ValueError, match=message):
        summarize(scores, valid, query)
