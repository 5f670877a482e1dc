"""One step of SLD resolution on a resolvent: all successors of its leftmost atom, in pure jnp, unbatched."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ppo_jax.logic.index import Index, Sizes, hash_pairs

__all__ = ["Hidden", "Successors", "dropped_out", "is_fact", "matching_row", "successors"]

Hidden = Callable[[jax.Array], jax.Array]  # atoms [..., 3] -> whether they may not be used as facts [...] bool


class Successors(NamedTuple):
    """G = facts, then rules. Invalid slots hold zeros."""

    resolvents: jax.Array  # [G, A, 3] int32, canonical
    kind: jax.Array  # [G] int32: 1 a fact, 2.. a rule (2 + its place in the file), 0 padding
    constants: jax.Array  # [G, 2] int32: what a fact binds the leftmost atom's variables to, 0 where none
    valid: jax.Array  # [G] bool
    length: jax.Array  # [G] int32 atoms left; a valid successor of length 0 is a proof
    dropped: jax.Array  # [] int32: successors lost for want of room (atoms or slots)


def successors(
    index: Index, sizes: Sizes, resolvent: jax.Array, root: jax.Array, hidden: Hidden | None = None
) -> Successors:
    """Resolve the leftmost atom with every fact and every rule.

    Args:
        resolvent: [A, 3] int32, zero rows after its atoms; all zero (proved) has no successors.
        root: [3] int32, the query being proved, which is never used as a fact.
        hidden: which further facts are as if the knowledge base did not hold them; None: none.
    """
    chex.assert_shape([resolvent, root], [(sizes.max_atoms, 3), (3,)])
    leftmost, rest = resolvent[0], resolvent[1:]
    facts, fact_valid, cut = _match_facts(index, sizes, leftmost, root)
    if hidden is not None:
        predicates = jnp.broadcast_to(leftmost[:1], (sizes.max_facts, 1))
        fact_valid &= ~hidden(jnp.concatenate([predicates, facts], axis=-1))
    rules, rule_valid, rule_atoms = _match_rules(index, sizes, leftmost, rest)
    fact_atoms = _bind(rest, leftmost[1:], facts, sizes)

    parts = [_normal_form(index, sizes, atoms, root, hidden) for atoms in (fact_atoms, rule_atoms)]
    resolvents = jnp.concatenate([part[0] for part in parts])
    length = jnp.concatenate([part[1] for part in parts])
    valid = jnp.concatenate([fact_valid, rule_valid])
    fits = length <= sizes.max_atoms
    dropped = jnp.sum(valid & ~fits) + cut
    valid = valid & fits

    is_variable = leftmost[1:] > sizes.n_constants
    constants = jnp.concatenate([jnp.where(is_variable, facts, 0), jnp.zeros((sizes.max_rules, 2), jnp.int32)])
    kind = jnp.concatenate([jnp.ones(sizes.max_facts, jnp.int32), rules + 1])
    return Successors(
        resolvents=jnp.where(valid[:, None, None], resolvents, 0),
        kind=jnp.where(valid, kind, 0),
        constants=jnp.where(valid[:, None], constants, 0),
        valid=valid,
        length=jnp.where(valid, length, 0),
        dropped=dropped.astype(jnp.int32),
    )


def is_fact(index: Index, sizes: Sizes, atoms: jax.Array) -> jax.Array:
    """Whether atoms [..., 3] are known facts, [...] bool."""
    key = atoms[..., 0] * (sizes.n_constants + 1) + atoms[..., 1]
    bucket = hash_pairs(key.astype(jnp.uint32), atoms[..., 2].astype(jnp.uint32)) & (index.buckets.shape[0] - 1)
    entries = index.buckets[bucket]  # [..., W, 2]
    return jnp.any((entries[..., 0] == key[..., None]) & (entries[..., 1] == atoms[..., 2, None]), axis=-1)


def dropped_out(index: Index, sizes: Sizes, atoms: jax.Array, salt: jax.Array, share: float) -> jax.Array:
    """Whether atoms [..., 3] are among the `share` of facts that `salt` [] uint32 hides, [...] bool; salt 0: none.

    Each atom of a predicate that heads a rule has an independent chance, by a hash; other atoms stay.
    """
    mixed = hash_pairs(atoms[..., 0].astype(jnp.uint32) ^ salt, atoms[..., 1].astype(jnp.uint32))
    mixed = hash_pairs(mixed ^ salt, atoms[..., 2].astype(jnp.uint32))
    derivable = index.rules_of[atoms[..., 0], 0] > 0
    return derivable & (salt > 0) & (mixed < jnp.uint32(round(share * (2**32 - 1))))


def matching_row(index: Index, sizes: Sizes, predicate: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """Start and end in `index.pairs` of the facts p(first, ·), p(·, second) or p(·, ·), [2]; 0 stands for ·."""
    stride = sizes.n_constants + 1
    by_first = predicate * stride + first  # with first = 0: where the predicate begins
    by_second = predicate * stride + second
    row = jnp.where(
        first > 0,
        jnp.stack([index.first_offsets[by_first], index.first_offsets[by_first + 1]]),
        jnp.stack([index.second_offsets[by_second], index.second_offsets[by_second + 1]]),
    )
    whole = jnp.stack([index.first_offsets[by_first], index.first_offsets[by_first + stride]])
    return jnp.where((first == 0) & (second == 0), whole, row)


def _match_facts(
    index: Index, sizes: Sizes, leftmost: jax.Array, root: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Arguments [F, 2] of the facts that match an atom, their validity [F], and how many found no slot []."""
    predicate, x, y = leftmost
    free_x, free_y = x > sizes.n_constants, y > sizes.n_constants
    row = matching_row(index, sizes, predicate, jnp.where(free_x, 0, x), jnp.where(free_y, 0, y))
    # A ground atom that is a fact was deleted when its state was made: only the root is left, and it may not be used.
    count = jnp.where((predicate > 0) & (free_x | free_y), row[1] - row[0], 0)
    pairs = jax.lax.dynamic_slice(index.pairs, (row[0], 0), (sizes.max_facts, 2))
    valid = jnp.arange(sizes.max_facts) < count
    valid &= (x != y) | (pairs[:, 0] == pairs[:, 1])
    valid &= (predicate != root[0]) | (pairs[:, 0] != root[1]) | (pairs[:, 1] != root[2])
    return pairs, valid, jnp.maximum(count - sizes.max_facts, 0)


