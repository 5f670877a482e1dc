"""Derivations on the host: what is open at a resolvent is derived once, and a policy is asked at many places at once.

A node is a resolvent within the proof of one query; a derivation is the path of nodes that it went through. Evaluation
and search come to the same few nodes again and again, by other paths and with other parameters: on Countries S3 the
beams of a marginal evaluation stand at 123,000 places, which are 9,000 nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.ops.distributions import Categorical
from ppo_jax.proving import resolution
from ppo_jax.proving.environment import ProofEnv, ProofParams, ProofState

__all__ = ["PROVED", "Derivations", "Open", "Policy", "estimate", "in_blocks", "onward", "visit"]

PyTree = Any
# (parameters, observations [n, ...], (), start [n] bool) -> distribution over actions, value and (); it has no memory.
# Programs are compiled for each: equal policies share them.
Policy = Callable[[PyTree, dict[str, jax.Array], PyTree, jax.Array], tuple[Categorical, jax.Array, PyTree]]

BATCH = 256  # nodes that are derived, or places at which a policy is asked, in one call of a compiled program
MEMORY = 2**30  # bytes of nodes kept
NODE = 256  # bytes of a node, with what finding it again takes

PROVED, CLOSED = 0, -1  # the node of the empty resolvent; where an action that is not open leads


class Open(NamedTuple):
    """The actions open at n places."""

    leads_to: np.ndarray  # [n, G] int32 nodes, of all actions but `end`; `PROVED` for a proof
    mask: np.ndarray  # [n, G + 1] bool

    @property
    def proofs(self) -> np.ndarray:
        """Actions that complete a proof, [n, G] bool."""
        return self.mask[:, :-1] & (self.leads_to == PROVED)


def onward(paths: np.ndarray, offered: Open, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Paths [k, d + 2] by `actions` [k], none of which is `end`, from those of `rows` [k] of `paths` [n, d + 1]."""
    return np.column_stack([paths[rows], offered.leads_to[rows, actions]])


