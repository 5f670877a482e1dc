"""Arguments read by tyro; what does not fit is one line that names it, what is nearest and where help is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes

from ppo_jax.types import PPOJaxError

__all__ = ["parse"]

OPTION = re.compile(r"^\W*(?:-h, )?(--[a-z][a-z-]*)", re.MULTILINE)  # at the beginning of a line of the help
SETTING = re.compile(r"^unrecognized options: ([a-z][\w.]*=\S*)")
RULE = re.compile("[─-]{9,}")
CHOICES = re.compile(r"Expected one of \(('[^)]*')\)")
NO_TYPE = re.compile(r"no type matching \{None\}\|(\S+) could be instantiated from \[(.*?)\]\.\s+Got errors:.*")
NO_INT = "invalid literal for int() with base 10:"


def parse(kind: Any, arguments: Sequence[str], prog: str, description: str | None = None) -> Any:
    """What `arguments` say, as an object of `kind`.

    Raises:
        PPOJaxError: they do not fit.
        SystemExit: help was asked for, and printed.
    """
    said = StringIO()
    if not {"-h", "--help"}.isdisjoint(arguments):
        # tyro's help leaves out what was given before it; the first argument may be a word such as `data check`.
        arguments = [*(arguments[:1] if "command" in getattr(kind, "__dataclass_fields__", ()) else ()), "--help"]
    try:
        with redirect_stderr(said):
            return _parse(kind, arguments, prog, description)
    except SystemExit as error:
        if not error.code:
            raise
    names = {option.removeprefix("--") for option in _options(kind, arguments[:1], prog)} | {""}
    given = (argument.removeprefix("--").partition("=")[0] for argument in arguments if argument.startswith("--"))
    if wrong := next((name for name in given if name.replace("_", "-") not in names), None):
        close = difflib.get_close_matches(wrong, names, n=1)
        hint = f"did you mean --{close[0]}? " if close else ""
        if "set" in names and (key := _setting(wrong)):
            hint = f"it is a setting: --set {key}=…; "
        raise PPOJaxError(f"no option --{wrong}; {hint}see `{prog} --help`")
    unknown = _without_frame(said.getvalue())
    if "set" in names and (setting := SETTING.search(unknown)):
        raise PPOJaxError(f"{unknown}; settings stand behind --set: --set {setting[1]}")
    raise PPOJaxError(f"{unknown}; see `{prog} --help`")


def _parse(kind: Any, arguments: Sequence[str], prog: str, description: str | None) -> Any:
    options = (OmitArgPrefixes, OmitSubcommandPrefixes, FlagCreatePairsOff)
    return tyro.cli(kind, args=arguments, prog=prog, description=description, config=options)


def _options(kind: Any, word: Sequence[str], prog: str) -> list[str]:
    """The options of a command; `word`, its first argument, may name a subcommand."""
    shown = StringIO()
    for words in (word, ()):
        with suppress(SystemExit), redirect_stdout(shown), redirect_stderr(StringIO()):
            _parse(kind, [*words, "--help"], prog, None)
    return OPTION.findall(shown.getvalue())


def _setting(option: str) -> str | None:
    """The key of a configuration that an option is called like, here or in other libraries."""
    from ppo_jax.config.config import KEYS  # with an error alone: the help needs no configuration
    from ppo_jax.config.suggestions import OTHER_NAMES

    name = option.replace("-", "_")
    return name if name in KEYS else OTHER_NAMES.get(name.lower())


def _without_frame(text: str) -> str:
    """What stands between a title and a rule, in a frame or without one, as the beginning of a line."""
    said: list[str] = []
    for line in text.splitlines()[1:]:
        if not RULE.search(line):
            said.append(line.strip("│ "))
        elif said:
            break
    sentence = CHOICES.sub(_choices, " ".join(said).removesuffix("."))
    sentence = NO_TYPE.sub(r"expected \1, got \2", sentence).replace(NO_INT, "expected INT, got")
    return sentence[:1].lower() + sentence[1:]


def _choices(expected: re.Match[str]) -> str:
    """Without None, which is no word to type, and in one order."""
    words = sorted(set(re.findall(r"'([^']*)'", expected[1])) - {"None"})
    return f"Expected one of {', '.join(words)}"
