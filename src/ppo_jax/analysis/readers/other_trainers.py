"""Logs of other trainers in our names, signs and units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppo_jax.analysis.readers.run_log import RunLog, legible, make_columns

__all__ = ["SB3_NAMES", "make_run_log"]

# Names of Stable-Baselines3 -> ours. A leading "-" flips the sign.
SB3_NAMES = {
    "time/total_timesteps": "env_steps",
    "time/iterations": "iterations_total",
    "rollout/ep_rew_mean": "episode_return_mean",
    "rollout/ep_len_mean": "episode_length_mean",
    "train/approx_kl": "approx_kl",
    "train/clip_fraction": "clip_fraction",
    "train/clip_range": "clip_range",
    "train/explained_variance": "explained_variance",
    "train/entropy_loss": "-entropy",
    "train/value_loss": "value_loss",
    "train/policy_gradient_loss": "policy_loss",
    "train/learning_rate": "learning_rate",
    "train/std": "action_std",
    "train/n_updates": "epochs_begun_total",
}


def make_run_log(
    name: str, kind: str, rows: list[dict[str, float]], settings: Mapping[str, Any], notes: list[str]
) -> RunLog:
    """The log of another trainer in our names and signs, with the settings that can be read off it.

    Args:
        name: of the run.
        kind: "sb3" or "tensorboard".
        rows: one mapping an update, in our names; a leading "-" still asks for the other sign.
        settings: configuration keys that are known from elsewhere; they have the last word.
        notes: what was missing, a line each.
    """
    columns = make_columns([{"update": i + 1} | row for i, row in enumerate(rows)])
    for flipped in [key for key in columns if key.startswith("-")]:
        columns[flipped[1:]] = -columns.pop(flipped)
    if "half_value_loss" in columns:  # CleanRL's loss has a factor of 1/2
        columns["value_loss"] = 2.0 * columns.pop("half_value_loss")
    known = dict(settings)
    iterations = columns.pop("iterations_total", None)
    if "epochs_begun_total" in columns:
        _count_epochs(columns, columns.pop("epochs_begun_total"), iterations, known)
    if "entropy" in columns and "action_std" not in columns and not (columns["entropy"] < 0).any():
        # Discrete actions: a fresh policy is close to uniform, so the first entropy stands for the largest.
        columns["entropy_normalized"] = columns["entropy"] / max(np.nanmax(columns["entropy"]), 1e-12)
    for key in ("learning_rate", "clip_range"):
        if key not in known and key in columns and np.isfinite(columns[key]).any():
            finite = columns[key][np.isfinite(columns[key])]
            first, last = float(finite[0]), float(finite[-1])
            known[key] = first if np.isclose(first, last, rtol=1e-3) else {"init": first, "final": last}
    return RunLog(legible(name), kind, known, columns, notes=legible(tuple(notes)))


def _count_epochs(
    columns: dict[str, np.ndarray], begun_total: np.ndarray, iterations: np.ndarray | None, known: dict[str, Any]
) -> None:
    """Early stops and epochs from SB3's count of epochs, where one that the KL limit cut short counts as whole.

    A line may stand for several updates (``log_interval``); of these only the least share that was cut short is known.
    """
    # A line is written before the update of its own iteration.
    total = np.arange(1.0, len(begun_total) + 1) if iterations is None else iterations - 1.0
    updates = np.diff(total, prepend=0.0)  # 0 in a first line where learning went on from before: not known
    begun = np.diff(begun_total, prepend=0.0) / np.where(updates > 0, updates, np.nan)
    finite = begun[np.isfinite(begun)]
    most = int(np.ceil(finite.max(initial=1.0)))
    n_epochs = known.setdefault("n_epochs", most)
    if most <= 1 and n_epochs <= 1:  # of one epoch an update nobody can tell whether there should have been more
        return
    lost = np.maximum(n_epochs - begun, 0.0)
    columns["early_stopped"] = np.where(updates == 1, np.sign(lost), lost / max(n_epochs - 1, 1))
    columns["early_stopped"][np.isnan(begun)] = np.nan
    columns["epochs_completed"] = begun - columns["early_stopped"]
