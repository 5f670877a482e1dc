"""Confidences learned together: how much each rule adds where other rules derive the same answer.

Under noisy-or a rule of confidence c adds w = −log(1 − c) to an answer's score −log(1 − score) = Σ w. Confidences that
are counted one by one count twice what two like rules say. Here the weights of the rules of a head are fitted together
on the training facts: for each fact, either side open, softmax of the scores over all constants that are not known to
answer, and the answer's likelihood made large (as RNNLogic+ weighs rules, Qu et al. 2021; w ≥ 0, so that the result is
again a set of confidences for `ppo_jax.proving.rules.scores`).

The fact asked for does not speak for itself: a mined path has distinct constants, and a path between the two arguments
that is no such fact cannot use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import sparse

from ppo_jax.proving.knowledge_base import KnowledgeBase
from ppo_jax.proving.open_queries import HEAD, TAIL, KnownAnswers, OpenQueries
from ppo_jax.proving.rules.bodies import Matrix, relation_matrices
from ppo_jax.proving.rules.scores import RuleTable

__all__ = ["with_learned_confidence"]

MAX_WEIGHT = 20.0  # a confidence of 1 − 2e-9


def with_learned_confidence(
    kb: KnowledgeBase,
    penalty: float = 10.0,
    *,
    max_queries: int = 1000,
    max_derivations: int = 20_000_000,
    iterations: int = 60,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> KnowledgeBase:
    """The knowledge base with confidences fitted to its facts.

    Args:
        kb: facts, and rules with confidences, from which the fit begins.
        penalty: of half the squared distance of the weights from those of the given confidences, in queries.
        max_queries: known constants of a head and side that are asked for; more are sampled.
        max_derivations: (query, answer, rule) held for a head and side (about 16 bytes each); fewer queries beyond it.
        iterations: of L-BFGS, at most.
        seed: of the samples.
        progress: called with the heads fitted and all of them, after each.
    """
    table = RuleTable(kb, relation_matrices(kb))
    heads = sorted({rule.head[0] for rule in kb.rules})
    rules = list(kb.rules)
    for done, head in enumerate(heads, start=1):
        numbers = table.numbers(head)
        parts = [
            _queries(
                table, head, side, len(numbers), max_queries, max_derivations, np.random.default_rng([seed, head, side])
            )
            for side in (TAIL, HEAD)
        ]
        start = np.array([-np.log1p(-min(rules[number].confidence or 0.0, 1 - 1e-8)) for number in numbers])
        for number, weight in zip(numbers, _fit(parts, start, penalty, iterations), strict=True):
            rules[number] = replace(rules[number], confidence=float(-np.expm1(-weight)))
        if progress:
            progress(done, len(heads))
    return replace(kb, rules=tuple(rules))


class _Queries:
    """Queries of a head and side: what each rule derives for them, and which answers are right."""

    def __init__(
        self, cells: Matrix, row: np.ndarray, known: np.ndarray, rest: np.ndarray, answers: np.ndarray
    ) -> None:
        self.cells = cells  # [cells, rules], 1 where the rule derives the cell
        self.by_rule = cells.T.tocsr()
        self.row = row  # [cells] query of each
        self.known = known  # [cells] bool, known to answer
        self.rest = rest  # [R] constants that nothing derives and that are not known to answer
        self.underived = answers  # [R] answers that nothing derives

    def loss(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log-likelihood of the answers, each against all that are not known, and its gradient."""
        score, n, wrong = self.cells @ weights, len(self.rest), ~self.known
        largest = np.zeros(n)  # of each query's wrong candidates; those that nothing derives have the score 0
        np.maximum.at(largest, self.row[wrong], score[wrong])
        relative = score - largest[self.row]
        size = np.exp(relative, where=wrong, out=np.zeros(len(score)))
        others = self.rest * np.exp(-largest) + np.bincount(self.row, size, n)
        log_others = np.log(np.maximum(others, np.finfo(float).tiny))
        owner, own = self.row[self.known], relative[self.known]
        log_total, log_underived = np.logaddexp(log_others[owner], own), np.logaddexp(log_others, -largest)
        loss = float(np.sum(log_total - own) + self.underived @ (log_underived + largest))
        pull = np.bincount(owner, np.exp(-log_total), n) + self.underived * np.exp(-log_underived)
        of_cell = size * pull[self.row]
        of_cell[self.known] = np.exp(own - log_total) - 1
        return loss, self.by_rule @ of_cell


def _queries(
    table: RuleTable,
    head: int,
    side: int,
    n_rules: int,
    max_queries: int,
    max_derivations: int,
    rng: np.random.Generator,
) -> _Queries:
    kb = table.kb
    facts = kb.facts[kb.facts[:, 0] == head]
    asked = facts[:, 1 if side == TAIL else 2]
    rows = np.unique(asked)
    if len(rows) > max_queries:
        rows = np.sort(rng.permutation(rows)[:max_queries])
    row, column, rule = table.derivations(head, rows, side)
    while len(row) > max_derivations:
        rows = np.sort(rng.permutation(rows)[: len(rows) // 2])
        row, column, rule = table.derivations(head, rows, side)
    size = len(kb.constants) + 1
    cells, cell = np.unique(row * size + column, return_inverse=True)
    matrix = sparse.csr_matrix((np.ones(len(cell)), (cell, rule)), shape=(len(cells), n_rules))
    full = np.full(len(rows), head, np.int32)
    query = OpenQueries(full, rows, np.full(len(rows), side, np.int32), rows, rows)
    is_known = KnownAnswers(facts, len(kb.constants)).mask(query)
    known = is_known[cells // size, cells % size]
    n_known = is_known.sum(axis=1)
    n_derived = np.bincount(cells // size, minlength=len(rows))
    n_both = np.bincount((cells // size)[known], minlength=len(rows))
    rest = len(kb.constants) - n_known - (n_derived - n_both)
    return _Queries(matrix, cells // size, known, rest.astype(float), (n_known - n_both).astype(float))


def _fit(parts: list[_Queries], start: np.ndarray, penalty: float, iterations: int) -> np.ndarray:
    from scipy import optimize  # a quarter of a second to import, which other tasks need not wait for

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        apart = weights - start
        total, gradient = 0.5 * penalty * float(apart @ apart), penalty * apart
        for part in parts:
            value, slope = part.loss(weights)
            total, gradient = total + value, gradient + slope
        return total, gradient

    bounds = [(0.0, MAX_WEIGHT)] * len(start)
    found = optimize.minimize(
        loss, np.minimum(start, MAX_WEIGHT), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations}
    )
    weights: np.ndarray = found.x
    return weights
