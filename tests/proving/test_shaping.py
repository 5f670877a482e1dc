"""Shaping by a prior: the potential against plain Python, what episodes pay, and which policy is best."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config import from_dict
from ppo_jax.proving import datasets
from ppo_jax.proving.answers import environment as answering
from ppo_jax.proving.answers.environment import AnswerEnv, AnswerParams
from ppo_jax.proving.answers.shaping import make_shaping, probability
from ppo_jax.proving.open_queries import HEAD, TAIL, OpenQueries
from ppo_jax.proving.priors.embeddings import MODELS, log_normalizers
from ppo_jax.proving.priors.prior import Prior
from ppo_jax.sweeps.plan import by_program, make_plan
from ppo_jax.types import PPOJaxError
from tests.proving.logic_programs import N_CONSTANTS, N_PREDICATES, random_kb
from tests.proving.test_answering import ANSWER, environment
from tests.proving.test_priors import FILES

SCALE, GAMMA, WRONG = 2.0, 0.9, 0.5


def draw_prior(model: str, n_constants: int = N_CONSTANTS, n_predicates: int = N_PREDICATES, dim: int = 3) -> Prior:
    random = np.random.default_rng(0)
    entities = random.normal(size=(n_constants + 1, 2 * dim)).astype(np.float32)
    shape = (2, n_predicates + 1, 2 * dim) if model == "complex" else (n_predicates + 1, dim)
    return Prior(MODELS[model](entities, random.normal(size=shape).astype(np.float32)))


def shaped(seed: int) -> tuple[AnswerEnv, AnswerEnv, AnswerParams, Prior]:
    """An environment without shaping, the same with it, the parameters of both, and the prior."""
    plain, params = environment(random_kb(seed, n_facts=9), 4)
    plain, prior = replace(plain, wrong_answer=WRONG), draw_prior("complex")
    params = params._replace(shaping=make_shaping(prior, np.asarray(params.queries)))
    return plain, replace(plain, shaping=SCALE, gamma=GAMMA), params, prior


def asked(query) -> OpenQueries:
    predicate, first, second = (int(x) for x in query)
    one = [predicate, first + second, HEAD if first == 0 else TAIL, 0, 0]
    return OpenQueries(*(np.array([x], np.int32) for x in one))


def potential(prior: Prior, query: np.ndarray, resolvent: np.ndarray) -> float:
    """The twin: the whole distribution of the prior, and of that the answer."""
    (answer,) = [int(atom[1]) for atom in resolvent if atom[0] == ANSWER]
    return SCALE * float(np.exp(prior.scores(asked(query))[0, answer])) if answer <= N_CONSTANTS else 0.0


@pytest.mark.parametrize("model", MODELS)
def test_a_probability_by_three_rows_is_that_of_the_whole_softmax(model: str) -> None:
    prior = draw_prior(model)
    facts = np.array([(1, 2, 3), (4, 1, 6), (1, 2, 5), (2, 3, 3)], np.int32)
    shaping = make_shaping(prior, facts)
    assert shaping.log_normalizers.shape == (4, 2)
    for row, fact in enumerate(facts):
        for side in (HEAD, TAIL):
            query = fact.copy()
            query[1 + side] = 0
            expected = np.exp(prior.scores(asked(query))[0])
            log_normalizer = shaping.log_normalizers[row, side]
            found = [probability(shaping, jnp.array(query), log_normalizer, jnp.int32(c)) for c in range(1, 7)]
            np.testing.assert_allclose(found, expected[1:], rtol=1e-4)


def test_normalizers_come_in_any_order_and_any_chunks(monkeypatch) -> None:
    prior, random = draw_prior("rotate"), np.random.default_rng(1)
    columns = [random.integers(1, high, 40).astype(np.int32) for high in (N_PREDICATES + 1, N_CONSTANTS + 1)]
    side = random.integers(0, 2, 40).astype(np.int32)
    queries = OpenQueries(*columns, side, columns[1], columns[1])
    whole = log_normalizers(prior.params, queries)
    monkeypatch.setattr("ppo_jax.proving.priors.embeddings.SCORES_AT_ONCE", 100)
    np.testing.assert_allclose(log_normalizers(prior.params, queries), whole, rtol=1e-6)
    order = random.permutation(40)
    shuffled = OpenQueries(*(column[order] for column in queries))
    np.testing.assert_allclose(log_normalizers(prior.params, shuffled), whole[order], rtol=1e-6)


@pytest.mark.parametrize("seed", [5, 11])
def test_a_whole_episode_pays_what_it_did(seed: int) -> None:
    """Step by step the reward gains γ Φ' − Φ of the twin; discounted over an episode, that is nothing."""
    plain, env, params, prior = shaped(seed)

    @jax.jit
    def run(key):
        def step(carry, key):
            observation, state = carry
            action_key, step_key = jax.random.split(key)
            action = jax.random.categorical(action_key, jnp.where(observation["action_mask"], 0.0, -jnp.inf))
            after = env.step(step_key, state, action, params)
            unshaped = plain.step(step_key, state, action, params).reward
            return (after.observation, after.state), (state, action, unshaped, after.reward, after.terminated)

        return jax.lax.scan(step, env.reset(key, params), jax.random.split(key, 300))[1]

    states, actions, plain_rewards, rewards, ends = jax.device_get(run(jax.random.key(seed)))
    n_shaped, n_episodes, gained, discount = 0, 0, 0.0, 1.0
    for t, (action, unshaped, reward, end) in enumerate(zip(actions, plain_rewards, rewards, ends, strict=True)):
        query = states.query[t]
        before = potential(prior, query, states.resolvent[t])
        after = 0.0 if end else potential(prior, query, states.successors[t, :, :, action].T)
        assert reward - unshaped == pytest.approx(GAMMA * after - before, abs=1e-5)
        n_shaped += before > 0.0
        gained += discount * (reward - unshaped)
        discount *= GAMMA
        if end:
            assert gained == pytest.approx(0.0, abs=1e-5)
            n_episodes, gained, discount = n_episodes + 1, 0.0, 1.0
    assert n_shaped > 20 and n_episodes > 60


