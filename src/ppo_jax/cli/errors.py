"""What ends a command before its time: one line that says why, and the exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ppo_jax.cli.console import say
from ppo_jax.cli.streams import discard_output
from ppo_jax.config.own_code import describe_raised, original
from ppo_jax.config.user_folders import user_folder
from ppo_jax.types import PPOJaxError

if TYPE_CHECKING:
    from ppo_jax.proving.unfinished import Unfinished

__all__ = ["explain", "goes_on_again", "how_to_go_on"]

JAX_CONFIG = os.path.join("jax", "_src", "config.py")
LONGEST, LONGEST_WORD = 1000, 300  # characters of a message, and of what stands in it without a space
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "bad_alloc", "Cannot allocate memory")


def explain(error: BaseException) -> int:
    """Say in one line what ended a command, and return its exit code.

    Where it is a defect of ours, the line names the file that the traceback was written to. With PPO_JAX_TRACEBACK set
    every error is raised again instead.
    """
    error = original(error)
    if not isinstance(error, Exception | SystemExit | KeyboardInterrupt):
        raise error
    if isinstance(error, SystemExit) and (raised := describe_raised(error)):
        return _fail(raised)
    if isinstance(error, SystemExit):  # tyro's, after --help
        return error.code if isinstance(error.code, int) else 2
    if isinstance(error, KeyboardInterrupt):
        say(f"interrupted{error}")
        return 128 + getattr(error, "signal", 2)  # 130 after Ctrl-C, 143 after SIGTERM
    if isinstance(error, BrokenPipeError):  # the reader of a pipe had enough
        discard_output()
        return 141
    if os.environ.get("PPO_JAX_TRACEBACK"):
        raise error
    if isinstance(error, PPOJaxError):
        return _fail(str(error), getattr(error, "exit_code", 2))
    if raised := describe_raised(error):
        return _fail(raised)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return _fail(f"{os.fsdecode(error.filename)}: {reason}" if error.filename else reason)
    message = str(error)
    if isinstance(error, MemoryError) or any(words in message for words in OUT_OF_MEMORY):
        return _fail(
            "out of memory; lower n_envs, n_steps, batch_size, beam_width or the sizes of the network"
            + (f" ({message})" if message else "")
        )
    if isinstance(error, RuntimeError) and "Unable to initialize backend" in message:
        return _fail(f"JAX finds no such device: {message}; see JAX_PLATFORMS")
    frames = traceback.extract_tb(error.__traceback__)
    if frames and frames[-1].filename.endswith(JAX_CONFIG):
        return _fail(f"JAX: {message}; see the environment variables JAX_…")
    if isinstance(error, RecursionError):
        return _fail("something is nested too deeply to be read; the traceback with PPO_JAX_TRACEBACK=1 shows what")
    return _confess(error)


@contextmanager
def how_to_go_on(folder: Path) -> Iterator[None]:
    """Say on Ctrl-C or SIGTERM how what is in `folder` goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        from ppo_jax.devices import processes
        from ppo_jax.proving.unfinished import left_in
        from ppo_jax.runs import manifest

        if processes.leads() and left_in(folder):
            error.args = (f"; the same command goes on, with --run-dir {folder}",)
        elif processes.leads() and (manifest.holds_run(folder) or (folder / "sweep.json").is_file()):
            error.args = (f"; go on with: ppo-jax resume {folder}",)
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


def _confess(error: BaseException) -> int:
    """A defect of ours, or of a library: what and where, and how it can be reported."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "ppo_jax" in Path(frame.filename).parts] or frames
    where = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    what = f"internal error: {type(error).__name__}: {error}"[: LONGEST // 2]
    folder = user_folder("state")
    try:
        if folder is None:
            raise FileNotFoundError
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / "traceback.txt"
        file.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return _fail(f"{what}{where}; PPO_JAX_TRACEBACK=1 shows the traceback: please report it with that", 70)
    return _fail(f"{what}{where}; please report it with {file}, which has the traceback", 70)


def _fail(message: str, code: int = 2) -> int:
    message = " ".join(map(_shorten, message.split()))
    say(f"error: {message if len(message) <= LONGEST else f'{message[: LONGEST - 1]}…'}")
    return code


def _shorten(word: str) -> str:
    """A path is told whole, and of somebody's megabytes the two ends."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD // 2]}…{word[-LONGEST_WORD // 4 :]}"
