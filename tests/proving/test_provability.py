"""What Countries can prove at all, with clingo as oracle: proof search against the least model.

The least model of (facts without the query) and the rules holds exactly what *some* proof derives. SLD resolution
with rules whose heads are bound by their bodies is sound and complete, so with limits that cut nothing off, a query
has a proof if and only if it is derivable; with tighter limits, only if.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import clingo
import numpy as np
import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving import environment as proof
from ppo_jax.proving.breadth_first import UNPROVED, shortest_proofs
from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.knowledge_base import KnowledgeBase
from tests.proving.logic_programs import as_program, random_kb, random_queries
from tests.proving.reference import Atom, shortest_proof_depth

MAX_DEPTH = 20  # of the task
NO_LIMIT = 60  # more actions than any shortest proof of these data sets takes


class Provability(NamedTuple):
    """Every (country, region) of a data set."""

    dataset: Dataset
    depths: dict[Atom, int | None]  # shortest proof, by the reference interpreter
    derivable: set[Atom]  # by clingo

    def within(self, limit: int) -> set[Atom]:
        return {query for query, depth in self.depths.items() if depth is not None and depth <= limit}

    def positives(self, split: str) -> set[Atom]:
        return to_atoms(self.dataset.queries[split])

    def negatives(self, split: str) -> set[Atom]:
        """Tail corruptions; a country has one region, so none of them is true."""
        positives = self.positives(split)
        regions = self.dataset.domains[next(iter(positives))[0], 1]
        return {(p, s, int(region)) for p, s, _ in positives for region in regions} - positives


def to_atoms(rows: np.ndarray) -> set[Atom]:
    return {(int(p), int(s), int(t)) for p, s, t in rows}


def least_model(kb: KnowledgeBase, queries: Iterable[Atom]) -> set[Atom]:
    """The queries that clingo derives from all facts but the query itself.

    Facts that are queries become externals: switched off one at a time, so that the program is grounded only once.
    """

    def atom(p: int, s: int, t: int) -> str:
        return f"holds({p},{','.join(str(term) if term > 0 else f'V{-term}' for term in (s, t))})"

    def model() -> set[Atom]:
        with control.solve(yield_=True) as answers:
            (symbols,) = [answer.symbols(atoms=True) for answer in answers]
        triples = ((argument.number for argument in symbol.arguments) for symbol in symbols if symbol.name == "holds")
        return {(p, s, t) for p, s, t in triples}

    def switch(fact: Atom, on: bool) -> None:
        control.assign_external(clingo.Function("known", [clingo.Number(term) for term in fact]), on)

    facts, queries = to_atoms(kb.facts), set(queries)
    removable = facts & queries
    lines = [f"#external known({p},{s},{t}). {atom(p, s, t)} :- known({p},{s},{t})." for p, s, t in removable]
    lines += [f"{atom(*fact)}." for fact in facts - removable]
    lines += [f"{atom(*rule.head)} :- {', '.join(atom(*goal) for goal in rule.body)}." for rule in kb.rules]
    control = clingo.Control()
    control.add("base", [], "\n".join(lines))
    control.ground([("base", [])])
    for fact in removable:
        switch(fact, True)
    derived = model() - removable
    for fact in removable:
        switch(fact, False)
        derived |= model() & {fact}
        switch(fact, True)
    return derived & queries


def provability(name: str) -> Provability:
    dataset = datasets.load(name)
    kb = dataset.kb
    program = as_program(kb)
    region_of = kb.predicate_ids["locatedInCR"]
    pairs = {(region_of, int(c), int(r)) for c in dataset.domains[region_of, 0] for r in dataset.domains[region_of, 1]}
    assert len(pairs) == 243 * 5
    depths = {pair: shortest_proof_depth(program, pair, NO_LIMIT, max_atoms=6) for pair in pairs}
    return Provability(dataset, depths, least_model(kb, pairs))


@pytest.fixture(scope="module")
def countries() -> Provability:
    return provability("countries_s3")


def test_a_query_has_a_proof_exactly_where_clingo_derives_it(countries: Provability) -> None:
    assert countries.within(NO_LIMIT) == countries.derivable
    assert len(countries.derivable) == 437


def test_the_depth_limit_of_20_costs_no_proof_and_19_would(countries: Provability) -> None:
    assert countries.within(MAX_DEPTH) == countries.derivable
    assert countries.within(MAX_DEPTH - 1) < countries.derivable


def test_the_search_of_evaluation_finds_the_shortest_proofs_of_the_reference(countries: Provability) -> None:
    env = proof.make(countries.dataset, max_atoms=6, max_depth=MAX_DEPTH)
    assert env.default_params is not None
    found = shortest_proofs(env, env.default_params, np.array(list(countries.depths), np.int32))
    assert [None if depth == UNPROVED else int(depth) for depth in found] == list(countries.depths.values())


@pytest.mark.slow
def test_with_the_subregion_rule_the_depth_limit_costs_proofs() -> None:
    full = provability("countries_s3_full")
    assert full.within(NO_LIMIT) == full.derivable
    assert full.within(MAX_DEPTH) < full.derivable


def test_on_random_programs_what_has_a_proof_is_derivable() -> None:
    n_proved = 0
    for seed in range(60):
        kb = random_kb(seed, n_facts=10)
        program, queries = as_program(kb), random_queries(kb, seed, 12)
        proved = {q for q in queries if shortest_proof_depth(program, q, max_depth=4, max_atoms=6) is not None}
        derivable = least_model(kb, queries)
        assert proved <= derivable
        n_proved += len(proved)
    assert n_proved > 30


def test_published_counts_of_provable_queries(countries: Provability) -> None:
    provable = countries.within(MAX_DEPTH)
    assert len(countries.positives("train")) == 111
    assert len(countries.positives("train") & provable) == 33
    assert len(countries.negatives("train")) == 444
    assert len(countries.negatives("train") & provable) == 48
    assert len(countries.positives("test") & provable) == 24
    assert len(countries.negatives("test")) == 96
    assert len(countries.negatives("test") & provable) == 38
    assert len(countries.positives("valid") & provable) == 24


def test_published_proof_depths(countries: Provability, shared_data: Path) -> None:
    published = {}
    for split in ("train", "valid", "test"):
        for line in (shared_data / "countries_s3" / f"{split}_depths.txt").read_text().splitlines():
            query, depth = line.rsplit(maxsplit=1)
            published[countries.dataset.kb.parse_atom(query)] = None if depth == "-1" else int(depth)
    assert len(published) > 111
    assert {query: countries.depths[query] for query in published} == published
