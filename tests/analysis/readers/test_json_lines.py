"""Logs of JSON objects: SB3's progress.json, RLlib's result.json."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ppo_jax.analysis.readers import read
from ppo_jax.types import PPOJaxError
from tests.analysis.readers.logs import sb3_lines, to_csv, to_json_lines, write

LINES = sb3_lines(10)


@pytest.fixture
def read_text(tmp_path):
    return lambda text: read(write(tmp_path / "progress.json", text))


def nested(line: dict) -> dict:
    groups: dict[str, dict] = {}
    for name, value in line.items():
        group, key = name.split("/")
        groups.setdefault(group, {})[key] = value
    return groups


@pytest.mark.parametrize(
    "text",
    [
        to_json_lines(LINES),
        to_json_lines(LINES).replace("\n", "\r\n"),
        to_json_lines(LINES).encode("utf-8-sig"),
        json.dumps(LINES),
        json.dumps(LINES, indent=2),
        to_json_lines(list(map(nested, LINES))),
        to_json_lines(
            [line | {"note": "a", "list": [1, 2], "nothing": None, "deep": {"a": {"b": 1}}} for line in LINES]
        ),
    ],
)
def test_forms_of_progress_json(tmp_path, read_text, text):
    log, plain = read_text(text), read(write(tmp_path / "plain.csv", to_csv(LINES)))
    assert log.settings == plain.settings
    assert log.columns.keys() == plain.columns.keys()
    for name, column in plain.columns.items():
        np.testing.assert_array_equal(log.columns[name], column, err_msg=name)
    assert log.notes == ()


def test_numbers_that_are_not_finite(read_text):
    lines = [line | {"train/value_loss": float("nan")} if i > 5 else line for i, line in enumerate(LINES)]
    lines[3] |= {"train/approx_kl": float("inf")}
    log = read_text(to_json_lines(lines))
    assert np.isnan(log.columns["value_loss"]).sum() == 4
    assert np.isinf(log.columns["approx_kl"]).sum() == 1


def test_lines_that_are_cut_off_or_no_objects(read_text):
    lines = to_json_lines(LINES).splitlines()
    log = read_text("\n".join([*lines[:4], "3", *lines[4:-1], lines[-1][:-20]]))
    assert log.n_updates == 8
    assert log.notes == ("progress.json:5: not a JSON object; left out (and in 1 more lines)",)


@pytest.mark.parametrize(
    "text", ['{"accuracy": 1}\n', '[{"a": 1}]', '{"a": ', "[[1], [2]]", '{"train/approx_kl": "x"}']
)
def test_json_of_something_else(read_text, text):
    with pytest.raises(PPOJaxError, match=r"no line with train/\* columns"):
        read_text(text)


def test_rllibs_result_json(tmp_path):
    learner = {
        "cur_lr": 5e-5,
        "entropy": 1.0,
        "kl": 0.02,
        "policy_loss": -0.01,
        "vf_explained_var": 0.4,
        "vf_loss": 9.0,
    }
    config = {"lr": 5e-5, "gamma": 0.99, "lambda": 0.95, "clip_param": 0.3, "num_sgd_iter": 30, "grad_clip": None}
    config |= {
        "sgd_minibatch_size": 128,
        "entropy_coeff": 0.0,
        "vf_loss_coeff": 1.0,
        "env": "CartPole-v1",
        "env_config": {"a": 1},
    }
    lines = [
        {
            "training_iteration": i,
            "timesteps_total": 4000 * i,
            "episode_reward_mean": float("nan") if i == 1 else 3.0 * i,
            "info": {"learner": {"default_policy": {"learner_stats": learner, "num_agent_steps_trained": 128.0}}},
            "evaluation": {"episode_reward_mean": 5.0 * i},
            "hist_stats": {"episode_reward": [1.0, 2.0]},
            "config": config,
        }
        for i in range(1, 13)
    ]
    write(tmp_path / "PPO_0" / "result.json", to_json_lines(lines))
    write(tmp_path / "PPO_0" / "progress.csv", "training_iteration\n1\n")  # the CSV beside it says less
    log = read(tmp_path / "PPO_0")
    assert (log.name, log.trainer, log.kind, log.n_updates) == ("PPO_0", "rllib", "rllib", 12)
    known = {"learning_rate": 5e-5, "gamma": 0.99, "gae_lambda": 0.95, "clip_range": 0.3, "n_epochs": 30}
    known |= {"batch_size": 128, "ent_coef": 0.0, "vf_coef": 1.0, "rollout_size": 4000, "env_id": "CartPole-v1"}
    assert log.settings == known
    np.testing.assert_allclose(log.columns["episode_return_mean"], [np.nan, *(3.0 * np.arange(2, 13))])
    np.testing.assert_allclose(log.columns["eval/episode_return_mean"], 5.0 * np.arange(1, 13))
    np.testing.assert_allclose(log.columns["approx_kl"], 0.02)


def test_the_newer_result_json_of_rllib(read_text):
    learner = {"entropy": 1.0, "mean_kl_loss": 0.02, "policy_loss": -0.01, "vf_explained_var": 0.4, "vf_loss": 9.0}
    lines = [
        {
            "training_iteration": i,
            "num_env_steps_sampled_lifetime": 4000 * i,
            "env_runners": {"episode_return_mean": 3.0 * i, "episode_len_mean": 20.0},
            "learners": {"default_policy": learner, "__all_modules__": {"policy_loss": 7.0}},
            "config": {"lr": [[0, 1e-3], [1000, 1e-4]], "train_batch_size_per_learner": 4000},
        }
        for i in range(1, 13)
    ]
    log = read_text(to_json_lines(lines))
    assert (log.trainer, log.n_updates, log.settings) == ("rllib", 12, {"rollout_size": 4000})
    np.testing.assert_allclose(log.columns["policy_loss"], -0.01)
    np.testing.assert_allclose(log.columns["episode_length_mean"], 20.0)
    assert log.notes == ()
