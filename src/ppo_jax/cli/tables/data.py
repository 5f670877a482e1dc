"""What there is to train on: environments, data sets, and the keys of a configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from ppo_jax.cli.console import count, make_console, make_pairs, make_table, say
from ppo_jax.proving.results import provable

if TYPE_CHECKING:
    from ppo_jax.tasks.suites.registry import Suite

__all__ = [
    "describe_actions",
    "describe_shape",
    "show_data",
    "show_data_check",
    "show_environments",
    "show_keys",
    "show_suites",
]

Json = dict[str, Any]
RULES_SHOWN = 10
PAIRS_SHOWN = 5


def show_environments(rows: list[Json]) -> None:
    """A line for each environment, by suite, and its peculiarities below it."""
    console = make_console()
    line = "{:<25} {:<12} {:<18} {:>6}"
    console.print(line.format("env_id", "observation", "actions", "steps"), style="bold")
    before = None
    for row in rows:
        if row["suite"] != before:
            before = row["suite"]
            extra = f" (pip install 'ppo-jax[{row['extra']}]')" if row["extra"] else ""
            console.print(f"\n{before}{extra}", style="bold")
        shape, steps = row["observation_shape"], row["max_episode_length"]
        several = isinstance(shape, dict | tuple)
        observation = "below" if several else describe_shape(shape)
        console.print(
            line.format(row["env_id"], observation, describe_actions(row["action_space"]), steps or "").rstrip()
        )
        memory = "needs a memory: core=gru" if row["needs_memory"] else None
        for note in (row["note"], memory, f"observes {describe_shape(shape)}" if several else None):
            if note:
                console.print(Padding(Text(note, "dim"), (0, 0, 0, 4), expand=False))


def show_suites(suites: Iterable[Suite]) -> None:
    """A line for each suite that has ids of its own: how to list them, or what to install first."""
    console = make_console()
    console.print("\nother suites", style="bold")
    for suite in suites:
        how = f"ppo-jax envs {suite.prefix}" if suite.installed else f"pip install 'ppo-jax[{suite.extra}]'"
        console.print(f"{suite.prefix + '/…':<25} {suite.title:<20} {how}")


def show_data_check(found: Json) -> None:
    """Counts of a data set in one line, and its warnings."""
    queries = ", ".join(f"{count} {split}" for split, count in found["queries"].items())
    counts = f"{count(found['facts'], 'fact')}, {count(len(found['rules']), 'rule')}"
    say(f"{found['name']}: {counts}, queries: {queries}", sys.stdout)
    for text in found["warnings"]:
        say(f"warning: {text}", sys.stdout)
    if found["leakage"]["test_triples"] or found["leakage"]["reversed"]:
        say(f"note: {_leakage(found['leakage'])}", sys.stdout)
    elif not found["warnings"]:
        say("nothing odd about it", sys.stdout)


def show_data(found: Json) -> None:
    """All there is to say about a data set."""
    console = make_console()
    by_predicate = ", ".join(f"{count} {name}" for name, count in found["facts_by_predicate"].items())
    facts = {
        "data set": found["name"],
        "facts": f"{found['facts']}: {by_predicate}",
        "constants": str(found["constants"]),
        "rules": _rules(found),
        "queries": ", ".join(f"{count} {split}" for split, count in found["queries"].items()),
        "overlaps": ", ".join(f"{count} {splits}" for splits, count in found["overlaps"].items() if count) or "none",
        "corruptions": f"replace the {'tail' if found['corrupt'] == 'tail' else 'head and the tail'}",
    }
    if found["rules"]:
        facts["provable"] = provable(found)
        facts["actions"] = f"at most {found['max_successors']} in a state, besides `end`, where queries are verified"
    facts["sha256"] = found["sha256"]
    console.print(make_pairs(facts))
    for text in found["warnings"]:
        console.print(f"warning: {text}")


def _rules(found: Json) -> str:
    """The rules, of many the surest, or how to get some."""
    rules, confidences = found["rules"], found["confidences"]
    if not rules:
        return (
            "none: `ppo-jax train` mines some by itself, `ppo-jax rules mine` writes them to a file, and rules.txt in "
            "the folder may hold your own"
        )
    shown = sorted(rules, key=lambda name: -(confidences[name] or 0.0)) if len(rules) > RULES_SHOWN else list(rules)
    lines = [f"{_confidence(confidences[name])}{name}: {rules[name]}" for name in shown[:RULES_SHOWN]]
    if len(rules) > RULES_SHOWN:
        lines.append(f"and {len(rules) - RULES_SHOWN:,} more, less sure or later in the file; --json has all")
    return "\n".join(lines)


def _confidence(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.2f} "


def _leakage(found: Json) -> str:
    """How many test triples have their like in train, and by which relations most."""
    triples = count(found["of"], "test triple")
    share = "" if not found["test_triples"] else f" ({found['test_triples'] / found['of']:.1%})"
    worst = [_pair(pair) for pair in found["pairs"][:PAIRS_SHOWN]]
    more = len(found["pairs"]) - len(worst)
    rest = f"; {more} more pairs of relations, --json has all" if more > 0 else ""
    by = f": {'; '.join(worst)}{rest}" if worst else ""
    swapped = f"{found['reversed']:,} have their two constants there with head and tail swapped, under some relation"
    return (
        f"{found['test_triples']:,} of {triples}{share} have their like in train: the same constants under a relation "
        f"that says nearly the same{by}" + f"; {swapped}" * bool(found["reversed"])
    )


def _pair(pair: Json) -> str:
    what = {
        "symmetric": "{relation} is symmetric",
        "reverse": "{relation} is the reverse of {other}",
        "duplicate": "{relation} is a duplicate of {other}",
    }[pair["how"]].format(**pair)
    return f"{what} ({pair['overlap']:.0%} of pairs; {pair['test_triples']:,})"


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


def describe_shape(shape: Any) -> str:
    """Of an observation: ``10×10×4``, of a dictionary each part by its name, of a tuple one after the other."""
    if isinstance(shape, tuple):
        return ", ".join(map(describe_shape, shape))
    if isinstance(shape, dict):
        return ", ".join(f"{name} {describe_shape(one)}".strip() for name, one in shape.items())
    return "×".join(map(str, shape))


def describe_actions(space: Json) -> str:
    """Of a space as plain values: how many there are, or how long a vector is and its bounds."""
    if space["type"] == "discrete":
        return str(space["n"])
    if space["type"] == "multi_discrete":
        return "×".join(map(str, space["sizes"]))
    bounds = sorted(set(zip(space["low"], space["high"], strict=True)))
    return f"{len(space['low'])} in " + ", ".join(f"[{low:g}, {high:g}]" for low, high in bounds)
