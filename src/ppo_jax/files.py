"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ppo_jax.types import PPOJaxError

__all__ = ["write_atomically"]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one move: readers, a crash or a full disk see the old content or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PPOJaxError(f"{path}: cannot be written: {error.strerror}; what was there is unchanged") from None
