"""What commands share: argument types, JSON output. Imports nothing that takes time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from ppo_jax import present

__all__ = [
    "Assignments",
    "DataName",
    "RunFolder",
    "Switch",
    "experiment_name",
    "flat",
    "how_to_go_on",
    "output",
    "print_json",
    "warn",
]

Assignments = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]], arg(name="set", metavar="KEY=VALUE …", help_behavior_hint="")
]
RunFolder = Positional[Annotated[Path, arg(metavar="RUN", help_behavior_hint="")]]
DataName = Positional[Annotated[str, arg(metavar="FOLDER_OR_NAME", help_behavior_hint="")]]
Switch = Annotated[bool, arg(help_behavior_hint="")]


def flat(assignments: tuple[tuple[str, ...], ...]) -> list[str]:
    """The assignments of every --set in one list."""
    return [text for group in assignments for text in group]


def output(value: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print JSON data as it is, or show it."""
    if as_json:
        print_json(value)
    else:
        show(value)


def print_json(value: Any) -> None:
    """Print JSON that others can parse: no NaN."""
    print(json.dumps(value, indent=2, allow_nan=False))


def warn(text: str) -> None:
    """A warning on stderr."""
    present.say(f"warning: {text}")


@contextmanager
def how_to_go_on(folder: Path) -> Iterator[None]:
    """Say on Ctrl-C or SIGTERM how what is in `folder` goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = (f"; go on with: ppo-jax resume {folder}",)
        raise


def experiment_name(path: Path) -> str:
    """The name of the file, or of the run whose config.toml it is without its seed and time."""
    return re.sub(r"-s\d+-\d{8}-\d{6}$", "", path.resolve().parent.name) if path.name == "config.toml" else path.stem
