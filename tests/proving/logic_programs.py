"""Small random knowledge bases: dense enough to prove things, odd enough to hit every corner of unification."""

from __future__ import annotations

from itertools import product

import numpy as np

from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from tests.proving.reference import Atom, Program, Resolvent, canonical, make_program

__all__ = ["N_CONSTANTS", "N_PREDICATES", "N_RULES", "as_program", "random_kb", "random_queries", "random_states"]

# The vocabulary of every random knowledge base, used in full or not, so that they all share array sizes.
N_CONSTANTS, N_PREDICATES, N_RULES = 6, 4, 5


def random_kb(seed: int, n_facts: int, max_variables: int = 4) -> KnowledgeBase:
    """1 to 5 rules over 2 to 4 predicates, and exactly `n_facts` facts over 3 to 6 constants.

    A rule has 1 to 3 body atoms, with constants and repeated variables anywhere; so has the head, whose variables
    are drawn from the body's.
    """
    rng = np.random.default_rng(seed)
    n_predicates = int(rng.choice([2, 2, 3, N_PREDICATES]))  # mostly few, or hardly anything could be proved
    n_constants = int(rng.choice([3, 3, 4, N_CONSTANTS]))

    space = n_predicates * n_constants**2
    chosen = rng.choice(space, size=n_facts, replace=False)
    facts = np.stack(np.unravel_index(chosen, (n_predicates, n_constants, n_constants)), axis=1) + 1

    def term(variables: list[int]) -> int:
        if not variables or rng.random() < 0.08:
            return int(rng.integers(1, n_constants + 1))
        return int(rng.choice(variables))

    def atom(variables: list[int]) -> Atom:
        predicate, first, second = int(rng.integers(1, n_predicates + 1)), term(variables), term(variables)
        if first == second and rng.random() < 0.7:  # p(X,X) now and then only: it matches few facts
            second = term([variable for variable in variables if variable != first])
        return predicate, first, second

    rules = []
    for number in range(int(rng.integers(1, N_RULES + 1))):
        pool = [-i for i in range(1, int(rng.integers(2, max_variables + 1)) + 1)]
        body = [atom(pool) for _ in range(int(rng.choice([1, 2, 2, 3])))]
        head = atom(sorted({t for _, *terms in body for t in terms if t < 0}))
        order: dict[int, int] = {}  # variables are -1, -2, .. by first occurrence
        for _, *terms in (head, *body):
            for t in terms:
                order.setdefault(t, t if t > 0 else -1 - sum(known < 0 for known in order))
        renamed: list[Atom] = [(p, order[s], order[t]) for p, s, t in (head, *body)]
        rules.append(Rule(f"r{number}", renamed[0], tuple(renamed[1:]), "random"))
    return KnowledgeBase(
        predicates=tuple(f"p{i}" for i in range(1, N_PREDICATES + 1)),
        constants=tuple(f"c{i}" for i in range(1, N_CONSTANTS + 1)),
        facts=facts.astype(np.int32),
        rules=tuple(rules),
    )


def random_queries(kb: KnowledgeBase, seed: int, n_queries: int) -> list[Atom]:
    """Distinct ground atoms over the constants of the facts, of predicates that head a rule; facts among them."""
    heads = sorted({rule.head[0] for rule in kb.rules})
    constants = range(1, int(kb.facts[:, 1:].max()) + 1)
    queries = list(product(heads, constants, constants))
    order = np.random.default_rng(seed).permutation(len(queries))
    return [queries[i] for i in order[:n_queries]]


def random_states(kb: KnowledgeBase, root: Atom, seed: int, n_states: int, max_atoms: int) -> list[Resolvent]:
    """Canonical resolvents that no proof need reach, known facts deleted: more variables, and shared more freely."""
    rng = np.random.default_rng(seed)
    known = as_program(kb).known - {root}
    terms = [1, 2, 3, N_CONSTANTS + 1, N_CONSTANTS + 2, N_CONSTANTS + 3]
    states = []
    for _ in range(n_states):
        atoms = [
            (int(rng.integers(1, N_PREDICATES + 1)), *(int(t) for t in rng.choice(terms, size=2)))
            for _ in range(int(rng.integers(1, max_atoms + 1)))
        ]
        states.append(canonical(tuple((p, s, t) for p, s, t in atoms if (p, s, t) not in known), N_CONSTANTS))
    return states


def as_program(kb: KnowledgeBase) -> Program:
    """The same for the reference interpreter."""
    return make_program(len(kb.constants), kb.facts, [(rule.head, rule.body) for rule in kb.rules])
