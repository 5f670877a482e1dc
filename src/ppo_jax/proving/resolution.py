"""One step of SLD resolution on a resolvent: all successors of its leftmost atom, in pure jnp, unbatched.

Atoms are handled as three arrays, predicate, first and second argument, with the facts along the last axis, where a
processor's vector instructions work; rules, of which fewer match, are taken one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ppo_jax.proving.index import Index, Sizes, hash_pairs

__all__ = ["Hidden", "Successors", "dropped_out", "is_fact", "matching_row", "renumber", "successors"]

# (predicates, first, second arguments) that broadcast -> whether such atoms may not be used as facts
Hidden = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Successors(NamedTuple):
    """G = facts, then rules. Invalid slots hold zeros."""

    resolvents: jax.Array  # [3, A, G] int32, canonical
    kind: jax.Array  # [G] int32: 1 a fact, 2.. a rule (2 + its place in the file), 0 padding
    constants: jax.Array  # [2, G] int32: what a fact binds the leftmost atom's variables to, 0 where none
    valid: jax.Array  # [G] bool
    length: jax.Array  # [G] int32 atoms left; a valid successor of length 0 is a proof
    dropped: jax.Array  # [2] int32: successors lost that have too many atoms, and facts that found no slot


def successors(
    index: Index,
    sizes: Sizes,
    resolvent: jax.Array,
    root: jax.Array,
    hidden: Hidden | None = None,
    salt: jax.Array | None = None,
) -> Successors:
    """Resolve the leftmost atom with every fact and every rule.

    Args:
        resolvent: [A, 3] int32, canonical: variables are C+1, C+2, … by first occurrence, zero rows come after the
            atoms; all zero (proved) has no successors.
        root: [3] int32, the query being proved, which is never used as a fact.
        hidden: which further facts are as if the knowledge base did not hold them; None: none.
        salt: [] uint32, draws the facts that are tried where more match than there are slots; None: the first ones.
    """
    chex.assert_shape([resolvent, root], [(sizes.max_atoms, 3), (3,)])
    leftmost, rest = resolvent[0], resolvent[1:]
    facts, fact_valid, cut = _match_facts(index, sizes, leftmost, root, salt)
    if hidden is not None:
        fact_valid &= ~hidden(leftmost[0], *facts)
    free = leftmost[1:] > sizes.n_constants  # [2]
    bound = _bind(rest, leftmost[1:], free, facts)
    fact_atoms, fact_length, holds = _without_facts(index, sizes, bound, root, hidden)
    fact_valid &= holds
    # Canonical numbers stay in order when a fact binds the first of them, those of the leftmost atom.
    n_bound = jnp.sum(free) - (free[0] & (leftmost[1] == leftmost[2]))
    fact_terms = jnp.where(fact_atoms[1:] > sizes.n_constants, fact_atoms[1:] - n_bound, fact_atoms[1:])
    fact_atoms = jnp.concatenate([fact_atoms[:1], fact_terms])

    rules = index.rules_of[leftmost[0]]
    by_rule = partial(_apply_rule, index, sizes, leftmost, rest, root, hidden)
    rule_valid, rule_atoms, rule_length = jax.vmap(by_rule, out_axes=-1)(rules)

    length = jnp.concatenate([fact_length, rule_length])
    valid = jnp.concatenate([fact_valid, rule_valid])
    fits = length <= sizes.max_atoms
    dropped = jnp.stack([jnp.sum(valid & ~fits), cut])
    valid = valid & fits
    constants = jnp.concatenate(
        [jnp.where(free[:, None], facts, 0), jnp.zeros((2, sizes.max_rules), jnp.int32)], axis=1
    )
    kind = jnp.concatenate([jnp.ones(sizes.max_facts, jnp.int32), rules + 1])
    return Successors(
        resolvents=jnp.where(valid[None, None], jnp.concatenate([fact_atoms, rule_atoms], axis=-1), 0),
        kind=jnp.where(valid, kind, 0),
        constants=jnp.where(valid[None], constants, 0),
        valid=valid,
        length=jnp.where(valid, length, 0),
        dropped=dropped.astype(jnp.int32),
    )


def is_fact(index: Index, sizes: Sizes, predicate: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """Whether ground atoms, given as arrays that broadcast, are known facts, bool."""
    stride = sizes.n_constants + 1
    key = predicate * stride + first
    if index.bits.size:
        place = (key * stride + second).astype(jnp.uint32)
        return (index.bits[place >> 5] >> (place & 31)) & 1 > 0
    bucket = hash_pairs(key.astype(jnp.uint32), second.astype(jnp.uint32)) & (index.buckets.shape[0] - 1)
    entries = index.buckets[bucket]  # [..., W, 2]
    return jnp.any((entries[..., 0] == key[..., None]) & (entries[..., 1] == second[..., None]), axis=-1)


def dropped_out(
    index: Index,
    sizes: Sizes,
    predicate: jax.Array,
    first: jax.Array,
    second: jax.Array,
    *,
    salt: jax.Array,
    share: float,
) -> jax.Array:
    """Whether atoms, given as arrays that broadcast, are among the `share` of facts that `salt` hides, bool.

    Each atom of a predicate that heads a rule has an independent chance, by a hash; other atoms stay. `salt` is
    [] uint32; 0 hides nothing.
    """
    mixed = hash_pairs(predicate.astype(jnp.uint32) ^ salt, first.astype(jnp.uint32))
    mixed = hash_pairs(mixed ^ salt, second.astype(jnp.uint32))
    derivable = index.rules_of[predicate, 0] > 0
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
    index: Index, sizes: Sizes, leftmost: jax.Array, root: jax.Array, salt: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Arguments [2, F] of the facts that match an atom, their validity [F], and how many found no slot []."""
    predicate, x, y = leftmost
    free_x, free_y = x > sizes.n_constants, y > sizes.n_constants
    row = matching_row(index, sizes, predicate, jnp.where(free_x, 0, x), jnp.where(free_y, 0, y))
    # A ground atom that is a fact was deleted when its state was made: only the root is left, and it may not be used.
    count = jnp.where((predicate > 0) & (free_x | free_y), row[1] - row[0], 0)
    if salt is None:
        pairs = jax.lax.dynamic_slice(index.pairs, (0, row[0]), (2, sizes.max_facts))
    else:  # a window of the row that begins anywhere, and goes round
        begin = jnp.where(count > sizes.max_facts, hash_pairs(row[0].astype(jnp.uint32), salt), 0)
        place = (begin + jnp.arange(sizes.max_facts, dtype=jnp.uint32)) % jnp.maximum(count, 1).astype(jnp.uint32)
        pairs = index.pairs[:, row[0] + place.astype(jnp.int32)]
    valid = jnp.arange(sizes.max_facts) < count
    valid &= (x != y) | (pairs[0] == pairs[1])
    valid &= (predicate != root[0]) | (pairs[0] != root[1]) | (pairs[1] != root[2])
    return pairs, valid, jnp.maximum(count - sizes.max_facts, 0)


