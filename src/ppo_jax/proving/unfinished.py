"""Steps that take minutes keep what is done in a file beside their output, so that the same command goes on there.

The file is bound to what the step is made of: data, settings and versions. With others it is set aside, and the step
begins anew. It is removed once the output is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.files import UNFINISHED, write_atomically
from ppo_jax.proving.knowledge_base import KnowledgeBase
from ppo_jax.types import PPOJaxError

__all__ = ["Stages", "Unfinished", "digest", "left_in"]

EVERY = 10.0  # seconds from one state that is kept to the next
VERSIONED = ("ppo-jax", "jax", "numpy", "optax", "scipy")


class Unfinished:
    """What is done of a step, as arrays by name."""

    def __init__(self, output: Path, made_of: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """`made_of`, plain data, is all that the output depends on; `say` receives a line about a state that is found.

        Raises:
            PPOJaxError: a state that is there can neither be read nor set aside.
        """
        self.path = output.with_name(output.name + UNFINISHED)
        self._made_of = json.dumps({**made_of, **{name: metadata.version(name) for name in VERSIONED}}, sort_keys=True)
        self._kept_at = time.monotonic()
        self._found = self._read(say)

    @property
    def due(self) -> bool:
        """Whether it is time to keep the state."""
        return time.monotonic() - self._kept_at >= EVERY

    def found(self) -> dict[str, np.ndarray]:
        """What an interrupted step left, empty where it begins anew; no longer held here."""
        found, self._found = self._found, {}
        return found

    def keep(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace what is kept.

        Raises:
            PPOJaxError: the file cannot be written.
        """
        content, named = io.BytesIO(), {"made_of": np.array(self._made_of), **arrays}
        np.savez(content, **named)  # type: ignore[arg-type]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, content.getvalue())
        self._kept_at = time.monotonic()

    def remove(self) -> None:
        """The output is written: nothing is left to go on with."""
        self.path.unlink(missing_ok=True)

    def _read(self, say: Callable[[str], None]) -> dict[str, np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = dict(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return self._set_aside("cannot be read", say)
        if str(arrays.pop("made_of", None)) != self._made_of:
            return self._set_aside("is of other data, settings or versions", say)
        say(f"going on from {self.path}")
        return arrays

    def _set_aside(self, why: str, say: Callable[[str], None]) -> dict[str, np.ndarray]:
        aside = self.path.with_name(f"{self.path.name}.old")
        try:
            self.path.replace(aside)
        except OSError as error:
            raise PPOJaxError(f"{self.path} {why} and cannot be set aside: {error.strerror}; remove it") from None
        say(f"{self.path} {why}: set aside as {aside.name}, beginning anew")
        return {}


class Stages:
    """Runs the stages of a step part by part; parts that an interrupted step did are not done again."""

    def __init__(self, progress: Callable[[str, int, int], None], unfinished: Unfinished | None) -> None:
        """`progress` is called before each part with the stage, how far it is and of how much."""
        self.progress, self._unfinished = progress, unfinished
        self._kept = unfinished.found() if unfinished else {}

    def run(
        self, stage: str, n: int, width: int, part: Callable[[int], tuple[np.ndarray, np.ndarray]], size: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows [M, width] and the record [R] of all parts of a stage, one after the other.

        Args:
            stage: its name.
            n: units of work, `size` of which make a part.
            width: of a row.
            part: rows and record, of floats, of the part that begins at a unit.
            size: of a part.
        """
        names = [f"{stage} {what}" for what in ("done", "rows", "record")]
        nothing = np.array(0), np.zeros((0, width)), np.zeros(0)
        done, rows, record = (self._kept.get(name, empty) for name, empty in zip(names, nothing, strict=True))
        # A part and how far it leads are put down together: an interruption finds both or neither.
        parts: list[tuple[int, np.ndarray, np.ndarray]] = [(int(done), rows, record)]

        def keep() -> None:
            rows, record = (np.concatenate([one[i] for one in parts]) for i in (1, 2))
            parts[:] = [(parts[-1][0], rows, record)]
            self._kept |= dict(zip(names, map(np.asarray, parts[0]), strict=True))
            if self._unfinished:
                self._unfinished.keep(self._kept)

        try:
            while (begin := parts[-1][0]) < n:
                self.progress(stage, begin, n)
                parts.append((min(begin + size, n), *part(begin)))
                if self._unfinished and self._unfinished.due:
                    keep()
        except KeyboardInterrupt:
            keep()
            raise
        rows, record = (np.concatenate([one[i] for one in parts]) for i in (1, 2))
        self._kept |= dict(zip(names, (np.asarray(n), rows, record), strict=True))
        return rows, record


def left_in(folder: Path) -> bool:
    """Whether an interrupted step left something to go on with in a folder."""
    return any(folder.glob(f"*{UNFINISHED}"))


def digest(kb: KnowledgeBase, *atoms: np.ndarray) -> str:
    """SHA-256 of the facts of a knowledge base, of its names, and of `atoms` [N, 3] in its ids."""
    names = json.dumps([kb.predicates, kb.constants]).encode()
    parts = [names, *(np.ascontiguousarray(array, np.int64).tobytes() for array in (kb.facts, *atoms))]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
