"""Reads CSV logs: of Stable-Baselines3, Baselines and RLlib, exports of W&B, and what spreadsheets make of them."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TextIO

import numpy as np

from ppo_jax.analysis.readers.algorithms import other_algorithm
from ppo_jax.analysis.readers.names import translate_names, wandb_runs
from ppo_jax.analysis.readers.run_log import RunLog, legible
from ppo_jax.analysis.readers.updates import Updates
from ppo_jax.types import PPOJaxError

__all__ = ["find_header", "read_csv"]

BLOCK = 1000  # lines
DELIMITERS = (",", ";", "\t", "|", " ")
RUNS_TABLE = ({"Name", "State"}, {"Name", "Created"})  # columns of W&B's table of runs


def find_header(lines: Sequence[str]) -> int | None:
    """Which of the first lines of a file is the header of a table: one that has names known; None where there is none.

    Comments, the ``sep=`` that Excel writes and text around a pasted table may come before it.
    """
    return next((at for at, line in enumerate(lines) if _delimiter(line)), None)


def read_csv(file: TextIO, header: int, place: object, name: str, given: Mapping[str, Any]) -> RunLog:
    """Read a CSV file whose header is the line of that index, in one pass.

    Raises:
        PPOJaxError: several runs stand side by side, most lines do not fit the header, or the algorithm is not PPO.
    """
    for _ in range(header):
        next(file)
    text = next(file)
    table = _Table(place, _delimiter(text) or ",")
    head = [text, *islice(file, 10)]  # the first lines often lack losses
    plain = table.delimiter != " " and not any('"' in line for line in head)
    rows = _split(head if plain else chain(head, file), table.delimiter)
    table.begin(next(rows))
    number, block = header + 1, list[str]()
    try:
        for number, cells in enumerate(rows, start=header + 2):
            table.add(number, cells)
        # Plain lines are read in blocks, which is much faster, up to the first block with an odd one.
        while plain and table.add_block(block := list(islice(file, BLOCK))):
            number += len(block)
        rows, behind = _split(chain(block, file), table.delimiter), number + 1
        for number, cells in enumerate(rows, start=behind):
            table.add(number, cells)
    except csv.Error as error:
        raise PPOJaxError(f"{place}:{number + 1}: not CSV: {error}") from None
    table.end()
    return table.updates.run_log(name, "", {}, given)


def _delimiter(header: str) -> str | None:
    """What separates the cells of a header: that which finds the most names known; None where it finds none."""
    cells = {delimiter: tuple(next(_split([header], delimiter), ())) for delimiter in DELIMITERS}
    known = {
        delimiter: len(translate_names(names).ours) or other_algorithm(names) is not None
        for delimiter, names in cells.items()
        if delimiter != " "
        or len(names) <= 1
        or len(translate_names(names).ours) > 1  # one may be a word of a sentence
    }
    best = max(known, key=lambda delimiter: known[delimiter])
    return best if known[best] else None


def _split(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """The cells of each line; where blanks align the columns, several of them are one."""
    if delimiter != " ":
        yield from csv.reader(lines, delimiter=delimiter)
        return
    aligned = None
    for line in lines:
        aligned = line.startswith(" ") or "  " in line.strip() if aligned is None else aligned
        yield line.split() if aligned else line.rstrip("\n").split(" ")


class _Table:
    """The lines below a header."""

    def __init__(self, place: object, delimiter: str) -> None:
        self.updates = Updates(place)
        self.delimiter = delimiter
        self._header: list[str] = []
        self._ours: list[tuple[int, str]] = []  # place in a line, our name
        self._long = self._all = 0
        self._short: tuple[int, list[str]] | None = None  # a line shorter than the header: is it the last?

    def begin(self, header: list[str]) -> None:
        """Take a line for the header of those that follow."""
        header = [name.strip() for name in header]
        if any(columns <= set(header) for columns in RUNS_TABLE):
            raise PPOJaxError(
                f"{self.updates.place}: W&B's table of runs, a line a run; export the history of one run or its charts"
            )
        if len(runs := wandb_runs(header)) > 1:
            raise PPOJaxError(
                f"{self.updates.place}: {len(runs)} runs side by side ({legible(', '.join(runs[:8]))}); export one"
            )
        ours = self.updates.names(header).ours
        self._header = header
        self._ours = [(header.index(name), our) for name, our in ours.items()]

    def add(self, number: int, cells: list[str]) -> None:
        """Take the next line."""
        if not any(cells):
            return
        self._all += 1
        width = len(self._header)
        if self._short:
            early, self._short = self._short, None
            self._read(*early, "shorter than the header; read as far as it goes")
        if len(cells) < width:
            self._short = (number, cells)
        elif any(cells[width:]):
            self._long += 1
            self._read(number, cells, "longer than the header; what is beyond it is left out")
        else:
            self._read(number, cells)

    def add_block(self, lines: list[str]) -> bool:
        """Take lines at once; False, and none is taken, where one has not a number for each name of the header."""
        more = len(self._header) - 1
        if not lines or self._short or any(line.count(self.delimiter) != more or '"' in line for line in lines):
            return False
        places, names = zip(*self._ours, strict=True) if self._ours else ((), ())
        try:
            rows = np.loadtxt(lines, delimiter=self.delimiter, usecols=places, comments=None, ndmin=2)
        except ValueError:
            return False
        taken = len(rows) == len(lines) and self.updates.add_rows(names, rows)
        self._all += len(lines) * taken
        return taken

    def end(self) -> None:
        """No line follows: a short last one was cut off, maybe within a number."""
        if self._short:
            number, cells = self._short
            self._read(number, cells[:-1], "cut off; read as far as it goes")
        if self._long > self._all / 2:
            raise PPOJaxError(
                f"{self.updates.place}: most lines have more cells than the header, so which is which is not known; "
                "save it again with a name for every column"
            )

    def _read(self, number: int, cells: list[str], note: str = "") -> None:
        try:
            line = {our: float(cells[place]) for place, our in self._ours if cells[place]}
        except IndexError:
            line = self._read_text(cells)
        except ValueError:
            if _may_be_name(cells) and len(translate_names(tuple(cells)).ours) > 1:
                self.begin(cells)
                self.updates.note("the header again", number)
                return
            line = self._read_text(cells)
        if note:
            self.updates.note(note, number)
        self.updates.add(line)

    def _read_text(self, cells: list[str]) -> dict[str, float]:
        """A line that is short, or has text where a number should be; its numbers may have a decimal comma."""
        line = {}
        for place, our in self._ours:
            text = cells[place] if place < len(cells) else ""
            with contextlib.suppress(ValueError):
                line[our] = float(text if self.delimiter == "," else text.replace(",", "."))
        return line


def _may_be_name(cells: list[str]) -> bool:
    first = next((cell.strip(' "') for cell in cells if cell.strip(' "')), "")
    return first[:1].isalpha() and first.lower() not in ("nan", "inf", "none", "null")
