"""Answers to open queries, as a table with the proof of each."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from ppo_jax.cli.console import make_console, make_table
from ppo_jax.config.legible import legible
from ppo_jax.proving.results import answer_numbers, sum_of
from ppo_jax.results import Table

__all__ = ["flat_answers", "show_answers", "show_scores", "write_csv"]

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
        for answer in one["answers"]:
            rank = "–" if answer["rank"] is None else str(answer["rank"])
            numbers = answer_numbers(answer).values()
            mark = "known" if answer["known"] else ""
            table.add_row(rank, answer["answer"], *numbers, mark, Text(_proof(answer["steps"]), "dim"))
        if one["answers"]:
            console.print(table)
            if not any(answer["steps"] for answer in one["answers"]):
                console.print("none of these has a proof within the depth limit and the beam")
        for rule in dict.fromkeys(rule for answer in one["answers"] for rule in _rules(answer["steps"])):
            console.print(Text(rule, "dim"))
        console.print(Text(f"{one['unexplored']:.1%} of the probability was not followed", "dim"))
    for note in _notes(answered[0]):
        console.print(Text(note, "dim"))


def show_scores(table: Table, caption: str) -> None:
    """The results of runs, and below them how they were measured."""
    console = make_console()
    shown = make_table(table.headers[0], *(f">{header}" for header in table.headers[1:]))
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    console.print()
    console.print(caption)


def flat_answers(answered: list[Json]) -> list[Json]:
    """A row for each answer, without proofs; the parts of a combined score in columns of their own."""
    rows = []
    for one in answered:
        for answer in one["answers"]:
            row = {"query": one["query"]} | {
                name: answer[name] for name in ("rank", "answer", "known", "score", "probability") if name in answer
            }
            rows.append(
                row
                | answer.get("parts", {})
                | {f"{name}_contribution": added for name, added in answer.get("contributions", {}).items()}
            )
    return rows


def write_csv(rows: Sequence[Json]) -> None:
    """Print a table as CSV; what is there, byte for byte, unless a terminal would obey it."""
    headers = list(dict.fromkeys(name for row in rows for name in row)) or ["query", "rank", "answer"]
    writer = csv.DictWriter(sys.stdout, headers, lineterminator="\n")
    writer.writeheader()
    shown = sys.stdout.isatty()
    writer.writerows({n: legible(x) if shown and isinstance(x, str) else x for n, x in row.items()} for row in rows)


def _notes(one: Json) -> list[str]:
    """How the answers to a query, as to all others, are ranked."""
    if "weights" not in one:
        return []
    known, notes = one["rules_known"], [f"score: {sum_of(one['weights'])}; --proofs ranks by proofs"]
    if known["proofs"] < known["rules"]:
        all_rules, in_proofs = (f"{known[source]:,}" for source in ("rules", "proofs"))
        notes.append(f"all {all_rules} rules count; a proof may take {in_proofs}, for a predicate the max_rules surest")
    return notes


def _proof(steps: list[Json]) -> str:
    """The facts that a proof rests on, and by which rules."""
    rules = [rule.partition(":")[0] for rule in _rules(steps)]
    facts = [fact for step in steps for fact in step["facts"]]
    return f"{', '.join(facts)}  by {', '.join(rules)}" if steps else "none"


def _rules(steps: list[Json]) -> list[str]:
    """The rules of a proof as ``number: text``, in the order in which it takes them."""
    return [step["action"] for step in steps if not step["action"].startswith("fact ")]
