"""What of the test triples can be read off the training facts: relations that say the same, or the same reversed.

On FB15k and WN18 nearly every test triple has its reverse in train (Toutanova & Chen 2015). Which relations say the
same is counted as by Akrami et al. (2020): at least 80% of the pairs of each are pairs of the other. Triples of all
splits are counted, since a split at random thins out what two relations share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ppo_jax.proving.datasets import Dataset

__all__ = ["count_leaked", "leaked"]

OVERLAP = 0.8


def count_leaked(dataset: Dataset) -> dict[str, int]:
    """The counts of `leaked`, without the relations."""
    return {name: count for name, count in leaked(dataset).items() if name != "pairs"}


def leaked(dataset: Dataset) -> dict[str, Any]:
    """How many test triples have a duplicate or a reverse among the training facts, as JSON data.

    Returns:
        ``test_triples`` with such a fact, ``of`` all; ``reversed``, of how many a training fact of any relation has the
        pair the other way round; and ``pairs`` of relations, those that give away most first:
        ``relation`` of the test triples, ``other`` of the facts, ``how`` (``"duplicate"``, ``"reverse"``, or
        ``"symmetric"`` where both are one relation), ``overlap``, the lesser share of pairs that they have in common,
        and how many ``test_triples`` are so given away.
    """
    from scipy import sparse

    size = len(dataset.kb.constants) + 1
    test, train = dataset.queries["test"], dataset.kb.facts
    every = np.unique(np.concatenate([train, dataset.queries["valid"], test]), axis=0).astype(np.int64)
    forth, back = every[:, 1] * size + every[:, 2], every[:, 2] * size + every[:, 1]
    keys, columns = np.unique(np.concatenate([forth, back]), return_inverse=True)
    shape = (len(dataset.kb.predicates) + 1, len(keys))
    along, against = (
        sparse.csr_array((np.ones(len(every)), (every[:, 0], column)), shape=shape)
        for column in np.split(columns.reshape(-1), 2)
    )
    count = np.maximum(np.asarray(along.sum(axis=1)), 1.0)
    facts = set(map(tuple, train.tolist()))
    given_away = np.zeros(len(test), bool)
    pairs: list[dict[str, Any]] = []
    names = dataset.kb.predicates
    for reverse, other_way in ((False, along), (True, against)):
        shared = (along @ other_way.T).tocoo()
        for r, s, n in zip(shared.row.tolist(), shared.col.tolist(), shared.data.tolist(), strict=True):
            overlap = n / max(count[r], count[s])
            if overlap < OVERLAP or (r == s and not reverse):
                continue
            of = np.flatnonzero(test[:, 0] == r)
            there = [(s, b, a) if reverse else (s, a, b) for _, a, b in test[of].tolist()]
            found = np.array([fact in facts for fact in there], bool)
            given_away[of] |= found
            how = "duplicate" if not reverse else "symmetric" if r == s else "reverse"
            pair = {"relation": names[r - 1], "other": names[s - 1], "how": how, "overlap": float(overlap)}
            pairs.append(pair | {"test_triples": int(found.sum())})
    pairs = sorted((one for one in pairs if one["test_triples"]), key=lambda one: -one["test_triples"])
    turned = np.isin(test[:, 2].astype(np.int64) * size + test[:, 1], train[:, 1].astype(np.int64) * size + train[:, 2])
    counts = {"test_triples": int(given_away.sum()), "of": len(test), "reversed": int(turned.sum())}
    return {**counts, "pairs": pairs}
