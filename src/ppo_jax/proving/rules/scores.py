"""The baseline `rules`: what follows from the facts by forward chaining, and how surely.

A rule derives a head atom with its confidence times the weight of the best match of its body. Rules are combined by
noisy-or, 1 − Π (1 − weight), or by the largest weight. At depth 1 bodies are matched by facts alone, at depth d also by
what depth d − 1 derives, with its score as weight. An atom with twice the same argument is never derived.

Scores are made for the constants that queries name, a chunk at a time: no more than `chunk` × constants numbers are
held, and the matches of one rule (`rule_bodies.MAX_MATCHES`). What depth 2 and deeper build on must be held as a whole,
at most `max_derived` atoms; beyond it the least certain are dropped and counted in `dropped`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from ppo_jax.proving.open_queries import HEAD, TAIL, OpenQueries
from ppo_jax.proving.rules.bodies import Matrix, Relations, body_rows, expand, relation_matrices, without_own

__all__ = ["Combine", "RuleScores", "RuleTable"]

Combine = Literal["noisy_or", "max"]

CERTAIN = 1 - 1e-12  # the surest that a single rule can be, so that a logarithm stays finite


class RuleScores:
    """Scores of all constants as answers to open queries."""

    def __init__(
        self,
        kb: KnowledgeBase,
        depth: int = 1,
        *,
        combine: Combine = "noisy_or",
        certain_steps: bool = False,
        max_derived: int = 20_000_000,
        chunk: int = 256,
        expected: Sequence[OpenQueries] = (),
        max_kept: int = 30_000_000,
    ) -> None:
        """Derive what deeper rounds build on.

        Args:
            kb: facts, and rules with confidences; a rule without one is not used.
            depth: rounds of forward chaining, at least 1.
            combine: how the rules that derive an atom are put together.
            certain_steps: whether a derived atom matches a body as a fact does, whatever its score.
            max_derived: derived atoms that are held between rounds (about 12 bytes each).
            chunk: constants whose answers are made together.
            expected: queries that will be asked, perhaps a few at a time and again: those of a predicate and side are
                scored together when the first comes, and their scores kept.
            max_kept: scores that are kept (about 12 bytes each); the rest is made anew when asked for.
        """
        self.kb, self.combine, self.certain_steps = kb, combine, certain_steps
        self._expected, self._room = expected, max_kept
        self._kept: dict[tuple[int, int], tuple[np.ndarray, Matrix]] = {}  # known constants, sorted, and their scores
        self.max_derived, self.chunk = max_derived, chunk
        self.dropped = 0  # derived atoms that were too many to be built on
        self._heads: dict[int, _Head] = {}
        for predicate in sorted({rule.head[0] for rule in kb.rules}):
            rules = [rule for rule in kb.rules if rule.head[0] == predicate and (rule.confidence or 0) > 0]
            self._heads[predicate] = _Head(
                [rule for rule in rules if _points_to_constant(rule) is None],
                {side: _constant_rules(rules, side, len(kb.constants) + 1) for side in (HEAD, TAIL)},
            )
        facts = relation_matrices(kb)
        self._relations = facts
        for _ in range(1, depth):
            self._relations = self._round(facts)

    def scores(self, queries: OpenQueries) -> np.ndarray:
        """How surely each constant is an answer.

        Returns:
            [Q, n_constants + 1] float64 in [0, 1); 0 where nothing is derived, and in the padding of column 0.
        """
        scores = np.zeros((len(queries.known), len(self.kb.constants) + 1))
        for predicate in np.unique(queries.predicate):
            for side in (HEAD, TAIL):
                asked = np.flatnonzero((queries.predicate == predicate) & (queries.side == side))
                if len(asked):
                    known, found = self._scored(int(predicate), side, queries.known[asked])
                    scores[asked] = found[np.searchsorted(known, queries.known[asked])].toarray()
        return scores

    def _scored(self, predicate: int, side: int, asked: np.ndarray) -> tuple[np.ndarray, Matrix]:
        """Known constants [R], sorted, `asked` among them, and their scores [R, n_constants + 1]."""
        if (kept := self._kept.get((predicate, side))) is not None and np.isin(asked, kept[0]).all():
            return kept
        expected = [x.known[(x.predicate == predicate) & (x.side == side)] for x in self._expected]
        asked = np.unique(asked)
        for known in (np.unique(np.concatenate([asked, *expected])), asked):
            parts, size = [], 0
            for begin in range(0, len(known), self.chunk):
                parts.append(self._rows(predicate, known[begin : begin + self.chunk], side))
                size += parts[-1].nnz
                if size > self._room and len(known) > len(asked):
                    break  # the expected ones would not fit
            else:
                break
        found = sparse.vstack(parts, format="csr")
        if expected and size <= self._room:
            self._room -= size
            self._kept[predicate, side] = known, found
        return known, found

    def derivations(self, predicate: int, rows: np.ndarray, side: int) -> Iterator[tuple[Rule | None, Matrix]]:
        """What each rule derives for `rows` [R] as the known constants: the rule and its weights [R, n_constants + 1].

        The rules with a constant in the head come as one matrix, without a rule, already combined: of −log(1 − weight)
        under noisy-or, of weights under the maximum.
        """
        head = self._heads.get(predicate)
        if head is None:
            return
        for rule in head.rules:
            yield rule, body_rows(rule, self._relations, rows, by_tail=side == HEAD)
        for pointed in (TAIL, HEAD):
            rules = head.constant_rules[pointed]
            if rules is not None:
                yield None, self._by_constant_rules(rules, rows, pointed == side)

    def _rows(self, predicate: int, rows: np.ndarray, side: int) -> Matrix:
        """Scores [R, N + 1] for the queries of a predicate and a side whose known constants are `rows`."""
        total = sparse.csr_matrix((len(rows), self._relations.size))
        for rule, found in self.derivations(predicate, rows, side):
            if rule is not None:
                weight = np.minimum(found.data * rule.confidence, CERTAIN)
                found.data = -np.log1p(-weight) if self.combine == "noisy_or" else weight
            total = total + found if self.combine == "noisy_or" else total.maximum(found)
        total = without_own(total, rows)
        if self.combine == "noisy_or":
            total.data = -np.expm1(-total.data)
        return total

    def _by_constant_rules(self, rules: _ConstantRules, rows: np.ndarray, constant_is_answer: bool) -> Matrix:
        """What the rules derive that point to a constant, combined, [R, N + 1]."""
        matches = rules.matches(self._relations, rows, constant_is_answer)
        return self._combine(*matches, (len(rows), self._relations.size))

    def _combine(self, row: np.ndarray, column: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> Matrix:
        """One entry for each cell, of −log(1 − weight) added up or of the largest weight."""
        weight = np.minimum(weight, CERTAIN)
        if self.combine == "noisy_or":
            matrix = sparse.csr_matrix((-np.log1p(-weight), (row, column)), shape=shape)
            matrix.sum_duplicates()
            return matrix
        key = row * shape[1] + column
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        best = np.maximum.reduceat(weight[order], starts) if len(starts) else weight[:0]
        return sparse.csr_matrix((best, (row[order][starts], column[order][starts])), shape=shape)

    def _round(self, facts: Relations) -> Relations:
        """Facts and what one more round derives, for the predicates that bodies ask for."""
        asked = {atom[0] for rule in self.kb.rules for atom in rule.body}
        every = np.arange(1, facts.size)
        derived: dict[int, list[Any]] = {predicate: [] for predicate in self._heads if predicate in asked}
        held, least = 0, 0.0
        for predicate, parts in derived.items():
            for begin in range(0, len(every), 4 * self.chunk):
                rows = every[begin : begin + 4 * self.chunk]
                found = self._rows(predicate, rows, TAIL).tocoo()
                keep = found.data >= least
                self.dropped += int((~keep).sum())
                parts.append((rows[found.row[keep]].astype(np.int32), found.col[keep], found.data[keep]))
                held += int(keep.sum())
                if held > self.max_derived:
                    held, least = self._drop(derived, held)
        matrices = {}
        for predicate in range(1, len(self.kb.predicates) + 1):
            matrix = facts.matrix(predicate)
            if derived.get(predicate):
                row, column, weight = (np.concatenate(columns) for columns in zip(*derived[predicate], strict=True))
                weight = np.ones(len(weight)) if self.certain_steps else weight
                matrix = matrix.maximum(sparse.csr_matrix((weight, (row, column)), shape=matrix.shape)).tocsr()
            matrices[predicate] = matrix
        return Relations(matrices, facts.n_constants)

    def _drop(self, derived: dict[int, list[Any]], held: int) -> tuple[int, float]:
        """Keep the surer half of what may be held; returns how many stay, and the least score that is held from now."""
        weights = np.concatenate([part[2] for parts in derived.values() for part in parts])
        least = float(np.partition(weights, len(weights) - self.max_derived // 2)[len(weights) - self.max_derived // 2])
        least = float(np.nextafter(least, 2))  # ties go with the rest, or they might fill the half again
        for parts in derived.values():
            for i, (row, column, weight) in enumerate(parts):
                keep = weight >= least
                parts[i] = row[keep], column[keep], weight[keep]
        stay = sum(len(part[2]) for parts in derived.values() for part in parts)
        self.dropped += held - stay
        return stay, least


class RuleTable:
    """Which rule derives what, one entry for each, where `RuleScores` has combined them."""

    def __init__(self, kb: KnowledgeBase, relations: Relations) -> None:
        """`relations` are the atoms that bodies are matched by."""
        self.kb, self._relations = kb, relations
        self._numbers: dict[int, list[int]] = {}
        for number, rule in enumerate(kb.rules):
            self._numbers.setdefault(rule.head[0], []).append(number)
        self._constant_rules: dict[tuple[int, int], _ConstantRules | None] = {}

    def numbers(self, predicate: int) -> list[int]:
        """The places of a predicate's rules among those of the knowledge base."""
        return self._numbers.get(predicate, [])

    def derivations(self, predicate: int, rows: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is derived for known constants `rows` [R]: row, answer and rule (its place in `numbers`), [M] each."""
        size = self._relations.size
        parts = [(np.zeros(0, np.int64),) * 3]
        by_side: dict[int, list[Rule]] = {HEAD: [], TAIL: []}
        for place, number in enumerate(self.numbers(predicate)):
            rule = self.kb.rules[number]
            pointed = _points_to_constant(rule)
            if pointed is not None:
                by_side[pointed].append(replace(rule, confidence=place + 1.0))  # products with 1 keep its place
                continue
            found = body_rows(rule, self._relations, rows, by_tail=side == HEAD).tocoo()
            parts.append((found.row.astype(np.int64), found.col.astype(np.int64), np.full(found.nnz, place)))
        for pointed, rules in by_side.items():
            if not rules:
                continue
            if (predicate, pointed) not in self._constant_rules:
                self._constant_rules[predicate, pointed] = _constant_rules(rules, pointed, size)
            table = self._constant_rules[predicate, pointed]
            assert table is not None
            row, column, from_one = table.matches(self._relations, rows, pointed == side)
            parts.append((row, column, np.rint(from_one).astype(np.int64) - 1))
        row, column, rule_place = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        keep = column != rows[row]
        return row[keep], column[keep], rule_place[keep]


class _Head(NamedTuple):
    """The rules for one predicate."""

    rules: list[Rule]  # all but those of the next field
    constant_rules: dict[int, _ConstantRules | None]  # by the side of the head's constant


class _ConstantRules:
    """Rules h(X,c) <- b(X,d) and h(X,c) <- b(X,Y) of one head predicate, c on one side: a table from bodies to c."""

    def __init__(self, rules: list[Rule], side: int, size: int) -> None:
        bodies: dict[tuple[int, int, int], int] = {}
        entries = []
        for rule in rules:
            (predicate, left, right), variable = rule.body[0], rule.head[1 if side == TAIL else 2]
            place = 0 if left == variable else 1
            other = right if place == 0 else left
            body = bodies.setdefault((predicate, place, max(other, 0)), len(bodies))
            entries.append((body, rule.head[2 if side == TAIL else 1], rule.confidence or 0.0))
        self._bodies = list(bodies)  # (predicate, place of X, constant or 0 for any)
        row, column, confidence = np.array(sorted(entries)).T  # a body twice for the same head stays two entries
        indptr = np.searchsorted(row, np.arange(len(bodies) + 1))
        shape = (len(bodies), size)
        self.confidence = sparse.csr_matrix((confidence, column.astype(np.int32), indptr), shape=shape)
        self._held: tuple[Relations, Matrix] | None = None

    def holds(self, relations: Relations) -> Matrix:
        """The weight of each body for each constant X, [n_constants + 1, bodies]."""
        if self._held is None or self._held[0] is not relations:
            columns = []
            for predicate, place, constant in self._bodies:
                across = relations.matrix(predicate, inverse=place == 0)  # row: the other argument, column: X
                column = across[constant] if constant else across.max(axis=0)
                columns.append(sparse.csr_matrix(column))
            self._held = relations, sparse.vstack(columns, format="csr").T.tocsr()
        return self._held[1]

    def matches(
        self, relations: Relations, rows: np.ndarray, constant_is_answer: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, answer and weight × confidence of each rule that derives an answer for `rows` [R] as known constants."""
        holds = self.holds(relations)
        if constant_is_answer:
            return expand(holds[rows], self.confidence)
        return expand(self.confidence.T.tocsr()[rows], holds.T.tocsr())


def _points_to_constant(rule: Rule) -> int | None:
    """The side of the head's constant in a rule of the forms that `_ConstantRules` takes."""
    _, first, second = rule.head
    if (first > 0) == (second > 0) or len(rule.body) != 1 or rule.different:
        return None
    _, left, right = rule.body[0]
    variable = min(first, second)
    if (left == variable) == (right == variable):
        return None
    return TAIL if second > 0 else HEAD


def _constant_rules(rules: list[Rule], side: int, size: int) -> _ConstantRules | None:
    chosen = [rule for rule in rules if _points_to_constant(rule) == side]
    return _ConstantRules(chosen, side, size) if chosen else None
