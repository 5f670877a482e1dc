"""What a file says, before its names have ids, and how an error points at a place in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from ppo_jax.types import PPOJaxError

__all__ = [
    "Clause",
    "Constant",
    "Statements",
    "Triple",
    "Variable",
    "as_confidence",
    "complain",
    "is_number",
    "is_prolog_variable",
    "quote",
    "some",
]

Triple = tuple[str, str, str]
"""(predicate, argument, argument) as written."""

Style = Literal["prolog", "arrow", "mined"]


class Constant(str):
    """A name that is a constant whatever it looks like, because it stood in quotes or its format says so."""

    __slots__ = ()


class Variable(str):
    """A name that is a variable whatever it looks like, because its format marks it."""

    __slots__ = ()


class Clause(NamedTuple):
    """A rule as written, before its names are known to be constants or variables."""

    name: str
    head: Triple
    body: tuple[Triple, ...]
    prolog: bool  # capital letters mark variables; otherwise whatever no fact knows is one
    text: str
    source: str  # "rules.txt:3"
    confidence: float | None = None  # in [0, 1], where the file states one
    different: tuple[tuple[str, str], ...] = ()  # terms that may not be the same constant


class Statements(NamedTuple):
    """What one file holds, in its order."""

    file: str
    facts: list[Triple]  # as written, repetitions kept
    lines: list[int]  # line number of each fact, from 1
    clauses: list[Clause]
    notes: tuple[str, ...] = ()  # what was read otherwise than as plain facts and rules, one line each
    columns: str = ""  # order of the columns that were read: "hrt", "rht" or "htr"; empty where there are none
    separator: str = ""  # between these columns
    asked: tuple[tuple[int, Triple], ...] = ()  # line and atom of `query(...)` and `?- ...`
    stated: bool = False  # whether a header or the caller said their order


def complain(file: str, line: int, text: str, reason: str) -> PPOJaxError:
    """An error at a line of a file: the text there, what is wrong with it and what to do."""
    return PPOJaxError(f"{file}:{line}: {quote(text)}{reason}")


def quote(text: str) -> str:
    """A text from a file for an error message: one line, of bounded length."""
    shown = " ".join(text.split())
    return f"'{shown}'" if len(shown) <= 100 else f"'{shown[:97]}...'"


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_prolog_variable(name: str) -> bool:
    """Whether Prolog would take a name for a variable."""
    return name[0] == "_" or name[0].isupper()


def as_confidence(weight: float | None) -> float | None:
    """A weight where it can be a confidence, that is, lies in [0, 1]."""
    return weight if weight is not None and math.isfinite(weight) and 0 <= weight <= 1 else None


def some(names: Iterable[str], most: int = 5) -> str:
    """Names for a message, no more than a few of them."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
