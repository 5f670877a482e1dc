"""Reading TensorBoard files with the tags of CleanRL, Stable-Baselines3 and our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import read, read_tensorboard
from ppo_jax.types import PPOJaxError
from tests.cli.console import call, fail


def ids(log) -> set[str]:
    return {finding.id for finding in diagnose(log).findings}


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
        "env_id": "CartPole-v1",
        "clip_coef": 0.3,
        "clip_vloss": True,
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
    known |= {"env_id": "CartPole-v1", "clip_range": 0.3, "clip_range_vf": 0.3}
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


def run_of(n: int, first: int = 1, value: float = 0.01) -> dict[str, list[tuple[int, float]]]:
    """What SB3's PPO writes of n updates."""
    steps = [2048 * i for i in range(first, first + n)]
    tags = ("rollout/ep_rew_mean", "train/approx_kl", "train/entropy_loss", "train/explained_variance")
    return {tag: [(step, value) for step in steps] for tag in tags}


OFF_POLICY = {tag: [(100, 1.0), (200, 2.0)] for tag in ("train/actor_loss", "train/critic_loss", "train/ent_coef")}


def test_several_runs_in_a_folder_are_listed_and_one_is_read_by_its_path(tmp_path):
    for i in (1, 2):
        write_events(tmp_path / f"PPO_{i}", run_of(5, value=i))
    write_events(tmp_path / "SAC_1", OFF_POLICY)
    error = fail("diagnose", tmp_path)
    assert error == fail("diagnose", "--tensorboard", tmp_path)
    assert "3 runs there; give the path of one" in error
    assert all(f"{tmp_path / name}" in error for name in ("PPO_1 (PPO)", "PPO_2 (PPO)", "SAC_1 (SAC"))
    log = read(tmp_path / "PPO_2")
    assert (log.name, log.n_updates, log.trainer) == ("PPO_2", 5, "sb3")
    np.testing.assert_allclose(log.columns["approx_kl"], 2.0)
    assert "not PPO but SAC" in fail("diagnose", tmp_path / "SAC_1")


def test_many_runs_are_not_all_listed(tmp_path):
    for i in range(20):
        write_events(tmp_path / f"PPO_{i}", run_of(1))
    with pytest.raises(PPOJaxError, match=r"20 runs there[^,]*, [^,]*, [^,]*, … of 20$"):
        read(tmp_path)


def test_two_runs_in_one_folder_are_told_apart_and_an_event_file_is_read_by_itself(tmp_path):
    for value in (1.0, 2.0):
        write_events(tmp_path, run_of(10, value=value))
    files = sorted(tmp_path.iterdir(), key=lambda file: file.name)
    with pytest.raises(PPOJaxError, match="2 runs there") as error:
        read(tmp_path)
    assert all(str(file) in str(error.value) for file in files)
    values = {float(read(file).columns["approx_kl"].mean()) for file in files}
    assert values == {1.0, 2.0}
    log = read_tensorboard(files[0])
    assert log.name == tmp_path.name
    assert call("diagnose", "--tensorboard", files[1]).code in (0, 1)


def test_files_of_one_run_that_went_on_are_one_run(tmp_path):
    write_events(tmp_path, run_of(10, value=1.0))
    write_events(tmp_path, run_of(10, first=9, value=2.0))  # from a checkpoint after eight updates
    log = read(tmp_path)
    assert log.n_updates == 18
    np.testing.assert_allclose(log.columns["approx_kl"], [1.0] * 8 + [2.0] * 10)
    assert "2 event files of one run that went on; read as one" in log.notes
    assert any("from step 18432 on" in note for note in log.notes)


def test_folders_beside_a_run_that_hold_nothing_of_ppo(tmp_path):
    write_events(tmp_path / "PPO_1", run_of(6))
    write_events(tmp_path / "PPO_1" / "hparams", {"accuracy": [(1, 0.5)]})
    assert read(tmp_path).n_updates == 6


def test_evaluations_in_tensorboard(tmp_path):
    series = run_of(6)
    for tag in [tag for tag in series if tag.startswith("train/")]:  # each waits for the line of the callback
        series[tag] = [(step + 952, value) for step, value in series[tag]]
    write_events(tmp_path, series | {"eval/mean_reward": series["train/approx_kl"]})
    log = read(tmp_path)
    assert log.n_updates == 6
    for name in ("approx_kl", "eval/episode_return_mean", "episode_return_mean"):
        assert np.isfinite(log.columns[name][:-1]).all(), name  # no rollout comes after the last update
    assert log.settings["rollout_size"] == 2048


def test_tags_of_sb2(tmp_path):
    series = {"loss/approximate_kullback-leibler": [(128 * i, 0.01) for i in range(1, 9)]}
    series |= {"loss/value_function_loss": [(128 * i, 2.0) for i in range(1, 9)]}
    series |= {"episode_reward": [(128 * i - 7, 3.0) for i in range(1, 9)]}
    write_events(tmp_path / "PPO2_1", series)
    log = read(tmp_path)
    assert (log.trainer, log.n_updates) == ("baselines", 8)
    np.testing.assert_allclose(log.columns["value_loss"], 4.0)
    np.testing.assert_allclose(log.columns["episode_return_mean"], 3.0)