@pytest.mark.parametrize("seed", [5, 11])
def test_the_best_actions_stay_the_best(seed: int) -> None:
    """Over all that can happen, Q(s, a) with shaping is Q(s, a) − Φ(s); also where it pays one action more at once."""
    plain, env, params, prior = shaped(seed)

    @jax.jit
    def outcomes(state):
        step = lambda env, a: env.step(jax.random.key(0), state, a, params)  # noqa: E731
        actions = jnp.arange(env.action_space.n)
        after, unshaped = (jax.vmap(lambda a, one=one: step(one, a))(actions) for one in (env, plain))
        return after.state, after.terminated, unshaped.reward, after.reward

    differing = 0

    def values(state) -> np.ndarray:
        """Q of each open action, without shaping and with it, [2, n]."""
        nonlocal differing
        after, end, *rewards = jax.device_get(outcomes(state))
        q = np.stack(rewards)
        gained = (rewards[1] - rewards[0])[state.action_mask]
        for a in np.flatnonzero(state.action_mask):
            if not end[a]:
                q[:, a] += GAMMA * values(jax.tree.map(lambda x, a=a: x[a], after)).max(axis=1)
        q = q[:, state.action_mask]
        here = potential(prior, state.query, state.resolvent)
        np.testing.assert_allclose(q[1], q[0] - here, atol=1e-5)
        differing += np.ptp(gained) > 0.01 and np.ptp(q[0]) > 0.01
        return q

    for key in range(8):
        values(jax.device_get(env.reset(jax.random.key(key), params)[1]))
    assert differing > 2


def test_without_shaping_nothing_of_a_prior_is_held() -> None:
    plain, params = environment(random_kb(0, n_facts=9), 4)
    assert params.shaping is None
    assert plain.reset(jax.random.key(0), params)[1].log_normalizer == ()


def test_nothing_of_valid_or_test_enters() -> None:
    """Other queries there, over the same constants: the same parameters, but for the queries that are trained on."""
    other = FILES | {"valid.txt": "q(c,a).\np(d,a).\n", "test.txt": "p(b,a).\n"}
    prior = draw_prior("complex", n_constants=4, n_predicates=3)
    options = {"prior": prior, "shaping": 1.0, "max_successors": 16}
    made = [answering.make(datasets.from_files("toy", files), **options).default_params for files in (FILES, other)]
    assert made[0].shaping is not None
    assert made[0].shaping.log_normalizers.shape == (len(made[0].queries), 2)
    jax.tree.map(np.testing.assert_array_equal, *made)


TASK = {"task": {"dataset": "somewhere"}}


@pytest.mark.parametrize(
    "settings",
    [
        {"shaping": 1.0},
        {"initial_embeddings": "prior"},
        {"shaping": 1.0, "prior": "prior.npz", "mode": "verify"},
        {"initial_embeddings": "prior", "prior": "prior.npz", "mode": "verify"},
    ],
)
def test_a_use_of_a_prior_wants_one(settings: dict) -> None:
    name = "task.shaping = 1.0" if "shaping" in settings else "network.initial_embeddings = 'prior'"
    with pytest.raises(PPOJaxError, match=f"{name} needs embeddings and queries to answer: name a prior") as error:
        from_dict(TASK).override(settings)
    assert "\n" not in str(error.value)


def test_an_environment_of_ones_own_wants_one_too() -> None:
    with pytest.raises(PPOJaxError, match="toy: shaping = 1 needs a prior"):
        answering.make(datasets.from_files("toy", FILES), shaping=1.0)


def test_members_with_other_discounts_share_no_program_where_rewards_are_shaped() -> None:
    config = from_dict(TASK).override({"prior": "prior.npz"})
    for scale, programs in ((0.0, 1), (1.0, 2)):
        plan = make_plan(config.override({"shaping": scale}), 2, ["gamma=0.9,0.99"])
        assert len(by_program(plan.members)) == programs
