"""The results of sweeps and of searches for good settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_jax.cli.console import as_argument, make_console, make_pairs, make_table

__all__ = ["show_study", "show_sweep"]


def show_sweep(record: Mapping[str, Any], folder: Path) -> None:
    """The settings of a sweep, best on valid first, with intervals; how it was trained and where it lies."""
    from ppo_jax.analysis.conclusions import explain_intervals, explain_p, explain_single_seeds
    from ppo_jax.analysis.sweep_results import describe_setting

    console = make_console()
    members = record["members"]
    counts = Counter(str(member.get("status", "not trained")) for member in members)
    said = ", ".join(f"{n} {status}" for status, n in counts.items())
    seeds = "1 seed" if len(record["seeds"]) == 1 else f"{len(record['seeds'])} seeds"
    console.print(f"{len(record['groups'])} settings × {seeds}: {said}\n", style="bold")
    names = next((list(group["scores"]) for group in record["groups"] if group["scores"]), [])
    # The heading says how many seeds there are; of those that did not end, some are missing.
    missing = any(one["n"] != len(record["seeds"]) for group in record["groups"] for one in group["scores"].values())
    for name in names:
        table = make_table(name, ">IQM", ">95% interval", *([">seeds"] if missing else []), ">P(better)", ">p", "")
        for group in record["groups"]:
            one = group["scores"].get(name)
            if one is None:
                counted = [str(group["members"])] if missing else []
                table.add_row(describe_setting(group["setting"]), "–", "", *counted, "", "", "failed")
                continue
            interval = "–" if one["low"] is None else f"{_short(one['low'])} to {_short(one['high'])}"
            against = _against_first(one, group["setting"] == record["baseline"])
            counted = [str(one["n"])] if missing else []
            table.add_row(describe_setting(group["setting"]), _short(one["iqm"]), interval, *counted, *against)
        for baseline, score in _baselines(record, name):
            table.add_row(baseline, _short(score), *([""] * (len(table.columns) - 2)))
        console.print(table)
        console.print()
    intervals = explain_intervals(one["n"] for group in record["groups"] for one in group["scores"].values())
    console.print(
        "IQM: interquartile mean over the seeds; choose by valid, test is for the last word."
        + f" {intervals}" * bool(intervals)
    )
    seeds_of_first = {
        name: one["n"]
        for group in record["groups"]
        if group["setting"] == record["baseline"]
        for name, one in group["scores"].items()
    }
    scores = [(name, one) for group in record["groups"] for name, one in group["scores"].items()]
    if compared := [(one["n"], seeds_of_first[name]) for name, one in scores if "p_value" in one]:
        console.print(
            f"P(better): that a seed is better than one of the first, {describe_setting(record['baseline'])}. "
            + explain_p(compared)
        )
    elif singles := sum(len(group["scores"]) for group in record["groups"] if group["setting"] != record["baseline"]):
        console.print(explain_single_seeds(singles))
    programs = record["programs"]
    side_by_side = {program.get("side_by_side", True) for program in programs}
    order = " or ".join("side by side" if way else "one by one" for way in sorted(side_by_side))
    compiling = sum(program.get("compile_seconds", 0.0) for program in programs)
    example = next(member["name"] for member in members if member.get("status") == "completed")
    facts = {
        "sweep": str(folder),
        "figures": f"{folder / 'sweep.svg'}, curves.svg",
        "program": f"{record['compiles']} compiled in {compiling:.1f} s, members {order}",
        "time": f"{record['seconds']:.1f} s in all",
        "taken out": f"ppo-jax sweep extract {folder} {example} --out runs/mine",
        "a member": str(folder / "members" / example),
    }
    console.print()
    console.print(make_pairs(facts))


def _baselines(record: Mapping[str, Any], name: str) -> list[tuple[str, float]]:
    """The baselines of a score; those that are not the same in every setting say whose they are."""
    from ppo_jax.analysis.sweep_results import describe_setting

    every = [(group["setting"], group["baselines"]) for group in record["groups"] if group.get("baselines")]
    same = all(baselines == every[0][1] for _, baselines in every)
    return [
        (baseline if same else f"{baseline}, {describe_setting(setting)}", scores[name])
        for setting, baselines in (every[:1] if same else every)
        for baseline, scores in baselines.items()
        if name in scores
    ]


def _against_first(one: Mapping[str, Any], first: bool) -> tuple[str, str, str]:
    """Probability of improvement, p-value and verdict of a score."""
    if "improvement" not in one:
        return "", "", "first" if first else "few seeds"
    return f"{one['improvement']['value']:.2f}", f"{one['p_value']:.2g}", one["verdict"] or "few seeds"


def _short(score: float) -> str:
    """Three decimals of an MRR, one of a return of hundreds."""
    return f"{score:.{3 if abs(score) < 10 else 2 if abs(score) < 100 else 1}f}"


def show_study(found: Mapping[str, Any], shown: int = 10) -> None:
    """The best trials of a study, and how much each setting mattered."""
    console = make_console()
    states = ", ".join(f"{n} {state}" for state, n in found["states"].items())
    console.print(f"study {found['study']}: {states}\n", style="bold")
    keys = list(found["best"]["setting"])
    table = make_table(">trial", ">score", *(f">{key}" for key in keys))
    for trial in found["trials"][:shown]:
        values = [as_argument(trial["setting"].get(key)) for key in keys]
        table.add_row(str(trial["number"]), f"{trial['score']:.4f}", *values)
    console.print(table)
    for trial in found["failed"][:shown]:
        console.print(f"trial {trial['number']} failed: {trial['error']}")
    if found["importance"]:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in found["importance"].items())
        console.print(f"\nWhat mattered: {shares}")
    console.print("\nScores are on valid; confirm the best on fresh seeds before believing it.")
