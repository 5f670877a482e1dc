"""One writer a folder: a lock that the system releases when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppo_jax.runs import files
from ppo_jax.types import PPOJaxError

__all__ = ["LOCK", "InUse", "one_writer"]

LOCK = ".lock"  # in the folder while it is written to; what a killed process leaves of it locks nothing
LEASE = ".lease"  # takes its place where the file system has no locks
HEARTBEAT = 60.0  # seconds between the signs of life of a lease
SILENT = 10 * HEARTBEAT  # a lease of another host without a sign of life for so long has no holder
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class InUse(PPOJaxError):
    """Another process writes to the folder."""


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Within, this process alone writes to `folder`, which exists.

    Raises:
        InUse: another one does; says which, where and since when.
        PPOJaxError: the folder cannot be written.
    """
    with files.explained(folder):
        try:
            held = _locked(folder)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            held = None
        stop = threading.Event()
        if held is None:
            _lease(folder)
            threading.Thread(target=_live, args=(folder / LEASE, stop), daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        with suppress(OSError):  # the folder may be gone
            os.unlink(folder / (LEASE if held is None else LOCK))
        if held is not None:
            os.close(held)


def _locked(folder: Path) -> int:
    """The descriptor of the lock file, locked."""
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(path)
        except FileNotFoundError:  # its holder removed it between the two
            os.close(descriptor)
            continue
        except OSError as error:
            holder = os.pread(descriptor, 1000, 0)
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise _in_use(folder, _read(holder)) from None
            raise
        if os.path.samestat(os.fstat(descriptor), there):
            with suppress(OSError):  # a full disk: the lock holds, it only does not say whose it is
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _this_process(), 0)
            return descriptor
        os.close(descriptor)


def _lease(folder: Path) -> None:
    """Make the lease of this process, in place of one whose holder is dead."""
    path = folder / LEASE
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if _holds(path):
                raise _in_use(folder, files.read_object(path)) from None
            stale = files.aside(path)
            with suppress(FileNotFoundError):  # somebody else was quicker
                os.rename(path, stale)
                os.unlink(stale)
        else:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_this_process())
            return


def _holds(lease: Path) -> bool:
    """Whether the process that made a lease lives, as far as can be seen from here."""
    holder = files.read_object(lease)
    with suppress(OSError):
        if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
            return time.time() - lease.stat().st_mtime < SILENT
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    return False


def _live(lease: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(lease)


def _this_process() -> bytes:
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since}).encode()


def _read(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}  # it has the lock and has not said so yet
    return found if isinstance(found, dict) else {}


def _in_use(folder: Path, holder: dict[str, Any]) -> InUse:
    who = f"process {holder['pid']} on {holder.get('host')}" if "pid" in holder else "another process"
    since = f" since {holder['since']}" if "since" in holder else ""
    return InUse(f"{folder}: {who} has been writing to it{since}; wait for its end or choose another folder")
