"""What is nearest to a mistake and right, to end an error message with."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable

__all__ = ["nearest", "nearest_divisors"]

MOST = 25  # names of a list
LONGEST = 100  # characters of a name that is compared with others


def nearest(name: str, known: Iterable[str], see: str = "") -> str:
    """The known names most like `name`, as a hint that ends an error message; of many only the first are told.

    `see` says where there is more about them, and ends the hint.
    """
    known = list(known)
    if close := difflib.get_close_matches(name[:LONGEST], known, n=3, cutoff=0.5):
        return f"did you mean {' or '.join(close)}?" + f" {see}" * bool(see)
    told = known if len(known) <= MOST else known[: MOST - 1]
    more = f", … ({len(known)} in all)" if len(known) > len(told) else ""
    return f"known: {', '.join(told)}{more}" + f"; {see}" * bool(see)


def nearest_divisors(factors: Iterable[int], wanted: int) -> list[int]:
    """The three divisors of the product of `factors` that lie closest to `wanted`, ascending."""
    each = [[d for i in range(1, math.isqrt(n) + 1) if n % i == 0 for d in (i, n // i)] for n in factors]
    divisors = {math.prod(parts) for parts in itertools.product(*each)}
    return sorted(sorted(divisors, key=lambda d: (abs(d - wanted), d))[:3])
