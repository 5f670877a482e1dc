"""What a report is made of: sections of text, tables, lists, figures and proof trees.

All text that comes from data or a configuration is plain text here; what writes Markdown or HTML of it escapes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ppo_jax.analysis.report.proof_trees import Example, Node
from ppo_jax.analysis.report.svg import Drawing

__all__ = [
    "IN_BACKTICKS",
    "Answer",
    "Block",
    "Cell",
    "Document",
    "Drawings",
    "Item",
    "Items",
    "Part",
    "Proof",
    "Question",
    "Questions",
    "Section",
    "Table",
    "Text",
    "Title",
    "Trees",
]

IN_BACKTICKS = re.compile(r"(`[^`|<]+`)")  # is code


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    quiet: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Title:
    """A heading within a section."""

    text: str
    kind: str = "title"


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    note: str = ""  # a word of judgement or a smaller remark below it
    level: str = ""  # "good", "fair", "bad" or "": colours the note
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names its rows."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    prose: bool = False  # columns of sentences, left-aligned; otherwise of numbers
    kind: str = "table"


@dataclass(frozen=True)
class Item:
    """One entry of a list."""

    title: str
    label: str  # "error", "all seeds", …
    level: str  # "good", "fair", "bad" or ""
    paragraphs: tuple[str, ...]
    code: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Items:
    """A list of titled entries."""

    items: tuple[Item, ...]
    kind: str = "items"


@dataclass(frozen=True)
class Drawings:
    """Figures."""

    drawings: tuple[Drawing, ...]
    kind: str = "drawings"


@dataclass(frozen=True)
class Trees:
    """Attempts at proofs."""

    examples: tuple[Example, ...]
    kind: str = "trees"


@dataclass(frozen=True)
class Part:
    """What one source gave an answer."""

    said: str  # a probability, or how sure rules are
    added: str  # to the score
    width: float  # percent of the longest bar of the question


@dataclass(frozen=True)
class Answer:
    """A ranked answer."""

    name: str
    rank: str
    mark: str  # "right", "known" or ""
    score: str
    parts: tuple[Part, ...]  # as `Questions.sources`


@dataclass(frozen=True)
class Proof:
    """The most probable proof of an answer."""

    caption: str
    probability: float  # that the policy proves the answer, on all ways
    tree: Node
    rules: tuple[str, ...]  # that it uses, by name


@dataclass(frozen=True)
class Question:
    """An open query, its answers and proofs."""

    why: str  # it was chosen
    query: str
    remark: str
    answers: tuple[Answer, ...]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Questions:
    """Open queries with bars of what each source gave."""

    sources: tuple[str, ...]
    questions: tuple[Question, ...]
    kind: str = "questions"


Block = Text | Title | Table | Items | Drawings | Trees | Questions


@dataclass(frozen=True)
class Section:
    """A numbered part of the report."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A title, what it is about, and sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
