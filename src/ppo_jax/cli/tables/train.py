"""The results of a run, beside its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppo_jax.cli.console import make_console, make_pairs, make_table, number
from ppo_jax.cli.tables.data import given_up, provable

__all__ = ["show_results", "show_run"]

Json = dict[str, Any]


def show_run(summary: Json, folder: Path, max_depth: int) -> None:
    """Results of a completed run beside its baselines, what the data allows, and where to find everything.

    Args:
        summary: content of summary.json.
        folder: of the run.
        max_depth: proof steps its data was searched to.
    """
    console = make_console()
    baselines = summary.get("baselines", {})
    console.print(f"{summary['env_id']}, test, seed {summary['seed']}, {summary['env_steps']:,} environment steps\n")
    rows = {"trained (best)": summary["test"], "trained (last)": summary["test_last"]}
    if untrained := baselines.get("untrained"):
        rows[f"untrained (×{len(untrained['greedy']['mrr_each'])})"] = untrained
    if baselines:
        rows |= {"uniform policy": baselines["uniform"], "shortest proof": baselines["shortest_proof"]}
    show_results(rows)
    if baselines:
        console.print(f"\n{_verdict(summary['test'], baselines)}")
    if data := summary.get("data"):
        console.print(
            f"What the data allows: {provable(data, 'positives')} and {provable(data, 'negatives')} "
            f"have a proof within {max_depth} steps{given_up(data)}."
        )
    facts = {
        "run": str(folder),
        "best": f"update {summary['best_update']} of {summary['updates']}, on valid: {_headline(summary['valid'])}",
        "speed": f"{summary['steps_per_second']:,.0f} environment steps/s",
        "time": f"training {summary['train_seconds']:.1f} s, compiling {summary['compile_seconds']:.1f} s before",
    }
    console.print()
    console.print(make_pairs(facts))


def show_results(rows: dict[str, Json]) -> None:
    """A table with a row for each named result of `Experiment.evaluate`, and the protocols behind it."""
    console = make_console()
    if not any("greedy" in result or "marginal" in result for result in rows.values()):
        table = make_table("", ">return", ">std", ">length", ">episodes")
        for name, result in rows.items():
            numbers = (number(result[key], ".2f") for key in ("return_mean", "return_std", "length_mean"))
            table.add_row(name, *numbers, str(result["episodes"]))
        console.print(table)
        return
    greedy = ("greedy\nMRR", "\nHits@1", "\nHits@3", "proved\ntrue", "proved\nfalse")
    marginal = ("marginal\nMRR", "\nAUC-PR")
    has = {name for result in rows.values() for name in result}
    columns = [*(greedy if "greedy" in has else ()), *(marginal if "marginal" in has else ())]
    table = make_table("", *(f">{column}" for column in columns))
    for name, result in rows.items():
        cells = [name]
        if "greedy" in has:
            keys = ("hits@1", "hits@3", "proved_positive", "proved_negative")
            cells += [_mrr(result.get("greedy", {})), *(number(result.get("greedy", {}).get(key)) for key in keys)]
        if "marginal" in has:
            one = result.get("marginal", {})
            cells += [number(one.get("mrr")) if "greedy" in has else _mrr(one), number(one.get("auc_pr"))]
        table.add_row(*cells)
    console.print(table)
    console.print()
    first = next(iter(rows.values()))
    for name in (name for name in ("greedy", "marginal") if name in first):
        unexplored = first[name].get("unexplored_mass")
        left = "" if unexplored is None else f"; {unexplored:.1%} of the probability unexplored"
        console.print(f"{first[name]['protocol']}, {first[name]['n_queries']} queries{left}")


def _mrr(result: Json) -> str:
    interval = result.get("mrr_interval")
    return number(result.get("mrr")) + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")


def _headline(result: Json) -> str:
    if "greedy" in result:
        return f"greedy MRR {number(result['greedy']['mrr'])}"
    return f"return {number(result['return_mean'], '.2f')}"


def _verdict(test: Json, baselines: Json) -> str:
    """Which baselines the trained policy does not beat, in a sentence."""
    measured = (("greedy", "mrr", "greedy MRR"), ("marginal", "mrr", "marginal MRR"), ("marginal", "auc_pr", "AUC-PR"))
    unbeaten = []
    for protocol, key, label in measured:
        own = test[protocol][key]
        others = {name.replace("_", " "): result.get(protocol, {}).get(key) for name, result in baselines.items()}
        better = [f"{name} {x:.3f}" for name, x in others.items() if own is not None and x is not None and own <= x]
        if better:
            unbeaten.append(f"{label} {own:.3f} ({', '.join(better)})")
    return f"Not better than without learning: {'; '.join(unbeaten)}." if unbeaten else "Better than every baseline."
