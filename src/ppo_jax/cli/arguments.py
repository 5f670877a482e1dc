"""What commands share: argument types, JSON output. Imports nothing that takes time."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from ppo_jax.cli import tables
from ppo_jax.config import Config, load_config
from ppo_jax.config.suggestions import nearest
from ppo_jax.types import PPOJaxError

__all__ = [
    "Assignments",
    "DataName",
    "Devices",
    "RunFolder",
    "Switch",
    "describe_mistake",
    "experiment_name",
    "explain",
    "flat",
    "how_to_go_on",
    "other_settings",
    "output",
    "print_json",
    "use_caches",
    "warn",
]

Assignments = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]], arg(name="set", metavar="KEY=VALUE …", help_behavior_hint="")
]
RunFolder = Positional[Annotated[Path, arg(metavar="RUN", help_behavior_hint="")]]
DataName = Positional[Annotated[str, arg(metavar="FOLDER_OR_NAME", help_behavior_hint="")]]
Switch = Annotated[bool, arg(help_behavior_hint="")]


@dataclass(frozen=True)
class Devices:
    """Where a run is trained."""

    devices: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Short for --set devices=N: split the environments over N devices, of all processes together."""
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """Several processes train together: where process 0 listens. Within SLURM this and the next two are its own."""
    num_processes: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """How many processes there are; 1 trains alone within SLURM too."""
    process_id: Annotated[int | None, arg(metavar="I", help_behavior_hint="")] = None
    """Which of them this one is, from 0; process 0 alone writes."""

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Within, the processes train together."""
        from ppo_jax.devices import processes

        processes.join(self.coordinator, self.num_processes, self.process_id, explain)
        with processes.together(explain):
            yield

    @property
    def settings(self) -> dict[str, int]:
        """The settings that the options are short for."""
        return {} if self.devices is None else {"devices": self.devices}


def explain(error: BaseException) -> int:
    """Say in one line what ended a command, and return its exit code; raises what no line explains."""
    if isinstance(error, SystemExit):  # tyro's, after --help or a mistake that it explained
        return error.code if isinstance(error.code, int) else 2
    if isinstance(error, KeyboardInterrupt):
        tables.say(f"interrupted{error}")
        return 128 + getattr(error, "signal", 2)  # 130 after Ctrl-C, 143 after SIGTERM
    if isinstance(error, BrokenPipeError):  # the reader of a pipe had enough; Python would complain again while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, PPOJaxError):
        return _fail(str(error), getattr(error, "exit_code", 2))
    if isinstance(error, OSError):
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return _fail(f"out of memory; lower n_envs, n_steps, batch_size or beam_width ({error})")
    raise error


def _fail(message: str, code: int = 2) -> int:
    tables.say(f"error: {' '.join(message.split())}")
    return code


def use_caches() -> None:
    """Keep compiled programs between processes."""
    from ppo_jax.runs import runner

    runner.use_compilation_cache()


def describe_mistake(said: str, arguments: Sequence[str]) -> str:
    """One line from what tyro says of a mistake: what is wrong, the nearest that is right, where to read on.

    It says so in parts divided by rules, in a box or below a title; what is indented far explains options.
    """
    parts: list[list[str]] = [[]]
    for line in re.sub("[│╭╮╰╯]", " ", said).splitlines():
        if line.strip().startswith(("─", "-----")):
            parts.append([])
        elif not line.startswith(" " * 10):
            parts[-1].append(line.strip())
    parts = parts[1:]  # what precedes the first rule is the title
    message = " ".join(" ".join(parts[0]).partition("Got errors:")[0].split()).rstrip(".")
    hints = " ".join(part for lines in parts[1:] for part in lines)
    if elsewhere := re.findall(r"(--[\w-]+) \(applied to (ppo-jax[ \w-]*)\)", message):  # options of other commands
        names, place = ", ".join(name for name, _ in elsewhere), elsewhere[0][1]
        message = f"{names}: options follow the command" if place == "ppo-jax" else f"{place} has no option {names}"
    elif found := re.search(r"Perhaps you meant: (--[\w-]+)", hints):
        message += f"; did you mean {found[1]}?"
    elif found := re.search(r"Available subcommands: (.*?) For full", hints):
        message += f"; {nearest(message.partition(': ')[2].partition(',')[0], found[1].split(', '))}"
    named = arguments and not arguments[0].startswith("-") and "subcommand" not in hints + message.lower()
    command = f" {arguments[0]}" if named else ""
    return f"{message}{'' if message.endswith('?') else ';'} `ppo-jax{command} --help` explains"


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
    tables.say(f"warning: {text}")


@contextmanager
def how_to_go_on(folder: Path) -> Iterator[None]:
    """Say on Ctrl-C or SIGTERM how what is in `folder` goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        from ppo_jax.devices import processes

        if processes.leads():
            error.args = (f"; go on with: ppo-jax resume {folder}",)
        raise


def other_settings(config: Config, folder: Path) -> list[str]:
    """Names of settings in which the run of `folder` differs from `config`, but for devices that it chose by itself."""
    changed = config.differences(load_config(folder / "config.toml"))
    return [key for key in changed if key != "run.devices" or config.run.devices]


def experiment_name(path: Path) -> str:
    """The name of the file, or of the run whose config.toml it is without its seed and time."""
    return re.sub(r"-s\d+-\d{8}-\d{6}$", "", path.resolve().parent.name) if path.name == "config.toml" else path.stem
