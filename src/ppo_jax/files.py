"""Files that are written whole or not at all: aside, synced, and renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppo_jax.types import PPOJaxError

__all__ = ["UNFINISHED", "aside", "explained", "sync", "write_atomically"]

UNFINISHED = ".unfinished"  # behind the name of an output: what is done of it, to go on with


@contextmanager
def explained(path: Path, rest: str = "") -> Iterator[None]:
    """Within, what the system refuses becomes a `PPOJaxError` that names `path`, the reason, and then says `rest`."""
    try:
        yield
    except OSError as error:
        raise PPOJaxError(f"{path}: cannot be written: {error.strerror or error}{rest}") from None


def aside(path: Path) -> Path:
    """Where this process writes what will take the place of `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one move: readers, a crash or a full disk see the old content or the new, never half."""
    new = aside(path)
    with explained(path, "; what was there is unchanged"):
        try:
            with open(new, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        sync(path.parent)


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, on disk."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            if not path.is_dir():  # some file systems cannot sync folders
                raise
        finally:
            os.close(descriptor)
