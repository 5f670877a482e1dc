"""What rules derive from facts, found by applying them over and over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ppo_jax.proving.knowledge_base import Atom, KnowledgeBase, Rule

__all__ = ["derive"]

_MOST_ATOMS = 10_000
_MOST_STEPS = 500_000


def derive(kb: KnowledgeBase, most: int = _MOST_ATOMS) -> list[Atom]:
    """Atoms that follow from the facts and are none of them, in the order in which they are found.

    Stops at `most` atoms, and where a graph takes too long: this is to find some queries, not to answer all.
    """
    index = _Index()
    for fact in kb.facts.tolist():
        index.add((fact[0], fact[1], fact[2]))
    found: list[Atom] = []
    steps = [_MOST_STEPS]
    size = -1
    while size < len(found) < most and steps[0] > 0:
        size = len(found)
        for rule in kb.rules:
            # The atoms of a rule are added once it is through, so that no set changes while it is walked.
            new = dict.fromkeys(atom for atom in _heads(rule, index, steps) if atom not in index.all)
            for atom in list(new)[: most - len(found)]:
                index.add(atom)
                found.append(atom)
    return found


class _Index:
    def __init__(self) -> None:
        self.all: dict[Atom, None] = {}
        self.by: dict[tuple[int, int, int], list[Atom]] = defaultdict(list)  # predicate, 0 | 1 | 2, term
        self.of: dict[int, list[Atom]] = defaultdict(list)

    def add(self, atom: Atom) -> None:
        self.all[atom] = None
        self.of[atom[0]].append(atom)
        for place in (1, 2):
            self.by[atom[0], place, atom[place]].append(atom)

    def matching(self, predicate: int, left: int, right: int) -> Sequence[Atom]:
        """Atoms that agree with the terms that are constants."""
        if left > 0 and right > 0:
            return [(predicate, left, right)] if (predicate, left, right) in self.all else []
        if left > 0 or right > 0:
            return self.by.get((predicate, 1, left) if left > 0 else (predicate, 2, right), [])
        return self.of.get(predicate, [])


def _heads(rule: Rule, index: _Index, steps: list[int]) -> Iterator[Atom]:
    def walk(goals: Sequence[Atom], bound: dict[int, int]) -> Iterator[Atom]:
        if not goals:
            if all(bound.get(left, left) != bound.get(right, right) for left, right in rule.different):
                predicate, left, right = rule.head
                yield predicate, bound.get(left, left), bound.get(right, right)
            return
        predicate, left, right = goals[0]
        for _, first, second in index.matching(predicate, bound.get(left, left), bound.get(right, right)):
            steps[0] -= 1
            if steps[0] <= 0:
                return
            more = dict(bound)
            if left < 0:
                more[left] = first
            if right < 0 and more.setdefault(right, second) != second:
                continue
            yield from walk(goals[1:], more)

    yield from walk(rule.body, {})
