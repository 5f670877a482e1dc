"""Standard output and error on any terminal, pipe or full disk: characters they lack, and ends that are gone."""

from __future__ import annotations

import codecs
import io
import os
import sys

__all__ = ["discard_output", "prepare_streams"]

# What we write ourselves, for terminals without it; all else is escaped.
IN_ASCII = {"–": "-", "−": "-", "→": "->", "×": "x", "±": "+-", "…": "...", "≥": ">=", "≤": "<=", "∞": "inf"}


def prepare_streams() -> None:
    """Make the streams of this process such that printing neither fails for a character nor harms what runs.

    A closed stream is a stream to nowhere: the next file opened would otherwise take its number, and get what
    libraries write there. What cannot be written to standard error is dropped: it is talk, and no reason to stop.
    """
    codecs.register_error("in_ascii", _in_ascii)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="in_ascii")
    encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
    raw = io.BufferedWriter(_Unfailing(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, encoding, errors="in_ascii", line_buffering=True)


def discard_output() -> None:
    """Send to nowhere what is still to be written to standard output: Python would try again while it ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return  # not a stream of the process


class _Unfailing(io.FileIO):
    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """The handler of characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end
