"""One file of facts, queries or rules, in whatever notation its lines are."""

from __future__ import annotations

import re

from ppo_jax.proving.formats.lines import Table, miner_rule, n_triple
from ppo_jax.proving.formats.logic import is_prolog_variable, parse_clause, split_statements, strip_comments
from ppo_jax.proving.formats.statements import Clause, Statements, Triple, problem, quote
from ppo_jax.types import PPOJaxError

__all__ = ["parse_statements"]

_NAME = r"(?!(?:'[^\s(),]*'|\"[^\s(),]*\"|\[[^\s(),]*|\\\+[^\s(),]*)[(),\s])[^\s(),]+"  # no quoted one, and no list
_FACT = re.compile(rf"({_NAME})\s*\(\s*({_NAME})\s*,\s*({_NAME})\s*\)\s*\.?")  # most lines of large files
_PROBABLE = re.compile(r"[\d.]+\s*::")
_DIRECTIVE = re.compile(r"(?::-|\?-).*|\.(?:decl|input|output|type|pragma)\b.*")
_LOG_LINE = re.compile(r"[A-Z][\w ]*(?::|\.\.\.| completed| done).*|Rule\t.*|.*\bRule(?:s)? mined.*")
_EXAMPLE = re.compile(r"(pos|neg)\((.*\))\)\s*\.?")


