"""What a run does to the disk: files and folders replaced whole or not at all, and on disk before what builds on them.

Everything that `runs/` writes is written aside, under a name that a later start recognises, synced, and renamed.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppo_jax.files import aside, explained, sync, write_atomically
from ppo_jax.types import PPOJaxError

__all__ = [
    "as_written",
    "aside",
    "discard",
    "explained",
    "is_left_aside",
    "meant_run",
    "put_in_place",
    "read_object",
    "read_summary",
    "remove",
    "sync",
    "sync_tree",
    "to_json",
    "whole",
    "write_atomically",
]

_LEFT = re.compile(r"\.(?P<name>.+?)\.(\d+\.new|\d+|old)")  # `.name.PID` is that of earlier versions


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
    return str(value) if isinstance(value, Path) else value


def meant_run(folder: Path) -> str:
    """A question, to end an error with, where `folder` is meant as a run: a part of one, or a member of a sweep.

    Empty where no run is near.
    """
    member = folder.parent / "members" / folder.name
    if (folder.parent / "sweep.json").is_file() and (member / "config.toml").is_file():
        return f"; did you mean {member}"
    whole = next((parent for parent in folder.parents[:2] if (parent / "config.toml").is_file()), None)
    return f"; did you mean {whole}" if whole else ""


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where there is none, or half of one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


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
    return read_object(folder / "summary.json")


def is_left_aside(path: Path, of: str) -> bool:
    """Whether `path` was written aside for a name that matches the pattern `of`, and is now of no use to anyone."""
    left = _LEFT.fullmatch(path.name)
    return left is not None and re.fullmatch(of, left["name"]) is not None


def put_in_place(new: Path, folder: Path) -> None:
    """Rename the folder `new` to `folder`; where that exists it is set aside before and removed after.

    A kill between the two moves leaves both, and `whole` finds the old one.
    """
    old = _old(folder)
    if folder.exists():
        remove(old)
        os.rename(folder, old)
    os.rename(new, folder)
    sync(folder.parent)
    remove(old)


def whole(folder: Path) -> Path:
    """Where the content of `folder` is, also in the middle of `put_in_place`."""
    return folder if folder.exists() or not _old(folder).exists() else _old(folder)


def discard(folder: Path) -> None:
    """Remove a folder that readers must not see by half."""
    old = _old(folder)
    remove(old)
    os.rename(folder, old)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file, or a folder with what is in it; a link alone and not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Have a folder on disk, with all that is in it."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
