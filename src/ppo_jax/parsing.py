"""Values that a user wrote, in a TOML file or as ``key=value``: read, checked, and explained where they are wrong."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import math
import re
import textwrap
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import tomlkit

from ppo_jax.types import PPOJaxError

__all__ = [
    "convert",
    "field_docs",
    "nearest",
    "nearest_divisors",
    "parse_assignment",
    "parse_values",
    "read_toml",
    "write_toml",
]

_PLAIN_WORDS = {"null": "none", "object": "table", "array": "list"}  # JSON's words, in TOML's


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        PPOJaxError: the file is missing, cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PPOJaxError(f"{path}: no such file; experiments/ holds examples") from None
    except OSError as error:
        raise PPOJaxError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PPOJaxError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise PPOJaxError(f"{path}: not valid TOML: {error}") from None


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML that `read_toml` reads back to equal tables; a dict within a table is written inline."""
    document = tomlkit.document()
    for name, values in tables.items():
        document[name] = table = tomlkit.table()
        for key, value in values.items():
            if isinstance(value, Mapping):
                table[key] = tomlkit.inline_table()
                table[key].update(value)
            else:
                table[key] = list(value) if isinstance(value, tuple) else value
    return tomlkit.dumps(document)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split ``"key=value"``; the value is TOML, the bare word ``none``, or else a string.

    Raises:
        PPOJaxError: no key, or no equals sign.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise PPOJaxError(f"--set {text}: expected key=value")
    if value.lower() == "none":
        return key, None
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def parse_values(text: str) -> tuple[str, list[Any]]:
    """Split ``"key=value,value,…"``; the values are TOML, the bare word ``none``, or else strings.

    Raises:
        PPOJaxError: no key, no equals sign, or no value.
    """
    key, equals, values = (part.strip() for part in text.partition("="))
    if not (key and equals and values):
        raise PPOJaxError(f"--grid {text}: expected key=value,value,…")
    try:
        return key, tomllib.loads(f"values = [{values}]")["values"]
    except tomllib.TOMLDecodeError:
        return key, [parse_assignment(f"{key}={value}")[1] for value in values.split(",")]


def convert(value: Any, kind: Any, place: str) -> Any:
    """Check `value` against the annotation `kind` (a whole float passes for an int) and return it as such.

    Raises:
        PPOJaxError: wrong type or range, an unknown or missing key of a table; begins with `place`.
    """
    parts = list(_parts(kind))
    names = [field.name for part in parts if dataclasses.is_dataclass(part) for field in dataclasses.fields(part)]
    if isinstance(value, dict) and names:
        for name in value:
            if name not in names:
                raise PPOJaxError(f"{place}: unknown key {name!r}; {nearest(name, names)}")
    if isinstance(value, float) and value.is_integer() and int in parts:
        value = int(value)
    if isinstance(value, float) and math.isnan(value):
        raise PPOJaxError(f"{place} = nan: expected a number")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).replace("`", "").partition(" - at $")
        if message.startswith("Invalid enum value"):
            choices = [c for part in parts if typing.get_origin(part) is Literal for c in typing.get_args(part)]
            message = f"expected {' or '.join(choices)}"
        message = message.replace("Expected", "expected").replace(" | null", "").replace("Object", "table")
        message = re.sub(r"\b(null|object|array)\b", lambda word: _PLAIN_WORDS[word[0]], message)
        given = "" if path else f" = {'none' if value is None else repr(value)}"
        raise PPOJaxError(f"{place}{path}{given}: {message}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names most like `name`, as a hint that ends an error message."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def nearest_divisors(factors: Iterable[int], wanted: int) -> list[int]:
    """The three divisors of the product of `factors` that lie closest to `wanted`, ascending."""
    each = [[d for i in range(1, math.isqrt(n) + 1) if n % i == 0 for d in (i, n // i)] for n in factors]
    divisors = {math.prod(parts) for parts in itertools.product(*each)}
    return sorted(sorted(divisors, key=lambda d: (abs(d - wanted), d))[:3])


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a data class, by field name; fields without one are left out."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    docs = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docs[field.target.id] = inspect.cleandoc(ast.literal_eval(below.value))
    return docs


def _parts(kind: Any) -> Iterator[Any]:
    """The types a (nested, annotated) union is made of, those of a data class's fields included."""
    if dataclasses.is_dataclass(kind):
        yield kind
        for field in typing.get_type_hints(kind, include_extras=True).values():
            if typing.get_origin(field) is Literal:
                yield field
    elif typing.get_origin(kind) is Literal or not typing.get_args(kind):
        yield kind
    else:
        for part in typing.get_args(kind):
            yield from _parts(part)
