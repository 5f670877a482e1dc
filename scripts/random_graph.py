"""Write a random graph of the size of FB15k-237, to try what memory and time a large graph takes.

Constants have the skewed degrees of real graphs. A third of the predicates follow from others, as their inverse, their
copy or the composition of two, each with exceptions, so that there is something to mine. Ranks on it mean nothing.

    python scripts/random_graph.py big
    ppo-jax rules mine big
    ppo-jax embed big --out big.npz
    ppo-jax train family --set dataset=big prior=big.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

Pairs = np.ndarray  # of shape [n, 2], the constants that a predicate holds between

KEPT = 0.8  # share of what a rule derives that holds


def base(rng: np.random.Generator, n_constants: int, n_facts: int) -> Pairs:
    """A predicate between two kinds of constants; the first ones of a kind are its hubs."""
    kinds = []
    for _ in range(2):
        members = np.sort(rng.permutation(n_constants)[: int(n_constants * 10 ** rng.uniform(-2, -0.1))])
        weight = 1.0 / np.arange(1, len(members) + 1) ** rng.uniform(0.0, 1.3)
        kinds.append(rng.choice(members, n_facts, p=weight / weight.sum()))
    return np.stack(kinds, axis=1)


def compose(left: Pairs, right: Pairs, rng: np.random.Generator, most: int) -> Pairs:
    """Pairs (x, z) with some y in left(x, y) and right(y, z), at most `most` of them."""
    right = right[np.argsort(right[:, 0], kind="stable")]
    first, last = (np.searchsorted(right[:, 0], left[:, 1], side) for side in ("left", "right"))
    picked = rng.choice(np.flatnonzero(last > first), most) if (last > first).any() else np.zeros(0, int)
    return np.stack([left[picked, 0], right[rng.integers(first[picked], last[picked]), 1]], axis=1)


def graph(n_constants: int, n_predicates: int, n_facts: int, seed: int) -> np.ndarray:
    """Triples of shape [at most n_facts, 3], shuffled: head, predicate, tail."""
    rng = np.random.default_rng(seed)
    size = 1.0 / np.arange(1, n_predicates + 1) ** 0.9
    sizes = np.maximum(20, 1.8 * n_facts * size / size.sum()).astype(int)  # some facts come twice
    predicates: list[Pairs] = []
    for k, n in enumerate(sizes):
        if k % 3 < 2 or k < 6:
            predicates.append(base(rng, n_constants, n))
            continue
        other = predicates[rng.integers(k // 2)]
        match k % 4:
            case 0:
                derived = other[:, ::-1]
            case 1:
                derived = other
            case _:
                derived = compose(other, predicates[rng.integers(k // 2)], rng, n)
        derived = derived[rng.random(len(derived)) < KEPT][:n]
        predicates.append(np.concatenate([derived, base(rng, n_constants, max(20, n - len(derived)))]))
    triples = np.concatenate([np.insert(pairs, 1, k, axis=1) for k, pairs in enumerate(predicates)])
    return rng.permutation(np.unique(triples, axis=0))[:n_facts]


def main() -> None:
    """Write train.txt, valid.txt and test.txt, head, predicate and tail separated by tabs."""
    parser = argparse.ArgumentParser(description="Write a random graph of the size of FB15k-237.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--constants", type=int, default=14_541)
    parser.add_argument("--predicates", type=int, default=237)
    parser.add_argument("--facts", type=int, nargs=3, default=(272_115, 17_535, 20_466), help="of train, valid, test")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    triples = graph(arguments.constants, arguments.predicates, sum(arguments.facts), arguments.seed)
    arguments.folder.mkdir(parents=True)
    ends = np.cumsum(arguments.facts)
    for name, rows in zip(("train", "valid", "test"), np.split(triples, ends[:-1]), strict=True):
        lines = (f"e{head}\tr{predicate}\te{tail}\n" for head, predicate, tail in rows)
        (arguments.folder / f"{name}.txt").write_text("".join(lines))
        print(f"{name}: {len(rows):,} facts")


if __name__ == "__main__":
    main()
