"""Breadth-first search for shortest proofs: what is provable at all, and the baseline without learning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppo_jax.proving.derivations import Derivations, in_blocks
from ppo_jax.proving.environment import ProofEnv, ProofParams

__all__ = ["BUDGET", "LEFT_OUT", "MAX_STATES", "UNPROVED", "shortest_proofs"]

UNPROVED = -1  # no proof within the depth limit
BUDGET = -2  # search gave up: more states than allowed
LEFT_OUT = -3  # not searched: the searches before it took all that was allowed in all
MAX_STATES = 500  # at which the search for a single proof may look before it is given up
AT_ONCE = 256  # queries searched side by side
FIRST = 16  # queries searched before it is known what one takes


def shortest_proofs(
    env: ProofEnv,
    params: ProofParams,
    queries: np.ndarray,
    max_states: int = MAX_STATES,
    max_derived: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> np.ndarray:
    """Number of steps of the shortest proof of each of `queries` [M, 3].

    Args:
        env: gives the sizes and the depth limit.
        params: the knowledge base.
        queries: ground atoms, [M, 3] int32.
        max_states: states at which the search for a single proof may look before it is given up.
        max_derived: slots of successors that all searches together may about fill; the last queries are then left out.
        progress: with `max_derived`, receives the name of the step, how many are searched, and of how many.

    Returns:
        [M] int32: steps, `UNPROVED`, `BUDGET` where the search was given up without an answer, or `LEFT_OUT`.
    """
    if len(queries) == 0:
        return np.zeros(0, np.int32)
    derivations = Derivations(env, params)
    atoms, first, inverse = np.unique(queries, axis=0, return_index=True, return_inverse=True)
    depth = np.full(len(atoms), LEFT_OUT, np.int32)
    if max_derived is None:
        depth[:] = in_blocks(lambda block: _search(derivations, max_states, block)[0], atoms, AT_ONCE)
    else:
        order, room = np.argsort(first), max_derived / env.sizes.max_successors
        done = opened = 0
        while done < len(atoms):
            if progress:
                progress("search for proofs", done, len(atoms))
            affordable = (room - opened) / (opened / done) if done else FIRST
            block = order[done : done + min(int(affordable), AT_ONCE)]
            if len(block) == 0:
                break
            depth[block], took = _search(derivations, max_states, atoms[block])
            done, opened = done + len(block), opened + took
        if progress:
            progress("search for proofs", done, done)  # what is left is left out
    found: np.ndarray = depth[inverse]
    return found


def _search(derivations: Derivations, max_states: int, queries: np.ndarray) -> tuple[np.ndarray, int]:
    """`shortest_proofs` of different queries, level by level, of all of them side by side; and states it opened."""
    depth, looked_at = np.full(len(queries), UNPROVED, np.int32), np.ones(len(queries), np.int64)
    nodes, owner = derivations.begin(queries)[:, 0], np.arange(len(queries))
    seen, opened = np.zeros(0, bool), 0
    for step in range(1, derivations.env.max_depth + 1):
        opened += len(nodes)
        after, owners = [], []
        for begin in range(0, len(nodes), derivations.room):
            rows = slice(begin, begin + derivations.room)
            offered, searched = derivations.open(nodes[rows, None]), owner[rows]
            depth[searched[offered.proofs.any(axis=1)]] = step
            row, action = np.nonzero(offered.mask[:, :-1] & (depth[searched] == UNPROVED)[:, None])
            after.append(offered.leads_to[row, action])
            owners.append(searched[row])
        # A node that any branch reached is not looked at again; nodes of different queries differ.
        nodes, first = np.unique(np.concatenate(after), return_index=True)
        seen = np.pad(seen, (0, max(0, nodes.max(initial=0) + 1 - len(seen))))
        fresh = ~seen[nodes]
        seen[nodes] = True
        nodes, owner = nodes[fresh], np.concatenate(owners)[first][fresh]
        looked_at += np.bincount(owner, minlength=len(queries))
        depth[(looked_at > max_states) & (depth == UNPROVED)] = BUDGET
        going_on = depth[owner] == UNPROVED
        nodes, owner = nodes[going_on], owner[going_on]
        if len(nodes) == 0:
            break
    return depth, opened
