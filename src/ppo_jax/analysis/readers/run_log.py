"""One run as it was read from a log, whatever trainer wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np

from ppo_jax.config import SECTIONS
from ppo_jax.config import legible as text
from ppo_jax.config.checks import convert
from ppo_jax.config.suggestions import nearest
from ppo_jax.types import PPOJaxError

__all__ = ["RunLog", "check_settings", "first_few", "legible", "make_columns", "to_number"]


@dataclass(frozen=True)
class RunLog:
    """One run, as far as it could be read."""

    name: str  # of the folder or file; before that of a member, its sweep
    kind: str  # "ppo_jax", "tensorboard", "monitor"; of the text files of another trainer, the trainer
    settings: Mapping[str, Any]  # configuration keys -> values, as far as known; a schedule is a table
    # metric -> [updates] float64, NaN where null; "update" and "env_steps" always. Of evaluations during training
    # "eval/episode_return_mean", "eval/episode_length_mean" and "eval/success_rate".
    columns: Mapping[str, np.ndarray]
    evaluations: tuple[Mapping[str, Any], ...] = ()  # lines of ``eval.jsonl``
    summary: Mapping[str, Any] = field(default_factory=dict)  # ``summary.json``; empty where there is none
    queries: tuple[Mapping[str, Any], ...] = ()  # lines of ``queries.jsonl``
    notes: tuple[str, ...] = ()  # what was missing, cut off, merged or repaired, a line each
    given: Mapping[str, str] = field(default_factory=dict)  # what Python gave beside the configuration, in words
    code: Mapping[str, str] = field(default_factory=dict)  # what import paths lead to, with a digest of the code
    version: str | None = None  # of ppo_jax, that began the run
    # Whose names the log had: "ppo_jax", "sb3", "cleanrl", "baselines" (and SB2) or "rllib". Of a trainer other than
    # ppo_jax, `settings` may also have "rollout_size", the transitions of an update.
    trainer: str = "ppo_jax"

    @property
    def n_updates(self) -> int:
        return len(self.columns["update"])


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


def first_few(names: Sequence[str]) -> str:
    """Names in a line: of many the first three, and how many there are."""
    return ", ".join(names[:3]) + (f", … of {len(names)}" if len(names) > 3 else "")


def legible(value: Any) -> Any:
    """Text, within lists and dicts too, with what no page or terminal should be sent written out: controls and such."""
    if isinstance(value, str):
        return text.legible(value)
    if isinstance(value, dict):
        return {legible(key): legible(one) for key, one in value.items()}
    return type(value)(map(legible, value)) if isinstance(value, list | tuple) else value


def make_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of a `RunLog` from one mapping an update: metric -> [updates] float64, NaN where a row has no number.

    Updates are counted from 1 where no row says which it is.
    """
    names = dict.fromkeys(["update", "env_steps", *(name for row in rows for name in row)])
    columns = {name: np.array([to_number(row.get(name)) for row in rows], float) for name in names}
    if rows and np.isnan(columns["update"]).all():
        columns["update"] = np.arange(1.0, len(rows) + 1)
    return columns


def to_number(value: Any) -> float:
    """A number of a log; NaN where it is missing or something else."""
    try:
        return float("nan") if value is None or value == "" else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
