"""Score queries by proving them: greedily, or by the probability of any proof (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ppo_jax.evaluation.derivations import Derivations, Open, onward
from ppo_jax.logic.datasets import Dataset

__all__ = [
    "Attempts",
    "Candidates",
    "MarginalProofs",
    "attempt",
    "candidates",
    "greediest",
    "prove_marginally",
]

NEGLIGIBLE = 1e-6  # probability under which a derivation is not followed
# What is open at the ends of paths [n, d + 1], and what log-probabilities [n, G + 1] one policy gives it.
Visit = Callable[[np.ndarray], tuple[Open, np.ndarray]]


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


class Attempts(NamedTuple):
    """One attempt at each of M proofs; D = max_depth. Arrays over steps hold 0 after the end."""

    log_prob: np.ndarray  # [M] of the path where it proves, else -inf
    proved: np.ndarray  # [M] bool
    log_probs: np.ndarray  # [M, D] of each action
    kinds: np.ndarray  # [M, D] int32 kind of each action
    constants: np.ndarray  # [M, D, 2] int32 constants it binds
    choices: np.ndarray  # [M, D] int32 actions that were open


def attempt(
    derivations: Derivations, visit: Visit, queries: np.ndarray, choose: Callable[[np.ndarray], np.ndarray]
) -> Attempts:
    """Try to prove each of `queries` [M, 3] once.

    Args:
        derivations: where the attempts begin.
        visit: asks the policy.
        queries: ground atoms.
        choose: actions [n] by the log-probabilities [n, G + 1] of those open, -inf for others.
    """
    m, depth_limit = len(queries), derivations.env.max_depth
    proved = np.zeros(m, bool)
    log_probs, kinds, choices = np.zeros((m, depth_limit), np.float32), *np.zeros((2, m, depth_limit), np.int32)
    constants = np.zeros((m, depth_limit, 2), np.int32)
    paths, owner = derivations.begin(queries), np.arange(m)
    for depth in range(depth_limit):
        found, open_log_probs = visit(paths)
        action, rows = choose(open_log_probs), np.arange(len(owner))
        log_probs[owner, depth] = open_log_probs[rows, action]
        open_kinds, open_constants = derivations.actions(paths[:, -1], found.mask)
        kinds[owner, depth], constants[owner, depth] = open_kinds[rows, action], open_constants[rows, action]
        choices[owner, depth] = found.mask.sum(axis=1)
        end = action == found.leads_to.shape[1]
        proof = ~end & found.proofs[rows, np.where(end, 0, action)]
        proved[owner[proof]] = True
        rows = rows[~end & ~proof]
        if len(rows) == 0:
            break
        paths, owner = onward(paths, found, rows, action[rows]), owner[rows]
    log_prob = np.where(proved, log_probs.sum(axis=1), -np.inf)
    return Attempts(log_prob, proved, log_probs, kinds, constants, choices)


def greediest(log_probs: np.ndarray, mask_end: bool = False) -> np.ndarray:
    """The most likely of the actions [n, G + 1], for `attempt`.

    With `mask_end`, `end` is chosen only where nothing else is open: a ranking asks for a proof, not for a verdict.
    """
    others = np.any(log_probs[:, :-1] > -np.inf, axis=1)
    end = np.where(mask_end & others, -np.inf, log_probs[:, -1])
    action: np.ndarray = np.argmax(np.column_stack([log_probs[:, :-1], end]), axis=1)
    return action


class MarginalProofs(NamedTuple):
    """Probability mass of the policy over derivations, for M queries."""

    log_prob: np.ndarray  # [M] log P(proved), a lower bound; -inf where no proof was found
    unexplored: np.ndarray  # [M] probability mass that was not followed: P(proved) is at most this much more


def prove_marginally(derivations: Derivations, visit: Visit, queries: np.ndarray, beam_width: int) -> MarginalProofs:
    """Sum the probability of all derivations of `queries` [M, 3] that prove, by beam search.

    At each depth the `beam_width` most probable unfinished derivations of a query go on, but none less probable than
    `NEGLIGIBLE`. Derivations with the same resolvent are kept apart: their visited states differ, and with them the
    actions open to them.

    Args:
        derivations: where they begin.
        visit: asks the policy.
        queries: ground atoms, [M, 3].
        beam_width: derivations of a query that go on.
    """
    m = len(queries)
    log_proved, unexplored = np.full(m, -np.inf), np.zeros(m)
    paths, owner, log_mass = derivations.begin(queries), np.arange(m), np.zeros(m)
    depth_limit = derivations.env.max_depth
    for depth in range(depth_limit):
        found, log_probs = visit(paths)
        proofs, log_paths = found.proofs, log_mass[:, None] + log_probs
        row, action = np.nonzero(proofs)
        np.logaddexp.at(log_proved, owner[row], log_paths[row, action])
        # Giving up and proofs end here; the rest compete for the beam.
        open_paths = np.where(proofs, -np.inf, log_paths[:, :-1])
        row, action = np.nonzero(open_paths > -np.inf)
        mass = open_paths[row, action]
        order = _descending(mass, owner[row])
        row, action, mass = row[order], action[order], mass[order]
        owner = owner[row]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        kept = (rank < beam_width) & (mass > np.log(NEGLIGIBLE))
        if depth + 1 == depth_limit or not kept.any():
            # At the limit what is left is known not to prove; before it, it was not followed.
            if depth + 1 < depth_limit:
                np.add.at(unexplored, owner, np.exp(mass))
            break
        np.add.at(unexplored, owner[~kept], np.exp(mass[~kept]))
        owner, log_mass = owner[kept], mass[kept]
        paths = onward(paths, found, row[kept], action[kept])
    return MarginalProofs(np.minimum(log_proved, 0.0), unexplored)


def _descending(mass: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The order [k] of owners, within one of falling `mass` [k], within equals as they stand.

    That of ``lexsort((-mass, owner))``, in a third of its time: plain sorts of numbers are vectorised, stable ones not.
    """
    levels, level = np.unique(-mass, return_inverse=True)
    k = len(mass)
    order: np.ndarray = np.sort((owner * len(levels) + level) * k + np.arange(k)) % max(k, 1)
    return order
