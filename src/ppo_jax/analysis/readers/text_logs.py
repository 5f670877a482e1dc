"""Reads the text files of other trainers, whatever their form: what begins a file tells which reader it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ppo_jax.analysis.readers.csv_table import find_header, read_csv
from ppo_jax.analysis.readers.json_lines import read_json
from ppo_jax.analysis.readers.monitor import is_monitor, read_monitor
from ppo_jax.analysis.readers.printed import is_notebook, is_row, read_notebook, read_printed
from ppo_jax.analysis.readers.run_log import RunLog
from ppo_jax.analysis.readers.text import open_text
from ppo_jax.analysis.readers.updates import FORMATS
from ppo_jax.types import PPOJaxError

__all__ = ["find_text_log", "read_text_log"]

LOGS = ("result.json", "progress.csv", "progress.json", "log.txt")  # in a folder, the fullest first
MONITORS = "*monitor.csv"  # one for each environment
HEAD = 1 << 16  # characters by which the form is told
PREAMBLE = 200  # lines that may come before the header of a table
JSON = re.compile(r"\s*(?:\[\s*)?\{\s*[\"}]")


def find_text_log(folder: Path) -> Path | None:
    """The log that a trainer left in a folder, or the folder itself where that holds monitor files; else None."""
    found = next((folder / name for name in LOGS if (folder / name).is_file()), None)
    return found or (folder if any(folder.glob(MONITORS)) else None)


def read_text_log(path: str | Path, settings: Mapping[str, Any] | None = None) -> RunLog:
    """Read a text file of another trainer, or the one in a folder, or standard input for ``-``.

    Args:
        path: a CSV file, JSON lines, printed tables, a notebook, monitor files.
        settings: configuration keys the log lacks, such as ``{"n_steps": 2048, "n_envs": 1}``.

    Raises:
        PPOJaxError: it cannot be opened, is none of these, or is the log of an algorithm other than PPO.
    """
    path, given = Path(path), settings or {}
    if path.is_dir() and (path := find_text_log(path) or path / "progress.csv").is_dir():
        with ExitStack() as stack:
            files = [stack.enter_context(open_text(file)) for file in sorted(path.glob(MONITORS))]
            return read_monitor(files, path, path.resolve().name, given)
    generic = path.name in (*LOGS, "monitor.csv") or path.name.endswith(".monitor.csv")
    name = path.resolve().parent.name if generic else "standard input" if str(path) == "-" else path.stem
    with open_text(path) as file:
        head = file.read(HEAD)
        file.seek(0)
        lines = head.splitlines()
        if not head.strip():
            raise PPOJaxError(f"{path}: no line with train/* columns or the like of PPO: the file is empty; {FORMATS}")
        if is_notebook(head):
            return read_notebook(file, path, name, given)
        if JSON.match(head):
            return read_json(file, path, name, given)
        if is_monitor(next((line for line in lines if not line.startswith("#")), "")):
            return read_monitor([file], path, name, given)
        if any(map(is_row, lines)) or (header := find_header(lines[:PREAMBLE])) is None:
            return read_printed(file, path, name, given)
        return read_csv(file, header, path, name, given)
