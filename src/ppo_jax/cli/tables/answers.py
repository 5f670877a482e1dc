"""Answers to open queries, as a table with the proof of each."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from ppo_jax.cli.console import make_console, make_table
from ppo_jax.config.legible import legible
from ppo_jax.proving.results import answer_numbers

__all__ = ["show_answers", "write_csv"]

Json = dict[str, Any]


def show_answers(answered: list[Json]) -> None:
    """For each query its answers: what proofs, rules and prior give, the score, whether known, and the best proof."""
    console = make_console()
    for i, one in enumerate(answered):
        if i:
            console.print()
        console.print(Text(one["query"], "bold"))
        if not one["answers"]:
            console.print("no answer: no proof within the depth limit and the beam")
        names = list(answer_numbers(one["answers"][0])) if one["answers"] else []
        table = make_table(">", "answer", *(f">{name}" for name in names), "", "proof")
        for rank, answer in enumerate(one["answers"], start=1):
            numbers = answer_numbers(answer).values()
            mark = "known" if answer["known"] else ""
            table.add_row(str(rank), answer["answer"], *numbers, mark, Text(_proof(answer["steps"]), "dim"))
        if one["answers"]:
            console.print(table)
        console.print(Text(f"{one['unexplored']:.1%} of the probability was not followed", "dim"))


def write_csv(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table as CSV; what is there, byte for byte, unless a terminal would obey it."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(headers)
    for row in rows:
        writer.writerow([legible(x) if isinstance(x, str) and sys.stdout.isatty() else x for x in row])


def _proof(steps: list[Json]) -> str:
    """The facts that a proof rests on, and by which rules."""
    rules = [step["action"].partition(":")[0] for step in steps if not step["action"].startswith("fact ")]
    facts = [fact for step in steps for fact in step["facts"]]
    return f"{', '.join(facts)}  by {', '.join(rules)}" if steps else "none"
