"""Score queries by proving them: greedily, or by the probability of any proof (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.distributions import Categorical
from ppo_jax.envs.proof import ProofEnv, ProofParams, ProofState
from ppo_jax.logic.datasets import Dataset

__all__ = [
    "Candidates",
    "GreedyProofs",
    "MarginalProofs",
    "Policy",
    "candidates",
    "in_batches",
    "prove_greedily",
    "prove_marginally",
    "visit",
    "with_end",
]

PyTree = Any
NEGLIGIBLE = 1e-6  # probability under which a derivation is not followed
# (policy parameters, observation with one batch axis) -> distribution over actions and value; parameters are traced.
Policy = Callable[[PyTree, dict[str, jax.Array]], tuple[Categorical, jax.Array]]


@dataclass(frozen=True)
class Candidates:
    """Queries with their corruptions; row r ranks one side of one query."""

    atoms: np.ndarray  # [R, N, 3] int32, column 0 the query itself
    valid: np.ndarray  # [R, N] bool; false where filtered or padded
    query: np.ndarray  # [R] int32, which query the row belongs to

    @property
    def n_queries(self) -> int:
        return int(self.query.max(initial=-1)) + 1


def candidates(
    dataset: Dataset,
    split: str,
    corrupt: str | None = None,
    n_corruptions: int | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> Candidates:
    """The queries of a split and their filtered corruptions.

    Filtered by the facts and queries of the splits up to this one, in the order train, valid, test: validation
    never uses a test triple.

    Args:
        dataset: facts and queries.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        corrupt: ``"tail"``, ``"head"`` or ``"both"`` (a row for each side); None: the dataset's default.
        n_corruptions: corruptions sampled without replacement per row, by a generator of `seed`; None: all.
        n_queries: only the first so many queries; None: all.
    """
    order = ("train", "valid", "test")
    queries = dataset.queries[split][:n_queries]
    known_parts = [dataset.kb.facts, *(dataset.queries[s] for s in order[: order.index(split) + 1])]
    stride = len(dataset.kb.constants) + 1
    encode = lambda atoms: (atoms[:, 0].astype(np.int64) * stride + atoms[:, 1]) * stride + atoms[:, 2]  # noqa: E731
    known = np.unique(np.concatenate([encode(part) for part in known_parts]))
    rng = np.random.default_rng(seed)
    sides = {"tail": (2,), "head": (1,), "both": (1, 2)}[corrupt or dataset.corrupt]
    rows, owners = [], []
    for q, query in enumerate(queries):
        for side in sides:
            members = dataset.domains[int(query[0]), side - 1]
            atoms = np.repeat(query[None], len(members), axis=0)
            atoms[:, side] = members
            atoms = atoms[~np.isin(encode(atoms), known)]
            if n_corruptions is not None and len(atoms) > n_corruptions:
                atoms = atoms[np.sort(rng.choice(len(atoms), n_corruptions, replace=False))]
            rows.append(np.concatenate([query[None], atoms]))
            owners.append(q)
    width = max((len(r) for r in rows), default=1)
    atoms = np.zeros((len(rows), width, 3), np.int32)
    valid = np.zeros((len(rows), width), bool)
    for r, row in enumerate(rows):
        atoms[r, : len(row)], valid[r, : len(row)] = row, True
    return Candidates(atoms, valid, np.array(owners, np.int32))


class GreedyProofs(NamedTuple):
    """The most likely action at every step, for M queries; D = max_depth."""

    log_prob: jax.Array  # [M] of the path where it proves, else -inf
    proved: jax.Array  # [M] bool
    log_probs: jax.Array  # [M, D] of each action, 0 after the end
    kinds: jax.Array  # [M, D] int32 kind of each action, 0 after the end
    constants: jax.Array  # [M, D, 2] int32 constants it binds
    choices: jax.Array  # [M, D] int32 actions that were open, 0 after the end


def prove_greedily(
    env: ProofEnv, params: ProofParams, policy: Policy, policy_params: PyTree, queries: jax.Array, mask_end: bool
) -> GreedyProofs:
    """Follow the most likely action from each of `queries` [M, 3]. Jit it.

    With `mask_end`, `end` is chosen only where nothing else is open: a ranking asks for a proof, not for a verdict.
    Probabilities are the policy's own either way.
    """

    def body(carry: tuple[ProofState, jax.Array, jax.Array], _: None) -> tuple[Any, Any]:
        state, action, proved = carry
        state = jax.vmap(env.advance, in_axes=(None, 0, 0))(params, state, action)[0]
        open_ = jnp.any(state.action_mask, axis=-1)
        state = with_end(state)
        log_probs = policy(policy_params, jax.vmap(env.observe)(state))[0].log_probs()
        choice = log_probs
        if mask_end:
            others = jnp.any(state.action_mask[:, :-1], axis=-1)
            choice = choice.at[:, -1].set(jnp.where(others, -jnp.inf, choice[:, -1]))
        action = jnp.argmax(choice, axis=-1)
        pick = lambda x: jax.vmap(lambda row, i: row[i])(x, action)  # noqa: E731
        log_prob, kind, constants = pick(log_probs), pick(state.action_kind), pick(state.action_constants)
        n_open = jnp.sum(state.action_mask, axis=-1) * open_
        record = (jnp.where(open_, log_prob, 0.0), jnp.where(open_, kind, 0), constants * open_[:, None], n_open)
        proved |= jax.vmap(env.outcome)(state, action)[2]
        return (state, action, proved), record

    first = jnp.zeros(len(queries), jnp.int32)
    carry = (_before(env, queries), first, jnp.zeros(len(queries), bool))
    (_, _, proved), record = jax.lax.scan(body, carry, length=env.max_depth)
    log_probs, *details = (jnp.swapaxes(x, 0, 1) for x in record)
    return GreedyProofs(jnp.where(proved, jnp.sum(log_probs, axis=1), -jnp.inf), proved, log_probs, *details)


class MarginalProofs(NamedTuple):
    """Probability mass of the policy over derivations, for M queries."""

    log_prob: np.ndarray  # [M] log P(proved), a lower bound; -inf where no proof was found
    unexplored: np.ndarray  # [M] probability mass that was not followed: P(proved) is at most this much more


class Visited(NamedTuple):
    """A batch of states that derivations arrived at."""

    states: ProofState  # [n, ...]
    log_probs: jax.Array  # [n, G + 1] of the actions open there, -inf for others
    proofs: jax.Array  # [n, G] bool, actions that complete a proof


def visit(
    env: ProofEnv,
    params: ProofParams,
    policy: Policy,
    policy_params: PyTree,
    sharpness: jax.Array | float,
    states: ProofState,
    actions: jax.Array,
) -> Visited:
    """Take `actions` [n] from `states` [n, ...] and look at what is open there. Jit it.

    Logits are multiplied by `sharpness` []: 1 is the policy, and with 0 every open action is alike.
    """
    states, _ = jax.vmap(env.advance, in_axes=(None, 0, 0))(params, states, actions)
    mask = states.action_mask
    chosen_from = policy(policy_params, jax.vmap(env.observe)(with_end(states)))[0]
    log_probs = chosen_from._replace(logits=sharpness * chosen_from.logits).log_probs()
    proofs = mask[:, :-1] & (states.successors[:, 0, 0] == 0)
    return Visited(states, jnp.where(mask, log_probs, -jnp.inf), proofs)


def with_end(states: ProofState) -> ProofState:
    """Where no action is open, at the depth limit or after a proof, `end` stands in: no row is all masked."""
    mask = states.action_mask
    return states._replace(action_mask=mask.at[:, -1].set(mask[:, -1] | ~jnp.any(mask, axis=-1)))


def prove_marginally(
    env: ProofEnv,
    visit: Callable[[ProofState, jax.Array], Visited],
    queries: np.ndarray,
    beam_width: int,
    batch: int,
) -> MarginalProofs:
    """Sum the probability of all derivations of `queries` [M, 3] that prove, by beam search.

    At each depth the `beam_width` most probable unfinished derivations of a query go on, but none less probable than
    `NEGLIGIBLE`. Derivations with the same resolvent are kept apart: their visited states differ, and with them the
    actions open to them.

    Args:
        env: the environment.
        visit: the function above for one policy, jitted.
        queries: ground atoms, [M, 3].
        beam_width: derivations of a query that go on.
        batch: states visited in one call; every call has this size.
    """
    m = len(queries)
    log_proved, unexplored = np.full(m, -np.inf), np.zeros(m)
    states = jax.device_get(_before(env, jnp.asarray(queries)))
    owner, log_mass, actions = np.arange(m), np.zeros(m), np.zeros(m, np.int32)
    for depth in range(env.max_depth):
        found = in_batches(visit, (states, actions), batch)
        paths = log_mass[:, None] + found.log_probs
        row, action = np.nonzero(found.proofs)
        np.logaddexp.at(log_proved, owner[row], paths[row, action])
        # Giving up and proofs end here; the rest compete for the beam.
        open_paths = np.where(found.proofs, -np.inf, paths[:, :-1])
        row, action = np.nonzero(open_paths > -np.inf)
        mass = open_paths[row, action]
        order = np.lexsort((-mass, owner[row]))
        row, action, mass = row[order], action[order].astype(np.int32), mass[order]
        owner = owner[row]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        kept = (rank < beam_width) & (mass > np.log(NEGLIGIBLE))
        if depth + 1 == env.max_depth or not kept.any():
            # At the limit what is left is known not to prove; before it, it was not followed.
            if depth + 1 < env.max_depth:
                np.add.at(unexplored, owner, np.exp(mass))
            break
        np.add.at(unexplored, owner[~kept], np.exp(mass[~kept]))
        owner, log_mass, actions = owner[kept], mass[kept], action[kept]
        states = jax.tree.map(lambda x, row=row[kept]: x[row], found.states)
    return MarginalProofs(np.minimum(log_proved, 0.0), unexplored)


def in_batches(function: Callable[..., Any], arguments: Any, batch: int) -> Any:
    """Apply a jitted function to arrays [n, ...], n >= 1, in calls of exactly `batch` rows.

    The last call is padded by its last row.
    """
    n = len(jax.tree.leaves(arguments)[0])
    parts = []
    for begin in range(0, n, batch):
        rows = np.minimum(np.arange(begin, begin + batch), n - 1)
        parts.append(jax.device_get(function(*jax.tree.map(lambda x, rows=rows: x[rows], arguments))))
    return jax.tree.map(lambda *xs: np.concatenate(xs)[:n], *parts)


@partial(jax.jit, static_argnums=0)
def _before(env: ProofEnv, queries: jax.Array) -> ProofState:
    labels = jnp.zeros(len(queries), bool)  # no rewards here, so labels do not matter
    return jax.vmap(env.before)(queries, labels)
