"""The report of one or more runs: report.md, one self-contained report.html, and the figures as files.

Sections: summary, metrics before and after, issues, root causes, configuration against reference, recommendations by
priority, expected against achieved, validation, example proofs, and how to read each metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo_jax.analysis import compare, figures, trees, validate
from ppo_jax.analysis.compare import Group, Movement, write_changes
from ppo_jax.analysis.diagnose import Finding, diagnose
from ppo_jax.analysis.document import Block, Cell, Document, Drawings, Item, Items, Section, Table, Text, Title, Trees
from ppo_jax.analysis.logs import RunLog, legible
from ppo_jax.analysis.reading import EXPECTATIONS, READING, write_number
from ppo_jax.analysis.statistics import Estimate, interquartile_mean
from ppo_jax.analysis.view import overflow_allowed
from ppo_jax.runs.files import write_atomically
from ppo_jax.runs.metric_table import METRICS
from ppo_jax.types import PPOJaxError

__all__ = ["build", "write"]

LEVELS = {"error": "bad", "warning": "fair", "info": ""}
ENOUGH = 3  # seeds on both sides; with two, all four pairs agree by chance in one case of three
PRIORITIES = {"error": "Priority 1: critical", "warning": "Priority 2: important", "info": "Priority 3: worth trying"}


def write(
    runs: Sequence[RunLog] | Sequence[Group], folder: str | Path, thresholds: validate.Thresholds | None = None
) -> tuple[Path, ...]:
    """Write report.html, report.md and ``figures/*.svg``, which the Markdown links.

    Args:
        runs: the runs, put together by configuration, or groups; the first is what the others are compared with.
        folder: where to; made if it is not there.
        thresholds: of the validation.

    Returns:
        The files written, report.html first.

    Raises:
        PPOJaxError: no runs, or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PPOJaxError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from None
    document = build(runs, thresholds)
    blocks = [block for section in document.sections for block in section.blocks]
    drawings = [one for block in blocks if isinstance(block, Drawings) for one in block.drawings]
    texts = {"report.html": document.to_html(), "report.md": document.to_markdown()}
    texts |= {f"figures/{one.name}.svg": figures.standalone(one) for one in drawings}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return tuple(folder / name for name in texts)


@overflow_allowed
def build(runs: Sequence[RunLog] | Sequence[Group], thresholds: validate.Thresholds | None = None) -> Document:
    """The report as a `Document`, without touching a disk.

    Raises:
        PPOJaxError: no runs.
    """
    if not runs:
        raise PPOJaxError("report: no runs; give one run folder or more")
    groups = tuple(one for one in runs if isinstance(one, Group)) or compare.group(
        [one for one in runs if isinstance(one, RunLog)]
    )
    found = [_findings(runs) for runs in groups]
    tasks = dict.fromkeys(legible(runs.settings.get("env_id") or runs.settings.get("dataset") or "") for runs in groups)
    n_runs = sum(len(runs.logs) for runs in groups)
    parts = (
        ("Summary", _summary(groups, found)),
        ("Metrics before and after" if len(groups) > 1 else "Metrics, first and last", _metrics(groups)),
        ("Issues", _issues(groups, found)),
        ("Root causes", _root_causes(groups, found)),
        ("Configuration against reference", _configuration(groups)),
        ("Recommendations by priority", _recommendations(groups, found)),
        ("Expected against achieved", _expected(groups)),
        ("Validation", _validation(groups, thresholds or validate.Thresholds())),
        ("Example proofs", _proofs(groups)),
        ("Appendix: reading each metric", _appendix(groups)),
    )
    return Document(
        title=f"Training report: {', '.join(runs.name for runs in groups)}",
        subtitle=", ".join([*filter(None, tasks), _count(n_runs, "run")]),
        sections=tuple(Section(title, tuple(blocks)) for title, blocks in parts if blocks),
    )


@dataclass(frozen=True)
class _Found:
    """A finding of a group, in the words of the first of its runs that has it."""

    finding: Finding
    n: int  # runs that have it
    where: str  # " in run-s0"; empty where the group is one run


def _findings(runs: Group) -> list[_Found]:
    each: dict[str, list[tuple[RunLog, Finding]]] = {}
    for log in runs.logs:
        for finding in diagnose(log, [one for one in runs.logs if one is not log]).findings:
            each.setdefault(finding.id, []).append((log, finding))
    merged = [
        _Found(same[0][1], len(same), f" in {same[0][0].name}" if len(runs.logs) > 1 else "") for same in each.values()
    ]
    order = list(LEVELS)
    return sorted(merged, key=lambda one: (order.index(one.finding.severity), -one.n))


def _summary(groups: Sequence[Group], found: Sequence[list[_Found]]) -> list[Block]:
    rows = {row.name: row for row in compare.scores(groups)}
    shown = [name for name in rows if not name.startswith(("test MRR (m", "true", "false"))]
    head = ("", "seeds", *shown, "findings")
    lines = []
    for i, (runs, findings) in enumerate(zip(groups, found, strict=True)):
        word, level = compare.status_of_score(runs)
        cells = [Cell(runs.name), Cell(str(len(runs.logs)))]
        for name in shown:
            note = (word, level) if name == "test MRR (greedy)" else ("", "")
            cells.append(Cell(_estimate(rows[name].iqm[i]), *note))
        worst = next((one.finding.severity for one in findings), "")
        cells.append(Cell(str(len(findings)), _severities(findings), LEVELS.get(worst, "")))
        lines.append(tuple(cells))
    blocks: list[Block] = [Table(head, tuple(lines))]
    if shown:
        blocks.append(
            Text(f"{_over_seeds(groups)}Training metrics are means over the last fifth of the updates.", True)
        )
    for runs, findings in zip(groups, found, strict=True):
        if findings and findings[0].finding.severity == "error":
            blocks.append(Text(f"{runs.name}, above all: {findings[0].finding.id}. {findings[0].finding.cause}"))
    blocks += [Text(sentence) for sentence in _verdicts(groups, list(rows.values()))]
    notes = [f"{log.name}: {note}" for runs in groups for log in runs.logs for note in log.notes]
    if notes:
        blocks.append(Items((Item("Read with gaps", "", "fair", tuple(notes)),)))
    return blocks


def _verdicts(groups: Sequence[Group], rows: Sequence[compare.Score]) -> list[str]:
    """Of each group after the first, in which scores its seeds are better, worse, or not told apart."""
    sentences = []
    for i, runs in enumerate(groups[1:], start=1):
        words: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
        for row in rows:
            if (chance := row.improvement[i]) is not None and min(len(row.values[0]), len(row.values[i])) >= ENOUGH:
                word = "better" if chance.low > 0.5 else "worse" if chance.high < 0.5 else "not told apart"
                words[word].append(row.name)
        said = [f"{word} in {', '.join(names)}" for word, names in words.items() if names]
        sentences.append(f"{runs.name} against {groups[0].name}: {'; '.join(said) or 'too few seeds to conclude'}.")
    return sentences


def _metrics(groups: Sequence[Group]) -> list[Block]:
    each = [{row.name: row for row in compare.movements(runs)} for runs in groups]
    names = dict.fromkeys(name for name in compare.COMPARED if any(name in rows for rows in each))
    lines = tuple(
        (Cell(_with_unit(name, compare.COMPARED[name])), *(_movement(rows.get(name)) for rows in each))
        for name in names
    )
    blocks: list[Block] = []
    if lines:
        blocks = [
            Table(("", *(runs.name for runs in groups)), lines),
            Text(
                "First update → mean over the last fifth; early_stopped and epochs_completed over the whole run. "
                "± is the standard deviation over the seeds.",
                True,
            ),
        ]
    rows = compare.scores(groups)
    if len(groups) > 1 and any(chance for row in rows for chance in row.improvement):
        head = ("", groups[0].name, *(head for runs in groups[1:] for head in (runs.name, "better?")))
        lines = tuple(
            (Cell(row.name), Cell(*_split(row.iqm[0])), *(Cell(*_split(one)) for pair in _pairs(row) for one in pair))
            for row in rows
        )
        blocks += [
            Title("What the seeds allow to conclude"),
            Table(head, lines),
            Text(
                f"Interquartile mean, and below it the 95% interval of a bootstrap over seeds. “better?” is the "
                f"probability that a random seed is better than one of {groups[0].name} (lower is better for false "
                "queries and losses); an interval that holds 0.5 tells nothing.",
                True,
            ),
        ]
    drawings = figures.draw(groups)
    return [*blocks, Drawings(drawings)] if drawings else blocks


def _issues(groups: Sequence[Group], found: Sequence[list[_Found]]) -> list[Block]:
    blocks: list[Block] = []
    for runs, findings in zip(groups, found, strict=True):
        items = tuple(
            Item(
                one.finding.id,
                f"{one.finding.severity}, {one.finding.confidence:.0%} sure{_in_seeds(one, runs)}",
                LEVELS[one.finding.severity],
                (f"Seen{one.where}: {one.finding.evidence.rstrip('.')}.", _why(one.finding)),
                remark=f"Source: {one.finding.source}",
            )
            for one in findings
        )
        blocks += [Title(runs.name), Items(items) if items else Text("No rule of the diagnosis fired.")]
    return blocks


def _why(finding: Finding) -> str:
    return f"Why: {finding.cause}" + (f" Because of {', '.join(finding.because_of)}." if finding.because_of else "")


def _root_causes(groups: Sequence[Group], found: Sequence[list[_Found]]) -> list[Block]:
    rows = []
    for runs, findings in zip(groups, found, strict=True):
        present = {one.finding.id for one in findings}
        for one in findings:
            explains = [other.finding.id for other in findings if one.finding.id in other.finding.because_of]
            if not present & set(one.finding.because_of) and (explains or one.finding.severity != "info"):
                rows.append(
                    (
                        Cell(runs.name),
                        Cell(one.finding.id, strong=True),
                        Cell(one.finding.cause),
                        Cell(", ".join(explains) or "–"),
                    )
                )
    if not rows:
        return [Text("Nothing to explain: no finding above the level of information.")]
    return [Table(("", "root cause", "why", "explains"), tuple(rows), prose=True)]


def _configuration(groups: Sequence[Group]) -> list[Block]:
    rows = compare.configuration(groups)
    if not rows:
        return [Text("The logs do not tell their configuration.")]
    recommended = any(row.recommended is not None for row in rows)
    head = ("", *(runs.name for runs in groups), "Stable-Baselines3", *(("recommended",) if recommended else ()))
    lines = tuple(
        (
            Cell(row.key, strong=row.differs),
            *(Cell("?" if value is None else value, strong=row.differs) for value in row.values),
            Cell("–" if row.sb3 is None else row.sb3),
            *((Cell("–" if row.recommended is None else row.recommended),) if recommended else ()),
        )
        for row in rows
    )
    note = "Stable-Baselines3: the defaults of its PPO." + (" Bold: the runs differ." if len(groups) > 1 else "")
    if recommended:
        note += " Recommended: for proof tasks, measured on Countries S3."
    return [Table(head, lines), Text(note, True)]


def _recommendations(groups: Sequence[Group], found: Sequence[list[_Found]]) -> list[Block]:
    same: dict[tuple[str, str, str, str], list[str]] = {}  # (severity, id, advice, changes) -> groups
    for runs, findings in zip(groups, found, strict=True):
        for one in (one.finding for one in findings):
            same.setdefault((one.severity, one.id, one.advice, write_changes(one.changes)), []).append(runs.name)
    blocks: list[Block] = []
    for severity, title in PRIORITIES.items():
        items = tuple(
            Item(id, ", ".join(names) if len(groups) > 1 else "", LEVELS[severity], (advice,), changes)
            for (of, id, advice, changes), names in same.items()
            if of == severity
        )
        if items:
            blocks += [Title(title), Items(items)]
    if any(changes for *_, changes in same) and any(log.kind == "ppo_jax" for runs in groups for log in runs.logs):
        blocks.append(
            Text("`ppo-jax diagnose RUN --fix fixed.toml` writes a run's configuration with these changes.", True)
        )
    return blocks or [Text("Nothing to change.")]


def _expected(groups: Sequence[Group]) -> list[Block]:
    rows = []
    for one in EXPECTATIONS:
        cells = []
        for runs in groups:
            known = [x for x in map(one.achieved, runs.logs) if x is not None]
            iqm = interquartile_mean(known) if known and (runs.proves or not one.proofs_only) else float("nan")
            met = "" if np.isnan(iqm) else "reached" if one.met(iqm) else "missed"
            cells.append(Cell(write_number(iqm), met, {"reached": "good", "missed": "bad"}.get(met, "")))
        if any(cell.note for cell in cells):
            rows.append((Cell(one.name), Cell(one.expected), *cells))
    if not rows:
        return []
    table = Table(("", "expected", *(runs.name for runs in groups)), tuple(rows))
    return [table, Text(over, True)] if (over := _over_seeds(groups)) else [table]


def _validation(groups: Sequence[Group], thresholds: validate.Thresholds) -> list[Block]:
    if not any(runs.proves for runs in groups):
        return []
    each = [validate.validate(runs.logs, thresholds) for runs in groups]
    names = dict.fromkeys((check.name, check.limit, check.detail) for checks in each for check in checks)
    levels = {validate.PASS: "good", validate.FAIL: "bad", validate.NOT_JUDGED: "fair"}
    rows = []
    for name, limit, detail in names:
        cells = []
        for checks in each:
            check = next((one for one in checks if (one.name, one.limit) == (name, limit)), None)
            cells.append(
                Cell(_range(check.values), check.verdict, levels.get(check.verdict, "")) if check else Cell("–")
            )
        rows.append((Cell(name, detail if limit else ""), Cell(limit), *cells))
    verdicts = [
        f"{runs.name} {'passes' if validate.passed(checks) else 'does not pass'}"
        for runs, checks in zip(groups, each, strict=True)
    ]
    return [
        Text(f"{'; '.join(verdicts)}. A check passes where every seed passes it."),
        Table(("", "limit", *(runs.name for runs in groups)), tuple(rows)),
        Text("Least to greatest over the seeds. Lines without a limit are for information.", True),
    ]


def _proofs(groups: Sequence[Group]) -> list[Block]:
    found: list[trees.Example] = []
    for runs in groups:
        each = [trees.examples(log.name, log.queries) for log in runs.logs]
        found += sorted(each, key=len)[-1]  # of one run, that shows the most kinds of attempts
    if not found:
        return []
    return [
        Text(
            "Goals are treated leftmost first. Beside each stands what treated it, a rule or a fact, and the step's "
            "probability; known facts are removed without a step."
        ),
        Trees(tuple(found)),
    ]


def _appendix(groups: Sequence[Group]) -> list[Block]:
    known = {metric.name: metric for metric in METRICS}
    measured = {name for runs in groups for log in runs.logs for name in log.columns}
    rows = [
        tuple(map(Cell, (_with_unit(name, known[name].unit), f"{known[name].meaning}.", f"{healthy}.", reading)))
        for name, (healthy, reading) in READING.items()
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


def _pairs(row: compare.Score) -> list[tuple[Estimate | None, Estimate | None]]:
    return list(zip(row.iqm, row.improvement, strict=True))[1:]


def _split(one: Estimate | None) -> tuple[str, str]:
    interval = "" if one is None or np.isnan(one.low) else f"{write_number(one.low)} to {write_number(one.high)}"
    return _estimate(one), interval


def _range(values: Sequence[float | None]) -> str:
    known = [x for x in values if x is not None]
    if not known:
        return "–"
    low, high = write_number(min(known)), write_number(max(known))
    return low if low == high else f"{low} to {high}"


def _over_seeds(groups: Sequence[Group]) -> str:
    return "Interquartile means over the seeds. " if any(len(runs.logs) > 1 for runs in groups) else ""


def _with_unit(name: str, unit: str) -> str:
    return name if unit in ("", "1") else f"{name} ({unit})"


def _severities(findings: Sequence[_Found]) -> str:
    counts = {severity: sum(one.finding.severity == severity for one in findings) for severity in ("error", "warning")}
    return ", ".join(_count(n, severity) for severity, n in counts.items() if n)


def _in_seeds(one: _Found, runs: Group) -> str:
    return f", in {one.n} of {len(runs.logs)} seeds" if len(runs.logs) > 1 else ""


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"
