"""Nodes derived once, beside the environment's own steps, and asking a policy of many places at once."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.ops.distributions import Categorical
from ppo_jax.proving import derivations
from ppo_jax.proving import environment as proof
from ppo_jax.proving.candidates import candidates
from ppo_jax.proving.derivations import PROVED, Derivations, estimate, onward, visit
from ppo_jax.proving.search import prove_marginally

N = 64


def hashed(_, observation, carry, start):
    """A policy of everything an observation shows, unlike in every place; the value is the sum of its logits."""
    leaves = [x.reshape(len(x), -1).astype(jnp.float32) for x in jax.tree.leaves(observation)]
    seen = jnp.concatenate(leaves, axis=1)
    logits = jnp.sin(
        seen @ jnp.sin(jnp.arange(seen.shape[1] * observation["action_mask"].shape[1]) + 1.0).reshape(seen.shape[1], -1)
    )
    return Categorical(logits, observation["action_mask"]), logits.sum(axis=1), carry


@pytest.fixture(scope="module", params=[{}, {"observe_successors": True}, {"prune_visited": False}])
def env(request):
    return proof.make("countries_s3", max_atoms=4, **request.param)


def walk(env, choose, steps=12):
    """Random walks by the environment: its states and the actions taken, a list over steps of arrays over walks."""
    params, queries = env.default_params, jnp.asarray(candidates(env.dataset, "valid").atoms[:, :2].reshape(-1, 3)[:N])
    start = jax.jit(jax.vmap(env.start, in_axes=(None, 0, 0)))
    advance = jax.jit(jax.vmap(env.advance, in_axes=(None, 0, 0)))
    states, walked = start(params, queries, jnp.zeros(len(queries), bool)), []
    for _ in range(steps):
        actions = choose(np.asarray(states.action_mask))
        walked.append((states, actions))
        states, _ = advance(params, states, jnp.asarray(actions))
    return np.asarray(queries), walked


def test_places_are_those_of_the_environment(env):
    rng = np.random.default_rng(0)

    def choose(mask):
        scores = np.where(mask, rng.random(mask.shape), -1.0)
        scores[:, -1] -= 0.5  # `end` only where nothing else is open
        return np.argmax(scores, axis=1)

    queries, walked = walk(env, choose)
    graph = Derivations(env, env.default_params)
    paths, walking, ends = graph.begin(queries), np.arange(len(queries)), 0
    observe = jax.jit(jax.vmap(env.observe))
    for depth, (states, actions) in enumerate(walked):
        found = graph.open(paths)
        ours, theirs = observe(graph.states(paths[:, -1], depth, found.mask)), observe(states)
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.asarray(y)[walking]), ours, theirs)  # noqa: B023
        actions, rows = actions[walking], np.arange(len(walking))
        end = actions == env.sizes.max_successors
        over = end | found.proofs[rows, np.where(end, 0, actions)]
        ends += int(over.sum())
        paths, walking = onward(paths, found, rows[~over], actions[~over]), walking[~over]
    assert ends > 5
    assert len(walking) > 5
    assert PROVED not in paths


def test_what_was_asked_before_changes_nothing(env, monkeypatch):
    """Not even by a bit: a run that was stopped and goes on judges as if it had not been."""
    atoms = candidates(env.dataset, "test").atoms.reshape(-1, 3)[:N]

    def prove(graph):
        return prove_marginally(graph, partial(visit, graph, hashed, None, 1.0), 8, atoms)

    fresh, used = (Derivations(env, env.default_params) for _ in range(2))
    visit(used, hashed, None, 1.0, used.begin(atoms[::-2]))
    expected, again = prove(fresh), prove(used)
    n_nodes = len(used._atoms.rows)
    prove(used)
    assert len(used._atoms.rows) == n_nodes
    monkeypatch.setattr(derivations, "MEMORY", 0)
    forgetful = prove(used)  # every beginning forgets
    for found in (again, forgetful):
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_places_that_look_alike_are_asked_once(env):
    graph = Derivations(env, env.default_params)
    ask = partial(visit, graph, hashed, None, 1.0)
    paths = graph.begin(candidates(env.dataset, "test").atoms[:4, 0])
    rows = np.array([0, 1, 2, 3, 2, 1, 0, 0])
    found, log_probs = ask(paths[rows])
    for i, row in enumerate(rows):
        alone, its_log_probs = ask(paths[row : row + 1])
        np.testing.assert_array_equal(found.mask[i], alone.mask[0])
        np.testing.assert_allclose(log_probs[i], its_log_probs[0], rtol=1e-5)
    assert len(np.unique(log_probs[:4], axis=0)) == 4
    assert estimate(graph, hashed, None, paths).shape == (4,)


def test_nodes_are_numbered_by_root_and_resolvent(env):
    graph = Derivations(env, env.default_params)
    queries = candidates(env.dataset, "test").atoms[:3, 0]
    paths = graph.begin(queries[[0, 1, 0, 2]])
    assert paths[:, 0].tolist() == [1, 2, 1, 3]
    after = graph.open(paths).leads_to
    of_query = [set(row[row > PROVED].tolist()) for row in after]
    assert of_query[0] == of_query[2]
    assert not of_query[0] & of_query[1]
    for query, nodes in zip(queries[[0, 1, 0, 2]], of_query, strict=True):
        assert np.all(graph._atoms.rows[list(nodes), 0] == query)
