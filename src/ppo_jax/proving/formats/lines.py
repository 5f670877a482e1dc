"""Notations of one line each: tables of triples, N-Triples, and the rule files of miners."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ppo_jax.proving.formats.statements import Clause, Triple, problem

__all__ = ["Table", "miner_rule", "n_triple"]

HEADS = {
    **dict.fromkeys(("head", "h", "subject", "s", "subj", "source", "from", "node1"), "h"),
    **dict.fromkeys(("relation", "r", "rel", "predicate", "p", "pred", "edge", "label"), "r"),
    **dict.fromkeys(("tail", "t", "object", "o", "obj", "target", "to", "node2"), "t"),
}
_N_TRIPLE = re.compile(r"(<[^<>]*>|_:\S+)\s+(<[^<>]*>)\s+(<[^<>]*>|_:\S+|\".*\"\S*)\s*\.")
_ANYBURL = re.compile(r"\d+\t\d+\t([-+.\deE]+)\t(.+?)\s*<=\s*(.*)")
_NCRL = re.compile(r"([.\deE+-]+)\s*(?:\([^()]*\))?\s*\t?\s*(.+?)\s*<--\s*(.*)")
_AMIE_ATOM = re.compile(r"(\S+)\s+(\S+)\s+(\S+)")
_AMIE_CONFIDENCE = 3  # column of the PCA confidence, counted from the rule


@dataclass
class Table:
    """Triples as rows of fields, in an order of columns that is given, read off a header, or head, relation, tail."""

    columns: str = "hrt"
    header: str | None = None  # the line that was read as one
    extra: bool = False  # whether rows have a fourth column, which is not used

    def fields(self, line: str, first: bool, source: str) -> Triple | None:
        """The triple of a line with tabs or commas; None for a header, and where the line is no row of a table.

        Raises:
            PPOJaxError: a field is empty, or the triple is labelled false.
        """
        fields = _fields(line)
        if fields is None:
            return None
        if first and (order := _header(fields)):
            self.columns, self.header = order, line
            return None
        if len(fields) == 4 and fields[3] == ".":  # N-Triples with names in place of IRIs
            fields = fields[:3]
        if any(not field for field in fields[:3]):
            raise problem(source, line, "a field is empty; a triple has a head, a relation and a tail")
        if len(fields) == 4:
            self.extra = True
            if fields[3] in ("0", "-1", "False", "false"):
                raise problem(source, line, "is labelled false; leave such triples out, only true ones are facts")
        row = dict(zip(self.columns, fields, strict=False))
        return row["r"], row["h"], row["t"]


def n_triple(line: str) -> Triple | None:
    """The triple of a line of N-Triples; IRIs keep their brackets."""
    match = _N_TRIPLE.fullmatch(line)
    return (match[2], match[1], match[3]) if match else None


def miner_rule(line: str, source: str) -> tuple[str, float] | Clause | None:
    """A line of a rule file of AnyBURL, AMIE 3 or NCRL; None where it is none.

    Of AnyBURL and NCRL the rule in a notation with a neck, and its confidence. In AnyBURL single capital letters are
    the variables. Of AMIE the clause itself, with the PCA confidence.

    Raises:
        PPOJaxError: the rule of such a line cannot be read.
    """
    if match := _ANYBURL.fullmatch(line):
        return f"{_quoted_names(match[2])} <= {_quoted_names(match[3])}", float(match[1])
    if "=>" in line and "?" in line:
        return _amie(line, source)
    if "<--" in line and (match := _NCRL.fullmatch(line)) and "(" not in match[2] + match[3]:
        return _chain(match[2], match[3]), float(match[1])
    if "<--" in line and (match := _NCRL.fullmatch(line)):
        return f"{match[2]} <-- {match[3]}", float(match[1])
    return None


def _fields(line: str) -> list[str] | None:
    """The three or four fields of a line of a table."""
    if "\t" in line:
        fields = [field.strip() for field in line.split("\t")]
        return fields if len(fields) in (3, 4) else None
    if line.count(",") in (2, 3) and not re.search(r"[()]", line):
        fields = [field.strip() for field in next(csv.reader([line]))]
        return fields if len(fields) in (3, 4) else None
    if line.count(" ") == 2 and not re.search(r"[(),]", line):
        return line.split(" ")
    return None


def _header(fields: Sequence[str]) -> str | None:
    """The order of the columns that a header names, such as ``"hrt"``."""
    order = "".join(HEADS.get(field.lower(), "?") for field in fields[:3])
    return order if sorted(order) == ["h", "r", "t"] else None


def _chain(head: str, body: str) -> str:
    """A rule of relations alone as a chain from X to Y; a relation named ``inv_…`` or ``…^-1`` goes backwards."""
    relations = [relation.strip() for relation in body.split(",")]
    places = ["X", *(f"Z{i}" for i in range(1, len(relations))), "Y"]
    atoms = []
    for relation, here, there in zip(relations, places, places[1:], strict=False):
        backwards = re.fullmatch(r"inv_(.+)|(.+)\^-1", relation)
        name = (backwards[1] or backwards[2]) if backwards else relation
        atoms.append(f"{name}({there},{here})" if backwards else f"{name}({here},{there})")
    return f"{head}(X,Y) <-- {', '.join(atoms)}"


def _quoted_names(atoms: str) -> str:
    """Atoms of AnyBURL with every argument in quotes that is no single capital letter."""

    def argument(match: re.Match[str]) -> str:
        return match[1] + (match[2] if re.fullmatch(r"[A-Z]", match[2]) else "'" + match[2].replace("'", "\\'") + "'")

    return re.sub(r"([(,])([^(),]+)(?=[,)])", argument, atoms)


def _amie(line: str, source: str) -> Clause:
    rule, *columns = line.split("\t")
    if "=>" not in rule:  # tabs between the parts of atoms too
        before, _, after = line.partition("=>")
        head, *columns = re.split(r"\t", after.strip("\t "), maxsplit=0) if "\t" in after else [after]
        if head.count(" ") < 2 and len(columns) >= 2:
            head, columns = " ".join([head, *columns[:2]]), columns[2:]
        rule = f"{before} => {head}"
    left, _, right = rule.partition("=>")
    words = left.split()
    atoms = [" ".join(words[i : i + 3]) for i in range(0, len(words), 3)]
    matches = [_AMIE_ATOM.fullmatch(" ".join(atom.split())) for atom in (right, *atoms)]
    if not all(matches) or not atoms:
        raise problem(source, line, "is no rule of AMIE: `?a p ?b  ?b q ?c => ?a r ?c`")
    triples: list[Triple] = [(match[2], match[1], match[3]) for match in matches if match]
    confidence = None
    if len(columns) >= _AMIE_CONFIDENCE:
        try:
            confidence = float(columns[_AMIE_CONFIDENCE - 1].replace(",", "."))
        except ValueError:
            raise problem(source, line, "its third column is no confidence") from None
    variables = frozenset(name for _, *names in triples for name in names if name.startswith("?"))
    number = source.rpartition(":")[2]
    return Clause(f"rule{number}", triples[0], tuple(triples[1:]), variables, line, source, confidence)
