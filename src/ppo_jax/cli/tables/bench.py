"""How the command line shows a benchmark."""

from __future__ import annotations

from typing import Any

from ppo_jax.cli.console import make_console, make_pairs, make_table

__all__ = ["show_bench", "show_peers", "show_runs"]


def show_bench(result: dict[str, Any]) -> None:
    """Speed of each case beside the bound of the machine, where its time goes, and how long imports take."""
    console = make_console()
    table = make_table("case", ">devices", ">steps/s", ">bound", ">share of bound", ">compile", ">peak")
    for case in result["cases"]:
        low, high = case["share_of_bound_range"]
        table.add_row(
            case["name"],
            str(case["devices"]),
            f"{case['steps_per_second']:,.0f}",
            f"{case['bound_steps_per_second']:,.0f}",
            f"{case['share_of_bound']:.0%} ({low:.0%} to {high:.0%})",
            f"{case['compile_seconds']:.1f} s",
            f"{case['peak_rss_mib']:,.0f} MiB",
        )
    console.print(table)
    whole = {"train on one device": "whole update, one device", "train": "whole update"}
    parts = [p for p in (result["cases"][0]["milliseconds"] if result["cases"] else ()) if p not in whole]
    stages = make_table("milliseconds an update", *(f">{case['name']}" for case in result["cases"]))
    for part in [*parts, "sum of the parts", *whole]:
        cells = []
        for case in result["cases"]:
            times = case["milliseconds"]
            times = {
                "train on one device": times["train"],
                "sum of the parts": sum(times[p] for p in parts if not p.startswith("of them")),
            } | times
            cells.append(f"{times[part]:.2f}")
        stages.add_row(whole.get(part, part), *cells)
    console.print()
    console.print(stages)
    imports = result["import_seconds"]
    facts = {
        "proof environment alone": f"{result['proof_environment_steps_per_second']:,.0f} steps/s",
        "import ppo_jax": f"{imports['ppo_jax']:.2f} s, {imports['ppo_jax'] / imports['jax']:.2f}× import jax",
        "ppo-jax --help": f"{imports['help']:.2f} s, {imports['help'] / imports['jax']:.2f}× import jax",
        "measured on": f"{result['machine']['device']}, {result['machine']['cores']} cores, "
        f"jax {result['versions']['jax']}, Python {result['versions']['python']}",
    }
    console.print()
    console.print(make_pairs(facts))


def show_runs(runs: list[dict[str, Any]]) -> None:
    """How long whole runs take with empty caches and with full ones, and what of it they compile."""
    table = make_table("whole run", "caches", ">seconds", ">spread", ">compiling")
    for row in runs:
        for state, caches in (("cold", "empty"), ("warm", "full")):
            found, (low, high) = row[state], row[state]["seconds_range"]
            seconds = f"{found['seconds']:.1f}"
            table.add_row(row["name"], caches, seconds, f"{low:.1f} to {high:.1f}", f"{found['compile_seconds']:.1f}")
    make_console().print(table)


def show_peers(peers: list[dict[str, Any]]) -> None:
    """How many times as fast as each other trainer."""
    table = make_table("case", "trainer", ">steps/s", ">ppo_jax steps/s", ">times as fast")
    for row in peers:
        low, high = row["ratio_range"]
        table.add_row(
            row["case"],
            row["name"],
            f"{row['steps_per_second']:,.0f}",
            f"{row['ppo_jax_steps_per_second']:,.0f}",
            f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})",
        )
    make_console().print(table)
