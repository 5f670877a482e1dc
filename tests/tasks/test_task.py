"""Both tasks behind one protocol: how they are made, refused, judged and read."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.config import Config, from_dict
from ppo_jax.proving import environment as proof
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.proving.task import ProofTask
from ppo_jax.tasks import gymnax as gymnax_envs
from ppo_jax.tasks import results
from ppo_jax.tasks.episodes import EpisodeTask, random_actions
from ppo_jax.tasks.make import make_network, make_task
from ppo_jax.tasks.task import Task
from ppo_jax.types import Box, Discrete, PPOJaxError
from tests import toys


def config_of(**task) -> Config:
    return from_dict(
        {
            "task": task,
            "ppo": {"total_timesteps": 32, "n_envs": 4, "n_steps": 8, "n_epochs": 1, "batch_size": 16},
            "network": {"hidden_sizes": [8]},
            "evaluation": {"eval_episodes": 64},
        }
    )


CARTPOLE, COUNTRIES = config_of(env_id="CartPole-v1"), config_of(env_id="Proof-countries_s1", max_atoms=4)
EPISODES = {"return_mean": 20.0, "return_std": 3.0, "length_mean": 20.0, "episodes": 128}
GREEDY = {
    **{"mrr": 0.75, "mrr_interval": [0.6, 0.9], "hits@1": 0.5, "hits@3": 1.0, "hits@10": 1.0},
    **{"proved_positive": 0.9, "proved_negative": 0.1, "n_queries": 24, "protocol": "greedy, end allowed"},
}
MARGINAL = GREEDY | {"mrr": 0.95, "auc_pr": 0.8, "unexplored_mass": 0.01, "protocol": "marginal, beam 64"}


@pytest.mark.parametrize(("config", "kind"), [(CARTPOLE, EpisodeTask), (COUNTRIES, ProofTask)])
def test_both_tasks_satisfy_the_protocol(config, kind):
    task = make_task(config)
    assert isinstance(task, kind) and isinstance(task, Task)
    task.check()
    assert task.env_params is task.env.default_params
    assert type(make_network(config.network, task)) is type(task.default_network(config.network))
    others = {"mlp": "use"} if kind is ProofTask else {"proof_actions": "use", "CnnLstmPolicy": "CnnPolicy is network"}
    for other, remedy in others.items():
        with pytest.raises(PPOJaxError, match=f"'{other}' does not fit this task; {remedy}"):
            task.default_network(config.override({"network": other}).network)
    assert (task.sha256 is None) == (task.action_meaning is None) == (kind is EpisodeTask)


def test_a_variant_shares_the_task_and_its_programs():
    experiment = ppo_jax.build(CARTPOLE)
    variant = experiment.variant(CARTPOLE.override({"seed": 7, "gamma": 0.5}))
    assert variant.task is experiment.task and variant.trainer is experiment.trainer
    assert variant.policy == experiment.policy and hash(variant.policy) == hash(experiment.policy)
    params = experiment.untrained(0)
    first = experiment.evaluate(params, "test")
    assert variant.evaluate(params, "test") != first  # other episodes
    assert variant.variant(CARTPOLE).evaluate(params, "test") == first
    assert first != experiment.evaluate(params, "valid")


# Environments of your own.


def test_an_environment_of_ppo_jax_is_taken_as_it_is():
    env = toys.ChosenReward()
    assert make_task(CARTPOLE, env).env is env
    proofs = proof.make("countries_s1")
    task = make_task(CARTPOLE, proofs)
    assert isinstance(task, ProofTask) and task.env is proofs


def test_parameters_of_an_environment_by_import_path_are_its_arguments():
    walk = config_of(env_id="tests.toys:Walk", env_params={"can_truncate": False})
    assert make_task(walk).env == toys.Walk(can_truncate=False)
    with pytest.raises(PPOJaxError, match=r"'tests.toys:Walk': Walk\(length=...\) must work"):
        make_task(config_of(env_id="tests.toys:Walk", env_params={"length": 3}))
    with pytest.raises(PPOJaxError, match=r"task.env_params: the environment that was given has its own"):
        make_task(walk, toys.Walk())
    with pytest.raises(PPOJaxError, match=r"task.env_params: a proof task has keys of its own"):
        make_task(config_of(env_id="Proof-countries_s1", env_params={"size": 3}))


def test_an_instance_of_gymnax_is_adapted():
    import gymnax

    env, _ = gymnax.make("CartPole-v1")
    experiment = ppo_jax.build(CARTPOLE, env=env)
    assert isinstance(experiment.env, gymnax_envs.GymnaxEnvironment) and experiment.env.environment is env
    same = ppo_jax.build(CARTPOLE)
    assert experiment.evaluate(same.untrained(0), "valid") == same.evaluate(same.untrained(0), "valid")
    proofs = ppo_jax.build(CARTPOLE, env=gymnax_envs.as_gymnax(proof.make("countries_s1"))).task
    assert isinstance(proofs, ProofTask)


def test_an_instance_of_gymnasium_is_refused_with_what_to_do():
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(
        PPOJaxError, match=r"env: \w+ is one of Gymnasium's, .* not JAX functions; register its class there"
    ) as e:
        ppo_jax.build(CARTPOLE, env=env)
    assert "\n" not in str(e.value)


def test_what_an_environment_lacks_is_named():
    lacking = SimpleNamespace(action_space=Discrete(2), default_params=None, reset=print)
    with pytest.raises(PPOJaxError, match=r"neither .*: SimpleNamespace has no can_truncate, step$"):
        ppo_jax.build(CARTPOLE, env=lacking)
    with pytest.raises(PPOJaxError, match="ChosenReward is a class; an instance is needed"):
        ppo_jax.build(CARTPOLE, env=toys.ChosenReward)
    sizes = proof.make("countries_s1").sizes
    with pytest.raises(PPOJaxError, match="no data set"):
        ppo_jax.build(CARTPOLE, env=ProofEnv(sizes))


# The random policy.


def test_random_actions_are_uniform_over_what_is_valid():
    n, key = 6000, jax.random.key(0)
    actions = random_actions(Discrete(4), jnp.zeros((n, 3)), key)
    assert (actions.shape, actions.dtype) == ((n,), jnp.int32)
    np.testing.assert_allclose(np.bincount(actions, minlength=4) / n, 0.25, atol=0.03)
    mask = jnp.tile(jnp.array([[True, False, True, False], [False, False, False, True]]), (n // 2, 1))
    actions = np.asarray(random_actions(Discrete(4), {"x": jnp.zeros(n), "action_mask": mask}, key)).reshape(-1, 2)
    assert set(actions[:, 0]) == {0, 2} and set(actions[:, 1]) == {3}
    assert (actions[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.03)


def test_random_numbers_stay_within_their_bounds():
    inf = float("inf")
    space = Box((-2.0, 0.5, -inf, 0.0), (2.0, 1.0, inf, inf))
    actions = np.asarray(random_actions(space, jnp.zeros((6000, 3)), jax.random.key(0)))
    assert (actions.shape, actions.dtype) == ((6000, 4), np.float32)
    assert (actions >= np.array(space.low)).all() and (actions <= np.array(space.high)).all()
    # Uniform: mean in the middle, standard deviation width / √12. Normal: 0 and 1; clipped at 0, half of them are 0.
    np.testing.assert_allclose(actions[:, :3].mean(0), [0.0, 0.75, 0.0], atol=0.06)
    np.testing.assert_allclose(actions[:, :3].std(0), [4 / 12**0.5, 0.5 / 12**0.5, 1.0], atol=0.03)
    assert (actions[:, 3] == 0.0).mean() == pytest.approx(0.5, abs=0.03)


def test_the_random_baseline_of_a_task_whose_value_is_known():
    # Action 1 earns 1, action 0 costs 1, and the episode is over: 0 on average, with standard deviation 1.
    experiment = ppo_jax.build(CARTPOLE.override({"eval_episodes": 4096}), env=toys.ChosenReward())
    baselines = experiment.baselines()
    assert set(baselines) == {"random"}
    random = baselines["random"]
    assert random["return_mean"] == pytest.approx(0.0, abs=4 / 4096**0.5)
    assert (random["return_std"], random["length_mean"], random["episodes"]) == (
        pytest.approx(1.0, abs=1e-2),
        1.0,
        4096,
    )
    assert experiment.variant(CARTPOLE.override({"seed": 3})).baselines() == baselines


# Results that were stored.


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (EPISODES, results.EPISODES),
        ({"update": 3, "env_steps": 96, **EPISODES}, results.EPISODES),
        ({"status": "completed", "valid": EPISODES, "test": EPISODES}, results.EPISODES),
        ({"status": "running"}, results.EPISODES),
        (None, results.EPISODES),
        ({"greedy": GREEDY}, results.PROOFS),
        ({"marginal": MARGINAL}, results.PROOFS),
        ({"update": 3, "greedy": GREEDY, "marginal": MARGINAL, "value_error_valid": 0.1}, results.PROOFS),
        ({"status": "completed", "test": {"greedy": GREEDY}}, results.PROOFS),
        ({"status": "failed", "valid": {"greedy": GREEDY}}, results.PROOFS),
    ],
)
def test_a_stored_result_is_recognised(stored, kind):
    assert results.of(stored) is kind


@pytest.mark.parametrize("config", [CARTPOLE, COUNTRIES.override({"n_queries": 2, "beam_width": 4})])
def test_what_a_task_returns_is_recognised_as_its_own(config):
    experiment = ppo_jax.build(config)
    result = experiment.evaluate(experiment.untrained(0), "valid")
    assert type(results.of(result)) is type(experiment.task.results)
    assert all(np.isfinite(experiment.task.results.score(result)))


def test_scores_put_what_is_unknown_last():
    assert results.PROOFS.score({"greedy": GREEDY, "marginal": MARGINAL}) == (0.75, 0.8)
    assert results.PROOFS.score({"greedy": {"mrr": None}}) == (-np.inf, -np.inf)
    assert results.EPISODES.score(EPISODES) == (20.0,)
    assert results.EPISODES.score({"return_mean": float("nan")}) == (-np.inf,)
    assert results.PROOFS.headline({"greedy": GREEDY}) == "greedy MRR 0.750"
    assert results.EPISODES.headline(EPISODES) == "return 20.00"


def test_the_table_of_episodes_has_a_row_for_the_random_policy():
    summary = {"test": EPISODES, "test_last": EPISODES, "baselines": {"random": EPISODES | {"return_mean": -1.5}}}
    kind = results.of(summary)
    headers, rows = kind.table(kind.rows(summary))
    assert headers == ("", "return", "± std", "length", "episodes")
    assert rows == (
        ("trained (best)", "20.00", "3.00", "20.00", "128"),
        ("trained (last)", "20.00", "3.00", "20.00", "128"),
        ("random policy", "-1.50", "3.00", "20.00", "128"),
    )
    assert kind.notes(kind.rows(summary)) == []
    assert kind.verdict(EPISODES, summary["baselines"]) == "Better than every baseline."
    better = {"random": EPISODES | {"return_mean": 20.0}}
    assert kind.verdict(EPISODES, better) == "Not better than without learning: return 20.00 (random policy 20.00)."
    near = {"random": EPISODES | {"return_mean": 19.5}}
    said = "Not told apart from without learning: return 20.00 (random policy 19.50), within two standard errors."
    assert kind.verdict(EPISODES, near) == said
    few = {"random": EPISODES | {"return_mean": -1.0, "episodes": 9}}
    said = "Too few episodes to compare (test 128, random policy 9): 10 of each are needed, by eval_episodes."
    assert kind.verdict(EPISODES, few) == said
    assert kind.verdict(EPISODES | {"episodes": 1}, better).startswith(
        "Too few episodes to compare (test 1, random policy 128)"
    )
    nothing = {"return_mean": None, "return_std": None, "length_mean": None, "episodes": 0}
    assert kind.verdict(nothing, better).startswith("Too few episodes to compare (test 0, random policy 128)")
    old = {"test": EPISODES, "test_last": nothing}
    assert kind.table(kind.rows(old)).rows[1] == ("trained (last)", "–", "–", "–", "0")


def test_what_is_said_below_a_table_of_proofs():
    rows = {"trained (best)": {"greedy": GREEDY, "marginal": MARGINAL}}
    assert results.PROOFS.notes(rows) == [
        "greedy, end allowed, 24 queries",
        "marginal, beam 64, 24 queries; 1.0% of the probability unexplored",
    ]
    data = {f"train_{kind}_{what}": 3 for kind in ("positives", "negatives") for what in ("provable", "searched")}
    note = results.PROOFS.data_note(data | {"searches_given_up": 0, "max_depth": 5})
    assert note == (
        "What the data allows within 5 steps: of 3 training positives 3 can be proved, 0 cannot; of 3 training "
        "negatives 3 can be proved, 0 cannot."
    )
    older = results.PROOFS.data_note(data | {"searches_given_up": 2})
    assert older is not None and "of 3 training positives 3 can be proved; of 3" in older
    assert "within the depth limit: " in older and older.endswith("; the search for 2 of both was given up.")
    networks = {name: {"mrr_each": [0.5] * n} for name, n in (("greedy", 20), ("marginal", 3))}
    assert results.PROOFS.notes(rows | {"untrained (×20)": networks})[2:] == [
        "untrained (×20): 3 of these networks by the marginal protocol, where they differ little"
    ]
    alone = results.PROOFS.table({"a": {"marginal": MARGINAL}, "b": {}})
    assert alone.headers == ("", "marginal\nMRR", "\nAUC-PR")
    assert alone.rows == (("a", "0.950 (0.60–0.90)", "0.800"), ("b", "–", "–"))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"env_id": "Proof-countries_s3"}, results.PROOFS),
        ({"env_id": None, "dataset": "data/family"}, results.PROOFS),
        ({"env_id": "CartPole-v1", "dataset": None}, results.EPISODES),
        ({}, results.EPISODES),
    ],
)
def test_the_settings_of_a_run_tell_its_kind(settings, kind):
    assert results.of_settings(settings) is kind
