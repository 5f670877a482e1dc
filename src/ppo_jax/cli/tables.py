"""What the command line prints: tables, proofs, warnings. Reads plain data; fits 80 columns."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ppo_jax.config import SECTIONS, checks
from ppo_jax.proving.results import given_up, provable
from ppo_jax.tasks import results

__all__ = [
    "describe_keys",
    "make_console",
    "make_pairs",
    "make_table",
    "say",
    "show_data",
    "show_data_check",
    "show_environments",
    "show_export",
    "show_keys",
    "show_played",
    "show_proof",
    "show_results",
    "show_run",
]

Json = dict[str, Any]


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line, by default to standard error, where it disturbs no results."""
    print(text, file=file or sys.stderr, flush=True)


def show_run(summary: Json, folder: Path) -> None:
    """Results of a completed run beside its baselines, what the data allows, and where to find everything.

    Args:
        summary: content of summary.json.
        folder: of the run.
    """
    console, kind = make_console(), results.of(summary)
    console.print(f"{summary['env_id']}, test, seed {summary['seed']}, {summary['env_steps']:,} environment steps\n")
    show_results(kind.rows(summary))
    if baselines := summary.get("baselines"):
        console.print(f"\n{kind.verdict(summary['test'], baselines)}")
    if note := kind.data_note(summary.get("data", {})):
        console.print(note)
    facts = {
        "run": str(folder),
        "best": f"update {summary['best_update']} of {summary['updates']}, on valid: {kind.headline(summary['valid'])}",
        "speed": f"{summary['steps_per_second']:,.0f} environment steps/s",
        "time": f"training {summary['train_seconds']:.1f} s, compiling {summary['compile_seconds']:.1f} s before",
    }
    console.print()
    console.print(make_pairs(facts))


