"""Queries and corruptions: drawn uniformly, from exactly those that no training fact knows."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.proving import datasets, sampling
from ppo_jax.proving import environment as proof

TINY = {
    "train.txt": "q(a,b). p(a,x). p(a,y). p(b,x). p(c,z). p(d,x). p(d,y). p(d,z). p(d,w).".replace(". ", ".\n"),
    "valid.txt": "p(b,y).",
    "test.txt": "p(e,z).",
    "rules.txt": "p(X,Y) :- q(X,Z), p(Z,Y).",
    "domain2constants.txt": "letters a b c d e\nmarks x y z w",
}
KNOWN_TAILS = {"a": "xy", "b": "x", "c": "z", "d": "xyzw", "e": ""}


def assert_uniform(counts: np.ndarray) -> None:
    """Pearson's chi-square against equal frequencies: its mean is the degrees of freedom, its variance twice that."""
    expected, freedom = counts.sum() / len(counts), len(counts) - 1
    assert ((counts - expected) ** 2).sum() / expected < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("corrupt", ["tail", "head", "both"])
def test_corruptions_are_uniform_over_exactly_the_unknown_ones(corrupt: sampling.Corruption) -> None:
    dataset = datasets.from_files("tiny", TINY)
    env, names = proof.make(dataset, corrupt=corrupt), dataset.kb.constants
    params, n_draws = env.default_params, 4000

    @jax.jit
    def draw(keys: jax.Array, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        arguments = (params.facts, env.sizes, params.queries, query, corrupt)
        return jax.vmap(lambda key: sampling.corrupt_query(key, *arguments))(keys)

    for number, query in enumerate(dataset.queries["train"]):
        first, second = (names[i - 1] for i in query[1:])
        # valid and test queries are among the corruptions: they filter nothing
        tails = {(first, mark) for mark in "xyzw" if mark not in KNOWN_TAILS[first]}
        heads = {(letter, second) for letter in "abcde" if second not in KNOWN_TAILS[letter]}
        corrupted, found = jax.device_get(draw(jax.random.split(jax.random.key(number), n_draws), query))
        assert (corrupted[:, 0] == query[0]).all()
        drawn = Counter((names[s - 1], names[t - 1]) for _, s, t in corrupted[found])
        assert set(drawn) == {"tail": tails, "head": heads, "both": tails | heads}[corrupt]
        for side in (tails, heads):
            if drawn.keys() & side:
                assert_uniform(np.array([drawn[pair] for pair in side]))
        if corrupt == "both":
            shares = np.array([sum(drawn[pair] for pair in tails), sum(drawn[pair] for pair in heads)])
            assert_uniform(shares if tails else np.array([(~found).sum(), shares[1]]))
        else:
            assert found.all() == bool(tails if corrupt == "tail" else heads) == found.any()


def test_queries_alternate_uniformly_and_one_without_corruptions_stays_true() -> None:
    dataset = datasets.from_files("tiny", TINY)
    env, counters = proof.make(dataset), jnp.arange(4000)
    params = env.default_params
    keys = jax.random.split(jax.random.key(0), len(counters))

    @jax.jit
    def draw(key: jax.Array, counter: jax.Array) -> tuple[jax.Array, jax.Array]:
        return sampling.sample_query(key, params.facts, env.sizes, params.queries, counter, 3, "tail")

    queries, labels = jax.device_get(jax.vmap(draw)(keys, counters))
    is_turn_of_truth = np.arange(len(counters)) % 4 == 0
    order, counts = np.unique(queries[is_turn_of_truth], axis=0, return_counts=True)
    np.testing.assert_array_equal(order, dataset.queries["train"])
    assert_uniform(counts)
    about_d = queries[:, 1] == dataset.kb.constant_ids["d"]  # half of the queries, and every tail is known
    np.testing.assert_array_equal(labels, is_turn_of_truth | about_d)
    assert 0.45 < about_d[~is_turn_of_truth].mean() < 0.55
