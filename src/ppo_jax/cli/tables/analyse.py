"""What the analyst found: diagnoses, validations, runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ppo_jax.cli.console import as_argument, make_console, make_pairs, make_table

if TYPE_CHECKING:
    from ppo_jax.analysis.compare import Score
    from ppo_jax.analysis.diagnose import Diagnosis
    from ppo_jax.analysis.run_sets import RunSet
    from ppo_jax.analysis.validate import Check

__all__ = ["show_comparison", "show_diagnosis", "show_validation"]

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan", "PASS": "green", "FAIL": "bold red"}
RULES_SHOWN = 6  # of those that were not judged for one reason
LEVELS = {"good": "green", "fair": "yellow", "bad": "red"}


def show_diagnosis(name: str, diagnosis: Diagnosis) -> None:
    """Each finding with what was seen, why, and what to do; then what could not be judged."""
    from ppo_jax.analysis.rules.rule import NO_UPDATE
    from ppo_jax.analysis.vocabulary import write_change

    console = make_console()
    counts = {s: sum(f.severity == s for f in diagnosis.findings) for s in ("error", "warning", "info")}
    said = [f"{n} {severity}{'s' * (n > 1 and severity != 'info')}" for severity, n in counts.items() if n]
    if any(one.why == NO_UPDATE for one in diagnosis.unjudged):
        said.append(f"{NO_UPDATE}, so next to nothing could be judged")
    console.print(f"{name}: {', '.join(said) or 'nothing found'}", style="bold")
    for finding in diagnosis.findings:
        console.print()
        title = Text(finding.severity, style=STYLES[finding.severity])
        console.print(
            title + Text(f"  {finding.id}", style="bold") + Text(f"  (sure: {finding.confidence:.0%})", "dim")
        )
        parts = {"seen": finding.evidence}
        if finding.because_of:
            parts["because"] = f"of {', '.join(finding.because_of)}, perhaps"
        parts |= {"why": finding.cause, "do": finding.advice}
        if finding.changes:
            changes, ours = finding.changes.items(), diagnosis.trainer == "ppo_jax"
            written = [
                f"{key}={as_argument(value)}" if ours else write_change(key, value, diagnosis.trainer)
                for key, value in changes
            ]
            parts["try"] = (" " if ours else ", ").join(written)
        console.print(make_pairs(parts | {"source ": finding.source}))
    if diagnosis.own_metrics:
        console.print("\nYour own metrics", style="bold")
        table = make_table("", ">first", ">last fifth")
        for metric, (first, last) in diagnosis.own_metrics.items():
            table.add_row(metric, f"{first:.4g}", f"{last:.4g}")
        console.print(table)
    reasons: dict[str, list[str]] = {}
    for one in diagnosis.unjudged:
        reasons.setdefault(one.why, []).append(one.id)
    if reasons:
        console.print("\nNot judged", style="bold")
        console.print(make_pairs({_first_few(ids): why for why, ids in reasons.items()}, style=""))


def _first_few(ids: Sequence[str]) -> str:
    """Names in a column; of many only the first, for --json has all."""
    return ", ".join(ids) if len(ids) <= RULES_SHOWN else f"{', '.join(ids[: RULES_SHOWN - 1])}, … ({len(ids)} rules)"


def show_validation(runs: Sequence[str], checks: Sequence[Check]) -> None:
    """A line for each check: limit, what each run reached, verdict; then what else is worth knowing."""
    console = make_console()
    table = make_table("check", "limit", *(f">{run}" for run in runs), "")
    for check in checks:
        values = ["–" if value is None else f"{value:.3f}" for value in check.values]
        verdict = Text(check.verdict, style=STYLES.get(check.verdict, ""))
        limit = check.limit
        if check.baseline and any(value is not None for value in check.baseline):
            known = sorted({f"{value:.3f}" for value in check.baseline if value is not None})
            limit += f" ({', '.join(known)})"
        table.add_row(check.name, limit, *values, verdict)
    console.print(table)


def show_comparison(run_sets: Sequence[RunSet]) -> None:
    """Metrics first → last, final numbers with intervals, and the settings in which the runs differ."""
    from ppo_jax.analysis import compare

    console = make_console()
    for number, run_set in enumerate(run_sets, start=1):
        seeds = f", {len(run_set.logs)} seeds" if len(run_set.logs) > 1 else ""
        console.print(f"[{number}] {run_set.name}{seeds}", style="bold")
        if not (movements := compare.movements(run_set)):
            console.print("no metric on record\n")
            continue
        table = make_table("", ">first", ">last fifth", "")
        for moved in movements:
            first = "–" if moved.first is None else _short(moved.first)
            spread = f" ± {_short(moved.spread)}" if moved.spread == moved.spread else ""
            status = Text(moved.status, LEVELS.get(moved.level, ""))
            table.add_row(moved.name, first, _short(moved.last) + spread, status)
        console.print(table)
        console.print()
    _show_scores(run_sets)
    rows = [row for row in compare.configuration(run_sets) if row.differs or len(run_sets) == 1]
    if rows:
        console.print(
            "\n" + ("Where the configurations differ" if len(run_sets) > 1 else "Configuration"), style="bold"
        )
        references = {"SB3": [row.sb3 for row in rows], "ours": [row.recommended for row in rows]}
        told = {name: values for name, values in references.items() if any(values)}
        table = make_table("", *(f"[{i}]" for i in range(1, len(run_sets) + 1)), *told)
        for i, row in enumerate(rows):
            table.add_row(row.key, *(value or "–" for value in (*row.values, *(of[i] for of in told.values()))))
        console.print(table)


def _show_scores(run_sets: Sequence[RunSet]) -> None:
    from ppo_jax.analysis import compare
    from ppo_jax.analysis.conclusions import explain_intervals, explain_p, explain_single_seeds

    console, rows = make_console(), compare.scores(run_sets)
    if not rows:
        return
    intervals = explain_intervals(one.n for row in rows for one in row.iqm if one is not None)
    several = any(len(run_set.logs) > 1 for run_set in run_sets)
    console.print("At the end" + (": interquartile mean (95% interval)" if several else ""), style="bold")
    if len(run_sets) == 1:
        console.print(make_pairs({row.name: _estimate(row.iqm[0]) for row in rows if row.iqm[0] is not None}, ""))
        for row in rows:
            if note := compare.left_out(row, run_sets):
                console.print(f"{row.name}: {note}", style="dim")
        if intervals:
            console.print(f"\n{intervals}", style="dim")
        return
    for row in rows:  # a table for each score: their columns side by side would not fit a terminal
        _show_score(row)
        if note := compare.left_out(row, run_sets):
            console.print(note, style="dim")
        console.print()
    compared = compare.compared_seeds(rows)
    judged = [row.values for row in rows if row.higher_is_better is not None]
    singles = sum(bool(first and own) for first, *others in judged for own in others)
    conclusion = explain_p(compared) if compared else explain_single_seeds(singles) if singles else ""
    if said := " ".join(filter(None, (intervals, conclusion))):
        console.print(said, style="dim")


def _show_score(row: Score) -> None:
    """A line for each run set; columns without a value, such as the conclusions from single runs, are left out."""
    form = ".4g" if row.higher_is_better is None else ".3f"
    columns = {row.name: ["–" if one is None else _estimate(one, form) for one in row.iqm]}
    if row.higher_is_better is None:
        columns["difference from [1]"] = ["" if one is None else _estimate(one, "+.4g") for one in row.difference]
    else:
        columns["P(better than [1])"] = ["" if one is None else _estimate(one, ".2f") for one in row.improvement]
        columns["p"] = ["" if p is None else f"{p:.2g}" for p in row.p_values]
        columns[""] = ["" if p is None else row.verdict(i) or "few seeds" for i, p in enumerate(row.p_values)]
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    table: Table = make_table(">", *(f">{name}" if name else "" for name in columns))
    table.columns[1].no_wrap = False  # a long name folds
    for i, cells in enumerate(zip(*columns.values(), strict=True), start=1):
        table.add_row(f"[{i}]", *cells)
    make_console().print(table)


def _estimate(one: Any, form: str = ".3f") -> str:
    return f"{one.value:{form}}" + (f" ({one.low:{form}} to {one.high:{form}})" if one.low == one.low else "")


def _short(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"
