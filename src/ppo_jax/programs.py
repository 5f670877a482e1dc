"""Programs kept beyond tracing, so that the next process need not run the Python that describes them.

JAX's compilation cache saves the compilation of a program, but only one that was traced and lowered can be looked up
there, and that was a quarter of the time of a second run on Countries S3. A program kept here, as StableHLO
(`jax.export`), is found by what decides it: the code of this package, the versions of the libraries, JAX's settings,
and the values that the program was made from. It computes the same bits as if it were traced.

Code that is none of this package's cannot be told apart by that, so whatever holds some (an environment, a network, an
optimizer of one's own) is traced as ever. So is everything where functions may have been replaced: in a notebook, a
test or a script, for only the command line keeps programs, and where a configuration names a module of one's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pickle
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax import export

from ppo_jax.metrics import write_atomically
from ppo_jax.types import PPOJaxError

__all__ = ["keep_in", "keeping", "kept"]

PACKAGE = Path(__file__).parent
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy")
MOST = 64  # programs kept; a run has five
_folder: Path | None = None


def keep_in(folder: Path | None) -> None:
    """Keep programs in `folder`, which should be the user's own (they can execute code), from now on; None: do not.

    JAX's own switches hold: nothing is kept without ``jax_enable_compilation_cache``.
    """
    global _folder
    _folder = folder if jax.config.jax_enable_compilation_cache else None  # type: ignore[attr-defined]


def keeping() -> bool:
    """Whether programs are kept."""
    return _folder is not None


def kept(name: str, function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
    """`function`, kept: for use under `jax.jit`, but not under a transformation such as `jax.vmap`.

    Args:
        name: of the function.
        function: of pytrees of arrays.
        static: the values that decide, beside the shapes of its arguments, what it computes. It is kept if they are of
            this package or plain; fields that do not count where instances are compared do not count here either.
    """
    if _folder is None or jax.config.jax_default_device is not None:  # type: ignore[attr-defined]
        return function
    value = _value(static)
    return function if value is None else _Kept(name, function, value, _folder)


@dataclasses.dataclass(frozen=True)
class _Kept:
    name: str
    function: Callable[..., Any]
    static: Any
    folder: Path

    @property
    def __name__(self) -> str:  # what profiles and logs call it
        return self.name

    def __call__(self, *arguments: Any) -> Any:
        if not CODE or _code() != CODE:
            return self.function(*arguments)  # no source to go by, or not that of the functions that are in memory
        paths, structure = jax.tree_util.tree_flatten_with_path(arguments)
        leaves, shapes = [x for _, x in paths], [jax.typeof(x) for _, x in paths]
        seen = [(jax.tree_util.keystr(path), str(x), x.weak_type) for (path, _), x in zip(paths, shapes, strict=True)]
        decisive = repr((CODE, _settings(), self.name, self.static, seen))
        file = self.folder / f"{self.name}-{hashlib.sha256(decisive.encode()).hexdigest()}"
        program = _read(file)
        if program is None:
            like = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in shapes]
            try:
                program = _export(self.function, structure, like)
            except (ValueError, NotImplementedError):
                return self.function(*arguments)  # something that cannot be exported
            _write(file, program)
        exported, places = program
        results = exported.call(*leaves)
        return jax.tree.map(lambda i: results[i], places)


def _export(function: Callable[..., Any], structure: Any, like: list[Any]) -> tuple[export.Exported, Any]:
    """The program, of flat arguments and results, and where in the function's result each of its results belongs."""
    places = []

    def flat(*leaves: Any) -> list[Any]:
        results, found = jax.tree.flatten(function(*jax.tree.unflatten(structure, leaves)))
        places.append(jax.tree.unflatten(found, range(len(results))))
        return results

    exported = export.export(jax.jit(flat))(*like)
    return exported, places[-1]


def _read(file: Path) -> tuple[export.Exported, Any] | None:
    try:
        digest, content = (raw := file.read_bytes())[:32], raw[32:]
    except OSError:
        return None
    if hashlib.sha256(content).digest() != digest:
        return None  # damaged: it is written anew
    with contextlib.suppress(OSError):
        os.utime(file)
    blob, places = pickle.loads(content)
    return export.deserialize(bytearray(blob)), places


def _write(file: Path, program: tuple[export.Exported, Any]) -> None:
    exported, places = program
    content = pickle.dumps((bytes(exported.serialize()), places))
    with contextlib.suppress(OSError, PPOJaxError):  # a full or read-only disk costs time, nothing else
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in others[: max(0, len(others) + 1 - MOST)]:
            old.unlink(missing_ok=True)
        write_atomically(file, hashlib.sha256(content).digest() + content)


def _value(x: Any) -> Any:
    """What `x` is equal by, of plain values; None where it holds what is neither plain nor of this package."""
    if x is None or isinstance(x, bool | int | float | str):
        return (x,)
    if isinstance(x, tuple | list):
        parts, ours = [_value(part) for part in x], type(x).__module__.partition(".")[0] in ("builtins", "ppo_jax")
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        parts = [_value(getattr(x, field.name)) for field in dataclasses.fields(x) if field.compare]
        ours = type(x).__module__.partition(".")[0] == "ppo_jax"
    else:
        return None
    return (type(x).__module__, type(x).__qualname__, *parts) if ours and None not in parts else None


def _code() -> str:
    """A digest of this package's code as it lies on disk; the empty string where it does not."""
    files = sorted(PACKAGE.rglob("*.py"))
    digest = hashlib.sha256()
    try:
        for path in files:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    except OSError:  # it is being replaced
        return ""
    return digest.hexdigest() if files else ""


def _settings() -> list[tuple[str, Any]]:
    """Versions, platform, and what else the libraries look at while they trace."""
    flax = [(name, value) for name, value in os.environ.items() if name.startswith("FLAX_")]
    platform = ("platform", export.default_export_platform())
    return [platform, *_versions(), *sorted(flax), *sorted(jax.config.values.items())]


@cache
def _versions() -> list[tuple[str, str]]:
    return [(name, version(name)) for name in LIBRARIES]


CODE = _code()  # before what it describes is imported: the command line sees to that
