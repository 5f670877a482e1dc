"""What a run has of the user's own: what Python gave it beside its configuration, in words; and a digest of its code.

Runs of one configuration were given the same.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ppo_jax.config.own_code import is_own

__all__ = ["LOOK_AT_LOSS", "describe_given", "digest_code", "given_name", "name_of_loss", "same_name"]

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


def digest_code(thing: Any) -> str:
    """A digest of the user's own code behind a function, a class or an object, with all of it that this names.

    The same wherever the code stands, and in every process. What only `getattr` or a registry finds is not in it.
    """
    return _digest(repr(_own_code(thing, set())))


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


def _own_code(thing: Any, seen: set[int]) -> Any:
    """`seen` are those looked at already."""
    if isinstance(thing, partial | property):
        return _own_code(thing.func if isinstance(thing, partial) else thing.fget, seen)
    thing = inspect.unwrap(thing) if callable(thing) and not isinstance(thing, type) else thing
    if isinstance(thing, bool | int | float | str) or thing is None:
        return repr(thing)
    if id(thing) in seen or isinstance(thing, ModuleType):
        return None
    seen.add(id(thing))
    if isinstance(thing, FunctionType):
        if not is_own(thing.__code__.co_filename):
            return None
        inside = (*_named(thing), *map(_content, thing.__closure__ or ()), *(thing.__defaults__ or ()))
        return _content_of(thing.__code__), [_own_code(one, seen) for one in inside]
    if not isinstance(thing, type):
        return _own_code(type(thing), seen)
    return [
        (name, _own_code(one, seen))
        for cls in thing.__mro__
        if is_own(getattr(inspect.getmodule(cls), "__file__", None) or "<")
        for name, one in sorted(vars(cls).items())
        if not name.startswith("__") or callable(one)
    ]


def _named(function: FunctionType) -> list[Any]:
    """What a function names of the module that it is in, and of the modules that it names."""

    def names(code: CodeType) -> list[str]:
        return [*code.co_names, *(name for one in code.co_consts if isinstance(one, CodeType) for name in names(one))]

    used = [name for name in dict.fromkeys(names(function.__code__)) if not name.startswith("__")]
    found = [function.__globals__[name] for name in used if name in function.__globals__]
    modules = [one for one in found if isinstance(one, ModuleType) and is_own(getattr(one, "__file__", None) or "<")]
    return [*found, *(vars(module)[name] for module in modules for name in used if name in vars(module))]
