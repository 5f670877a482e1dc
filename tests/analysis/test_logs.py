"""Reading runs: complete, truncated, empty, and those of other trainers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.logs import check_settings, read, read_run, read_sb3, read_tensorboard
from ppo_jax.config import Config, PPOConfig, TaskConfig
from ppo_jax.types import PPOJaxError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


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


def test_stable_baselines3_healthy():
    log = read_sb3(GOLDEN / "sb3_healthy.csv", {"n_steps": 128, "n_envs": 8, "batch_size": 256})
    assert log.n_updates == 59  # the first line has no update yet
    assert log.settings["n_epochs"] == 4
    assert log.settings["learning_rate"]["init"] > log.settings["learning_rate"]["final"]
    assert log.columns["early_stopped"].sum() == 0
    assert (log.columns["entropy"] > 0).all()
    assert not diagnose(log).has_error


def test_stable_baselines3_broken():
    log = read_sb3(GOLDEN / "sb3_tight_kl.csv")
    assert log.settings["n_epochs"] == 20  # at least one update went through
    diagnosis = diagnose(log)
    assert [finding.id for finding in diagnosis.findings][:2] == ["too-many-epochs", "kl-early-stops"]
    assert diagnosis.has_error
    why = {one.id: one.why for one in diagnosis.unjudged}
    assert "batch_size" in why["batch-exceeds-rollout"]
    assert "batch-exceeds-rollout" in ids(
        read_sb3(GOLDEN / "sb3_tight_kl.csv", {"n_steps": 8, "n_envs": 8, "batch_size": 256})
    )


def sb3(folder: Path, rows: list[dict]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    (folder / "progress.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    return folder


def test_lines_of_stable_baselines3_that_stand_for_several_updates(tmp_path):
    """log_interval = 4: a line after iterations 4, 8, 12, and as many updates as iterations before it."""
    begun = {4: 30, 8: 70, 12: 90}  # 10 epochs each, but for the last four updates, which lost 20
    rows = [{"time/iterations": i, "train/n_updates": n, "train/approx_kl": 0.01} for i, n in begun.items()]
    log = read_sb3(sb3(tmp_path, rows))
    assert log.settings["n_epochs"] == 10
    np.testing.assert_allclose(log.columns["early_stopped"], [0.0, 0.0, 5 / 9])
    assert "too-many-epochs" not in ids(log)
    assert "iterations_total" not in log.columns


def test_a_run_of_stable_baselines3_that_went_on_from_before(tmp_path):
    rows = [{"time/iterations": i, "train/n_updates": 400 + 4 * i, "train/approx_kl": 0.01} for i in range(1, 6)]
    log = read_sb3(sb3(tmp_path, rows))
    assert log.settings["n_epochs"] == 4
    np.testing.assert_allclose(log.columns["early_stopped"], [np.nan, 0, 0, 0, 0])


def ids(log) -> set[str]:
    return {finding.id for finding in diagnose(log).findings}


def test_a_csv_cut_off_in_its_last_line(tmp_path):
    text = (GOLDEN / "sb3_healthy.csv").read_text()
    (tmp_path / "progress.csv").write_text(text[: len(text) - 60])
    log = read(tmp_path)
    assert log.kind == "sb3"
    assert log.n_updates == 59
    assert "progress.csv:61: cut off" in log.notes[0]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "rollout/ep_rew_mean\n3\n"])
def test_a_csv_of_something_else(tmp_path, content):
    (tmp_path / "progress.csv").write_text(content)
    with pytest.raises(PPOJaxError, match=r"progress\.csv: no line with train/\* columns"):
        read_sb3(tmp_path)


def write_events(folder: Path, series: dict[str, list[tuple[int, float]]]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for tag, points in series.items():
        for step, value in points:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, summary=summary))
    writer.close()


def test_tensorboard_with_the_tags_of_cleanrl(tmp_path):
    updates = range(512, 5121, 512)
    write_events(
        tmp_path,
        {
            "charts/episodic_return": [(step - back, 10.0 + step) for step in updates for back in (300, 100)],
            "charts/learning_rate": [(step, 1e-3 * (1 - step / 6000)) for step in updates],
            "losses/value_loss": [(step, 3.0) for step in updates],
            "losses/entropy": [(step, 0.69) for step in updates],
            "losses/approx_kl": [(step, 0.01) for step in updates],
            "losses/clipfrac": [(step, 0.1) for step in updates],
            "losses/explained_variance": [(step, -2.0) for step in updates],
        },
    )
    log = read(tmp_path)
    assert log.kind == "tensorboard"
    assert log.n_updates == 10
    np.testing.assert_allclose(log.columns["value_loss"], 6.0)  # CleanRL logs half the squared error
    np.testing.assert_allclose(log.columns["episode_return_mean"], [10.0 + step for step in updates], rtol=1e-6)
    assert log.settings["learning_rate"]["init"] > log.settings["learning_rate"]["final"]
    assert "critic-worse-than-mean" in ids(log)


def test_the_settings_that_cleanrl_writes_beside_its_numbers(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    given = {
        "num_envs": 4,
        "num_steps": 128,
        "num_minibatches": 4,
        "update_epochs": 40,
        "gamma": "0.9",
        "norm_adv": True,
    }
    given |= {"target_kl": None, "ent_coef": "a|b", "learning_rate": 1.0, "exp_name": "x"}
    text = "|param|value|\n|-|-|\n" + "\n".join(f"|{key}|{value}|" for key, value in given.items())
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
    value = Summary.Value(tag="hyperparameters/text_summary", metadata=metadata, tensor=tensor)
    writer = EventFileWriter(str(tmp_path))
    writer.add_event(Event(step=0, summary=Summary(value=[value])))
    writer.close()
    write_events(tmp_path, {"losses/approx_kl": [(512, 0.01), (1024, 0.01)]})
    log = read_tensorboard(tmp_path, {"n_envs": 8})
    known = {"n_envs": 8, "n_steps": 128, "n_epochs": 40, "gamma": 0.9, "normalize_advantage": True, "target_kl": None}
    assert log.settings == known | {"batch_size": 128}
    assert "too-many-epochs" in ids(log)


def test_tensorboard_with_the_tags_of_stable_baselines3(tmp_path):
    write_events(
        tmp_path / "PPO_1",
        {
            "rollout/ep_rew_mean": [(step, 10.0) for step in range(1024, 9217, 1024)],
            "train/entropy_loss": [(step, -0.6) for step in range(2048, 9217, 1024)],
            "train/explained_variance": [(step, 0.9) for step in range(2048, 9217, 1024)],
            "train/approx_kl": [(step, 0.01) for step in range(2048, 9217, 1024)],
        },
    )
    log = read_tensorboard(tmp_path)
    assert log.n_updates == 8
    np.testing.assert_allclose(log.columns["entropy"], 0.6, rtol=1e-6)


def test_tensorboard_with_our_own_tags(tmp_path):
    write_events(tmp_path, {"approx_kl": [(1, 0.1), (2, 0.2)], "returns_std": [(1, 1.0), (2, 2.0)]})
    np.testing.assert_allclose(read_tensorboard(tmp_path).columns["returns_std"], [1.0, 2.0])


def test_tensorboard_of_something_else(tmp_path):
    with pytest.raises(PPOJaxError, match="no TensorBoard event file there"):
        read_tensorboard(tmp_path)
    write_events(tmp_path, {"accuracy": [(1, 0.1)]})
    with pytest.raises(PPOJaxError, match="no tag of"):
        read_tensorboard(tmp_path)


def test_settings_for_a_log_are_checked():
    assert check_settings({"n_steps": 2048, "n_envs": 3}) == {"n_steps": 2048, "n_envs": 3}
    with pytest.raises(PPOJaxError, match=r"--set n_step: unknown key; did you mean n_steps"):
        check_settings({"n_step": 5})
    with pytest.raises(PPOJaxError, match=r"--set gamma: Expected"):
        check_settings({"gamma": 3})
