r"""Rules as text, in the arrow notation: ``name:confidence:b1(X,Z), b2(Z,Y), X != Y -> head(X,Y)``.

A name that the notation could not tell from its own signs is put in single quotes, with ``\`` before a quote or a
backslash in it. Variables are named so that no constant has the name. A comment above mined rules has the limits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import asdict

from ppo_jax.proving.formats.mined import limits_line
from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from ppo_jax.proving.rules.mining import Limits

__all__ = ["format_mined", "format_rule", "format_rules"]

_PLAIN = re.compile(r"(?!.*(?:->|:-|!=))[^\s(),'\"%#][^\s(),'\"]*(?<!\.)")
_VARIABLES = "XYZW"


def format_mined(rules: Collection[Rule], kb: KnowledgeBase, limits: Limits) -> str:
    """A comment with the limits that the rules were mined by, then one rule a line."""
    return limits_line(asdict(limits), len(rules)) + format_rules(rules, kb)


def format_rules(rules: Iterable[Rule], kb: KnowledgeBase) -> str:
    """One rule a line."""
    return "".join(f"{format_rule(rule, kb)}\n" for rule in rules)


def format_rule(rule: Rule, kb: KnowledgeBase) -> str:
    """A rule as a line of a rule file; a rule without confidence has the weight 1."""
    variables: dict[int, str] = {}
    atoms = [rule.head, *rule.body]
    for variable in [term for atom in atoms for term in atom[1:] if term < 0]:
        variables.setdefault(variable, _variable(len(variables), kb))

    def term(term: int) -> str:
        return variables[term] if term < 0 else _name(kb.constants[term - 1])

    head, *body = (f"{_name(kb.predicates[p - 1])}({term(left)},{term(right)})" for p, left, right in atoms)
    body += [f"{term(left)} != {term(right)}" for left, right in rule.different]
    confidence = 1.0 if rule.confidence is None else rule.confidence
    return f"{rule.name}:{confidence:.6g}:{', '.join(body)} -> {head}"


def _variable(number: int, kb: KnowledgeBase) -> str:
    name = _VARIABLES[number] if number < len(_VARIABLES) else f"V{number + 1}"
    while name in kb.constant_ids:
        name += "_"
    return name


def _name(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
