"""Judging by proofs, against the published numbers of Countries S3 that need no learning."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config.schema import EvaluationConfig
from ppo_jax.ops.distributions import Categorical
from ppo_jax.proving import derivations, evaluation
from ppo_jax.proving import environment as proof
from ppo_jax.proving.breadth_first import BUDGET, shortest_proofs
from ppo_jax.proving.candidates import Candidates, candidates
from ppo_jax.proving.derivations import Derivations, visit
from ppo_jax.proving.environment import REWARDS
from ppo_jax.proving.evaluation import ProofEvaluator, data_summary, shortest_proof_baseline
from ppo_jax.proving.explanation import explain
from ppo_jax.proving.results import provable
from ppo_jax.proving.search import _descending, attempt, greediest
from ppo_jax.proving.task import ProofTask


@pytest.fixture(scope="module")
def env():
    return proof.make("countries_s3", max_atoms=4)


def eager(_, observation, carry, start):
    """The first action, mostly: facts before rules, rules before `end`."""
    mask = observation["action_mask"]
    later_is_less = -jnp.broadcast_to(jnp.arange(mask.shape[1], dtype=jnp.float32), mask.shape)
    return Categorical(later_is_less, mask), jnp.zeros(mask.shape[0]), carry


def certain(_, observation, carry, start):
    """The last rule or fact that is open until three steps are taken, then `end` where that is open."""
    mask = observation["action_mask"]
    places = jnp.broadcast_to(jnp.arange(mask.shape[1], dtype=jnp.float32), mask.shape)
    gives_up = (observation["depth"] >= 3)[:, None] & (places == mask.shape[1] - 1)
    others = jnp.where(places == mask.shape[1] - 1, -1.0, places)
    logits = jnp.where(mask, 1e4 * jnp.where(gives_up, 1e3, others), -1e9)
    return Categorical(logits, mask), jnp.zeros(mask.shape[0]), carry


@pytest.fixture(scope="module")
def evaluator(env):
    return ProofEvaluator(env, env.default_params, beam_width=64, mask_end=False)


def test_search_proves_what_is_provable(env):
    test = candidates(env.dataset, "test")
    depth = shortest_proofs(env, env.default_params, test.atoms.reshape(-1, 3)).reshape(test.valid.shape)
    assert (depth[:, 0] > 0).sum() == 24
    assert (depth[:, 1:] > 0).sum() == 38
    assert depth.max() == 20  # the deepest shortest proof takes the last step allowed
    summary = shortest_proof_baseline(env, env.default_params, test)
    assert summary["mrr"] == pytest.approx(0.9375)
    assert summary["searches_given_up"] == 0
    assert shortest_proofs(env, env.default_params, test.atoms[0, :0]).shape == (0,)


def test_search_looks_at_a_limited_number_of_states(env):
    queries = candidates(env.dataset, "test").atoms.reshape(-1, 3)
    depth = shortest_proofs(env, env.default_params, queries)
    for limit in (1, 20):
        found = shortest_proofs(env, env.default_params, queries, max_states=limit)
        assert np.all((found == depth) | (found == BUDGET))
        assert np.any(found == BUDGET)
    assert 0 < np.sum(found > 0) < np.sum(depth > 0)  # short proofs are found within 20 states


def test_the_data_says_what_a_perfect_agent_could_reach(env, monkeypatch):
    summary = data_summary(env, env.default_params)
    assert (summary["train_positives_provable"], summary["train_positives_searched"]) == (33, 111)
    assert (summary["train_negatives_provable"], summary["train_negatives_searched"]) == (48, 444)
    assert summary["searches_left_out"] == 0
    monkeypatch.setattr(evaluation, "MAX_DERIVED", 1_000)  # one block of searches, and no room for a second
    told = []
    fewer = data_summary(env, env.default_params, n_corruptions=222, progress=lambda *stage: told.append(stage))
    searched = fewer["train_positives_searched"] + fewer["train_negatives_searched"]
    assert (searched, fewer["searches_left_out"]) == (16, 111 + 222 - 16)
    searches = [("search for proofs", 0, told[0][2]), ("search for proofs", 16, told[0][2])]
    assert told == [*searches, ("search for proofs", 16, 16)] and told[0][2] > 16
    assert fewer["train_positives_provable"] <= fewer["train_positives_searched"]
    assert "; 317 more were not searched" in provable(fewer) and "not searched" not in provable(summary)
    assert (summary["train_positives_given_up"], summary["train_negatives_given_up"]) == (0, 0)


def test_the_uniform_policy_scores_as_published(env, evaluator):
    summary, found = evaluator.marginal(eager, None, candidates(env.dataset, "test"), sharpness=0.0)
    assert summary["mrr"] == pytest.approx(47 / 48)  # 0.979: one query second, the others first
    assert 0.84 < summary["auc_pr"] < 0.88  # 0.866 at beam 256
    assert np.all(np.exp(found.log_prob) + found.unexplored <= 1 + 1e-5)


def test_judging_hides_no_fact(env, evaluator):
    without = proof.make("countries_s3", max_atoms=4, fact_dropout=0.9)
    hiding = ProofEvaluator(without, env.default_params, 64, mask_end=False)
    test = candidates(env.dataset, "test")
    summary, found = evaluator.marginal(eager, None, test)
    theirs, their_proofs = hiding.marginal(eager, None, test)
    assert summary == theirs
    np.testing.assert_array_equal(found.log_prob, their_proofs.log_prob)


def test_a_policy_is_sharpened_by_its_logits(env, evaluator):
    def twice(_, observation, carry, start):
        policy, value, carry = eager(_, observation, carry, start)
        return policy._replace(logits=2.0 * policy.logits), value, carry

    test = candidates(env.dataset, "test")
    sharper = ProofEvaluator(env, env.default_params, beam_width=64, mask_end=False)
    _, ours = evaluator.marginal(eager, None, test, sharpness=2.0)
    _, theirs = sharper.marginal(twice, None, test)
    np.testing.assert_array_equal(ours.log_prob, theirs.log_prob)
    assert not np.array_equal(ours.log_prob, evaluator.marginal(eager, None, test)[1].log_prob)


def test_probabilities_of_one_query_add_up_by_hand(env, evaluator):
    # A query whose proof is one rule and one fact away: P is at least that path's, 1/3 * 1/(neighbours + end).
    test = candidates(env.dataset, "test")
    depth = shortest_proofs(env, env.default_params, test.atoms[:, 0])
    row = int(np.argmin(depth))
    assert depth[row] == 2
    one = Candidates(test.atoms[row : row + 1, :1], np.ones((1, 1), bool), np.zeros(1, np.int32))
    _, found = evaluator.marginal(eager, None, one, sharpness=0.0)
    # Resolving r1 leaves neighborOf(x, Y), locatedInCR(Y, z): a known locatedInCR(y, z) makes the proof the one action.
    assert 1 / 3 - 1e-6 <= float(np.exp(found.log_prob[0])) <= 1


def test_greedy_proofs_replay_in_words(env):
    queries = candidates(env.dataset, "test").atoms[:, 0]
    kb = env.dataset.kb
    graph = Derivations(env, env.default_params)
    found = attempt(graph, partial(visit, graph, eager, None, 1.0), greediest, queries)
    assert 0 < int(found.proved.sum()) < len(queries)
    known = {kb.format_atom(fact) for fact in kb.facts}
    for i in range(len(queries)):
        steps = explain(kb, queries[i], found.kinds[i], found.constants[i], found.log_probs[i])
        assert (steps[-1].resolvent == ()) == bool(found.proved[i])
        assert {fact for step in steps for fact in step.facts} <= known
        assert kb.format_atom(queries[i]) not in {fact for step in steps for fact in step.facts}
        assert (found.log_prob[i] > -np.inf) == found.proved[i]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"end_action": False},
        {"collapse_proved": False, "prune_visited": False},
        {"end_action": False, "collapse_proved": False, "max_depth": 5},
    ],
)
def test_attempts_follow_the_environment(options):
    """Greedy attempts, beside the environment's own steps under the same choices."""
    env = proof.make("countries_s3", max_atoms=4, **options)
    params, queries = env.default_params, candidates(env.dataset, "valid").atoms[:, 0]
    graph = Derivations(env, params)
    found = attempt(graph, partial(visit, graph, eager, None, 1.0), greediest, queries)
    start = jax.jit(jax.vmap(env.start, in_axes=(None, 0, 0)))
    advance = jax.jit(jax.vmap(env.advance, in_axes=(None, 0, 0)))
    states, rows = start(params, jnp.asarray(queries), jnp.zeros(len(queries), bool)), np.arange(len(queries))
    over, proved = np.zeros(len(queries), bool), np.zeros(len(queries), bool)
    for depth in range(env.max_depth):
        action = np.argmax(states.action_mask, axis=1)  # the eager policy's first choice
        kinds, constants = states.action_kind[rows, action], states.action_constants[rows, action]
        np.testing.assert_array_equal(found.kinds[:, depth], np.where(over, 0, kinds))
        np.testing.assert_array_equal(found.constants[:, depth], np.where(over[:, None], 0, constants))
        np.testing.assert_array_equal(found.choices[:, depth], np.where(over, 0, states.action_mask.sum(axis=1)))
        states, now = advance(params, states, action)
        proved |= np.asarray(now) & ~over
        over |= np.asarray(now) | (action == env.sizes.max_successors)
    np.testing.assert_array_equal(found.proved, proved)
    assert 0 < proved.sum() < len(queries) or "max_depth" in options


