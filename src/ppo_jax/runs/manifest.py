"""Which files of a folder a run wrote, and how a new run takes the place of what is there.

A run begins in one move. Its first files are written to a folder aside, which is renamed to `BEGUN`: before that what
was there is whole, and from then on the new run is the one that goes on, whatever kills the process. `settle` does what
is left to do, now or at a later start.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppo_jax.files import UNFINISHED
from ppo_jax.runs import files, lock
from ppo_jax.runs.contents import FILES, FOLDERS
from ppo_jax.types import PPOJaxError

__all__ = [
    "BEGUN",
    "check_folder",
    "claimed",
    "commit",
    "holds_run",
    "is_of_run",
    "settle",
    "settled",
    "staged",
    "unused",
    "written",
]

PARENTS = ("checkpoints/resume", "checkpoints", "tensorboard")  # go where nothing of others is in them
STAGE, BEGUN = ".run.new", ".run.begun"


def written(folder: Path) -> list[Path]:
    """What is in `folder` by the names of what a run writes."""
    return [path for pattern in (*FILES, *FOLDERS) for path in sorted(folder.glob(pattern))]


def is_of_run(file: Path) -> bool:
    """Whether `file` is, or would be, one that a run wrote or that its folder is recognised by."""
    file = file.parent.resolve() / file.name
    names = {*FILES, *PARENTS, lock.LOCK, lock.LEASE}
    if file.name == "sweep.json" and file.exists():
        return True
    return any(holds_run(folder) and file.relative_to(folder).parts[0] in names for folder in file.parents)


def holds_run(folder: Path) -> bool:
    """Whether a run, complete or not, was written to `folder`: by its configuration and the record of its making."""
    environment = files.read_object(folder / "environment.json")
    return (folder / "config.toml").is_file() and ("run_id" in environment or "versions" in environment)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Make sure that writing a run to `folder` loses nothing; creates nothing yet.

    Raises:
        PPOJaxError: it holds a run that is not to be replaced, a link in place of a file of the run, or something else.
    """
    if (folder / BEGUN).is_dir():
        return  # `settle` first
    if holds_run(folder):
        if not overwrite:
            raise PPOJaxError(f"{folder}: already holds a run; choose another --run-dir, or --overwrite to replace it")
        for path in (folder, *(folder / name for name in PARENTS), *written(folder)):
            if path.is_symlink():
                raise PPOJaxError(f"{path}: is a link, and --overwrite follows none; choose another --run-dir")
    elif os.path.lexists(folder) and not (folder.is_dir() and all(map(_is_left_or_kept, folder.iterdir()))):
        raise PPOJaxError(f"{folder}: is in use by something else than a run; choose another --run-dir")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within, this process alone writes to `folder`; it is made where it is missing, and what a kill left is settled.

    Raises:
        InUse: another process writes to it.
        PPOJaxError: it cannot be written.
    """
    missing = _missing(folder)
    with files.explained(folder, "; choose another --run-dir"):
        folder.mkdir(parents=True, exist_ok=True)
    with _gone_if_empty(missing), lock.one_writer(folder):
        settle(folder)
        yield


@contextmanager
def unused(folder: Path) -> Iterator[Path]:
    """`folder`, made here and now; or where it is there already, the first of ``-2``, ``-3``, … that is not."""
    missing = _missing(folder.parent)
    for number in itertools.count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        with files.explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir()
            except FileExistsError:
                continue
        with _gone_if_empty([path, *missing]):
            yield path
        return


def _missing(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.parents) if not path.exists()]


@contextmanager
def _gone_if_empty(made: list[Path]) -> Iterator[None]:
    """Afterwards the folders that were made are there only if something was written, the innermost first."""
    try:
        yield
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def settled(folder: Path) -> Path:
    """`folder`, in which a run whose beginning was cut short by a kill has begun."""
    if (folder / BEGUN).is_dir():
        with claimed(folder):
            pass
    return folder


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder within `folder` for the first files of a run; gone afterwards unless it was committed."""
    stage = folder / STAGE
    try:
        yield stage
    finally:
        with suppress(OSError):
            files.remove(stage)


def commit(stage: Path) -> None:
    """Let the run whose first files are in `stage` take the place of what its folder holds."""
    with files.explained(stage.parent):
        files.sync_tree(stage)
        os.rename(stage, stage.with_name(BEGUN))
        files.sync(stage.parent)
    settle(stage.parent)


def settle(folder: Path) -> None:
    """Finish what a process that is gone had begun in `folder`, and clear away what it had written aside."""
    begun = folder / BEGUN
    with files.explained(folder):
        for parent in (folder, folder / "checkpoints", folder / "checkpoints" / "resume"):
            for path in parent.iterdir() if parent.is_dir() else ():
                if _is_left(path) and path.name not in (BEGUN, lock.LOCK, lock.LEASE):
                    _take_away(path)
        if not begun.is_dir():
            return
        if (
            begun / "summary.json"
        ).exists():  # it is moved first; as long as it is here the earlier run is not cleared away
            for path in written(folder):
                files.remove(path)
            for name in PARENTS:
                with suppress(OSError):
                    (folder / name).rmdir()
        for path in sorted(begun.iterdir(), key=lambda path: path.name != "summary.json"):
            os.replace(path, folder / path.name)
        files.sync(folder)
        begun.rmdir()


def _is_left(path: Path) -> bool:
    """Whether `path` is what a killed process left, and no file of a run or of others."""
    names = "|".join(name.replace(".", r"\.") for name in (*FILES, "sweep.json"))
    return path.name in (STAGE, BEGUN, lock.LOCK, lock.LEASE) or files.is_left_aside(
        path, rf"{names}|.+\.unfinished|best|last|\d+"
    )


def _is_left_or_kept(path: Path) -> bool:
    return _is_left(path) or path.name.removesuffix(".old").endswith(UNFINISHED)


def _take_away(path: Path) -> None:
    """Remove what was written aside; a folder goes back where its own place is empty."""
    place = path.with_name(path.name.removeprefix(".").removesuffix(".old"))
    if path.name.endswith(".old") and place.name in ("best", "last") and not place.exists():
        os.rename(path, place)
    else:
        files.remove(path)