def parse_statements(text: str, file: str, columns: str | None = None) -> Statements:
    """Parse a file of facts, queries or rules without looking at the names in it.

    Args:
        text: its content.
        file: its name, for errors.
        columns: the order of the columns of triples, such as ``"rht"``; None: ``"hrt"``, or what a header says.

    Raises:
        PPOJaxError: a statement is of no notation, an atom takes neither one nor two arguments, or something is not
            supported; the message names ``file:line`` and the remedy.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    reader = _Reader(file, columns or _order_between_blanks(lines))
    reader.given = columns is not None
    tabular = _is_tabular(lines)
    if not tabular:
        lines = strip_comments("\n".join(lines)).split("\n")
    rest: list[tuple[int, str]] = []  # lines of logic that are read together
    for number, raw in enumerate(lines, start=1):
        line = raw.strip(" ") if tabular else raw.strip()
        if not line:
            if rest:
                rest.append((number, ""))
            continue
        fact = _FACT.fullmatch(line) if not rest else None
        if fact and not _PROBABLE.match(line) and not (number < len(lines) and _goes_on(lines[number])):
            reader.add((fact[1], fact[2], fact[3]), number, (False, False))
        elif not rest and reader.line(line, number, tabular):
            continue
        else:
            rest.append((number, raw))
            if _closes(rest, lines[number:]):
                reader.logic(rest)
                rest = []
    if rest:
        reader.logic(rest)
    return reader.statements()


class _Reader:
    """Collects what the lines of a file say."""

    def __init__(self, file: str, columns: str | None) -> None:
        self.file, self.table = file, Table(columns or "hrt")
        self.given = False  # whether the order of the columns was
        self.facts: list[Triple] = []
        self.lines: list[int] = []
        self.quoted: list[tuple[bool, bool]] = []  # whether the arguments of a fact were in quotes
        self.clauses: list[Clause] = []
        self.skipped, self.probabilities, self.rows = 0, 0, 0

    def add(self, fact: Triple, number: int, quoted: tuple[bool, bool]) -> None:
        self.facts.append(fact)
        self.lines.append(number)
        self.quoted.append(quoted)

    def line(self, line: str, number: int, tabular: bool) -> bool:
        """Read a line that is a statement by itself; whether it is one."""
        source = f"{self.file}:{number}"
        if line[0] in "%#" and (not tabular or line[1:2].isspace() or line.count("\t") not in (2, 3)):
            return True
        if line.startswith("@prefix") or line.startswith("@base"):
            raise problem(source, line, "is Turtle; convert it to N-Triples, for example by `rapper -o ntriples`")
        if _DIRECTIVE.fullmatch(line):
            if self.file.startswith(("valid", "test", "dev")):
                raise problem(source, line, "is a false query; leave it out, only true ones are asked")
            self.skipped += 1
            return True
        if triple := n_triple(line):
            self.add(triple, number, (True, True))
            return True
        rule = miner_rule(line, source) if "=" in line or "<--" in line else None
        if isinstance(rule, Clause):
            self.clauses.append(rule)
            return True
        if rule is not None:
            clause = parse_clause(rule[0], source)
            assert isinstance(clause, Clause)
            self.clauses.append(clause._replace(text=line, confidence=rule[1], name=f"rule{number}"))
            return True
        if _is_rule(line):
            return False
        header = self.table.header
        triple = self.table.fields(line, first=self.rows == 0 and not self.given, source=source)
        if triple is not None:
            self.rows += 1
            self.add(triple, number, (True, True))
            return True
        if self.table.header is not header:
            return True
        if _LOG_LINE.fullmatch(line) and "(" not in line:
            self.skipped += 1
            return True
        return False

    def logic(self, rest: list[tuple[int, str]]) -> None:
        """Read lines of a logic notation."""
        first = rest[0][0]
        try:
            statements = list(split_statements("\n".join(text for _, text in rest), first))
        except PPOJaxError as error:
            raise PPOJaxError(f"{self.file}:{error}") from None
        for number, text in statements:
            source = f"{self.file}:{number}"
            if example := _EXAMPLE.fullmatch(text):
                if example[1] == "neg":
                    raise problem(source, text, "is a negative example; leave it out, only true queries are asked")
                text = example[2]
            read = parse_clause(text, source)
            if isinstance(read, Clause):
                self.clauses.append(read)
            else:
                fact, probability, names = read
                self.probabilities += probability is not None
                self.add(fact, number, (names[0].quoted, names[1].quoted))

    def statements(self) -> Statements:
        if any(clause.variables is not None and clause.source.startswith(self.file) for clause in self.clauses):
            self._refuse_variables()
        if all(clause.confidence == 1.0 for clause in self.clauses):
            self.clauses = [clause._replace(confidence=None) for clause in self.clauses]  # a weight that says nothing
        warnings = []
        if self.table.header is not None:
            warnings.append(f"{self.file}: read as a header: {quote(self.table.header)}")
        if self.table.extra:
            warnings.append(f"{self.file}: the fourth column of the triples is not used")
        if self.probabilities:
            warnings.append(f"{self.file}: the probabilities of {self.probabilities} facts are not used")
        if self.skipped:
            warnings.append(f"{self.file}: lines that are neither facts nor rules, skipped: {self.skipped}")
        return Statements(self.file, self.facts, self.lines, self.clauses, tuple(warnings))

    def _refuse_variables(self) -> None:
        """Beside Prolog clauses a fact obeys their convention."""
        if all(clause.name.startswith("rule") for clause in self.clauses):
            return  # of a miner, whose files hold no facts
        for fact, number, quoted in zip(self.facts, self.lines, self.quoted, strict=True):
            if any(is_prolog_variable(name) and not q for name, q in zip(fact[1:], quoted, strict=True)):
                text = quote("{}({},{}).".format(*fact))
                raise PPOJaxError(
                    f"{self.file}:{number}: {text} is a fact with a variable; beside Prolog clauses a constant "
                    "starts with neither a capital nor an underscore: write it in quotes, or the rules in a file apart"
                )


def _order_between_blanks(lines: list[str]) -> str | None:
    """The order of columns that stand between single blanks: relations are the fewer of the first two."""
    rows = [fields for line in lines if len(fields := line.split(" ")) == 3 and not re.search(r"[(),\t]", line)]
    first, second = ({row[i] for row in rows} for i in (0, 1))
    return "rht" if len(first) < len(second) else None


def _is_tabular(lines: list[str]) -> bool:
    """Whether a file holds triples with tabs: its first line that says something has two or three."""
    for line in lines:
        if line.strip():
            return line.count("\t") in (2, 3) and not _is_rule(line)
    return False


def _is_rule(line: str) -> bool:
    """Whether a line holds a neck beside atoms."""
    return "(" in line and re.search(r":-|<-|<=|->|=>", line) is not None


def _goes_on(line: str) -> bool:
    """Whether a line belongs to the statement before it."""
    return line.lstrip()[:1] in (",", "&", "∧") or line.lstrip().startswith((":- ", "<-", "->", "=>", "<="))


def _closes(rest: list[tuple[int, str]], following: list[str]) -> bool:
    """Whether the lines so far hold whole statements."""
    if following and _goes_on(following[0]):
        return False
    text = "\n".join(text for _, text in rest)
    if text.count("(") != text.count(")"):
        return False
    return not re.search(r"(?:,|&|∧|:-|<-|<=|->|=>)\s*$", text)
