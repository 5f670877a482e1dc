"""What import paths in a configuration lead to: classes and functions that somebody wrote to be used here."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from ppo_jax.config.own_code import describe_raised, summarize_error
from ppo_jax.config.suggestions import nearest
from ppo_jax.types import PPOJaxError

__all__ = ["check_call", "imported"]


def imported(path: str, place: str) -> Any:
    """What the import path ``package.module:name`` leads to; nothing is called, but the module is run.

    Raises:
        PPOJaxError: it leads nowhere, or to a part of Python itself; begins with `place`.
    """
    module_name, _, attribute = path.partition(":")
    where = f"{place} = {path!r}"
    if module_name.endswith(".py"):
        raise PPOJaxError(f"{where}: leave out .py: {PurePath(module_name).name.removesuffix('.py')}:{attribute}")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise PPOJaxError(f"{where}: expected an import path such as my_package.module:Name")
    if _is_pythons(module_name):
        raise PPOJaxError(f"{where}: {module_name} is a module of Python itself; name one that was written for ppo_jax")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute)
    except ImportError as error:
        here = "; run it from the folder where the module lies, or name that in PYTHONPATH"
        missing = getattr(error, "name", None) == module_name.split(".")[0]
        raise PPOJaxError(f"{where}: cannot import {module_name}: {error}{here if missing else ''}") from None
    except AttributeError as error:
        if getattr(error, "name", None) != attribute:
            raise PPOJaxError(f"{where}: {describe_raised(error) or summarize_error(error)}") from error
        theirs = [name for name, it in vars(module).items() if getattr(it, "__module__", None) == module_name]
        hint = f"; {nearest(attribute, theirs)}" if theirs else ""
        raise PPOJaxError(f"{where}: {module_name} has no {attribute}{hint}") from None
    except (Exception, SystemExit) as error:
        raise PPOJaxError(f"{where}: {describe_raised(error) or summarize_error(error)}") from error


def check_call(thing: Any, place: str, **arguments: Any) -> None:
    """Make sure that `thing`, which a configuration names, is a class or function in Python that takes `arguments`.

    Raises:
        PPOJaxError: it is something else, or of Python itself, and is not to be called; begins with `place`.
    """
    function: Callable[..., Any] = thing
    while isinstance(function, functools.partial):
        function = function.func
    plain = isinstance(function, type) or inspect.isfunction(inspect.unwrap(function))
    if not plain or _is_pythons(str(getattr(function, "__module__", ""))):
        raise PPOJaxError(f"{place}: {describe(thing)} is no class or function that was written for ppo_jax")
    try:
        inspect.signature(thing).bind(**arguments)
    except (TypeError, ValueError) as error:
        call = ", ".join(f"{name}=..." for name in arguments)
        raise PPOJaxError(f"{place}: {describe(thing)}({call}) must work, but: {error}") from None


def describe(thing: Any) -> str:
    """The name of a class or function, the type of anything else."""
    return str(getattr(thing, "__name__", type(thing).__name__))


def _is_pythons(module: str) -> bool:
    """Whether a module belongs to Python's standard library."""
    return module.partition(".")[0] in sys.stdlib_module_names | {"builtins"}
