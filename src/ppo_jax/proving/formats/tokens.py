"""Cuts the text of a logic program into tokens, whichever of the usual signs it is written with."""

from __future__ import annotations

import re
from typing import NamedTuple

from ppo_jax.proving.formats.statements import complain

__all__ = ["EQUIVALENCES", "HEAD_FIRST", "Scanner", "Token", "unquote"]

HEAD_FIRST = frozenset({":-", "<-", "<--", "<=", "←", "⇐"})
EQUIVALENCES = frozenset({"<->", "<=>", "↔", "⇔"})

_NECK = r":-|<->|<=>|↔|⇔|<--|<-|<=|←|⇐|-->|->|=>|→|⇒"
_DIFFER = r"!==?|\\==?(?!=)|≠"
# A name may hold any sign that is not needed to tell where it ends. A full stop ends a statement where blank space or
# nothing follows, and otherwise belongs to the name, as in 3.14 or /film/film./place.
_NAME_PART = rf"(?!{_NECK}|{_DIFFER}|\.(?:\s|\Z|%))[^\s(),]"
_TOKEN = re.compile(
    rf"""
    (?P<blank>[^\S\n]+|\n)
    | (?P<comment>%[^\n]*|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    | (?P<open>/\*)
    | (?P<iri><[^<>"\s()]*:[^<>"\s]*>)
    | (?P<quoted>'(?:[^'\\\n]|\\[^\n]|'')*'|"(?:[^"\\\n]|\\[^\n]|"")*")
    | (?P<neck>{_NECK})
    | (?P<differ>{_DIFFER})
    | (?P<end>\.(?=\s|\Z|%)|(?<=\))\.)
    | (?P<sign>/\\(?=\s)|[(),;&∧|\[\]{{}}!'"])
    | (?P<name>(?:{_NAME_PART})+|[^\s])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)|''|\"\"")


class Token(NamedTuple):
    """A piece of the text; `kind` is "iri", "quoted", "neck", "differ", "end", "sign", "name", or "" at the end."""

    kind: str
    text: str
    start: int
    line: int
    first: bool  # no other token of its line comes before it


class Scanner:
    """Walks through a text token by token, and knows the line it is in."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.position = 0  # after the last token that was taken
        self._line = 1
        self._fresh = True  # no token of the line was taken
        self._next: Token | None = None
        self._after = (0, 1)  # position and line after the next token

    def peek(self) -> Token:
        """The next token, which stays where it is."""
        if self._next is None:
            position, line, fresh = self.position, self._line, self._fresh
            while match := _TOKEN.match(self.text, position):
                kind, piece = str(match.lastgroup), match.group()
                if kind == "open":
                    raise complain(
                        self.file, line, self.line_at(position), ": the comment has no end; close it with */"
                    )
                if kind not in ("blank", "comment"):
                    self._next = Token(kind, piece, position, line, fresh)
                    self._after = (match.end(), line + piece.count("\n"))
                    break
                position, line = match.end(), line + piece.count("\n")
                fresh = fresh or "\n" in piece
            else:
                self._next = Token("", "", len(self.text), line, True)
                self._after = (len(self.text), line)
        return self._next

    def take(self) -> Token:
        """The next token, which is left behind."""
        token = self.peek()
        self.position, self._line = self._after
        self._fresh, self._next = False, None
        return token

    def skip_to(self, position: int) -> None:
        """Go on at a place further on in the text."""
        start = self.position
        self._line += self.text.count("\n", start, position)
        self._fresh = self._fresh or "\n" in self.text[start:position]
        self.position, self._next = position, None

    def line_at(self, position: int) -> str:
        """The rest of a line from a place in the text on."""
        end = self.text.find("\n", position)
        return self.text[position : end if end >= 0 else len(self.text)]


def unquote(text: str) -> str:
    """What stands between the quotes, with escaped signs restored."""
    mark = text[0]
    return _ESCAPE.sub(lambda match: match[1] or (mark if match[0] == mark * 2 else match[0]), text[1:-1])
