"""A document of headings, tables, figures and trees, written as Markdown and as one HTML page.

All text that comes from data or a configuration is plain text here; the two writers escape it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ppo_jax.analysis.figures import Drawing
from ppo_jax.analysis.trees import Example, draw_text

__all__ = [
    "Block",
    "Cell",
    "Code",
    "Document",
    "Drawings",
    "Item",
    "Items",
    "Section",
    "Table",
    "Text",
    "Title",
    "Trees",
]


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
class Code:
    """Text as it stands."""

    text: str
    kind: str = "code"


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


Block = Text | Title | Table | Items | Code | Drawings | Trees


@dataclass(frozen=True)
class Section:
    """A numbered part."""

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

    def to_html(self) -> str:
        """One page that needs nothing else: no script, no request."""
        import jinja2

        templates = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
        page = jinja2.Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        page.filters["prose"] = _prose
        return page.get_template("report.html").render(document=self)

    def to_markdown(self) -> str:
        """Markdown as GitHub reads it; figures are linked as files of the folder ``figures``."""
        parts = [f"# {_escape(self.title)}", _escape(self.subtitle)]
        for number, section in enumerate(self.sections, start=1):
            parts += [f"## {number}. {_escape(section.title)}", *map(_markdown, section.blocks)]
        return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Text():
            return _escape(block.text)
        case Title():
            return f"### {_escape(block.text)}"
        case Table():
            align = ["---"] + ["---" if block.prose else "---:"] * (len(block.headers) - 1)
            rows = [[_escape(header) or " " for header in block.headers], align]
            rows += [[_cell(cell) for cell in row] for row in block.rows]
            return "\n".join(f"| {' | '.join(row)} |" for row in rows)
        case Items():
            return "\n\n".join(map(_item, block.items))
        case Code():
            return _fenced(block.text)
        case Drawings():
            return "\n\n".join(
                f"**{_escape(one.title)}.** {_escape(one.caption)}\n\n![{_escape(one.title)}](figures/{one.name}.svg)"
                for one in block.drawings
            )
        case Trees():
            return "\n\n".join(
                f"**{_escape(one.query)}**: {_escape(one.verdict)}, in {_escape(one.run)}. "
                f"Probability of the attempt {one.probability:.2g}.\n\n{_fenced(draw_text(one.tree))}"
                for one in block.examples
            )


def _cell(cell: Cell) -> str:
    text = f"**{_escape(cell.text)}**" if cell.strong and cell.text else _escape(cell.text)
    return f"{text} ({_escape(cell.note)})" if cell.note else text


def _item(item: Item) -> str:
    lines = [f"- **{_escape(item.title)}**" + (f" ({_escape(item.label)})" if item.label else "")]
    lines += [f"  {_escape(text)}" for text in item.paragraphs]
    if item.code:
        lines.append("\n".join(f"  {line}" for line in _fenced(item.code).splitlines()))
    if item.remark:
        lines.append(f"  {_escape(item.remark)}")
    return "\n\n".join(lines)


CODE = re.compile(r"(`[^`|<]+`)")


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line; what stands in backticks is code."""
    plain_and_code = CODE.split(" ".join(text.split()))
    return "".join(part if i % 2 else _escape_plain(part) for i, part in enumerate(plain_and_code))


def _escape_plain(text: str) -> str:
    """Underscores within words mean nothing in Markdown and stay legible."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[\\`*\[\]|$~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _prose(text: str) -> str:
    """Text for HTML, escaped; what stands in backticks is code."""
    from markupsafe import Markup, escape

    parts = enumerate(CODE.split(text))
    return Markup("").join(Markup("<code>{}</code>").format(part[1:-1]) if i % 2 else escape(part) for i, part in parts)


def _fenced(text: str) -> str:
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