def _bind(rest: jax.Array, variables: jax.Array, values: jax.Array, sizes: Sizes) -> jax.Array:
    """`rest` [n, 3] with the variables [2] replaced by each pair of values [F, 2]: [F, n, 3]."""
    terms = rest[None, :, 1:]
    for i in range(2):
        replace = (terms == variables[i]) & (variables[i] > sizes.n_constants)
        terms = jnp.where(replace, values[:, i, None, None], terms)
    predicates = jnp.broadcast_to(rest[None, :, :1], (*terms.shape[:2], 1))
    return jnp.concatenate([predicates, jnp.broadcast_to(terms, (*terms.shape[:2], 2))], axis=-1)


def _match_rules(
    index: Index, sizes: Sizes, leftmost: jax.Array, rest: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rule numbers [R], whether each head unifies [R], and body + rest under the unifier [R, body + n, 3]."""
    rules = index.rules_of[leftmost[0]]
    heads, bodies = index.heads[rules], index.bodies[rules]
    first_rule_variable = sizes.n_constants + 2 * sizes.max_atoms
    valid = rules > 0
    atoms = jnp.concatenate([bodies, jnp.broadcast_to(rest, (rules.shape[0], *rest.shape))], axis=1)
    terms = atoms[..., 1:]
    goal = jnp.broadcast_to(leftmost[1:], heads.shape)
    for i in range(2):  # argument by argument, applying each binding to all that is left
        s, t = heads[:, i], goal[:, i]
        bind_head = s > first_rule_variable
        bind_goal = ~bind_head & (t > sizes.n_constants)
        bind_reverse = ~bind_head & ~bind_goal & (s > sizes.n_constants)  # s became a goal variable, t is a constant
        valid &= (s == t) | bind_head | bind_goal | bind_reverse
        source = jnp.where(bind_goal, t, s)
        target = jnp.where(bind_goal, s, t)
        binds = (bind_head | bind_goal | bind_reverse) & (s != t)
        replace = lambda x, source=source, target=target, binds=binds: jnp.where(  # noqa: E731
            _expand(binds, x) & (x == _expand(source, x)), _expand(target, x), x
        )
        heads, goal, terms = replace(heads), replace(goal), replace(terms)
    return rules, valid, jnp.concatenate([atoms[..., :1], terms], axis=-1)


def _expand(x: jax.Array, like: jax.Array) -> jax.Array:
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def _normal_form(
    index: Index, sizes: Sizes, atoms: jax.Array, root: jax.Array, hidden: Hidden | None
) -> tuple[jax.Array, jax.Array]:
    """Delete known facts, close the gaps and renumber the variables of n states.

    Args:
        atoms: [n, m, 3]; zero rows are padding anywhere.

    Returns:
        Resolvents [n, A, 3] (cut at A atoms) and the number of atoms they need [n].
    """
    ground = jnp.all(atoms[..., 1:] <= sizes.n_constants, axis=-1)
    known = ground & is_fact(index, sizes, atoms) & jnp.any(atoms != root[None, None], axis=-1)
    if hidden is not None:
        known &= ~hidden(atoms)
    keep = (atoms[..., 0] > 0) & ~known
    place = jnp.cumsum(keep, axis=-1) - 1  # [n, m]
    # A one-hot sum, since a scatter is slow on every backend at these sizes.
    chosen = keep[:, None, :] & (place[:, None, :] == jnp.arange(sizes.max_atoms)[None, :, None])  # [n, A, m]
    atoms = jnp.sum(jnp.where(chosen[..., None], atoms[:, None], 0), axis=2)
    return _renumber(sizes, atoms), jnp.sum(keep, axis=-1)


def _renumber(sizes: Sizes, atoms: jax.Array) -> jax.Array:
    """Number the variables of [n, A, 3] resolvents C+1, C+2, … by first occurrence."""
    terms = atoms[..., 1:].reshape(atoms.shape[0], -1)  # [n, 2A]
    variable = terms > sizes.n_constants
    same = terms[:, :, None] == terms[:, None, :]
    earlier = jnp.tril(jnp.ones((terms.shape[1],) * 2, bool), k=-1)
    first = variable & ~jnp.any(same & earlier[None], axis=-1)
    number = jnp.where(first, jnp.cumsum(first, axis=-1), 0)
    renumbered = jnp.sum(jnp.where(same & first[:, None, :], number[:, None, :], 0), axis=-1)
    terms = jnp.where(variable, sizes.n_constants + renumbered, terms)
    return jnp.concatenate([atoms[..., :1], terms.reshape(*atoms.shape[:2], 2)], axis=-1)
