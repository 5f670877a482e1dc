"""What the readers of all notations give: facts and rules as written."""

from __future__ import annotations

from typing import NamedTuple

from ppo_jax.types import PPOJaxError

__all__ = ["Clause", "Statements", "Triple", "problem", "quote"]

Triple = tuple[str, str, str]
"""(predicate, argument, argument) as written, without quotes."""


class Clause(NamedTuple):
    """A rule as written, before its names are known to be constants or variables."""

    name: str
    head: Triple
    body: tuple[Triple, ...]
    variables: frozenset[str] | None  # names that are variables; None: whatever no fact knows is one
    text: str
    source: str  # "rules.txt:3"
    confidence: float | None = None
    different: tuple[tuple[str, str], ...] = ()  # pairs of names that are not the same constant


class Statements(NamedTuple):
    """What one file holds, in its order."""

    file: str
    facts: list[Triple]  # as written, repetitions kept
    lines: list[int]  # line number of each fact, from 1
    clauses: list[Clause]
    warnings: tuple[str, ...] = ()  # a line each: what was read in a way that one should know of


def quote(text: str) -> str:
    """A text from a file for an error message: one line, of bounded length."""
    shown = " ".join(text.split())
    return f"'{shown}'" if len(shown) <= 100 else f"'{shown[:97]}...'"


def problem(source: str, text: str, what: str) -> PPOJaxError:
    """The error that a statement cannot be read, with its place."""
    return PPOJaxError(f"{source}: {quote(text)}: {what}")
