"""Queries with one argument open, ``p(a, X)`` or ``p(X, b)``, and their ranking among all constants.

The protocol is `answers`: both sides of every triple, filtered, ties expected over their order
(docs/concepts/evaluation.md). On Countries it is the published one: the tail alone, among the regions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ppo_jax.proving.candidates import sample
from ppo_jax.proving.datasets import Dataset

__all__ = [
    "HEAD",
    "TAIL",
    "KnownAnswers",
    "OpenQueries",
    "answer_ranks",
    "asked_sides",
    "known_answers",
    "open_queries",
]

HEAD, TAIL = 0, 1  # which argument is open
SPLITS = ("train", "valid", "test")


class OpenQueries(NamedTuple):
    """Q queries with one argument open."""

    predicate: np.ndarray  # [Q] int32
    known: np.ndarray  # [Q] int32, the constant of the other argument
    side: np.ndarray  # [Q] int32, HEAD or TAIL
    answer: np.ndarray  # [Q] int32, the constant asked for
    triple: np.ndarray  # [Q] int32, row of the triple in its split

    @property
    def atoms(self) -> np.ndarray:
        """The triples that the answers complete, [Q, 3]."""
        known_first = self.side == TAIL
        first = np.where(known_first, self.known, self.answer)
        second = np.where(known_first, self.answer, self.known)
        return np.stack([self.predicate, first, second], axis=1)


def asked_sides(dataset: Dataset) -> tuple[int, ...]:
    """The sides of a triple that are asked for: both, but for data sets whose protocol corrupts one alone."""
    return {"tail": (TAIL,), "head": (HEAD,), "both": (TAIL, HEAD)}[dataset.corrupt]


def open_queries(dataset: Dataset, split: str, n_queries: int | None = None, seed: int = 0) -> OpenQueries:
    """The triples of a split with one argument open, side after side of each triple.

    Args:
        dataset: where they are from.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        n_queries: at most so many triples, drawn without replacement by a generator of `seed`; None: all.
        seed: of the draw.
    """
    atoms = dataset.queries[split]
    chosen = sample(np.arange(len(atoms)), n_queries, seed)
    sides = asked_sides(dataset)
    triple = np.repeat(chosen, len(sides))
    side = np.tile(sides, len(chosen)).astype(np.int32)
    predicate, first, second = atoms[triple].T
    known, answer = np.where(side == TAIL, (first, second), (second, first))
    return OpenQueries(predicate, known, side, answer, triple.astype(np.int32))


class KnownAnswers:
    """Which constants are known to answer a query: the atoms a filter takes out, or those a question need not find."""

    def __init__(
        self, atoms: np.ndarray, n_constants: int, domains: Mapping[tuple[int, int], np.ndarray] | None = None
    ) -> None:
        """`atoms` [N, 3] are known; `n_constants` is that of the vocabulary.

        `domains` of ``(predicate, argument 0 | 1)`` say which constants can answer; None: all.
        """
        self.n_constants, self._domains = n_constants, domains or {}
        self._sides = {}
        for side, (bound, free) in {TAIL: (1, 2), HEAD: (2, 1)}.items():
            keys = atoms[:, 0].astype(np.int64) * (n_constants + 1) + atoms[:, bound]
            order = np.argsort(keys, kind="stable")
            self._sides[side] = keys[order], atoms[order, free]

    def mask(self, queries: OpenQueries) -> np.ndarray:
        """Whether a constant is known to answer or cannot, [Q, n_constants + 1] bool; column 0 is padding."""
        known = np.zeros((len(queries.known), self.n_constants + 1), bool)
        wanted = queries.predicate.astype(np.int64) * (self.n_constants + 1) + queries.known
        for side, (keys, answers) in self._sides.items():
            rows = np.flatnonzero(queries.side == side)
            begin, end = np.searchsorted(keys, wanted[rows]), np.searchsorted(keys, wanted[rows], side="right")
            lengths = end - begin
            offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            known[np.repeat(rows, lengths), answers[np.repeat(begin, lengths) + offsets]] = True
        for (predicate, argument), domain in self._domains.items():
            outside = np.ones(self.n_constants + 1, bool)
            outside[domain] = False
            known[(queries.predicate == predicate) & (queries.side == (HEAD, TAIL)[argument])] |= outside
        return known


def known_answers(dataset: Dataset, split: str) -> KnownAnswers:
    """The filter of a split: facts and queries of the splits up to it, so that validation never uses a test triple.

    Where the protocol of the data set corrupts one side alone, only constants of that argument's domain are candidates.
    """
    domains = None if dataset.corrupt == "both" else dataset.domains
    parts = [dataset.kb.facts, *(dataset.queries[name] for name in SPLITS[: SPLITS.index(split) + 1])]
    return KnownAnswers(np.concatenate(parts), len(dataset.kb.constants), domains)


def answer_ranks(
    scores: np.ndarray, queries: OpenQueries, known: KnownAnswers
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the answers stand among all constants that are not known to answer.

    Args:
        scores: [Q, n_constants + 1], column 0 is padding; -inf where nothing speaks for a constant.
        queries: Q of them.
        known: the filter.

    Returns:
        ``(better, tied, candidates)``, each [Q]: candidates scored above the answer, others with its very score, and
        how many candidates there are, the answer among them.
    """
    rows = np.arange(len(scores))
    out = known.mask(queries)
    out[:, 0] = True
    out[rows, queries.answer] = False
    own = scores[rows, queries.answer][:, None]
    better = ((scores > own) & ~out).sum(axis=1)
    tied = ((scores == own) & ~out).sum(axis=1) - 1
    return better, tied, (~out).sum(axis=1)
