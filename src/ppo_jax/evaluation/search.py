"""Breadth-first search for shortest proofs: what is provable at all, and the baseline without learning."""

from __future__ import annotations

import numpy as np

from ppo_jax.envs.proof import ProofEnv, ProofParams
from ppo_jax.evaluation.derivations import Places, beginnings, look, room, successors_of, unvisited

__all__ = ["BUDGET", "UNPROVED", "shortest_proofs"]

UNPROVED = -1  # no proof within the depth limit
BUDGET = -2  # search gave up: more states than allowed


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
    places, owner = beginnings(env, queries), np.arange(m)
    reached = np.ones(m, np.int64)
    seen: set[tuple[int, bytes]] = set()
    for step in range(1, env.max_depth + 1):
        if len(owner) == 0:
            break
        resolvents, owners = [], []
        for begin in range(0, len(owner), room(env)):
            rows = slice(begin, begin + room(env))
            here, searched = Places(*(x[rows] for x in places)), owner[rows]
            found = look(env, params, here)
            depth[searched[found.proofs.any(axis=1)]] = step
            row, action = np.nonzero(found.action_mask[:, :-1] & (depth[searched] == UNPROVED)[:, None])
            leads_to, searched = successors_of(here, found, row, action).resolvent, searched[row]
            fresh = []  # a resolvent that any branch reached is not looked at again
            for i, key in enumerate(zip(searched.tolist(), map(bytes, leads_to), strict=True)):
                if key not in seen:
                    seen.add(key)
                    fresh.append(i)
            np.add.at(reached, searched[fresh], 1)
            resolvents.append(leads_to[fresh])
            owners.append(searched[fresh])
        depth[(reached > max_states) & (depth == UNPROVED)] = BUDGET
        owner = np.concatenate(owners)
        going_on = depth[owner] == UNPROVED
        owner = owner[going_on]
        places = unvisited(env, np.concatenate(resolvents)[going_on], queries[owner])
    return depth