def test_a_masked_end_is_chosen_only_where_nothing_else_is_open():
    log_probs = np.array([[-2.0, -1.0, -0.5], [-np.inf, -np.inf, 0.0], [-1.0, -np.inf, -0.5]])
    assert greediest(log_probs).tolist() == [2, 2, 2]
    assert greediest(log_probs, mask_end=True).tolist() == [1, 2, 0]


@pytest.mark.parametrize("reward", REWARDS)
def test_rewards_of_whole_episodes_are_those_of_steps(reward):
    """Returns behind the error of a critic that says 0, beside an episode stepped through."""
    env = proof.make("countries_s3", max_atoms=4, reward=reward, negative_ratio=2)
    queries = candidates(env.dataset, "test")
    one = Candidates(queries.atoms[3:4, :2], queries.valid[3:4, :2], np.zeros(1, np.int32))
    evaluator = ProofEvaluator(env, env.default_params, beam_width=1, mask_end=False)
    error = evaluator.value_error(certain, None, one, gamma=0.9, seed=0, n_episodes=2)
    step, returns = jax.jit(env.step), []
    for query, label in zip(one.atoms[0], (True, False), strict=True):
        state = jax.jit(env.start)(env.default_params, jnp.asarray(query), jnp.asarray(label))
        for t in range(env.max_depth):
            observation = jax.tree.map(lambda x: x[None], env.observe(state))
            action = jnp.argmax(certain(None, observation, (), jnp.array([t == 0]))[0].logits[0])
            _, state, reward, done, *_ = step(jax.random.key(0), state, action, env.default_params)
            if done:
                returns.append(0.9**t * float(reward))
                break
    assert len(returns) == 2
    assert error == pytest.approx(np.sqrt(np.mean(np.square(returns))), rel=1e-5)


