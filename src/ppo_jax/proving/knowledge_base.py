"""Knowledge bases: facts and definite rules over binary atoms, parsed from text into integer ids.

The language is Datalog without function symbols and negation. `ppo_jax.proving.formats` reads the notations; what is a
variable depends on them:

* in clauses ``head :- b1, b2.`` a name that starts with a capital or an underscore, unless it stands in quotes. In a
  file that holds such clauses the facts obey the same convention, elsewhere every name in a fact is a constant,
* in a file whose clauses hold no such name, as in Soufflé, and in arrow rules ``name:weight:b1, b2 -> head``, a name
  that no fact knows,
* in the rules of miners what they mark as one.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ppo_jax.proving.formats.read import parse_statements
from ppo_jax.proving.formats.statements import (
    Clause,
    Constant,
    Statements,
    Triple,
    Variable,
    is_prolog_variable,
    quote,
)
from ppo_jax.types import PPOJaxError

__all__ = [
    "Atom",
    "Clause",
    "KnowledgeBase",
    "Rule",
    "Statements",
    "Triple",
    "build",
    "is_variable",
    "lowercase_variables",
    "nearest",
    "parse",
    "parse_statements",
    "underivable_predicates",
]

Atom = tuple[int, int, int]
"""(predicate id >= 1, term, term); a term > 0 is a constant id, < 0 a rule variable."""


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
        """Write a rule as the Prolog clause ``head :- b1, b2``, with its inequalities as ``X != Y`` at the end."""
        unequal = (f"{self._format_term(left)} != {self._format_term(right)}" for left, right in rule.different)
        return f"{self.format_atom(rule.head)} :- {', '.join([*map(self.format_atom, rule.body), *unequal])}"

    def parse_atom(self, text: str, place: str = "query", written: str | None = None) -> Atom:
        """Read a ground atom such as ``locatedInCR(bulgaria, europe).`` into ids.

        Args:
            text: the atom; names taken from triples may themselves hold commas, blanks and parentheses, and quotes
                around a name are taken off.
            place: what an error names as the origin of the text, for example ``"test.txt:3"``.
            written: what an error quotes, where `text` was made of it.

        Raises:
            PPOJaxError: `text` is no binary atom, or names a predicate or a constant that is not in the vocabulary.
        """
        shown = quote(text if written is None else written)
        atom = text.strip().removesuffix(".").rstrip()
        predicate, bracket, inside = atom.partition("(")
        if not bracket or not inside.endswith(")"):
            raise PPOJaxError(f"{place}: {shown} is not a ground atom such as `pred(a,b)`")
        splits = self.split_arguments(inside[:-1])
        if not splits:
            raise PPOJaxError(f"{place}: {shown} has 1 argument; every atom takes two")
        known = [pair for pair in splits if all(name in self.constant_ids for name in pair)]
        if len(splits) > 1 and not known:
            raise PPOJaxError(f"{place}: {shown} has {len(splits) + 1} arguments; every atom takes two")
        left, right = known[0] if known else splits[0]
        return (
            self._look_up(predicate.strip(), "predicate", self.predicate_ids, shown, place),
            self._look_up(left, "constant", self.constant_ids, shown, place),
            self._look_up(right, "constant", self.constant_ids, shown, place),
        )

    def split_arguments(self, inside: str) -> list[tuple[str, str]]:
        """Every way to read what stands between the brackets of an atom as two names, one for each comma."""
        parts = inside.split(",")
        pairs = [(",".join(parts[:i]), ",".join(parts[i:])) for i in range(1, len(parts))]
        return [(self._unquoted(left.strip()), self._unquoted(right.strip())) for left, right in pairs]

    def _unquoted(self, name: str) -> str:
        """Without quotes around it, unless the constant has them."""
        quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "'\""
        return name[1:-1] if quoted and name not in self.constant_ids else name

    def _format_term(self, term: int) -> str:
        if 0 < term <= len(self.constants):
            return self.constants[term - 1]
        number = -term if term < 0 else term - len(self.constants)
        return "XYZW"[number - 1] if number <= 4 else f"V{number}"

    def _look_up(self, name: str, kind: str, ids: dict[str, int], shown: str, place: str) -> int:
        if name not in ids:
            raise PPOJaxError(f"{place}: {shown} names the unknown {kind} {name!r}{nearest(name, ids)}")
        return ids[name]


def parse(text: str, file: str = "text") -> KnowledgeBase:
    """Parse one text that holds facts and rules, in any of the notations of this module.

    Raises:
        PPOJaxError: a statement is malformed; the message names ``file:line`` and the text.
    """
    return build([parse_statements(text, file)])


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
    statements, constants = list(statements), list(constants)
    predicate_ids: dict[str, int] = {}
    constant_ids: dict[str, int] = {}
    facts: dict[Atom, None] = {}
    for predicate, left, right in (fact for part in statements for fact in part.facts):
        atom = (_id(predicate, predicate_ids), _id(left, constant_ids), _id(right, constant_ids))
        facts[atom] = None
    known_by_facts = frozenset(constant_ids)
    declared = frozenset(constants)
    for name in constants:
        _id(name, constant_ids)
    lowercase = lowercase_variables(statements)
    rules = tuple(
        _rule(clause, predicate_ids, constant_ids, known_by_facts, declared, part.file in lowercase)
        for part in statements
        for clause in part.clauses
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


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """End an error message with the known name most like `name`: ``"; the nearest known is 'x'"``, or nothing."""
    found = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"; the nearest known is {found[0]!r}" if found else ""


def lowercase_variables(statements: Iterable[Statements]) -> frozenset[str]:
    """Files whose clauses hold no name that Prolog takes for a variable, so that lowercase names are the variables."""
    files: dict[str, bool] = {}
    for part in statements:
        for clause in part.clauses:
            if clause.prolog:
                names = [name for atom in (clause.head, *clause.body) for name in atom[1:]]
                marked = any(
                    isinstance(name, Variable) or (not isinstance(name, Constant) and is_prolog_variable(name))
                    for name in names
                )
                files[part.file] = files.get(part.file, True) and not marked
    return frozenset(file for file, lowercase in files.items() if lowercase)


def is_variable(name: str, prolog: bool, known: Collection[str], declared: Collection[str] = ()) -> bool:
    """Whether a name in a rule is a variable.

    Args:
        name: as written.
        prolog: whether capitals mark variables; otherwise what is not `known` is one.
        known: the constants of the facts.
        declared: constants whatever they look like.
    """
    if isinstance(name, Constant):
        return False
    if isinstance(name, Variable):
        return prolog or name[0] != "?" or name not in known
    return is_prolog_variable(name) and name not in declared if prolog else name not in known


def _rule(
    clause: Clause,
    predicate_ids: dict[str, int],
    constant_ids: dict[str, int],
    known_by_facts: Collection[str],
    declared: Collection[str],
    lowercase: bool,
) -> Rule:
    variables: dict[str, int] = {}
    prolog = clause.prolog and not lowercase

    def term(name: str) -> int:
        if not is_variable(name, prolog, known_by_facts, declared):
            return _id(str(name), constant_ids)
        # Each `_` of a Prolog clause is a variable of its own.
        key = f"_{len(variables)} " if clause.prolog and name == "_" else name
        return -_id(key, variables)

    def atom(triple: Triple) -> Atom:
        return _id(str(triple[0]), predicate_ids), term(triple[1]), term(triple[2])

    head = atom(clause.head)
    body = tuple(atom(triple) for triple in clause.body)
    in_body = {variable for triple in body for variable in triple[1:]}
    for name, variable in zip(clause.head[1:], head[1:], strict=True):
        if variable < 0 and variable not in in_body:
            constant = f"; to mean the constant write '{name}' in single quotes" if name in constant_ids else ""
            raise PPOJaxError(
                f"{clause.source}: {quote(clause.text)}: the head variable {name} is not in the body; "
                f"a rule must bind every variable of its head{constant}"
            )
    different = []
    for left, right in clause.different:
        pair = (term(left), term(right))
        for name, one in zip((left, right), pair, strict=True):
            if one < 0 and one not in in_body:
                raise PPOJaxError(
                    f"{clause.source}: {quote(clause.text)}: the variable {name} of an inequality is not in an atom of "
                    "the body; add one that binds it, or remove the inequality"
                )
        different.append(pair)
    return Rule(clause.name, head, body, clause.source, clause.confidence, tuple(different))


def _id(name: str, ids: dict[str, int]) -> int:
    return ids.setdefault(name, len(ids) + 1)
