"""Reads triples in columns: separated by tabs, commas or blanks, with or without a header and a fourth column."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Sequence

from ppo_jax.proving.formats.statements import Statements, Triple, complain, is_number

__all__ = ["ORDERS", "guess_order", "read_columns", "separator_of"]

ORDERS = ("hrt", "rht", "htr")
"""How columns can be ordered: h is the head, r the relation, t the tail."""

_HEADERS = {
    "h": [
        "h",
        "head",
        "subject",
        "subj",
        "sub",
        "s",
        "from",
        "source",
        "src",
        "head_id",
        "headentity",
        "head_entity",
        "entity1",
        "e1",
        "arg1",
        "node1",
        "x",
    ],
    "r": [
        "r",
        "rel",
        "relation",
        "predicate",
        "pred",
        "p",
        "property",
        "edge",
        "type",
        "rel_id",
        "relationship",
        "label",
        "link",
        "edge_type",
    ],
    "t": [
        "t",
        "tail",
        "object",
        "obj",
        "o",
        "to",
        "target",
        "dst",
        "tail_id",
        "tailentity",
        "tail_entity",
        "entity2",
        "e2",
        "arg2",
        "node2",
        "y",
    ],
}
_EMPTY = {"h": "head", "r": "relation", "t": "tail"}


def separator_of(lines: Sequence[str]) -> str:
    """What separates the columns of most lines: a tab, a comma, a semicolon or a blank; nothing where lines have none.

    Args:
        lines: lines that are neither blank nor comments.
    """
    if not lines:
        return ""
    most = len(lines) / 2
    if sum(line.count("\t") >= 2 for line in lines) > most:
        return "\t"
    if lines[0].lstrip().startswith(("{", "[", "<?", "<!")):
        return ""
    plain = [line for line in lines if not line.rstrip().endswith((")", ").", ":-")) and ":-" not in line]
    for separator in ",;":
        if sum(len(_fields(line, separator)) in (3, 4) for line in plain) > most:
            return separator
    if sum("(" not in line and len(line.split()) in (3, 4) for line in plain) > most:
        return " "
    return ""


def read_columns(text: str, file: str, separator: str, order: str | None = None) -> Statements:
    """Parse triples in columns.

    A fourth column is a weight, which is not used, a label (0, -1 or false leave the triple out), or a full stop.

    Args:
        text: the lines; those that are blank or start with ``%`` or ``#`` are skipped.
        file: what errors name.
        separator: what `separator_of` says.
        order: one of `ORDERS`; without it, that of the header, or head, relation, tail.

    Raises:
        PPOJaxError: a line has another number of columns, or one of them is empty.
    """
    rows: list[tuple[int, list[str]]] = []
    skipped: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.strip()
        if not content or content[0] in "%#" or content.startswith("//"):
            if separator == "\t" and content.count("\t") == 2:
                skipped.append(number)
            continue
        rows.append((number, _row(line, file, number, separator)))
    notes: list[str] = []
    if rows and all(len(row) == 4 for _, row in rows) and header_order(rows[0][1][1:], ()):
        # The first column numbers the rows, as tables of pandas are written.
        rows = [(number, row[1:]) for number, row in rows]
    header = header_order(rows[0][1], [row for _, row in rows[1:]]) if rows else None
    if header is not None:
        notes.append(f"{file}:{rows[0][0]}: the line is taken for a header, not for a fact")
        rows = rows[1:]
        order = order or header
    if skipped:
        notes.append(
            f"{file}:{skipped[0]}: lines of three columns that start with % or # are comments: {len(skipped)}; write "
            "p('#a',b). where the name starts so"
        )
    stated = order is not None
    order = order or ORDERS[0]
    places = [order.index(part) for part in "rht"]
    facts: list[Triple] = []
    lines: list[int] = []
    for number, row in rows:
        for part, field in zip(order, row, strict=False):
            if not field:
                raise complain(
                    file, number, " ".join(row), f": the {_EMPTY[part]} is empty; fill it in or remove the line"
                )
        facts.append((row[places[0]], row[places[1]], row[places[2]]))
        lines.append(number)
    extra = [row[3].lower() for _, row in rows if len(row) > 3 and row[3] not in ("", ".")]
    if extra:
        keep = _labelled(rows, file, notes)
        facts = [fact for fact, kept in zip(facts, keep, strict=True) if kept]
        lines = [line for line, kept in zip(lines, keep, strict=True) if kept]
    return Statements(file, facts, lines, [], tuple(notes), order, separator, stated=stated)


def guess_order(facts: Iterable[Triple], predicates: Collection[str] = ()) -> str:
    """The order of the columns, judged by names that were read as head, relation and tail.

    Args:
        facts: (second column, first column, third column) of each line.
        predicates: those of the rules, which tell best which column is the relation.
    """
    columns: list[set[str]] = [set(), set(), set()]
    for second, first, third in facts:
        columns[0].add(first)
        columns[1].add(second)
        columns[2].add(third)
    counts = [len(column & set(predicates)) for column in columns]
    if any(counts):
        return ("rht", "hrt", "htr")[max((1, 0, 2), key=counts.__getitem__)]
    left, middle, right = columns
    if middle & right and not left & (middle | right) and len(left) < len(middle):
        return "rht"
    if middle & left and not right & (left | middle) and len(right) < len(middle):
        return "htr"
    return "hrt"


def header_order(first: Sequence[str], others: Sequence[Sequence[str]]) -> str | None:
    """The order that a line names, if it is a header; one whose names come again below is a fact."""
    parts = []
    for field in first[:3]:
        name = field.strip("<>:\"'").lower().replace(" ", "_")
        parts.append(next((part for part, names in _HEADERS.items() if name in names), ""))
    order = "".join(parts)
    if order not in ORDERS:
        return None
    head, relation, tail = (order.index(part) for part in "hrt")
    entities = {first[head], first[tail]}
    again = [row for row in others if row[relation] == first[relation]]
    return None if again and any(entities & {row[head], row[tail]} for row in others) else order


def _labelled(rows: Sequence[tuple[int, list[str]]], file: str, notes: list[str]) -> list[bool]:
    """Which rows hold, by their fourth columns."""
    values: list[float] = []
    for number, row in rows:
        text = row[3].lower() if len(row) > 3 else ""
        value = {"": 1.0, ".": 1.0, "true": 1.0, "false": 0.0, "pos": 1.0, "neg": 0.0, "+": 1.0, "-": 0.0}.get(text)
        if value is None and is_number(text):
            value = float(text)
        if value is None:
            raise complain(
                file,
                number,
                " ".join(row),
                f" has four columns; the fourth may hold a weight or a label such as 1, and {row[3]!r} is neither, so "
                "remove it; where a name holds a blank, separate the columns by tabs",
            )
        values.append(value)
    if set(values) <= {-1.0, 0.0, 1.0}:
        wrong = sum(value <= 0 for value in values)
        notes.append(f"{file}: the fourth column is read as a label; triples that do not hold, left out: {wrong}")
        return [value > 0 for value in values]
    notes.append(f"{file}: the fourth column is read as a weight, which is not used: every triple counts as true")
    return [True] * len(values)


def _row(line: str, file: str, number: int, separator: str) -> list[str]:
    fields = _fields(line, separator)
    while len(fields) > 4 and not fields[-1]:
        fields.pop()
    if len(fields) not in (3, 4):
        names = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "blanks"}
        raise complain(
            file,
            number,
            line,
            f": cannot read a line of {len(fields)} column{'s' if len(fields) > 1 else ''}; expected "
            f"`head{separator.replace(chr(9), '<TAB>')}relation{separator.replace(chr(9), '<TAB>')}tail`, with "
            f"{names[separator]} between as in the other lines",
        )
    return fields


def _fields(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if separator == "\t":
        return [_bare(field.strip()) for field in line.split("\t")]
    try:
        return [field.strip() for field in next(_csv(line, separator), [])]
    except csv.Error:  # a field of more than 131,072 characters, mostly after a quote that nothing closes
        return [line]


def _csv(line: str, separator: str) -> Iterator[list[str]]:
    return csv.reader([line], delimiter=separator, skipinitialspace=True)


def _bare(field: str) -> str:
    """A name without the brackets of an IRI."""
    return field[1:-1] if field.startswith("<") and field.endswith(">") and ":" in field else field
