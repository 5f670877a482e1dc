"""Attempts at proofs as queries.jsonl holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

RULE = "r1: loc(X,Y) :- near(X,Z), loc(Z,Y)"


def step(
    action: str,
    probability: float,
    goal: int,
    resolvent: Sequence[str] = (),
    facts: Sequence[str] = (),
    subgoals: Sequence[str] = (),
    known: Sequence[int] = (),
) -> dict[str, Any]:
    return {
        "action": action,
        "probability": probability,
        "facts": list(facts),
        "resolvent": list(resolvent),
        "goal": goal,
        "subgoals": list(subgoals),
        "known": list(known),
    }


PROOF = [
    step(RULE, 0.8, 0, ["near(a,X)", "loc(X,e)"], subgoals=["near(a,b)", "loc(b,e)"]),
    step("fact near(a,b)", 0.5, 1, ["loc(b,e)"], facts=["near(a,b)"]),
    step(RULE, 0.9, 2, ["near(b,X)", "loc(X,e)"], subgoals=["near(b,c)", "loc(c,e)"]),
    step("fact near(b,c)", 1.0, 3, [], facts=["near(b,c)", "loc(c,e)"], known=[4]),
]
GIVEN_UP = [
    *PROOF[:2],
    PROOF[2] | {"subgoals": ["near(b,X)", "loc(X,e)"]},
    step("end", 0.7, 3, ["near(b,X)", "loc(X,e)"]),
]


def attempt(query: str, label: bool, proved: bool, steps: list) -> dict[str, Any]:
    return {"query": query, "label": label, "proved": proved, "steps": steps}


def queries(constant: str) -> tuple[dict[str, Any], ...]:
    strange = [step(f"fact loc({constant},e)", 0.8, 0, facts=[f"loc({constant},e)"])]
    candidates = [
        attempt("loc(a,e)", True, True, PROOF),
        attempt(f"loc({constant},e)", False, True, strange),
        attempt("loc(a,e)", True, False, GIVEN_UP),
    ]
    return ({"query": f"loc({constant},e)", "reciprocal_rank": 0.5, "candidates": candidates},)


def as_before(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps as version 0.1.0 wrote them, which did not number the goals."""
    return [{key: one[key] for key in ("action", "probability", "facts", "resolvent")} for one in steps]
