"""The sections "Expected against achieved" and "Validation": the same checks, once in a word and once seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ppo_jax.analysis import validate
from ppo_jax.analysis.formatting import write_number
from ppo_jax.analysis.report.blocks import Block, Cell, Table, Text
from ppo_jax.analysis.run_sets import RunSet
from ppo_jax.analysis.statistics import interquartile_mean
from ppo_jax.analysis.validate import Check

__all__ = ["expected", "over_seeds", "validation"]

LEVELS = {validate.PASS: "good", validate.FAIL: "bad", validate.NOT_JUDGED: "fair", validate.INFORMATION: ""}


def expected(run_sets: Sequence[RunSet], each: Sequence[Sequence[Check]]) -> list[Block]:
    """The checks in one number a run set and a word, which is that of the validation and of no limit of its own.

    Nothing where no check has a limit: then nothing is expected.
    """
    limited = [any(check.limit for check in checks) for checks in each]
    rows = [
        (Cell(name), Cell(limit or "–"), *map(_achieved, checks))
        for name, limit, detail, checks in _side_by_side(each)
        if detail
    ]
    if not any(limited) or not rows:
        return []
    said = [over_seeds(run_sets).strip()]
    if not all(limited):
        said.append("What is expected was measured on Countries S3 and holds for no other task; `--limit` sets limits.")
    text = " ".join(filter(None, said))
    table = Table(("", "expected", *(run_set.name for run_set in run_sets)), tuple(rows))
    return [table, Text(text, True)] if text else [table]


def _achieved(check: Check | None) -> Cell:
    known = [value for value in check.values if value is not None] if check else []
    if check is None:
        return Cell("–")
    missed = f"missed by {check.kept.count(False)} of {len(check.kept)} seeds" if len(check.kept) > 1 else "missed"
    words = {validate.PASS: "reached", validate.FAIL: missed}
    number = write_number(interquartile_mean(known)) if known else "–"
    return Cell(number, words.get(check.verdict, check.verdict), LEVELS[check.verdict])


def validation(run_sets: Sequence[RunSet], each: Sequence[Sequence[Check]]) -> list[Block]:
    """The checks over the seeds, and which run sets pass them all; of proof tasks without a limit the numbers."""
    judged = [any(check.limit for check in checks) for checks in each]
    if not any(judged) and not any(run_set.proves for run_set in run_sets):
        return []
    rows = []
    for name, limit, detail, checks in _side_by_side(each):
        cells = [Cell(_range(one.values), one.verdict, LEVELS[one.verdict]) if one else Cell("–") for one in checks]
        rows.append((Cell(name, detail), Cell(limit), *cells))
    said = [
        f"{run_set.name} {'passes' if validate.passed(checks) else 'does not pass'}"
        for run_set, checks, has_limits in zip(run_sets, each, judged, strict=True)
        if has_limits
    ]
    blocks: list[Block] = [Text(f"{'; '.join(said)}. A check passes where every seed passes it.")] if said else []
    note = "Least to greatest over the seeds. Lines without a limit are for information."
    return [
        *blocks,
        Table(("", "limit", *(run_set.name for run_set in run_sets)), tuple(rows)),
        Text(note, True),
    ]


def _side_by_side(each: Sequence[Sequence[Check]]) -> Iterator[tuple[str, str, str, list[Check | None]]]:
    """Name, limit and detail of each check that has a number or a limit, and the check of every run set.

    Those with a limit come first; there a run set without that limit has its number as information.
    """
    found = [{(check.name, check.limit): check for check in checks} for checks in each]
    limited = {name for checks in found for name, limit in checks if limit}
    for name, limit in sorted(dict.fromkeys(key for checks in found for key in checks), key=lambda one: not one[1]):
        checks = [checks.get((name, limit)) or checks.get((name, "")) for checks in found]
        told = limit or any(value is not None for one in checks if one for value in one.values)
        if told and (limit or name not in limited):
            yield name, limit, next(one.detail for one in checks if one), checks


def over_seeds(run_sets: Sequence[RunSet]) -> str:
    """What a number of a run set is, where one has several seeds."""
    return "Interquartile means over the seeds. " if any(len(run_set.logs) > 1 for run_set in run_sets) else ""


def _range(values: Sequence[float | None]) -> str:
    known = [x for x in values if x is not None]
    if not known:
        return "–"
    low, high = write_number(min(known)), write_number(max(known))
    return low if low == high else f"{low} to {high}"
