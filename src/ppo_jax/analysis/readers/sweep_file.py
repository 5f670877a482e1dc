"""Reader of ``sweep.json``: what a sweep trains and how it ended, checked before anything relies on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ppo_jax.types import PPOJaxError

__all__ = ["read_sweep"]


class _Program(msgspec.Struct):
    members: int
    devices: Annotated[int, msgspec.Meta(ge=1)]
    chunk: int | None
    width: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET
    side_by_side: bool = True
    compile_seconds: float = 0.0
    error: str | msgspec.UnsetType = msgspec.UNSET


class _Member(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern=r"^[^/\\\0]*[^/\\\0.][^/\\\0]*$")]  # a folder in another, not a way out
    seed: int
    setting: dict[str, Any]
    status: str | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    valid: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    test: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Sweep(msgspec.Struct):
    config: dict[str, dict[str, Any]]
    seeds: Annotated[list[int], msgspec.Meta(min_length=1)]
    grid: dict[str, Annotated[list[Any], msgspec.Meta(min_length=1)]]
    programs: list[_Program]
    members: list[_Member]
    seconds: float
    compiles: int
    status: str


def read_sweep(folder: Path) -> dict[str, Any]:
    """The content of ``sweep.json`` in `folder`: the keys of a sweep are there and of the right types.

    Raises:
        PPOJaxError: there is none, it cannot be read, or it is damaged; says which.
    """
    path = folder / "sweep.json"
    try:
        text = path.read_bytes()
        msgspec.json.decode(text, type=_Sweep)
        record: dict[str, Any] = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise PPOJaxError(f"{folder}: no sweep there (no sweep.json); `ppo-jax sweep` makes one") from None
    except OSError as error:
        raise PPOJaxError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PPOJaxError(
            f"{path}: is damaged: {error}; restore it, or sweep anew in another folder. Each folder in "
            f"{folder / 'members'} is a run of its own"
        ) from None
    return record
