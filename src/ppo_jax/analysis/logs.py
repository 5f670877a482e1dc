"""What the analyst reads: run folders of ppo_jax, and the logs of Stable-Baselines3 and CleanRL.

A crashed or truncated run is read as far as it goes; what was missing is said in `RunLog.notes`.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from ppo_jax.config import SECTIONS, from_dict
from ppo_jax.config.checks import convert
from ppo_jax.config.suggestions import nearest
from ppo_jax.config.toml import parse_assignment
from ppo_jax.types import PPOJaxError

__all__ = ["RunLog", "check_settings", "legible", "read", "read_run", "read_sb3", "read_tensorboard"]

EVENTS = "*tfevents*"
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
HYPERPARAMETERS = "hyperparameters/text_summary"  # of CleanRL
# Names of other loggers -> ours. A leading "-" flips the sign.
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


@dataclass(frozen=True)
class RunLog:
    """One run, as far as it could be read."""

    name: str  # of the folder or file; before that of a member, its sweep
    kind: str  # "ppo_jax", "sb3" or "tensorboard"
    settings: Mapping[str, Any]  # configuration keys -> values, as far as known; a schedule is a table
    columns: Mapping[str, np.ndarray]  # metric -> [updates] float64, NaN where null; "update" and "env_steps" always
    evaluations: tuple[Mapping[str, Any], ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    queries: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()  # what was missing or cut off, a line each

    @property
    def n_updates(self) -> int:
        return len(self.columns["update"])


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


def read(path: str | Path) -> RunLog:
    """Read what lies at `path`: a run folder of ppo_jax, a progress.csv or its folder, a folder of TensorBoard files.

    Raises:
        PPOJaxError: it is none of these.
    """
    path = Path(path)
    if path.suffix == ".csv" or (path / "progress.csv").exists():
        return read_sb3(path)
    ours = any((path / name).exists() for name in ("metrics.jsonl", "summary.json", "config.toml"))
    return read_tensorboard(path) if not ours and path.is_dir() and any(path.rglob(EVENTS)) else read_run(path)


def legible(value: Any) -> Any:
    """Text, within lists and dicts too, without what no page or terminal should be sent: controls, lone surrogates."""
    if isinstance(value, str):
        return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {legible(key): legible(one) for key, one in value.items()}
    return type(value)(map(legible, value)) if isinstance(value, list | tuple) else value


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings given for a log that lacks them: keys and values of the configuration.

    Raises:
        PPOJaxError: an unknown key (names the nearest), or a value of the wrong type or range.
    """
    kinds = {key: kind for cls in SECTIONS.values() for key, kind in get_type_hints(cls, include_extras=True).items()}
    for key, value in settings.items():
        if key not in kinds:
            raise PPOJaxError(f"--set {key}: unknown key; {nearest(key, kinds)}")
        convert(value, kinds[key], f"--set {key}")
    return dict(settings)


def read_run(folder: str | Path) -> RunLog:
    """Read a run folder of ppo_jax.

    Raises:
        PPOJaxError: the folder holds neither metrics nor a summary.
    """
    folder = Path(folder)
    if not (folder / "metrics.jsonl").exists() and not (folder / "summary.json").exists():
        raise PPOJaxError(f"{folder}: no run there (neither metrics.jsonl nor summary.json)")
    notes: list[str] = []
    rows = _json_lines(folder / "metrics.jsonl", notes)
    summary: dict[str, Any] = {}
    try:
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8", errors="replace"))
        summary = legible(found) if isinstance(found, dict) else {"status": "not a JSON object"}
        if summary.get("status") != "completed":
            notes.append(f"summary.json: the run's status is {summary.get('status')!r}, not 'completed'")
    except OSError:
        notes.append("summary.json: missing; the run ended before it was written")
    except ValueError:
        notes.append("summary.json: not JSON; left out")
    path = folder.resolve()
    sweep = f"{path.parents[1].name}-" if path.parent.name == "members" else ""  # whose members are called s0, s1, …
    return RunLog(
        name=legible(sweep + path.name),
        kind="ppo_jax",
        settings=_settings(folder / "config.toml", notes),
        columns=_columns(rows),
        evaluations=tuple(_json_lines(folder / "eval.jsonl", notes, required=False)),
        summary=summary,
        queries=tuple(_json_lines(folder / "queries.jsonl", notes, required=False)),
        notes=legible(tuple(notes)),
    )


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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PPOJaxError(f"{path}: {error.strerror}; give the progress.csv of SB3's CSV logger") from None
    notes: list[str] = []
    table = list(csv.DictReader(text.splitlines()))
    rows = []
    for number, line in enumerate(table, start=2):
        row = {name: _number(line.get(column)) for column, name in SB3_NAMES.items() if line.get(column)}
        if None in line.values():
            notes.append(f"{path.name}:{number}: cut off; read as far as it goes")
        if any(column.startswith("train/") and line.get(column) for column in line):
            rows.append(row)
    if not rows:
        raise PPOJaxError(f"{path}: no line with train/* columns; is it the progress.csv of SB3's PPO?")
    return _foreign(path.parent.name if path.name == "progress.csv" else path.stem, "sb3", rows, settings or {}, notes)


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
    if not any(folder.rglob(EVENTS)):
        raise PPOJaxError(f"{folder}: no TensorBoard event file there")
    series: dict[str, list[tuple[int, float]]] = {}
    known: dict[str, Any] = {}
    ours = set(SB3_NAMES.values())
    for directory in sorted({file.parent for file in folder.rglob(EVENTS)}):
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
    return _foreign(folder.resolve().name, "tensorboard", rows, known | dict(settings or {}), [])