def test_the_sizes_of_calls_change_nothing(env, evaluator, monkeypatch, well_compiled):
    test = candidates(env.dataset, "test")
    expected = [evaluator.greedy(eager, None, test), evaluator.marginal(eager, None, test)]
    monkeypatch.setattr(derivations, "BATCH", 50)
    monkeypatch.setattr(
        evaluator._derivations, "room", 64
    )  # queries in blocks: one at a time where 64 derivations of each go on
    one = Candidates(test.atoms[:8], test.valid[:8], test.query[:8])
    found = [evaluator.greedy(eager, None, one), evaluator.marginal(eager, None, one)]
    m = one.valid.size
    # The last digits of a probability can decide which of equally probable derivations stay on the beam.
    for (_, a), (_, b), tolerance in zip(found, expected, (1e-5, 5e-3), strict=True):
        jax.tree.map(lambda x, y, t=tolerance: np.testing.assert_allclose(x, y[:m], rtol=t, atol=1e-6), a, b)


def test_the_error_of_a_critic_is_that_of_sampled_returns():
    """A critic that says 0: with reward 1 for proofs of true queries alone, its squared error is their share."""
    env = proof.make("countries_s3", max_atoms=4, reward="prove")
    queries = candidates(env.dataset, "test")
    evaluator = ProofEvaluator(env, env.default_params, beam_width=256, mask_end=False)
    arguments = (eager, None, queries)
    mass = np.exp(evaluator.marginal(*arguments)[1].log_prob.reshape(queries.valid.shape)[:, 0])
    error = evaluator.value_error(*arguments, gamma=1.0, seed=0, n_episodes=4096)
    share = mass.mean() / 2  # half the episodes start from true queries
    assert error**2 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 4096) + 1e-3)
    assert evaluator.value_error(*arguments, gamma=0.5, seed=0, n_episodes=512) < 0.6 * error  # no proof takes one step


