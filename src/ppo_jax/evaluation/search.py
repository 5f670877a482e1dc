"""Breadth-first search for shortest proofs: what is provable at all, and the baseline without learning."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.envs.proof import ProofEnv, ProofParams, state_hash
from ppo_jax.logic.index import Sizes
from ppo_jax.logic.resolution import successors

__all__ = ["BUDGET", "UNPROVED", "shortest_proofs"]

UNPROVED = -1  # no proof within the depth limit
BUDGET = -2  # search gave up: more states than allowed

BATCH = 2048  # states expanded in one call; one compilation


@lru_cache(maxsize=8)
def _expand(sizes: Sizes) -> Callable[..., tuple[jax.Array, ...]]:
    @jax.jit
    def expand(params: ProofParams, resolvents: jax.Array, roots: jax.Array) -> tuple[jax.Array, ...]:
        found = jax.vmap(successors, in_axes=(None, None, 0, 0))(params.facts, sizes, resolvents, roots)
        proved = jnp.any(found.valid & (found.length == 0), axis=-1)
        hashes = jax.vmap(state_hash)(found.resolvents)
        return (
            jnp.swapaxes(found.resolvents, 1, 3),
            found.valid & (found.length > 0),
            jnp.swapaxes(hashes, 1, 2),
            proved,
        )

    return expand


def shortest_proofs(env: ProofEnv, params: ProofParams, queries: np.ndarray, max_states: int = 20_000) -> np.ndarray:
    """Number of steps of the shortest proof of each of `queries` [M, 3].

    Args:
        env: gives the sizes and the depth limit.
        params: the knowledge base.
        queries: ground atoms, [M, 3] int32.
        max_states: states a single query may reach before its search is given up.

    Returns:
        [M] int32: steps, `UNPROVED`, or `BUDGET` where the search was given up without an answer.
    """
    m = len(queries)
    depth = np.full(m, UNPROVED, np.int32)
    expand = _expand(env.sizes)
    owner = np.arange(m)
    frontier = np.zeros((m, env.sizes.max_atoms, 3), np.int32)
    frontier[:, 0] = queries
    reached = np.ones(m, np.int64)
    seen: set[tuple[int, int, int]] = set()
    for step in range(1, env.max_depth + 1):
        next_frontier, next_owner = [], []
        for begin in range(0, len(frontier), BATCH):
            rows = slice(begin, begin + BATCH)
            n = len(frontier[rows])
            pad = [(0, BATCH - n), (0, 0)]
            states = np.pad(frontier[rows], [*pad, (0, 0)])
            roots = np.pad(queries[owner[rows]], pad)
            resolvents, open_, hashes, proved = (np.asarray(x)[:n] for x in expand(params, states, roots))
            owners = owner[rows]
            depth[owners[proved]] = step
            row, slot = np.nonzero(open_)
            for i, (o, h) in enumerate(zip(owners[row].tolist(), hashes[row, slot].tolist(), strict=True)):
                key = (o, h[0], h[1])
                if key not in seen:
                    seen.add(key)
                    reached[o] += 1
                    next_frontier.append(resolvents[row[i], slot[i]])
                    next_owner.append(o)
        exhausted = (reached > max_states) & (depth == UNPROVED)
        depth[exhausted] = BUDGET
        going_on = [i for i, o in enumerate(next_owner) if depth[o] == UNPROVED]
        if not going_on:
            break
        frontier = np.stack([next_frontier[i] for i in going_on])
        owner = np.array([next_owner[i] for i in going_on])
    return depth
