"""Mining of rules from the training facts: which bodies lead from the arguments of a fact to each other.

Two kinds of rules are looked for:

* paths ``h(X,Y) <- b1(X,Z), b2(Z,W), b3(W,Y)`` of one to three atoms, each in either direction, whose constants all
  differ (object identity, as in AnyBURL, Meilicke et al. 2019): so no fact supports itself,
* rules with constants, ``h(X,c) <- b(X,d)`` and ``h(X,c) <- b(X,Y)``, and the same with the constant first.

Candidates are read off the facts of each head: the paths between the two arguments of a fact. Then each candidate is
counted on the graph. Where a head has very many facts, a constant very many neighbours, or a body very many matches, a
sample of them is looked at, drawn with the seed; `Mined.sampled` says how many were. Memory is bounded by
`CANDIDATE_PATHS` paths and by `Limits.max_products` products of one body at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path as FilePath
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from ppo_jax.proving.rules.bodies import Path, Relations, ranges, relation_matrices, walk
from ppo_jax.proving.rules.confidence import RuleCount
from ppo_jax.proving.unfinished import Stages, Unfinished, digest
from ppo_jax.types import PPOJaxError

__all__ = ["Limits", "Mined", "MinedRule", "Progress", "Sampled", "describe", "mine", "state_of"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how far it is and of how much; an exception that it raises ends the mining."""

MAX_LENGTH = 3
CANDIDATE_PATHS = 2**21  # places of a path looked up together
BODIES_TOGETHER = 64  # counted from one look at the clock to the next


@dataclass(frozen=True)
class Limits:
    """What is looked for, and how much of it is kept."""

    max_length: int = 3  # atoms of a path, 1 to 3
    constants: bool = True  # whether rules with constants are mined too
    min_support: int = 2  # hits that a rule must have
    min_confidence: float = 0.01
    confidence: Literal["smoothed", "standard"] = "smoothed"  # hits / (pairs + 5), or hits / pairs
    max_rules_per_head: int = 500  # of either kind
    max_rules: int = 100_000
    facts_per_head: int = 300  # facts that candidates are read off
    neighbours: int = 32  # edges of a constant that candidates go through
    max_products: int = 1_000_000  # of a body that is counted; beyond it some of its first constants are sampled
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_length <= MAX_LENGTH:
            raise PPOJaxError(f"max_length = {self.max_length}: a path has 1 to {MAX_LENGTH} atoms")
        if not 0 <= self.min_confidence <= 1:
            raise PPOJaxError(f"min_confidence = {self.min_confidence} is not between 0 and 1")
        if self.seed < 0:
            raise PPOJaxError(f"seed = {self.seed} must be at least 0")
        for name in ("min_support", "max_rules_per_head", "max_rules", "facts_per_head", "neighbours", "max_products"):
            if getattr(self, name) < 1:
                raise PPOJaxError(f"{name} = {getattr(self, name)} must be at least 1")


class MinedRule(NamedTuple):
    """A rule and what it was counted to derive (estimates where its first constants were sampled)."""

    rule: Rule  # with its confidence
    counted: RuleCount


class Sampled(NamedTuple):
    """What was looked at in part only."""

    heads: int  # predicates with more than `facts_per_head` facts
    constants: int  # constants with more than `neighbours` edges, of those that candidates go through
    bodies: int  # bodies with more than `max_products` products


class Mined(NamedTuple):
    """Rules, the surest of each head first, and what was sampled for them."""

    rules: tuple[MinedRule, ...]
    candidates: int  # bodies and heads that were counted
    sampled: Sampled

    def added_to(self, kb: KnowledgeBase) -> KnowledgeBase:
        """The knowledge base with the mined rules in place of its own."""
        return replace(kb, rules=tuple(mined.rule for mined in self.rules))


def state_of(output: FilePath, kb: KnowledgeBase, limits: Limits, say: Callable[[str], None]) -> Unfinished:
    """What is kept of the mining of rules that are to be written to `output`; `say` is told what becomes of it."""
    return Unfinished(output, {"facts": digest(kb), **asdict(limits)}, say)


