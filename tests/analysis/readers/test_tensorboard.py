"""Reading TensorBoard files with the tags of CleanRL, Stable-Baselines3 and our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import read, read_tensorboard
from ppo_jax.types import PPOJaxError


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
