"""Score queries by proving them: greedily, or by the probability of any proof (docs/concepts/evaluation.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ppo_jax.proving.derivations import Derivations, Open, onward

__all__ = [
    "Attempts",
    "MarginalProofs",
    "attempt",
    "greediest",
    "prove_marginally",
]

NEGLIGIBLE = 1e-6  # probability under which a derivation is not followed
# What is open at the ends of paths [n, d + 1], and what log-probabilities [n, G + 1] one policy gives it.
Visit = Callable[[np.ndarray], tuple[Open, np.ndarray]]


class Attempts(NamedTuple):
    """One attempt at each of M proofs; D = max_depth. Arrays over steps hold 0 after the end."""

    log_prob: np.ndarray  # [M] of the path where it proves, else -inf
    proved: np.ndarray  # [M] bool
    log_probs: np.ndarray  # [M, D] of each action
    kinds: np.ndarray  # [M, D] int32 kind of each action
    constants: np.ndarray  # [M, D, 2] int32 constants it binds
    choices: np.ndarray  # [M, D] int32 actions that were open


def attempt(
    derivations: Derivations, visit: Visit, choose: Callable[[np.ndarray], np.ndarray], queries: np.ndarray
) -> Attempts:
    """Try to prove each of `queries` [M, 3] once.

    Args:
        derivations: where the attempts begin.
        visit: asks the policy.
        choose: actions [n] by the log-probabilities [n, G + 1] of those open, -inf for others.
        queries: ground atoms.
    """
    m, depth_limit = len(queries), derivations.env.max_depth
    proved = np.zeros(m, bool)
    log_probs, kinds, choices = np.zeros((m, depth_limit), np.float32), *np.zeros((2, m, depth_limit), np.int32)
    constants = np.zeros((m, depth_limit, 2), np.int32)
    paths, owner = derivations.begin(queries), np.arange(m)
    for depth in range(depth_limit):
        offered, open_log_probs = visit(paths)
        action, rows = choose(open_log_probs), np.arange(len(owner))
        log_probs[owner, depth] = open_log_probs[rows, action]
        open_kinds, open_constants = derivations.actions(paths[:, -1], offered.mask)
        kinds[owner, depth], constants[owner, depth] = open_kinds[rows, action], open_constants[rows, action]
        choices[owner, depth] = offered.mask.sum(axis=1)
        end = action == offered.leads_to.shape[1]
        proof = ~end & offered.proofs[rows, np.where(end, 0, action)]
        proved[owner[proof]] = True
        rows = rows[~end & ~proof]
        if len(rows) == 0:
            break
        paths, owner = onward(paths, offered, rows, action[rows]), owner[rows]
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


def prove_marginally(derivations: Derivations, visit: Visit, beam_width: int, queries: np.ndarray) -> MarginalProofs:
    """Sum the probability of all derivations of `queries` [M, 3] that prove, by beam search.

    At each depth the `beam_width` most probable unfinished derivations of a query go on, but none less probable than
    `NEGLIGIBLE`. Derivations with the same resolvent are kept apart: their visited states differ, and with them the
    actions open to them.

    Args:
        derivations: where they begin.
        visit: asks the policy.
        beam_width: derivations of a query that go on.
        queries: ground atoms, [M, 3].
    """
    m = len(queries)
    log_proved, unexplored = np.full(m, -np.inf), np.zeros(m)
    paths, owner, log_mass = derivations.begin(queries), np.arange(m), np.zeros(m)
    depth_limit = derivations.env.max_depth
    for depth in range(depth_limit):
        offered, log_probs = visit(paths)
        proofs, log_paths = offered.proofs, log_mass[:, None] + log_probs
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
        paths = onward(paths, offered, row[kept], action[kept])
    return MarginalProofs(np.minimum(log_proved, 0.0), unexplored)


def _descending(mass: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The order [k] of owners, within one of falling `mass` [k], within equals as they stand.

    That of ``lexsort((-mass, owner))``, in a third of its time: plain sorts of numbers are vectorised, stable ones not.
    """
    levels, level = np.unique(-mass, return_inverse=True)
    k = len(mass)
    order: np.ndarray = np.sort((owner * len(levels) + level) * k + np.arange(k)) % max(k, 1)
    return order
