"""Reads the ``progress.csv`` of Stable-Baselines3's CSV logger."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_jax.analysis.readers.other_trainers import SB3_NAMES, make_run_log
from ppo_jax.analysis.readers.run_log import RunLog, to_number
from ppo_jax.types import PPOJaxError

__all__ = ["read_sb3"]


def read_sb3(path: str | Path, settings: Mapping[str, Any] | None = None) -> RunLog:
    """Read the ``progress.csv`` of Stable-Baselines3's CSV logger.

    Its `train/*` numbers of a line belong to the update before; a first line without them is left out.

    Args:
        path: the file, or the folder that holds it.
        settings: configuration keys the log lacks, such as ``{"n_steps": 2048, "n_envs": 1}``.

    Raises:
        PPOJaxError: no such file, or none of its columns is known.
    """
    path = Path(path)
    path = path / "progress.csv" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PPOJaxError(f"{path}: {error.strerror}; give the progress.csv of SB3's CSV logger") from None
    notes: list[str] = []
    try:
        table = list(csv.DictReader(text.splitlines()))
    except csv.Error as error:
        raise PPOJaxError(f"{path}: not CSV: {error}") from None
    rows = []
    for number, line in enumerate(table, start=2):
        row = {name: to_number(line.get(column)) for column, name in SB3_NAMES.items() if line.get(column)}
        if None in line.values():
            notes.append(f"{path.name}:{number}: cut off; read as far as it goes")
        if any(column.startswith("train/") and line.get(column) for column in filter(None, line)):
            rows.append(row)
    if not rows:
        raise PPOJaxError(f"{path}: no line with train/* columns; is it the progress.csv of SB3's PPO?")
    return make_run_log(
        path.parent.name if path.name == "progress.csv" else path.stem, "sb3", rows, settings or {}, notes
    )
