"""Logic notations: atoms with quotes, clauses with a neck in either direction, weights, inequalities.

Prolog, Datalog and Soufflé write ``head :- b1, b2.``; AnyBURL, NCRL and others ``head <= b1, b2`` or ``<-``; arrow
rules ``name:weight:b1, b2 -> head``. A name with blanks, commas or parentheses stands in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ppo_jax.proving.formats.statements import Clause, Triple, problem

__all__ = ["Name", "is_prolog_variable", "parse_atom", "parse_clause", "split_statements", "strip_comments"]

BACKWARD, FORWARD = (":-", "<--", "<-", "<="), ("->", "=>")
_NECK = re.compile(r":-|<--|<-|<=|->|=>")
_CONTINUES = re.compile(r"\s*(?:,|&|∧|:-|<--|<-|<=(?!\w)|->|=>)")
_BREAKS_OFF = re.compile(r"(?:,|&|∧|:-|<--|<-|<=|->|=>)\s*$")
_UNEQUAL = re.compile(r"(.+?)\s*(?:\\==|\\=|!=)\s*(.+)", re.DOTALL)
_ARITHMETIC = re.compile(r"(?:=:=|=\\=|=<|>=|==|<|>|=|\bis\b)")
_PROBABILITY = re.compile(r"\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*::\s*(.*)", re.DOTALL)
_ARROW_NAME = re.compile(r"([^:()]*):([^:()]*):(.*)", re.DOTALL)
_TRAILING_WEIGHT = re.compile(r"\)\s*<[-+.\d]+>\s*$")
_NEGATION = "negation is not supported; leave the rule out, or add a predicate for what is not so"
_IRI = re.compile(r"<[^<>\s]*:[^<>\s]*>")


class Name(NamedTuple):
    """A name as written."""

    text: str
    quoted: bool


def is_prolog_variable(name: str) -> bool:
    """Whether a bare name is a variable by Prolog's convention."""
    return name[:1] == "_" or name[:1].isupper()


def strip_comments(text: str) -> str:
    """The text with blanks in place of comments, so that lines keep their numbers.

    Comments are ``/* … */``; and from ``%``, ``#`` or ``//`` to the end of a line, where it begins the line or follows
    a blank or, for ``%``, the end of a statement. In quotes nothing is a comment.
    """
    if not re.search(r"[%#]|//|/\*", text):
        return text
    out, i, n, quoted = [], 0, len(text), ""
    while i < n:
        char, before = text[i], text[i - 1] if i else "\n"
        if quoted:
            quoted = "" if char == quoted or char == "\n" else quoted
        elif char in "'\"" and _opens_quote(before):
            quoted = char
        elif text.startswith("/*", i) and before in "\n\t .,(":
            end = text.find("*/", i + 2)
            end = n if end < 0 else end + 2
            out.append(re.sub(r"[^\n]", " ", text[i:end]))
            i = end
            continue
        elif (char in "%#" or text.startswith("//", i)) and (before.isspace() or (char == "%" and before == ".")):
            end = text.find("\n", i)
            i = n if end < 0 else end
            continue
        out.append(char)
        i += 1
    return "".join(out)


def split_statements(text: str, first_line: int = 1) -> Iterator[tuple[int, str]]:
    """The statements of a text without comments, each with the number of the line it begins in.

    A statement ends with a full stop before a blank, or with its line where nothing is open: no parenthesis, no comma
    or neck at its end or at the beginning of the next line.
    """
    lines = text.split("\n")
    unfinished, begun = "", first_line
    for i, line in enumerate(lines):
        if not unfinished:
            begun = first_line + i
        unfinished += (" " if unfinished else "") + line
        *complete, rest = _at_full_stops(unfinished)
        for statement in complete:
            yield begun, statement
            begun = first_line + i
        following = next((after for after in lines[i + 1 :] if after.strip()), "")
        open_ended = _depth(rest) > 0 or _BREAKS_OFF.search(rest) or (rest.strip() and _CONTINUES.match(following))
        unfinished = rest if open_ended else ""
        if rest.strip() and not open_ended:
            yield begun, rest.strip()
    if unfinished.strip():
        raise problem(f"{begun}", unfinished, "breaks off: the clause has no end")


