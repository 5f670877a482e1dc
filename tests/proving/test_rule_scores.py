"""Confidences and noisy-or scores against plain Python on small random programs, and against published numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_jax.proving import datasets
from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from ppo_jax.proving.open_queries import OpenQueries, answer_ranks, known_answers, open_queries
from ppo_jax.proving.ranking import expected_reciprocal_rank
from ppo_jax.proving.rules import bodies as rule_bodies
from ppo_jax.proving.rules.bodies import as_path, relation_matrices
from ppo_jax.proving.rules.confidence import count_rule, with_counted_confidence
from ppo_jax.proving.rules.scores import RuleScores
from tests.proving.logic_programs import random_kb

DATA = Path(__file__).parents[2].parent / "shared" / "data"
Weights = dict[tuple[int, int, int], float]

# Bodies that the products are written for: chains of distinct constants, and what constants and sharing make of them.
RULES = [
    Rule("", (1, -1, -2), ((2, -2, -1),), ""),
    Rule("", (1, -1, -2), ((1, -1, -3), (2, -2, -3)), "", different=((-1, -2),)),
    Rule("", (1, -1, -2), ((2, -1, -3), (1, -4, -3), (2, -4, -2)), "", different=((-1, -2), (-1, -4), (-3, -2))),
    Rule("", (2, -1, -2), ((1, -1, -3), (2, -3, -4), (1, -4, -2)), "", different=((-4, -1),)),
    Rule("", (2, -1, -2), ((1, -1, -3), (2, -3, -4), (1, -4, -2)), "", different=((-3, -2), (-1, -3), (-4, -2))),
    Rule("", (2, -1, -2), ((1, -1, -3), (2, -3, -2), (1, -2, -4)), "", different=((-4, -1), (-3, -4))),
    Rule("", (1, -1, 2), ((2, -1, 1),), ""),
    Rule("", (1, 3, -1), ((2, -2, -1),), ""),
    Rule("", (1, -1, 1), ((1, -1, -2),), "", different=((-2, 1),)),
]


def matches(rule: Rule, weights: Weights, constants: range) -> Weights:
    """The head atoms of a rule with the weight of their best match: every assignment of its variables is tried."""
    variables = sorted({term for atom in (rule.head, *rule.body) for term in atom[1:] if term < 0})
    found: Weights = {}
    for values in itertools.product(constants, repeat=len(variables)):
        value = dict(zip(variables, values, strict=True))
        if any(value.get(left, left) == value.get(right, right) for left, right in rule.different):
            continue
        weight = 1.0
        for p, left, right in rule.body:
            weight *= weights.get((p, value.get(left, left), value.get(right, right)), 0.0)
        p, left, right = rule.head
        atom = (p, value.get(left, left), value.get(right, right))
        found[atom] = max(found.get(atom, 0.0), weight)
    return {atom: weight for atom, weight in found.items() if weight}


def forward(kb: KnowledgeBase, depth: int, combine: str, certain: bool) -> Weights:
    """Scores by forward chaining in plain Python."""
    constants = range(1, len(kb.constants) + 1)
    facts = {tuple(map(int, fact)): 1.0 for fact in kb.facts}
    weights, scores = facts, {}
    for _ in range(depth):
        misses: Weights = {}
        for rule in kb.rules:
            for atom, weight in matches(rule, weights, constants).items():
                if atom[1] != atom[2] and rule.confidence:
                    miss = 1 - rule.confidence * weight
                    misses[atom] = (
                        misses.get(atom, 1.0) * miss if combine == "noisy_or" else min(miss, misses.get(atom, 1))
                    )
        scores = {atom: 1 - miss for atom, miss in misses.items()}
        weights = {**{atom: 1.0 if certain else score for atom, score in scores.items()}, **facts}
    return scores


def programs(seed: int) -> KnowledgeBase:
    """A random program, with rules of every kind and with confidences."""
    rng = np.random.default_rng(seed)
    kb = random_kb(seed, n_facts=int(rng.integers(6, 13)), max_variables=3)
    constants = int(kb.facts[:, 1:].max())
    chosen = [RULES[i] for i in rng.permutation(len(RULES))[:3]]
    rules = [replace(rule, confidence=float(rng.choice([0.0, 0.25, 0.6, 1.0]))) for rule in (*kb.rules, *chosen)]
    return replace(kb, rules=tuple(rules), constants=kb.constants[: max(constants, 3)])


def all_queries(kb: KnowledgeBase) -> OpenQueries:
    n, p = len(kb.constants), len(kb.predicates)
    asked = np.array(list(itertools.product(range(1, p + 1), range(1, n + 1), (0, 1))), np.int32)
    return OpenQueries(asked[:, 0], asked[:, 1], asked[:, 2], asked[:, 1], np.arange(len(asked)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_counts_equal_a_count_in_plain_python(seed: int) -> None:
    kb = programs(seed)
    relations, facts = relation_matrices(kb), {tuple(map(int, fact)): 1.0 for fact in kb.facts}
    for rule in kb.rules:
        derived = [atom for atom in matches(rule, facts, range(1, len(kb.constants) + 1)) if atom[1] != atom[2]]
        count = count_rule(rule, relations, chunk=2)
        assert (count.hits, count.pairs) == (sum(atom in facts for atom in derived), len(derived))
        assert count.confidence == count.hits / (count.pairs + 5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3]), st.sampled_from(["noisy_or", "max"]), st.booleans())
def test_scores_equal_forward_chaining_in_plain_python(seed: int, depth: int, combine: str, certain: bool) -> None:
    kb = programs(seed)
    queries = all_queries(kb)
    scores = RuleScores(kb, depth, combine=combine, certain_steps=certain, chunk=2).scores(queries)
    expected = forward(kb, depth, combine, certain)
    for row, (predicate, known, side) in enumerate(zip(queries.predicate, queries.known, queries.side, strict=True)):
        assert scores[row, 0] == 0
        for constant in range(1, len(kb.constants) + 1):
            atom = (predicate, known, constant) if side else (predicate, constant, known)
            assert scores[row, constant] == pytest.approx(expected.get(atom, 0.0), abs=1e-9)


def test_paths_are_told_from_other_bodies() -> None:
    assert [as_path(rule) is not None for rule in RULES] == [True] * 5 + [False] * 4
    path = as_path(RULES[2])
    assert path is not None and path.steps == ((2, False), (1, True), (2, False))
    assert path.different == {(0, 2), (0, 3), (1, 3)} and path.reverse.reverse == path


def test_few_matches_at_a_time_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    kb = programs(3)
    queries = all_queries(kb)
    whole = RuleScores(kb, 2).scores(queries)
    monkeypatch.setattr(rule_bodies, "MAX_MATCHES", 4)
    np.testing.assert_allclose(RuleScores(kb, 2).scores(queries), whole, atol=1e-12)


@pytest.mark.parametrize("max_kept", [0, 100, 10_000])
def test_expected_queries_are_scored_together_with_the_same_scores(max_kept: int, monkeypatch) -> None:
    dataset = datasets.load("countries_s3", "rules_full.txt")
    kb, queries = with_counted_confidence(dataset.kb), open_queries(dataset, "train")
    alone = RuleScores(kb).scores(queries)
    made = []
    rows = RuleScores._rows
    monkeypatch.setattr(RuleScores, "_rows", lambda self, *which: made.append(which) or rows(self, *which))
    together = RuleScores(kb, expected=[queries], max_kept=max_kept)
    parts = [OpenQueries(*(column[i::5] for column in queries)) for i in (0, 1, 2, 3, 4, 2)]
    for i, part in zip((0, 1, 2, 3, 4, 2), parts, strict=True):
        np.testing.assert_array_equal(together.scores(part), alone[i::5])
    if max_kept == 10_000:
        assert len(made) == len(set(zip(queries.predicate.tolist(), queries.side.tolist(), strict=True)))


def test_what_cannot_be_held_is_dropped_and_counted() -> None:
    kb = datasets.load("countries_s3", "rules_full.txt").kb
    kb = with_counted_confidence(kb)
    full, short = RuleScores(kb, 2), RuleScores(kb, 2, max_derived=20)
    assert full.dropped == 0 and short.dropped > 0


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize(("rules", "depth", "mrr"), [("rules.txt", 1, 0.912), ("rules_143.txt", 1, 0.945)])
def test_family_as_published(rules: str, depth: int, mrr: float) -> None:
    dataset = datasets.load(DATA / "family", rules)
    queries, known = open_queries(dataset, "test"), known_answers(dataset, "test")
    rules_alone = RuleScores(with_counted_confidence(dataset.kb), depth)
    reciprocal = []
    for begin in range(0, len(queries.known), 1024):
        part = OpenQueries(*(column[begin : begin + 1024] for column in queries))
        better, tied, _ = answer_ranks(rules_alone.scores(part), part, known)
        reciprocal.append(expected_reciprocal_rank(better, tied))
    assert np.concatenate(reciprocal).mean() == pytest.approx(mrr, abs=5e-4)
