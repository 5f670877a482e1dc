"""The combined score: what is chosen is what ranks best, and with a prior every constant has a rank."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.proving.answers.combination import (
    WEIGHTS,
    Combined,
    choose_weights,
    combine,
    log_scale,
    rank_with_and_without,
)
from ppo_jax.proving.answers.evaluation import rank_by
from ppo_jax.proving.answers.query_text import format_query, parse_query
from ppo_jax.proving.knowledge_base import parse
from ppo_jax.proving.open_queries import KnownAnswers, OpenQueries, answer_ranks
from ppo_jax.proving.ranking import expected_reciprocal_rank
from ppo_jax.proving.rules.confidence import surest, with_counted_confidence
from ppo_jax.types import PPOJaxError

N, Q = 8, 40
NOBODY = KnownAnswers(np.zeros((0, 3), np.int32), N)


def queries() -> OpenQueries:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, N + 1, (2, Q)).astype(np.int32)
    ones = np.ones(Q, np.int32)
    return OpenQueries(ones, ids[0], ones, ids[1], np.arange(Q, dtype=np.int32))


def mrr(scores: np.ndarray) -> float:
    return float(expected_reciprocal_rank(*answer_ranks(scores, queries(), NOBODY)[:2]).mean())


def sources() -> dict[str, np.ndarray]:
    """Proofs that find half of the answers, rules that find the other half, and a weak prior."""
    rng, asked = np.random.default_rng(1), queries()
    proofs, rules = np.zeros((2, Q, N + 1))
    proofs[np.arange(0, Q, 2), asked.answer[::2]] = 0.4
    rules[np.arange(1, Q, 2), asked.answer[1::2]] = 0.8
    prior = rng.normal(size=(Q, N + 1))
    prior[np.arange(Q), asked.answer] += 0.5
    prior -= np.log(np.exp(prior).sum(axis=1, keepdims=True))
    return {"proofs": proofs, "rules": rules, "prior": prior}


def test_the_chosen_weights_rank_best_of_all_that_are_tried() -> None:
    logs = {name: log_scale(name, scores) for name, scores in sources().items()}
    weights, best = choose_weights(logs, queries(), NOBODY)
    assert weights["prior"] == 1.0
    every = [
        mrr(combine(logs, {"proofs": proofs, "rules": rules, "prior": 1.0})) for proofs in WEIGHTS for rules in WEIGHTS
    ]
    assert best == pytest.approx(max(every)) == pytest.approx(mrr(combine(logs, weights)))
    assert best > max(mrr(logs[name]) for name in logs)


def test_ranks_with_and_without_each_source_are_those_of_the_sums() -> None:
    said = sources()
    # A source is asked for a part of the queries at a time, told apart by their rows.
    asked = {name: (lambda part, x=x: x[part.triple]) for name, x in said.items()}
    weights = {"proofs": 0.5, "rules": 2.0, "prior": 1.0}
    ranked, without = rank_with_and_without(Combined(asked, weights), queries(), NOBODY, at_once=7)
    np.testing.assert_array_equal(ranked.rank, rank_by(Combined(asked, weights), queries(), NOBODY).rank)
    assert without.keys() == weights.keys()
    for name, ranks in without.items():
        rest = {other: x for other, x in asked.items() if other != name}
        np.testing.assert_array_equal(ranks, rank_by(Combined(rest, weights), queries(), NOBODY).rank)
    assert (without["proofs"] != ranked.rank).any()


def test_scores_keep_their_order_and_stay_finite() -> None:
    scores = np.linspace(0.0, 1.0, 50)[None]
    for source in ("proofs", "rules"):
        logs = log_scale(source, scores)
        assert np.isfinite(logs).all()
        assert (np.diff(logs) >= 0).all()


def test_the_surest_rules_of_each_head_stay_in_their_order() -> None:
    kb = parse(
        "p(a,b).\np(b,c).\np(c,d).\nq(a,b).\nq(b,c).\nr(a,b).\n"
        "q(X,Y) :- r(X,Y).\nq(X,Y) :- p(X,Y).\nq(X,Y) :- p(Y,X).\nr(X,Y) :- p(X,Y).\n"
    )
    counted = with_counted_confidence(kb)
    assert [rule.confidence for rule in counted.rules] == pytest.approx([1 / 6, 2 / 8, 0.0, 1 / 8])
    assert [rule.name for rule in surest(counted, 2).rules] == ["clause7", "clause8", "clause10"]
    assert [rule.name for rule in surest(counted, 1).rules] == ["clause8", "clause10"]
    assert surest(counted, 3) is counted


def test_rules_without_constants_are_taken_before_surer_ones_with() -> None:
    """A mined rule about one constant is often right twice of two, and answers nothing else."""
    kb = parse("p(a,b).\np(c,d).\nq(a,b).\nq(c,e).\nq(X,b) :- p(X,b).\nq(a,Y) :- p(a,Y).\nq(X,Y) :- p(X,Y).\n")
    counted = with_counted_confidence(kb)
    assert counted.rules[-1].confidence is not None
    assert [rule.name for rule in surest(counted, 1).rules] == [counted.rules[-1].name]
    assert len(surest(counted, 2).rules) == 2


@pytest.mark.parametrize(
    ("text", "shown"), [("p(a, X)", "p(a,X)"), ("p(?who,b).", "p(X,b)"), ("p(_, b)", "p(X,b)"), ("p(a,b)", "p(a,b)")]
)
def test_queries_are_read_and_written(text: str, shown: str) -> None:
    kb = parse("p(a,b).")
    assert format_query(kb, parse_query(kb, text)) == shown


def test_names_with_blanks_and_commas_are_read_bare_and_in_quotes() -> None:
    kb = parse("oak ton\tin\tYork, Upper\nb\tin\tit's")
    for place in ("oak ton", "'oak ton'", '"oak ton"'):
        assert parse_query(kb, f"in({place}, X)") == (1, 1, 0)
    for place in ("York, Upper", "'York, Upper'"):
        assert parse_query(kb, f"in(X, {place})") == (1, 0, 2)
        assert parse_query(kb, f"in(oak ton,{place})") == (1, 1, 2)
    assert parse_query(kb, "in(X,it's)") == (1, 0, 4)
    with pytest.raises(PPOJaxError, match=r"^query: 'in\(oak, b, X\)' has 3 arguments"):
        parse_query(kb, "in(oak, b, X)")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("oakton in X", "'oakton in X' is no atom; write one such as 'in(oakton, X)'"),
        ("in oakton X", "'in oakton X' is no atom; write one such as 'in(oakton, X)'"),
        ("oakton", "'oakton' is no atom; write one such as 'in(oakton,X)'"),
        ("in(Oakton,X)", "has two variables; write a constant for one of them; the nearest known is 'oakton'"),
        ("in(Y,X)", "has two variables; write a constant for one of them"),
        ("in()", "has 1 argument; every atom takes two"),
    ],
)
def test_a_query_that_cannot_be_read_shows_how_it_is_written(text: str, told: str) -> None:
    with pytest.raises(PPOJaxError) as error:
        parse_query(parse("oakton\tin\tnorland"), text)
    assert str(error.value).endswith(told)


def test_a_capital_that_a_fact_knows_is_a_constant() -> None:
    kb = parse("p(Ann,b).")
    assert parse_query(kb, "p(Ann,b)") == (1, 1, 2)
    assert parse_query(kb, "p(Ann,Who)") == (1, 1, 0)
    with pytest.raises(PPOJaxError, match="two variables"):
        parse_query(kb, "p(Who,What)")
    with pytest.raises(PPOJaxError, match=r"'p\(Who,nobody\)' names the unknown constant 'nobody'"):
        parse_query(kb, "p(Who,nobody)")
    with pytest.raises(PPOJaxError, match=r"'p\(Ann,X\)\)' names the unknown constant 'X\)'"):
        parse_query(kb, "p(Ann,X))")
    with pytest.raises(PPOJaxError, match=r"the unknown constant 'ann'; the nearest known is 'Ann'$"):
        parse_query(kb, "p(ann,b)")


def test_proofs_have_a_weight_only_where_they_surely_help() -> None:
    """One query of many that they put right is chance; half of them is not."""
    asked, rng = queries(), np.random.default_rng(2)
    prior = rng.normal(size=(Q, N + 1))
    prior[np.arange(Q), asked.answer] += 1.0
    logs = {"prior": prior - np.log(np.exp(prior).sum(axis=1, keepdims=True))}
    wrong = int(np.argmax(prior.argmax(axis=1) != asked.answer))
    for helped, used in ((slice(wrong, wrong + 1), False), (slice(None, None, 2), True)):
        proofs = np.zeros((Q, N + 1))
        proofs[np.arange(Q)[helped], asked.answer[helped]] = 0.9
        weights, best = choose_weights({"proofs": log_scale("proofs", proofs)} | logs, asked, NOBODY)
        assert (weights["proofs"] > 0.0) == used
        assert best >= mrr(logs["prior"])
