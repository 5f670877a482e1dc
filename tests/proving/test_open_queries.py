"""Open queries and their ranks, against a brute-force count over all constants."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving.answers import environment as answering
from ppo_jax.proving.open_queries import HEAD, TAIL, answer_ranks, known_answers, open_queries

FILES = {
    "train.txt": "p(a,b).\np(a,c).\np(b,c).\np(d,a).\nq(a,b).\n",
    "valid.txt": "p(a,d).\n",
    "test.txt": "p(b,d).\np(c,b).\n",
    "rules.txt": "p(X,Y) :- q(X,Y).\n",
}


@pytest.fixture(scope="module")
def dataset() -> datasets.Dataset:
    return datasets.from_files("toy", FILES)


def test_both_sides_of_every_triple_are_asked(dataset) -> None:
    queries = open_queries(dataset, "test")
    np.testing.assert_array_equal(queries.atoms, np.repeat(dataset.queries["test"], 2, axis=0))
    assert queries.side.tolist() == [TAIL, HEAD] * 2
    tail = queries.side == TAIL
    np.testing.assert_array_equal(queries.answer, np.where(tail, queries.atoms[:, 2], queries.atoms[:, 1]))


def test_a_sample_is_drawn_from_the_whole_split_and_repeats(dataset) -> None:
    samples = [open_queries(dataset, "train", 2, seed) for seed in range(20)]
    assert {len(sample.known) for sample in samples} == {4}
    assert {int(row) for sample in samples for row in sample.triple} == set(range(len(dataset.queries["train"])))
    np.testing.assert_array_equal(open_queries(dataset, "train", 2, 3).triple, samples[3].triple)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_ranks_count_every_candidate_that_no_split_so_far_knows(dataset, split) -> None:
    queries, n = open_queries(dataset, split), len(dataset.kb.constants)
    scores = np.random.default_rng(0).integers(0, 3, (len(queries.known), n + 1)).astype(float)
    scores[:, 0] = np.inf  # the padding is no candidate
    better, tied, candidates = answer_ranks(scores, queries, known_answers(dataset, split))
    upto = ["train", "valid", "test"][: ["train", "valid", "test"].index(split) + 1]
    truths = {tuple(a) for a in dataset.kb.facts} | {tuple(a) for s in upto for a in dataset.queries[s]}
    for i, (p, known, side, answer) in enumerate(
        zip(queries.predicate, queries.known, queries.side, queries.answer, strict=True)
    ):
        others = [
            scores[i, c]
            for c in range(1, n + 1)
            if c != answer and ((p, known, c) if side == TAIL else (p, c, known)) not in truths
        ]
        assert (better[i], tied[i], candidates[i]) == (
            sum(s > scores[i, answer] for s in others),
            sum(s == scores[i, answer] for s in others),
            1 + len(others),
        )
    assert {HEAD, TAIL} == set(queries.side.tolist())


def test_countries_are_asked_for_their_region_alone_among_the_regions() -> None:
    """The published protocol: the tail, among five regions."""
    dataset = datasets.load("countries_s3")
    queries = open_queries(dataset, "test")
    assert len(queries.side) == len(dataset.queries["test"]) == 24
    assert set(queries.side.tolist()) == {TAIL}
    scores = np.random.default_rng(0).random((24, len(dataset.kb.constants) + 1))
    better, tied, candidates = answer_ranks(scores, queries, known_answers(dataset, "test"))
    assert set(candidates.tolist()) == {5}
    assert set(better.tolist()) <= set(range(5))
    assert not tied.any()
    assert answering.make(dataset).tail_open == 1.0
