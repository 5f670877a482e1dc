"""Text from outside as people may be shown it: what a terminal or a page would obey is written out."""

from __future__ import annotations

import re

__all__ = ["legible", "shorten"]

# Control characters (C0 and C1), lone surrogates, line separators, and what turns the direction of writing.
OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 200  # characters of a value in a message


def legible(text: str, keep: str = "") -> str:
    r"""The text with control characters, line breaks and marks of direction as escapes: ``\x1b``, ``\u202e``.

    Args:
        text: from a file, a folder's name, a library.
        keep: characters that stay, such as ``"\n"``.
    """
    return OBEYED.sub(lambda found: found[0] if found[0] in keep else _escape(ord(found[0])), text)


def shorten(value: object) -> str:
    """A value as ``repr`` writes it, or as much of it as a line can hold: the beginning and how long it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or lists within lists
        return f"a very large {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
