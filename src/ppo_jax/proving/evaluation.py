"""The evaluation protocol of a proof task: both ways of scoring, the baselines, and what the data allows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ppo_jax.proving import ranking, search
from ppo_jax.proving.breadth_first import BUDGET, LEFT_OUT, MAX_STATES, shortest_proofs
from ppo_jax.proving.candidates import Candidates, candidates
from ppo_jax.proving.derivations import Derivations, Policy, estimate, in_blocks, visit
from ppo_jax.proving.environment import ProofEnv, ProofParams
from ppo_jax.proving.leakage import count_leaked
from ppo_jax.proving.results import TIES

__all__ = ["ProofEvaluator", "data_summary", "shortest_proof_baseline"]

PyTree = Any
MAX_DERIVED = 2_000_000  # slots of successors that `data_summary` may fill: seconds


class ProofEvaluator:
    """Scores candidates with a policy, under both protocols."""

    def __init__(self, env: ProofEnv, params: ProofParams, beam_width: int, mask_end: bool) -> None:
        self.beam_width, self.mask_end = beam_width, mask_end
        self._derivations = Derivations(env, params)

    def greedy(
        self, policy: Policy, policy_params: PyTree, queries: Candidates
    ) -> tuple[dict[str, Any], search.Attempts]:
        """Summary under the greedy protocol, and the attempts themselves ([R * N] in row order)."""
        ask = partial(visit, self._derivations, policy, policy_params, 1.0)
        choose = partial(search.greediest, mask_end=self.mask_end)
        prove = partial(search.attempt, self._derivations, ask, choose)
        attempts: search.Attempts = in_blocks(prove, queries.atoms.reshape(-1, 3), self._derivations.room)
        summary = ranking.summarize(attempts.log_prob.reshape(queries.valid.shape), queries.valid, queries.query)
        end = "end masked" if self.mask_end else "end allowed"
        return summary | {"protocol": f"greedy, {end}, ties: {TIES}"}, attempts

    def marginal(
        self, policy: Policy, policy_params: PyTree, queries: Candidates, sharpness: float = 1.0
    ) -> tuple[dict[str, Any], search.MarginalProofs]:
        """Summary under the marginal protocol, and each candidate's probability of a proof ([R * N]).

        `sharpness` multiplies the policy's logits: 0 makes any policy the uniform one.
        """
        ask = partial(visit, self._derivations, policy, policy_params, sharpness)
        prove = partial(search.prove_marginally, self._derivations, ask, self.beam_width)
        room = max(1, self._derivations.room // self.beam_width)
        proofs: search.MarginalProofs = in_blocks(prove, queries.atoms.reshape(-1, 3), room)
        scores = proofs.log_prob.reshape(queries.valid.shape)
        summary = ranking.summarize(scores, queries.valid, queries.query, auc_pr=True)
        unexplored = proofs.unexplored.reshape(queries.valid.shape)[queries.valid]
        summary["unexplored_mass"] = float(unexplored.mean()) if unexplored.size else None
        flat = "" if sharpness == 1.0 else f", logits × {sharpness:g}"
        return summary | {"protocol": f"marginal, beam {self.beam_width}{flat}, ties: {TIES}"}, proofs

    def value_error(
        self,
        policy: Policy,
        policy_params: PyTree,
        queries: Candidates,
        gamma: float,
        seed: int,
        n_episodes: int = 512,
    ) -> float:
        """Root mean square of V(first state) - discounted return over sampled episodes, in raw return units.

        Half the episodes start from queries, half from their corruptions; NaN where there are none of either.
        """
        rng, env = np.random.default_rng(seed), self._derivations.env
        positives = queries.atoms[:, 0]
        negatives = queries.atoms[:, 1:][queries.valid[:, 1:]]
        if len(positives) == 0 or len(negatives) == 0:
            return float("nan")
        half, room = n_episodes // 2, self._derivations.room
        starts = np.concatenate([part[rng.integers(len(part), size=half)] for part in (positives, negatives)])

        def sample(log_probs: np.ndarray) -> np.ndarray:
            # The largest of log-probabilities with Gumbel noise is a sample of them.
            actions: np.ndarray = np.argmax(log_probs + rng.gumbel(size=log_probs.shape), axis=1)
            return actions

        ask = partial(visit, self._derivations, policy, policy_params, 1.0)
        attempts: search.Attempts = in_blocks(partial(search.attempt, self._derivations, ask, sample), starts, room)
        rows, last = np.arange(len(starts)), np.sum(attempts.choices > 0, axis=1) - 1
        chose_end = (attempts.kinds[rows, last] == env.sizes.end_kind) & (attempts.choices[rows, last] > 1)
        returns = gamma**last * env.final_reward(rows < half, attempts.proved, chose_end, np)
        values = estimate(self._derivations, policy, policy_params, self._derivations.begin(starts))
        return float(np.sqrt(np.mean((values - returns) ** 2)))


def shortest_proof_baseline(env: ProofEnv, params: ProofParams, queries: Candidates) -> dict[str, Any]:
    """Rank candidates by the length of their shortest proof, unprovable ones last: search without learning."""
    depth = shortest_proofs(env, params, queries.atoms.reshape(-1, 3)).reshape(queries.valid.shape)
    scores = np.where(depth > 0, -depth.astype(float), -np.inf)
    summary = ranking.summarize(scores, queries.valid, queries.query)
    summary["searches_given_up"] = int((depth[queries.valid] == BUDGET).sum())
    summary["max_resolvents"] = MAX_STATES
    return summary | {"protocol": f"shortest proof, ties: {TIES}"}


def data_summary(
    env: ProofEnv,
    params: ProofParams,
    n_queries: int = 200,
    n_corruptions: int = 1000,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Counts of facts, rules and queries, and how much of the training data is provable at all.

    Larger sets are sampled: `n_queries` training queries and equally many corruptions of each side of each, about
    `n_corruptions` in all; the counts of what was searched stand beside those of what was proved. Where rules are many
    and a search is wide, `MAX_DERIVED` ends it before all of these are searched. `progress` is told how far it is.
    """
    assert env.dataset is not None
    dataset = env.dataset
    rows = min(len(dataset.queries["train"]), n_queries) * (2 if env.corrupt == "both" else 1)
    queries = candidates(dataset, "train", env.corrupt, max(1, n_corruptions // rows), n_queries)
    # Queries of a predicate stand together: a sample of the rows is one of the first of a random order.
    order = np.random.default_rng(0).permutation(len(queries.atoms))
    row, column = np.nonzero(queries.valid[order])
    depth = np.full(queries.valid.shape, LEFT_OUT, np.int32)
    atoms = queries.atoms[order[row], column]
    depth[order[row], column] = shortest_proofs(env, params, atoms, max_derived=MAX_DERIVED, progress=progress)
    # A query has a row for each corrupted side; its own depth is the same in both.
    own = depth[:, 0][np.unique(queries.query, return_index=True)[1]]
    corrupted = depth[:, 1:][queries.valid[:, 1:]]
    left_out = int((own == LEFT_OUT).sum() + (corrupted == LEFT_OUT).sum())
    own, corrupted = own[own != LEFT_OUT], corrupted[corrupted != LEFT_OUT]
    return {
        "name": dataset.name,
        "facts": len(dataset.kb.facts),
        "rules": len(dataset.kb.rules),
        "predicates": len(dataset.kb.predicates),
        "constants": len(dataset.kb.constants),
        "queries": {split: len(rows) for split, rows in dataset.queries.items()},
        "overlaps": dataset.overlaps,
        "leakage": count_leaked(dataset),
        "mined_by": dataset.mined_by,
        "max_atoms": env.sizes.max_atoms,
        "max_successors": env.sizes.max_successors,
        "max_depth": env.max_depth,
        "widest_row_cut": env.widest_cut,
        "train_positives_searched": len(own),
        "train_positives_provable": int((own > 0).sum()),
        "train_positives_given_up": int((own == BUDGET).sum()),
        "train_negatives_searched": len(corrupted),
        "train_negatives_provable": int((corrupted > 0).sum()),
        "train_negatives_given_up": int((corrupted == BUDGET).sum()),
        "searches_given_up": int((own == BUDGET).sum() + (corrupted == BUDGET).sum()),
        "searches_left_out": left_out,
        "sha256": dataset.sha256,
    }
