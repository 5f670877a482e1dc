"""One score of an answer from several: proofs of the policy, rules by their confidence, a prior from embeddings.

Each source gives a number for every constant, brought to the scale of a log-probability; the combined score is their
weighted sum. The weights are chosen on valid, by MRR. Where nothing proves a constant the prior alone decides, so that
with a prior every constant has a rank of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from ppo_jax.proving.open_queries import KnownAnswers, OpenQueries, answer_ranks
from ppo_jax.proving.ranking import expected_reciprocal_rank

__all__ = ["SOURCES", "choose_weights", "combine", "log_scale"]

SOURCES = ("proofs", "rules", "prior")
LEAST = {"proofs": 1e-5, "rules": 1e-3}  # probability that stands for none
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # tried beside 1 for the last source


def log_scale(source: str, scores: np.ndarray) -> np.ndarray:
    """Scores [Q, n_constants + 1] of a source as logarithms: of a probability, or the log-odds of rules."""
    if source == "proofs":
        return np.log(scores + LEAST[source])
    if source == "rules":
        held = np.clip(scores, LEAST[source], 1.0 - 1e-6)
        return np.log(held) - np.log1p(-held)
    return scores


def combine(logs: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """The weighted sum [Q, n_constants + 1] of what `log_scale` gave for each source."""
    total: np.ndarray = sum(weights[source] * values for source, values in logs.items())  # type: ignore[assignment]
    return total


def choose_weights(
    logs: Mapping[str, np.ndarray], queries: OpenQueries, known: KnownAnswers
) -> tuple[dict[str, float], float]:
    """The weights whose ranking of the answers has the highest MRR, and that.

    Args:
        logs: for each source what `log_scale` gave, [Q, n_constants + 1].
        queries: of valid.
        known: the filter of valid.
    """
    *others, last = logs
    best: tuple[float, dict[str, float]] = (-1.0, {})
    for values in product(WEIGHTS, repeat=len(others)):
        weights = dict(zip(others, values, strict=True)) | {last: 1.0}
        better, tied, _ = answer_ranks(combine(logs, weights), queries, known)
        mrr = float(expected_reciprocal_rank(better, tied).mean())
        if mrr > best[0]:
            best = (mrr, weights)
    return best[1], best[0]
