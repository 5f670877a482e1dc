"""Files of a run, written whole or not at all, and JSON data."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ppo_jax.types import PPOJaxError

__all__ = ["read_summary", "to_json", "write_atomically"]


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


def read_summary(folder: Path) -> dict[str, Any]:
    """The ``summary.json`` of a run; empty where there is none, or half of one."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}
