"""Values checked against the types of data classes, and explained where they are wrong."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ppo_jax.config.suggestions import nearest
from ppo_jax.types import PPOJaxError

__all__ = ["convert", "field_docs"]

_PLAIN_WORDS = {"null": "none", "object": "table", "array": "list"}  # JSON's words, in TOML's


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
