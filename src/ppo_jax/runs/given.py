"""What a run has of the user's own code, in words: what Python gave it, and what import paths lead to.

Runs of one configuration were given the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any

__all__ = ["LOOK_AT_LOSS", "describe_code", "describe_given", "given_name", "name_of_loss", "same_name"]

LOOK_AT_LOSS = "Look first at your loss {}: its value and its gradient (sqrt, log and norms at 0)"
LONGEST = 160  # characters; of what is longer the end is a digest of the whole


def describe_given(thing: Any) -> str:
    """The name of a function, class or object, with the arguments that were bound to it.

    Bound are those of `functools.partial`, what a function took from the one around it, its defaults, and the
    attributes of an object. Behind the name of a function stands a digest of its code. The same in every process:
    addresses are left out.
    """
    try:
        text = _describe(thing, set())
    except Exception:  # the user's own `__repr__`
        text = _name(type(thing))
    text = " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", text).split())
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… {_digest(text)}"


def describe_code(thing: Any) -> str:
    """As `describe_given`; behind the name of a class stands a digest of its methods, without those it inherits."""
    if not isinstance(thing, type):
        return describe_given(thing)
    methods = {name: getattr(one, "__func__", one) for name, one in vars(thing).items()}
    code = [(name, _content_of(one.__code__)) for name, one in methods.items() if isinstance(one, FunctionType)]
    return f"{_name(thing)}#{_digest(repr(code))}"


def given_name(told: str) -> str:
    """The name in a description, without the digest of the code and the arguments."""
    return re.split(r"[#(]", told, maxsplit=1)[0]


def name_of_loss(setting: str | None, given: Mapping[str, str]) -> str | None:
    """The name of the loss that a run has in place of PPO's, by its setting or what Python gave; None: it has none."""
    return given_name(given["loss"]) if "loss" in given else setting


def same_name(one: str, other: str) -> bool:
    """Whether two descriptions have one name; a module that is run as a program is called ``__main__``."""
    one, other = sorted(map(given_name, (one, other)), key=lambda name: not name.startswith("__main__."))
    return one == other or (one.startswith("__main__.") and other.endswith(one.removeprefix("__main__")))


def _describe(thing: Any, seen: set[int]) -> str:
    """`seen` are those described already: what holds itself, or is held often, is described once."""
    if isinstance(thing, str | bytes | int | float) or thing is None:
        return repr(thing)
    if isinstance(thing, type):
        return _name(thing)
    if id(thing) in seen:
        return "…"
    seen.add(id(thing))
    if isinstance(thing, partial):
        return _call(_describe(thing.func, seen), thing.args, thing.keywords, seen)
    if not isinstance(thing, FunctionType) and callable(inner := getattr(thing, "__wrapped__", None)):
        return _describe(inner, seen)  # jitted
    if isinstance(thing, FunctionType):
        bound = dict(zip(thing.__code__.co_freevars, map(_content, thing.__closure__ or ()), strict=True))
        name = f"{_name(thing)}#{_digest(repr(_content_of(thing.__code__)))}"
        return _call(name, thing.__defaults__ or (), bound | (thing.__kwdefaults__ or {}), seen)
    if isinstance(thing, tuple | list):
        return _call(_name(type(thing)) if hasattr(thing, "_fields") else "", thing, {}, seen)
    if getattr(type(thing), "__repr__", None) == object.__repr__:
        return _call(_name(type(thing)), (), getattr(thing, "__dict__", {}), seen)
    return repr(thing)


def _call(name: str, args: Any, keywords: Mapping[str, Any], seen: set[int]) -> str:
    named = (f"{key}={_describe(value, seen)}" for key, value in keywords.items())
    told = ", ".join([*(_describe(one, seen) for one in args), *named])
    return f"{name}({told})" if told or not name else name


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _content_of(code: Any) -> Any:
    """What a function does, wherever it stands: instructions, names and constants, also of the functions in it."""
    if isinstance(code, CodeType):
        return code.co_code, code.co_names, [_content_of(one) for one in code.co_consts]
    return sorted(map(repr, code)) if isinstance(code, frozenset) else code  # their order differs between processes


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet set
        return None
