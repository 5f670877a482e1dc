"""Shaping rewards by what a prior gives for an answer, so that a good one pays as soon as it is bound.

A potential Φ of states turns a reward r into ``r + γ Φ(s') - Φ(s)``, which leaves every policy's order of merit as it
was (Ng, Harada & Russell 1999). Here Φ is 0 while the answer is open and at the end of an episode, so that an episode's
discounted return is the same number with it and without.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.proving.open_queries import HEAD, TAIL, OpenQueries
from ppo_jax.proving.priors.embeddings import Embeddings, log_normalizers, score
from ppo_jax.proving.priors.prior import Prior

__all__ = ["Shaping", "make_shaping", "probability"]


class Shaping(NamedTuple):
    """A prior, and what makes probabilities of its scores."""

    embeddings: Embeddings
    log_normalizers: Any  # [N, 2] float32 by training query and open side


def make_shaping(prior: Prior, queries: np.ndarray) -> Shaping:
    """That of `queries` [N, 3], the facts that episodes ask for: one number for each side of each."""
    predicate, first, second = np.asarray(queries).T
    rows = np.arange(len(predicate), dtype=np.int32)
    known = {HEAD: second, TAIL: first}
    sides = [
        log_normalizers(prior.params, OpenQueries(predicate, known[side], np.full_like(rows, side), first, rows))
        for side in (HEAD, TAIL)
    ]
    return Shaping(jax.tree.map(jnp.asarray, prior.params), jnp.stack(sides, axis=1))


def probability(shaping: Shaping, query: jax.Array, log_normalizer: jax.Array, answer: jax.Array) -> jax.Array:
    """What the prior gives [] for `answer` [] to `query` [3], 0 for its variable: the softmax over all constants."""
    side = jnp.where(query[1] == 0, HEAD, TAIL)
    one = [x[None] for x in (query[0], jnp.max(query[1:]), side, answer)]
    return jnp.exp(score(shaping.embeddings, *one)[0] - log_normalizer)
