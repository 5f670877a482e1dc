"""The command line ``ppo-jax``: its commands, and what runs one.

Each command is a data class: its fields are the arguments, the docstrings below them the help. Modules that import
JAX are imported where a command needs them, so help and mistakes answer at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, Union

import tyro

import ppo_jax
from ppo_jax.cli.analyse import Compare, Diagnose, Report, Validate
from ppo_jax.cli.answers import Ask, Scores
from ppo_jax.cli.bench import Bench
from ppo_jax.cli.console import say
from ppo_jax.cli.data import Data, Envs, Keys
from ppo_jax.cli.embed import Embed
from ppo_jax.cli.errors import explain
from ppo_jax.cli.init import Init
from ppo_jax.cli.parsing import parse
from ppo_jax.cli.policies import Evaluate, Export, Play, Prove
from ppo_jax.cli.rules import Mine
from ppo_jax.cli.streams import discard_output, prepare_streams
from ppo_jax.cli.sweep import Extract, Sweep, Tune
from ppo_jax.cli.train import Resume, Train
from ppo_jax.config.suggestions import nearest
from ppo_jax.types import PPOJaxError

__all__ = ["main"]


class Command(Protocol):
    """The arguments of a command, and what it does with them."""

    def run(self) -> int:
        """Do it; returns the exit code."""


COMMANDS: dict[str, type[Command]] = {
    "init": Init,
    "train": Train,
    "resume": Resume,
    "sweep": Sweep,
    "sweep extract": Extract,
    "tune": Tune,
    "eval": Evaluate,
    "prove": Prove,
    "ask": Ask,
    "scores": Scores,
    "play": Play,
    "export": Export,
    "diagnose": Diagnose,
    "validate": Validate,
    "compare": Compare,
    "report": Report,
    "bench": Bench,
    "envs": Envs,
    "data": Data,
    "rules mine": Mine,
    "embed": Embed,
    "config": Keys,
}

# What other libraries call a command.
OTHER_COMMANDS = {
    **dict.fromkeys(("learn", "fit", "run"), "train"),
    **dict.fromkeys(("test", "evaluate"), "eval"),
    **dict.fromkeys(("enjoy", "watch", "render", "predict"), "play"),
    **dict.fromkeys(("optimize", "optuna", "search"), "tune"),
    **dict.fromkeys(("continue", "restart"), "resume"),
    **dict.fromkeys(("plot", "plots"), "report"),
    **dict.fromkeys(("settings", "options"), "config"),
}

DESCRIPTION = """PPO in JAX: train a policy in one XLA program, on knowledge-graph proofs or on any gymnax environment.

Begin with `ppo-jax train cartpole`; `ppo-jax <command> --help` explains a command, `ppo-jax --version` says which
ppo_jax this is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; `arguments` are those after ``ppo-jax``, by default the process's own.

    Returns:
        The exit code: 0; 1 where a query was not proved, a diagnosis found errors, a validation failed or
        another process of the run was lost; 2 after a mistake of the user's; 70 after one of ours; 130 after Ctrl-C,
        141 where the reader of a pipe had enough, 143 after SIGTERM.
    """
    if arguments is None:
        prepare_streams()
        atexit.register(gc.freeze)  # Python would look through all that JAX made for cycles: 0.3 s of 8 on Countries S3
    try:
        _stand_here()
        words = list(sys.argv[1:] if arguments is None else arguments)
        code = _say_version() if words == ["--version"] else _command(words).run()
    except BaseException as error:
        code = explain(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or explain(error)
        discard_output()
    return code


def _say_version() -> int:
    say(f"ppo-jax {ppo_jax.__version__}", sys.stdout)
    return 0


def _stand_here() -> None:
    """Let import paths in a configuration begin where the user stands."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise PPOJaxError("the working directory is gone; change to one that is there") from None
    if here not in sys.path:
        sys.path.append(here)


def _command(arguments: list[str]) -> Command:
    """The command that the arguments name.

    Raises:
        PPOJaxError: there is no such command (names the nearest), or its arguments do not fit.
        SystemExit: help was printed.
    """
    for n_words in (2, 1):  # `sweep extract` before `sweep`
        name = " ".join(arguments[:n_words])
        if name in COMMANDS:
            command: Command = parse(COMMANDS[name], arguments[n_words:], f"ppo-jax {name}")
            return command
    first = arguments[0] if arguments else ""
    if first.startswith("-") and first not in ("-h", "--help") and not first.startswith("--tyro-"):
        raise PPOJaxError(f"{first} stands where a command should; see `ppo-jax --help`")
    if not first.startswith("-"):
        what = f"no command {first!r}" if first else "no command given"
        if meant := OTHER_COMMANDS.get(first):
            raise PPOJaxError(f"{what}; did you mean {meant}? see `ppo-jax --help`")
        raise PPOJaxError(f"{what}; {nearest(first, COMMANDS, 'see `ppo-jax --help`')}")
    every: Any = Union[tuple(Annotated[cls, tyro.conf.subcommand(name)] for name, cls in COMMANDS.items())]  # noqa: UP007
    return parse(every, arguments, "ppo-jax", DESCRIPTION)
