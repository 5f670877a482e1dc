"""Breadth-first search for answers: how many steps the shortest derivation of each constant takes, without learning."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.proving.answers.environment import AnswerEnv, AnswerParams
from ppo_jax.proving.answers.evaluation import Ranked, open_atoms, split
from ppo_jax.proving.open_queries import KnownAnswers, OpenQueries, answer_ranks

__all__ = ["Found", "rank", "search"]

AT_ONCE = 128  # queries searched side by side
BYTES = 2**24  # of the successors that are derived in one call


class Found(NamedTuple):
    """Of n queries, each searched level by level: no resolvent of a query is looked at twice."""

    steps: np.ndarray  # [n, n_constants + 1] int32 of the shortest derivation of a constant, 0 where none was found
    looked_at: np.ndarray  # [n] resolvents whose successors were derived
    given_up: np.ndarray  # [n] bool, the next level did not fit in the budget


def search(
    env: AnswerEnv, params: AnswerParams, queries: np.ndarray, budget: int, until: np.ndarray | None = None
) -> Found:
    """The shortest derivations of all answers to `queries` [n, 3], 0 for the variable; no fact is hidden.

    Args:
        env: the environment, whose depth limit holds.
        params: its knowledge base.
        queries: [n, 3] int32.
        budget: resolvents of a query; a level that would exceed it is not begun. What was found until then is exact.
        until: [n] a constant for each query; once it is found its search ends with that level. None: no search does.
    """
    n, width = len(queries), env.sizes.max_atoms
    steps = np.zeros((n, env.sizes.n_constants + 1), np.int32)
    looked_at, given_up = np.zeros(n, np.int64), np.zeros(n, bool)
    searching = np.ones(n, bool)
    # A node is the number of its query, and a resolvent.
    roots = np.asarray(jax.vmap(env.root)(jnp.asarray(queries)), np.int32).reshape(n, 3 * width)
    nodes = seen = np.column_stack([np.arange(n, dtype=np.int32), roots])
    for depth in range(env.max_depth):
        level = np.bincount(nodes[:, 0], minlength=n)
        given_up |= searching & (looked_at + level > budget)
        searching &= ~given_up & (level > 0)
        nodes = nodes[searching[nodes[:, 0]]]
        looked_at += np.where(searching, level, 0)
        if len(nodes) == 0:
            break
        after = []
        for part in np.array_split(nodes, -(-len(nodes) // _room(env))):
            resolvents, is_open, complete = _expand(env, params, queries[part[:, 0]], part[:, 1:], depth)
            row, action = np.nonzero(complete)
            owner, answer = part[row, 0], resolvents[row, 1, 0, action]
            first = steps[owner, answer] == 0
            steps[owner[first], answer[first]] = depth + 1
            row, action = np.nonzero(is_open & ~complete)
            onward = np.swapaxes(resolvents[row, :, :, action], 1, 2).reshape(len(row), 3 * width)
            after.append(np.column_stack([part[row, 0], onward]))
        nodes = _unseen(np.concatenate(after), seen)
        seen = np.concatenate([seen, nodes])
        if until is not None:
            searching &= steps[np.arange(n), until] == 0
    return Found(steps, looked_at, given_up)


def rank(
    env: AnswerEnv, params: AnswerParams, queries: OpenQueries, known: KnownAnswers, budget: int
) -> tuple[Ranked, int]:
    """Rank answers by the steps of their shortest derivation; those without one are tied below.

    Each search ends with the level that proves the answer: what comes later stands below it. What a search that was
    given up did not find counts as not derived.

    Returns:
        The ranking, with 1 / steps as score; and how many searches were given up.
    """
    parts, given_up = [], 0
    for chunk in split(queries, AT_ONCE):
        found = search(env, params, open_atoms(chunk), budget, chunk.answer)
        scores = np.where(found.steps > 0, 1.0 / np.maximum(found.steps, 1), -np.inf)
        own = found.steps[np.arange(len(scores)), chunk.answer]
        ranks = answer_ranks(scores, chunk, known)
        parts.append(Ranked(*ranks, np.where(own > 0, 1.0 / np.maximum(own, 1), 0.0), 0.0 * own, found.looked_at))
        given_up += int(found.given_up.sum())
    return Ranked(*(np.concatenate(x) for x in zip(*parts, strict=True))), given_up


def _room(env: AnswerEnv) -> int:
    """Resolvents whose successors are derived in one call."""
    return max(1, min(512, BYTES // (4 * 3 * env.sizes.max_atoms * env.sizes.max_successors)))


def _expand(
    env: AnswerEnv, params: AnswerParams, queries: np.ndarray, resolvents: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Successors [k, 3, A, G] of `resolvents` [k, 3 A], which of them are open and which are answers, [k, G] each."""
    k, room = len(resolvents), _room(env)
    padded = [np.resize(x, (room, x.shape[1])) for x in (queries, resolvents)]
    return tuple(np.asarray(x)[:k] for x in _derive(env, params, *padded, jnp.int32(depth)))  # type: ignore[return-value]


@partial(jax.jit, static_argnames="env")
def _derive(env: AnswerEnv, params: AnswerParams, queries: Any, resolvents: Any, depth: jax.Array) -> tuple[Any, ...]:
    states = jax.vmap(partial(env.at, params), in_axes=(0, 0, None))(
        resolvents.reshape(len(queries), -1, 3), queries, depth
    )
    return states.successors, states.action_mask[:, :-1], states.complete


def _unseen(nodes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The different rows of `nodes` [m, w] that are not among `seen` [s, w]."""
    every = np.ascontiguousarray(np.concatenate([seen, nodes]))
    as_one = every.view(np.dtype((np.void, every.itemsize * every.shape[1]))).ravel()
    _, first = np.unique(as_one, return_index=True)
    return every[np.sort(first[first >= len(seen)])]
