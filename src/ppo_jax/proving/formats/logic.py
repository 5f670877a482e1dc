"""Reads facts and rules written as logic programs: Prolog, Datalog, Soufflé, ProbLog, and rules with arrows."""

from __future__ import annotations

import re
from itertools import product
from typing import NamedTuple

from ppo_jax.proving.formats import mined
from ppo_jax.proving.formats.statements import (
    Clause,
    Constant,
    Statements,
    Triple,
    Variable,
    as_confidence,
    complain,
    is_number,
    is_prolog_variable,
    quote,
    some,
)
from ppo_jax.proving.formats.tokens import EQUIVALENCES, HEAD_FIRST, Scanner, Token, unquote
from ppo_jax.types import PPOJaxError

__all__ = ["EXPECTED", "FACT", "RULE", "read_logic"]

EXPECTED = "`pred(a,b).`, `head :- b1, b2.`, `name:weight:b1, b2 -> head` or `head<TAB>relation<TAB>tail`"

_PLAIN = r"(?!['\"\[])[^\s(),]+"
FACT = re.compile(rf"((?!\S*::)(?!['\"<~!\\])[^\s(),]+)\s*\(\s*({_PLAIN})\s*,\s*({_PLAIN})\s*\)\s*(\.?)")
"""A fact of plain names, which are most lines of most files."""

RULE = re.compile(r"\)\s*(?::-|<-|<=|->|=>|-->|→|⇒|←|⇐|∧|&)|(?:->|=>|:-|<-|<=|→|⇒|←|⇐)\s*[^\s(),]+\(")
"""What only the text of a rule holds."""

_WEIGHT = re.compile(r"(\d[\d.]*(?:[eE][+-]?\d+)?)\s*::(?!-)\s*")
_ARROW = re.compile(r"([^:()\n]*):([^:()\n]*):(?![-:])(?=[^\n]*(?:->|=>|→|⇒))")
_LEADING = re.compile(
    r"([-+]?\d[\d.]*(?:[eE][+-]?\d+)?)(?:\s*\([^()\n]*\))?\s*(?::\s*|[^\S\n]+)(?=[^\n]*(?:<|->|=>|:-))"
)
_NAME_AND_WEIGHT = re.compile(r"([^\t\n()]+)\t\s*([-+]?\d[\d.]*(?:[eE][+-]?\d+)?)\s*\t(?=[^\n]*\()")
_NAME = re.compile(r"([\w.-]+):\s+(?=[^\n]*(?:<|->|=>|:-|→|⇒))")
_TRAILING_WEIGHT = re.compile(r"<\s*([-+]?\d[\d.eE+-]*)\s*>")
_DEPTH = re.compile(r"[-+]?\d+")
_TERM = r"'(?:[^'\\\n]|\\[^\n]|'')*'|(?!['\"])(?:(?!->|:-|!=)[^\s(),'\"])+"
_GOAL = re.compile(
    rf"\s*(?:({_TERM})\(\s*({_TERM})\s*,\s*({_TERM})\s*\)|({_TERM})\s*!=\s*({_TERM}))\s*(?:(,)|(?=->)|\.?\s*\Z)"
)
_DIRECTIVES = frozenset(
    [
        "set",
        "mode",
        "modeh",
        "modeb",
        "determination",
        "style_check",
        "dynamic",
        "discontiguous",
        "use_module",
        "ensure_loaded",
        "initialization",
        "table",
        "multifile",
        "module",
        "consult",
        "op",
        "load_files",
        "set_prolog_flag",
        "aleph_set",
        "read_all",
        "induce",
    ]
)
_DECLARATIONS = frozenset(
    [
        "body_pred",
        "head_pred",
        "max_clauses",
        "max_vars",
        "max_body",
        "type",
        "direction",
        "enable_recursion",
        "enable_pi",
        "metarule",
        "allow_singletons",
        "non_datalog",
        "determination",
        "modeh",
        "modeb",
        "mode",
    ]
)
_SETTING = re.compile(r"(?:(\w+)\s*\(|metagol:)")
_TASK = re.compile(r"\w+\s*:-(?:[^.]|\.(?!\s))*\blearn\(")
_SOUFFLE = re.compile(r"\.(?:decl|input|output|type|printsize|pragma|functor|plan|limitsize)\b[^\n]*")
_COMPARISONS = frozenset({"=", "is", "<", ">", "=<", ">=", "<=", "=:=", "=\\=", "==", "@<", "@>", "@=<", "@>=", "in"})
_ARITHMETIC = re.compile(r"(?:[A-Z_]\w*|\d+)\s*[-+*/]\s*\w+")


