"""What a run tells of its queries: a line for each, and of some the answers that rank highest, with their proofs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppo_jax.proving.answers.combination import combine, log_scale
from ppo_jax.proving.answers.evaluation import SIDES, Ranked, open_atoms
from ppo_jax.proving.answers.query_text import format_query
from ppo_jax.proving.answers.search import Answers
from ppo_jax.proving.explanation import Step, explain
from ppo_jax.proving.knowledge_base import KnowledgeBase
from ppo_jax.proving.open_queries import OpenQueries

__all__ = ["LISTED", "TOP", "Said", "answers", "derivation", "lines", "spread", "weigh"]

LISTED = 200  # lines of ``queries.jsonl`` that hold answers and proofs
TOP = 5  # answers in such a line, beside the right one and the best wrong one


class Said(NamedTuple):
    """What is said of each constant as the answer to one query."""

    probability: np.ndarray  # [n_constants + 1] of the proofs
    sources: dict[str, np.ndarray]  # each [n_constants + 1], what rules and prior say
    contributions: dict[str, np.ndarray]  # each [n_constants + 1], what proofs, rules and prior add to the score
    score: np.ndarray  # [n_constants + 1], by which answers are ranked
    anything: np.ndarray  # [n_constants + 1] bool, whether anything is said; of the padding nothing is

    def order(self, top: int) -> np.ndarray:
        """At most `top` answers of which anything is said, the best first; of equal scores the more probable first."""
        order = np.lexsort((-self.probability, -np.where(self.anything, self.score, -np.inf)))[:top]
        return order[self.anything[order]]

    def answer(self, kb: KnowledgeBase, c: int, known: bool) -> dict[str, Any]:
        """Constant `c` as JSON data."""
        answer = {"answer": kb.constants[c - 1], "probability": float(self.probability[c]), "known": known}
        if self.contributions:
            answer |= {
                "score": float(self.score[c]),
                "parts": {name: float(x[c]) for name, x in self.sources.items()},
                "contributions": {name: float(x[c]) + 0.0 for name, x in self.contributions.items()},  # 0.0, not -0.0
            }
        return answer


def weigh(probability: np.ndarray, sources: Mapping[str, np.ndarray], weights: Mapping[str, float] | None) -> Said:
    """Put together what proofs, rules and prior say of one query.

    Args:
        probability: [n_constants + 1] of the proofs.
        sources: each [n_constants + 1].
        weights: of the combined score; None: answers are ranked by their probability.
    """
    anything = probability > 0.0
    if weights is None:
        anything[0] = False
        return Said(probability, {}, {}, probability, anything)
    for name, x in sources.items():
        anything = anything | (x > (-np.inf if name == "prior" else 0.0))
    anything[0] = False
    logs = {name: log_scale(name, x).astype(np.float32) for name, x in {"proofs": probability, **sources}.items()}
    contributions = {name: weights[name] * x for name, x in logs.items()}
    return Said(probability, dict(sources), contributions, combine(logs, weights), anything)


def lines(kb: KnowledgeBase, queries: OpenQueries, ranked: Ranked) -> list[dict[str, Any]]:
    """For each query what was asked, and where the policy ranks its answer."""
    return [
        {
            "query": format_query(kb, atom),
            "predicate": kb.predicates[atom[0] - 1],
            "side": SIDES[int(queries.side[i])],
            "answer": kb.constants[queries.answer[i] - 1],
            "rank": float(ranked.rank[i]),
            "better": int(ranked.better[i]),
            "tied": int(ranked.tied[i]),
            "ranked": int(ranked.candidates[i]),
            "reciprocal_rank": float(ranked.reciprocal_rank[i]),
            "probability": float(ranked.score[i]),
            "unexplored": float(ranked.unexplored[i]),
        }
        for i, atom in enumerate(open_atoms(queries))
    ]


def spread(n: int) -> np.ndarray:
    """Which of `n` lines hold answers, at most `LISTED` of them: both sides of triples spread evenly over all."""
    triples = np.unique(np.linspace(0, n // 2 - 1, min(n // 2, LISTED // 2)).round().astype(int))
    return (2 * triples[:, None] + np.arange(2)).reshape(-1)


def answers(
    kb: KnowledgeBase, query: np.ndarray, right: int, out: np.ndarray, said: Said, found: Answers, i: int
) -> dict[str, Any]:
    """What the line of a query says of single answers.

    Listed are the `TOP` answers with the highest score, known ones among them, the right one, and the best of those
    that are neither. A rank is among the constants that are not filtered out, the middle one of the tied; a known
    answer has none. Proofs are of the right answer and, where it has one, of the best wrong one.

    Args:
        kb: names what is listed.
        query: [3], 0 for the variable.
        right: the constant asked for.
        out: [n_constants + 1] bool, which constants the filter takes out.
        said: of the query.
        found: by the search, with its trail.
        i: place of the query in `found`.
    """
    wrong = np.where(said.anything & ~out, said.score, -np.inf)
    wrong[right] = -np.inf
    best_wrong = [int(np.argmax(wrong))] if wrong.max() > -np.inf else []
    listed = sorted(
        {*map(int, said.order(TOP)), right, *best_wrong}, key=lambda c: (-said.score[c], -said.probability[c], c)
    )
    candidates = said.score[1:][~out[1:]]
    ranked = []
    for c in listed:
        better, alike = (candidates > said.score[c]).sum(), (candidates == said.score[c]).sum()
        rank = None if out[c] else float(better + 1 + (alike - 1) / 2)
        ranked.append(said.answer(kb, c, bool(out[c])) | {"right": c == right, "rank": rank})
    proofs = []
    for c in (right, *best_wrong):
        steps = derivation(kb, query, found, i, c)
        if steps or c == right:
            proofs.append(
                {
                    "query": kb.format_atom(np.where(query == 0, c, query)),
                    "label": c == right,
                    "proved": steps is not None,
                    "probability": float(said.probability[c]),
                    "steps": [step.to_dict() for step in steps or []],
                }
            )
    return {"answers": {"of": int(said.anything.sum()), "listed": ranked}, "candidates": proofs}


def derivation(
    kb: KnowledgeBase, query: Sequence[int] | np.ndarray, found: Answers, i: int, answer: int
) -> list[Step] | None:
    """The most probable derivation of an answer to the query at place `i` of `found`; None where none is kept."""
    assert found.proofs is not None and found.onward is not None
    masses = np.where(found.proofs.answer[:, i] == answer, found.proofs.log_mass[:, i], -np.inf)
    depth, place = divmod(int(np.argmax(masses)), masses.shape[1])
    if masses[depth, place] == -np.inf:
        return None
    actions: list[Any] = []
    trail = found.proofs
    for d in range(depth, -1, -1):
        actions.append([x[d, i, place] for x in (trail.kind, trail.constants, trail.log_prob)])
        place, trail = int(trail.parent[d, i, place]), found.onward
    kinds, constants, log_probs = zip(*reversed(actions), strict=True)
    return explain(kb, query, kinds, constants, log_probs, bound_first=True)