def test_validation_corruptions_know_nothing_of_test():
    dataset = proof.make("countries_s3").dataset
    valid = candidates(dataset, "valid")
    without_test = candidates(
        type(dataset)(**{**vars(dataset), "queries": {**dataset.queries, "test": dataset.queries["test"][:0]}}), "valid"
    )
    assert np.array_equal(valid.atoms, without_test.atoms)


def test_beams_are_ordered_as_by_lexsort():
    rng = np.random.default_rng(0)
    for k in (0, 1, 500):
        mass, owner = -rng.integers(0, 9, k) / 7.0, rng.integers(0, 5, k)  # many of equal mass
        np.testing.assert_array_equal(_descending(mass, owner), np.lexsort((-mass, owner)))


def test_how_flat_a_policy_is_made_is_chosen_on_valid(env, monkeypatch):
    """By MRR, then AUC-PR; of equals the policy as it is."""
    task = ProofTask(env, EvaluationConfig(sharpness=(0.25, 0.5, 1.0)))
    on_valid = {0.25: (0.9, 0.1), 0.5: (0.9, 0.4), 1.0: (0.8, 0.9)}
    seen = []

    def marginal(policy, params, queries, sharpness):
        split = "valid" if np.array_equal(queries.atoms, task.candidates("valid").atoms) else "test"
        seen.append((split, sharpness))
        mrr, auc_pr = on_valid[sharpness] if split == "valid" else (0.5, 0.5)
        return {"mrr": mrr, "auc_pr": auc_pr}, None

    monkeypatch.setattr(task._evaluator, "marginal", marginal)
    assert task.evaluate(eager, None, "test", seed=0, protocols=["marginal"])["marginal"]["sharpness"] == 0.5
    assert seen == [("valid", 0.25), ("valid", 0.5), ("valid", 1.0), ("test", 0.5)]
    assert task.evaluate(eager, None, "valid", seed=0, protocols=["marginal"])["marginal"]["auc_pr"] == 0.4
    on_valid |= dict.fromkeys(on_valid, (None, None))
    assert task.evaluate(eager, None, "test", seed=0, protocols=["marginal"])["marginal"]["sharpness"] == 1.0
