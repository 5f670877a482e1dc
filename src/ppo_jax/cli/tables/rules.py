"""What was mined."""

from __future__ import annotations

import sys
from typing import Any

from ppo_jax.cli.console import count, make_console, make_table, number, say

__all__ = ["show_mined"]

SAMPLED = {
    "heads": "predicate whose facts were sampled",
    "constants": "constant whose neighbours were sampled",
    "bodies": "body whose matches were sampled",
}


def show_mined(found: dict[str, Any]) -> None:
    """A row for each kind of rule, what was sampled for them, and where they are."""
    table = make_table("kind", ">rules", ">heads", ">median confidence", "surest")
    for row in found["kinds"]:
        cells = (str(row["rules"]), str(row["heads"]), number(row["median_confidence"]), row["surest"])
        table.add_row(row["kind"], *cells)
    if found["kinds"]:
        make_console().print(table)
    for name, n in found["sampled"].items():
        if n:
            thing = SAMPLED[name]
            say(f"{n} {thing}" if n == 1 else f"{n} {_plural(thing)}", sys.stdout)
    where = f", written to {found['file']}" if found["file"] else "; --out FILE writes them"
    say(f"{count(found['rules'], 'rule')} of {count(found['candidates'], 'candidate')}{where}", sys.stdout)


def _plural(thing: str) -> str:
    first, rest = thing.split(" ", 1)
    return f"{first[:-1] + 'ies' if first.endswith('y') else first + 's'} {rest}"
