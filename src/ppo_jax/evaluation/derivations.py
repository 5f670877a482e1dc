"""Derivations on the host: many at once stand at places, are looked at in batches of one size, and go on.

The same few compiled programs serve all of evaluation and search: one derives what is open at a place, one asks the
policy for actions, one for values, each compiled for the `SIZES` that it is called with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.distributions import Categorical
from ppo_jax.envs.proof import ProofEnv, ProofParams, ProofState

__all__ = [
    *("Explorer", "Found", "Places", "Policy"),
    *("beginnings", "in_blocks", "look", "room", "successors_of", "unvisited"),
]

PyTree = Any
# (policy parameters, observation with one batch axis) -> distribution over actions and value; parameters are traced.
Policy = Callable[[PyTree, dict[str, jax.Array]], tuple[Categorical, jax.Array]]

SIZES = (1024, 128)  # places looked at in one call, where memory allows: many, and the few that are left
MEMORY = 256 * 2**20  # bytes of states held at once


class Places(NamedTuple):
    """Where n derivations stand."""

    resolvent: np.ndarray  # [n, A, 3] int32
    root: np.ndarray  # [n, 3] int32, the query
    depth: np.ndarray  # [n] int32, steps taken
    visited: np.ndarray  # [n, max_depth + 1, 2] uint32, hashes of the resolvents before


class Found(NamedTuple):
    """What is open at n places; fields as of `ProofState`."""

    visited: np.ndarray  # [n, max_depth + 1, 2] uint32, with this place
    successors: np.ndarray  # [n, 3, A, G] int32
    action_kind: np.ndarray  # [n, G + 1] int32
    action_constants: np.ndarray  # [n, G + 1, 2] int32
    action_mask: np.ndarray  # [n, G + 1] bool

    @property
    def proofs(self) -> np.ndarray:
        """Actions that complete a proof, [n, G] bool."""
        return self.action_mask[:, :-1] & (self.successors[:, 0, 0] == 0)


def beginnings(env: ProofEnv, queries: np.ndarray) -> Places:
    """The first places of the proofs of `queries` [M, 3]."""
    resolvent = np.zeros((len(queries), env.sizes.max_atoms, 3), np.int32)
    resolvent[:, 0] = queries
    return unvisited(env, resolvent, np.asarray(queries, np.int32))


def unvisited(env: ProofEnv, resolvent: np.ndarray, root: np.ndarray) -> Places:
    """Places as if no other had been visited before."""
    n = len(root)
    return Places(resolvent, root, np.zeros(n, np.int32), np.zeros((n, env.max_depth + 1, 2), np.uint32))


def successors_of(places: Places, found: Found, rows: np.ndarray, actions: np.ndarray) -> Places:
    """Where `actions` [k], none of which is `end`, lead from the places of `rows` [k]."""
    resolvent = np.swapaxes(found.successors[rows, :, :, actions], 1, 2)
    return Places(resolvent, places.root[rows], places.depth[rows] + 1, found.visited[rows])


def room(env: ProofEnv) -> int:
    """States that `MEMORY` holds, with what computing them takes."""
    state_bytes = 4 * 3 * env.sizes.n_actions * env.sizes.max_atoms
    return max(1, MEMORY // (state_bytes * 8))


def look(env: ProofEnv, params: ProofParams, places: Places) -> Found:
    """What is open at n >= 1 places; no fact is hidden."""
    env = replace(env, fact_dropout=0.0)
    return _in_batches(lambda places: _found(_look(env, params, places)), places, room(env))


class Explorer:
    """Asks a policy at places, for actions and for values."""

    def __init__(self, env: ProofEnv, policy: Policy) -> None:
        self.env = replace(env, fact_dropout=0.0)

        @jax.jit
        def actions(policy_params: PyTree, sharpness: jax.Array, states: ProofState) -> jax.Array:
            distribution, _ = policy(policy_params, jax.vmap(self.env.observe)(states))
            log_probs = distribution._replace(logits=sharpness * distribution.logits).log_probs()
            return jnp.where(states.action_mask, log_probs, -jnp.inf)

        # Apart: most places are asked for actions alone, and marginal evaluations take a sixth less without the critic.
        self._actions = actions
        self._values = jax.jit(
            lambda policy_params, states: policy(policy_params, jax.vmap(self.env.observe)(states))[1]
        )

    def visit(
        self, params: ProofParams, policy_params: PyTree, sharpness: float, places: Places
    ) -> tuple[Found, np.ndarray]:
        """What is open at n >= 1 places, and log-probabilities [n, G + 1] of it, -inf for other actions.

        Logits are multiplied by `sharpness`: 1 is the policy, and with 0 every open action is alike.
        """

        def both(places: Places) -> Any:
            states = _look(self.env, params, places)
            return _found(states), self._actions(policy_params, sharpness, states)

        found: tuple[Found, np.ndarray] = _in_batches(both, places, room(self.env))
        return found

    def values(self, params: ProofParams, policy_params: PyTree, places: Places) -> np.ndarray:
        """What the critic says at n >= 1 places, [n]."""
        ask = lambda places: self._values(policy_params, _look(self.env, params, places))  # noqa: E731
        values: np.ndarray = _in_batches(ask, places, room(self.env))
        return values


def in_blocks(function: Callable[[np.ndarray], Any], rows: np.ndarray, size: int) -> Any:
    """`function` of at most `size` of the `rows` [n, ...] at a time, n >= 1; its results, one entry a row."""
    parts = [function(rows[begin : begin + size]) for begin in range(0, len(rows), size)]
    return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


@partial(jax.jit, static_argnums=0)
def _look(env: ProofEnv, params: ProofParams, places: Any) -> ProofState:
    return jax.vmap(env.at, in_axes=(None, 0, 0, 0, 0))(params, *places)


def _found(states: Any) -> Found:
    return Found(*(getattr(states, name) for name in Found._fields))


def _in_batches(function: Callable[[Places], Any], places: Places, most: int) -> Any:
    """Apply a jitted function in calls of one of `SIZES`, at most `most`; the last is padded by its last place.

    All calls are under way before the first result is awaited.
    """
    n, begin, parts = len(places.depth), 0, []
    many, few = (min(size, most) for size in SIZES)
    while begin < n:
        size = many if n - begin > many // 2 else few
        rows = np.minimum(np.arange(begin, begin + size), n - 1)
        parts.append(function(Places(*(x[rows] for x in places))))
        begin += size
    parts = [jax.device_get(part) for part in parts]
    return jax.tree.map(lambda *xs: np.concatenate(xs)[:n] if len(xs) > 1 else xs[0][:n], *parts)
