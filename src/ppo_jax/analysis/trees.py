"""Attempts at proofs as trees, rebuilt from the steps in queries.jsonl: which to show, and how they branch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Example", "Node", "draw_text", "examples", "tree"]

Term = str | int  # a name of the text, or a variable by its number
Atom = tuple[str, Term, Term]

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
    candidates = [one for query in queries for one in query.get("candidates", ()) if one.get("steps")]
    found = []
    for label, proved in ((True, True), (False, True), (True, False)):
        kind = [one for one in candidates if (one.get("label"), one.get("proved")) == (label, proved)]
        kind = [one for one in kind if 2 <= len(one["steps"]) <= LONGEST] or kind[:1]
        # A proof in two steps shows little: longer ones first, up to the two hops that still fit a small screen.
        kind.sort(key=lambda one: (min(len(one["steps"]), 4), _probability(one["steps"])), reverse=True)
        for one in kind[:1]:
            steps = one["steps"]
            found.append(Example(run, one["query"], label, proved, _probability(steps), tree(one["query"], steps)))
    return tuple(found)


def tree(query: str, steps: Sequence[Mapping[str, Any]]) -> Node:
    """Rebuild which goal each step treated and what it left to prove.

    Goals are treated leftmost first. Where names hold commas or parentheses that leave the text ambiguous, the steps
    are a chain instead: each below the one before.

    Args:
        query: the ground root.
        steps: action, probability, facts used and resolvent of each step, as in queries.jsonl.
    """
    try:
        return _resolve(query, steps)
    except (ValueError, LookupError):
        root = last = Node(query)
        for step in steps:
            last.by, last.probability = str(step["action"]), step["probability"]
            below = Node(", ".join(step["resolvent"]) or "nothing left to prove")
            last.children, last = [below], below
        last.by = "left open" if steps and steps[-1]["resolvent"] else "proved"
        return root


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


def _resolve(query: str, steps: Sequence[Mapping[str, Any]]) -> Node:
    root = _atom(query, None)
    nodes: list[tuple[Node, Atom]] = [(Node(query), root)]
    goals, binding, fresh = [0], dict[int, Term](), 0  # goals: numbers of the nodes still open, leftmost first
    for step in steps:
        node, goal = nodes[goals[0]]
        node.probability = step["probability"]
        kind, _, rest = step["action"].partition(" ")
        facts = list(step["facts"])
        if step["action"] == "end":
            node.by = "gave up"
            break
        if kind == "fact":
            node.by = "fact"
            _unify(_atom(rest, None), goal, binding)
            facts.remove(rest)
            goals = goals[1:]
        else:
            node.by = kind.removesuffix(":")
            names: dict[str, int] = {}
            head, *body = (_atom(text, names, fresh) for text in re.findall(r"[^\s(]+\([^()]*\)", rest))
            fresh += len(names)
            _unify(head, goal, binding)
            node.children = [Node("") for _ in body]
            below = range(len(nodes), len(nodes) + len(body))
            nodes += zip(node.children, body, strict=True)
            goals = [*below, *goals[1:]]
        for i in list(goals):
            if _write(nodes[i][1], binding) in facts:
                nodes[i][0].by = "known fact"
                goals.remove(i)
        if [nodes[i][1][0] for i in goals] != [text.partition("(")[0] for text in step["resolvent"]]:
            raise ValueError("the goals are not those of the resolvent")
    free = dict.fromkeys(term for _, goal in nodes for end in goal[1:] if isinstance(term := _value(end, binding), int))
    letters: dict[int, Term] = {term: "XYZWUV"[i] if i < 6 else f"V{i}" for i, term in enumerate(free)}
    for node, goal in nodes:
        node.text = _write(goal, binding | letters)
    return nodes[0][0]


def _atom(text: str, names: dict[str, int] | None, fresh: int = 0) -> Atom:
    """Read ``p(a,b)``; with `names`, capitalised terms are variables, numbered from `fresh` on."""
    match = re.fullmatch(r"([^(]+)\(([^(),]+),([^(),]+)\)", text)
    if match is None:
        raise ValueError(f"{text}: not an atom of two plain terms")
    predicate, *terms = (part.strip() for part in match.groups())
    if names is None:
        return predicate, terms[0], terms[1]
    left, right = (
        names.setdefault(term, fresh + len(names)) if term[0].isupper() or term[0] == "_" else term for term in terms
    )
    return predicate, left, right


def _unify(a: Atom, b: Atom, binding: dict[int, Term]) -> None:
    if a[0] != b[0]:
        raise ValueError("different predicates")
    for s, t in zip(a[1:], b[1:], strict=True):
        s, t = _value(s, binding), _value(t, binding)
        if s == t:
            continue
        if isinstance(s, int):
            binding[s] = t
        elif isinstance(t, int):
            binding[t] = s
        else:
            raise ValueError("different constants")


def _value(term: Term, binding: Mapping[int, Term]) -> Term:
    while isinstance(term, int) and term in binding:
        term = binding[term]
    return term


def _write(atom: Atom, binding: Mapping[int, Term]) -> str:
    terms = (_value(term, binding) for term in atom[1:])
    return f"{atom[0]}({','.join(f'?{term}' if isinstance(term, int) else term for term in terms)})"
