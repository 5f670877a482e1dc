"""A knowledge base as padded integer arrays: what one resolution step gathers from.

Facts are compressed rows (offsets and values), sorted once by (predicate, first, second) and once by
(predicate, second, first) argument. Membership is one bit of a table, or one bucket of a hash table where the bits
would be too many. Terms are coded as one integer: 0 is padding, 1..C are constants, C+1.. are variables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.knowledge_base import KnowledgeBase

__all__ = ["HASH_FACTORS", "Index", "QueryTable", "Sizes", "build_index", "build_queries"]

# Odd multipliers of the membership hash (uint32 arithmetic wraps).
HASH_FACTORS = (0x9E3779B1, 0x85EBCA77)
DIFFERENT = 0  # predicate of an inequality until the sizes give it a number
MAX_BITS = 2**25  # 4 MiB, which a processor's cache holds


@dataclass(frozen=True)
class Sizes:
    """Static sizes of the arrays; equal sizes share compiled programs."""

    n_predicates: int  # with `answer` as the last, where queries have a variable
    n_constants: int
    n_rules: int
    max_atoms: int  # of a resolvent, A
    max_facts: int  # that match one atom
    max_rules: int  # whose head matches one predicate
    max_body: int
    max_rule_variables: int
    max_row: int  # known facts that share a query's predicate and one argument
    max_bound: int = 2  # variables that one step can bind
    different: int = 0  # the predicate of inequalities, which stand in bodies; 0 where no rule has one

    @property
    def max_successors(self) -> int:
        """Successor slots of a state: facts, then rules."""
        return self.max_facts + self.max_rules

    @property
    def n_actions(self) -> int:
        """Successors and, last, `end`."""
        return self.max_successors + 1

    @property
    def n_terms(self) -> int:
        """Size of a table indexed by terms of a resolvent (padding, constants, its at most 2A variables)."""
        return 1 + self.n_constants + 2 * self.max_atoms

    @property
    def n_kinds(self) -> int:
        """Action kinds: 0 padding, 1 fact, 2.. rules, last `end`."""
        return 3 + self.n_rules

    @property
    def end_kind(self) -> int:
        return self.n_kinds - 1


class Index(NamedTuple):
    """F facts, P predicates, C constants, R rules."""

    pairs: jax.Array  # [2, 2F + max_facts + max_row] int32 arguments of facts: sorted by first, then by second argument
    first_offsets: jax.Array  # [(P+2)(C+1)] int32 start in `pairs` of the facts p(a, ·), at p(C+1)+a
    second_offsets: jax.Array  # [(P+2)(C+1)] int32 start in `pairs` of the facts p(·, b), at p(C+1)+b
    bits: jax.Array  # [words] uint32, one bit for every atom, at (p(C+1)+a)(C+1)+b; [0] where they would be too many
    buckets: jax.Array  # [S, W, 2] int32 hash table of facts, p(C+1)+a and b, 0 where empty; [1, 0, 2] where bits are
    rules_of: jax.Array  # [P+1, max_rules] int32 rule numbers 1..R by head predicate, 0 padded
    heads: jax.Array  # [R+1, 2] int32 terms; rule variables coded above those of resolvents
    bodies: jax.Array  # [R+1, max_body, 3] int32, 0 padded


class QueryTable(NamedTuple):
    """Training queries and the domains their corruptions are drawn from."""

    queries: jax.Array  # [N, 3] int32
    domain_of: jax.Array  # [P+1, 2] int32 number of an argument's domain
    domain_sizes: jax.Array  # [D] int32
    domain_constants: jax.Array  # [D, largest] int32 constants, ascending, 0 padded
    domain_ranks: jax.Array  # [D, C+1] int32 position of a constant in the domain


def build_index(
    kb: KnowledgeBase,
    query_predicates: Iterable[int],
    max_atoms: int = 6,
    max_successors: int | None = None,
    sizes: Sizes | None = None,
    answering: bool = False,
) -> tuple[Index, Sizes, int]:
    """Index a knowledge base.

    Args:
        kb: facts and rules.
        query_predicates: predicates a proof may start from; slots suffice for every atom reachable from them.
        max_atoms: atoms a resolvent can hold.
        max_successors: cap on successors of a state; None: as many as the knowledge base needs.
        sizes: use these sizes (each at least what is needed) instead of the smallest ones.
        answering: queries have a variable, and atoms with a bound argument are resolved first.

    Returns:
        The index, its sizes, and how many facts the widest row loses to the cap.
    """
    unequal = any(rule.different for rule in kb.rules)
    n_predicates, n_constants = len(kb.predicates) + unequal + answering, len(kb.constants)
    rule_bodies = [(*rule.body, *((DIFFERENT, *pair) for pair in rule.different)) for rule in kb.rules]
    facts = kb.facts.astype(np.int64).reshape(-1, 3)
    stride = n_constants + 1
    by_first = facts[np.lexsort((facts[:, 2], facts[:, 1], facts[:, 0]))]
    by_second = facts[np.lexsort((facts[:, 1], facts[:, 2], facts[:, 0]))]
    keys = np.arange((n_predicates + 2) * stride)
    first_offsets = np.searchsorted(by_first[:, 0] * stride + by_first[:, 1], keys)
    second_offsets = np.searchsorted(by_second[:, 0] * stride + by_second[:, 2], keys)

    query_predicates = sorted(set(query_predicates))
    patterns = _binding_patterns(kb, query_predicates, answering)
    widest = _widest_row(patterns, first_offsets, second_offsets, stride)
    rules_of: dict[int, list[int]] = {}
    for number, rule in enumerate(kb.rules, start=1):
        rules_of.setdefault(rule.head[0], []).append(number)
    if sizes is None:
        max_rules = max((len(r) for r in rules_of.values()), default=0)
        max_facts = widest if max_successors is None else min(widest, max(max_successors - max_rules, 1))
        sizes = Sizes(
            n_predicates=n_predicates,
            n_constants=n_constants,
            n_rules=len(kb.rules),
            max_atoms=max_atoms,
            max_facts=max(max_facts, 1),
            max_rules=max(max_rules, 1),
            max_body=max((len(body) for body in rule_bodies), default=1),
            max_rule_variables=max((_n_variables(r.body) for r in kb.rules), default=1),
            max_row=max(_longest_row(o, query_predicates, stride) for o in (first_offsets, second_offsets)),
            max_bound=1 + any(pattern == "ff" for _, pattern in patterns),
            different=len(kb.predicates) + 1 if unequal else 0,
        )

    variable_base = sizes.n_constants + 2 * sizes.max_atoms  # rule variable -i becomes variable_base + i

    def code(term: int) -> int:
        return term if term > 0 else variable_base - term

    rules_table = np.zeros((sizes.n_predicates + 1, sizes.max_rules), np.int32)
    for predicate, numbers in rules_of.items():
        rules_table[predicate, : len(numbers)] = numbers
    heads = np.zeros((sizes.n_rules + 1, 2), np.int32)
    bodies = np.zeros((sizes.n_rules + 1, sizes.max_body, 3), np.int32)
    for number, rule in enumerate(kb.rules, start=1):
        heads[number] = [code(t) for t in rule.head[1:]]
        for i, (predicate, *terms) in enumerate(rule_bodies[number - 1]):
            bodies[number, i] = [predicate or sizes.different, *map(code, terms)]

    padding = np.zeros((sizes.max_facts + sizes.max_row, 2), np.int64)
    few = (sizes.n_predicates + 1) * (sizes.n_constants + 1) ** 2 <= MAX_BITS
    index = Index(
        pairs=_int32(np.concatenate([by_first[:, 1:], by_second[:, 1:], padding]).T),
        first_offsets=_int32(first_offsets),
        second_offsets=_int32(len(facts) + second_offsets),
        bits=jnp.asarray(_bit_table(facts, sizes) if few else np.zeros(0, np.uint32)),
        buckets=_int32(np.zeros((1, 0, 2)) if few else _hash_table(facts[:, 0] * stride + facts[:, 1], facts[:, 2])),
        rules_of=_int32(rules_table),
        heads=_int32(heads),
        bodies=_int32(bodies),
    )
    return index, sizes, max(widest - sizes.max_facts, 0)


def build_queries(dataset: Dataset, queries: np.ndarray) -> QueryTable:
    """Tables to sample `queries` [N, 3] and their corruptions from."""
    n_predicates, n_constants = len(dataset.kb.predicates), len(dataset.kb.constants)
    everything = np.arange(1, n_constants + 1, dtype=np.int32)
    domains: list[np.ndarray] = [everything]
    number_of = {everything.tobytes(): 0}
    domain_of = np.zeros((n_predicates + 1, 2), np.int32)
    for (predicate, argument), constants in dataset.domains.items():
        constants = np.sort(constants).astype(np.int32)
        if constants.tobytes() not in number_of:
            number_of[constants.tobytes()] = len(domains)
            domains.append(constants)
        domain_of[predicate, argument] = number_of[constants.tobytes()]
    table = np.zeros((len(domains), max(map(len, domains))), np.int32)
    ranks = np.zeros((len(domains), n_constants + 1), np.int32)
    for i, constants in enumerate(domains):
        table[i, : len(constants)] = constants
        ranks[i, constants] = np.arange(len(constants))
    return QueryTable(
        queries=_int32(queries).reshape(-1, 3),
        domain_of=_int32(domain_of),
        domain_sizes=_int32(np.array([len(d) for d in domains])),
        domain_constants=_int32(table),
        domain_ranks=_int32(ranks),
    )


def _int32(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x, jnp.int32)


def _n_variables(atoms: Iterable[tuple[int, int, int]]) -> int:
    return max((-term for _, *terms in atoms for term in terms if term < 0), default=0)


def _longest_row(offsets: np.ndarray, predicates: Iterable[int], stride: int) -> int:
    lengths = [np.diff(offsets[p * stride : (p + 1) * stride + 1]).max(initial=0) for p in predicates]
    return int(max(lengths, default=0))


def _binding_patterns(kb: KnowledgeBase, query_predicates: Iterable[int], answering: bool) -> set[tuple[int, str]]:
    """Predicates of the atoms that can be resolved in a proof, each with which arguments are bound (b) or free (f).

    Rules are range-restricted, so every variable of an atom is bound to a constant by the time that it is proved.
    """
    seen: set[tuple[int, str]] = set()
    queue = [(p, pattern) for p in query_predicates for pattern in (("bf", "fb") if answering else ("bb",))]
    while queue:
        predicate, pattern = item = queue.pop()
        if item in seen:
            continue
        seen.add(item)
        for rule in kb.rules:
            if rule.head[0] != predicate:
                continue
            bound = {t for t, p in zip(rule.head[1:], pattern, strict=True) if p == "b" or t > 0}
            body = list(rule.body)
            while body:
                is_bound = [[t > 0 or t in bound for t in terms] for _, *terms in body]
                # The leftmost, or the first with a bound argument.
                next_one = next((i for i, which in enumerate(is_bound) if any(which)), 0) if answering else 0
                body_predicate, *terms = body.pop(next_one)
                queue.append((body_predicate, "".join("b" if which else "f" for which in is_bound[next_one])))
                bound.update(terms)
    return seen


def _widest_row(patterns: set[tuple[int, str]], first: np.ndarray, second: np.ndarray, stride: int) -> int:
    """Most facts that match an atom of one of the `patterns`."""
    rows = {"bf": first, "fb": second}
    widths = [_longest_row(rows[pattern], [predicate], stride) for predicate, pattern in patterns if pattern in rows]
    whole = [first[(p + 1) * stride] - first[p * stride] for p, pattern in patterns if pattern == "ff"]
    return int(max([*widths, *whole], default=0))


def _bit_table(facts: np.ndarray, sizes: Sizes) -> np.ndarray:
    """One bit for every atom [words] uint32, set for facts [F, 3]."""
    stride = sizes.n_constants + 1
    n_words = -(-(sizes.n_predicates + 1) * stride**2 // 32)
    known = np.zeros(32 * n_words, bool)
    known[(facts[:, 0] * stride + facts[:, 1]) * stride + facts[:, 2]] = True
    return np.packbits(known, bitorder="little").view("<u4")


def _hash_table(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Buckets [S, W, 2] of (key, value); S is a power of two with load at most a quarter."""
    n_buckets = 1 << max(int(np.ceil(np.log2(max(len(keys), 1) * 4))), 2)
    bucket = hash_pairs(keys.astype(np.uint32), values.astype(np.uint32)) & np.uint32(n_buckets - 1)
    order = np.argsort(bucket, kind="stable")
    sorted_bucket = bucket[order]
    slot = np.arange(len(order)) - np.searchsorted(sorted_bucket, sorted_bucket)
    table = np.zeros((n_buckets, int(slot.max(initial=0)) + 1, 2), np.int32)
    table[sorted_bucket, slot, 0] = keys[order]
    table[sorted_bucket, slot, 1] = values[order]
    return table


def hash_pairs(keys, values):  # type: ignore[no-untyped-def]  # numpy and jax arrays alike
    """Mix two uint32 arrays into one; the same numbers from numpy and jax."""
    mixed = keys * np.uint32(HASH_FACTORS[0]) + values * np.uint32(HASH_FACTORS[1])
    mixed = mixed ^ (mixed >> np.uint32(15))
    mixed = mixed * np.uint32(HASH_FACTORS[0])
    return mixed ^ (mixed >> np.uint32(13))
