"""Opens text files as people keep them: any common encoding and line end, a pipe, a pasted page."""

from __future__ import annotations

import codecs
import io
import sys
from pathlib import Path
from typing import TextIO

from ppo_jax.types import PPOJaxError

__all__ = ["open_text"]

HEAD = 1 << 16  # bytes from which the encoding is told
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip


def open_text(path: Path) -> TextIO:
    """Open a file, or standard input for ``-``; what its encoding cannot say becomes a replacement character.

    Raises:
        PPOJaxError: it cannot be opened.
    """
    try:
        if str(path) == "-":
            raw: io.BytesIO | io.BufferedReader = io.BytesIO(sys.stdin.buffer.read())
        else:
            raw = open(path, "rb")  # noqa: SIM115 (closed with the text that wraps it)
        head = raw.read(HEAD)
        raw.seek(0)
    except OSError as error:
        raise PPOJaxError(f"{path}: {error.strerror}; give the file or folder of a log") from None
    return io.TextIOWrapper(raw, encoding=_encoding(head), errors="replace")


def _encoding(head: bytes) -> str:
    for bom, encoding in BOMS:
        if head.startswith(bom):
            return encoding
    if head and head[1::2].count(0) > len(head) // 4:  # Latin letters of two bytes, without a mark
        return "utf-16-le"
    if head and head[0::2].count(0) > len(head) // 4:
        return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"
