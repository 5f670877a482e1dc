"""Rule weights fitted together: the loss against plain Python, its gradient, and a doubled rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from ppo_jax.proving.knowledge_base import parse
from ppo_jax.proving.open_queries import TAIL
from ppo_jax.proving.rules.bodies import relation_matrices
from ppo_jax.proving.rules.confidence import with_counted_confidence
from ppo_jax.proving.rules.scores import RuleTable
from ppo_jax.proving.rules.weights import _queries, with_learned_confidence

FACTS = "".join(f"q(a{i},b{i}).\nr(a{i},c{i}).\n" for i in range(8)) + "".join(f"p(a{i},b{i}).\n" for i in range(7))
KB = parse(FACTS + "r0:1:q(X,Y) -> p(X,Y)\nr1:1:r(X,Y) -> p(X,Y)\nr2:1:q(X,Y) -> p(X,Y)\n")


def test_loss_and_gradient() -> None:
    table, rng = RuleTable(KB, relation_matrices(KB)), np.random.default_rng(0)
    head = KB.predicate_ids["p"]
    queries = _queries(table, head, TAIL, 3, 1000, 10**6, rng)
    weights = np.array([0.5, 0.2, 0.7])
    # Each answer scores 0.5 + 0.7, one other constant 0.2, and 22 of the 24 constants are derived by nothing.
    expected = 7 * -np.log(np.exp(1.2) / (np.exp(1.2) + np.exp(0.2) + len(KB.constants) - 2))
    assert queries.loss(weights)[0] == pytest.approx(expected)
    wrong = optimize.check_grad(lambda w: queries.loss(w)[0], lambda w: queries.loss(w)[1], weights)
    assert wrong < 1e-5


def test_what_is_right_outweighs_what_is_not() -> None:
    kb = with_counted_confidence(KB)
    start = replace(kb, rules=tuple(replace(rule, confidence=0.5) for rule in kb.rules))
    right, wrong, twice = (rule.confidence for rule in with_learned_confidence(start, penalty=0.1).rules)
    assert right is not None and wrong is not None
    assert right > 0.8 > 0.5 > wrong
    assert right == pytest.approx(twice, abs=1e-4)


def test_the_penalty_keeps_the_given_confidences() -> None:
    kb = with_counted_confidence(KB)
    learned = with_learned_confidence(kb, penalty=1e9).rules
    assert [rule.confidence for rule in learned] == pytest.approx([rule.confidence for rule in kb.rules], abs=1e-5)


def test_huge_weights_do_not_overflow() -> None:
    table = RuleTable(KB, relation_matrices(KB))
    queries = _queries(table, KB.predicate_ids["p"], TAIL, 3, 1000, 10**6, np.random.default_rng(0))
    loss, gradient = queries.loss(np.full(3, 2000.0))
    assert np.isfinite(loss) and np.isfinite(gradient).all()
