"""Reads TensorBoard event files with the tags of Stable-Baselines3, CleanRL or ppo_jax."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.analysis.readers.other_trainers import SB3_NAMES, make_run_log
from ppo_jax.analysis.readers.run_log import RunLog, check_settings
from ppo_jax.config.toml import parse_assignment
from ppo_jax.types import PPOJaxError

__all__ = ["EVENT_FILES", "read_tensorboard"]

EVENT_FILES = "*tfevents*"
HYPERPARAMETERS = "hyperparameters/text_summary"  # of CleanRL
# Tags of CleanRL -> our names.
CLEANRL_NAMES = {
    "charts/episodic_return": "episode_return_mean",
    "charts/episodic_length": "episode_length_mean",
    "charts/learning_rate": "learning_rate",
    "losses/value_loss": "half_value_loss",
    "losses/policy_loss": "policy_loss",
    "losses/entropy": "entropy",
    "losses/approx_kl": "approx_kl",
    "losses/clipfrac": "clip_fraction",
    "losses/explained_variance": "explained_variance",
}
# Arguments of CleanRL's scripts, which they log as a Markdown table -> our settings.
CLEANRL_SETTINGS = {
    "num_envs": "n_envs",
    "num_steps": "n_steps",
    "update_epochs": "n_epochs",
    "clip_coef": "clip_range",
    "norm_adv": "normalize_advantage",
    **{
        key: key
        for key in ("total_timesteps", "gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm", "target_kl")
    },
}


def read_tensorboard(folder: str | Path, settings: Mapping[str, Any] | None = None) -> RunLog:
    """Read TensorBoard event files with the tags of SB3, CleanRL or ppo_jax.

    Args:
        folder: where the event files lie.
        settings: configuration keys the log lacks, or has otherwise.

    Raises:
        PPOJaxError: the reader is not installed, no event file is there, or no tag is known.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise PPOJaxError("reading TensorBoard files needs the extra: pip install 'ppo-jax[tensorboard]'") from None
    folder = Path(folder)
    if not any(folder.rglob(EVENT_FILES)):
        raise PPOJaxError(f"{folder}: no TensorBoard event file there")
    series: dict[str, list[tuple[int, float]]] = {}
    known: dict[str, Any] = {}
    ours = set(SB3_NAMES.values())
    for directory in sorted({file.parent for file in folder.rglob(EVENT_FILES)}):
        events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
        events.Reload()
        for tensor in events.Tensors(HYPERPARAMETERS) if HYPERPARAMETERS in events.Tags()["tensors"] else ():
            known |= _cleanrl_settings(b"".join(tensor.tensor_proto.string_val).decode("utf-8", "replace"))
        for tag in events.Tags()["scalars"]:
            name = SB3_NAMES.get(tag) or CLEANRL_NAMES.get(tag) or (tag.split("/")[-1] if "/" not in tag else None)
            if name:
                series.setdefault(name, []).extend((event.step, event.value) for event in events.Scalars(tag))
    if not series.keys() & (ours | set(CLEANRL_NAMES.values())):
        raise PPOJaxError(f"{folder}: no tag of SB3's or CleanRL's PPO there")
    # One row an update: the steps at which the losses were written; episodes between two of them are averaged.
    anchors = ("approx_kl", "explained_variance", "-entropy", "entropy", *series)
    anchor = next(name for name in anchors if name in series)
    steps = sorted({step for step, _ in series[anchor]})
    rows: list[dict[str, float]] = [{"env_steps": float(step)} for step in steps]
    for name, points in series.items():
        at, values = (np.array(x, float) for x in zip(*sorted(points), strict=True))
        place = np.minimum(np.searchsorted(steps, at), len(steps) - 1)
        for i in np.unique(place):
            rows[i][name] = float(values[place == i].mean())
    return make_run_log(folder.resolve().name, "tensorboard", rows, known | dict(settings or {}), [])


def _cleanrl_settings(table: str) -> dict[str, Any]:
    """Our settings from CleanRL's table ``|param|value|``; what does not fit is left out."""
    cells = (line.strip().strip("|").split("|") for line in table.splitlines())
    given = {row[0].strip(): row[1].strip() for row in cells if len(row) == 2}
    settings: dict[str, Any] = {}
    for theirs, key in CLEANRL_SETTINGS.items():
        if theirs in given:
            _, value = parse_assignment(f"{key} = {given[theirs].replace('True', 'true').replace('False', 'false')}")
            with contextlib.suppress(PPOJaxError):
                settings |= check_settings({key: value})
    rollout, minibatches = settings.get("n_envs", 0) * settings.get("n_steps", 0), given.get("num_minibatches", "")
    if rollout and minibatches.isdigit() and int(minibatches):
        settings["batch_size"] = rollout // int(minibatches)
    return settings
