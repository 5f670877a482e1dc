"""What follows from facts and rules, atom by atom: training queries where no fact asks one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ppo_jax.proving.knowledge_base import Atom, KnowledgeBase, Rule

__all__ = ["derive"]


def derive(kb: KnowledgeBase, most: int) -> np.ndarray:
    """Atoms [N, 3] int32 that the rules derive from the facts, by naive forward chaining; at most `most` of them."""
    known = {(int(p), int(s), int(t)) for p, s, t in kb.facts}
    derived: dict[Atom, None] = {}
    grew = True
    while grew and len(derived) < most:
        by_predicate: dict[int, list[Atom]] = {}
        for atom in known:
            by_predicate.setdefault(atom[0], []).append(atom)
        new = dict.fromkeys(
            atom for rule in kb.rules for atom in _consequences(rule, by_predicate, most) if atom not in known
        )
        grew = bool(new)
        known |= new.keys()
        derived |= new
    return np.array(sorted(derived)[:most], np.int32).reshape(-1, 3)


def _consequences(rule: Rule, facts: dict[int, list[Atom]], most: int) -> Iterator[Atom]:
    """At most `most` heads of the rule whose bodies hold."""

    def extend(body: tuple[Atom, ...], binding: dict[int, int]) -> Iterator[dict[int, int]]:
        if not body:
            yield binding
            return
        predicate, *terms = body[0]
        for _, *values in facts.get(predicate, ()):
            extended = dict(binding)
            if all((t if t > 0 else extended.setdefault(t, v)) == v for t, v in zip(terms, values, strict=True)):
                yield from extend(body[1:], extended)

    count = 0
    for binding in extend(rule.body, {}):
        if any(binding.get(left, left) == binding.get(right, right) for left, right in rule.different):
            continue
        predicate, *terms = rule.head
        first, second = (t if t > 0 else binding[t] for t in terms)
        yield predicate, first, second
        count += 1
        if count >= most:
            return
