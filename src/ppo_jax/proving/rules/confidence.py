"""How often a rule is right, counted on the training facts.

A rule derives pairs from the facts; those that are facts are hits. Its confidence is ``hits / (pairs + 5)``: the five
keep a rule that was right twice of two below one that was right 900 times of 1,000 (AnyBURL, Meilicke et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from ppo_jax.proving.rules.bodies import Relations, body_rows, relation_matrices

__all__ = ["UNSEEN", "RuleCount", "count_rule", "surest", "with_counted_confidence"]

UNSEEN = 5  # pairs added to those that a rule derives
CHUNK = 2048  # first arguments looked at together


class RuleCount(NamedTuple):
    """What a rule derives from the facts."""

    hits: float  # derived atoms that are facts
    pairs: float  # derived atoms with two different arguments

    @property
    def confidence(self) -> float:
        """The share of hits, ``hits / (pairs + 5)``."""
        return self.hits / (self.pairs + UNSEEN)

    @property
    def standard_confidence(self) -> float:
        """The share of hits among the pairs."""
        return self.hits / self.pairs if self.pairs else 0.0


def count_rule(rule: Rule, relations: Relations, chunk: int = CHUNK) -> RuleCount:
    """Count what a rule derives, `chunk` first arguments at a time.

    An atom with twice the same argument counts as neither pair nor hit: `ppo_jax.proving.rules.scores` derives none.
    """
    facts = relations.matrix(rule.head[0])
    hits = pairs = 0
    every = np.arange(1, relations.size) if rule.head[1] < 0 else np.array([rule.head[1]])
    for begin in range(0, len(every), chunk):
        rows = every[begin : begin + chunk]
        derived = body_rows(rule, relations, rows)
        own = np.asarray(derived[np.arange(len(rows)), rows]).ravel() > 0
        loops = np.asarray(facts[rows, rows]).ravel() > 0
        pairs += derived.nnz - int(own.sum())
        hits += sparse.csr_matrix(derived.multiply(facts[rows])).nnz - int((own & loops).sum())
    return RuleCount(hits, pairs)


def with_counted_confidence(
    kb: KnowledgeBase, progress: Callable[[int, int], None] | None = None, chunk: int = CHUNK
) -> KnowledgeBase:
    """The knowledge base with the counted confidence in place of that which its rule file states.

    Args:
        kb: facts and rules; only the facts are counted, no query is looked at.
        progress: called with the rules counted and all of them, after each.
        chunk: first arguments looked at together.
    """
    relations = relation_matrices(kb)
    rules = []
    for i, rule in enumerate(kb.rules, start=1):
        rules.append(replace(rule, confidence=count_rule(rule, relations, chunk).confidence))
        if progress:
            progress(i, len(kb.rules))
    return replace(kb, rules=tuple(rules))


def surest(kb: KnowledgeBase, most: int) -> KnowledgeBase:
    """The knowledge base with at most `most` rules of each head, in their order: the surest.

    Rules without constants come first: a mined rule about one constant is often surer, and concerns few queries.
    """
    by_head: dict[int, list[int]] = {}

    def rank(number: int) -> tuple[bool, float]:
        rule = kb.rules[number]
        return any(t > 0 for atom in (rule.head, *rule.body) for t in atom[1:]), -(rule.confidence or 0.0)

    for number in sorted(range(len(kb.rules)), key=rank):
        by_head.setdefault(kb.rules[number].head[0], []).append(number)
    kept = sorted(number for numbers in by_head.values() for number in numbers[:most])
    return kb if len(kept) == len(kb.rules) else replace(kb, rules=tuple(kb.rules[i] for i in kept))
