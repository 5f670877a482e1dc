"""Files of a run, written whole or not at all, and JSON data."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppo_jax.types import PPOJaxError

__all__ = ["as_written", "read_summary", "to_json", "write_atomically"]


def to_json(value: Any) -> Any:
    """Plain JSON data: numpy scalars to numbers, NaN and infinities to null."""
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one move: readers, a crash or a full disk see the old content or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PPOJaxError(f"{path}: cannot be written: {error.strerror}; what was there is unchanged") from None


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
