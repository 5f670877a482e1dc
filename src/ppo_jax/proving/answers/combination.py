"""One score of an answer from several: proofs of the policy, rules by their confidence, a prior from embeddings.

Each source gives a number for every constant, brought to the scale of a log-probability; the combined score is their
weighted sum. The weights are chosen on valid, by MRR. Where nothing proves a constant the prior alone decides, so that
with a prior every constant has a rank of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from ppo_jax.proving.answers.evaluation import Ranked, split
from ppo_jax.proving.open_queries import KnownAnswers, OpenQueries, answer_ranks
from ppo_jax.proving.ranking import expected_reciprocal_rank

__all__ = [
    "SOURCES",
    "Combined",
    "Source",
    "choose_weights",
    "combine",
    "log_scale",
    "logs_of",
    "rank_with_and_without",
]

Source = Callable[[OpenQueries], np.ndarray]  # scores [Q, n_constants + 1]
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


def logs_of(sources: Mapping[str, Source], queries: OpenQueries, at_once: int) -> dict[str, np.ndarray]:
    """What each source says of the queries, `at_once` of them at a time, on the scale of a log-probability."""
    parts = split(queries, at_once)
    return {
        name: np.concatenate([log_scale(name, source(part)).astype(np.float32) for part in parts])
        for name, source in sources.items()
    }


class Combined(NamedTuple):
    """A scorer that is the weighted sum of several."""

    sources: Mapping[str, Source]
    weights: Mapping[str, float]

    def scores(self, queries: OpenQueries) -> np.ndarray:
        """[Q, n_constants + 1]."""
        return combine(logs_of(self.sources, queries, len(queries.known)), self.weights)


def rank_with_and_without(
    combined: Combined, queries: OpenQueries, known: KnownAnswers, at_once: int
) -> tuple[Ranked, dict[str, np.ndarray]]:
    """Rank answers by the combined score, and by what is left of it without each of its sources.

    Returns:
        The ranking, and for each source the rank [Q] without it, the middle one of the tied.
    """
    parts, without = [], {name: [np.zeros(0)] for name in combined.sources}
    for chunk in split(queries, at_once):
        logs = logs_of(combined.sources, chunk, at_once)
        scores = combine(logs, combined.weights)
        own, nothing = scores[np.arange(len(scores)), chunk.answer], np.zeros(len(scores))
        parts.append(Ranked(*answer_ranks(scores, chunk, known), own, nothing, nothing))
        for name, ranks in without.items():
            rest = combine({other: x for other, x in logs.items() if other != name}, combined.weights)
            better, tied, _ = answer_ranks(rest, chunk, known)
            ranks.append(better + 1 + tied / 2)
    ranked = Ranked(*(np.concatenate(x) for x in zip(*parts, strict=True)))
    return ranked, {name: np.concatenate(ranks) for name, ranks in without.items()}


def choose_weights(
    logs: Mapping[str, np.ndarray], queries: OpenQueries, known: KnownAnswers
) -> tuple[dict[str, float], float]:
    """The weights whose ranking of the answers has the highest MRR, and that.

    The policy's proofs have a weight only where the MRR is more than two standard errors above the best without them:
    its parameters were chosen on the same queries (as the standard-error rule of Breiman et al. 1984, section 3.4.3).

    Args:
        logs: for each source what `log_scale` gave, [Q, n_constants + 1].
        queries: of valid.
        known: the filter of valid.
    """
    *others, last = logs
    tried: list[tuple[dict[str, float], np.ndarray]] = []
    for values in product(WEIGHTS, repeat=len(others)):
        weights = dict(zip(others, values, strict=True)) | {last: 1.0}
        better, tied, _ = answer_ranks(combine(logs, weights), queries, known)
        tried.append((weights, expected_reciprocal_rank(better, tied)))

    def mrr(one: tuple[dict[str, float], np.ndarray]) -> float:
        return float(one[1].mean())

    best = max(tried, key=mrr)
    if without := [one for one in tried if one[0].get("proofs") == 0.0]:
        simpler = max(without, key=mrr)
        gain = best[1] - simpler[1]
        if gain.mean() <= 2.0 * gain.std() / np.sqrt(len(gain)):
            best = simpler
    return best[0], mrr(best)
