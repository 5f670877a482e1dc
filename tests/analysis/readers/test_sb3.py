"""Reading the progress.csv of Stable-Baselines3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import read, read_sb3
from ppo_jax.types import PPOJaxError

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


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
