"""The resolution step in JAX against the reference interpreter: every successor, in order, and what is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.proving import datasets, resolution
from ppo_jax.proving.index import Index, Sizes, build_index
from ppo_jax.proving.knowledge_base import KnowledgeBase
from tests.proving.logic_programs import (
    N_CONSTANTS,
    N_PREDICATES,
    N_RULES,
    as_program,
    random_kb,
    random_queries,
    random_states,
)
from tests.proving.reference import FACT, PROVED, Action, Atom, Resolvent, reachable_states, successors

MAX_DEPTH = 5
N_STATES = 200  # a batch: a program's states, padded
SIZES = Sizes(
    n_predicates=N_PREDICATES,
    n_constants=N_CONSTANTS,
    n_rules=N_RULES,
    max_atoms=4,
    max_facts=12,
    max_rules=N_RULES,
    max_body=3,
    max_rule_variables=4,
    max_row=12,
)
BUCKET_WIDTH = 8  # the one size that depends on the facts alone; all programs get the same

Case = tuple[Resolvent, Atom]  # state, root query


SHARE = 0.5  # of the facts hidden by a salt that is not 0


@partial(jax.jit, static_argnums=1)
def batched_successors(
    index: Index, sizes: Sizes, resolvents: jax.Array, roots: jax.Array, salt: jax.Array
) -> resolution.Successors:
    hidden = partial(resolution.dropped_out, index, sizes, salt=salt, share=SHARE)
    return jax.vmap(lambda resolvent, root: resolution.successors(index, sizes, resolvent, root, hidden))(
        resolvents, roots
    )


def in_jax(
    index: Index, sizes: Sizes, cases: Sequence[Case], batch: int, salt: int = 0
) -> list[tuple[list[Action], int]]:
    """The JAX successors of each case, read back into the terms of the reference."""
    resolvents = np.zeros((batch, sizes.max_atoms, 3), np.int32)
    roots = np.zeros((batch, 3), np.int32)
    for i, (state, root) in enumerate(cases):
        resolvents[i, : len(state)] = np.array(state).reshape(-1, 3)
        roots[i] = root
    arrays = (jnp.asarray(resolvents), jnp.asarray(roots), jnp.uint32(salt))
    found = jax.tree.map(np.asarray, batched_successors(index, sizes, *arrays))
    found = found._replace(
        resolvents=found.resolvents.transpose(0, 3, 2, 1), constants=found.constants.transpose(0, 2, 1)
    )
    fields = (found.kind, found.constants, found.resolvents, found.length)
    for field in fields:
        assert not field[~found.valid].any()  # invalid slots hold zeros
    empty = found.resolvents[..., 0] == 0
    np.testing.assert_array_equal(empty, np.arange(sizes.max_atoms) >= found.length[..., None])  # no gap, no rest
    result = []
    for i in range(len(cases)):
        actions = [
            Action(kind, tuple(constants), tuple(map(tuple, resolvent[:length])))
            for kind, constants, resolvent, length in zip(
                *(field[i, found.valid[i]].tolist() for field in fields), strict=True
            )
        ]
        result.append((actions, int(found.dropped[i].sum())))
    return result


def cases_of(kb: KnowledgeBase, queries: Sequence[Atom], max_atoms: int, per_query: int) -> list[Case]:
    program = as_program(kb)
    return [
        (state, query)
        for query in queries
        for state in reachable_states(program, query, MAX_DEPTH, max_atoms, per_query)
    ]


def padded_index(kb: KnowledgeBase, sizes: Sizes) -> Index:
    index, _, _ = build_index(kb, {rule.head[0] for rule in kb.rules}, sizes=sizes)
    width = index.buckets.shape[1]
    return index._replace(buckets=jnp.pad(index.buckets, ((0, 0), (0, BUCKET_WIDTH - width), (0, 0))))


@pytest.mark.parametrize("membership", ["bits", "hash"])
def test_random_programs_have_the_successors_of_the_reference(membership, monkeypatch) -> None:
    if membership == "hash":
        monkeypatch.setattr("ppo_jax.proving.index.MAX_BITS", 0)
    seen: Counter[str] = Counter()
    for seed in range(40):
        kb = random_kb(seed, n_facts=12 if seed % 4 else 5)
        assert (padded_index(kb, SIZES).bits.size > 0) == (membership == "bits")
        program = as_program(kb)
        cases = cases_of(kb, random_queries(kb, seed, 20), SIZES.max_atoms, per_query=25)[: N_STATES - 50]
        root = cases[0][1]
        cases += [(state, root) for state in random_states(kb, root, seed, 49, SIZES.max_atoms)] + [(PROVED, root)]
        for (state, root), (actions, dropped) in zip(
            cases, in_jax(padded_index(kb, SIZES), SIZES, cases, N_STATES), strict=True
        ):
            assert (actions, dropped) == successors(program, state, root, SIZES.max_atoms), (seed, state, root)
            goal = state[0] if state else (0, 0, 0)
            seen["states"] += 1
            seen["dropped"] += dropped
            seen["fact"] += sum(action.kind == FACT for action in actions)
            seen["rule"] += sum(action.kind != FACT for action in actions)
            seen["proof"] += sum(action.resolvent == PROVED for action in actions)
            seen["one variable twice"] += goal[1] == goal[2] > N_CONSTANTS
            seen["two free variables"] += goal[1] != goal[2] and min(goal[1:]) > N_CONSTANTS
            seen["root again"] += root in state[1:]
    assert seen["states"] > 2000
    for case in ("dropped", "fact", "rule", "proof", "one variable twice", "two free variables", "root again"):
        assert seen[case] > 20, (case, seen)


def test_hidden_facts_are_as_if_they_were_not_there() -> None:
    n_hidden = n_changed = 0
    for seed in range(14):
        kb = random_kb(seed, n_facts=12)
        index, salt = padded_index(kb, SIZES), 2 * seed + 1
        hidden = np.asarray(
            resolution.dropped_out(index, SIZES, *jnp.asarray(kb.facts).T, salt=jnp.uint32(salt), share=SHARE)
        )
        heads = {rule.head[0] for rule in kb.rules}
        assert all(fact[0] in heads for fact in kb.facts[hidden].tolist())
        rest = as_program(replace(kb, facts=kb.facts[~hidden]))
        cases = cases_of(kb, random_queries(kb, seed, 20), SIZES.max_atoms, per_query=25)[:N_STATES]
        for (state, root), (actions, dropped) in zip(cases, in_jax(index, SIZES, cases, N_STATES, salt), strict=True):
            assert (actions, dropped) == successors(rest, state, root, SIZES.max_atoms), (seed, state, root)
            n_changed += (actions, dropped) != successors(as_program(kb), state, root, SIZES.max_atoms)
        n_hidden += hidden.sum()
    assert n_hidden > 15
    assert n_changed > 100


def test_each_salt_hides_its_own_share_of_the_facts_with_rules() -> None:
    dataset = datasets.load("countries_s3")
    index, sizes, _ = build_index(dataset.kb, {rule.head[0] for rule in dataset.kb.rules})
    facts = jnp.asarray(dataset.kb.facts).T
    hidden = np.array(
        [
            resolution.dropped_out(index, sizes, *facts, salt=jnp.uint32(salt), share=0.3)
            for salt in (0, 1, 12345, 2**32 - 1)
        ]
    )
    derivable = dataset.kb.facts[:, 0] == dataset.kb.rules[0].head[0]
    assert not hidden[0].any() and not hidden[:, ~derivable].any()
    np.testing.assert_allclose(hidden[1:, derivable].mean(axis=1), 0.3, atol=0.1)
    agreement = np.corrcoef(hidden[1:, derivable])
    assert np.abs(agreement - np.eye(3)).max() < 0.25


def test_a_cap_on_the_facts_keeps_the_first_of_them_and_counts_the_rest() -> None:
    capped = replace(SIZES, max_facts=2)
    n_cut = 0
    for seed in range(5):
        kb = random_kb(seed, n_facts=12)
        program = as_program(kb)
        cases = cases_of(kb, random_queries(kb, seed, 20), SIZES.max_atoms, per_query=25)[:N_STATES]
        found = in_jax(padded_index(kb, capped), capped, cases, N_STATES)
        for (state, root), (actions, dropped) in zip(cases, found, strict=True):
            every, too_long = successors(program, state, root, capped.max_atoms)
            facts = [action for action in every if action.kind == FACT]
            kept = [action for action in actions if action.kind == FACT]
            assert kept == facts[: len(kept)]
            assert actions[len(kept) :] == every[len(facts) :]
            lost = len(facts) - len(kept)
            if root in program.known or state[0][1] == state[0][2]:
                # facts that do not match after all, the root and p(a,b) for p(X,X), take slots and count as lost
                assert dropped >= too_long + lost
            else:
                assert dropped == too_long + lost == too_long + max(len(facts) - 2, 0)
                n_cut += lost > 0
    assert n_cut > 10


@pytest.mark.parametrize("name", ["countries_s3", "countries_s3_full"])
def test_countries_has_the_successors_of_the_reference(name: str) -> None:
    dataset = datasets.load(name)
    kb = dataset.kb
    program = as_program(kb)
    index, sizes, cut = build_index(kb, {rule.head[0] for rule in kb.rules})
    assert cut == 0
    regions = dataset.domains[int(dataset.queries["test"][0, 0]), 1]
    rows = np.concatenate([dataset.queries["test"][:8], dataset.queries["train"][:8]])
    queries = [(int(p), int(s), int(region)) for p, s, _ in rows for region in regions]
    cases = cases_of(kb, queries, sizes.max_atoms, per_query=12)
    for (state, root), found in zip(cases, in_jax(index, sizes, cases, len(cases)), strict=True):
        assert found == successors(program, state, root, sizes.max_atoms), (state, root)


def test_sizes_are_enough_for_every_state_of_countries() -> None:
    """The widest row is found by following binding patterns; here by walking all states of many queries."""
    dataset = datasets.load("countries_s3")
    program = as_program(dataset.kb)
    _, sizes, _ = build_index(dataset.kb, {rule.head[0] for rule in dataset.kb.rules})
    widest = Counter[int]()
    for p, s, t in dataset.queries["test"]:
        root = (int(p), int(s), int(t))
        for state in reachable_states(program, root, 20, sizes.max_atoms):
            kept, dropped = successors(program, state, root, sizes.max_atoms)
            assert dropped == 0
            widest[sum(action.kind == FACT for action in kept)] += 1
    assert max(widest) <= sizes.max_facts