def show_results(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """A table with a row for each named result of `Experiment.evaluate`, and how they were measured."""
    console, kind = make_console(), results.of(next(iter(rows.values())))
    headers, cells = kind.table(rows)
    table = make_table(headers[0], *(f">{header}" for header in headers[1:]))
    for row in cells:
        table.add_row(*row)
    console.print(table)
    if notes := kind.notes(rows):
        console.print()
    for note in notes:
        console.print(note)


def show_proof(proof: Json) -> None:
    """The steps of an attempt at a proof: choice, its probability, facts used, what is left."""
    console, probability = make_console(), 1.0
    console.print(proof["query"])
    table = make_table(">", "", ">", header=False)
    for i, step in enumerate(proof["steps"], start=1):
        probability *= step["probability"]
        table.add_row(str(i), step["action"], f"p {step['probability']:.3f}")
        known = [fact for fact in step["facts"] if step["action"] != f"fact {fact}"]
        if known:
            table.add_row("", Text(f"known: {', '.join(known)}", "dim"), "")
        if step["resolvent"]:
            table.add_row("", Text(f"to prove: {', '.join(step['resolvent'])}", "dim"), "")
    console.print(table)
    steps = _count(len(proof["steps"]), "step")
    if proof["proved"]:
        console.print(f"proved in {steps}, with probability {probability:.3g}")
    else:
        console.print(f"not proved after {steps}: {proof['stopped_by']}")


def show_played(played: Json) -> None:
    """Attempts at proofs, one below the other; return and length of episodes."""
    for i, proof in enumerate(played.get("proofs", ())):
        if i:
            print()
        show_proof(proof)
    for i, episode in enumerate(played.get("episodes", ()), start=1):
        cut = "" if episode["finished"] else ", cut there by --max-steps"
        say(f"episode {i}: return {episode['return']:.6g} in {_count(episode['length'], 'step')}{cut}", sys.stdout)


def show_export(found: Json) -> None:
    """Where the artifact is, what it takes and what it gives."""
    names = ", ".join(found["inputs"])
    say(f"wrote {found['out']}: ({names}) -> action, on {', '.join(found['platforms'])}", sys.stdout)
    say(f"wrote {Path(found['out']).with_suffix('.json')}: shapes and meaning of both", sys.stdout)
    say("experiments/serve_policy.py serves it with plain JAX.", sys.stdout)


def show_environments(rows: list[Json]) -> None:
    """A line for each environment, and its peculiarities below it."""
    console = make_console()
    line = "{:<25} {:<12} {:<18} {:>6}"
    console.print(line.format("env_id", "observation", "actions", "steps"), style="bold")
    for row in rows:
        shape, steps = row["observation_shape"], row["max_episode_length"]
        observation = "below" if isinstance(shape, dict) else _shape(shape)
        console.print(line.format(row["env_id"], observation, _actions(row["action_space"]), steps or "").rstrip())
        notes = [f"observes {_shape(shape)}"] if isinstance(shape, dict) else []
        for note in [row["note"], *notes]:
            if note:
                console.print(Padding(Text(note, "dim"), (0, 0, 0, 4), expand=False))


def show_data_check(found: Json) -> None:
    """Counts of a data set in one line, and its warnings."""
    queries = ", ".join(f"{count} {split}" for split, count in found["queries"].items())
    counts = f"{_count(found['facts'], 'fact')}, {_count(len(found['rules']), 'rule')}"
    say(f"{found['name']}: {counts}, queries: {queries}", sys.stdout)
    for text in found["warnings"]:
        say(f"warning: {text}", sys.stdout)
    if not found["warnings"]:
        say("nothing odd about it", sys.stdout)


def show_data(found: Json) -> None:
    """All there is to say about a data set."""
    console = make_console()
    by_predicate = ", ".join(f"{count} {name}" for name, count in found["facts_by_predicate"].items())
    facts = {
        "data set": found["name"],
        "facts": f"{found['facts']}: {by_predicate}",
        "constants": str(found["constants"]),
        "rules": "\n".join(f"{name}: {text}" for name, text in found["rules"].items()),
        "queries": ", ".join(f"{count} {split}" for split, count in found["queries"].items()),
        "overlaps": ", ".join(f"{count} {splits}" for splits, count in found["overlaps"].items() if count) or "none",
        "corruptions": f"replace the {'tail' if found['corrupt'] == 'tail' else 'head and the tail'}",
        "provable": f"{provable(found, 'positives')}, {provable(found, 'negatives')}{given_up(found)}",
        "actions": f"at most {found['max_successors']} in a state, besides `end`",
        "sha256": found["sha256"],
    }
    console.print(make_pairs(facts))
    for text in found["warnings"]:
        console.print(f"warning: {text}")


def describe_keys() -> list[Json]:
    """Section, key, default and meaning of every configuration key."""
    rows = []
    for section, cls in SECTIONS.items():
        docs = checks.field_docs(cls)
        for field in dataclasses.fields(cls):
            row = {"section": section, "key": field.name, "default": field.default, "meaning": docs.get(field.name, "")}
            rows.append(row)
    return rows


def show_keys(rows: list[Json]) -> None:
    """A table of configuration keys for each section."""
    console = make_console()
    for section in dict.fromkeys(row["section"] for row in rows):
        console.print(f"[{section}]")
        table = make_table("", "", "", header=False)
        for row in rows:
            if row["section"] == section:
                default = "" if row["default"] is None else json.dumps(row["default"])
                table.add_row(f"  {row['key']}", default, row["meaning"])
        console.print(table)


def make_console() -> Console:
    """A console that prints text as it is."""
    return Console(highlight=False, markup=False, emoji=False)


def make_table(*headers: str, header: bool = True) -> Table:
    """A table without lines; a header that begins with ``>`` is right-justified, one that breaks has a group above."""
    table = Table(box=None, show_header=header, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in headers:
        right = name.startswith(">")
        table.add_column(name.removeprefix(">"), justify="right" if right else "left", no_wrap=right)
    return table


def make_pairs(values: dict[str, str], style: str = "bold") -> Table:
    """A table of names and values, the names in `style`."""
    table = make_table("", "", header=False)
    table.columns[0].style = style
    for name, value in values.items():
        table.add_row(f"{name} ", value)
    return table


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _shape(shape: Any) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shape(one)}".strip() for name, one in shape.items())
    return "×".join(map(str, shape))


def _actions(space: Json) -> str:
    if space["type"] == "discrete":
        return str(space["n"])
    bounds = sorted(set(zip(space["low"], space["high"], strict=True)))
    return f"{len(space['low'])} in " + ", ".join(f"[{low:g}, {high:g}]" for low, high in bounds)
