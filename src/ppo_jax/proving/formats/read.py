"""Reads a file in whichever notation it is written."""

from __future__ import annotations

from ppo_jax.proving.formats.columns import header_order, read_columns, separator_of
from ppo_jax.proving.formats.logic import FACT, RULE, read_logic
from ppo_jax.proving.formats.mined import is_amie, read_amie
from ppo_jax.proving.formats.rdf import is_rdf, read_rdf
from ppo_jax.proving.formats.statements import Statements, Triple

__all__ = ["parse_statements"]

_SAMPLE = 1000  # lines that tell what separates columns


def parse_statements(text: str, file: str, columns: str | None = None) -> Statements:
    """Parse a file of facts, queries or rules without looking up the names in it.

    Args:
        text: what the file holds.
        file: what errors name.
        columns: order of the columns of triples, "hrt", "rht" or "htr"; without it, that of a header, or "hrt".

    Raises:
        PPOJaxError: a line is none of the notations, an atom has more than two arguments, a weight is no number, or a
            rule uses what rules here cannot express; the message names ``file:line``, the text and the remedy.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if columns in (None, "hrt") and (plain := _plain(text, file)) is not None:
        return plain
    if is_rdf(text):
        return read_rdf(text, file)
    if is_amie(text):
        return read_amie(text, file)
    content = [line for line in text.split("\n") if line.strip() and line.strip()[0] not in "%#"]
    sample = [line for line in content[:_SAMPLE] if not FACT.fullmatch(line.strip())]
    separator = separator_of(sample) if len(sample) > min(len(content), _SAMPLE) / 2 else ""
    if separator and not any(RULE.search(line) or any(sign in line for sign in ("<--", ":-", "::")) for line in sample):
        return read_columns(text, file, separator, columns)
    return read_logic(text, file)


def _plain(text: str, file: str) -> Statements | None:
    """A file of nothing but plain facts and triples, which is most of them and should be read fast."""
    facts: list[Triple] = []
    lines: list[int] = []
    match_fact = FACT.fullmatch
    tabs = False
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line[0] in "%#":
            if line.count("\t") == 2:
                return None
            continue
        match = match_fact(line)
        if match:
            if match[1] == "evidence":
                return None
            facts.append((match[1], match[2], match[3]))
            lines.append(number)
            continue
        fields = line.split("\t")
        if len(fields) != 3 or ":-" in line or "->" in line or "<" in line or "=>" in line:
            return None
        left, predicate, right = (field.strip() for field in fields)
        if not (left and predicate and right):
            return None
        if not facts and header_order((left, predicate, right), ()):
            return None
        facts.append((predicate, left, right))
        lines.append(number)
        tabs = True
    return Statements(file, facts, lines, [], (), "hrt" if tabs else "", "\t" if tabs else "")
