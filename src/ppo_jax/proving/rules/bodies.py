"""What the body of a rule says of a whole knowledge base, by sparse matrices instead of one proof at a time.

A relation is a matrix with a weight in (0, 1] for each of its atoms, 1 for a fact. A body becomes the matrix of the
head atoms that it derives: an atom weighs as much as its best match, a match as the product of the atoms it uses.
Everything is asked for some rows at a time, so that memory is bounded by those rows and not by the square of the
constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ppo_jax.proving.knowledge_base import Atom, KnowledgeBase, Rule

__all__ = ["Path", "Relations", "as_path", "body_rows", "expand", "ranges", "relation_matrices", "walk", "without_own"]

Matrix = Any
"""A CSR matrix."""

MAX_MATCHES = 2**23  # matches of a body held at once; more are made for fewer rows at a time (about 0.5 GB)
MAX_SIMPLE_STEPS = 3  # a longer path of distinct constants is joined atom by atom


class Path(NamedTuple):
    """A body that leads from the first variable of the head to the second, through variables met once each."""

    steps: tuple[tuple[int, bool], ...]  # (predicate, from its second argument to its first)
    different: frozenset[tuple[int, int]]  # pairs of places i < j along the path that are not the same constant

    @property
    def reverse(self) -> Path:
        """The same path from its end."""
        last = len(self.steps)
        steps = tuple((predicate, not inverse) for predicate, inverse in reversed(self.steps))
        return Path(steps, frozenset((last - j, last - i) for i, j in self.different))


class Relations:
    """The atoms of each predicate with their weights, as matrices, and those without self-loops, made when asked."""

    def __init__(self, matrices: Mapping[int, Matrix], n_constants: int) -> None:
        """`matrices` are [n_constants + 1, n_constants + 1] by predicate id, in CSR; ids of constants are rows."""
        self.n_constants = n_constants
        self.size = n_constants + 1
        self.certain = {predicate: bool((matrix.data == 1).all()) for predicate, matrix in matrices.items()}
        self._matrices = {(predicate, False, False): matrix for predicate, matrix in matrices.items()}
        self._empty = sparse.csr_matrix((self.size, self.size))

    def matrix(self, predicate: int, inverse: bool = False, loops: bool = True) -> Matrix:
        """The weights of a predicate from argument to argument."""
        found = self._matrices.get((predicate, inverse, not loops))
        if found is None:
            found = self._matrices.get((predicate, False, False), self._empty)
            found = found.T.tocsr() if inverse else found
            found = found if loops else without_own(found, np.arange(self.size))
            self._matrices[predicate, inverse, not loops] = found
        return found


def relation_matrices(kb: KnowledgeBase, facts: np.ndarray | None = None) -> Relations:
    """The facts of a knowledge base, or those given [F, 3], as relations of weight 1."""
    facts = kb.facts if facts is None else facts
    size = len(kb.constants) + 1
    matrices = {}
    for predicate in np.unique(facts[:, 0]):
        rows, columns = facts[facts[:, 0] == predicate, 1:].T
        matrix = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(size, size))
        matrix.data[:] = 1  # a repeated fact is one fact
        matrices[int(predicate)] = matrix
    return Relations(matrices, len(kb.constants))


def as_path(rule: Rule) -> Path | None:
    """The body as a path from head variable to head variable, or None where it is none."""
    _, first, last = rule.head
    if first > 0 or last > 0 or first == last:
        return None
    places, steps, rest = {first: 0}, [], list(rule.body)
    here = first
    while rest:
        touching = [atom for atom in rest if here in atom[1:]]
        if len(touching) != 1 or touching[0][1] == touching[0][2]:
            return None
        predicate, left, right = touching[0]
        rest.remove(touching[0])
        inverse = right == here
        here = left if inverse else right
        if here > 0 or here in places:
            return None
        places[here] = len(places)
        steps.append((predicate, inverse))
    if here != last or any(term not in places for pair in rule.different for term in pair):
        return None
    pairs = (sorted((places[left], places[right])) for left, right in rule.different)
    return Path(tuple(steps), frozenset((i, j) for i, j in pairs))


def body_rows(rule: Rule, relations: Relations, rows: np.ndarray, *, by_tail: bool = False) -> Matrix:
    """The head atoms that a body derives, for some constants as first (or, `by_tail`, second) argument of the head.

    Args:
        rule: a definite clause.
        relations: what its body is matched against.
        rows: [R] constant ids.
        by_tail: whether `rows` are the second arguments and the columns the first.

    Returns:
        CSR [R, n_constants + 1] of weights, none of them 0.
    """
    path = as_path(rule)
    if path is not None:
        path = path.reverse if by_tail else path
        certain = all(relations.certain.get(predicate, True) for predicate, _ in path.steps)
        if certain and (len(path.steps) <= MAX_SIMPLE_STEPS or not path.different):
            return walk(path, relations, rows)
    return _in_parts(rule, relations, rows, by_tail)


def walk(path: Path, relations: Relations, rows: np.ndarray) -> Matrix:
    """Where a path leads from each of `rows` [R], in a graph of certain relations: a CSR matrix [R, N + 1] of ones.

    Walks are counted by products. Those that come back to a place where they must not are subtracted: for a path
    x, z, w, y with w ≠ x and z ≠ y the walks with z = y are A(x,y) Σ_w B(y,w) C(w,y), less those with w = x.
    """
    different = path.different
    steps = [
        relations.matrix(predicate, inverse, (i, i + 1) not in different)
        for i, (predicate, inverse) in enumerate(path.steps)
    ]
    walks = steps[0][rows]
    for i, step in enumerate(steps[1:], start=2):
        walks = walks @ step
        if i == 3 and (1, 3) in different:
            home = relations.matrix(path.steps[2][0], not path.steps[2][1], (2, 3) not in different)
            back = np.asarray(steps[1].multiply(home).sum(axis=1)).ravel()
            start = steps[0][rows]
            start.data = back[start.indices]
            walks = walks - start
            if (0, 2) in different:
                turned = relations.matrix(path.steps[1][0], not path.steps[1][1], (1, 2) not in different)
                walks = walks + steps[0][rows].multiply(turned[rows]).multiply(step[rows])
            walks = sparse.csr_matrix(walks)
        if (0, i) in different:
            walks = without_own(walks, rows)
    walks = walks.copy() if len(steps) == 1 else walks
    walks.eliminate_zeros()
    walks.data = np.ones(len(walks.data))
    return walks


def expand(left: Matrix, right: Matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All products of an entry (i, k) of `left` with an entry (k, j) of `right`: i, j and the product, [M] each."""
    left = left.tocoo()
    lengths = np.diff(right.indptr)[left.col]
    entries = ranges(right.indptr[left.col], lengths)
    return (
        np.repeat(left.row, lengths).astype(np.int64),
        right.indices[entries].astype(np.int64),
        np.repeat(left.data, lengths) * right.data[entries],
    )


