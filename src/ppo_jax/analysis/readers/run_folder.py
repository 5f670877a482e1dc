"""Reads the run folders that ppo_jax writes, those of older versions and of runs that crashed among them."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

from ppo_jax.analysis.readers.run_log import RunLog, check_settings, legible, make_columns
from ppo_jax.config import SECTIONS, from_dict
from ppo_jax.results import look_up
from ppo_jax.types import PPOJaxError

__all__ = ["RUN_FILES", "read_run"]

RUN_FILES = ("metrics.jsonl", "summary.json", "config.toml")  # that a run folder has, as a rule


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
        data = json.loads((folder / "summary.json").read_text(encoding="utf-8", errors="replace"))
        summary = legible(data) if isinstance(data, dict) else {"status": "not a JSON object"}
        if summary.get("status") != "completed":
            notes.append(f"summary.json: the run's status is {summary.get('status')!r}, not 'completed'")
    except OSError:
        notes.append("summary.json: missing; the run ended before it was written")
    except (ValueError, RecursionError):
        notes.append("summary.json: not JSON; left out")
    path = folder.resolve()
    environment = _environment(folder / "environment.json")
    version = look_up(environment, "versions", "ppo-jax")
    sweep = f"{path.parents[1].name}-" if path.parent.name == "members" else ""  # whose members are called s0, s1, …
    return RunLog(
        name=legible(sweep + path.name),
        kind="ppo_jax",
        settings=_settings(folder / "config.toml", notes),
        columns=make_columns(rows),
        evaluations=tuple(_json_lines(folder / "eval.jsonl", notes, required=False)),
        summary=summary,
        queries=tuple(_json_lines(folder / "queries.jsonl", notes, required=False)),
        given=legible(_named(environment.get("given"))),
        code=legible(_named(environment.get("code"))),
        version=legible(version) if isinstance(version, str) else None,
        notes=legible(tuple(notes)),
    )


def _json_lines(path: Path, notes: list[str], required: bool = True) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line; what is no object is left out and said in `notes`."""
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
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(legible(row))
        else:
            cut = number == len(lines)
            notes.append(f"{path.name}:{number}: {'cut off' if cut else 'not a JSON object'}; left out")
    if required and not rows:
        notes.append(f"{path.name}: holds no complete line")
    return rows


def _environment(path: Path) -> dict[str, Any]:
    """What the run was made with; empty where it cannot be read."""
    try:
        environment = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return environment if isinstance(environment, dict) else {}


def _named(parts: Any) -> dict[str, str]:
    """What a run has of the user's own code; what older versions did not say is ``unknown``."""
    named = parts if isinstance(parts, dict) else dict.fromkeys(parts, "unknown") if isinstance(parts, list) else {}
    return {str(name): str(told) for name, told in named.items()}


def _settings(path: Path, notes: list[str]) -> dict[str, Any]:
    """The configuration of a run, flat; defaults are filled in where it is a valid one."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        notes.append("config.toml: missing; rules that need settings are not judged")
        return {}
    except (ValueError, RecursionError) as error:
        notes.append(f"config.toml: not TOML ({error}); rules that need settings are not judged")
        return {}
    # What a valid configuration leaves out is at its default, or off; of an invalid one only what it says is known.
    flat: dict[str, Any] = {}
    try:
        tables = from_dict(tables, place=path.name).to_dict()
        flat = {field.name: None for cls in SECTIONS.values() for field in dataclasses.fields(cls)}
    except PPOJaxError as error:
        notes.append(f"{error}; read as far as it goes")
    for section, values in tables.items():
        for key, value in values.items() if section in SECTIONS and isinstance(values, dict) else ():
            try:
                flat |= check_settings({key: value})
            except PPOJaxError:
                continue
    return flat
