"""Files of a run and JSON data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppo_jax.files import write_atomically
from ppo_jax.types import PPOJaxError

__all__ = ["as_written", "read_summary", "to_json", "write_atomically"]


def to_json(value: Any) -> Any:
    """Plain JSON data: numpy scalars to numbers, paths to strings, NaN and infinities to null."""
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def as_written(place: object) -> Iterator[None]:
    """Within, data of the file `place` are used as ppo_jax writes them.

    Raises:
        PPOJaxError: they are built otherwise; names the file and what was not found in it.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise PPOJaxError(f"{place}: damaged, or not written by ppo_jax: {what}") from error


def read_summary(folder: Path) -> dict[str, Any]:
    """The ``summary.json`` of a run; empty where there is none, or half of one."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}
