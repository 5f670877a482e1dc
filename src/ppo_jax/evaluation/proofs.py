"""Score queries by proving them: greedily, or by the probability of any proof (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    "in_chunks",
    "prove_greedily",
    "prove_marginally",
    "uniform_policy",
]

PyTree = Any
# (policy parameters, observation with one batch axis) -> distribution over actions and value; parameters are traced.
Policy = Callable[[PyTree, dict[str, jax.Array]], tuple[Categorical, jax.Array]]


def uniform_policy(params: PyTree, observation: dict[str, jax.Array]) -> tuple[Categorical, jax.Array]:
    """Every valid action alike: the baseline without learning."""
    mask = observation["action_mask"]
    return Categorical(jnp.zeros(mask.shape), mask), jnp.zeros(mask.shape[0])


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


def prove_greedily(
    env: ProofEnv, params: ProofParams, policy: Policy, policy_params: PyTree, queries: jax.Array, mask_end: bool
) -> GreedyProofs:
    """Follow the most likely action from each of `queries` [M, 3].

    With `mask_end`, `end` is chosen only where nothing else is open: a ranking asks for a proof, not for a verdict.
    Probabilities are the policy's own either way.
    """

    def body(carry: tuple[ProofState, jax.Array], _: None) -> tuple[tuple[ProofState, jax.Array], Any]:
        state, proved = carry
        open_ = jnp.any(state.action_mask, axis=-1)
        # A finished proof has no valid action; let `end` stand in so that no row is all masked.
        mask = state.action_mask.at[:, -1].set(state.action_mask[:, -1] | ~open_)
        log_probs = policy(policy_params, jax.vmap(env.observe)(state._replace(action_mask=mask)))[0].log_probs()
        choice = log_probs
        if mask_end:
            others = jnp.any(mask[:, :-1], axis=-1)
            choice = choice.at[:, -1].set(jnp.where(others, -jnp.inf, choice[:, -1]))
        action = jnp.argmax(choice, axis=-1)
        pick = lambda x: jax.vmap(lambda row, i: row[i])(x, action)  # noqa: E731
        log_prob, kind, constants = pick(log_probs), pick(state.action_kind), pick(state.action_constants)
        record = (jnp.where(open_, log_prob, 0.0), jnp.where(open_, kind, 0), constants * open_[:, None])
        state, now = jax.vmap(env.advance, in_axes=(None, 0, 0))(params, state, action)
        state = state._replace(action_mask=state.action_mask & open_[:, None])
        return (state, proved | (now & open_)), record

    start = _start(env, params, queries)
    (_, proved), record = jax.lax.scan(body, (start, jnp.zeros(len(queries), bool)), length=env.max_depth)
    log_probs, kinds, constants = (jnp.swapaxes(x, 0, 1) for x in record)
    return GreedyProofs(jnp.where(proved, jnp.sum(log_probs, axis=1), -jnp.inf), proved, log_probs, kinds, constants)


class MarginalProofs(NamedTuple):
    """Probability mass of the policy over derivations, for M queries."""

    log_prob: jax.Array  # [M] log P(proved), a lower bound; -inf where the beam found no proof
    unexplored: jax.Array  # [M] probability mass that fell off the beam, so P(proved) is at most this much more


def prove_marginally(
    env: ProofEnv, params: ProofParams, policy: Policy, policy_params: PyTree, queries: jax.Array, beam_width: int
) -> MarginalProofs:
    """Sum the probability of all derivations of `queries` [M, 3] that prove, by beam search.

    At each depth the `beam_width` most probable unfinished derivations go on. Derivations with the same resolvent are
    kept apart: their visited states differ, and with them the actions open to them.
    """
    m, width = len(queries), beam_width
    start = _start(env, params, queries)
    states = jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], (m, width, *x.shape[1:])), start)
    log_mass = jnp.full((m, width), -jnp.inf).at[:, 0].set(0.0)

    def unfinished(carry: Any) -> jax.Array:
        depth, _, log_mass, _, _ = carry
        return (depth < env.max_depth) & jnp.any(log_mass > -jnp.inf)

    def body(carry: Any) -> Any:
        depth, states, log_mass, log_proved, unexplored = carry
        flat = jax.tree.map(lambda x: x.reshape(m * width, *x.shape[2:]), states)
        mask = flat.action_mask
        alive = jnp.any(mask, axis=-1)
        safe = flat._replace(action_mask=mask.at[:, -1].set(mask[:, -1] | ~alive))
        log_probs = policy(policy_params, jax.vmap(env.observe)(safe))[0].log_probs()
        log_probs = jnp.where(mask, log_probs, -jnp.inf).reshape(m, width, -1)
        paths = log_mass[..., None] + log_probs  # [m, W, G + 1]
        successors = states.successors  # [m, W, G, A, 3]
        proof = states.action_mask[..., :-1] & (successors[..., 0, 0] == 0)
        gained = jnp.where(proof, paths[..., :-1], -jnp.inf).reshape(m, -1)
        log_proved = jnp.logaddexp(log_proved, jax.nn.logsumexp(gained, axis=-1))
        # Giving up and proofs end here; the rest compete for the beam.
        open_paths = jnp.where(proof, -jnp.inf, paths[..., :-1]).reshape(m, -1)
        n_kept = min(width, open_paths.shape[-1])
        kept, index = jax.lax.top_k(open_paths, n_kept)
        kept = jnp.pad(kept, ((0, 0), (0, width - n_kept)), constant_values=-jnp.inf)
        index = jnp.pad(index, ((0, 0), (0, width - n_kept)))
        lost = jnp.sum(jnp.exp(open_paths), axis=-1) - jnp.sum(jnp.exp(kept), axis=-1)
        unexplored += jnp.where(depth + 1 < env.max_depth, jnp.maximum(lost, 0.0), 0.0)
        parent, action = index // successors.shape[2], index % successors.shape[2]
        chosen = jax.tree.map(lambda x: jax.vmap(lambda row, i: row[i])(x, parent), states)
        advance = jax.vmap(jax.vmap(env.advance, in_axes=(None, 0, 0)), in_axes=(None, 0, 0))
        states, _ = advance(params, chosen, action)
        return depth + 1, states, kept, log_proved, unexplored

    zero = jnp.zeros((), jnp.int32)
    carry = (zero, states, log_mass, jnp.full(m, -jnp.inf), jnp.zeros(m))
    *_, log_proved, unexplored = jax.lax.while_loop(unfinished, body, carry)
    return MarginalProofs(jnp.minimum(log_proved, 0.0), unexplored)


def _start(env: ProofEnv, params: ProofParams, queries: jax.Array) -> ProofState:
    labels = jnp.zeros(len(queries), bool)  # no rewards here, so labels do not matter
    return jax.vmap(env.start, in_axes=(None, 0, 0))(params, queries, labels)


def in_chunks(prove: Callable[[jax.Array], Any], queries: np.ndarray, chunk: int) -> Any:
    """Apply a jitted `prove` to `queries` [M, 3] in equal chunks (one compilation, bounded memory)."""
    n = len(queries)
    chunk = max(min(chunk, n), 1)
    padded = np.concatenate([queries, np.repeat(queries[-1:], -n % chunk, axis=0)])
    parts = [jax.device_get(prove(jnp.asarray(part))) for part in np.split(padded, len(padded) // chunk)]
    return jax.tree.map(lambda *xs: np.concatenate(xs)[:n], *parts)
