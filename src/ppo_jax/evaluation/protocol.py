"""The evaluation protocol of a proof task: both ways of scoring, the baselines, and what the data allows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.envs.proof import ProofEnv, ProofParams
from ppo_jax.evaluation import proofs, ranking
from ppo_jax.evaluation.proofs import Candidates, Policy, candidates
from ppo_jax.evaluation.search import BUDGET, shortest_proofs

__all__ = ["ProofJudge", "data_summary", "shortest_proof_baseline", "value_error"]

PyTree = Any
MEMORY = 256 * 2**20  # bytes of proof states held at once


class ProofJudge:
    """Scores candidates with a policy, under both protocols; each compiled once."""

    def __init__(self, env: ProofEnv, policy: Policy, beam_width: int, mask_end: bool) -> None:
        self.beam_width, self.mask_end = beam_width, mask_end
        env = _all_facts(env)
        state_bytes = 4 * 3 * env.sizes.n_actions * env.sizes.max_atoms
        self._env = env
        self._batch = int(np.clip(MEMORY // (state_bytes * 8), 1, 2048))  # states in one call
        self._greedy = jax.jit(
            lambda params, policy_params, queries: proofs.prove_greedily(
                env, params, policy, policy_params, queries, mask_end
            )
        )
        self._visit = jax.jit(
            lambda params, policy_params, sharpness, states, actions: proofs.visit(
                env, params, policy, policy_params, sharpness, states, actions
            )
        )

    def greedy(
        self, params: ProofParams, policy_params: PyTree, queries: Candidates
    ) -> tuple[dict[str, Any], proofs.GreedyProofs]:
        """Summary under the greedy protocol, and the proofs themselves ([R * N] in row order)."""
        atoms = queries.atoms.reshape(-1, 3)
        found = proofs.in_batches(partial(self._greedy, params, policy_params), (atoms,), min(self._batch, len(atoms)))
        summary = ranking.summarize(found.log_prob.reshape(queries.valid.shape), queries.valid, queries.query)
        end = "end masked" if self.mask_end else "end allowed"
        return summary | {"protocol": f"greedy, {end}, expected rank of ties"}, found

    def marginal(
        self, params: ProofParams, policy_params: PyTree, queries: Candidates, sharpness: float = 1.0
    ) -> tuple[dict[str, Any], proofs.MarginalProofs]:
        """Summary under the marginal protocol, and each candidate's probability of a proof ([R * N]).

        `sharpness` multiplies the policy's logits: 0 makes any policy the uniform one.
        """
        visit = partial(self._visit, params, policy_params, sharpness)
        atoms = queries.atoms.reshape(-1, 3)
        found = proofs.prove_marginally(self._env, visit, atoms, self.beam_width, self._batch)
        summary = ranking.summarize(
            found.log_prob.reshape(queries.valid.shape), queries.valid, queries.query, auc_pr=True
        )
        unexplored = found.unexplored.reshape(queries.valid.shape)[queries.valid]
        summary["unexplored_mass"] = float(unexplored.mean()) if unexplored.size else None
        return summary | {"protocol": f"marginal, beam {self.beam_width}, expected rank of ties"}, found


def shortest_proof_baseline(env: ProofEnv, params: ProofParams, queries: Candidates) -> dict[str, Any]:
    """Rank candidates by the length of their shortest proof, unprovable ones last: search without learning."""
    depth = shortest_proofs(env, params, queries.atoms.reshape(-1, 3)).reshape(queries.valid.shape)
    scores = np.where(depth > 0, -depth.astype(float), -np.inf)
    summary = ranking.summarize(scores, queries.valid, queries.query)
    return summary | {"protocol": "shortest proof, expected rank of ties"}


def value_error(
    env: ProofEnv,
    params: ProofParams,
    policy: Policy,
    policy_params: PyTree,
    queries: Candidates,
    gamma: float,
    key: jax.Array,
    n_episodes: int = 512,
) -> float:
    """Root mean square of V(first state) - discounted return over sampled episodes, in raw return units.

    Half the episodes start from queries, half from their corruptions.
    """
    pick_key, episode_key = jax.random.split(key)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(pick_key)))
    positives = queries.atoms[:, 0]
    negatives = queries.atoms[:, 1:][queries.valid[:, 1:]]
    if len(positives) == 0 or len(negatives) == 0:
        return float("nan")
    half = n_episodes // 2
    starts = np.concatenate([part[rng.integers(len(part), size=half)] for part in (positives, negatives)])
    labels = np.arange(2 * half) < half
    return float(_value_error(_all_facts(env), policy, params, policy_params, starts, labels, gamma, episode_key))


def _all_facts(env: ProofEnv) -> ProofEnv:
    """The environment without fact dropout: judging hides no fact, and need not ask of each whether it is hidden."""
    return replace(env, fact_dropout=0.0)


@partial(jax.jit, static_argnums=(0, 1))
def _value_error(
    env: ProofEnv,
    policy: Policy,
    params: ProofParams,
    policy_params: PyTree,
    starts: jax.Array,
    labels: jax.Array,
    gamma: float,
    key: jax.Array,
) -> jax.Array:
    def body(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        state, action, total, discount, over = carry
        state, _ = jax.vmap(env.advance, in_axes=(None, 0, 0))(params, state, action)
        distribution, value = policy(policy_params, jax.vmap(env.observe)(proofs.with_end(state)))
        action = distribution.sample(key)
        reward, now, _ = jax.vmap(env.outcome)(state, action)
        total = total + jnp.where(over, 0.0, discount * reward)
        return (state, action, total, discount * gamma, over | now), value

    n = len(starts)
    begin = (jax.vmap(env.before)(starts, labels), jnp.zeros(n, jnp.int32))
    carry = (*begin, jnp.zeros(n), jnp.ones(()), jnp.zeros(n, bool))
    (_, _, total, _, _), values = jax.lax.scan(body, carry, jax.random.split(key, env.max_depth))
    return jnp.sqrt(jnp.mean((values[0] - total) ** 2))


def data_summary(env: ProofEnv, params: ProofParams, n_queries: int = 200, n_corruptions: int = 20) -> dict[str, Any]:
    """Counts of facts, rules and queries, and how much of the training data is provable at all.

    Larger sets are sampled: the first `n_queries` training queries and at most `n_corruptions` corruptions of each
    side; the counts of what was searched stand beside those of what was proved.
    """
    assert env.dataset is not None
    dataset = env.dataset
    queries = candidates(dataset, "train", env.corrupt, n_corruptions, n_queries)
    depth = shortest_proofs(env, params, queries.atoms.reshape(-1, 3)).reshape(queries.valid.shape)
    # A query has a row for each corrupted side; its own depth is the same in both.
    own = depth[:, 0][np.unique(queries.query, return_index=True)[1]]
    corrupted = depth[:, 1:][queries.valid[:, 1:]]
    return {
        "name": dataset.name,
        "facts": len(dataset.kb.facts),
        "rules": len(dataset.kb.rules),
        "predicates": len(dataset.kb.predicates),
        "constants": len(dataset.kb.constants),
        "queries": {split: len(rows) for split, rows in dataset.queries.items()},
        "overlaps": dataset.overlaps,
        "max_successors": env.sizes.max_successors,
        "widest_row_cut": env.widest_cut,
        "train_positives_searched": len(own),
        "train_positives_provable": int((own > 0).sum()),
        "train_negatives_searched": len(corrupted),
        "train_negatives_provable": int((corrupted > 0).sum()),
        "searches_given_up": int((own == BUDGET).sum() + (corrupted == BUDGET).sum()),
        "sha256": dataset.sha256,
    }
