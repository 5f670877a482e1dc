"""Ranking metrics from scores and masks, in float64 numpy on the host: MRR, Hits@k, AUC-PR and their intervals.

A row of scores ``[N]`` is one query and its corruptions; column 0 is the positive. The score of a candidate that was
not proved is −inf: all of these are tied, below every proved one. Ties count as a uniformly random order of the tied,
so a metric is an expectation and no constant score can look good.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppo_jax.proving.results import INTERVAL_LEVEL, INTERVAL_RESAMPLES
from ppo_jax.types import PPOJaxError

__all__ = [
    "average_precision",
    "bootstrap_interval",
    "expected_hits",
    "expected_reciprocal_rank",
    "query_means",
    "ranks",
    "summarize",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HITS = (1, 3, 10)
MAX_RESAMPLED_VALUES = 2**20  # held at once by the bootstrap


def ranks(scores: ArrayLike, valid: ArrayLike) -> tuple[IntArray, IntArray]:
    """Count the candidates that stand above the positive and those that are tied with it.

    Args:
        scores: [Q, N] candidate scores, the positive in column 0; −inf where a candidate was not proved.
        valid: [Q, N] bool, false for padding; column 0 must be true.

    Returns:
        ``(better, tied)``, each [Q]: valid candidates scored strictly above the positive, and other valid candidates
        with its very score. The positive's rank is one of ``better + 1 .. better + 1 + tied``, all equally likely.

    Raises:
        PPOJaxError: the score of a valid candidate is NaN.
        ValueError: the shapes differ or a row has no positive.
    """
    scores, valid = _checked(scores, valid)
    positive = scores[:, :1]
    better = (valid & (scores > positive)).sum(axis=1)
    tied = (valid & (scores == positive)).sum(axis=1) - 1  # the positive ties with itself
    return better, tied


def expected_reciprocal_rank(better: ArrayLike, tied: ArrayLike) -> FloatArray:
    """E[1/rank] over a random order of the tied: ``(H(b + t + 1) − H(b)) / (t + 1)`` with the harmonic numbers H.

    Args:
        better: [Q] candidates above the positive, b.
        tied: [Q] candidates tied with it, t.

    Returns:
        [Q] in (0, 1].
    """
    better, tied = np.asarray(better), np.asarray(tied)
    last = better + tied + 1
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, last.max(initial=0) + 1))])
    # Without ties the difference is 1/rank itself, which the division gives without cancellation.
    return np.where(tied == 0, 1.0 / last, (harmonic[last] - harmonic[better]) / (tied + 1))


def expected_hits(better: ArrayLike, tied: ArrayLike, k: int) -> FloatArray:
    """P(rank <= k) over a random order of the tied: the share of the positive's possible ranks within the first k.

    Args:
        better: [Q] candidates above the positive.
        tied: [Q] candidates tied with it.
        k: how many ranks count as a hit.

    Returns:
        [Q] in [0, 1].
    """
    better, tied = np.asarray(better), np.asarray(tied)
    return np.clip(k - better, 0, tied + 1) / (tied + 1)


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Area under the precision-recall curve as a step function: ``Σ_n (R_n − R_{n−1}) P_n`` over distinct scores.

    Tied candidates enter together, at one threshold, as in scikit-learn's ``average_precision_score``.

    Args:
        scores: [M] candidate scores, −inf allowed.
        labels: [M] bool, true for positives.

    Returns:
        The area in (0, 1], or None where there is no positive, since recall is then undefined.

    Raises:
        PPOJaxError: a score is NaN.
        ValueError: the shapes differ or are not flat.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be flat and of one length")
    _refuse_nan("candidate", np.isnan(scores))
    if not labels.any():
        return None
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    thresholds = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)  # the last place of each score
    true_positives = np.cumsum(labels)[thresholds]
    precision = true_positives / (thresholds + 1)
    recall = true_positives / true_positives[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def bootstrap_interval(
    per_query_values: ArrayLike,
    seed: int,
    confidence: float = INTERVAL_LEVEL,
    samples: int = INTERVAL_RESAMPLES,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over queries (Efron & Tibshirani 1993, section 13.3).

    Args:
        per_query_values: [Q] one value a query, Q >= 1.
        seed: of the resampling, so that an interval can be repeated.
        confidence: share of the resampled means that the interval holds.
        samples: resamplings.

    Returns:
        ``(low, high)`` in the unit of the values.

    Raises:
        ValueError: there are no values, or they are not flat.
    """
    values = np.asarray(per_query_values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"a bootstrap needs at least one value a query, flat; got shape {values.shape}")
    if len(values) == 1:  # every resampling is the value itself, and SciPy wants two
        return float(values[0]), float(values[0])
    from scipy import stats  # a second to import, which a process that never ranks need not wait for

    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=samples,
        batch=max(1, MAX_RESAMPLED_VALUES // len(values)),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def summarize(
    scores: ArrayLike, valid: ArrayLike, query: ArrayLike, *, auc_pr: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Summarise the ranking of a set of queries; every metric that the set leaves undefined is None.

    A query may fill several rows, such as one of head and one of tail corruptions: they are averaged within the query
    first, so that each query weighs the same. Its positive counts once, with the score of its first row, in the shares
    proved and in the AUC-PR; its corruptions count each. A query with no corruptions left has rank 1.

    Args:
        scores: [R, N] as for `ranks`.
        valid: [R, N] bool as for `ranks`.
        query: [R] the query each row belongs to.
        auc_pr: whether to pool all candidates into an AUC-PR; only scores that compare across queries allow it.
        seed: of the bootstrap.

    Returns:
        ``mrr``, ``mrr_interval`` ([low, high], 95 %), ``hits@1``, ``hits@3``, ``hits@10``, ``proved_positive`` and
        ``proved_negative`` (shares with a score above −inf), ``n_queries``, and ``auc_pr`` where asked for.

    Raises:
        PPOJaxError: the score of a valid candidate is NaN.
        ValueError: the shapes do not fit or a row has no positive.
    """
    scores, valid = _checked(scores, valid)
    query = np.asarray(query)
    if query.shape != scores.shape[:1]:
        raise ValueError(f"query {query.shape} must name one query for each of the {len(scores)} rows")
    _, first_row, owner = np.unique(query, return_index=True, return_inverse=True)
    n_queries = len(first_row)

    better, tied = ranks(scores, valid)
    reciprocal_ranks = query_means(expected_reciprocal_rank(better, tied), owner)
    positives = scores[first_row, 0]
    negatives = scores[:, 1:][valid[:, 1:]]

    summary: dict[str, Any] = {
        "mrr": _mean(reciprocal_ranks),
        "mrr_interval": list(bootstrap_interval(reciprocal_ranks, seed)) if n_queries else None,
        **{f"hits@{k}": _mean(query_means(expected_hits(better, tied, k), owner)) for k in HITS},
        "proved_positive": _mean(positives > -np.inf),
        "proved_negative": _mean(negatives > -np.inf),
        "n_queries": n_queries,
    }
    if auc_pr:
        labels = np.arange(len(positives) + len(negatives)) < len(positives)
        summary["auc_pr"] = average_precision(np.concatenate([positives, negatives]), labels)
    return summary


def _checked(scores: ArrayLike, valid: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return scores and mask as [Q, N] arrays that a ranking is defined on, or raise as `ranks` says."""
    scores, valid = np.asarray(scores, np.float64), np.asarray(valid, bool)
    if scores.ndim != 2 or scores.shape != valid.shape or scores.shape[1] < 1:
        raise ValueError(f"scores {scores.shape} and valid {valid.shape} must both be [Q, N] with N >= 1")
    if not valid[:, 0].all():
        raise ValueError(f"row {int(np.argmin(valid[:, 0]))} has no positive: column 0 must be valid")
    _refuse_nan("row", (valid & np.isnan(scores)).any(axis=1))
    return scores, valid


def _refuse_nan(where: str, nan: NDArray[np.bool_]) -> None:
    if nan.any():
        raise PPOJaxError(
            f"{where} {int(np.argmax(nan))} has a NaN score ({int(nan.sum())} of {len(nan)} do): the policy's "
            "parameters are probably not finite; evaluate an earlier checkpoint or train with a lower learning_rate"
        )


def query_means(row_values: FloatArray, owner: IntArray) -> FloatArray:
    """Average the rows [R] of each query, whose number is their owner [R], into [Q]."""
    return np.bincount(owner, weights=row_values) / np.bincount(owner)


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
