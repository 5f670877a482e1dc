"""Queries with their corruptions: what a ranking ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppo_jax.proving.datasets import Dataset

__all__ = ["Candidates", "candidates", "sample"]


@dataclass(frozen=True)
class Candidates:
    """Queries with their corruptions; row r ranks one side of one query."""

    atoms: np.ndarray  # [R, N, 3] int32, column 0 the query itself
    valid: np.ndarray  # [R, N] bool; false where filtered or padded
    query: np.ndarray  # [R] int32, which query the row belongs to

    @property
    def n_queries(self) -> int:
        return int(self.query.max(initial=-1)) + 1


def candidates(
    dataset: Dataset,
    split: str,
    corrupt: str | None = None,
    n_corruptions: int | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> Candidates:
    """The queries of a split and their filtered corruptions.

    Filtered by the facts and queries of the splits up to this one, in the order train, valid, test: validation
    never uses a test triple.

    Args:
        dataset: facts and queries.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        corrupt: ``"tail"``, ``"head"`` or ``"both"`` (a row for each side); None: the dataset's default.
        n_corruptions: corruptions sampled without replacement per row, by a generator of `seed`; None: all.
        n_queries: at most so many queries, a sample; None: all.
        seed: of both draws.
    """
    order = ("train", "valid", "test")
    queries = sample(dataset.queries[split], n_queries, seed)
    known_parts = [dataset.kb.facts, *(dataset.queries[s] for s in order[: order.index(split) + 1])]
    stride = len(dataset.kb.constants) + 1

    def encode(atoms: np.ndarray) -> np.ndarray:
        """A number for each of [n, 3], equal for equal atoms alone."""
        codes: np.ndarray = (atoms[:, 0].astype(np.int64) * stride + atoms[:, 1]) * stride + atoms[:, 2]
        return codes

    known = np.unique(np.concatenate([encode(part) for part in known_parts]))
    rng = np.random.default_rng(seed)
    sides = {"tail": (2,), "head": (1,), "both": (1, 2)}[corrupt or dataset.corrupt]
    rows, owners = [], []
    for q, query in enumerate(queries):
        for side in sides:
            constants = dataset.domains[int(query[0]), side - 1]
            atoms = np.repeat(query[None], len(constants), axis=0)
            atoms[:, side] = constants
            atoms = atoms[~np.isin(encode(atoms), known)]
            if n_corruptions is not None and len(atoms) > n_corruptions:
                atoms = atoms[np.sort(rng.choice(len(atoms), n_corruptions, replace=False))]
            rows.append(np.concatenate([query[None], atoms]))
            owners.append(q)
    width = max((len(r) for r in rows), default=1)
    atoms = np.zeros((len(rows), width, 3), np.int32)
    valid = np.zeros((len(rows), width), bool)
    for r, row in enumerate(rows):
        atoms[r, : len(row)], valid[r, : len(row)] = row, True
    return Candidates(atoms, valid, np.array(owners, np.int32))


def sample(rows: np.ndarray, n: int | None, seed: int = 0) -> np.ndarray:
    """`n` of the rows [N, ...] in their order, drawn with `seed`; all where they are no more, or n is None."""
    if n is None or n >= len(rows):
        return rows
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:n])]
