"""Saving and restoring with orbax: the parameters of a policy, and training states to resume from.

A checkpoint is a folder, written aside and renamed, so a kill at any moment leaves whole ones. The checksums of its
files stand in its ``SHA256SUMS``, as ``sha256sum --check`` reads them; no array is read before they were compared.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from ppo_jax.runs import files
from ppo_jax.types import PPOJaxError

__all__ = ["Checkpoints", "Damaged", "Stored", "discard_after", "newest", "restore", "save", "updates"]

PyTree = Any
SUMS = "SHA256SUMS"  # checkpoints of earlier versions have none, and are read as they are
RECORD = Path("record", "metadata")
ROOM, FILES = 64 * 1024, 24  # bytes and files of a tree beside its arrays, roughly
READS_AS_WRITTEN = re.compile(r"[\w./=+,@ -]*")  # orbax takes others for patterns, escapes and addresses


class Damaged(PPOJaxError):
    """A checkpoint that cannot be read."""


def save(folder: Path, tree: PyTree) -> None:
    """Write `tree` to `folder`, replacing what was there; atomic: a kill leaves the old or the new one.

    Raises:
        PPOJaxError: it cannot be written; what was there is unchanged.
    """
    import jax

    _write(folder, {".": jax.device_get(tree)})


def restore(folder: Path, like: PyTree) -> PyTree:
    """Read what `save` wrote, into the structure of `like` (arrays or shapes).

    Raises:
        Damaged: what is there is not what was written.
        PPOJaxError: nothing there, or a tree of other names or shapes.
    """
    folder = files.whole(folder)
    if not folder.is_dir():
        raise PPOJaxError(f"{folder}: no checkpoint there; the run was not finished or was moved")
    with _explained(what := f"{folder}: the checkpoint"):
        _verify(folder, what)
        remedy = "restore config.toml as it was"
        return _read_tree(folder, like, _shapes, f"{folder}: does not fit the configuration beside it: ", remedy)


class Stored(NamedTuple):
    """A checkpoint as it was read."""

    update: int
    trees: dict[str, PyTree]  # name -> tree of arrays
    record: dict[str, Any]  # JSON data beside them


class Checkpoints:
    """Checkpoints of a run by update, the newest `keep` of them, written in the background.

    Random keys must be given as their data.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        """Make `folder` where it is missing; one that is empty says that no checkpoint was written yet."""
        self._folder, self._keep = folder, keep
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        with files.explained(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def save(self, update: int, trees: dict[str, PyTree], record: dict[str, Any]) -> None:
        """Begin to write a checkpoint; returns once the arrays are copied, so that they may be donated.

        Raises:
            PPOJaxError: the one before it could not be written.
        """
        import jax
        import numpy as np

        copies = jax.tree.map(np.array, jax.device_get(trees))
        self._wait()
        self._writing = self._thread.submit(self._save, update, copies, record | {"trees": sorted(trees)})

    def _save(self, update: int, trees: dict[str, PyTree], record: dict[str, Any]) -> None:
        _write(self._folder / str(update), trees, record)
        with files.explained(self._folder):
            for old in updates(self._folder)[: -self._keep]:
                files.discard(self._folder / str(old))

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """Wait until everything is on disk.

        Raises:
            PPOJaxError: it cannot be written.
        """
        self._thread.shutdown()
        self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def updates(folder: Path) -> list[int]:
    """The updates that `folder` holds checkpoints of, in order."""
    with files.explained(folder), suppress(FileNotFoundError):
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    return []


def discard_after(folder: Path, update: int) -> None:
    """Remove checkpoints of later updates than `update`: it is trained from again."""
    with files.explained(folder):
        for later in reversed(updates(folder)):
            if later > update:
                files.discard(folder / str(later))


def newest(
    folder: Path, like: dict[str, PyTree], check: Callable[[dict[str, Any]], None], until: int | None = None
) -> tuple[Stored | None, list[str]]:
    """The newest checkpoint of `folder` that can be read, and a line on each that could not.

    Args:
        folder: that of `Checkpoints`.
        like: trees of arrays or shapes; those that a checkpoint lacks are left out.
        check: raises `PPOJaxError` where the record of a checkpoint does not fit; before its arrays are read.
        until: later updates are passed over.

    Raises:
        PPOJaxError: a checkpoint does not fit; it is whole, so an older one would be no answer.
    """
    problems: list[str] = []
    for update in reversed(updates(folder)):
        if until is None or update <= until:
            try:
                return _read(folder, update, like, check), problems
            except Damaged as error:
                problems.append(str(error))
    return None, problems


def _read(folder: Path, update: int, like: dict[str, PyTree], check: Callable[[dict[str, Any]], None]) -> Stored:
    with _explained(what := f"{folder}: the checkpoint of update {update}"):
        folder = folder / str(update)
        _verify(folder, what)
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        check(record)
        remedy = "the configuration or JAX's settings (JAX_ENABLE_X64, …) are other than they were"
        trees = {
            name: _read_tree(folder / name, like[name], _exactly, f"{folder}: does not fit: {name}.", remedy)
            for name in record["trees"]
        }
        return Stored(update, trees, record)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever goes wrong within is one line about a checkpoint, `what`."""
    try:
        yield
    except PPOJaxError:
        raise
    except PermissionError as error:
        raise Damaged(f"{what} cannot be read ({error.strerror})") from None
    except Exception as error:  # orbax and its storage raise many kinds
        reason = [type(error).__name__, *str(error).strip().splitlines()[:1]]
        raise Damaged(f"{what} is damaged ({': '.join(reason)[:140]})") from None


def _write(folder: Path, trees: Mapping[str, PyTree], record: dict[str, Any] | None = None) -> None:
    """Write each tree to the folder of its name within `folder`, and JSON data beside them; all or nothing."""
    new = files.aside(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        files.remove(new)
        _check_room(folder.parent, trees)
        new.mkdir()
        for name, tree in trees.items():
            _write_tree(new / name, tree)
        if record is not None:
            (new / RECORD.parent).mkdir()
            (new / RECORD).write_text(json.dumps(record), encoding="utf-8")
        (new / SUMS).write_text("".join(_line(new, name) + "\n" for name in _names(new)), encoding="utf-8")
        files.sync_tree(new)
        files.put_in_place(new, folder)
    except Exception as error:  # orbax and its storage raise many kinds, with many lines
        with suppress(OSError):
            files.remove(new)
        reason = getattr(error, "strerror", None) or _no_room(str(error)) or str(error).strip().split("\n")[0][:120]
        raise PPOJaxError(f"{folder}: cannot be written: {reason}; what was there is unchanged") from None


def _check_room(folder: Path, trees: Mapping[str, PyTree]) -> None:
    """Find out before orbax does, which says it on many lines and from several threads."""
    import jax

    leaves, disk = jax.tree.leaves(dict(trees)), os.statvfs(folder)
    size = sum(x.nbytes for x in leaves) * 1.1 + ROOM * len(trees)
    files_left = disk.f_favail if disk.f_files else FILES  # some file systems have no bound
    if disk.f_bavail * disk.f_frsize < size or files_left < FILES * len(trees):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _no_room(text: str) -> str | None:
    found = re.search("No space left on device|Disk quota exceeded|File too large", text)
    return found and found[0]


def _verify(folder: Path, what: str) -> None:
    """Compare the files of a checkpoint with its checksums.

    Raises:
        Damaged: one is missing or is another.
    """
    if not (folder / SUMS).exists():
        return
    for line in (folder / SUMS).read_text(encoding="utf-8").split("\n")[:-1]:
        name = line[66:]
        if not name or not (folder / name).is_file() or line != _line(folder, name):
            raise Damaged(f"{what} is damaged ({name or SUMS} is not as it was written)")


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _line(folder: Path, name: str) -> str:
    with open(folder / name, "rb") as content:
        return f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {name}"


@contextmanager
def _orbax(folder: Path) -> Iterator[tuple[Any, Path]]:
    """Orbax's handler, and a path to `folder` that it reads as it is written."""
    import jax
    import orbax.checkpoint as ocp

    here = jax.process_index()  # it alone writes: others that train with it are not waited for
    alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    logger = logging.getLogger("absl")
    disabled = logger.disabled
    try:
        logger.disabled = True  # an error is told in one line, by the caller
        if READS_AS_WRITTEN.fullmatch(str(folder.absolute())):
            yield handler, folder.absolute()
        else:
            with tempfile.TemporaryDirectory(prefix="ppo_jax-") as room:
                link = Path(room, "checkpoint")
                link.symlink_to(folder.absolute())
                yield handler, link
    finally:
        logger.disabled = disabled
        handler.close()


def _write_tree(folder: Path, tree: PyTree) -> None:
    import orbax.checkpoint as ocp

    folder.mkdir(exist_ok=True)
    with _orbax(folder) as (handler, path):
        handler.save(path, args=ocp.args.StandardSave(tree))
        handler.finalize(path)


def _read_tree(
    folder: Path, like: PyTree, describe: Callable[[PyTree], dict[str, Any]], complaint: str, remedy: str
) -> PyTree:
    import jax
    import orbax.checkpoint as ocp

    with _orbax(folder) as (handler, path):
        found, wanted = describe(handler.metadata(path)), describe(like)
        if found != wanted:
            differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            first = differing[0]
            raise PPOJaxError(
                f"{complaint}{first} is {found.get(first, 'missing')} there, {wanted.get(first, 'unknown')} here "
                f"({len(differing)} differ); {remedy}"
            )
        # Arrays are found by their names: a setting that an earlier version did not have is None here, and has none.
        shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in _named(like).items()}
        as_written = jax.tree_util.tree_map_with_path(lambda keys, _: shapes[_name(keys)], handler.metadata(path))
        arrays = _named(handler.restore(path, args=ocp.args.StandardRestore(as_written)))
        return jax.tree_util.tree_map_with_path(lambda keys, _: arrays[_name(keys)], like)


def _name(keys: Iterable[Any]) -> str:
    return ".".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in keys)


def _named(tree: PyTree) -> dict[str, Any]:
    import jax

    return {_name(keys): x for keys, x in jax.tree_util.tree_leaves_with_path(tree)}


def _shapes(tree: PyTree) -> dict[str, Any]:
    return {name: tuple(x.shape) for name, x in _named(tree).items()}


def _exactly(tree: PyTree) -> dict[str, Any]:
    """Shapes and types: arithmetic of another precision, or other random keys, would be another run."""
    import jax

    types = [str(x.dtype) for x in jax.tree.leaves(tree)]
    return {name: f"{kind}{list(shape)}" for (name, shape), kind in zip(_shapes(tree).items(), types, strict=True)}
