"""The folder of a run: claimed without losing what is there, its configuration, environment and summary."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import uuid
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ppo_jax.config import Config, from_dict, load_config
from ppo_jax.proving.unfinished import left_in
from ppo_jax.runs import files, trust
from ppo_jax.runs.experiment import Experiment
from ppo_jax.types import PPOJaxError

__all__ = [
    "check_folder",
    "check_resumable",
    "check_same",
    "cut_back",
    "holds_run",
    "make_folder",
    "other_versions",
    "prepare",
    "read_config",
    "read_environment",
    "write_summary",
]

VERSIONED = ("ppo-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "gymnax", "numpy")


def holds_run(folder: Path) -> bool:
    """Whether a run, complete or not, was written to `folder`."""
    return (folder / "summary.json").is_file()


def check_folder(folder: Path, overwrite: bool) -> None:
    """Make sure that writing a run to `folder` loses nothing; creates nothing yet."""
    if holds_run(folder):
        if not overwrite:
            raise PPOJaxError(f"{folder}: already holds a run; choose another --run-dir, or --overwrite to replace it")
    elif folder.exists() and not (folder.is_dir() and (next(folder.iterdir(), None) is None or left_in(folder))):
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
    files.write_atomically(folder / "config.toml", experiment.config.to_toml())
    environment = {
        "versions": {name: _version(name) for name in VERSIONED},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "git_commit": _git_commit(),
        "run_id": uuid.uuid4().hex,  # a resumed run keeps it
        "dataset_sha256": experiment.task.sha256,
    }
    files.write_atomically(folder / "environment.json", json.dumps(environment, indent=2) + "\n")
    trust.remember(trust.read_run_id(folder), trust.import_paths(experiment.config))


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
    files.write_atomically(folder / "summary.json", json.dumps(files.to_json(summary), indent=2) + "\n")


def read_config(folder: Path) -> Config:
    """The configuration of the run in `folder`.

    Raises:
        PPOJaxError: no run there.
    """
    if not (folder / "config.toml").is_file():
        raise PPOJaxError(f"{folder}: no run there (no config.toml); `ppo-jax train` makes one")
    config = load_config(folder / "config.toml")
    # A run that does not say what it did with its folder is of a version that could only verify.
    return config.override({"mode": "verify"}) if config.task.dataset and config.task.mode is None else config


def check_resumable(recorded: Config, wanted: Config) -> None:
    """Make sure that a run can go on with `wanted`: its length and the settings of ``[run]`` may differ."""
    differing = [key for key in recorded.differences(wanted) if key != "ppo.total_timesteps"]
    if differing := [key for key in differing if not key.startswith("run.") or key == "run.seed"]:
        raise PPOJaxError(f"resume: {', '.join(differing)} cannot change in the middle of a run; train a new one")
    if wanted.settings.n_updates < recorded.settings.n_updates:
        raise PPOJaxError(
            f"resume: total_timesteps = {wanted.ppo.total_timesteps} is less than the run's "
            f"{recorded.ppo.total_timesteps}; a run can only be made longer"
        )


def check_same(folder: Path, checkpoint: dict[str, Any], recorded: Config) -> None:
    """Make sure that a checkpoint belongs to the configuration beside it, which may ask for more steps."""
    made_with = from_dict(checkpoint, place=f"{folder}: its checkpoint")
    differing = [key for key in made_with.differences(recorded) if not key.startswith("run.") or key == "run.seed"]
    if made_with.settings.n_updates <= recorded.settings.n_updates:
        differing = [key for key in differing if key != "ppo.total_timesteps"]
    if differing:
        raise PPOJaxError(
            f"{folder}: its checkpoint was made with another {', '.join(differing)}; restore config.toml as it was"
        )


def read_environment(folder: Path) -> dict[str, Any]:
    """The ``environment.json`` of a run; empty where there is none, or half of one."""
    try:
        found = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def other_versions(folder: Path) -> list[str]:
    """A line if libraries have other versions than when the run began."""
    recorded = read_environment(folder).get("versions")
    if not isinstance(recorded, dict):
        return [f"{folder}: no record of the library versions it began with"]
    changed = [
        f"{name} {recorded.get(name)} → {_version(name)}" for name in VERSIONED if recorded.get(name) != _version(name)
    ]
    return (
        [f"other library versions than the run began with: {', '.join(changed)}; numbers may differ"] if changed else []
    )


def cut_back(folder: Path, update: int) -> None:
    """Drop what a run wrote after `update`, half lines, and what stands there a second time: lines ascend."""
    for name in ("metrics.jsonl", "eval.jsonl", "timing.jsonl"):
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        kept, latest = [], 0
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # half a line, or something else
                if latest < (at := json.loads(line)["update"]) <= update:
                    kept.append(line + "\n")
                    latest = at
        files.write_atomically(folder / name, "".join(kept))
