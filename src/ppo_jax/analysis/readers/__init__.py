"""Readers of logs: run folders of ppo_jax, and what Stable-Baselines, CleanRL, RLlib and W&B leave.

A crashed or truncated run is read as far as it goes; what was missing is said in `RunLog.notes`. The readers of other
trainers' files yield lines in our names (`names`), which `updates` puts together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_jax.analysis.readers.run_folder import RUN_FILES, read_run
from ppo_jax.analysis.readers.run_log import RunLog, check_settings, first_few, legible
from ppo_jax.analysis.readers.sweep_file import read_sweep
from ppo_jax.analysis.readers.tensorboard import EVENT_FILES, read_tensorboard
from ppo_jax.analysis.readers.text_logs import find_text_log
from ppo_jax.analysis.readers.text_logs import read_text_log as read_sb3
from ppo_jax.analysis.readers.updates import FORMATS
from ppo_jax.runs.files import meant_run
from ppo_jax.types import PPOJaxError

__all__ = ["RunLog", "check_settings", "legible", "read", "read_run", "read_sb3", "read_sweep", "read_tensorboard"]


def read(path: str | Path, settings: Mapping[str, Any] | None = None) -> RunLog:
    """Read what lies at `path`: a run folder of ppo_jax, a log of another trainer or its folder, ``-`` for a pipe.

    Args:
        path: the file or folder.
        settings: configuration keys that a log lacks.

    Raises:
        PPOJaxError: it is none of these, holds several runs, or is the log of an algorithm other than PPO; or the
            run's configuration has one of the settings.
    """
    path = Path(path)
    if path.is_file() or str(path) == "-":
        if path.name in RUN_FILES:
            return _with_settings(read_run(path.parent), settings)
        return read_tensorboard(path, settings) if path.match(EVENT_FILES) else read_sb3(path, settings)
    if _holds_run(path):
        return _with_settings(read_run(path), settings)
    if (path / "sweep.json").is_file():
        _name_member(path)
    if path.is_dir() and find_text_log(path):
        return read_sb3(path, settings)
    if path.is_dir() and any(path.rglob(EVENT_FILES)):
        return read_tensorboard(path, settings)
    _require_one(path)
    if meant := meant_run(path):
        raise PPOJaxError(legible(f"{path}: no run there{meant}"))
    raise PPOJaxError(f"{path}: no run there, and no log; {FORMATS}")


def _with_settings(log: RunLog, settings: Mapping[str, Any] | None) -> RunLog:
    settings = settings or {}
    if known := [key for key in settings if key in log.settings]:
        raise PPOJaxError(f"--set {known[0]}: the run's config.toml says it; --set is for what a log lacks")
    return dataclasses.replace(log, settings={**log.settings, **settings})


def _name_member(sweep: Path) -> None:
    """Say what takes a sweep whole, and name one of its members, where one has begun."""
    if members := _runs_below(sweep / "members"):
        raise PPOJaxError(
            legible(
                f"{sweep}: a sweep of {len(members)} runs, which `ppo-jax compare` and `ppo-jax report` take whole; "
                f"here give one of them, such as {members[0]}"
            )
        )


def _require_one(folder: Path) -> None:
    """Name the runs that lie side by side in `folder`, where there are some."""
    if logs := _runs_below(folder):
        raise PPOJaxError(legible(f"{folder}: {len(logs)} runs there; give the path of one: {first_few(logs)}"))


def _runs_below(folder: Path) -> list[str]:
    below = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    return [str(one) for one in below if _holds_run(one) or find_text_log(one)]


def _holds_run(path: Path) -> bool:
    return any((path / name).exists() for name in RUN_FILES)