class Derivations:
    """What can be derived from a knowledge base, as far as anyone asked; no fact is hidden."""

    def __init__(self, env: ProofEnv, params: ProofParams) -> None:
        self.env, self._facts = env, params.facts
        # Places at once, of which no more nodes come than `MEMORY` holds.
        self.room = max(1, MEMORY // (NODE * env.sizes.max_successors * env.max_depth))
        self._forget()

    def _forget(self) -> None:
        width = self.env.sizes.max_successors
        self._number: dict[int, int] = {}  # node of a hash
        self._atoms = _Rows(np.zeros((1, 1 + self.env.sizes.max_atoms, 3), np.int32))  # root and resolvent of a node
        self._place = _Rows(np.full(1, -1, np.int32))  # of a node in the arrays below; -1: not derived
        self._leads_to = _Rows(np.zeros((0, width), np.int32))
        self._kind = _Rows(np.zeros((0, width + 1), np.int32))
        self._constants = _Rows(np.zeros((0, width + 1, 2), np.int32))

    def begin(self, queries: np.ndarray) -> np.ndarray:
        """Paths [M, 1] at the beginnings of the proofs of `queries` [M, 3]. Earlier paths are not valid any more."""
        if NODE * len(self._atoms.rows) + 16 * self._kind.rows.size > MEMORY:
            self._forget()
        atoms = np.zeros((len(queries), 1 + self.env.sizes.max_atoms, 3), np.int32)
        atoms[:, :2] = np.asarray(queries)[:, None]
        return self._nodes(atoms)[:, None]

    def open(self, paths: np.ndarray) -> Open:
        """What is open at the ends of n >= 1 `paths` [n, d + 1]."""
        place = self._derived(paths[:, -1])
        leads_to = np.take(self._leads_to.rows, place, axis=0)
        # Places along the last axis, where numpy is three times as fast.
        leads_to_t, nodes = np.ascontiguousarray(leads_to.T), np.ascontiguousarray(paths.T)
        valid = leads_to_t != CLOSED
        if self.env.prune_visited:
            for visited in nodes:
                valid &= leads_to_t != visited
        valid = np.ascontiguousarray(valid.T)
        valid, may_end = self.env.choices(valid, valid & (leads_to == PROVED), np)
        return Open(leads_to, np.column_stack([valid, may_end]))

    def actions(self, nodes: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kinds [n, G + 1] and constants [n, G + 1, 2], as of `ProofState`, of the actions of `mask` [n, G + 1]."""
        place = self._derived(nodes)
        return np.take(self._kind.rows, place, axis=0) * mask, self._constants.rows[place] * mask[..., None]

    def states(self, nodes: np.ndarray, depth: int, mask: np.ndarray) -> ProofState:
        """States at `nodes` [n] in a depth, where the actions of `mask` [n, G + 1] are open: what one sees of them."""
        place, atoms = self._derived(nodes), self._atoms.rows[nodes]
        successors = None
        if self.env.observe_successors:
            after = np.where(mask[:, :-1], self._leads_to.rows[place], PROVED)
            successors = np.moveaxis(self._atoms.rows[after, 1:], (1, 2, 3), (3, 2, 1))
        kind, constants = self.actions(nodes, mask)
        seen = {
            "resolvent": atoms[:, 1:],
            "root": atoms[:, 0],
            "depth": np.full(len(nodes), depth, np.int32),
            "successors": successors,
            "action_kind": kind,
            "action_constants": constants,
            "action_mask": mask,
        }
        return ProofState(**dict.fromkeys(ProofState._fields) | seen)  # type: ignore[arg-type]

    def _derived(self, nodes: np.ndarray) -> np.ndarray:
        """Where what follows from `nodes` [n] stands, [n]; what was not known is derived."""
        new = np.unique(nodes[self._place.rows[nodes] < 0])
        if len(new):
            atoms = self._atoms.rows[new]
            derive = partial(_derive, self.env.sizes, self._facts)
            derived = _in_batches(derive, (atoms[:, 0], atoms[:, 1:]))
            leads_to = np.where(derived.valid, PROVED, CLOSED).astype(np.int32)
            row, action = np.nonzero(derived.length)
            after = np.swapaxes(derived.resolvents[row, :, :, action], 1, 2)
            leads_to[row, action] = self._nodes(np.concatenate([atoms[row, :1], after], axis=1))
            self._place.rows[new] = len(self._leads_to.rows) + np.arange(len(new))
            self._leads_to.add(leads_to)
            self._kind.add(np.pad(derived.kind, ((0, 0), (0, 1)), constant_values=self.env.sizes.end_kind))
            self._constants.add(np.pad(np.swapaxes(derived.constants, 1, 2), ((0, 0), (0, 1), (0, 0))))
        return self._place.rows[nodes]

    def _nodes(self, atoms: np.ndarray) -> np.ndarray:
        """The nodes [k] of `atoms` [k, 1 + A, 3], root and resolvent; new ones are given numbers."""
        hashes = _hashes(atoms.reshape(len(atoms), atoms[:1].size))
        first, inverse = _distinct(hashes)
        number = self._number
        nodes = np.array([number.setdefault(h, 1 + len(number)) for h in hashes[first].tolist()], np.int32)
        new = first[nodes >= len(self._atoms.rows)]
        self._atoms.add(atoms[new])
        self._place.add(np.full(len(new), -1, np.int32))
        numbered: np.ndarray = nodes[inverse]
        return numbered


def visit(
    derivations: Derivations, policy: Policy, policy_params: PyTree, sharpness: float, paths: np.ndarray
) -> tuple[Open, np.ndarray]:
    """What is open at the ends of n >= 1 `paths` [n, d + 1], and log-probabilities [n, G + 1]; -inf for the rest.

    Logits are multiplied by `sharpness`: 1 is the policy, and with 0 every open action is alike.
    """
    offered = derivations.open(paths)
    # A policy sees where it is and what is open there, not how it came: half the places of a beam look alike.
    looks = np.column_stack([paths[:, -1], np.packbits(offered.mask, axis=1)])
    first, inverse = _distinct(_hashes(looks))
    states = derivations.states(paths[first, -1], paths.shape[1] - 1, offered.mask[first])
    ask = partial(_log_probs, derivations.env, policy, policy_params, sharpness)
    log_probs: np.ndarray = _in_batches(ask, states)
    return offered, log_probs[inverse]


def estimate(derivations: Derivations, policy: Policy, policy_params: PyTree, paths: np.ndarray) -> np.ndarray:
    """Values that the critic gives the ends of n >= 1 `paths` [n, d + 1], [n]."""
    mask = derivations.open(paths).mask
    states = derivations.states(paths[:, -1], paths.shape[1] - 1, mask)
    values: np.ndarray = _in_batches(partial(_values, derivations.env, policy, policy_params), states)
    return values


@partial(jax.jit, static_argnums=(0, 1))
def _log_probs(
    env: ProofEnv, policy: Policy, policy_params: PyTree, sharpness: jax.Array, states: ProofState
) -> jax.Array:
    distribution, *_ = _ask(env, policy, policy_params, states)
    log_probs = distribution._replace(logits=sharpness * distribution.logits).log_probs()
    return jnp.where(states.action_mask, log_probs, -jnp.inf)


# Apart: most places are asked for actions alone, and marginal evaluations take a sixth less without the critic.
@partial(jax.jit, static_argnums=(0, 1))
def _values(env: ProofEnv, policy: Policy, policy_params: PyTree, states: ProofState) -> jax.Array:
    return _ask(env, policy, policy_params, states)[1]


def _ask(env: ProofEnv, policy: Policy, policy_params: PyTree, states: ProofState) -> Any:
    return policy(policy_params, jax.vmap(env.observe)(states), (), states.depth == 0)


class _Rows:
    """An array that grows along its first axis, in amortised time of what is added."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = self._all = rows

    def add(self, more: np.ndarray) -> None:
        n = len(self.rows)
        if n + len(more) > len(self._all):
            larger = np.empty((2 * (n + len(more)), *more.shape[1:]), more.dtype)
            larger[:n] = self.rows
            self._all = larger
        self._all[n : n + len(more)] = more
        self.rows = self._all[: n + len(more)]


def _hashes(rows: np.ndarray) -> np.ndarray:
    """A hash [n] uint64 of each of `rows` [n, k]; two of a million get the same with a chance of one in a million."""
    factors = np.random.default_rng(0).integers(2**64, size=rows.shape[1], dtype=np.uint64) | np.uint64(1)
    hashes: np.ndarray = rows.astype(np.uint64) @ factors
    return hashes


def _distinct(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `hashes` [n] is first, in this order, [m], and which of those each is, [n]."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order, rank = np.argsort(first), np.empty(len(first), np.int64)
    rank[order] = np.arange(len(first))
    return first[order], rank[inverse]


@partial(jax.jit, static_argnums=0)
def _derive(sizes: Any, facts: Any, atoms: tuple[jax.Array, jax.Array]) -> resolution.Successors:
    def derive(root: jax.Array, resolvent: jax.Array) -> resolution.Successors:
        return resolution.successors(facts, sizes, resolvent, root)

    return jax.vmap(derive)(*atoms)


def in_blocks(function: Callable[[np.ndarray], Any], rows: np.ndarray, size: int) -> Any:
    """`function` of at most `size` of the `rows` [n, ...] at a time, n >= 1; its results, one entry a row."""
    parts = [function(rows[begin : begin + size]) for begin in range(0, len(rows), size)]
    return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


def _in_batches(function: Callable[[PyTree], Any], arrays: PyTree) -> Any:
    """Apply a jitted function to `arrays` [n, ...], n >= 1, in calls of `BATCH`; the last is padded.

    All calls are under way before the first result is awaited.
    """
    n, parts = len(jax.tree.leaves(arrays)[0]), []
    for begin in range(0, n, BATCH):
        end = begin + BATCH
        rows = slice(begin, end) if end <= n else np.minimum(np.arange(begin, end), n - 1)
        parts.append(function(jax.tree.map(lambda x, rows=rows: x[rows], arrays)))
    parts = [jax.device_get(part) for part in parts]
    return jax.tree.map(lambda *xs: np.concatenate(xs)[:n] if len(xs) > 1 else xs[0][:n], *parts)
