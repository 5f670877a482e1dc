"""What is odd about facts, queries and rules of a data set: names that may not mean what they say, repetitions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from ppo_jax.proving.formats.statements import Clause, Constant, Statements, Triple, Variable, is_prolog_variable, some
from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule, is_variable, lowercase_variables, nearest

__all__ = ["odd_facts", "odd_queries", "odd_rules", "with_known_predicates"]

_INVERSE = "inv_"
MOST = 5  # names of a kind that are told one by one
FREQUENT = 10  # facts of a relation for which one that is called nearly so may be a slip


def odd_facts(facts: Statements) -> list[str]:
    """Warnings about training facts: repetitions, and relations of one fact that look like a slip, one line each."""
    warnings = []
    uses = Counter(fact[0] for fact in facts.facts)
    lines = {fact[0]: line for fact, line in zip(facts.facts, facts.lines, strict=True)}
    frequent = [name for name, n in uses.items() if n >= FREQUENT]
    entities = {name for fact in facts.facts for name in fact[1:]}
    for name in [name for name, n in uses.items() if n == 1]:
        place = f"{facts.file}:{lines[name]}: the relation {name!r} is in this fact alone"
        if name in entities:
            warnings.append(f"{place}, and a constant elsewhere: the columns may be in another order here")
        elif near := nearest(name, frequent, 0.8):
            warnings.append(f"{place}{near}")
    told = warnings[:MOST]
    if len(warnings) > MOST:
        told.append(f"relations of one fact that may be slips: {len(warnings)} in all")
    if repeated := len(facts.facts) - len(set(facts.facts)):
        told.append(f"{facts.file}: facts that repeat others: {repeated}, counted once")
    return told


def odd_queries(queries: Statements, predicates: Collection[str]) -> list[str]:
    """Warnings about relations of queries that are not among `predicates`, those of facts and rules."""
    first = {
        fact[0]: line
        for fact, line in reversed(list(zip(queries.facts, queries.lines, strict=True)))
        if fact[0] not in predicates
    }
    told = [
        f"{queries.file}:{line}: the relation {name!r} of a query is in no training fact and no rule"
        f"{nearest(name, predicates)}"
        for name, line in sorted(first.items(), key=lambda one: one[1])[:MOST]
    ]
    if len(first) > MOST:
        told.append(f"{queries.file}: relations in no fact and no rule: {len(first)} in all")
    return told


def odd_rules(sources: Sequence[Statements], kb: KnowledgeBase, declared: Collection[str]) -> list[str]:
    """Warnings about rules, one line each; of many names of a kind, the first ones and how many there are.

    Args:
        sources: what the rules and facts of `kb` were built from.
        kb: the knowledge base.
        declared: constants that the data set names apart from its facts.
    """
    known = {name for part in sources for fact in part.facts for name in fact[1:]}
    lowercase = lowercase_variables(sources)
    warnings: list[str] = []
    odd: dict[str, dict[str, str]] = {}  # by kind: each name with where it stands first
    for part in sources:
        for clause in part.clauses:
            for kind, name, text in _odd_names(clause, clause.prolog and part.file not in lowercase, known, declared):
                odd.setdefault(kind, {}).setdefault(name, f"{clause.source}: {text}")
    for kind, by_name in odd.items():
        warnings += list(by_name.values())[:MOST]
        if len(by_name) > MOST:
            warnings.append(f"{kind}: {len(by_name)} in all")
    for file in sorted(lowercase & {part.file for part in sources}):
        unknown = [
            name
            for part in sources
            if part.file == file
            for clause in part.clauses
            for name in _names(clause)
            if not isinstance(name, Constant | Variable) and name not in known
        ]
        if unknown:
            warnings.append(
                f"{file}: no name starts with a capital, so {some(unknown)}, which no fact knows, are variables"
            )
    return list(dict.fromkeys(warnings)) + _repeated(sources, kb.rules)


def with_known_predicates(sources: Sequence[Statements], notes: list[str]) -> list[Statements]:
    """Rules may name an IRI by its last part, and the inverse of a relation `r` by `inv_r`; facts know the full name.

    Args:
        sources: parsed files.
        notes: takes a line where names were completed.
    """
    known = {fact[0] for part in sources for fact in part.facts}
    heads = {clause.head[0] for part in sources for clause in part.clauses}
    used = {atom[0] for part in sources for clause in part.clauses for atom in (clause.head, *clause.body)} - known
    if not used:
        return list(sources)
    local: dict[str, list[str]] = {}
    for name in known:
        if "://" in name:
            local.setdefault(re.split(r"[/#]", name)[-1], []).append(name)
    ends = {name: name if "://" in name else name.rpartition(":")[2] for name in used}
    full = {name: local[end][0] for name, end in ends.items() if len(local.get(end, [])) == 1}
    if full:
        examples = some(f"{short} is {full[short]}" for short in sorted(full))
        notes.append(f"predicates of rules are taken for the relations that end so: {examples}")

    def atom(triple: Triple) -> Triple:
        base = triple[0].removeprefix(_INVERSE)
        if base != triple[0] and triple[0] in used and triple[0] not in heads and (base in known or base in heads):
            return base, triple[2], triple[1]
        return full.get(triple[0], triple[0]), triple[1], triple[2]

    return [
        part._replace(
            clauses=[
                clause._replace(head=atom(clause.head), body=tuple(map(atom, clause.body))) for clause in part.clauses
            ]
        )
        for part in sources
    ]


def _names(clause: Clause) -> list[str]:
    return [name for atom in (clause.head, *clause.body) for name in atom[1:]]


def _odd_names(
    clause: Clause, prolog: bool, known: Collection[str], declared: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """The kind of oddity, the name and what to say of it."""
    names = list(dict.fromkeys(_names(clause)))
    variables = [name for name in names if is_variable(name, prolog, known, declared)]
    constants = [name for name in names if name not in variables]
    for name in constants:
        if name not in known and name not in declared:
            text = f"the constant {name!r} of a rule is in no fact{nearest(name, known)}"
            yield "constants of rules that are in no fact", name, text
    if prolog:
        for name in variables:
            if name in known and not isinstance(name, Variable):
                text = (
                    f"{name} is a variable of the rule, though a constant of the facts has the name; to mean the "
                    f"constant write '{name}' in single quotes"
                )
                yield "variables of rules that are called as constants of the facts", name, text
        return
    capitals = any(is_prolog_variable(name) for name in variables)
    for name in variables:
        if capitals and not isinstance(name, Variable) and len(name) > 2 and not is_prolog_variable(name):
            text = f"{name!r} is in no fact, so the rule reads it as a variable{nearest(name, known)}"
            yield "names in rules that are in no fact and read as variables", name, text
    for name in constants:
        if not isinstance(name, Constant) and re.fullmatch(r"[A-Za-z]\d?", name):
            text = f"{name} is a constant of the facts and so of the rule; to mean a variable give it another name"
            yield "constants of rules that are called as variables", name, text


def _repeated(sources: Iterable[Statements], rules: Sequence[Rule]) -> list[str]:
    """Rules that stand in the files twice, in other names of variables too; two names for a rule are its author's."""
    clauses = [clause for part in sources for clause in part.clauses]
    first: dict[tuple[object, ...], Rule] = {}
    repeated = []
    for clause, rule in zip(clauses, rules, strict=True):
        name = "" if re.fullmatch(r"clause\d+(?:\.\d+)?", clause.name) else clause.name
        same = first.setdefault((name, rule.head, rule.body, rule.different), rule)
        if same is not rule:
            repeated.append(f"{rule.source} repeats {same.source}")
    return [f"rules that repeat others: {len(repeated)} ({some(repeated)})"] if repeated else []
