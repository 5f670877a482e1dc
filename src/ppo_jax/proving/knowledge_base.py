"""Knowledge bases: facts and definite rules over binary atoms, parsed from text into integer ids.

The language is Datalog without function symbols. Three notations are read, told apart line by line:

* typed facts ``pred(a,b).`` and triples ``head<TAB>relation<TAB>tail``,
* Prolog clauses ``head :- b1, b2.``; a variable starts with a capital or an underscore. In a file that holds such
  clauses the facts obey the same convention, elsewhere every name in a fact is a constant,
* arrow rules ``name:weight:b1, b2 -> head``; a name is a constant if a fact knows it, else a variable. The weight
  must be a number and is not used.

Blank lines and comments (``%`` or ``#``) are skipped. A clause that breaks off after ``:-`` or ``,`` goes on in the
next line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ppo_jax.types import PPOJaxError

__all__ = [
    "Atom",
    "Clause",
    "KnowledgeBase",
    "Rule",
    "Statements",
    "Triple",
    "build",
    "nearest",
    "parse",
    "parse_statements",
    "underivable_predicates",
]

Atom = tuple[int, int, int]
"""(predicate id >= 1, term, term); a term > 0 is a constant id, < 0 a rule variable."""

Triple = tuple[str, str, str]
"""(predicate, argument, argument) as written."""

_NAME = r"[^\s(),]+"
_FACT = re.compile(rf"({_NAME})\s*\(\s*({_NAME})\s*,\s*({_NAME})\s*\)\s*\.?")
_ATOM = re.compile(rf"({_NAME})\s*\(([^()]*)\)")
_COMMENT = re.compile(r"\s[%#].*$")
_BETWEEN_ATOMS = re.compile(r"(?<=\))\s*,")
_EXPECTED = "`pred(a,b).`, `head :- b1, b2.`, `name:weight:b1, b2 -> head` or `head<TAB>relation<TAB>tail`"


@dataclass(frozen=True)
class Rule:
    """A definite clause; its variables are -1, -2, ... by first occurrence in the head, then in the body."""

    name: str
    head: Atom
    body: tuple[Atom, ...]  # at least one atom; holds every variable of the head
    source: str  # where it was read: "rules.txt:3"
    confidence: float | None = None  # in [0, 1], as its file states it
    different: tuple[tuple[int, int], ...] = ()  # pairs of terms that may not be the same constant


@dataclass(frozen=True, eq=False)
class KnowledgeBase:
    """Facts and rules with their vocabulary; ids start at 1, 0 is left for padding. Hashed by identity."""

    predicates: tuple[str, ...]  # predicate id i has the name predicates[i - 1]
    constants: tuple[str, ...]  # constant id i has the name constants[i - 1]
    facts: np.ndarray  # [F, 3] int32 (predicate, argument, argument), no duplicates, file order
    rules: tuple[Rule, ...]

    @cached_property
    def predicate_ids(self) -> dict[str, int]:
        """Ids by predicate name."""
        return {name: i for i, name in enumerate(self.predicates, start=1)}

    @cached_property
    def constant_ids(self) -> dict[str, int]:
        """Ids by constant name."""
        return {name: i for i, name in enumerate(self.constants, start=1)}

    def format_atom(self, atom: Sequence[int] | np.ndarray) -> str:
        """Write an atom as ``locatedInCR(bulgaria,europe)``; variables print as X, Y, Z, W, V5, ...

        A term above the last constant id is a variable too: that is how resolvents number theirs.
        """
        predicate, left, right = (int(term) for term in atom)
        return f"{self.predicates[predicate - 1]}({self._format_term(left)},{self._format_term(right)})"

    def format_rule(self, rule: Rule) -> str:
        """Write a rule as the Prolog clause ``head :- b1, b2``."""
        return f"{self.format_atom(rule.head)} :- {', '.join(self.format_atom(atom) for atom in rule.body)}"

    def parse_atom(self, text: str, place: str = "query") -> Atom:
        """Read a ground atom such as ``locatedInCR(bulgaria, europe).`` into ids.

        Args:
            text: the atom; names taken from triples may themselves hold commas, blanks and parentheses.
            place: what an error names as the origin of the text, for example ``"test.txt:3"``.

        Raises:
            PPOJaxError: `text` is no binary atom, or names a predicate or a constant that is not in the vocabulary.
        """
        atom = text.strip().removesuffix(".").rstrip()
        predicate, bracket, inside = atom.partition("(")
        if not bracket or not inside.endswith(")"):
            raise PPOJaxError(f"{place}: {_quote(text)} is not a ground atom such as `pred(a,b)`")
        names = inside[:-1].split(",")
        if len(names) < 2:
            raise PPOJaxError(f"{place}: {_quote(text)} has {len(names)} argument; every atom takes two")
        splits = [(",".join(names[:i]).strip(), ",".join(names[i:]).strip()) for i in range(1, len(names))]
        known = [pair for pair in splits if all(name in self.constant_ids for name in pair)]
        if len(splits) > 1 and not known:
            raise PPOJaxError(f"{place}: {_quote(text)} has {len(names)} arguments; every atom takes two")
        left, right = known[0] if known else splits[0]
        return (
            self._look_up(predicate.strip(), "predicate", self.predicate_ids, text, place),
            self._look_up(left, "constant", self.constant_ids, text, place),
            self._look_up(right, "constant", self.constant_ids, text, place),
        )

    def _format_term(self, term: int) -> str:
        if 0 < term <= len(self.constants):
            return self.constants[term - 1]
        number = -term if term < 0 else term - len(self.constants)
        return "XYZW"[number - 1] if number <= 4 else f"V{number}"

    def _look_up(self, name: str, kind: str, ids: dict[str, int], text: str, place: str) -> int:
        if name not in ids:
            raise PPOJaxError(f"{place}: {_quote(text)} names the unknown {kind} {name!r}{nearest(name, ids)}")
        return ids[name]


class Clause(NamedTuple):
    """A rule as written, before its names are known to be constants or variables."""

    name: str
    head: Triple
    body: tuple[Triple, ...]
    prolog: bool  # capital letters mark variables; otherwise whatever no fact knows is one
    text: str
    source: str  # "rules.txt:3"


class Statements(NamedTuple):
    """What one file holds, in its order."""

    file: str
    facts: list[Triple]  # as written, repetitions kept
    lines: list[int]  # line number of each fact, from 1
    clauses: list[Clause]


def parse(text: str, file: str = "text") -> KnowledgeBase:
    """Parse one text that holds facts and rules, in any of the notations of this module.

    Raises:
        PPOJaxError: a statement is malformed; the message names ``file:line`` and the text.
    """
    return build([parse_statements(text, file)])


def parse_statements(text: str, file: str) -> Statements:
    """Parse the lines of a file of facts, queries or rules without looking at the names in them.

    Raises:
        PPOJaxError: a line is none of the notations, an atom is not binary, a weight is no number, or a fact beside
            Prolog clauses holds a variable; the message names ``file:line`` and the text.
    """
    facts: list[Triple] = []
    lines: list[int] = []
    clauses: list[Clause] = []
    unfinished, first_line = "", 0
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line or line[0] in "%#":
            continue
        if not unfinished:
            first_line = number
            fact = _fact(line)
            if fact is not None:
                facts.append(fact)
                lines.append(number)
                continue
        line = f"{unfinished} {_COMMENT.sub('', line).rstrip()}".lstrip()
        unfinished = line if ":-" in line and line.endswith((":-", ",")) else ""
        if not unfinished:
            clauses.append(_clause(line, f"{file}:{first_line}"))
    if unfinished:
        raise PPOJaxError(f"{file}:{first_line}: {_quote(unfinished)} breaks off: the clause has no end")
    if any(clause.prolog for clause in clauses):
        for fact, number in zip(facts, lines, strict=True):
            if any(_is_prolog_variable(name) for name in fact[1:]):
                text_of_fact = _quote("{}({},{}).".format(*fact))
                raise PPOJaxError(
                    f"{file}:{number}: {text_of_fact} is a fact with a variable; beside Prolog clauses a constant "
                    "starts with neither a capital nor an underscore"
                )
    return Statements(file, facts, lines, clauses)


def build(
    statements: Iterable[Statements], constants: Iterable[str] = (), predicates: Iterable[str] = ()
) -> KnowledgeBase:
    """Turn parsed files into a knowledge base.

    Ids go by first appearance: in the facts, then in `constants` and the rules, then in `predicates`.

    Args:
        statements: the files, in the order in which their facts and rules count.
        constants: further constants of the vocabulary, such as those of a domain file.
        predicates: further predicates, such as those only queries use.

    Raises:
        PPOJaxError: a variable in the head of a rule is not in its body.
    """
    statements = list(statements)
    predicate_ids: dict[str, int] = {}
    constant_ids: dict[str, int] = {}
    facts: dict[Atom, None] = {}
    for predicate, left, right in (fact for part in statements for fact in part.facts):
        atom = (_id(predicate, predicate_ids), _id(left, constant_ids), _id(right, constant_ids))
        facts[atom] = None
    known_by_facts = frozenset(constant_ids)
    for name in constants:
        _id(name, constant_ids)
    rules = tuple(
        _rule(clause, predicate_ids, constant_ids, known_by_facts) for part in statements for clause in part.clauses
    )
    for name in predicates:
        _id(name, predicate_ids)
    rows = np.array(list(facts), np.int32).reshape(-1, 3)
    rows.flags.writeable = False
    return KnowledgeBase(tuple(predicate_ids), tuple(constant_ids), rows, rules)


def underivable_predicates(kb: KnowledgeBase) -> dict[int, Rule]:
    """Predicate ids of rule bodies for which no atom can be derived, each with the first rule that uses it.

    Such a predicate has no facts, and every rule it heads needs an underivable predicate (perhaps itself).
    """
    derivable = {int(predicate) for predicate in np.unique(kb.facts[:, 0])}
    size = -1
    while size < len(derivable):
        size = len(derivable)
        derivable |= {rule.head[0] for rule in kb.rules if all(atom[0] in derivable for atom in rule.body)}
    found: dict[int, Rule] = {}
    for rule in kb.rules:
        for atom in rule.body:
            if atom[0] not in derivable:
                found.setdefault(atom[0], rule)
    return found


def nearest(name: str, names: Iterable[str]) -> str:
    """End an error message with the known name most like `name`: ``"; the nearest known is 'x'"``, or nothing."""
    found = difflib.get_close_matches(name, names, n=1)
    return f"; the nearest known is {found[0]!r}" if found else ""


def _fact(line: str) -> Triple | None:
    """The atom or triple on a line, if it is one."""
    match = _FACT.fullmatch(line)
    if match:
        return match.group(1), match.group(2), match.group(3)
    if ":-" in line or "->" in line:
        return None
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) == 3 and all(fields):
        return fields[1], fields[0], fields[2]
    match = _FACT.fullmatch(_COMMENT.sub("", line).rstrip())
    return (match.group(1), match.group(2), match.group(3)) if match else None


def _clause(text: str, source: str) -> Clause:
    number = source.rpartition(":")[2]
    if ":-" in text:
        head, _, body = text.removesuffix(".").partition(":-")
        name, prolog = f"clause{number}", True
    elif "->" in text:
        parts = text.removesuffix(".").split(":", 2)
        if len(parts) < 3 or not _is_number(parts[1]):
            raise PPOJaxError(f"{source}: {_quote(text)} is not `name:weight:b1, b2 -> head` with a number as weight")
        body, _, head = parts[2].rpartition("->")
        name, prolog = parts[0].strip(), False
    else:
        raise _unreadable(text.removesuffix("."), text, source)
    atoms = tuple(_atom(atom, text, source) for atom in (head, *_BETWEEN_ATOMS.split(body)))
    return Clause(name, atoms[0], atoms[1:], prolog, text, source)


def _atom(atom: str, text: str, source: str) -> Triple:
    match = _FACT.fullmatch(atom.strip())
    if not match:
        raise _unreadable(atom, text, source)
    return match.group(1), match.group(2), match.group(3)


def _unreadable(atom: str, text: str, source: str) -> PPOJaxError:
    """Say why `atom`, a part of the statement `text`, is no binary atom."""
    match = _ATOM.fullmatch(atom.strip())
    names = [name.split() for name in match.group(2).split(",")] if match else []
    if match and len(names) != 2 and all(len(name) == 1 for name in names):
        arguments = f"{len(names)} argument{'s' if len(names) > 1 else ''}"
        return PPOJaxError(f"{source}: {_quote(text)}: {match.group(1)} has {arguments}; every atom takes two")
    return PPOJaxError(f"{source}: cannot read {_quote(text)}; expected {_EXPECTED}")


def _rule(
    clause: Clause, predicate_ids: dict[str, int], constant_ids: dict[str, int], known_by_facts: frozenset[str]
) -> Rule:
    variables: dict[str, int] = {}
    is_variable: Callable[[str], bool]
    is_variable = _is_prolog_variable if clause.prolog else lambda name: name not in known_by_facts

    def term(name: str) -> int:
        if not is_variable(name):
            return _id(name, constant_ids)
        # Each `_` of a Prolog clause is a variable of its own.
        key = f"_{len(variables)} " if clause.prolog and name == "_" else name
        return -_id(key, variables)

    def atom(triple: Triple) -> Atom:
        return _id(triple[0], predicate_ids), term(triple[1]), term(triple[2])

    head = atom(clause.head)
    body = tuple(atom(triple) for triple in clause.body)
    in_body = {variable for triple in body for variable in triple[1:]}
    for name, variable in zip(clause.head[1:], head[1:], strict=True):
        if variable < 0 and variable not in in_body:
            raise PPOJaxError(
                f"{clause.source}: {_quote(clause.text)}: the head variable {name} is not in the body; "
                "a rule must bind every variable of its head"
            )
    return Rule(clause.name, head, body, clause.source)


def _id(name: str, ids: dict[str, int]) -> int:
    return ids.setdefault(name, len(ids) + 1)


def _is_prolog_variable(name: str) -> bool:
    return name[0] == "_" or name[0].isupper()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _quote(text: str) -> str:
    """A text from a file for an error message: one line, of bounded length."""
    shown = " ".join(text.split())
    return f"'{shown}'" if len(shown) <= 100 else f"'{shown[:97]}...'"
