"""Proofs in words: replay the actions of an episode on the knowledge base's own names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ppo_jax.proving.knowledge_base import KnowledgeBase

__all__ = ["Step", "explain"]

Atom = tuple[int, int, int]
FACT = 1


@dataclass(frozen=True)
class Step:
    """One action of an episode."""

    action: str  # "fact neighborOf(germany,france)", "r1: … -> …" or "end"
    probability: float  # the policy gave it
    facts: tuple[str, ...]  # facts that this step used: the matched one and those deleted as known
    resolvent: tuple[str, ...]  # atoms left to prove after it; none: proved

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "action": self.action,
            "probability": self.probability,
            "facts": list(self.facts),
            "resolvent": list(self.resolvent),
        }


def explain(
    kb: KnowledgeBase, query: ArrayLike, kinds: ArrayLike, constants: ArrayLike, log_probs: ArrayLike
) -> list[Step]:
    """Replay the actions of one episode.

    Args:
        kb: the knowledge base they were taken on.
        query: [3], the ground root.
        kinds: [D] int, 0 after the end.
        constants: [D, 2] int, what a fact binds.
        log_probs: [D] float.
    """
    root: Atom = tuple(np.asarray(query).tolist())
    goals, fresh = [root], len(kb.constants) + 1
    steps = []
    for kind, bound, log_prob in zip(*(np.asarray(x).tolist() for x in (kinds, constants, log_probs)), strict=True):
        if kind == 0:
            break
        used: list[str] = []
        if kind == len(kb.rules) + 2:
            action = "end"
        else:
            leftmost, *rest = goals
            if kind == FACT:
                binding = {t: c for t, c in zip(leftmost[1:], bound, strict=True) if c}
                fact = _substitute(leftmost, binding)
                action = f"fact {kb.format_atom(fact)}"
                used.append(kb.format_atom(fact))
                goals = [_substitute(goal, binding) for goal in rest]
            else:
                rule = kb.rules[kind - 2]
                action = f"{rule.name}: {kb.format_rule(rule)}"
                renamed = {-i: fresh + i for i in range(1, 64)}
                fresh += 64
                head, *body = (_substitute(atom, renamed) for atom in (rule.head, *rule.body))
                binding = _unify(head, leftmost, len(kb.constants))
                goals = [_substitute(goal, binding) for goal in (*body, *rest)]
            known = [goal for goal in goals if goal != root and goal in _facts(kb)]
            used += [kb.format_atom(goal) for goal in known]
            goals = [goal for goal in goals if goal not in known]
        shown = _renumber(goals, len(kb.constants))
        steps.append(Step(action, float(np.exp(log_prob)), tuple(used), tuple(kb.format_atom(g) for g in shown)))
    return steps


@lru_cache(maxsize=4)
def _facts(kb: KnowledgeBase) -> frozenset[Atom]:
    return frozenset(map(tuple, kb.facts.tolist()))


def _substitute(atom: Atom, binding: dict[int, int]) -> Atom:
    predicate, *terms = atom
    while any(term in binding for term in terms):  # a rule variable may lead to a goal variable and on to a constant
        terms = [binding.get(term, term) for term in terms]
    return predicate, terms[0], terms[1]


def _unify(head: Atom, goal: Atom, n_constants: int) -> dict[int, int]:
    binding: dict[int, int] = {}
    for i in (1, 2):
        s, t = _substitute(head, binding)[i], _substitute(goal, binding)[i]
        if s != t:
            # The younger variable gives way, so that rule variables become goal variables and not the reverse.
            variable, term = (s, t) if s > n_constants and (s > t or t <= n_constants) else (t, s)
            binding[variable] = term
    return binding


def _renumber(goals: list[Atom], n_constants: int) -> list[Atom]:
    names: dict[int, int] = {}
    for _, *terms in goals:
        for term in terms:
            if term > n_constants:
                names.setdefault(term, n_constants + 1 + len(names))
    return [_substitute_once(goal, names) for goal in goals]


def _substitute_once(atom: Atom, names: dict[int, int]) -> Atom:
    return atom[0], names.get(atom[1], atom[1]), names.get(atom[2], atom[2])
