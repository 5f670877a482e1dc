"""Training queries and their corruptions, drawn with explicit keys."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from ppo_jax.proving.index import Index, QueryTable, Sizes
from ppo_jax.proving.resolution import matching_row

__all__ = ["Corruption", "corrupt_query", "sample_query"]

Corruption = Literal["tail", "head", "both"]


def sample_query(
    key: jax.Array,
    index: Index,
    sizes: Sizes,
    table: QueryTable,
    counter: jax.Array,
    negative_ratio: int,
    corrupt: Corruption,
) -> tuple[jax.Array, jax.Array]:
    """Draw a training query; `negative_ratio` of each `1 + negative_ratio` consecutive ones are corrupted.

    Args:
        counter: [] int32, queries this environment has drawn so far.

    Returns:
        The query [3] int32 and its label [] bool, true for a training fact. A query none of whose corruptions is
        unknown stays as it is, with label true.
    """
    query_key, corrupt_key = jax.random.split(key)
    query = table.queries[jax.random.randint(query_key, (), 0, table.queries.shape[0])]
    if negative_ratio == 0:
        return query, jnp.ones((), bool)
    corrupted, unknown = corrupt_query(corrupt_key, index, sizes, table, query, corrupt)
    negative = (counter % (1 + negative_ratio) != 0) & unknown
    return jnp.where(negative, corrupted, query), ~negative


def corrupt_query(
    key: jax.Array, index: Index, sizes: Sizes, table: QueryTable, query: jax.Array, corrupt: Corruption
) -> tuple[jax.Array, jax.Array]:
    """Replace one argument by a constant of its domain, uniformly among those that give no known fact.

    Exact without rejection: with the known constants at ranks k_0 < k_1 < … of the domain, the r-th unknown one has
    rank ``r + #{j : k_j - j <= r}``.

    Returns:
        The corrupted query [3], and whether an unknown constant exists at all [] bool.
    """
    side_key, draw_key = jax.random.split(key)
    side = {"head": 0, "tail": 1}.get(corrupt)
    position = jax.random.bernoulli(side_key).astype(jnp.int32) if side is None else jnp.asarray(side, jnp.int32)
    predicate = query[0]
    first, second = jnp.where(position == 0, 0, query[1]), jnp.where(position == 0, query[2], 0)
    row = matching_row(index, sizes, predicate, first, second)
    known = jax.lax.dynamic_slice(index.pairs, (position, row[0]), (1, sizes.max_row))[0]
    present = jnp.arange(sizes.max_row) < row[1] - row[0]

    domain = table.domain_of[predicate, position]
    unknown = table.domain_sizes[domain] - jnp.sum(present)
    r = jax.random.randint(draw_key, (), 0, jnp.maximum(unknown, 1))
    ranks = table.domain_ranks[domain, known]
    skipped = jnp.sum(present & (ranks - jnp.arange(sizes.max_row) <= r))
    constant = table.domain_constants[domain, jnp.minimum(r + skipped, table.domain_constants.shape[1] - 1)]
    return query.at[1 + position].set(constant), unknown > 0
