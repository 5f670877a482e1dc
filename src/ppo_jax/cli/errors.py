"""What ends a command before its time: one line that says why, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppo_jax.cli.console import say
from ppo_jax.types import PPOJaxError

__all__ = ["explain", "how_to_go_on"]


def explain(error: BaseException) -> int:
    """Say in one line what ended a command, and return its exit code; raises what no line explains."""
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
        from ppo_jax.runs import manifest

        if processes.leads() and (manifest.holds_run(folder) or (folder / "sweep.json").is_file()):
            error.args = (f"; go on with: ppo-jax resume {folder}",)
        raise


def _fail(message: str, code: int = 2) -> int:
    say(f"error: {' '.join(message.split())}")
    return code
