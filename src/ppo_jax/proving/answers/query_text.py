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
    if not bracket:
        raise PPOJaxError(f"{place}: {quote(text)} is no atom; write one such as {quote(_like(kb, text.split()))}")
    if not inside.endswith(")"):
        raise PPOJaxError(f"{place}: {quote(text)} has no closing bracket")
    pairs = kb.split_arguments(inside[:-1])
    free = [[name not in kb.constant_ids and _is_variable(name) for name in pair] for pair in pairs]
    for pair, (left, right) in zip(pairs, free, strict=True):
        known = pair[1] if left else pair[0]
        if left == right or (len(pairs) > 1 and known not in kb.constant_ids):
            continue
        atom = kb.parse_atom(f"{predicate}({known},{known})", place, written=text)
        return (atom[0], 0, atom[2]) if left else (atom[0], atom[1], 0)
    if [True, True] in free:
        near = next((found for name in pairs[0] if len(name) > 1 and (found := nearest(name, kb.constants))), "")
        raise PPOJaxError(f"{place}: {text!r} has two variables; write a constant for one of them{near}")
    try:
        return kb.parse_atom(text, place)
    except PPOJaxError as error:
        unknown = [name for pair in pairs for name in pair if name not in kb.constant_ids]
        if len(pairs) == 1 and any(not nearest(name, kb.constants) for name in unknown):
            raise PPOJaxError(f"{error}; a variable begins with a capital") from error
        raise


def format_query(kb: KnowledgeBase, atom: Sequence[int] | np.ndarray) -> str:
    """Write an atom with 0 for its variable, such as ``ancestorOf(ann,X)``."""
    predicate, *terms = (int(term) for term in atom)
    names = [kb.constants[term - 1] if term else VARIABLE for term in terms]
    return f"{kb.predicates[predicate - 1]}({names[0]},{names[1]})"


def _like(kb: KnowledgeBase, words: Sequence[str]) -> str:
    """An atom to write in place of these words: theirs, if they are a triple, or else one of a fact."""
    if len(words) != 3:
        return format_query(kb, (*kb.facts[0][:2], 0))
    predicate, *arguments = (words[1], words[0], words[2]) if words[1] in kb.predicate_ids else words
    return f"{predicate}({', '.join(arguments)})"


def _is_variable(name: str) -> bool:
    return re.fullmatch(r"\??\w+|\?", name) is not None and (name[0] in "_?" or name[0].isupper())
