"""Proofs in words: replay the actions of an episode on the knowledge base's own names."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """One action of an episode.

    The goals of an episode have numbers: 0 is the query, and each rule adds what it asks for, in order.
    """

    action: str  # "fact neighborOf(germany,france)", "r1: … -> …" or "end"
    probability: float  # the policy gave it
    facts: tuple[str, ...]  # facts that this step used: the matched one and those deleted as known
    resolvent: tuple[str, ...]  # atoms left to prove after it; none: proved
    goal: int  # number of the goal that it treated, the leftmost open one
    subgoals: tuple[str, ...]  # what its rule asks for, with all that the whole episode bound put in
    known: tuple[int, ...]  # numbers of the goals that it deleted as known facts

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "action": self.action,
            "probability": self.probability,
            "facts": list(self.facts),
            "resolvent": list(self.resolvent),
            "goal": self.goal,
            "subgoals": list(self.subgoals),
            "known": list(self.known),
        }


def explain(
    kb: KnowledgeBase,
    query: ArrayLike,
    kinds: ArrayLike,
    constants: ArrayLike,
    log_probs: ArrayLike,
    *,
    bound_first: bool = False,
) -> list[Step]:
    """Replay the actions of one episode.

    Args:
        kb: the knowledge base they were taken on.
        query: [3], the root; 0 for a variable.
        kinds: [D] int, 0 after the end.
        constants: [D, 2] int, what a fact binds.
        log_probs: [D] float.
        bound_first: the first goal with a bound argument was treated, else the leftmost.
    """
    n_constants = len(kb.constants)
    variable = n_constants + 1
    predicate, *arguments = np.asarray(query).tolist()
    root: Atom = (predicate, arguments[0] or variable, arguments[1] or variable)
    atoms = [root]  # of every goal, by number, as its rule wrote it
    open_goals = [(0, root)]  # leftmost first, with what was bound so far put in
    bindings: dict[int, int] = {}  # of all steps together
    fresh = variable + 1
    steps: list[Step] = []
    asked_for: list[range] = []  # of each step the numbers of its subgoals
    for kind, bound, log_prob in zip(*(np.asarray(x).tolist() for x in (kinds, constants, log_probs)), strict=True):
        if kind == 0:
            break
        used: list[str] = []
        known: list[int] = []
        n_goals = len(atoms)
        places = [i for i, (_, atom) in enumerate(open_goals) if min(atom[1:]) <= n_constants] if bound_first else []
        rest = list(open_goals)
        number, goal = rest.pop(places[0] if places else 0)
        if kind == len(kb.rules) + 2:
            action = "end"
        else:
            if kind == FACT:
                binding = {t: c for t, c in zip(goal[1:], bound, strict=True) if c}
                fact = _substitute(goal, binding)
                action = f"fact {kb.format_atom(fact)}"
                used.append(kb.format_atom(fact))
            else:
                rule = kb.rules[kind - 2]
                action = f"{rule.name}: {kb.format_rule(rule)}"
                renamed = {-i: fresh + i for i in range(1, 64)}
                fresh += 64
                head, *body = (_substitute(atom, renamed) for atom in (rule.head, *rule.body))
                binding = _unify(head, goal, n_constants)
                atoms += body
                rest = [*enumerate(body, start=n_goals), *rest]
            bindings |= binding
            open_goals = [(i, _substitute(atom, binding)) for i, atom in rest]
            known = [i for i, atom in open_goals if atom != root and atom in _facts(kb)]
            used += [kb.format_atom(atom) for i, atom in open_goals if i in known]
            open_goals = [(i, atom) for i, atom in open_goals if i not in known]
        left = _renumber([atom for _, atom in open_goals], n_constants)
        asked_for.append(range(n_goals, len(atoms)))
        steps.append(
            Step(
                action=action,
                probability=float(np.exp(log_prob)),
                facts=tuple(used),
                resolvent=tuple(kb.format_atom(atom) for atom in left),
                goal=number,
                subgoals=(),
                known=tuple(known),
            )
        )
    # Only now is it known what the variables of a subgoal came to.
    final = _renumber([_substitute(atom, bindings) for atom in atoms], n_constants)
    return [
        replace(step, subgoals=tuple(kb.format_atom(final[i]) for i in numbers))
        for step, numbers in zip(steps, asked_for, strict=True)
    ]


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