def parse_atom(text: str, whole: str, source: str) -> tuple[str, tuple[Name, ...]]:
    """A predicate and its one or two arguments; a unary atom has its argument twice.

    Raises:
        PPOJaxError: it is none; says what it has that is not supported.
    """
    atom = text.strip()
    if re.match(r"\\\+|not[\s(]", atom):
        raise problem(source, whole, _NEGATION)
    bracket = _first_outside_quotes(atom, "(")
    if bracket <= 0 or not atom.endswith(")"):
        raise problem(source, whole, _why_not(atom))
    # A name may hold parentheses itself, as in p(x)(Y,X): the arguments are the last ones.
    opened = _matching(atom)
    predicate, inside = atom[:opened].strip(), atom[opened + 1 : -1]
    arguments = _split(inside, ",")
    if any(not argument.strip() for argument in arguments) and inside.strip():
        raise problem(source, whole, "an argument is empty; write a constant or a variable there")
    names = tuple(_name(argument, whole, source) for argument in arguments if argument.strip())
    for name in names:
        if "(" in name.text and not name.quoted:
            raise problem(
                source, whole, f"function symbols are not supported; name {name.text} by a constant, or quote it"
            )
    if len(names) == 1:
        names = (names[0], names[0])
    if len(names) != 2:
        count = f"{len(names)} argument{'' if len(names) == 1 else 's'}"
        raise problem(
            source,
            whole,
            f"{predicate} has {count}; every atom takes two. An atom p(a,b,c) becomes two: p1(e,a), p2(e,b), …, with a "
            "constant e for what it says",
        )
    return _name(predicate, whole, source).text, names


def parse_clause(text: str, source: str) -> Clause | tuple[Triple, float | None, tuple[Name, ...]]:
    """A rule, or a fact with its probability and its arguments as written.

    Raises:
        PPOJaxError: it is neither, or holds what is not supported: negation, arithmetic, lists, function symbols.
    """
    whole, number = text, source.rpartition(":")[2]
    confidence = None
    if match := _PROBABILITY.fullmatch(text):
        confidence, text = float(match[1]), match[2]
    text = text.rstrip().removesuffix(".").rstrip()
    text = _TRAILING_WEIGHT.sub(")", text)
    neck = _find_neck(text)
    if neck is None:
        predicate, names = parse_atom(_trailing_number(text), whole, source)
        return (predicate, names[0].text, names[1].text), confidence, names
    left, sign, right = text[: neck.start()], neck.group(), text[neck.end() :]
    name = f"clause{number}"
    typed = False
    if sign in FORWARD:
        if match := _ARROW_NAME.fullmatch(left):
            label, weight, left = match[1].strip(), match[2].strip(), match[3]
            if not _is_number(weight):
                raise problem(source, whole, "is not `name:weight:b1, b2 -> head` with a number as weight")
            name, confidence = label, float(weight)
        typed = True
        left, right = right, left
    head = parse_atom(left, whole, source)
    body: list[tuple[str, tuple[Name, ...]]] = []
    different: list[tuple[Name, Name]] = []
    for part in _split(right, ",&∧"):
        literal = part.strip()
        inequality = _inequality(literal, whole, source)
        if inequality:
            different.append(inequality)
        else:
            body.append(parse_atom(literal, whole, source))
    if not body:
        raise problem(source, whole, "the clause has no body")
    every = [term for _, terms in (head, *body) for term in terms] + [term for pair in different for term in pair]
    capitals = frozenset(term.text for term in every if not term.quoted and is_prolog_variable(term.text))
    # Without any capital the names are those of Soufflé and of arrow rules: what no fact knows is a variable.
    variables = None if typed or not capitals else capitals
    return Clause(
        name=name,
        head=_triple(head),
        body=tuple(map(_triple, body)),
        variables=variables,
        text=whole,
        source=source,
        confidence=confidence if confidence is not None and 0.0 <= confidence <= 1.0 else None,
        different=tuple((left.text, right.text) for left, right in different),
    )


def _inequality(literal: str, whole: str, source: str) -> tuple[Name, Name] | None:
    r"""The two sides of ``X != Y``, ``X \= Y`` or ``dif(X,Y)``; None where it is something else."""
    if literal.startswith("dif("):
        _, names = parse_atom(literal, whole, source)
        return names[0], names[1]
    match = _UNEQUAL.fullmatch(literal) if _first_outside_quotes(literal, "(") < 0 else None
    return (_name(match[1], whole, source), _name(match[2], whole, source)) if match else None


