"""Reads the tables that Stable-Baselines3 and Baselines print: log.txt, a console, a notebook, a pasted page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from ppo_jax.analysis.readers.run_log import RunLog
from ppo_jax.analysis.readers.updates import Updates
from ppo_jax.types import PPOJaxError

__all__ = ["is_notebook", "is_row", "read_notebook", "read_printed"]

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and cursor of a terminal
RULE = re.compile(r"[-=+|: >]*-{5,}[-=+|: ]*$")  # the line around a table, also quoted
ROW = re.compile(r"\|\s*([A-Za-z_%][^|]*?)\s*\|\s*([^|]*?)\s*\|?$")  # | name | value |, at the end of a line


def is_row(line: str) -> bool:
    """Whether a line may be one of a printed table: a name ending in "/", or a name and a number."""
    match = ROW.search(ESCAPES.sub("", line.rstrip()))
    return match is not None and ((not match[2] and match[1].endswith("/")) or _number(match[2]) is not None)


def read_printed(lines: Iterable[str], place: object, name: str, given: Mapping[str, Any]) -> RunLog:
    """Read the printed tables in a text, in one pass; all else in it is passed over.

    Raises:
        PPOJaxError: no table has names that are known, or the algorithm is not PPO.
    """
    updates = Updates(place)
    for table in _tables(lines):
        updates.add({our: table[theirs] for theirs, our in updates.names(table).ours.items()})
    return updates.run_log(name, "", {}, given)


def _tables(lines: Iterable[str]) -> Iterator[dict[str, float]]:
    """The tables of a text, name -> number; the names of a section begin with it, as in ``train/approx_kl``."""
    table: dict[str, float] = {}
    section = ""
    sections: set[str] = set()  # of this table
    for raw in lines:
        line = ESCAPES.sub("", raw.rstrip())
        match = ROW.search(line)
        ends = match is None and RULE.match(line.strip()) is not None
        key, text = match.groups() if match else ("", "")
        begins = key.endswith("/") and not text
        name = section + key
        value = _number(text)
        # Where a paste lost the rules between tables, a section or a name that comes again begins the next.
        if ends or (begins and key in sections) or (value is not None and name in table):
            yield table
            table, sections = {}, set()
            section = "" if ends else section
        if begins:
            section = key
            sections.add(key)
        elif value is not None:
            table[name] = value
    yield table


def is_notebook(head: str) -> bool:
    """Whether a file is a Jupyter notebook, by how it begins."""
    return head.lstrip().startswith("{") and ('"cells"' in head or '"nbformat"' in head)


def read_notebook(file: TextIO, place: object, name: str, given: Mapping[str, Any]) -> RunLog:
    """Read the tables in the outputs of a notebook.

    Raises:
        PPOJaxError: it is no notebook, or see `read_printed`.
    """
    try:
        cells = json.load(file)["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PPOJaxError(f"{place}: not a notebook of Jupyter, or cut off") from None
    lines = (line for text in texts for line in "".join(text).splitlines())
    return read_printed(lines, place, name, given)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
