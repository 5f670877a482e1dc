"""Attempts at proofs as trees, from the steps in queries.jsonl: which to show, and how they branch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import msgspec

__all__ = ["Example", "Node", "draw_text", "examples", "tree"]

LONGEST = 12  # steps of an attempt that is still shown


@dataclass
class Node:
    """A goal of an attempt and what became of it."""

    text: str  # the atom, with all that the attempt bound put in
    by: str = "left open"  # "r1", "fact", "known fact", "gave up" or "left open"
    probability: float | None = None  # of the step that treated it; None where no step did
    children: list[Node] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        return self.by not in ("left open", "gave up")


@dataclass(frozen=True)
class Example:
    """An attempt worth showing."""

    run: str
    query: str
    label: bool  # whether the query is true
    proved: bool
    probability: float  # of all its steps together
    tree: Node

    @property
    def right(self) -> bool:
        return self.label == self.proved

    @property
    def verdict(self) -> str:
        """What happened, in words."""
        return {
            (True, True): "true, and proved",
            (True, False): "true, but not proved",
            (False, True): "false, but proved",
            (False, False): "false, and not proved",
        }[self.label, self.proved]


def examples(run: str, queries: Sequence[Mapping[str, Any]]) -> tuple[Example, ...]:
    """One attempt of each kind: true and proved, false but proved, true but not proved; where there are such.

    Of each kind the one that the policy was surest of, among those with a rule and at most `LONGEST` steps.

    Args:
        run: name of the run.
        queries: lines of its queries.jsonl.
    """
    found = [query.get("candidates") for query in queries]
    candidates = [one for each in found if isinstance(each, list) for one in each if _is_attempt(one)]
    chosen = []
    for label, proved in ((True, True), (False, True), (True, False)):
        kind = [one for one in candidates if (one.get("label"), one.get("proved")) == (label, proved)]
        kind = [one for one in kind if 2 <= len(one["steps"]) <= LONGEST] or kind[:1]
        # A proof in two steps shows little: longer ones first, up to the two hops that still fit a small screen.
        kind.sort(key=lambda one: (min(len(one["steps"]), 4), _probability(one["steps"])), reverse=True)
        for one in kind[:1]:
            steps = one["steps"]
            chosen.append(Example(run, one["query"], label, proved, _probability(steps), tree(one["query"], steps)))
    return tuple(chosen)


class _Step(TypedDict):
    action: str
    probability: float
    resolvent: list[str]
    goal: NotRequired[int]
    subgoals: NotRequired[list[str]]
    known: NotRequired[list[int]]


class _Attempt(TypedDict):
    query: str
    steps: list[_Step]


def _is_attempt(one: Any) -> bool:
    """Whether a candidate holds an attempt that can be drawn: what else a file may hold is passed over."""
    try:
        steps = msgspec.convert(one, _Attempt)["steps"]
    except msgspec.ValidationError:
        return False
    n_goals = 1
    for step in steps if all("goal" in step for step in steps) else ():
        if not 0 <= step["goal"] < n_goals:
            return False
        n_goals += len(step.get("subgoals", ()))
        if not all(0 <= number < n_goals for number in step.get("known", ())):
            return False
    return bool(steps)


def tree(query: str, steps: Sequence[Mapping[str, Any]]) -> Node:
    """Which goal each step treated, and what it left to prove.

    Steps of older versions do not say which goal they treated: they are a chain, each below the one before.

    Args:
        query: the ground root.
        steps: of an attempt, as in queries.jsonl.
    """
    if not all("goal" in step for step in steps):
        return _chain(query, steps)
    nodes = [Node(query)]  # by the number of their goal
    for step in steps:
        node = nodes[step["goal"]]
        node.by, node.probability = _treated_by(step["action"]), step["probability"]
        node.children = [Node(text) for text in step.get("subgoals", ())]
        nodes += node.children
        for number in step.get("known", ()):
            nodes[number].by = "known fact"
    return nodes[0]


def draw_text(node: Node) -> str:
    """The tree in lines of text, with the probability of each step at the right."""
    rows = list(_rows(node, "", ""))
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"{left:<{width}}  {right}".rstrip() for left, right in rows)


def _rows(node: Node, first: str, rest: str) -> Iterator[tuple[str, str]]:
    probability = "" if node.probability is None else f"{node.probability:.3f}"
    yield first + " ".join(node.text.split()), f"{probability:<5}   {' '.join(node.by.split())}"
    for i, child in enumerate(node.children):
        last = i == len(node.children) - 1
        yield from _rows(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _probability(steps: Iterable[Mapping[str, Any]]) -> float:
    return math.prod(step["probability"] for step in steps)


def _treated_by(action: str) -> str:
    if action == "end":
        return "gave up"
    return "fact" if action.startswith("fact ") else action.partition(":")[0]


def _chain(query: str, steps: Sequence[Mapping[str, Any]]) -> Node:
    root = last = Node(query)
    for step in steps:
        last.by, last.probability = str(step["action"]), step["probability"]
        below = Node(", ".join(step["resolvent"]) or "nothing left to prove")
        last.children, last = [below], below
    last.by = "left open" if steps and steps[-1]["resolvent"] else "proved"
    return root
