"""Attempts at proofs as trees: how they branch, which are shown, and that the steps of older runs are read."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.analysis.report import proof_trees
from ppo_jax.proving.explanation import explain
from ppo_jax.proving.knowledge_base import parse
from tests.analysis.report.attempts import GIVEN_UP, PROOF, RULE, as_before, queries, step

HOSTILE = "<script>alert(1)</script>|`*x*`](javascript:alert(2))"


def test_a_proof_is_a_tree():
    assert proof_trees.draw_text(proof_trees.tree("loc(a,e)", PROOF)).splitlines() == [
        "loc(a,e)         0.800   r1",
        "├─ near(a,b)     0.500   fact",
        "└─ loc(b,e)      0.900   r1",
        "   ├─ near(b,c)  1.000   fact",
        "   └─ loc(c,e)           known fact",
    ]


def test_an_attempt_that_gave_up_shows_what_is_left():
    assert proof_trees.draw_text(proof_trees.tree("loc(a,e)", GIVEN_UP)).splitlines()[-2:] == [
        "   ├─ near(b,X)  0.700   gave up",
        "   └─ loc(X,e)           left open",
    ]


def test_a_goal_of_the_resolvent_is_closed_by_a_fact_of_its_own():
    """The second goal is known only once the first has bound its variable; the third stays open till the end."""
    steps = [
        step("r2: p(X,Y) :- q(X,Z), r(Z,Y), s(Z,Y)", 0.5, 0, subgoals=["q(a,b)", "r(b,e)", "s(b,e)"]),
        step("fact q(a,b)", 0.5, 1, facts=["q(a,b)", "r(b,e)"], known=[2]),
        step("fact s(b,e)", 1.0, 3, facts=["s(b,e)"]),
    ]
    root = proof_trees.tree("p(a,e)", steps)
    assert [(one.text, one.by, one.probability) for one in root.children] == [
        ("q(a,b)", "fact", 0.5),
        ("r(b,e)", "known fact", None),
        ("s(b,e)", "fact", 1.0),
    ]


@pytest.mark.parametrize("constant", ["new york, the city", "f(x", HOSTILE])
def test_names_may_hold_anything(constant):
    steps = [
        step(RULE, 0.8, 0, subgoals=[f"near({constant},b)", "loc(b,e)"]),
        step(f"fact near({constant},b)", 0.5, 1, facts=[f"near({constant},b)", "loc(b,e)"], known=[2]),
    ]
    root = proof_trees.tree(f"loc({constant},e)", steps)
    assert [root.by, *(one.by for one in root.children)] == ["r1", "fact", "known fact"]
    assert root.children[0].text == f"near({constant},b)"


@pytest.mark.parametrize("constant", ["new york, the city", "f(x", HOSTILE])
def test_steps_that_do_not_number_their_goals_make_a_chain(constant):
    steps = [
        {"action": RULE, "probability": 0.8, "facts": [], "resolvent": [f"near({constant},X)", "loc(X,e)"]},
        {
            "action": f"fact near({constant},b)",
            "probability": 0.5,
            "facts": [f"near({constant},b)", "loc(b,e)"],
            "resolvent": [],
        },
    ]
    root = proof_trees.tree(f"loc({constant},e)", steps)
    assert [root.by, root.children[0].by] == [RULE, f"fact near({constant},b)"]
    assert root.children[0].children[0].text == "nothing left to prove"


def test_examples_are_one_of_each_kind():
    examples = proof_trees.examples("run", queries("b"))
    assert [one.verdict for one in examples] == ["true, and proved", "false, but proved", "true, but not proved"]
    assert [one.right for one in examples] == [True, False, False]
    assert examples[0].probability == pytest.approx(0.36)
    assert proof_trees.examples("run", ()) == () == proof_trees.examples("run", ({"query": "loc(a,e)"},))


def test_the_report_of_an_older_run_shows_its_attempts_as_chains():
    old = [
        one | {"candidates": [each | {"steps": as_before(each["steps"])} for each in one["candidates"]]}
        for one in queries("b")
    ]
    examples = proof_trees.examples("run", old)
    assert [one.verdict for one in examples] == ["true, and proved", "false, but proved", "true, but not proved"]
    assert proof_trees.draw_text(examples[0].tree).splitlines()[-1].endswith("proved")
    assert examples[0].tree.children[0].text == "near(a,X), loc(X,e)"


def test_the_steps_of_a_replayed_episode_make_the_tree_of_its_proof():
    kb = parse("near(a,b).\nnear(b,c).\nloc(c,e).\nloc(X,Y) :- near(X,Z), loc(Z,Y).")
    b, c = kb.constant_ids["b"], kb.constant_ids["c"]
    query = kb.parse_atom("loc(a,e)")
    rule, fact, end = 2, 1, 3
    bound = np.array([[0, 0], [0, b], [0, 0], [0, c]])
    log_probs = np.log([0.8, 0.5, 0.9, 1.0])
    name = kb.rules[0].name

    def lines(kinds: list[int]) -> list[str]:
        steps = [one.to_dict() for one in explain(kb, query, kinds, bound, log_probs)]
        return proof_trees.draw_text(proof_trees.tree("loc(a,e)", steps)).splitlines()

    assert lines([rule, fact, rule, fact]) == [
        f"loc(a,e)         0.800   {name}",
        "├─ near(a,b)     0.500   fact",
        f"└─ loc(b,e)      0.900   {name}",
        "   ├─ near(b,c)  1.000   fact",
        "   └─ loc(c,e)           known fact",
    ]
    assert lines([rule, fact, rule, end])[-2:] == [
        "   ├─ near(b,X)  1.000   gave up",
        "   └─ loc(X,e)           left open",
    ]
    assert lines([rule, fact, 0, 0]) == [
        f"loc(a,e)      0.800   {name}",
        "├─ near(a,b)  0.500   fact",
        "└─ loc(b,e)           left open",
    ]