def _bind(rest: jax.Array, variables: jax.Array, free: jax.Array, values: jax.Array) -> jax.Array:
    """`rest` [m, 3] with those of two `variables` [2] that are `free` [2] replaced by `values` [2, F]: [3, m, F]."""
    terms = rest[:, 1:].T[..., None]  # [2, m, 1]
    for variable, is_free, value in zip(variables, free, values, strict=True):
        terms = jnp.where((terms == variable) & is_free, value[None, None], terms)
    predicates = jnp.broadcast_to(rest[:, 0, None], terms.shape[1:])
    return jnp.concatenate([predicates[None], terms])


def _apply_rule(
    index: Index,
    sizes: Sizes,
    leftmost: jax.Array,
    rest: jax.Array,
    root: jax.Array,
    hidden: Hidden | None,
    rule: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Resolve with the rule of that number []: whether its head unifies [], the resolvent [3, A] and its length []."""
    first_rule_variable = sizes.n_constants + 2 * sizes.max_atoms
    valid = rule > 0
    atoms = jnp.concatenate([index.bodies[rule], rest])
    head, goal, terms = index.heads[rule], leftmost[1:], atoms[:, 1:]
    for i in range(2):  # argument by argument, applying each binding to all that is left
        s, t = head[i], goal[i]
        bind_head = s > first_rule_variable
        bind_goal = ~bind_head & (t > sizes.n_constants)
        bind_reverse = ~bind_head & ~bind_goal & (s > sizes.n_constants)  # s became a goal variable, t is a constant
        binds = bind_head | bind_goal | bind_reverse
        valid &= (s == t) | binds
        source, target = jnp.where(bind_goal, t, s), jnp.where(bind_goal, s, t)
        head, goal, terms = (jnp.where(binds & (x == source), target, x) for x in (head, goal, terms))
    atoms = jnp.concatenate([atoms[:, :1], terms], axis=1).T
    atoms, length, holds = _without_facts(index, sizes, atoms[..., None], root, hidden)
    valid &= holds[0]
    return valid, renumber(sizes, atoms[..., 0]), length[0]


def _without_facts(
    index: Index, sizes: Sizes, atoms: jax.Array, root: jax.Array, hidden: Hidden | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Delete known facts, and inequalities that hold, from n states and close the gaps.

    Args:
        atoms: [3, m, n]; zeros are padding anywhere.

    Returns:
        Atoms [3, A, n] (cut at A), the number of atoms there are [n], and whether no inequality is violated [n].
    """
    if hidden is not None:
        # Else XLA computes the hashes behind `hidden` anew for every use: a third off an environment step.
        atoms = jax.lax.optimization_barrier(atoms)
    predicate, first, second = atoms
    ground = (first <= sizes.n_constants) & (second <= sizes.n_constants)
    is_root = (predicate == root[0]) & (first == root[1]) & (second == root[2])
    known = ground & is_fact(index, sizes, predicate, first, second) & ~is_root
    if hidden is not None:
        known &= ~hidden(predicate, first, second)
    holds = jnp.ones(atoms.shape[2:], bool)
    if sizes.different:
        settled = ground & (predicate == sizes.different)
        known |= settled & (first != second)
        holds = ~jnp.any(settled & (first == second), axis=0)
    keep = (predicate > 0) & ~known
    place = jnp.cumsum(keep, axis=0) - 1  # [m, n]
    # A one-hot sum, since a scatter is slow on every backend at these sizes.
    chosen = keep[:, None] & (place[:, None] == jnp.arange(sizes.max_atoms)[None, :, None])  # [m, A, n]
    return jnp.sum(jnp.where(chosen[None], atoms[:, :, None], 0), axis=1), jnp.sum(keep, axis=0), holds


def renumber(sizes: Sizes, atoms: jax.Array) -> jax.Array:
    """Number the variables of a resolvent [3, A] C+1, C+2, … by first occurrence."""
    terms = atoms[1:].T.reshape(-1)  # [2A] in the order of reading
    variable = terms > sizes.n_constants
    same = terms[:, None] == terms[None]  # [2A, 2A]
    earlier = jnp.triu(jnp.ones(same.shape, bool), k=1)
    first = variable & ~jnp.any(same & earlier, axis=0)
    number = jnp.where(first, jnp.cumsum(first), 0)
    renumbered = jnp.sum(jnp.where(same & first[:, None], number[:, None], 0), axis=0)
    terms = jnp.where(variable, sizes.n_constants + renumbered, terms)
    return jnp.concatenate([atoms[:1], terms.reshape(-1, 2).T])
