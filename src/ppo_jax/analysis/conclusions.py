"""What seeds allow to conclude about scores side by side: better, worse, exploratory or not told apart.

`compare`, reports and sweeps say it with the same words and the same correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ppo_jax.analysis.statistics import Estimate, holm, improvement_interval, improvement_p_value, least_p_value

__all__ = [
    "ENOUGH",
    "SURE",
    "VERDICTS",
    "against_first",
    "explain_intervals",
    "explain_p",
    "explain_single_seeds",
    "verdict",
]

ENOUGH = 3  # seeds on both sides; with two, all four pairs agree by chance in one case of three
SURE = 0.05  # a corrected p-value up to this is a difference
VERDICTS = ("better", "worse", "exploratory: better", "exploratory: worse", "not told apart")

Values = Sequence[Sequence[float]]  # of each setting the scores of its seeds
Comparison = tuple[Estimate, float]  # probability of improvement on the first setting, and its corrected p-value


def against_first(rows: Sequence[tuple[Values, bool]]) -> list[list[Comparison | None]]:
    """Hold every setting against the first, in every score of a table; p-values are corrected for all of them.

    Args:
        rows: for each score its values, and whether higher is better.

    Returns:
        For each score and setting a comparison; None of the first setting, and where a side has no two finite scores.
    """
    found: list[list[Comparison | None]] = []
    for values, higher in rows:
        first, sign = values[0], 1.0 if higher else -1.0
        found.append([None])
        for own in values[1:]:
            if min(len(own), len(first)) < 2 or not np.isfinite([*own, *first]).all():
                found[-1].append(None)
                continue
            chance = improvement_interval([sign * np.array(own)], [sign * np.array(first)])
            found[-1].append((chance, improvement_p_value(own, first)))
    corrected = iter(holm([one[1] for row in found for one in row if one]))
    return [[one and (one[0], next(corrected)) for one in row] for row in found]


def verdict(comparison: Comparison | None, n_seeds: int) -> str:
    """One of `VERDICTS`; empty where the seeds of one side, `n_seeds` at the least, are too few to say anything.

    A difference that its own interval shows and the correction does not is exploratory: of many such some are chance.
    """
    if comparison is None or n_seeds < ENOUGH:
        return ""
    chance, p_value = comparison
    word = "better" if chance.value > 0.5 else "worse"
    if p_value <= SURE:
        return word
    return f"exploratory: {word}" if chance.low > 0.5 or chance.high < 0.5 else "not told apart"


def explain_intervals(seeds: Iterable[int]) -> str:
    """What an interval is where some of these numbers of seeds are too small for the bootstrap; else empty."""
    # In 5% of samples of four seeds three draws or more are the least one, and so is then the interquartile mean.
    few = any(1 < n <= 4 for n in seeds)
    return "The interval of a mean of four seeds or fewer is just from the least to the greatest." if few else ""


def explain_p(compared: Sequence[tuple[int, int]]) -> str:
    """What the p-values of a table mean, and where its seeds are too few for any to be sure, in a line.

    Args:
        compared: of each comparison, how many seeds each side has.
    """
    n = len(compared)
    many = f"corrected for the {n} comparisons here (Holm)" if n > 1 else "of one comparison"
    said = (
        f"p is that of a permutation test of the seeds, {many}: above {SURE:g} a difference is exploratory, something "
        "to confirm on fresh seeds."
    )
    best = min((n * least_p_value(*seeds) for seeds in compared), default=0.0)
    if best <= SURE:
        return said
    return f"{said} With the seeds here it is {min(1.0, best):.2g} at best, and no difference could pass: {_remedy(n)}."


def explain_single_seeds(n: int) -> str:
    """What stands below `n` comparisons of which none has two seeds on both sides, in a line."""
    return f"Too few seeds to conclude: of one run nobody knows what was chance, and {_remedy(n)}."


def _remedy(n: int) -> str:
    """What would let a difference among `n` comparisons pass."""
    enough = next((k for k in range(ENOUGH, 10) if n * least_p_value(k, k) <= SURE), None)
    return f"{enough} seeds each would suffice" if enough else "compare less at a time"