class _Atom(NamedTuple):
    predicate: str
    terms: tuple[str, ...]


class _Different(NamedTuple):
    left: str
    right: str


class _Bare(NamedTuple):
    """A relation without arguments, as the rules of chains name them."""

    predicate: str


_Goal = _Atom | _Different | _Bare


def read_logic(text: str, file: str) -> Statements:
    """Parse a text of facts and rules.

    Raises:
        PPOJaxError: a statement is malformed, or uses what rules here cannot express; the message names `file:line`.
    """
    return _Reader(text, file).read()


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.scanner = Scanner(text, file)
        self.file = file
        self.facts: list[Triple] = []
        self.lines: list[int] = []
        self.clauses: list[Clause] = []
        self.weights: list[tuple[bool, float | None]] = []  # of each clause: whether it is a typed arrow, the number
        self.counts: dict[str, int] = {}  # what was left out or read in a special way
        self.unary: dict[str, None] = {}
        self.facts_of_terms: list[tuple[int, Triple]] = []
        self.larger: list[tuple[int, str, int, str]] = []  # line, predicate, number of arguments, text
        self.asked: list[tuple[int, Triple]] = []
        self.souffle = self.learner = False
        self.start = self.line = 0
        self.spaced = ""  # a name of several words among the arguments of the statement

    def read(self) -> Statements:
        while (token := self.scanner.peek()).kind:
            if token.first and self._plain_line(token):
                continue
            self._statement(token)
        self._check_facts()
        return Statements(
            self.file, self.facts, self.lines, self._finished(), tuple(self._notes()), asked=tuple(self.asked)
        )

    # Statements

    def _plain_line(self, token: Token) -> bool:
        """Take a line that is a plain fact, a triple, or a rule in a notation of one line."""
        line = self.scanner.line_at(token.start)
        end = token.start + len(line)
        content = line.rstrip()
        match = FACT.fullmatch(content)
        if match and (match[4] or not self._goes_on(end)) and not self._is_wrapper(match[1], match[3]):
            self._fact((match[1], match[2], match[3]), token.line)
        elif (triple := self._triple(content)) is not None:
            self._fact(triple, token.line)
        elif (rule := mined.read_rule_line(content, self.file, token.line)) is not None:
            if isinstance(rule, str):
                self._count(rule)
            else:
                self._clause(rule._replace(name=self._name(token.line)), rule.confidence, typed=False)
        elif not self._typed_arrow(content, token.line) and not self._declaration(content):
            return False
        self.scanner.skip_to(end)
        return True

    def _goes_on(self, position: int) -> bool:
        """Whether what follows the end of a line belongs to the statement on it."""
        rest = Scanner(self.scanner.text, self.file)
        rest.position = position
        token = rest.peek()
        return token.kind == "neck" or (token.kind == "sign" and token.text in ",;&∧")

    @staticmethod
    def _is_wrapper(predicate: str, right: str) -> bool:
        return predicate == "evidence" and right in ("true", "false")

    @staticmethod
    def _triple(line: str) -> Triple | None:
        if "\t" not in line or ":-" in line or RULE.search(line):
            return None
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) == 3 and all(fields) and not is_number(fields[0].partition(" ")[0]):
            return fields[1], fields[0], fields[2]
        return None

    def _declaration(self, line: str) -> bool:
        if _SOUFFLE.fullmatch(line):
            self.souffle = True
            return True
        return False

    def _typed_arrow(self, line: str, number: int) -> bool:
        """Take a rule `name:weight:b1, b2 -> head` whose names need no looking into; any sign may be in them."""
        parts = line.split(":", 2)
        if len(parts) < 3 or not is_number(parts[1]) or "->" not in parts[2]:
            return False
        goals: list[Triple] = []
        different: list[tuple[str, str]] = []
        rest, position, head = parts[2], 0, False
        while match := _GOAL.match(rest, position):
            names = [self._term_of(name) for name in match.groups()[:5] if name is not None]
            if len(names) == 3:
                goals.append((str(names[0]), names[1], names[2]))
            else:
                different.append((names[0], names[1]))
            position = match.end()
            if head or position == len(rest):
                break
            if rest.startswith("->", position):
                position, head = position + 2, True
        if not head or position != len(rest) or len(goals) < 2:
            return False
        clause = Clause(
            parts[0].strip(), goals[-1], tuple(goals[:-1]), False, line, f"{self.file}:{number}", None, tuple(different)
        )
        self._clause(clause, float(parts[1]), typed=True)
        return True

    @staticmethod
    def _term_of(text: str) -> str:
        return Constant(unquote(text)) if text[0] == "'" else text

    def _statement(self, first: Token) -> None:
        self.start, self.line, self.spaced = first.start, first.line, ""
        if (match := _SETTING.match(self.scanner.text, self.start)) and (not match[1] or match[1] in _DECLARATIONS):
            self.learner = True
            self._skip_statement()
            return
        if match := _TASK.match(self.scanner.text, self.start):
            self._count("tasks of a learner, left out; write their positive examples as facts")
            self._skip_statement()
            return
        if self.scanner.text.startswith("?-", self.start):
            self.scanner.skip_to(self.start + 2)
            self._question()
            return
        name, weight, typed = self._prefix()
        token = self.scanner.peek()
        if token.kind == "neck":
            self._directive()
            return
        if token.kind == "end":
            raise self._unreadable()
        alternatives = self._alternatives()
        token = self.scanner.peek()
        if token.kind != "neck":
            weight = self._finish(weight, lone=True)
            self._lone(alternatives, weight)
            return
        neck = self.scanner.take().text
        if neck in EQUIVALENCES:
            raise self._refuse(f"the equivalence {neck}", "write one rule for each direction")
        self._expect_more()
        others = self._alternatives()
        if self.scanner.peek().kind == "neck":
            raise self._unreadable()
        weight = self._finish(weight)
        text = self._text()
        prolog = neck in HEAD_FIRST
        heads, bodies = (alternatives, others) if prolog else (others, alternatives)
        if len(heads) > 1 or (prolog and len(heads[0]) > 1):
            raise self._refuse("more than one head", "write one rule for each")
        for head, body in product(heads[0], bodies):
            if not isinstance(head, _Atom | _Bare):
                raise self._unreadable()
            clause = self._rule(head, body, prolog, text)
            self._clause(clause._replace(name=name or self._name(self.line)), weight, typed)

    def _prefix(self) -> tuple[str, float | None, bool]:
        """Name and weight in front of a rule, and whether it is a typed arrow."""
        text, start = self.scanner.text, self.start
        if match := _WEIGHT.match(text, start):
            self.scanner.skip_to(match.end())
            return "", self._number(match[1]), False
        if match := _ARROW.match(text, start):
            if not is_number(match[2]):
                raise complain(
                    self.file,
                    self.line,
                    self.scanner.line_at(start),
                    " is not `name:weight:b1, b2 -> head` with a number as weight",
                )
            self.scanner.skip_to(match.end())
            return match[1].strip(), float(match[2]), True
        if match := _NAME_AND_WEIGHT.match(text, start):
            self.scanner.skip_to(match.end())
            return match[1].strip(), self._number(match[2]), False
        if (match := _NAME.match(text, start)) and not is_number(match[1]):
            self.scanner.skip_to(match.end())
            return match[1], None, False
        if match := _LEADING.match(text, start):
            self.scanner.skip_to(match.end())
            return "", self._number(match[1]), False
        return "", None, False

    def _number(self, text: str) -> float:
        if not is_number(text):
            raise self._unreadable()
        return float(text)

    def _finish(self, weight: float | None, lone: bool = False) -> float | None:
        """Take what may follow a statement: its full stop, a weight, after a lone atom a depth."""
        token = self.scanner.peek()
        if not token.first and token.kind == "name" and (match := _TRAILING_WEIGHT.fullmatch(token.text)):
            self.scanner.take()
            weight = self._number(match[1])
            if as_confidence(weight) is None:
                self._count("weights outside of 0 and 1, which are no confidences and are not used")
            token = self.scanner.peek()
        elif lone and not token.first and token.kind == "name" and _DEPTH.fullmatch(token.text):
            self.scanner.take()
            self._count("numbers after an atom, which are not used")
            token = self.scanner.peek()
        elif not lone and not token.first and token.kind == "name" and is_number(token.text):
            weight = self._number(self.scanner.take().text)
            token = self.scanner.peek()
        elif not lone and not token.first and re.fullmatch(r"\^\d", token.text):
            self.scanner.take()
            token = self.scanner.peek()
        if token.kind == "end":
            self.scanner.take()
        elif token.kind and not token.first:
            raise self._unreadable()
        return weight

    def _lone(self, alternatives: list[list[_Goal]], weight: float | None) -> None:
        """A statement without a neck: a fact, an example or a declaration of a learner."""
        if len(alternatives) > 1 or len(alternatives[0]) > 1:
            raise self._unreadable()
        goal = alternatives[0][0]
        if isinstance(goal, _Bare) and goal.predicate in _DECLARATIONS:
            self.learner = True
            return
        if not isinstance(goal, _Atom):
            raise self._unreadable()
        if weight is not None:
            self._count("facts with a weight, which is not used: every fact counts as true")
        self._atom_fact(goal)

    def _atom_fact(self, goal: _Atom) -> None:
        if len(goal.terms) > 2:
            self.larger.append((self.line, goal.predicate, len(goal.terms), self._text()))
            return
        if len(goal.terms) == 1:
            self.unary[goal.predicate] = None
        triple = (goal.predicate, goal.terms[0], goal.terms[-1])
        self.facts_of_terms.append((len(self.facts), triple))
        self._fact((goal.predicate, str(triple[1]), str(triple[2])), self.line)

    def _directive(self) -> None:
        """`:- p(a,b).` is an example that does not hold; `:- set(i,2).` and its like are settings of other programs."""
        neck = self.scanner.take()
        token = self.scanner.peek()
        if neck.text == ":-" and token.kind == "name" and token.text in _DIRECTIVES:
            self.learner = True
            self._skip_statement()
            return
        if neck.text != ":-" or token.kind not in ("name", "quoted", "iri"):
            raise self._unreadable()
        alternatives = self._alternatives()
        self._finish(None, lone=True)
        goals = [goal for goals in alternatives for goal in goals]
        if any(not isinstance(goal, _Atom) or any(map(is_prolog_variable, goal.terms)) for goal in goals):
            raise self._unreadable()
        self._count("examples that do not hold, left out")

    def _question(self) -> None:
        alternatives = self._alternatives()
        self._finish(None, lone=True)
        if len(alternatives) > 1 or len(alternatives[0]) > 1:
            raise self._unreadable()
        self._ask(alternatives[0][0])

    def _ask(self, goal: _Goal) -> None:
        if not isinstance(goal, _Atom) or len(goal.terms) > 2:
            raise self._unreadable()
        self.asked.append((self.line, (goal.predicate, str(goal.terms[0]), str(goal.terms[-1]))))

    def _skip_statement(self) -> None:
        while (token := self.scanner.peek()).kind not in ("", "end"):
            self.scanner.take()
        if token.kind:
            self.scanner.take()

    # Goals

    def _alternatives(self) -> list[list[_Goal]]:
        """Conjunctions of goals; `;` stands between alternatives."""
        found: list[list[_Goal]] = [[]]
        while True:
            found[-1] += self._goal()
            token = self.scanner.peek()
            is_word = token.kind == "name" and token.text in ("and", "AND")
            if not is_word and (token.kind != "sign" or token.text not in (",", ";", "&", "∧", "|", "/\\")):
                return found
            self.scanner.take()
            if token.text == "&" and self.scanner.peek().text == "&":
                self.scanner.take()
            if token.text in (";", "|"):
                found.append([])
            self._expect_more()

    def _expect_more(self) -> None:
        if not self.scanner.peek().kind:
            raise complain(
                self.file, self.line, self._text(), " breaks off: the clause has no end; add the rest and a full stop"
            )

    def _goal(self) -> list[_Goal]:
        token = self.scanner.peek()
        if token.kind == "sign" and token.text == "(":
            self.scanner.take()
            inner = self._alternatives()
            self._close()
            if len(inner) > 1:
                raise self._refuse("alternatives in parentheses", "write one rule for each")
            return inner[0]
        if token.kind == "sign" and token.text == "!":
            self.scanner.take()
            if self.scanner.peek().kind in ("name", "quoted", "iri"):
                raise self._negated()
            raise self._refuse("the cut !", "remove it")
        if token.kind == "sign" and token.text in "[]{}|":
            raise self._list()
        if token.kind not in ("name", "quoted", "iri"):
            raise self._unreadable()
        left = self._predicate()
        token = self.scanner.peek()
        if token.kind == "differ":
            self.scanner.take()
            return [_Different(left, self._term(clause=True))]
        if token.kind == "name" and token.text in _COMPARISONS:
            raise self._comparison(token.text)
        if token.kind == "sign" and token.text == "(":
            goal = self._arguments(left, token)
            token = self.scanner.peek()
            if token.kind == "name" and token.text in _COMPARISONS and not token.first:
                raise self._comparison(token.text)
            return [goal]
        if isinstance(left, Constant | Variable):
            raise self._unreadable()
        if match := re.search(r"(?<=\w)(?:=<|>=|=:=|[<>=]+)(?=\w)", left):
            raise self._comparison(match.group())
        return [_Bare(left)]

    def _predicate(self) -> str:
        """The name in front of the arguments, which may be several words; or the left side of an inequality."""
        token = self.scanner.take()
        if token.kind == "quoted":
            return Constant(unquote(token.text))
        if token.kind == "iri":
            return Constant(token.text[1:-1])
        if token.text.startswith(("\\+", "~", "¬")) or token.text in ("not", "NOT", "naf", "NAF"):
            raise self._negated()
        words = [token.text]
        while (more := self.scanner.peek()).kind == "name" and not more.first:
            if "\t" in self.scanner.text[self.scanner.position : more.start]:
                break
            if more.text in _COMPARISONS or _TRAILING_WEIGHT.fullmatch(more.text):
                break
            words.append(self.scanner.take().text)
        return " ".join(words)

    def _arguments(self, predicate: str, bracket: Token) -> _Goal:
        self.scanner.take()
        if predicate in ("pos", "neg", "query", "evidence", "example"):
            wrapped = self._wrapped(predicate)
            if wrapped is not None:
                return wrapped
        begin = bracket.start
        terms = [self._term()]
        while self.scanner.peek().text == "," and self.scanner.peek().kind == "sign":
            self.scanner.take()
            terms.append(self._term())
        self._close()
        token = self.scanner.peek()
        if token.text == "(" and token.kind == "sign" and token.start == self.scanner.position:
            # The parentheses before are part of the name, as in `p(x)(Y,X)`.
            return self._arguments(f"{predicate}{self.scanner.text[begin : token.start]}", token)
        if predicate == "dif" and len(terms) == 2:
            return _Different(terms[0], terms[1])
        return _Atom(str(predicate), tuple(terms))

    def _wrapped(self, predicate: str) -> _Goal | None:
        """An atom inside of `pos(...)` and its like, or None where a plain argument follows."""
        position = self.scanner.position
        match = re.compile(r"\s*[^\s(),]+\s*\(").match(self.scanner.text, position)
        if match is None:
            return None
        inner = self._goal()
        if len(inner) != 1 or not isinstance(inner[0], _Atom):
            raise self._unreadable()
        holds = predicate != "neg"
        if self.scanner.peek().text == ",":
            self.scanner.take()
            holds = self._term() not in ("false", "0", "neg")
        self._close()
        if predicate == "query":
            self._ask(inner[0])
        elif predicate == "evidence":
            self._count("evidence, left out")
        elif holds:
            self._count("positive examples, read as atoms that hold")
            return inner[0]
        else:
            self._count("examples that do not hold, left out")
        return _Bare("determination")  # taken and said

    def _term(self, clause: bool = False) -> str:
        token = self.scanner.peek()
        if token.kind == "quoted":
            self.scanner.take()
            return Constant(unquote(token.text))
        if token.kind == "iri":
            self.scanner.take()
            return Constant(token.text[1:-1])
        if token.kind == "sign" and token.text in "[]{}|":
            raise self._list()
        if token.kind != "name":
            raise self._unreadable()
        words = [self.scanner.take().text]
        while (more := self.scanner.peek()).kind == "name" and not (clause and more.first):
            words.append(self.scanner.take().text)
        if self.scanner.peek().text == "(" and not clause:
            text = self._text()
            if text.count("(") > text.count(")"):
                raise complain(self.file, self.line, text, f": a bracket before {words[-1]} is not closed")
            raise self._refuse(
                f"the function symbol {words[-1]}", "name the value by a constant, or put the whole name in quotes"
            )
        if len(words) > 1:
            self.spaced = " ".join(words)
            return Constant(self.spaced)
        name = words[0]
        if name[0] in "[{":
            raise self._list()
        if name[0] == "?" and len(name) > 1:
            return Variable(name)
        return name

    def _close(self) -> None:
        token = self.scanner.peek()
        if token.kind != "sign" or token.text != ")":
            if token.kind == "sign" and token.text in "[]{}|":
                raise self._list()
            raise self._unreadable()
        self.scanner.take()

    # Rules

    def _rule(self, head: _Atom | _Bare, body: list[_Goal], prolog: bool, text: str) -> Clause:
        if self.spaced:
            raise complain(
                self.file,
                self.line,
                text,
                f": put a name of several words in quotes, as '{self.spaced}', or a comma between two arguments",
            )
        source = f"{self.file}:{self.line}"
        goals = [goal for goal in body if not isinstance(goal, _Different)]
        if isinstance(head, _Bare) and goals and all(isinstance(goal, _Bare) for goal in goals):
            relations = [goal.predicate for goal in goals if isinstance(goal, _Bare)]
            return mined.chain(head.predicate, relations, text, source)
        atoms = []
        for goal in (head, *goals):
            if not isinstance(goal, _Atom):
                raise self._unreadable(text)
            if len(goal.terms) > 2:
                raise self._too_many(goal.predicate, len(goal.terms), self.line, text)
            for term in goal.terms:
                if not isinstance(term, Constant | Variable) and _ARITHMETIC.fullmatch(term) and prolog:
                    raise self._refuse(f"the arithmetic {term}", "state its results as facts")
            if len(goal.terms) == 1:
                self.unary[goal.predicate] = None
            atoms.append((goal.predicate, goal.terms[0], goal.terms[-1]))
        if len(atoms) < 2:
            raise self._unreadable(text)
        different = tuple((goal.left, goal.right) for goal in body if isinstance(goal, _Different))
        return Clause("", atoms[0], tuple(atoms[1:]), prolog, text, source, None, different)

    def _clause(self, clause: Clause, weight: float | None, typed: bool) -> None:
        self.clauses.append(clause)
        self.weights.append((typed, weight))

    def _name(self, line: int) -> str:
        here = sum(clause.source == f"{self.file}:{line}" for clause in self.clauses[-20:])
        return f"clause{line}" + (f".{here + 1}" if here else "")

    def _finished(self) -> list[Clause]:
        """The clauses with their confidences.

        The weights of typed arrows are confidences only where they lie in [0, 1] and are not all 1, which says nothing.
        """
        typed = [weight for is_typed, weight in self.weights if is_typed]
        stated = any(weight != 1 for weight in typed) and all(as_confidence(weight) is not None for weight in typed)
        return [
            self._souffle(clause)._replace(confidence=as_confidence(weight) if stated or not is_typed else None)
            for clause, (is_typed, weight) in zip(self.clauses, self.weights, strict=True)
        ]

    def _souffle(self, clause: Clause) -> Clause:
        """Beside declarations of Soufflé every name that is not in quotes is a variable."""
        if not self.souffle or not clause.prolog:
            return clause

        def atom(triple: Triple) -> Triple:
            left, right = (
                term if isinstance(term, Constant) or is_number(term) or term == "_" else Variable(term)
                for term in triple[1:]
            )
            return triple[0], left, right

        return clause._replace(head=atom(clause.head), body=tuple(map(atom, clause.body)))

    # Facts

    def _fact(self, triple: Triple, line: int) -> None:
        self.facts.append(triple)
        self.lines.append(line)

    def _check_facts(self) -> None:
        if self.larger:
            used = {atom[0] for clause in self.clauses for atom in (clause.head, *clause.body)}
            for line, predicate, size, text in self.larger:
                if not self.learner or predicate in used:
                    raise self._too_many(predicate, size, line, text)
            self.counts[
                f"facts with more than two arguments ({some(predicate for _, predicate, *_ in self.larger)}), left out"
            ] = len(self.larger)
        terms: dict[int, Triple] = dict(self.facts_of_terms)
        beside = any(clause.prolog for clause in self.clauses)
        for index, (fact, line) in enumerate(zip(self.facts, self.lines, strict=True)):
            triple = terms.get(index, fact)
            if any(
                isinstance(term, Variable) or (beside and not isinstance(term, Constant) and is_prolog_variable(term))
                for term in triple[1:]
            ):
                raise complain(
                    self.file,
                    line,
                    "{}({},{}).".format(*fact),
                    " is a fact with a variable; beside Prolog clauses a constant starts with neither a capital nor an "
                    "underscore: put it in single quotes, or the rules in a file of their own",
                )

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _notes(self) -> list[str]:
        notes = [f"{self.file}: {what}: {count}" for what, count in self.counts.items()]
        if self.unary:
            notes.append(f"{self.file}: predicates of one argument are read as p(a,a): {some(self.unary)}")
        return notes

    # Errors

    def _text(self) -> str:
        """The statement so far, up to the end of the line it has come to."""
        position = max(self.scanner.position, self.start)
        return self.scanner.text[self.start : position] + ("" if self._is_over() else self.scanner.line_at(position))

    def _is_over(self) -> bool:
        position = self.scanner.position
        return position > self.start and self.scanner.text[position - 1 : position] == "."

    def _unreadable(self, text: str | None = None) -> PPOJaxError:
        text = self._text() if text is None else text
        return PPOJaxError(
            f"{self.file}:{self.line}: cannot read {quote(text)}; expected {EXPECTED}, and names that hold blanks or "
            "any of (),'\" in quotes"
        )

    def _refuse(self, what: str, remedy: str) -> PPOJaxError:
        return complain(self.file, self.line, self._text(), f": {what} is not supported; {remedy}")

    def _comparison(self, sign: str) -> PPOJaxError:
        return self._refuse(f"arithmetic or comparison by '{sign}'", "remove it, or state its results as facts")

    def _negated(self) -> PPOJaxError:
        return self._refuse("negation", "rules here may only ask that atoms hold, so remove the goal or the rule")

    def _list(self) -> PPOJaxError:
        if self.scanner.peek().start == self.start:
            return self._unreadable()
        return self._refuse("a list", "write one fact for each of its members")

    def _too_many(self, predicate: str, size: int, line: int, text: str) -> PPOJaxError:
        return complain(
            self.file,
            line,
            text,
            f": {predicate} has {size} arguments; every atom takes two, so split it into binary predicates, such as "
            f"{predicate}_1(e,a), {predicate}_2(e,b) about a new constant e",
        )
