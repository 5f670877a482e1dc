"""Queries as people write them: an atom of which one argument may be a variable."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ppo_jax.proving.formats.statements import quote
from ppo_jax.proving.knowledge_base import KnowledgeBase, nearest
from ppo_jax.types import PPOJaxError

__all__ = ["format_query", "parse_query"]

VARIABLE = "X"


def parse_query(kb: KnowledgeBase, text: str, place: str = "query") -> tuple[int, int, int]:
    """Read ``ancestorOf(ann, X)`` into ids, 0 for the variable; a ground atom has none.

    A variable begins with a capital, `_` or `?`, and is no constant of the knowledge base.

    Raises:
        PPOJaxError: no binary atom, an unknown predicate or constant, or two variables; begins with `place`.
    """
    predicate, bracket, inside = text.strip().removesuffix(".").rstrip().partition("(")
    names = [name.strip() for name in inside.removesuffix(")").split(",")]
    if not bracket:
        words = text.split()
        like = f"{words[0]}({words[1]}, {words[2]})" if len(words) == 3 else format_query(kb, (*kb.facts[0][:2], 0))
        raise PPOJaxError(f"{place}: {quote(text)} is no atom; write one such as {quote(like)}")
    if not inside.endswith(")"):
        raise PPOJaxError(f"{place}: {quote(text)} has no closing bracket")
    unknown = [i for i, name in enumerate(names) if name not in kb.constant_ids]
    variables = [i for i in unknown if _is_variable(names[i])]
    if len(names) != 2 or not variables:
        try:
            return kb.parse_atom(text, place)
        except PPOJaxError as error:
            if len(names) == 2 and any(not nearest(names[i], kb.constants) for i in unknown):
                raise PPOJaxError(f"{error}; a variable begins with a capital") from error
            raise
    if len(variables) == 2:
        raise PPOJaxError(f"{place}: {text!r} has two variables; write a constant for one of them")
    (open_side,) = variables
    known = names[1 - open_side]
    atom = kb.parse_atom(f"{predicate}({known},{known})", place, written=text)
    return (atom[0], 0, atom[2]) if open_side == 0 else (atom[0], atom[1], 0)


def format_query(kb: KnowledgeBase, atom: Sequence[int] | np.ndarray) -> str:
    """Write an atom with 0 for its variable, such as ``ancestorOf(ann,X)``."""
    predicate, *terms = (int(term) for term in atom)
    names = [kb.constants[term - 1] if term else VARIABLE for term in terms]
    return f"{kb.predicates[predicate - 1]}({names[0]},{names[1]})"


def _is_variable(name: str) -> bool:
    return re.fullmatch(r"\??\w+|\?", name) is not None and (name[0] in "_?" or name[0].isupper())
