"""The protocol `answers`: a policy's answers to the open queries of a split, ranked among all constants."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.proving import ranking
from ppo_jax.proving.answers.environment import AnswerEnv, AnswerParams
from ppo_jax.proving.answers.search import Answers, search
from ppo_jax.proving.derivations import Policy
from ppo_jax.proving.open_queries import HEAD, TAIL, KnownAnswers, OpenQueries, answer_ranks

__all__ = ["AnswerEvaluator", "Ranked", "Scorer", "open_atoms", "rank_by", "split", "summarize"]

PyTree = Any
TABLE = 2**27  # bytes of the probabilities of all constants in one call
STATES = 2**13  # resolvents in one call
SIDES = {HEAD: "head", TAIL: "tail"}


class Ranked(NamedTuple):
    """Where the answers of Q queries stand, and what the search saw."""

    better: np.ndarray  # [Q] candidates scored above the answer
    tied: np.ndarray  # [Q] others with its very score
    candidates: np.ndarray  # [Q] constants that are ranked
    score: np.ndarray  # [Q] of the answer
    unexplored: np.ndarray  # [Q] probability that was not followed
    looked_at: np.ndarray  # [Q] resolvents at which the policy was asked

    @property
    def rank(self) -> np.ndarray:
        """The middle rank of those that share it, [Q]."""
        return self.better + 1 + self.tied / 2

    @property
    def reciprocal_rank(self) -> np.ndarray:
        """Expected 1 / rank over a random order of the tied, [Q]."""
        return ranking.expected_reciprocal_rank(self.better, self.tied)


class AnswerEvaluator:
    """Searches for answers with a policy, to as many queries at once as memory allows and the data set has."""

    def __init__(self, env: AnswerEnv, params: AnswerParams, beam_width: int) -> None:
        self.env, self.params, self.beam_width = env, params, beam_width
        table = TABLE // (4 * (env.sizes.n_constants + 1))
        # Head and tail open of each triple that is judged. All calls have this one size, and share one program.
        judged = max(2 * len(env.dataset.queries[split]) for split in ("valid", "test")) if env.dataset else table
        self.at_once = int(max(1, min(STATES // beam_width, table, judged)))

    def answers(
        self,
        policy: Policy,
        policy_params: PyTree,
        queries: np.ndarray,
        sharpness: float = 1.0,
        *,
        keep_trail: bool = False,
    ) -> Answers:
        """Answers to at most `at_once` queries [n, 3], 0 for the variable, as arrays of numpy."""
        n = len(queries)
        padded = queries[np.minimum(np.arange(self.at_once), n - 1)]
        found = search(
            self.env,
            self.params,
            policy,
            policy_params,
            jnp.asarray(padded),
            jnp.zeros_like(padded),
            beam_width=self.beam_width,
            sharpness=sharpness,
            keep_trail=keep_trail,
        )
        found = jax.device_get(found)
        trails = [
            None if x is None else jax.tree.map(lambda a: a[:, :n], x)
            for x in (found.proofs, found.onward, found.value)
        ]
        return Answers(found.probability[:n], found.unexplored[:n], found.looked_at[:n], *trails)

    def probabilities(
        self, policy: Policy, policy_params: PyTree, queries: OpenQueries, *, sharpness: float
    ) -> np.ndarray:
        """The probability [n, n_constants + 1] of each answer to at most `at_once` queries."""
        return np.asarray(self.answers(policy, policy_params, open_atoms(queries), sharpness).probability)

    def chunks(self, queries: OpenQueries) -> list[OpenQueries]:
        """The queries, as many at a time as one call takes."""
        return split(queries, self.at_once)

    def rank(
        self, policy: Policy, policy_params: PyTree, queries: OpenQueries, known: KnownAnswers, sharpness: float = 1.0
    ) -> Ranked:
        """Rank the answers of `queries` among all constants that `known` does not take out."""
        parts = []
        for chunk in self.chunks(queries):
            found = self.answers(policy, policy_params, open_atoms(chunk), sharpness)
            scores = np.where(found.probability > 0.0, found.probability, -np.inf)
            own = np.asarray(found.probability[np.arange(len(scores)), chunk.answer])
            better, tied, candidates = answer_ranks(scores, chunk, known)
            seen = (np.asarray(x) for x in (found.unexplored, found.looked_at))
            parts.append(Ranked(better, tied, candidates, own, *seen))
        return Ranked(*(np.concatenate(x) for x in zip(*parts, strict=True)))


class Scorer(Protocol):
    """Scores constants as answers without a policy."""

    def scores(self, queries: OpenQueries) -> np.ndarray:
        """[Q, n_constants + 1], more for a better answer; 0 or -inf where nothing speaks for a constant."""
        ...


def rank_by(scorer: Scorer, queries: OpenQueries, known: KnownAnswers, at_once: int = 256) -> Ranked:
    """Rank answers by a scorer, `at_once` queries at a time."""
    parts = []
    for chunk in split(queries, at_once):
        scores = scorer.scores(chunk)
        own = scores[np.arange(len(scores)), chunk.answer]
        nothing = np.zeros(len(scores))
        ranks = answer_ranks(np.where(scores == 0.0, -np.inf, scores), chunk, known)
        parts.append(Ranked(*ranks, own, nothing, nothing))
    return Ranked(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def split(queries: OpenQueries, at_once: int) -> list[OpenQueries]:
    """The queries, `at_once` in a part."""
    n = len(queries.known)
    return [OpenQueries(*(x[begin : begin + at_once] for x in queries)) for begin in range(0, n, at_once)]


def open_atoms(queries: OpenQueries) -> np.ndarray:
    """The queries as atoms [Q, 3] with 0 for the variable."""
    atoms = queries.atoms
    atoms[np.arange(len(atoms)), np.where(queries.side == TAIL, 2, 1)] = 0
    return atoms


def summarize(ranked: Ranked, queries: OpenQueries, n_triples: int, seed: int = 0) -> dict[str, Any]:
    """A summary of a ranking, as JSON data; the two sides of a triple weigh as one query.

    Args:
        ranked: the ranking.
        queries: what was asked.
        n_triples: triples of the split, of which the queries may be a sample.
        seed: of the bootstrap.
    """
    _, owner = np.unique(queries.triple, return_inverse=True)
    reciprocal = ranking.query_means(ranked.reciprocal_rank, owner)
    hits = {f"hits@{k}": float(ranking.expected_hits(ranked.better, ranked.tied, k).mean()) for k in ranking.HITS}
    return {
        "mrr": float(reciprocal.mean()),
        "mrr_interval": list(ranking.bootstrap_interval(reciprocal, seed)),
        **hits,
        "answered": float((ranked.score > 0.0).mean()),
        "unexplored_mass": float(ranked.unexplored.mean()),
        "looked_at": float(ranked.looked_at.mean()),
        "candidates": float(ranked.candidates.mean()),
        "open": " and ".join(name for side, name in SIDES.items() if side in queries.side),
        "n_queries": len(reciprocal),
        "of_queries": n_triples,
    }
