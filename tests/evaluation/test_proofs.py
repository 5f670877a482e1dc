"""Judging by proofs, against the published numbers of Countries S3 that need no learning."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.distributions import Categorical
from ppo_jax.envs import proof
from ppo_jax.evaluation import protocol
from ppo_jax.evaluation.explain import explain
from ppo_jax.evaluation.proofs import candidates, prove_greedily
from ppo_jax.evaluation.search import shortest_proofs


@pytest.fixture(scope="module")
def env():
    return proof.make("countries_s3", max_atoms=4)


def eager(_, observation):
    """The first action, mostly: facts before rules, rules before `end`."""
    mask = observation["action_mask"]
    later_is_less = -jnp.broadcast_to(jnp.arange(mask.shape[1], dtype=jnp.float32), mask.shape)
    return Categorical(later_is_less, mask), jnp.zeros(mask.shape[0])


@pytest.fixture(scope="module")
def judge(env):
    return protocol.ProofJudge(env, eager, beam_width=64, mask_end=False)


def test_search_proves_what_is_provable(env):
    test = candidates(env.dataset, "test")
    depth = shortest_proofs(env, env.default_params, test.atoms.reshape(-1, 3)).reshape(test.valid.shape)
    assert (depth[:, 0] > 0).sum() == 24
    assert (depth[:, 1:] > 0).sum() == 38
    assert depth.max() == 20  # the deepest shortest proof takes the last step allowed
    summary = protocol.shortest_proof_baseline(env, env.default_params, test)
    assert summary["mrr"] == pytest.approx(0.9375)


def test_the_data_says_what_a_perfect_agent_could_reach(env):
    summary = protocol.data_summary(env, env.default_params)
    assert (summary["train_positives_provable"], summary["train_positives_searched"]) == (33, 111)
    assert (summary["train_negatives_provable"], summary["train_negatives_searched"]) == (48, 444)


def test_the_uniform_policy_scores_as_published(env, judge):
    summary, found = judge.marginal(env.default_params, None, candidates(env.dataset, "test"), sharpness=0.0)
    assert summary["mrr"] == pytest.approx(47 / 48)  # 0.979: one query second, the others first
    assert 0.84 < summary["auc_pr"] < 0.88  # 0.866 at beam 256
    assert np.all(np.exp(found.log_prob) + found.unexplored <= 1 + 1e-5)


def test_judging_hides_no_fact(env, judge):
    hiding = protocol.ProofJudge(proof.make("countries_s3", max_atoms=4, fact_dropout=0.9), eager, 64, mask_end=False)
    test = candidates(env.dataset, "test")
    summary, found = judge.marginal(env.default_params, None, test)
    theirs, their_proofs = hiding.marginal(env.default_params, None, test)
    assert summary == theirs
    np.testing.assert_array_equal(found.log_prob, their_proofs.log_prob)


def test_a_policy_is_sharpened_by_its_logits(env, judge):
    def twice(_, observation):
        policy, value = eager(_, observation)
        return policy._replace(logits=2.0 * policy.logits), value

    test = candidates(env.dataset, "test")
    sharper = protocol.ProofJudge(env, twice, beam_width=64, mask_end=False)
    _, ours = judge.marginal(env.default_params, None, test, sharpness=2.0)
    _, theirs = sharper.marginal(env.default_params, None, test)
    np.testing.assert_array_equal(ours.log_prob, theirs.log_prob)
    assert not np.array_equal(ours.log_prob, judge.marginal(env.default_params, None, test)[1].log_prob)


def test_probabilities_of_one_query_add_up_by_hand(env, judge):
    # A query whose proof is one rule and one fact away: P is at least that path's, 1/3 * 1/(neighbours + end).
    test = candidates(env.dataset, "test")
    depth = shortest_proofs(env, env.default_params, test.atoms[:, 0])
    row = int(np.argmin(depth))
    assert depth[row] == 2
    one = protocol.Candidates(test.atoms[row : row + 1, :1], np.ones((1, 1), bool), np.zeros(1, np.int32))
    _, found = judge.marginal(env.default_params, None, one, sharpness=0.0)
    # Resolving r1 leaves neighborOf(x, Y), locatedInCR(Y, z): a known locatedInCR(y, z) makes the proof the one action.
    assert 1 / 3 - 1e-6 <= float(np.exp(found.log_prob[0])) <= 1


def test_greedy_proofs_replay_in_words(env):
    queries = jnp.asarray(candidates(env.dataset, "test").atoms[:, 0])
    kb = env.dataset.kb

    found = jax.jit(lambda p, q: prove_greedily(env, p, eager, None, q, False))(env.default_params, queries)
    assert 0 < int(found.proved.sum()) < len(queries)
    known = {kb.format_atom(fact) for fact in kb.facts}
    for i in range(len(queries)):
        steps = explain(kb, queries[i], found.kinds[i], found.constants[i], found.log_probs[i])
        assert (steps[-1].resolvent == ()) == bool(found.proved[i])
        assert {fact for step in steps for fact in step.facts} <= known
        assert kb.format_atom(queries[i]) not in {fact for step in steps for fact in step.facts}
        assert (found.log_prob[i] > -jnp.inf) == found.proved[i]


def test_validation_corruptions_know_nothing_of_test():
    dataset = proof.make("countries_s3").dataset
    valid = candidates(dataset, "valid")
    without_test = candidates(
        type(dataset)(**{**vars(dataset), "queries": {**dataset.queries, "test": dataset.queries["test"][:0]}}), "valid"
    )
    assert np.array_equal(valid.atoms, without_test.atoms)