def mine(
    kb: KnowledgeBase,
    limits: Limits | None = None,
    progress: Progress | None = None,
    unfinished: Unfinished | None = None,
) -> Mined:
    """Mine rules from the facts of a knowledge base; its rules are not looked at, nor is any query.

    The same facts, limits and seed give the same rules, also where an interrupted mining goes on.

    Args:
        kb: its facts and names.
        limits: what is looked for.
        progress: called again and again; an exception that it raises ends the mining.
        unfinished: where what is done is kept, as of `state_of`; the caller removes it once the rules are written.
    """
    limits = limits or Limits()
    stages = Stages(progress or (lambda stage, done, total: None), unfinished)
    facts = kb.facts[kb.facts[:, 1] != kb.facts[:, 2]]
    graph = _Graph(facts, len(kb.predicates), len(kb.constants), limits)
    relations = relation_matrices(kb, facts)
    heads, n_facts = np.unique(facts[:, 0], return_counts=True)

    table, sampled_constants = stages.run("paths", len(heads), 4, lambda i: graph.candidates(int(heads[i])))
    wanted: dict[tuple[int, ...], list[int]] = {}  # body -> heads
    for head, *steps in table.astype(int).tolist():
        wanted.setdefault(tuple(step for step in steps if step), []).append(head)
    bodies = sorted(wanted)

    def count(i: int) -> tuple[np.ndarray, np.ndarray]:
        return _count_bodies(bodies, i, wanted, relations, limits)

    table, sampled_bodies = stages.run("counts", len(bodies), 4, count, BODIES_TOGETHER)
    found: dict[int, list[tuple[RuleCount, tuple[int, ...]]]] = {int(head): [] for head in heads}
    for head, body, hits, pairs in table.tolist():
        found[int(head)].append((RuleCount(hits, pairs), bodies[int(body)]))
    loops = {int(predicate) for predicate in np.unique(kb.facts[kb.facts[:, 1] == kb.facts[:, 2], 0])}
    rules: dict[int, list[MinedRule]] = {}
    for predicate, counted in found.items():
        best = sorted(counted, key=lambda one: (*_order(one[0], limits), len(one[1]), one[1]))
        best = best[: limits.max_rules_per_head]
        rules[predicate] = [MinedRule(_path_rule(predicate, steps, loops), count) for count, steps in best]
    n_candidates = sum(map(len, wanted.values()))
    if limits.constants:
        features = _Features(kb.facts, relations.size, limits)
        table, counted_constants = stages.run("constants", len(heads), 8, lambda i: features.rules(int(heads[i])))
        n_candidates += int(counted_constants.sum())
        for *atoms, hits, pairs in table.tolist():
            head, left, right, body, first, second = map(int, atoms)
            rule = Rule("", (head, left, right), ((body, first, second),), "")
            rules[head].append(MinedRule(rule, RuleCount(hits, pairs)))
    every = [mined for of_head in rules.values() for mined in of_head]
    if len(every) > limits.max_rules:
        kept = sorted(range(len(every)), key=lambda i: (*_order(every[i].counted, limits), i))[: limits.max_rules]
        every = [every[i] for i in sorted(kept)]
    named = tuple(_named(mined, number, limits) for number, mined in enumerate(every, start=1))
    stages.progress("counts", len(bodies), len(bodies))
    sampled_heads = int((n_facts > limits.facts_per_head).sum())
    sampled = Sampled(sampled_heads, len(np.unique(sampled_constants)), int(sampled_bodies.sum()))
    return Mined(named, n_candidates, sampled)


def describe(mined: Mined, kb: KnowledgeBase) -> dict[str, Any]:
    """Count what was mined, as plain values for JSON: a row for each kind of rule, its surest, and what was sampled."""
    rows: dict[str, list[MinedRule]] = {}
    for one in mined.rules:
        length = len(one.rule.body)
        constants = max(one.rule.head[1:]) > 0
        kind = "with constants" if constants else f"paths of {length} atom{'s' if length > 1 else ''}"
        rows.setdefault(kind, []).append(one)
    return {
        "rules": len(mined.rules),
        "candidates": mined.candidates,
        "kinds": [
            {
                "kind": kind,
                "rules": len(found),
                "heads": len({one.rule.head[0] for one in found}),
                "median_confidence": float(np.median([one.rule.confidence for one in found])),
                "surest": kb.format_rule(max(found, key=lambda one: one.rule.confidence or 0.0).rule),
            }
            for kind, found in sorted(rows.items())
        ],
        "sampled": mined.sampled._asdict(),
    }


