"""TOML files in and out, and values written on the command line as ``key=value``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from ppo_jax.types import PPOJaxError

__all__ = ["parse_assignment", "parse_values", "read_toml", "shortest", "write_toml"]

BARE_NUMBER = r"[+-]?([0-9]+\.|\.[0-9]+)([eE][+-]?[0-9]+)?"  # .1 and 1., which TOML refuses


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        PPOJaxError: the file is missing, cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PPOJaxError(f"{path}: no such file") from None
    except OSError as error:
        raise PPOJaxError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PPOJaxError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except RecursionError:
        raise PPOJaxError(f"{path}: nested too deeply") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise PPOJaxError(f"{path}: not valid TOML: {error}") from None


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML that `read_toml` reads back to equal tables; a dict within a table is written inline."""
    document = tomlkit.document()
    for name, values in tables.items():
        document[name] = table = tomlkit.table()
        for key, value in values.items():
            if isinstance(value, Mapping):
                table[key] = tomlkit.inline_table()
                table[key].update(value)
            else:
                table[key] = list(value) if isinstance(value, tuple) else value
    return tomlkit.dumps(document)


def shortest(value: float) -> str:
    """A float as briefly as it can be written and read back to the same."""
    return brief if float(brief := f"{value:g}") == value else repr(value)


def parse_assignment(text: str, place: str = "--set") -> tuple[str, Any]:
    """Split ``"key=value"``; the value is TOML, the bare word ``none``, or else a string. `place` begins an error.

    Raises:
        PPOJaxError: no key, or no equals sign.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise PPOJaxError(f"{place} {text}: expected key=value")
    if value.lower() == "none":
        return key, None
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key, float(value) if re.fullmatch(BARE_NUMBER, value) else value


def parse_values(text: str) -> tuple[str, list[Any]]:
    """Split ``"key=value,value,…"``; the values are TOML, the bare word ``none``, or else strings.

    Raises:
        PPOJaxError: no key, no equals sign, or no value.
    """
    key, equals, values = (part.strip() for part in text.partition("="))
    if not (key and equals and values):
        raise PPOJaxError(f"--grid {text}: expected key=value,value,…")
    try:
        return key, tomllib.loads(f"values = [{values}]")["values"]
    except (ValueError, RecursionError):
        return key, [parse_assignment(f"{key}={value}")[1] for value in values.split(",")]