def _why_not(atom: str) -> str:
    """Why a text is no atom, for an error."""
    if atom.startswith("\\+") or re.match(r"not\b", atom):
        return _NEGATION
    if atom == "!":
        return "a cut is not supported; leave it out"
    if "[" in atom:
        return "lists are not supported; write a fact for each element"
    if ";" in atom:
        return "`;` is not supported; write a rule for each alternative"
    if _ARITHMETIC.search(atom):
        return "arithmetic and comparisons are not supported, apart from `X != Y`"
    return (
        "cannot be read; expected `pred(a,b).`, `head :- b1, b2.`, `name:weight:b1, b2 -> head` or "
        "`head<TAB>relation<TAB>tail`"
    )


def _name(text: str, whole: str, source: str) -> Name:
    """A name, without its quotes."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return Name(re.sub(r"\\(.)", r"\1", text[1:-1]).replace(text[0] * 2, text[0]), True)
    if text.startswith(("[", "]")) or "|" in text:
        raise problem(source, whole, "lists are not supported; write a fact for each element")
    if re.match(r"\\\+|not\s*\(|not$", text):
        raise problem(source, whole, _NEGATION)
    return Name(text, False)


def _triple(atom: tuple[str, tuple[Name, ...]]) -> Triple:
    predicate, (left, right) = atom
    return predicate, left.text, right.text


def _trailing_number(text: str) -> str:
    """An atom without the number behind it, such as a proof depth."""
    return re.sub(r"\)\s*\.?\s+-?\d+$", ")", text)


def _find_neck(text: str) -> re.Match[str] | None:
    """The neck of a clause outside parentheses, quotes and IRIs."""
    return _NECK.search(_masked(text))


def _masked(text: str) -> str:
    """The text with dots in place of what stands in quotes, parentheses and IRIs."""
    masked = list(_IRI.sub(lambda match: "." * len(match.group()), text))
    quoted, depth = "", 0
    for i, char in enumerate(masked):
        before = text[i - 1] if i else " "
        if quoted:
            quoted = "" if char == quoted and before != "\\" else quoted
            masked[i] = "."
        elif char in "'\"" and _opens_quote(before):
            quoted, masked[i] = char, "."
        else:
            depth -= char == ")"
            masked[i] = "." if depth > 0 else char
            depth += char == "("
    return "".join(masked)


def _opens_quote(before: str) -> bool:
    """Whether a quote after this character begins a quoted name; else it is an apostrophe."""
    return before.isspace() or before in "(,:=\\&."


def _depth(text: str) -> int:
    """How many parentheses are open at the end of a text."""
    quoted, depth = "", 0
    for i, char in enumerate(text):
        if quoted:
            quoted = "" if char == quoted and text[i - 1] != "\\" else quoted
        elif char in "'\"" and _opens_quote(text[i - 1] if i else " "):
            quoted = char
        else:
            depth += (char == "(") - (char == ")")
    return depth


def _at_full_stops(text: str) -> list[str]:
    """A text cut after each full stop that ends a statement; last, what has none yet."""
    masked, parts, begin = _masked(text), [], 0
    for match in re.finditer(r"(?<=[)\s>])\.(?=\s|$|[a-z'\"])|(?<=\))\s*\.(?=\w)", masked):
        parts.append(text[begin : match.end()].strip())
        begin = match.end()
    return [*parts, text[begin:]]


def _split(text: str, separators: str) -> list[str]:
    """A text cut at separators outside quotes and parentheses."""
    masked, parts, begin = _masked(text), [], 0
    for i, char in enumerate(masked):
        if char in separators:
            parts.append(text[begin:i])
            begin = i + 1
    return [*parts, text[begin:]]


def _first_outside_quotes(text: str, char: str) -> int:
    quoted = ""
    for i, one in enumerate(text):
        if quoted:
            quoted = "" if one == quoted and text[i - 1] != "\\" else quoted
        elif one in "'\"" and _opens_quote(text[i - 1] if i else " "):
            quoted = one
        elif one == char:
            return i
    return -1


def _matching(atom: str) -> int:
    """Where the last group of parentheses of an atom opens."""
    depth = 0
    for i in range(len(atom) - 1, -1, -1):
        depth += (atom[i] == ")") - (atom[i] == "(")
        if depth == 0:
            return i
    return -1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
