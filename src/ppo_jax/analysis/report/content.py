"""What a report says: one function a section, in the order of the report.

Sections: summary, metrics before and after, issues, root causes, configuration against reference, recommendations by
priority, expected against achieved, validation, answers, example proofs, and how to read each metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppo_jax.analysis import compare, conclusions, validate
from ppo_jax.analysis.compare import Movement
from ppo_jax.analysis.diagnose import Finding, diagnose
from ppo_jax.analysis.formatting import without_folders, write_changes, write_number
from ppo_jax.analysis.healthy_ranges import HEALTHY_RANGES, unit_of_mean
from ppo_jax.analysis.queries import different_queries
from ppo_jax.analysis.readers import RunLog, legible
from ppo_jax.analysis.report import figures, proof_trees
from ppo_jax.analysis.report.answers import answers
from ppo_jax.analysis.report.blocks import (
    Block,
    Cell,
    Document,
    Drawings,
    Item,
    Items,
    Section,
    Table,
    Text,
    Title,
    Trees,
)
from ppo_jax.analysis.report.checks import expected, over_seeds, validation
from ppo_jax.analysis.rules.evidence import overflow_allowed
from ppo_jax.analysis.run_sets import RunSet, gather_run_sets
from ppo_jax.analysis.statistics import Estimate
from ppo_jax.results import baseline_name
from ppo_jax.runs.metric_table import METRICS
from ppo_jax.types import PPOJaxError

__all__ = ["build"]

LEVELS = {"error": "bad", "warning": "fair", "info": ""}
PRIORITIES = {"error": "Priority 1: critical", "warning": "Priority 2: important", "info": "Priority 3: worth trying"}


@overflow_allowed
def build(runs: Sequence[RunLog] | Sequence[RunSet], limits: Mapping[str, float] | None = None) -> Document:
    """The report as a `Document`, without touching a disk.

    Args:
        runs: the runs, put together by configuration, or run sets; the first is what the others are compared with.
        limits: of the validation, as of `validate.read_limits`; beside them the benchmark has the plan's.

    Raises:
        PPOJaxError: no runs.
    """
    if not runs:
        raise PPOJaxError("report: no runs; give one run folder or more")
    logs = [one for one in runs if isinstance(one, RunLog)]
    run_sets = tuple(one for one in runs if isinstance(one, RunSet)) or gather_run_sets(logs)
    findings = [_merged_findings(run_set) for run_set in run_sets]
    thresholds = [validate.Thresholds.of_task(one.env_id if one.proves else None, limits) for one in run_sets]
    checks = [validate.validate(one.logs, each) for one, each in zip(run_sets, thresholds, strict=True)]
    named = [run_set.settings.get("env_id") or run_set.settings.get("dataset") or "" for run_set in run_sets]
    tasks = dict.fromkeys(map(legible, without_folders(named)))
    n_runs = sum(len(run_set.logs) for run_set in run_sets)
    parts = (
        ("Summary", _summary(run_sets, findings)),
        ("Metrics before and after" if len(run_sets) > 1 else "Metrics, first and last", _metrics(run_sets)),
        ("Issues", _issues(run_sets, findings)),
        ("Root causes", _root_causes(run_sets, findings)),
        ("Configuration against reference", _configuration(run_sets)),
        ("Recommendations by priority", _recommendations(run_sets, findings)),
        ("Expected against achieved", expected(run_sets, checks)),
        ("Validation", validation(run_sets, checks)),
        ("Answers", answers(run_sets)),
        ("Example proofs", _proofs(run_sets)),
        ("Appendix: reading each metric", _appendix(run_sets)),
    )
    return Document(
        title=f"Training report: {', '.join(run_set.name for run_set in run_sets)}",
        subtitle=", ".join([*filter(None, tasks), _count(n_runs, "run")]),
        sections=tuple(Section(title, tuple(blocks)) for title, blocks in parts if blocks),
    )


@dataclass(frozen=True)
class _MergedFinding:
    """A finding of a run set, in the words of the first of its runs that has it."""

    finding: Finding
    n: int  # runs that have it
    where: str  # " in run-s0"; empty where the set is one run


def _merged_findings(run_set: RunSet) -> list[_MergedFinding]:
    each: dict[str, list[tuple[RunLog, Finding]]] = {}
    for log in run_set.logs:
        for finding in diagnose(log, [one for one in run_set.logs if one is not log]).findings:
            each.setdefault(finding.id, []).append((log, finding))
    merged = []
    for same in each.values():
        log, finding = same[0]
        merged.append(_MergedFinding(finding, len(same), f" in {log.name}" if len(run_set.logs) > 1 else ""))
    order = list(LEVELS)
    return sorted(merged, key=lambda one: (order.index(one.finding.severity), -one.n))


def _summary(run_sets: Sequence[RunSet], each: Sequence[list[_MergedFinding]]) -> list[Block]:
    rows = {row.name: row for row in compare.scores(run_sets)}
    judged = [name for name, row in rows.items() if row.higher_is_better is not None]
    shown = [name for name in judged if not name.startswith(("test MRR (m", "true", "false"))]
    head = ("", "seeds", *shown, "findings")
    lines = []
    for i, (run_set, findings) in enumerate(zip(run_sets, each, strict=True)):
        word, level = compare.status_of_score(run_set)
        cells = [Cell(run_set.name), Cell(str(len(run_set.logs)))]
        for name in shown:
            note = (word, level) if name == "test MRR (greedy)" else ("", "")
            cells.append(Cell(_estimate(rows[name].iqm[i]), *note))
        worst = next((one.finding.severity for one in findings), "")
        cells.append(Cell(str(len(findings)), _severities(findings), LEVELS.get(worst, "")))
        lines.append(tuple(cells))
        for name, reached in compare.baselines(run_set).items():
            title = f"{baseline_name(name)}, a baseline" + (f" of {run_set.name}" if len(run_sets) > 1 else "")
            scores = (Cell(_estimate(reached.get(score))) for score in shown)
            lines.append((Cell(title), Cell("–"), *scores, Cell("–")))
    blocks: list[Block] = [Table(head, tuple(lines))]
    if shown:
        blocks.append(
            Text(f"{over_seeds(run_sets)}Training metrics are means over the last fifth of the updates.", True)
        )
    for run_set, findings in zip(run_sets, each, strict=True):
        if findings and findings[0].finding.severity == "error":
            blocks.append(Text(f"{run_set.name}, above all: {findings[0].finding.id}. {findings[0].finding.cause}"))
    if warning := different_queries(run_sets):
        blocks.append(Text(f"The runs were {warning}."))
    blocks += [Text(sentence) for sentence in _verdicts(run_sets, list(rows.values()))]
    notes = [f"{log.name}: {note}" for run_set in run_sets for log in run_set.logs for note in log.notes]
    if notes:
        blocks.append(Items((Item("Read with gaps", "", "fair", tuple(notes)),)))
    return blocks


def _verdicts(run_sets: Sequence[RunSet], rows: Sequence[compare.Score]) -> list[str]:
    """Of each run set after the first, in which scores its seeds are better, worse, or not told apart."""
    sentences = []
    for i, run_set in enumerate(run_sets[1:], start=1):
        words: dict[str, list[str]] = {}
        for row in rows:
            words.setdefault(row.verdict(i), []).append(row.name)
        said = [f"{word} in {', '.join(words[word])}" for word in conclusions.VERDICTS if word in words]
        sentences.append(
            f"{run_set.name} against {run_sets[0].name}: {'; '.join(said) or 'too few seeds to conclude'}."
        )
    return sentences


def _metrics(run_sets: Sequence[RunSet]) -> list[Block]:
    each = [{row.name: row for row in compare.movements(run_set)} for run_set in run_sets]
    own = [name for rows in each for name in rows if name not in compare.COMPARED]
    names = [name for name in (*compare.COMPARED, *dict.fromkeys(own)) if any(name in rows for rows in each)]
    lines = tuple(
        (Cell(_with_unit(name, unit_of_mean(name))), *(_movement(rows.get(name)) for rows in each)) for name in names
    )
    blocks: list[Block] = []
    if lines:
        blocks = [
            Table(("", *(run_set.name for run_set in run_sets)), lines),
            Text(
                "First update → mean over the last fifth; early_stopped and epochs_completed over the whole run. "
                "± is the standard deviation over the seeds.",
                True,
            ),
        ]
    rows = compare.scores(run_sets)
    if len(run_sets) > 1 and any(one for row in rows for one in (*row.improvement, *row.difference)):
        head = (
            "",
            run_sets[0].name,
            *(head for run_set in run_sets[1:] for head in (run_set.name, "against the first")),
        )
        lines = tuple(
            (
                Cell(row.name),
                Cell(*_split(row.iqm[0])),
                *(cell for i in range(1, len(run_sets)) for cell in _pair(row, i)),
            )
            for row in rows
        )
        intervals = conclusions.explain_intervals(one.n for row in rows for one in row.iqm if one is not None)
        blocks += [
            Title("What the seeds allow to conclude"),
            Table(head, lines),
            Text(
                "Interquartile mean, and below it the 95% interval of a bootstrap over seeds. P is the probability "
                f"that a random seed is better than one of {run_sets[0].name} (lower is better for false queries); an "
                "interval that holds 0.5 tells nothing. Δ is the difference, of numbers without better and worse. "
                f"{conclusions.explain_p(compare.compared_seeds(rows))} {intervals}",
                True,
            ),
            *(Text(f"{row.name}: {note}.", True) for row in rows if (note := compare.left_out(row, run_sets))),
        ]
    drawings = figures.draw(run_sets)
    return [*blocks, Drawings(drawings)] if drawings else blocks


def _issues(run_sets: Sequence[RunSet], each: Sequence[list[_MergedFinding]]) -> list[Block]:
    blocks: list[Block] = []
    for run_set, findings in zip(run_sets, each, strict=True):
        items = tuple(
            Item(
                one.finding.id,
                f"{one.finding.severity}, {one.finding.confidence:.0%} sure{_in_seeds(one, run_set)}",
                LEVELS[one.finding.severity],
                (f"Seen{one.where}: {one.finding.evidence.rstrip('.')}.", _why(one.finding)),
                remark=f"Source: {one.finding.source}",
            )
            for one in findings
        )
        blocks += [Title(run_set.name), Items(items) if items else Text("No rule of the diagnosis fired.")]
    return blocks


def _why(finding: Finding) -> str:
    return f"Why: {finding.cause}" + (
        f" It may be because of {', '.join(finding.because_of)}." if finding.because_of else ""
    )


def _root_causes(run_sets: Sequence[RunSet], each: Sequence[list[_MergedFinding]]) -> list[Block]:
    rows = []
    for run_set, findings in zip(run_sets, each, strict=True):
        present = {one.finding.id for one in findings}
        for one in findings:
            explains = [other.finding.id for other in findings if one.finding.id in other.finding.because_of]
            if not present & set(one.finding.because_of) and (explains or one.finding.severity != "info"):
                rows.append(
                    (
                        Cell(run_set.name),
                        Cell(one.finding.id, strong=True),
                        Cell(one.finding.cause),
                        Cell(", ".join(explains) or "–"),
                    )
                )
    if not rows:
        return [Text("Nothing to explain: no finding above the level of information.")]
    return [Table(("", "root cause", "why", "explains"), tuple(rows), prose=True)]


def _configuration(run_sets: Sequence[RunSet]) -> list[Block]:
    rows = compare.configuration(run_sets)
    if not rows:
        return [Text("The logs do not tell their configuration.")]
    sb3, recommended = (any(getattr(row, name) is not None for row in rows) for name in ("sb3", "recommended"))
    head = (
        "",
        *(run_set.name for run_set in run_sets),
        *(("Stable-Baselines3",) if sb3 else ()),
        *(("recommended",) if recommended else ()),
    )
    lines = tuple(
        (
            Cell(row.key, strong=row.differs),
            *(Cell("?" if value is None else value, strong=row.differs) for value in row.values),
            *((Cell("–" if row.sb3 is None else row.sb3),) if sb3 else ()),
            *((Cell("–" if row.recommended is None else row.recommended),) if recommended else ()),
        )
        for row in rows
    )
    notes = ["Stable-Baselines3: the defaults of its PPO."] if sb3 else []
    notes += ["Bold: the runs differ."] if len(run_sets) > 1 else []
    notes += ["Recommended: for proof tasks, measured on Countries S3."] if recommended else []
    return [Table(head, lines), *([Text(" ".join(notes), True)] if notes else [])]


def _recommendations(run_sets: Sequence[RunSet], each: Sequence[list[_MergedFinding]]) -> list[Block]:
    same: dict[tuple[str, str, str, str], list[str]] = {}  # (severity, id, advice, changes) -> names of the run sets
    for run_set, findings in zip(run_sets, each, strict=True):
        for one in (one.finding for one in findings):
            same.setdefault((one.severity, one.id, one.advice, write_changes(one.changes)), []).append(run_set.name)
    blocks: list[Block] = []
    for severity, title in PRIORITIES.items():
        items = tuple(
            Item(id, ", ".join(names) if len(run_sets) > 1 else "", LEVELS[severity], (advice,), changes)
            for (of, id, advice, changes), names in same.items()
            if of == severity
        )
        if items:
            blocks += [Title(title), Items(items)]
    if any(changes for *_, changes in same) and any(
        log.kind == "ppo_jax" for run_set in run_sets for log in run_set.logs
    ):
        blocks.append(
            Text("`ppo-jax diagnose RUN --fix fixed.toml` writes a run's configuration with these changes.", True)
        )
    return blocks or [Text("Nothing to change.")]


def _proofs(run_sets: Sequence[RunSet]) -> list[Block]:
    examples: list[proof_trees.Example] = []
    for run_set in run_sets:
        # Where answers are on record, the section before shows them with their proofs.
        attempts = [(log.name, [line for line in log.queries if "answers" not in line]) for log in run_set.logs]
        of_each_run = [proof_trees.examples(name, lines) for name, lines in attempts]
        examples += sorted(of_each_run, key=len)[-1]  # of one run, that shows the most kinds of attempts
    if not examples:
        return []
    return [
        Text(
            "Goals are treated leftmost first. Beside each stands what treated it, a rule or a fact, and the step's "
            "probability; known facts are removed without a step."
        ),
        Trees(tuple(examples)),
    ]


def _appendix(run_sets: Sequence[RunSet]) -> list[Block]:
    known = {metric.name: metric for metric in METRICS}
    measured = {name for run_set in run_sets for log in run_set.logs for name in log.columns}
    rows = [
        (
            Cell(_with_unit(name, known[name].unit)),
            Cell(f"{known[name].meaning}."),
            Cell(f"{one.healthy}."),
            Cell(one.otherwise),
        )
        for name, one in HEALTHY_RANGES.items()
        if name in measured
    ]
    return [Table(("", "what it is", "healthy", "reading"), tuple(rows), prose=True)] if rows else []


def _movement(row: Movement | None) -> Cell:
    if row is None:
        return Cell("–")
    spread = f"± {write_number(row.spread)}" if row.spread > 0 else ""
    first = "" if row.first is None else f"{write_number(row.first)} → "
    return Cell(f"{first}{write_number(row.last)}", ", ".join(filter(None, (row.status, spread))), row.level)


def _estimate(one: Estimate | None) -> str:
    return "–" if one is None else write_number(one.value)


def _pair(row: compare.Score, i: int) -> tuple[Cell, Cell]:
    """The score of a run set, and what it is against the first."""
    if row.higher_is_better is None:
        difference, interval = _split(row.difference[i])
        return Cell(*_split(row.iqm[i])), Cell(f"Δ {difference}" if row.difference[i] else "–", interval)
    chance, interval = _split(row.improvement[i])
    p_value = row.p_values[i]
    parts = [interval, "" if p_value is None else f"p = {write_number(p_value)}", row.verdict(i)]
    return Cell(*_split(row.iqm[i])), Cell(f"P {chance}" if row.improvement[i] else "–", ", ".join(filter(None, parts)))


def _split(one: Estimate | None) -> tuple[str, str]:
    interval = "" if one is None or np.isnan(one.low) else f"{write_number(one.low)} to {write_number(one.high)}"
    return _estimate(one), interval


def _with_unit(name: str, unit: str) -> str:
    return name if unit in ("", "1") else f"{name} ({unit})"


def _severities(findings: Sequence[_MergedFinding]) -> str:
    counts = {severity: sum(one.finding.severity == severity for one in findings) for severity in ("error", "warning")}
    return ", ".join(_count(n, severity) for severity, n in counts.items() if n)


def _in_seeds(one: _MergedFinding, run_set: RunSet) -> str:
    return f", in {one.n} of {len(run_set.logs)} seeds" if len(run_set.logs) > 1 else ""


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"
