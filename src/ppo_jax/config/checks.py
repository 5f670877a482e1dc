"""Values that a user wrote, checked against the annotations of data classes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import PurePath
from typing import Annotated, Any, Literal

import msgspec

from ppo_jax.config.legible import shorten
from ppo_jax.config.suggestions import nearest
from ppo_jax.types import PPOJaxError

__all__ = ["check_argument", "convert", "field_docs"]


def check_argument(value: Any, kind: Any, must: str, remedy: str) -> None:
    """Make sure that what Python gives to a function that the package offers is a `kind`.

    Args:
        value: the argument.
        kind: a class, or several.
        must: begins the error: which argument, and what it must be.
        remedy: ends it; ``PATH`` stands for a text that was given, or the import path of the class that was.

    Raises:
        PPOJaxError: it is something else.
    """
    if isinstance(value, kind):
        return
    cls = value if isinstance(value, type) else type(value)
    path = "module:Name" if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}:{cls.__qualname__}"
    named = str(value) if isinstance(value, str | PurePath) else path
    found = f"the class {cls.__name__}" if isinstance(value, type) else type(value).__name__
    raise PPOJaxError(f"{must}, got {found}: {remedy.replace('PATH', repr(named))}")


def convert(value: Any, kind: Any, place: str) -> Any:
    """Check `value` against the annotation `kind` (a whole float passes for an int) and return it as such.

    Raises:
        PPOJaxError: wrong type or range, a name that is not one of the choices, an unknown or missing key of a table;
            begins with `place`, the rest is msgspec's message where it has one.
    """
    kinds = list(_alternatives(kind))
    tables = [one for one in kinds if dataclasses.is_dataclass(one)]
    if isinstance(value, dict) and tables:
        keys = {name: each for table in tables for name, each in _field_types(table).items()}
        for name in value:
            if name not in keys:
                raise PPOJaxError(f"{place}: unknown key {name!r}; {nearest(name, keys)}")
        value = {name: convert(one, keys[name], f"{place}.{name}") for name, one in value.items()}
    if isinstance(value, dict) and (of := [typing.get_args(one)[1] for one in kinds if typing.get_origin(one) is dict]):
        value = {name: convert(one, of[0], f"{place}.{name}") for name, one in value.items()}
    if isinstance(value, float) and value.is_integer() and int in kinds:
        value = int(value)
    if isinstance(value, float) and math.isnan(value):
        raise PPOJaxError(f"{place}: Expected a number, got nan")
    choices = [name for one in kinds if typing.get_origin(one) is Literal for name in typing.get_args(one)]
    if choices and isinstance(value, str) and value not in choices:
        raise PPOJaxError(f"{place}: Expected {' or '.join(choices)}, got {shorten(value)}")
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError, UnicodeEncodeError) as error:
        if float in kinds and tables and type(value) not in (int, float, dict):
            parts = ", ".join([each.name for each in dataclasses.fields(tables[0])][:3])
            raise PPOJaxError(f"{place}: Expected a number, or a table {{ {parts} }}, got {shorten(value)}") from None
        if any(typing.get_origin(one) is tuple for one in kinds) and isinstance(value, str | int | float):
            raise PPOJaxError(f"{place}: Expected a list such as [{value}], got {shorten(value)}") from None
        raise PPOJaxError(f"{place}: {error}") from None


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a data class, by field name; fields without one are left out."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    docs = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docs[field.target.id] = inspect.cleandoc(ast.literal_eval(below.value))
    return docs


def _alternatives(kind: Any) -> Iterator[Any]:
    """The types that an annotation allows: those of a union, without what `Annotated` adds."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        yield from _alternatives(typing.get_args(kind)[0])
    elif origin in (typing.Union, types.UnionType):
        for one in typing.get_args(kind):
            yield from _alternatives(one)
    else:
        yield kind


def _field_types(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)