def without_own(matrix: Matrix, rows: np.ndarray) -> Matrix:
    """A matrix [R, N + 1] without the entries whose column is the constant of their row, one of `rows` [R]."""
    matrix = sparse.csr_matrix(matrix)
    own = np.repeat(rows, np.diff(matrix.indptr))
    keep = matrix.indices != own
    indptr = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
    return sparse.csr_matrix((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)


class _Matches(NamedTuple):
    """Partial matches of a body."""

    row: np.ndarray  # [M] which of the rows asked for
    terms: dict[int, np.ndarray]  # rule variable -> [M] constants
    weight: np.ndarray  # [M]

    def of(self, term: int) -> np.ndarray | None:
        """The constants that a term stands for, None where it is not bound yet."""
        return np.full(len(self.row), term) if term > 0 else self.terms.get(term)

    def take(self, chosen: np.ndarray) -> _Matches:
        terms = {variable: values[chosen] for variable, values in self.terms.items()}
        return _Matches(self.row[chosen], terms, self.weight[chosen])


class _TooManyError(Exception):
    """A join would make more matches than may be held at once."""


def _in_parts(rule: Rule, relations: Relations, rows: np.ndarray, by_tail: bool) -> Matrix:
    """`_join` for as many rows at a time as fit; a single row is joined whatever it takes."""
    try:
        return _join(rule, relations, rows, by_tail, MAX_MATCHES if len(rows) > 1 else None)
    except _TooManyError:
        half = len(rows) // 2
        parts = [_in_parts(rule, relations, part, by_tail) for part in (rows[:half], rows[half:])]
        return sparse.vstack(parts, format="csr")


def _join(rule: Rule, relations: Relations, rows: np.ndarray, by_tail: bool, limit: int | None) -> Matrix:
    """Match a body atom by atom, keeping only the terms that are still needed and the best match of each."""
    start, end = rule.head[:0:-1] if by_tail else rule.head[1:]
    number = np.arange(len(rows))
    matches = _Matches(number, {start: rows} if start < 0 else {}, np.ones(len(rows)))
    if start > 0:
        matches = matches.take(rows == start)
    rest, different = list(rule.body), list(rule.different)
    while rest:
        atom = min(rest, key=lambda atom: sum(matches.of(term) is None for term in set(atom[1:])))
        rest.remove(atom)
        matches = _extend(matches, atom, relations, limit)
        for left, right in [pair for pair in different if all(matches.of(term) is not None for term in pair)]:
            different.remove((left, right))
            first, second = matches.of(left), matches.of(right)
            assert first is not None and second is not None
            matches = matches.take(first != second)
        needed = {end, *(term for other in rest for term in other[1:]), *(term for pair in different for term in pair)}
        matches = _best(matches, sorted(needed & matches.terms.keys()), relations.size)
    last = matches.of(end)
    assert last is not None  # a rule binds the variables of its head
    shape = (len(rows), relations.size)
    return sparse.csr_matrix((matches.weight, (matches.row, last)), shape=shape)


def _extend(matches: _Matches, atom: Atom, relations: Relations, limit: int | None) -> _Matches:
    """The matches that also match one more atom."""
    predicate, left, right = atom
    known = matches.of(left), matches.of(right)
    if known[0] is not None and known[1] is not None:
        if not len(matches.row):  # SciPy would give a matrix for no entries
            return matches
        weight = np.asarray(relations.matrix(predicate)[known[0], known[1]]).ravel()
        found = matches._replace(weight=matches.weight * weight)
        return found.take(np.flatnonzero(weight))
    if known[0] is None and known[1] is None:
        table = relations.matrix(predicate).tocoo()
        keep = table.row == table.col if left == right else np.ones(len(table.row), bool)
        values = {left: table.row[keep], right: table.col[keep]}
        lengths = np.full(len(matches.row), keep.sum())
        entries, weights = np.tile(np.arange(keep.sum()), len(lengths)), table.data[keep]
    else:
        inverse = known[0] is None
        matrix = relations.matrix(predicate, inverse)
        bound, free = (known[1], left) if inverse else (known[0], right)
        lengths = np.diff(matrix.indptr)[bound]
        if limit is None or lengths.sum() <= limit:
            entries = ranges(matrix.indptr[bound], lengths)
        values, weights = {free: matrix.indices}, matrix.data
    if limit is not None and lengths.sum() > limit:
        raise _TooManyError
    longer = matches.take(np.repeat(np.arange(len(lengths)), lengths))
    terms = {**longer.terms, **{variable: constants[entries] for variable, constants in values.items()}}
    return _Matches(longer.row, terms, longer.weight * weights[entries])


def _best(matches: _Matches, variables: Sequence[int], size: int) -> _Matches:
    """For each row and values of `variables` the weight of the best match."""
    columns = [matches.row, *(matches.terms[variable] for variable in variables)]
    key = np.zeros(len(matches.row), np.int64)
    for column in columns:  # three columns of WN18RR's size fit; more are numbered first
        if size ** len(columns) >= 2**62:
            column = np.unique(column, return_inverse=True)[1]
        key = key * (int(column.max(initial=0)) + 1) + column
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    chosen = order[starts]
    weight = np.maximum.reduceat(matches.weight[order], starts) if len(starts) else matches.weight[:0]
    return _Matches(matches.row[chosen], {name: matches.terms[name][chosen] for name in variables}, weight)


def ranges(begin: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The integers begin, begin + 1, ... of each range, one after the other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths - begin, lengths)
