"""A permutation made without sorting is one, and as even as a sorted one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_jax.ops.shuffle import permutation

KEY = jax.random.key(0)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 300), seed=st.integers(0, 2**31 - 1))
def test_every_index_comes_once(n: int, seed: int) -> None:
    assert sorted(np.asarray(permutation(jax.random.key(seed), n))) == list(range(n))


@pytest.mark.parametrize("n", [2**17, 10**5])
def test_many_indices_come_once(n: int) -> None:
    found = np.asarray(jax.jit(permutation, static_argnums=1)(KEY, n))
    np.testing.assert_array_equal(np.sort(found), np.arange(n))
    # Neighbours lie a third of n apart on average, as in any shuffle.
    assert np.abs(np.diff(found)).mean() == pytest.approx(n / 3, rel=0.02)


@pytest.mark.parametrize("n", [12, 64, 100])
def test_it_is_as_even_as_sorting(n: int) -> None:
    """Chi-square over 20,000 keys: which index comes where, how far apart neighbours are, and pairs of first ones."""
    found = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, n)))(jax.random.split(KEY, 20_000)))
    places = np.stack([np.bincount(found[:, place], minlength=n) for place in range(n)])
    apart = np.bincount(((found[:, 1:] - found[:, :-1]) % n).ravel(), minlength=n)[1:]
    pairs = np.bincount(found[:, 0] * n + found[:, 1], minlength=n * n).reshape(n, n)[~np.eye(n, dtype=bool)]
    for counts, freedom in ((places, (n - 1) ** 2), (apart, n - 2), (pairs, n * (n - 1) - 1)):
        expected = counts.mean()
        chi_square = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi_square - freedom) < 4.0 * np.sqrt(2.0 * freedom)


def test_keys_decide() -> None:
    assert (permutation(KEY, 64) == permutation(KEY, 64)).all()
    assert (permutation(KEY, 64) != permutation(jax.random.key(1), 64)).any()


def test_nothing_is_sorted() -> None:
    assert "sort" not in jax.jit(permutation, static_argnums=1).lower(KEY, 100).as_text()
    assert permutation(KEY, 5).dtype == jnp.int32
