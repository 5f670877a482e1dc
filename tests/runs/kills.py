"""A process that dies before its k-th file operation, played within this one so that hundreds of deaths are quick.

The commits of a database count as operations. From the k-th operation on none comes to the disk, whatever handlers and
clean-ups still run: what is left is what a killed process leaves. Written to disk by a thread is written at once here,
so that operations have an order.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from ppo_jax.runs import checkpoint

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OPERATIONS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}


class Killed(BaseException):
    """No clean-up stops it, and none has an effect on the disk."""


class Operations:
    """Counts the file operations below a folder; those from the `deadly` one on are refused."""

    def __init__(self, root: Path, deadly: int | None) -> None:
        self.root, self.deadly, self.seen = str(root), deadly, []

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            counts = self._below(path) and bool(flags & WRITES)
        else:
            counts = event in OPERATIONS and (self._below(arguments[0]) or arguments[-1] not in (-1, None))
        if counts:
            self.count(event, arguments[0])

    def count(self, event: str, path: Any = "") -> None:
        if self.deadly is not None and len(self.seen) + 1 >= self.deadly:
            raise Killed(event, path)
        self.seen.append(f"{event} {path}")

    def _below(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)


_watched: Operations | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and (event == "open" or event in OPERATIONS):
        _watched.see(event, arguments)


_installed = False


@contextmanager
def operations(root: Path, deadly: int | None = None) -> Iterator[Operations]:
    """Within, file operations below `root` are counted, and the `deadly` one and those after it refused."""
    global _installed, _watched
    if not _installed:  # there is no way to take it away again; without `_watched` it does nothing
        sys.addaudithook(_hook)
        _installed = True
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        if _watched is not None:
            _watched.count("fsync")
        fsync(descriptor)

    def committed(_: sqlalchemy.Connection) -> None:
        if threading.current_thread() is threading.main_thread():  # others only show that they live
            found.count("commit")

    _watched = found = Operations(root, deadly)
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", committed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted)
        patch.setattr(checkpoint, "ThreadPoolExecutor", AtOnce)
        try:
            yield found
        except Killed:
            pass
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "commit", committed)
            _watched = None
            _release(str(root))


class AtOnce:
    """An executor without a thread."""

    def __init__(self, threads: int) -> None: ...

    def submit(self, function: Callable[..., None], *arguments: Any) -> Future[None]:
        done: Future[None] = Future()
        try:
            done.set_result(function(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done

    def shutdown(self) -> None: ...


def _release(root: str) -> None:
    """Close what a dead process would no longer hold open: its locks."""
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(root):
                os.close(int(descriptor))
        except OSError:
            continue
