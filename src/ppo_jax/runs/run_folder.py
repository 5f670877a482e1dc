"""The files of a run: its configuration, environment and summary, and what must hold before it goes on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ppo_jax.config import Config, from_dict, load_config
from ppo_jax.config.legible import legible
from ppo_jax.config.schema import TaskConfig
from ppo_jax.proving import datasets
from ppo_jax.runs import checkpoint, files, manifest, trust
from ppo_jax.runs.contents import LINES
from ppo_jax.runs.experiment import Experiment
from ppo_jax.runs.given import given_name, same_name
from ppo_jax.runs.recorder import RESUME
from ppo_jax.types import PPOJaxError

__all__ = [
    "begin",
    "check_alone",
    "check_data",
    "check_files",
    "check_given",
    "check_may_start_again",
    "check_resumable",
    "check_same",
    "check_there",
    "cut_back",
    "holes",
    "other_code",
    "other_versions",
    "read_config",
    "read_environment",
    "write_summary",
]

VERSIONED = ("ppo-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "gymnax", "numpy")


def begin(stage: Path, experiment: Experiment, summary: dict[str, Any], given: Mapping[str, str] | None = None) -> None:
    """Record in `stage` what a new run is, and let it take the place of what the folder around it holds.

    `given` describes what was given from Python and stands in no configuration, by names such as ``"loss"``.
    """
    environment = {
        "versions": {name: _version(name) for name in VERSIONED},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "git_commit": _git_commit(),
        "run_id": uuid.uuid4().hex,  # a resumed run keeps it
        "dataset_sha256": experiment.task.sha256,
        "prior_sha256": experiment.task.prior_sha256,
        "given": dict(given or {}),
        "code": dict(experiment.code),
    }
    with files.explained(stage.parent):
        stage.mkdir(exist_ok=True)  # mined rules may be there
    files.write_atomically(stage / "config.toml", experiment.config.to_toml())
    files.write_atomically(stage / "environment.json", json.dumps(environment, indent=2) + "\n")
    write_summary(stage, summary)
    trust.remember(trust.read_run_id(stage), trust.import_paths(experiment.config).values())
    manifest.commit(stage)


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


def check_there(folder: Path) -> None:
    """Make sure that `folder` holds a run.

    Raises:
        PPOJaxError: no run there; of a sweep it says where its runs are.
    """
    if (folder / "config.toml").is_file():
        return
    if (folder / "sweep.json").is_file():
        raise PPOJaxError(
            f"{folder}: a sweep; name one of the runs in {folder / 'members'}, or take one out: "
            f"ppo-jax sweep extract {folder} NAME --out FOLDER"
        )
    remedy = files.meant_run(folder) or "; `ppo-jax train` makes one"
    raise PPOJaxError(f"{folder}: no run there (no config.toml){remedy}")


def read_config(folder: Path) -> Config:
    """The configuration of the run in `folder`.

    Raises:
        PPOJaxError: no run there.
    """
    check_there(folder)
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
    return files.read_object(folder / "environment.json")


def check_alone(folder: Path) -> None:
    """Make sure that a run is no member of a sweep, whose settings and number of seeds it would no longer have.

    Raises:
        PPOJaxError: it is one.
    """
    members = folder.absolute().parent
    if members.name == "members" and (members.parent / "sweep.json").is_file():
        raise PPOJaxError(
            f"{folder}: a member of a sweep; go on with the sweep, or take it out first: "
            f"ppo-jax sweep extract {folder.parent.parent} {folder.name} --out FOLDER"
        )


def other_code(folder: Path, experiment: Experiment) -> list[str]:
    """A line on each part named by its import path whose code is not what the run in `folder` began with."""
    began = read_environment(folder).get("code") or {}  # older runs have none
    return [
        f"{folder}: its {name} {given_name(now)} is not what it began with: other code"
        for name, now in experiment.code.items()
        if began.get(name, now) != now
    ]


def check_given(folder: Path, given: Mapping[str, str], of: Collection[str], remedy: str) -> list[str]:
    """Make sure that what a run was given from Python is given again: no configuration holds it.

    Args:
        folder: the run.
        given: what is given now, by name: descriptions.
        of: names that matter.
        remedy: what to do, at the end of the line.

    Returns:
        A line on each that has the same name and other code or arguments: code may be mended on purpose.

    Raises:
        PPOJaxError: one of them was given then and is not now, or the other way round, or has another name.
    """
    then = read_environment(folder).get("given")  # of older runs a list of names
    for name in of:
        if isinstance(then, dict | list) and (name in then) != (name in given):
            did = "was" if name in then else "was not"
            raise PPOJaxError(f"{folder}: its {name} {did} given from Python when it began; {remedy}")
    began, changed = then if isinstance(then, dict) else {}, []
    # What a hook holds may change while it runs, and a hook may be mended: that there is one is all that counts.
    for name in (one for one in of if one in began and one in given and one != "hook"):
        told, now = legible(str(began[name])), given[name]
        if not same_name(told, now):
            raise PPOJaxError(f"{folder}: its {name} was {given_name(told)}, not {given_name(now)}; {remedy}")
        if told.removeprefix(given_name(told)) != now.removeprefix(given_name(now)):
            changed.append(f"{folder}: its {name} {given_name(now)} is not what it began with: other code or arguments")
    return changed


def check_data(folder: Path, experiment: Experiment) -> None:
    """Make sure that a run reads the data and the prior that it began with.

    Other data have other constants behind the same numbers, and another prior ranks otherwise.

    Raises:
        PPOJaxError: they are others.
    """
    now = {"dataset_sha256": experiment.task.sha256, "prior_sha256": experiment.task.prior_sha256}
    _check_same_files(folder, experiment.config.task, now)


def check_files(folder: Path, task: TaskConfig) -> None:
    """Make sure of the same, where nothing could be built of what is there.

    Raises:
        PPOJaxError: the data are others, or the prior is not there.
    """
    if task.dataset:
        data = datasets.load(task.dataset, task.rules, task.columns, require_rules=False)
        _check_same_files(folder, task, {"dataset_sha256": data.sha256})
    if task.prior and not Path(task.prior).exists():
        raise PPOJaxError(f"{folder}: its prior {task.prior} is gone; restore the file, another one is refused")


def _check_same_files(folder: Path, task: TaskConfig, sha256: Mapping[str, str | None]) -> None:
    began = read_environment(folder)
    read = {
        "dataset_sha256": (f"data set {task.dataset or task.env_id}", "restore its files"),
        "prior_sha256": (f"prior {task.prior}", "restore the file"),
    }
    for key, now in sha256.items():
        what, remedy = read[key]
        if isinstance(then := began.get(key), str) and then != now:
            raise PPOJaxError(
                f"{folder}: its {what} is another than the run began with: sha256 {then[:16]}… then, "
                f"{str(now)[:16]}… now; {remedy}, or train anew"
            )


def check_may_start_again(folder: Path, problems: list[str]) -> None:
    """Make sure that a run without a checkpoint that can be read never had one, before it starts again over its lines.

    Args:
        folder: of the run.
        problems: a line on each checkpoint that could not be read.

    Raises:
        PPOJaxError: what it measured would be lost.
    """
    resume = folder / RESUME
    if problems:
        why = f"no checkpoint can be read: {problems[0]}" + (f" and {len(problems) - 1} more" if problems[1:] else "")
    elif files.read_summary(folder).get("status") == "completed" or not resume.is_dir():
        why = f"{resume} holds no checkpoint any more"
    else:
        return  # it is there, and empty
    if any((folder / name).exists() for name in LINES):
        raise PPOJaxError(
            f"{folder}: cannot go on: {why}; nothing was changed. Mend the cause and resume; or lose the run and start "
            f"again: ppo-jax train {folder / 'config.toml'} --run-dir {folder} --overwrite"
        )


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
    """Drop what a run wrote after `update`, half lines, and what stands there a second time: lines ascend.

    Later checkpoints go first; they belong to lines that will not be there.
    """
    checkpoint.discard_after(folder / RESUME, update)
    for name in LINES:
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
        if "".join(kept) != text:
            files.write_atomically(folder / name, "".join(kept))


def holes(folder: Path, until: int) -> str:
    """The updates from 1 to `until` that ``metrics.jsonl`` lacks, or has twice, in words; empty where it is whole."""
    found: Counter[int] = Counter()
    with suppress(FileNotFoundError), open(folder / "metrics.jsonl", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):
                found[json.loads(line)["update"]] += 1
    wrong = [update for update in range(1, until + 1) if found[update] != 1]
    if not wrong:
        return ""
    first, last = f"{wrong[0]}", f" to {wrong[-1]}" if wrong[1:] else ""
    return f"metrics.jsonl: of updates {first}{last}, {len(wrong)} are missing or there twice"
