"""Reads the rule files that rule miners write: AnyBURL and PyClause, AMIE 3, NCRL and Neural-LP, RNNLogic.

Rules of ``ppo-jax rules mine`` are read as any others; a comment above them has the limits that they were mined by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ppo_jax.proving.formats.statements import (
    Clause,
    Constant,
    Statements,
    Triple,
    Variable,
    as_confidence,
    complain,
    is_number,
)

__all__ = ["chain", "is_amie", "limits_line", "read_amie", "read_limits", "read_relation_ids", "read_rule_line"]

_ANYBURL = re.compile(r"\d+\t\d+\t([\d.eE+-]+)\t(.+?)\s*<=\s*(.*)")
_CHAIN = re.compile(r"([\d.eE+-]+)(?:\s*\([^()]*\))?\s+([^\s()]+(?: [^\s()]+)*)\s*<--\s*([^()]+)")
_AMIE = re.compile(r"\s*\?\w+\s+.*=>\s*\S.*")
_AMIE_COLUMNS = ["Rule", "Head Coverage", "Std Confidence", "PCA Confidence"]
_INVERSE = "inv_"
_MINED_BY = "# mined by ppo-jax: "
_SELF = "me_myself_i"  # AnyBURL's sign for the other argument of the same atom


def limits_line(limits: Mapping[str, Any], n_rules: int) -> str:
    """The comment above `n_rules` rules that were mined by these limits."""
    return f"{_MINED_BY}{json.dumps({'rules': n_rules, **limits})}\n"


def read_limits(text: str, n_rules: int) -> dict[str, Any] | None:
    """The limits that the rules of a file were mined by; None where it does not say, or had another number of rules."""
    first = text.partition("\n")[0]
    try:
        limits = json.loads(first.removeprefix(_MINED_BY)) if first.startswith(_MINED_BY) else None
    except ValueError:
        return None
    return limits if isinstance(limits, dict) and limits.pop("rules", None) == n_rules else None


def read_rule_line(line: str, file: str, number: int) -> Clause | str | None:
    """A rule of AnyBURL, or a chain of NCRL without arguments; a text where the rule is of no use, saying why.

    AnyBURL writes ``predictions<TAB>correct<TAB>confidence<TAB>head <= body``; variables are single capital letters,
    all else are constants, which may hold any sign.
    """
    if match := _ANYBURL.fullmatch(line):
        if not is_number(match[1]):
            raise complain(file, number, line, f": the third column, {match[1]!r}, is no number; it is the confidence")
        if not match[3].strip(" ."):
            return "rules without a body, left out"
        atoms = [_anyburl_atom(text, line, file, number) for text in (match[2], *_anyburl_atoms(match[3]))]
        confidence = as_confidence(float(match[1]))
        return Clause("", atoms[0], tuple(atoms[1:]), False, line, f"{file}:{number}", confidence)
    if (match := _CHAIN.fullmatch(line)) and is_number(match[1]):
        relations = [name.strip() for name in match[3].split(",")]
        rule = chain(match[2].strip(), relations, line, f"{file}:{number}")
        return rule._replace(confidence=as_confidence(float(match[1])))
    return None


def chain(head: str, body: Sequence[str], text: str, source: str) -> Clause:
    """The rule head(X,Y) :- b1(X,Z1), b2(Z1,Z2), ..., bn(Zn-1,Y); a relation `inv_b` goes from its tail to its head."""
    variables = [Variable("X"), *(Variable(f"Z{i}") for i in range(1, len(body))), Variable("Y")]
    atoms: list[Triple] = []
    for relation, left, right in zip(body, variables, variables[1:], strict=False):
        if relation.startswith(_INVERSE):
            atoms.append((relation.removeprefix(_INVERSE), right, left))
        else:
            atoms.append((relation, left, right))
    return Clause("", (head, variables[0], variables[-1]), tuple(atoms), False, text, source)


def is_amie(text: str) -> bool:
    """Whether a file holds rules of AMIE, perhaps among lines of its log."""
    return "=>" in text and any(_AMIE.fullmatch(line) and "(" not in line.split("=>")[0] for line in text.split("\n"))


def read_amie(text: str, file: str) -> Statements:
    """Parse what AMIE 3 prints: ``?a  p  ?b  ?b  q  ?c   => ?a  r  ?c<TAB>head coverage<TAB>...``.

    The confidence is the one under the partial completeness assumption (the column PCA Confidence): it counts as
    wrong only what contradicts a known fact, which is how a prover sees a graph that is not complete. Lines that are
    no rules are those of the log, and are skipped.

    Raises:
        PPOJaxError: a rule is not made of triples, or has no confidence.
    """
    clauses: list[Clause] = []
    column = _AMIE_COLUMNS.index("PCA Confidence")
    for number, line in enumerate(text.split("\n"), start=1):
        fields = [field.strip() for field in line.split("\t")]
        if "PCA Confidence" in fields:
            column = fields.index("PCA Confidence")
        if not _AMIE.fullmatch(line):
            continue
        body, _, head = fields[0].partition("=>")
        triples = [*_amie_triples(head, line, file, number), *_amie_triples(body, line, file, number)]
        different = tuple((left, right) for relation, left, right in triples[1:] if relation == "!=")
        triples = [triple for triple in triples if triple[0] != "!="]
        if len(triples) < 2:
            raise complain(file, number, line, " is not `?a  p  ?b   => ?a  q  ?b` with tabs before the numbers")
        stated = fields[column].replace(",", ".") if column < len(fields) else ""
        if len(fields) > 1 and not is_number(stated):
            raise complain(file, number, line, f": column {column + 1}, the PCA confidence, is no number")
        confidence = as_confidence(float(stated)) if stated else None
        source = f"{file}:{number}"
        clauses.append(
            Clause(f"clause{number}", triples[0], tuple(triples[1:]), False, line, source, confidence, different)
        )
    return Statements(file, [], [], clauses)


def read_relation_ids(text: str, file: str, relations: Mapping[int, str]) -> Statements:
    """Parse the rules of RNNLogic: the ids of the head and of the relations of a chain, perhaps a weight at the end.

    An id above those of the relations is the inverse of a relation.

    Raises:
        PPOJaxError: a line holds something else, or an id that no relation has.
    """
    names = {**relations, **{number + len(relations): _INVERSE + name for number, name in relations.items()}}
    clauses: list[Clause] = []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        weight = float(fields.pop()) if not fields[-1].isdecimal() and is_number(fields[-1]) else None
        unknown = [field for field in fields if not field.isdecimal() or int(field) not in names]
        if unknown or len(fields) < 2:
            wrong = f": {unknown[0]!r} is no id of relations.dict" if unknown else ": a rule has a head and a body"
            raise complain(file, number, line, f"{wrong}; a line holds the ids of the head and of the body")
        head, *body = (names[int(field)] for field in fields)
        rule = chain(head, body, line, f"{file}:{number}")
        if head.startswith(_INVERSE):
            rule = rule._replace(head=(head.removeprefix(_INVERSE), rule.head[2], rule.head[1]))
        clauses.append(rule._replace(name=f"clause{number}", confidence=as_confidence(weight)))
    return Statements(file, [], [], clauses)


def _anyburl_atoms(body: str) -> list[str]:
    """The texts of the atoms; a name may hold what ends an atom, as long as its parentheses match."""
    atoms: list[str] = []
    for piece in re.split(r"(?<=\)),\s*", body):
        if atoms and atoms[-1].count("(") > atoms[-1].count(")"):
            atoms[-1] += f", {piece}"
        else:
            atoms.append(piece)
    return atoms


def _anyburl_atom(text: str, line: str, file: str, number: int) -> Triple:
    predicate, _, inside = text.strip().removesuffix(".").partition("(")
    inside = inside.removesuffix(")")
    if "," not in inside or not predicate or not text.strip(" .").endswith(")"):
        raise complain(file, number, line, f": cannot read the atom {text.strip()!r}; expected `relation(X,Y)`")
    # The names of constants may hold commas, so a variable tells best where its argument ends.
    if _is_letter(inside.rpartition(",")[2]) and not _is_letter(inside.partition(",")[0]):
        left, _, right = inside.rpartition(",")
    else:
        left, _, right = inside.partition(",")
    if left.strip() == _SELF:
        left = right
    if right.strip() == _SELF:
        right = left
    return predicate, _anyburl_term(left), _anyburl_term(right)


def _is_letter(text: str) -> bool:
    return len(text.strip()) == 1 and text.strip().isupper()


def _anyburl_term(text: str) -> str:
    return Variable(text.strip()) if _is_letter(text) else Constant(text.strip())


def _amie_triples(text: str, line: str, file: str, number: int) -> list[Triple]:
    words = re.split(r"\s{2,}", text.strip())
    if len(words) % 3:
        words = text.split()
    if len(words) % 3:
        raise complain(file, number, line, ": a side of the rule is not made of triples `?a  relation  ?b`")
    terms = [_amie_term(word) for word in words]
    return [(str(terms[i + 1]), terms[i], terms[i + 2]) for i in range(0, len(terms), 3)]


def _amie_term(word: str) -> str:
    if word.startswith("<") and word.endswith(">"):
        word = word[1:-1]
    return Variable(word) if word.startswith("?") else Constant(word)