class _Graph:
    """The facts as edges in both directions: edge label p - 1 goes along a fact of p, P + p - 1 against it."""

    def __init__(self, facts: np.ndarray, n_predicates: int, n_constants: int, limits: Limits) -> None:
        self.limits, self.facts = limits, facts
        self.n_labels, self.n_predicates = 2 * n_predicates, n_predicates
        self.size = n_constants + 1
        predicate, left, right = facts.astype(np.int64).T
        label = np.concatenate([predicate - 1, predicate - 1 + n_predicates])
        source, target = np.concatenate([left, right]), np.concatenate([right, left])
        order = np.lexsort((label, target, source))
        self._label, self._target = label[order], target[order]
        self._begin = np.searchsorted(source[order], np.arange(self.size + 1))
        self._pairs = source[order] * self.size + target[order]  # sorted
        self._sampled_edges: dict[int, np.ndarray] = {}

    def candidates(self, head: int) -> tuple[np.ndarray, np.ndarray]:
        """The bodies that lead from argument to argument of at least `min_support` facts.

        Returns:
            Rows of the head and the steps of a body, 0 beyond its end, [M, 4]; and the constants of which a sample of
            the edges was looked at for the first time, [R].

        Of facts that were sampled, the same share of `min_support` is asked for. No more than 4 × `max_rules_per_head`
        of a length are counted, those of the most facts.
        """
        limits = self.limits
        facts = self.facts[self.facts[:, 0] == head, 1:].astype(np.int64)
        least = limits.min_support
        if len(facts) > limits.facts_per_head:
            rng = np.random.default_rng([limits.seed, head])
            least = max(1, round(least * limits.facts_per_head / len(facts)))
            facts = facts[np.sort(rng.permutation(len(facts))[: limits.facts_per_head])]
        n_sampled = len(self._sampled_edges)
        rows: list[tuple[int, ...]] = []
        for length in range(1, limits.max_length + 1):
            codes = np.concatenate([np.zeros(0, np.int64), *self._codes(facts, length)])
            code, support = np.unique(codes, return_counts=True)
            if length == 1:
                support[code == head - 1] = 0  # the fact itself
            order = np.lexsort((code, -support))[: 4 * limits.max_rules_per_head]
            bodies = [self._labels(int(code[i]), length) for i in order if support[i] >= least]
            rows += [(head, *body, *(0,) * (MAX_LENGTH - length)) for body in bodies]
        return _table(rows, 1 + MAX_LENGTH), np.array(list(self._sampled_edges)[n_sampled:], float)

    def _labels(self, code: int, length: int) -> tuple[int, ...]:
        """Steps as numbers ±p, negative against the facts of p."""
        labels = [code // self.n_labels**i % self.n_labels for i in reversed(range(length))]
        return tuple(i + 1 if i < self.n_predicates else self.n_predicates - i - 1 for i in labels)

    def _codes(self, facts: np.ndarray, length: int) -> Iterator[np.ndarray]:
        """The codes of the paths of a length between the arguments of each fact, each once a fact."""
        degree = np.minimum(np.diff(self._begin), self.limits.neighbours)
        paths = np.ones(len(facts), np.int64)
        if length > 1:
            paths = paths * degree[facts[:, 0]]
        if length > 2:
            paths = paths * degree[facts[:, 1]]
        chunk = np.cumsum(paths) // CANDIDATE_PATHS
        for number in np.unique(chunk):
            fact, code = self._paths(facts[chunk == number], length)
            once = np.unique(fact * self.n_labels**length + code)
            yield once % self.n_labels**length

    def _paths(self, facts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Number of the fact and code of each path."""
        number, (start, end) = np.arange(len(facts)), facts.T
        first = last = np.zeros(len(facts), np.int64)
        here, there = start, end
        if length > 1:
            edges, lengths = self._edges(start)
            number = np.repeat(number, lengths)
            first, here = self._label[edges], self._target[edges]
            there = end[number]
            number, first, here, there = _where(here != there, number, first, here, there)
        if length > 2:
            edges, lengths = self._edges(there)
            owner = np.repeat(np.arange(len(number)), lengths)
            number, first, here = number[owner], first[owner], here[owner]
            last, there = self._against(self._label[edges]), self._target[edges]
            apart = (there != start[number]) & (there != here)
            number, first, here, last, there = _where(apart, number, first, here, last, there)
        key = here * self.size + there
        begin, stop = np.searchsorted(self._pairs, key), np.searchsorted(self._pairs, key, side="right")
        edges = ranges(begin, stop - begin)
        repeat = np.repeat(np.arange(len(key)), stop - begin)
        code = self._label[edges]
        if length > 1:
            code = first[repeat] * self.n_labels + code
        if length > 2:
            code = code * self.n_labels + last[repeat]
        return number[repeat], code

    def _against(self, label: np.ndarray) -> np.ndarray:
        return (label + self.n_predicates) % self.n_labels

    def _edges(self, constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The edges of each constant, at most `neighbours` of them, and how many those are."""
        different, place = np.unique(constants, return_inverse=True)
        parts = [self._edges_of(int(constant)) for constant in different]
        lengths = np.array([len(part) for part in parts], np.int64)
        begin = np.cumsum(lengths) - lengths
        every = np.concatenate([np.zeros(0, np.int64), *parts])
        return every[ranges(begin[place], lengths[place])], lengths[place]

    def _edges_of(self, constant: int) -> np.ndarray:
        begin, end = int(self._begin[constant]), int(self._begin[constant + 1])
        if end - begin <= self.limits.neighbours:
            return np.arange(begin, end)
        if constant not in self._sampled_edges:
            chosen = np.random.default_rng([self.limits.seed, 0, constant]).permutation(end - begin)
            self._sampled_edges[constant] = begin + np.sort(chosen[: self.limits.neighbours])
        return self._sampled_edges[constant]


class _Features:
    """What a constant has: an atom with another constant, or any atom of a predicate, at one side."""

    def __init__(self, facts: np.ndarray, size: int, limits: Limits) -> None:
        self.facts, self.size, self.limits = facts, size, limits
        predicate, left, right = facts.astype(np.int64).T
        constant = np.concatenate([left, right, left, right])
        place = np.repeat([0, 1, 0, 1], len(facts))
        other = np.concatenate([right, left, np.zeros(2 * len(facts), np.int64)])  # 0: any
        key = (np.tile(predicate, 4) * 2 + place) * size + other
        keys, column = np.unique(key, return_inverse=True)
        has = sparse.csr_matrix((np.ones(len(constant)), (constant, column)), shape=(size, len(keys)))
        has.data[:] = 1
        self.pairs = np.asarray(has.sum(axis=0)).ravel()
        often = np.flatnonzero(self.pairs >= limits.min_support)
        self.keys, self.pairs = keys[often], self.pairs[often]
        self.has_feature = has[:, often].T.tocsr()  # [features, constants]

    def rules(self, head: int) -> tuple[np.ndarray, np.ndarray]:
        """The rules with a constant in an atom of `head`: its atom, that of the body, hits and pairs, [M, 8].

        And how many were counted, [1].
        """
        limits = self.limits
        found: list[tuple[Any, ...]] = []
        counted = 0
        for place in (0, 1):  # of X in the head
            atoms = self.facts[(self.facts[:, 0] == head) & (self.facts[:, 1] != self.facts[:, 2])]
            members = (np.ones(len(atoms)), (atoms[:, 1 + place], atoms[:, 2 - place]))
            support = (self.has_feature @ sparse.csr_matrix(members, shape=(self.size, self.size))).tocoo()
            keep = support.data >= limits.min_support
            feature, constant, hits = support.row[keep], support.col[keep], support.data[keep]
            key = self.keys[feature]
            pairs = self.pairs[feature]
            if len(feature):  # the constant is no answer to itself
                pairs = pairs - np.asarray(self.has_feature[feature, constant]).ravel()
            itself = (key // self.size == head * 2 + place) & np.isin(key % self.size, 0) | (
                key == (head * 2 + place) * self.size + constant
            )
            counted += int((~itself).sum())
            confidence = hits / (pairs + 5) if limits.confidence == "smoothed" else hits / pairs
            keep = ~itself & (confidence >= limits.min_confidence)
            columns = (confidence, hits, pairs, key, constant)
            order = np.lexsort((constant[keep], key[keep], -hits[keep], -confidence[keep]))
            best = [column[keep][order[: limits.max_rules_per_head]] for column in columns]
            found += [(-c, -h, place, int(k), int(x), p) for c, h, p, k, x in zip(*best, strict=True)]
        rows = []
        for _, hits, place, key, constant, pairs in sorted(found)[: limits.max_rules_per_head]:
            head_atom = (head, -1, constant) if place == 0 else (head, constant, -1)
            (predicate, at), other = divmod(key // self.size, 2), key % self.size or -2
            body = (predicate, -1, other) if at == 0 else (predicate, other, -1)
            rows.append((*head_atom, *body, -float(hits), float(pairs)))
        return _table(rows, 8), np.array([counted], float)


def _count_bodies(
    bodies: Sequence[tuple[int, ...]],
    begin: int,
    wanted: Mapping[tuple[int, ...], list[int]],
    relations: Relations,
    limits: Limits,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a head, the number of a body, its hits and pairs, [M, 4]; and how many bodies were sampled, [1]."""
    rows, n_sampled = [], 0
    for number in range(begin, min(begin + BODIES_TOGETHER, len(bodies))):
        counts, sampled = _count_body(bodies[number], wanted[bodies[number]], relations, limits)
        n_sampled += sampled
        rows += [(head, number, *count) for head, count in counts if _good(count, limits)]
    return _table(rows, 4), np.array([n_sampled], float)


def _count_body(
    body: tuple[int, ...], heads: list[int], relations: Relations, limits: Limits
) -> tuple[list[tuple[int, RuleCount]], bool]:
    """Count a body for each of its heads, and say whether its first constants were sampled."""
    last = len(body)
    different = frozenset((i, j) for i, j in itertools.combinations(range(last + 1), 2) if j > i + 1)
    path = Path(tuple((abs(step), step < 0) for step in body), different)  # the facts have no loops
    steps = [relations.matrix(predicate, inverse) for predicate, inverse in path.steps]
    products = np.diff(steps[-1].indptr).astype(float)
    for step in reversed(steps[:-1]):
        products = step @ products
    rows = np.flatnonzero(products)
    total, share = float(products.sum()), 1.0
    if total > limits.max_products:
        rng = np.random.default_rng([limits.seed, *(abs(step) * 2 + (step < 0) for step in body)])
        rows = rng.permutation(rows)
        n_rows = max(1, int(np.searchsorted(np.cumsum(products[rows]), limits.max_products)))
        share = n_rows / len(rows)
        rows = np.sort(rows[:n_rows])
    derived = walk(path, relations, rows)
    counts = []
    for head in heads:
        hits = float(derived.multiply(relations.matrix(head)[rows]).sum())
        counts.append((head, RuleCount(hits / share, derived.nnz / share)))
    return counts, share < 1


def _confidence(count: RuleCount, limits: Limits) -> float:
    return count.confidence if limits.confidence == "smoothed" else count.standard_confidence


def _good(count: RuleCount, limits: Limits) -> bool:
    return count.hits >= limits.min_support and _confidence(count, limits) >= limits.min_confidence


def _order(count: RuleCount, limits: Limits) -> tuple[float, float]:
    """The surest and then the most often right come first."""
    return -_confidence(count, limits), -count.hits


def _path_rule(head: int, body: tuple[int, ...], loops: set[int]) -> Rule:
    """The rule of a path; constants that no self-loop could make the same are not said to differ."""
    places = [-1, *range(-3, -2 - len(body), -1), -2]
    atoms = []
    for i, step in enumerate(body):
        here, there = places[i], places[i + 1]
        atoms.append((step, here, there) if step > 0 else (-step, there, here))
    different = tuple(
        (places[i], places[j])
        for i, j in itertools.combinations(range(len(places)), 2)
        if j > i + 1 or abs(body[i]) in loops
    )
    return Rule("", (head, -1, -2), tuple(atoms), "", different=different)


def _named(mined: MinedRule, number: int, limits: Limits) -> MinedRule:
    confidence = _confidence(mined.counted, limits)
    return mined._replace(rule=replace(mined.rule, name=f"m{number}", source=f"mined:{number}", confidence=confidence))


def _table(rows: Sequence[Sequence[float]], width: int) -> np.ndarray:
    return np.array(rows, float).reshape(-1, width)


def _where(keep: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(column[keep] for column in columns)