def _cleanrl_settings(table: str) -> dict[str, Any]:
    """Our settings from CleanRL's table ``|param|value|``; what does not fit is left out."""
    cells = (line.strip().strip("|").split("|") for line in table.splitlines())
    given = {row[0].strip(): row[1].strip() for row in cells if len(row) == 2}
    found: dict[str, Any] = {}
    for theirs, key in CLEANRL_SETTINGS.items():
        if theirs in given:
            _, value = parse_assignment(f"{key} = {given[theirs].replace('True', 'true').replace('False', 'false')}")
            with contextlib.suppress(PPOJaxError):
                found |= check_settings({key: value})
    rollout, minibatches = found.get("n_envs", 0) * found.get("n_steps", 0), given.get("num_minibatches", "")
    if rollout and minibatches.isdigit() and int(minibatches):
        found["batch_size"] = rollout // int(minibatches)
    return found


def _foreign(
    name: str, kind: str, rows: list[dict[str, float]], settings: Mapping[str, Any], notes: list[str]
) -> RunLog:
    """A log of another trainer in our names and signs, and the settings that can be read off it."""
    columns = _columns([{"update": i + 1} | row for i, row in enumerate(rows)])
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


def _json_lines(path: Path, notes: list[str], required: bool = True) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        if required:
            notes.append(f"{path.name}: missing")
        return rows
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(legible(row))
        else:
            cut = number == len(lines)
            notes.append(f"{path.name}:{number}: {'cut off' if cut else 'not a JSON object'}; left out")
    if required and not rows:
        notes.append(f"{path.name}: holds no complete line")
    return rows


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(["update", "env_steps", *(name for row in rows for name in row)])
    columns = {name: np.array([_number(row.get(name)) for row in rows], float) for name in names}
    if rows and np.isnan(columns["update"]).all():
        columns["update"] = np.arange(1.0, len(rows) + 1)
    return columns


def _number(value: Any) -> float:
    try:
        return float("nan") if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return float("nan")


def _settings(path: Path, notes: list[str]) -> dict[str, Any]:
    """The configuration of a run, flat; defaults are filled in where it is a valid one."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        notes.append("config.toml: missing; rules that need settings are not judged")
        return {}
    except ValueError as error:
        notes.append(f"config.toml: not TOML ({error}); rules that need settings are not judged")
        return {}
    # What a valid configuration leaves out is at its default, or off; of an invalid one only what it says is known.
    flat: dict[str, Any] = {}
    try:
        tables = from_dict(tables, place=str(path)).to_dict()
        flat = {field.name: None for cls in SECTIONS.values() for field in dataclasses.fields(cls)}
    except PPOJaxError as error:
        notes.append(f"config.toml: {error}; read as far as it goes")
    for section, values in tables.items():
        for key, value in values.items() if section in SECTIONS and isinstance(values, dict) else ():
            try:
                flat |= check_settings({key: value})
            except PPOJaxError:
                continue
    return flat
