"""What ends a command before its time: one line that says why, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ppo_jax.cli.console import say
from ppo_jax.config.own_code import describe_raised
from ppo_jax.types import PPOJaxError

if TYPE_CHECKING:
    from ppo_jax.proving.unfinished import Unfinished

__all__ = ["explain", "goes_on_again", "how_to_go_on"]


def explain(error: BaseException) -> int:
    """Say in one line what ended a command, and return its exit code; raises what no line explains."""
    if isinstance(error, SystemExit) and (raised := describe_raised(error)):
        return _fail(raised)
    if isinstance(error, SystemExit):  # tyro's, after --help or a mistake that it explained
        return error.code if isinstance(error.code, int) else 2
    if isinstance(error, KeyboardInterrupt):
        say(f"interrupted{error}")
        return 128 + getattr(error, "signal", 2)  # 130 after Ctrl-C, 143 after SIGTERM
    if isinstance(error, BrokenPipeError):  # the reader of a pipe had enough; Python would complain again while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, PPOJaxError):
        return _fail(str(error), getattr(error, "exit_code", 2))
    if raised := describe_raised(error):
        return _fail(raised)
    if isinstance(error, OSError):
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return _fail(f"out of memory; lower n_envs, n_steps, batch_size or beam_width ({error})")
    raise error


@contextmanager
def how_to_go_on(folder: Path) -> Iterator[None]:
    """Say on Ctrl-C or SIGTERM how what is in `folder` goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        from ppo_jax.devices import processes
        from ppo_jax.proving.unfinished import left_in

        if processes.leads():
            again = f"the same command goes on, with --run-dir {folder}"
            error.args = (f"; {again if left_in(folder) else f'go on with: ppo-jax resume {folder}'}",)
        raise


@contextmanager
def goes_on_again(unfinished: Unfinished | None) -> Iterator[None]:
    """Say on Ctrl-C or SIGTERM that the same command goes on, where something is kept for that."""
    try:
        yield
    except KeyboardInterrupt as error:
        if unfinished and unfinished.path.is_file():
            error.args = (f"; the same command goes on from {unfinished.path}",)
        raise


def _fail(message: str, code: int = 2) -> int:
    say(f"error: {' '.join(message.split())}")
    return code
