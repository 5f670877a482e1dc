"""The folder of a run: claimed without losing what is there, its configuration, environment and summary."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ppo_jax import metrics
from ppo_jax.experiment import Experiment
from ppo_jax.types import PPOJaxError

__all__ = ["check_folder", "holds_run", "make_folder", "prepare", "write_summary"]

VERSIONED = ("ppo-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "gymnax", "numpy")


def holds_run(folder: Path) -> bool:
    """Whether a run, complete or not, was written to `folder`."""
    return (folder / "summary.json").is_file()


def check_folder(folder: Path, overwrite: bool) -> None:
    """Make sure that writing a run to `folder` loses nothing; creates nothing yet."""
    if holds_run(folder):
        if not overwrite:
            raise PPOJaxError(f"{folder}: already holds a run; choose another --run-dir, or --overwrite to replace it")
    elif folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise PPOJaxError(f"{folder}: is in use by something else than a run; choose another --run-dir")


def make_folder(folder: Path) -> None:
    """Create a run's folder where it is missing; `PPOJaxError` where that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PPOJaxError(f"{folder}: cannot be written: {error.strerror}; choose another --run-dir") from None


def prepare(folder: Path, experiment: Experiment) -> None:
    """Clear what an earlier run left, and record what this one is."""
    for name in ("metrics.jsonl", "eval.jsonl", "timing.jsonl", "queries.jsonl"):
        (folder / name).unlink(missing_ok=True)
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    metrics.write_atomically(folder / "config.toml", experiment.config.to_toml())
    environment = {
        "versions": {name: _version(name) for name in VERSIONED},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "git_commit": _git_commit(),
        "dataset_sha256": getattr(experiment.dataset, "sha256", None),
    }
    metrics.write_atomically(folder / "environment.json", json.dumps(environment, indent=2) + "\n")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Replace ``summary.json`` in one move; NaN becomes null."""
    metrics.write_atomically(folder / "summary.json", json.dumps(metrics.to_json(summary), indent=2) + "\n")
