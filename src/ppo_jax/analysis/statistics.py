"""Statistics over few seeds: interquartile mean, stratified bootstrap intervals, probability of improvement.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice. A stratum is one
task, its scores are those of the seeds, and a bootstrap sample redraws the seeds within each task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Estimate",
    "difference_interval",
    "holm",
    "improvement_interval",
    "improvement_p_value",
    "interquartile_mean",
    "iqm_interval",
    "least_p_value",
    "probability_of_improvement",
]


class Estimate(NamedTuple):
    """A number and its interval; the bounds are NaN where too few seeds leave it unknown."""

    value: float  # the number
    low: float  # lower bound of the interval
    high: float  # upper bound
    n: int  # scores behind it


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half: the lowest and the highest quarter, rounded down, are left out.

    Source: Agarwal et al. 2021, section 4.3.

    Args:
        scores: of any shape; all are pooled. Fewer than four are all kept.
    """
    from scipy import stats

    return float(stats.trim_mean(np.asarray(scores, float), 0.25, axis=None))


def probability_of_improvement(scores: ArrayLike, baseline: ArrayLike) -> float:
    """P(X > Y) + P(X = Y) / 2 for a random seed X of `scores` [n] and Y of `baseline` [m]; Mann-Whitney's U / nm.

    Source: Agarwal et al. 2021, section 4.3.
    """
    return float(_improvement(np.asarray(scores, float), np.asarray(baseline, float)))


def iqm_interval(
    strata: Sequence[ArrayLike], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Interquartile mean of all scores with a percentile interval of the stratified bootstrap.

    Source: Agarwal et al. 2021, section 4.1.

    Args:
        strata: for each task the scores [seeds]; the numbers of seeds may differ.
        confidence: of the interval.
        resamples: of the bootstrap.
        seed: of its random numbers.
    """
    from scipy import stats

    samples = [np.asarray(scores, float) for scores in strata]

    def iqm(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(stats.trim_mean(np.concatenate(drawn, axis=axis), 0.25, axis=axis))

    return _bootstrap(samples, iqm, confidence, resamples, seed)


def improvement_interval(
    strata: Sequence[ArrayLike],
    baselines: Sequence[ArrayLike],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Probability of improvement, averaged over the tasks, with a percentile interval of the stratified bootstrap.

    Args:
        strata: for each task the scores [seeds].
        baselines: for the same tasks those to improve on [seeds].
        confidence: of the interval.
        resamples: of the bootstrap.
        seed: of its random numbers.
    """
    samples = [np.asarray(scores, float) for scores in (*strata, *baselines)]

    def improvement(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        half = len(drawn) // 2
        each = [_improvement(x, y) for x, y in zip(drawn[:half], drawn[half:], strict=True)]
        return np.mean(each, axis=0)

    return _bootstrap(samples, improvement, confidence, resamples, seed)


def difference_interval(
    scores: ArrayLike, baseline: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Difference of the interquartile means of `scores` [n] and `baseline` [m], with a percentile bootstrap interval.

    Args:
        scores: of the seeds.
        baseline: those to hold them against.
        confidence: of the interval.
        resamples: of the bootstrap.
        seed: of its random numbers.
    """
    from scipy import stats

    def difference(own: np.ndarray, theirs: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(stats.trim_mean(own, 0.25, axis=axis) - stats.trim_mean(theirs, 0.25, axis=axis))

    samples = [np.asarray(scores, float), np.asarray(baseline, float)]
    return _bootstrap(samples, difference, confidence, resamples, seed)


def improvement_p_value(scores: ArrayLike, baseline: ArrayLike, resamples: int = 9999, seed: int = 0) -> float:
    """How often seeds that do not differ look at least as different: a two-sided permutation test, exact for few.

    It is `least_p_value` at least.

    Args:
        scores: of the seeds [n].
        baseline: those to improve on [m].
        resamples: at most so many permutations; fewer seeds have all of them.
        seed: of its random numbers.
    """
    from scipy import stats

    return float(
        stats.permutation_test(
            (np.asarray(scores, float), np.asarray(baseline, float)),
            lambda own, theirs, axis: _improvement(np.moveaxis(own, axis, -1), np.moveaxis(theirs, axis, -1)),
            vectorized=True,
            n_resamples=resamples,
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def least_p_value(n: int, m: int, resamples: int = 9999) -> float:
    """The least `improvement_p_value` of n seeds and m: of 3 and 3 it is 0.1, of 4 and 4 it is 0.029."""
    return min(1.0, 2.0 / min(math.comb(n + m, n), resamples + 1))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values corrected for their number: with all below 0.05 taken, any is a mistake in 5% of such tables at most.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return tuple(corrected.tolist())


def _improvement(scores: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Over the last axes: [..., n] against [..., m] -> [...]."""
    better = 0.5 + 0.5 * np.sign(scores[..., :, None] - baseline[..., None, :])
    return np.asarray(better.mean((-2, -1)))


def _bootstrap(
    samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], confidence: float, resamples: int, seed: int
) -> Estimate:
    from scipy import stats

    value, n = float(statistic(*samples)), sum(map(len, samples))
    if min(map(len, samples)) < 2:
        return Estimate(value, float("nan"), float("nan"), n)
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), n)
