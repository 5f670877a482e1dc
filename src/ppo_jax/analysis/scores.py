"""The scores of runs for use elsewhere: a line for each query, or a table for a paper."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ppo_jax.analysis import protocol
from ppo_jax.analysis.readers import RunLog, read_run
from ppo_jax.analysis.run_sets import OWN_SETTINGS, differing_settings
from ppo_jax.files import write_atomically
from ppo_jax.results import Table
from ppo_jax.runs import manifest
from ppo_jax.tasks import results
from ppo_jax.types import PPOJaxError

__all__ = ["mean_table", "protocol_file", "read_seeds", "write_scores"]

# Paths, of which what they hold is compared; and how many networks a baseline has, whose row is then left out.
NOT_COMPARED = {*OWN_SETTINGS, "prior", "rules", "untrained_networks"}
Rows = Mapping[str, Mapping[str, Any]]  # results by the name of their row


def write_scores(folders: str | Path | Sequence[str | Path], form: str, out: Path | None) -> int:
    """Write the scores of a run, or of several that differ in their seed alone; returns how many lines, or queries.

    Args:
        folders: the run, or the runs.
        form: ``"csv"`` or ``"parquet"``, a line for each query of ``queries.jsonl`` with its plain fields, of several
            runs one below the other; or ``"latex"``, the table of results, of several runs mean ± standard deviation.
        out: the file; None: standard output. How the ranks of CSV and Parquet were measured is written beside it, into
            the file that `protocol_file` names.

    Raises:
        PPOJaxError: no such run, one that has no scores yet, runs of other data, protocols or settings, or a library
            that is missing.
    """
    runs = read_seeds([folders] if isinstance(folders, str | Path) else folders, results_on_test=form == "latex")
    if out is not None and manifest.is_of_run(out):
        raise PPOJaxError(f"{out}: is a file of a run, which is not replaced; choose another --out")
    if form == "latex":
        return _write(_latex(runs), out)
    several = len(runs) > 1
    rows = [
        ({"run": run.name, "seed": run.summary.get("seed")} if several else {}) | _flat(row)
        for run in runs
        for row in run.queries
    ]
    if not rows:
        raise PPOJaxError(f"{folders}: no ranks in queries.jsonl, which runs over a knowledge graph write at their end")
    if form == "parquet":
        if out is None:
            raise PPOJaxError("scores: parquet needs a file: --out scores.parquet")
        n = _write_parquet(rows, out)
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        n = _write(text.getvalue(), out) - 1
    if out is not None:
        told = protocol.shared(runs[0]) | {"runs": [protocol.own(run) for run in runs]}
        write_atomically(protocol_file(out), json.dumps(told, indent=2) + "\n")
    return n


def protocol_file(out: Path) -> Path:
    """Where it stands how the ranks of a file were measured: ``ranks.protocol.json`` beside ``ranks.csv``."""
    return out.with_suffix(".protocol.json")


def read_seeds(folders: Sequence[str | Path], *, results_on_test: bool = True) -> list[RunLog]:
    """The runs of `folders`, whose results may stand in one table.

    Args:
        folders: runs.
        results_on_test: whether all must have them.

    Raises:
        PPOJaxError: a run lacks its results, they differ in more than their seed, or two have the same seed.
    """
    runs = [read_run(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        if (results_on_test or len(runs) > 1) and not run.summary.get("test"):
            raise PPOJaxError(f"{folder}: has no results on test yet; `ppo-jax resume` ends the run")
    first = runs[0]
    for folder, run in zip(folders[1:], runs[1:], strict=True):
        facts = [protocol.shared(one) for one in (first, run)]
        values = {key: [one.get(key) for one in facts] for key in facts[0].keys() | facts[1].keys()}
        untold = {key for key in protocol.UNTOLD if None in values.get(key, ())}  # by older runs
        differ = [key for key, (one, other) in values.items() if one != other and key not in untold]
        differ += [key for key in differing_settings(first, run) if key not in NOT_COMPARED]
        if differ:
            raise PPOJaxError(
                f"{folder}: differs from {folders[0]} in {', '.join(sorted(set(differ)))}; a mean is of runs that "
                "differ in their seed alone"
            )
    seeds = [run.summary.get("seed") for run in runs]
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise PPOJaxError(f"scores: seed {seed} is there twice; a deviation over seeds wants each once")
    return runs


def mean_table(runs: Sequence[RunLog], join: str) -> Table:
    """The table of results of a run; of several the mean, `join` and the standard deviation over them (n − 1)."""
    kind = results.of(runs[0].summary)
    each = [kind.rows(run.summary) for run in runs]
    if len(runs) == 1:
        return kind.table(each[0])
    means, deviations = (kind.table(_over(each, statistic)) for statistic in (fmean, stdev))
    # A baseline that does not depend on the seed, such as the rules, has no deviation.
    baselines = kind.baseline_rows(runs[0].summary.get("baselines") or {})
    shared = [name for name in each[0] if all(name in one for one in each)]
    same = [name in baselines and all(one[name] == each[0][name] for one in each) for name in shared]
    cells = [
        (name, *(mean if mean == "–" or alike else f"{mean}{join}{one}" for mean, one in zip(row, spread, strict=True)))
        for (name, *row), (_, *spread), alike in zip(means.rows, deviations.rows, same, strict=True)
    ]
    return Table(means.headers, tuple(cells))


def _over(each: Sequence[Any], statistic: Callable[[Iterable[float]], float]) -> Any:
    """A statistic of every number of nested results; without intervals, and of what is no number the first."""
    first = each[0]
    if isinstance(first, Mapping):
        names = [name for name in first if not name.endswith("_interval") and all(name in one for one in each)]
        return {name: _over([one[name] for one in each], statistic) for name in names}
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in each):
        return statistic(map(float, each))
    return None if any(one is None for one in each) else first


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """The plain fields of a query, and its ranks by baselines and without each source in columns of their own."""
    ranks = {f"{name}_rank": rank for name, rank in (line.get("baseline_ranks") or {}).items()}
    inverse = line.get("baseline_reciprocal_ranks") or {}
    ranks |= {f"{name}_reciprocal_rank": value for name, value in inverse.items()}
    ranks |= {f"rank_without_{name}": rank for name, rank in (line.get("rank_without") or {}).items()}
    return {name: value for name, value in line.items() if not isinstance(value, list | dict)} | ranks


def _write_parquet(rows: Sequence[Mapping[str, Any]], out: Path) -> int:
    try:
        from pyarrow import Table, parquet
    except ImportError:
        raise PPOJaxError("scores: parquet needs the library pyarrow: pip install 'ppo-jax[parquet]'") from None
    try:
        parquet.write_table(Table.from_pylist(list(rows)), out)
    except OSError as error:
        raise PPOJaxError(f"{out}: cannot be written: {error.strerror or error}") from None
    return len(rows)


def _write(text: str, out: Path | None) -> int:
    if out is None:
        sys.stdout.write(text)
    else:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise PPOJaxError(f"{out}: cannot be written: {error.strerror}") from None
    return text.count("\n")


def _latex(runs: Sequence[RunLog]) -> str:
    r"""The table of results with its caption, for ``\input`` in a document with the package booktabs."""
    kind, several = results.of(runs[0].summary), len(runs) > 1
    table = mean_table(runs, " ± ")
    headers = [" ".join(header.split()) for header in table.headers]
    told = protocol.caption(runs)
    notes = [] if several else [f"% {note}" for note in kind.notes(kind.rows(runs[0].summary))]
    lines = ["\\begin{table}", "\\centering", f"\\caption{{{_escaped(told)}}}", f"\\label{{{_label(runs[0])}}}"]
    lines += [f"\\begin{{tabular}}{{l{'r' * (len(headers) - 1)}}}", "\\toprule", _row(headers), "\\midrule"]
    lines += [_row(row) for row in table.rows]
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
    return "\n".join([*notes, *lines]) + "\n"


def _label(run: RunLog) -> str:
    """``tab:`` and the data set or environment, in small letters, digits and hyphens."""
    common = protocol.shared(run)
    name = unicodedata.normalize("NFKD", str(common.get("data") or common.get("env_id")))
    return "tab:" + (
        re.sub(r"[^a-z0-9]+", "-", name.encode("ascii", "ignore").decode().lower()).strip("-") or "results"
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    special = str.maketrans(
        {c: f"\\{c}" for c in "&%$#_{}"}
        | {"×": "$\\times$", "–": "--", "±": "$\\pm$", "−": "$-$", "\\": "\\textbackslash{}"}
    )
    return text.translate(special)
