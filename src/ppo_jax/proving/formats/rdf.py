"""Reads RDF: N-Triples, and the part of Turtle that is triples of names."""

from __future__ import annotations

import re
from collections.abc import Callable

from ppo_jax.proving.formats.statements import Statements, Triple, complain

__all__ = ["is_rdf", "read_rdf"]

_NTRIPLE = re.compile(r"(?:<[^>\s]*>|_:\S+)\s+<[^>\s]*>\s+(?:<[^>\s]*>|_:\S+|\".*)(?:\s+<[^>\s]*>)?\s*\.\s*(?:#.*)?")
_PREFIX = re.compile(r"\s*@?(?:prefix|base)\s+(?:[^\s:]*:\s*)?<", re.IGNORECASE)
_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)|(?P<iri><[^>\s]*>)
    |(?P<literal>(?:\"\"\".*?\"\"\"|\"(?:[^"\\\n]|\\.)*\")(?:@[\w-]+|\^\^(?:<[^>\s]*>|[\w-]*:[\w.-]*))?)
    |(?P<sign>[;,\[\]()]|\.(?=\s|\Z|\#))|(?P<name>[^\s;,<>"\[\]()]*[^\s;,<>"\[\]().])|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"


def is_rdf(text: str) -> bool:
    """Whether a file is N-Triples or Turtle, by its first lines."""
    lines = [line.strip() for line in text[:20_000].split("\n")]
    lines = [line for line in lines if line and line[0] != "#"]
    return bool(lines) and bool(_PREFIX.match(lines[0]) or _NTRIPLE.fullmatch(lines[0]))


def read_rdf(text: str, file: str) -> Statements:
    """Parse N-Triples, N-Quads, or Turtle without blank nodes in brackets and without collections.

    Names are IRIs without their brackets; a literal is a constant with its text, language and type.

    Raises:
        PPOJaxError: a statement is something else; the message names a converter.
    """
    prefixes: dict[str, str] = {}
    base = ""
    facts: list[Triple] = []
    lines: list[int] = []
    sentence: list[tuple[str, str]] = []
    line = first = 1

    def refuse(reason: str) -> Exception:
        shown = " ".join(token for _, token in sentence)
        return complain(
            file,
            first,
            shown,
            f": {reason}; convert the file to N-Triples, for example with `rapper -i turtle -o ntriples` or `riot`",
        )

    def name(token: tuple[str, str]) -> str:
        kind, word = token
        if kind == "iri":
            return word[1:-1] if ":" in word or not base else base + word[1:-1]
        if kind == "literal" or word.startswith("_:"):
            return word
        prefix, colon, rest = word.partition(":")
        if kind == "name" and colon:
            if prefix not in prefixes:
                raise refuse(f"the prefix {prefix}: has no declaration")
            return prefixes[prefix] + rest
        if kind == "name" and re.fullmatch(r"[-+]?\d[\d.eE+-]*|true|false", word):
            return word
        raise refuse(f"cannot read {word!r}")

    for match in _TOKEN.finditer(text):
        kind, word = str(match.lastgroup), match.group()
        if kind != "blank":
            first = first if sentence else line
            if (kind, word) != ("sign", "."):
                sentence.append((kind, word))
            directive = bool(sentence) and sentence[0][1].lower().lstrip("@") in ("prefix", "base")
            bare = directive and sentence[0][1][0] != "@" and kind == "iri"
            if (kind, word) == ("sign", ".") or bare:
                if directive:
                    if sentence[-1][0] != "iri":
                        raise refuse("the prefix has no IRI")
                    if len(sentence) == 3:
                        prefixes[sentence[1][1].removesuffix(":")] = sentence[-1][1][1:-1]
                    else:
                        base = sentence[-1][1][1:-1]
                elif sentence:
                    for fact in _triples(sentence, name, refuse):
                        facts.append(fact)
                        lines.append(first)
                sentence = []
        line += word.count("\n")
    if sentence:
        raise refuse("the statement has no full stop at its end")
    return Statements(file, facts, lines, [])


def _triples(
    sentence: list[tuple[str, str]], name: Callable[[tuple[str, str]], str], refuse: Callable[[str], Exception]
) -> list[Triple]:
    """The triples of `s p o, o2; p2 o3`."""
    if len(sentence) == 4 and not any(kind == "sign" for kind, _ in sentence):
        sentence = sentence[:3]  # what follows the triple of N-Quads is the graph it is in
    found: list[Triple] = []
    subject, relation = name(sentence[0]), ""
    expected = "relation"
    for kind, word in sentence[1:]:
        if kind == "sign":
            if word in "[]()":
                raise refuse(f"{word} is Turtle that is not read here")
            if expected == "object" or (word == "," and expected != "sign"):
                raise refuse(f"a name is missing before {word!r}")
            expected = "relation" if word == ";" else "object"
        elif expected == "relation":
            relation = _TYPE if (kind, word) == ("name", "a") else name((kind, word))
            expected = "object"
        elif expected == "object":
            found.append((relation, subject, name((kind, word))))
            expected = "sign"
        else:
            raise refuse("a sign is missing between two objects")
    if expected == "object" or not found:
        raise refuse("the statement is not a triple")
    return found
