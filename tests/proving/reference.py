"""The proof MDP once more, in plain Python: an oracle for ``ppo_jax.proving.resolution`` and the proof environment.

Written from the specification and not from the JAX code: tuples, dictionaries and loops, no padding and no arrays.
Slow and obvious on purpose.

A *state* is a resolvent: a tuple of atoms ``(predicate, term, term)``. Terms ``1 .. C`` are constants; ``C+1, C+2, ..``
are variables, numbered by first occurrence; negative terms are the variables of a rule. The empty tuple is *proved*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "FACT",
    "PROVED",
    "Action",
    "Atom",
    "Options",
    "Program",
    "Resolvent",
    "actions",
    "canonical",
    "make_program",
    "reachable_states",
    "shortest_proof_depth",
    "successors",
    "unify",
]

Atom = tuple[int, int, int]
Resolvent = tuple[Atom, ...]
Clause = tuple[Atom, Resolvent]  # head, body
Substitution = dict[int, int]

FACT = 1  # kind of an action that uses a fact; rule r is kind 2 + r
PROVED: Resolvent = ()


@dataclass(frozen=True, eq=False)
class Program:
    """Facts and rules, the facts in the order in which actions offer them."""

    n_constants: int
    known: frozenset[Atom]
    facts: dict[tuple[int, int], list[Atom]]  # (predicate, first argument; 0 for any) -> its facts, ascending
    rules: tuple[Clause, ...]


class Action(NamedTuple):
    """One way to resolve the leftmost atom."""

    kind: int  # FACT, or 2 + the number of a rule
    constants: tuple[int, int]  # what a fact binds the goal's first and second argument to; 0 where nothing is bound
    resolvent: Resolvent


class Options(NamedTuple):
    """The options of the environment that decide which actions are valid."""

    end_action: bool = True
    collapse_proved: bool = True
    prune_visited: bool = True
    max_atoms: int = 6


def make_program(n_constants: int, facts: Iterable[Iterable[int]], rules: Iterable[Clause]) -> Program:
    """A program of any rows of facts and any ``(head, body)`` pairs."""
    known = sorted({(int(p), int(s), int(t)) for p, s, t in facts})
    by_argument: dict[tuple[int, int], list[Atom]] = {}
    for fact in known:
        for first in (0, fact[1]):
            by_argument.setdefault((fact[0], first), []).append(fact)
    return Program(n_constants, frozenset(known), by_argument, tuple((head, tuple(body)) for head, body in rules))


def walk(term: int, substitution: Substitution) -> int:
    """Follow a term's bindings to their end."""
    while term in substitution:
        term = substitution[term]
    return term


def unify(left: Atom, right: Atom, n_constants: int) -> Substitution | None:
    """Most general unifier of two atoms without function symbols, or None; their variables must be told apart."""
    if left[0] != right[0]:
        return None
    substitution: Substitution = {}
    for one, other in zip(left[1:], right[1:], strict=True):
        a, b = walk(one, substitution), walk(other, substitution)
        if a == b:
            continue
        if not 1 <= a <= n_constants:
            substitution[a] = b
        elif not 1 <= b <= n_constants:
            substitution[b] = a
        else:
            return None
    return substitution


def canonical(atoms: Resolvent, n_constants: int) -> Resolvent:
    """The same resolvent with its variables renamed ``C+1, C+2, ..`` by first occurrence."""
    names: dict[int, int] = {}

    def rename(term: int) -> int:
        if 1 <= term <= n_constants:
            return term
        return names.setdefault(term, n_constants + 1 + len(names))

    return tuple((p, rename(s), rename(t)) for p, s, t in atoms)


def derive(program: Program, resolvent: Resolvent, root: Atom) -> Iterator[Action]:
    """Every SLD step on the leftmost atom, facts before rules, before any pruning."""
    n_constants = program.n_constants
    goal, rest = resolvent[0], resolvent[1:]

    def step(substitution: Substitution, body: Resolvent) -> Resolvent:
        atoms = tuple((p, walk(s, substitution), walk(t, substitution)) for p, s, t in body + rest)
        # an atom with a variable is never among the known ones, so membership alone finds the ground known facts
        return canonical(tuple(a for a in atoms if a == root or a not in program.known), n_constants)

    for fact in program.facts.get((goal[0], goal[1] if goal[1] <= n_constants else 0), []):
        substitution = None if fact == root else unify(goal, fact, n_constants)
        if substitution is not None:
            first, second = (value if goal[i] > n_constants else 0 for i, value in ((1, fact[1]), (2, fact[2])))
            yield Action(FACT, (first, second), step(substitution, ()))
    for number, (head, body) in enumerate(program.rules):
        substitution = unify(head, goal, n_constants)
        if substitution is not None:
            yield Action(2 + number, (0, 0), step(substitution, body))


def successors(program: Program, resolvent: Resolvent, root: Atom, max_atoms: int) -> tuple[list[Action], int]:
    """The successors of a resolvent, in order, and how many more were dropped for having over ``max_atoms`` atoms."""
    if resolvent == PROVED:
        return [], 0
    every = list(derive(program, resolvent, root))
    kept = [action for action in every if len(action.resolvent) <= max_atoms]
    return kept, len(every) - len(kept)


def actions(
    program: Program, resolvent: Resolvent, root: Atom, visited: frozenset[Resolvent], options: Options
) -> tuple[list[Action], list[bool], bool]:
    """What the environment offers in a state: the successors, whether each is valid, and whether ``end`` is.

    ``visited`` holds the canonical resolvents of this episode, the present one among them.
    """
    candidates, _ = successors(program, resolvent, root, options.max_atoms)
    proofs = [number for number, action in enumerate(candidates) if action.resolvent == PROVED]
    if options.collapse_proved and proofs:
        return candidates, [number == proofs[0] for number in range(len(candidates))], False
    valid = [not (options.prune_visited and action.resolvent in visited) for action in candidates]
    return candidates, valid, options.end_action or not any(valid)


def levels(program: Program, query: Atom, max_depth: int, max_atoms: int) -> Iterator[set[Resolvent]]:
    """Breadth first: the states first reached by 0, 1, .. ``max_depth`` actions."""
    seen: set[Resolvent] = set()
    frontier: set[Resolvent] = {(query,)}
    for _ in range(max_depth + 1):
        seen |= frontier
        yield frontier
        step = {a.resolvent for state in frontier for a in successors(program, state, query, max_atoms)[0]}
        frontier = step - seen


def shortest_proof_depth(program: Program, query: Atom, max_depth: int, max_atoms: int) -> int | None:
    """Number of actions of the shortest proof if it is at most ``max_depth``, else None.

    Pruning visited states and collapsing proved ones change no shortest path, so neither option is asked for.
    """
    for depth, states in enumerate(levels(program, query, max_depth, max_atoms)):
        if PROVED in states:
            return depth
    return None


def reachable_states(
    program: Program, query: Atom, max_depth: int, max_atoms: int, limit: int | None = None
) -> list[Resolvent]:
    """The unproved states within ``max_depth`` actions of the query, nearest first, at most ``limit`` of them."""
    found: list[Resolvent] = []
    for states in levels(program, query, max_depth, max_atoms):
        found += sorted(states - {PROVED})
        if limit is not None and len(found) >= limit:
            break
    return found[:limit]
