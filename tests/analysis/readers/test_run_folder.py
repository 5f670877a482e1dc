"""Reading run folders: complete, truncated, empty, crashed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import read, read_run
from ppo_jax.config import Config, PPOConfig, TaskConfig
from ppo_jax.types import PPOJaxError


@pytest.fixture
def folder(tmp_path) -> Path:
    config = Config(TaskConfig("CartPole-v1"), PPOConfig(n_envs=4, batch_size=128))
    (tmp_path / "config.toml").write_text(config.to_toml())
    rows = [{"update": i, "env_steps": 512 * i, "approx_kl": 0.01 * i, "explained_variance": None} for i in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "eval.jsonl").write_text('{"update": 3, "return_mean": 20.0}\n')
    (tmp_path / "summary.json").write_text('{"status": "completed", "test": {"return_mean": 21.0}}')
    return tmp_path


def test_a_complete_run(folder):
    log = read_run(folder)
    assert log.n_updates == 3
    np.testing.assert_allclose(log.columns["approx_kl"], [0.01, 0.02, 0.03])
    assert np.isnan(log.columns["explained_variance"]).all()
    assert log.settings["n_envs"] == 4
    assert log.settings["target_kl"] is None  # known to be off
    assert log.evaluations[0]["return_mean"] == 20.0
    assert log.notes == ()


def test_a_truncated_last_line_is_left_out_and_said(folder):
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"update": 4, "env_st')
    log = read_run(folder)
    assert log.n_updates == 3
    assert log.notes == ("metrics.jsonl:4: cut off; left out",)


def test_a_crashed_run_is_read_as_far_as_it_goes(folder):
    (folder / "summary.json").unlink()
    (folder / "eval.jsonl").unlink()
    log = read_run(folder)
    assert log.n_updates == 3
    assert "summary.json: missing" in log.notes[0]
    diagnose(log)


def test_an_empty_file_is_said(folder):
    (folder / "metrics.jsonl").write_text("")
    log = read_run(folder)
    assert log.n_updates == 0
    assert log.notes == ("metrics.jsonl: holds no complete line",)
    assert "no update is on record" in {one.why for one in diagnose(log).unjudged}


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("summary.json", "{", "summary.json: not JSON"),
        ("summary.json", "[1]", "not a JSON object"),
        ("summary.json", '{"status": "failed"}', "status is 'failed'"),
        ("metrics.jsonl", '{"update": 1}\n[2]\n{"update": 3}\n', "metrics.jsonl:2: not a JSON object"),
        ("metrics.jsonl", '\x00\x00\n{"update": 3, "env_steps": "x"}\n', "metrics.jsonl:1"),
        ("eval.jsonl", "nonsense\n", "eval.jsonl:1"),
        ("config.toml", "= 3", "config.toml: not TOML"),
        ("config.toml", "[task]\nenv_id = 'A'\n[ppo]\nn_epoch = 3\n", "unknown key 'n_epoch'"),
        ("config.toml", None, "config.toml: missing"),
    ],
)
def test_what_is_unreadable_is_said_and_the_rest_is_read(folder, name, content, note):
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    log = read_run(folder)
    assert note in " ".join(log.notes)
    diagnose(log)


@pytest.mark.parametrize(
    "summary",
    [
        {"test": None, "baselines": {"untrained": None}, "data": 3},
        {"test": {"greedy": {"mrr": None}}, "baselines": {"untrained": {"greedy": {"mrr": "x"}}}, "data": {}},
        {"test": [], "baselines": [], "data": {"overlaps": {"train/test": None}}},
    ],
)
def test_a_summary_of_another_shape_is_no_crash(folder, summary):
    (folder / "summary.json").write_text(json.dumps({"status": "completed", **summary}))
    diagnose(read_run(folder))


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(PPOJaxError, match="no run there"):
        read_run(tmp_path)
    with pytest.raises(PPOJaxError, match="no run there"):
        read(tmp_path / "nothing")
