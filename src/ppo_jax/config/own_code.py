"""What code of a user's own raised, in one line: which function, in which file and line."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from ppo_jax.types import PPOJaxError

__all__ = ["describe_raised", "keep_raised", "last_place", "original", "summarize_error"]

# Their frames stand between ours and a user's; any other installed package may be the user's own.
_LIBRARIES = frozenset(
    ("jax", "jaxlib", "flax", "optax", "orbax", "chex", "numpy", "gymnax", "msgspec", "tomlkit", "tyro", "rich")
) | {"optuna", "sqlalchemy", "scipy", "matplotlib"}
_OURS, _PYTHON = Path(__file__).parents[1], Path(sysconfig.get_paths()["stdlib"])


def last_place(error: BaseException) -> str | None:
    """``file:line in function`` of the last of a user's own code that an error went through; None where none was."""
    place = None
    for frame, line in _frames(error.__traceback__):
        code = frame.f_code
        if _is_own(code.co_filename):
            name = code.co_qualname.replace("<locals>.", "")
            place = f"{Path(code.co_filename).name}:{line}" + ("" if name.endswith(">") else f" in {name}")
    if isinstance(error, SyntaxError) and error.filename and _is_own(error.filename):
        place = f"{Path(error.filename).name}:{error.lineno}"
    return place


def summarize_error(error: BaseException) -> str:
    """The kind of an error and the first line of its message; of a wrong field also which there are."""
    if isinstance(error, SystemExit):
        return f"sys.exit({'' if error.code is None else repr(error.code)})"
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = message.strip().splitlines()
    fields = getattr(error.obj, "_fields", ()) if isinstance(error, AttributeError) else ()
    there_are = f"; it has {', '.join(fields)}" if fields else ""
    return type(error).__name__ + (f": {lines[0]}" if lines else "") + there_are


def describe_raised(error: BaseException) -> str | None:
    """One line on an error that a user's own code raised; None where it is not from there."""
    place = last_place(error)
    if place is None:
        return None
    did = "ended the process with" if isinstance(error, SystemExit) else "raised"
    return f"{place}: {did} {summarize_error(error)}"


_kept: list[BaseException] = []  # what was raised last in a callback


@contextmanager
def keep_raised(place: str) -> Iterator[None]:
    """Within a callback of a compiled program, keep what is raised: on its way out of the program it loses its kind.

    Args:
        place: begins the line on an error.
    """
    try:
        yield
    except BaseException as error:
        told: BaseException = error
        if isinstance(error, Exception):
            told = PPOJaxError(f"{place}: {describe_raised(error) or f'raised {summarize_error(error)}'}")
        _kept[:] = [told]
        raise told from error


def original(error: BaseException) -> BaseException:
    """What a callback raised, where `error` is what the compiled program made of it; else `error`."""
    return _kept.pop() if _kept and type(error).__name__ == "JaxRuntimeError" and "callback" in str(error) else error


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _is_own(filename: str) -> bool:
    path = Path(filename)
    if filename.startswith("<") or path.is_relative_to(_OURS):
        return False
    for packages in ("site-packages", "dist-packages"):
        if packages in path.parts:
            below = path.parts[path.parts.index(packages) + 1]
            return below.removesuffix(".py") not in _LIBRARIES
    return not path.is_relative_to(_PYTHON)
