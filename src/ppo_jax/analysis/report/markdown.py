"""A report as Markdown that GitHub reads."""

from __future__ import annotations

import re

from ppo_jax.analysis.report.blocks import (
    IN_BACKTICKS,
    Block,
    Cell,
    Document,
    Drawings,
    Item,
    Items,
    Question,
    Questions,
    Table,
    Text,
    Title,
    Trees,
)
from ppo_jax.analysis.report.proof_trees import draw_text
from ppo_jax.config.legible import legible

__all__ = ["to_markdown"]


def to_markdown(document: Document) -> str:
    """The report as Markdown; figures are linked as files of the folder ``figures``."""
    parts = [f"# {_escape(document.title)}", _escape(document.subtitle)]
    for number, section in enumerate(document.sections, start=1):
        parts += [f"## {number}. {_escape(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
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
        case Questions():
            return "\n\n".join(_question(block.sources, one) for one in block.questions)


def _question(sources: tuple[str, ...], question: Question) -> str:
    """The bars as numbers: what a source said, and in brackets what it added to the score."""
    rows = [["rank", "answer", *map(_escape, sources), "score"], ["---:", "---", *["---:"] * (len(sources) + 1)]]
    for one in question.answers:
        name = f"**{_escape(one.name)}**" if one.mark == "right" else _escape(one.name)
        name += f" ({one.mark})" if one.mark else ""
        rows.append([one.rank, name, *(f"{part.said} ({part.added})" for part in one.parts), one.score])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    parts = [f"**{_escape(question.query)}**, {_escape(question.why)}. {_escape(question.remark)}", table]
    for proof in question.proofs:
        text = "\n".join([draw_text(proof.tree), "", *(" ".join(rule.split()) for rule in proof.rules)]).rstrip()
        caption = f"{_escape(proof.caption)}, probability over all its proofs {proof.probability:.2g}"
        parts.append(f"{caption}:\n\n{_fenced(text)}")
    return "\n\n".join(parts)


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


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line; what stands in backticks is code."""
    plain_and_code = IN_BACKTICKS.split(legible(" ".join(text.split())))
    return "".join(part if i % 2 else _escape_plain(part) for i, part in enumerate(plain_and_code))


def _escape_plain(text: str) -> str:
    """Underscores within words mean nothing in Markdown and stay legible."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[\\`*\[\]|$~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _fenced(text: str) -> str:
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join((fence, legible(text, keep="\n"), fence))
