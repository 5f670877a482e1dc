"""The scores of a run for use elsewhere: a line for each query, or a table for a paper."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo_jax.analysis.readers import read_run
from ppo_jax.tasks import results
from ppo_jax.types import PPOJaxError

__all__ = ["write_scores"]


def write_scores(folder: Path, form: str, out: Path | None) -> int:
    """Write the scores of a run; returns how many lines they have.

    Args:
        folder: the run.
        form: ``"csv"`` or ``"parquet"``, a line for each query of ``queries.jsonl`` with its plain fields; or
            ``"latex"``, the table of results.
        out: the file; None: standard output.

    Raises:
        PPOJaxError: no such run, a run that has no scores yet, or a library that is missing.
    """
    run = read_run(folder)
    if form == "latex":
        if not (run.summary or {}).get("test"):
            raise PPOJaxError(f"{folder}: has no results on test yet; `ppo-jax resume` ends the run")
        return _write(_latex(run.summary), out)
    rows = [_flat(row) for row in run.queries]
    if not rows:
        raise PPOJaxError(f"{folder}: no ranks in queries.jsonl, which runs over a knowledge graph write at their end")
    if form == "parquet":
        if out is None:
            raise PPOJaxError("scores: parquet needs a file: --out scores.parquet")
        return _write_parquet(rows, out)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return _write(text.getvalue(), out)


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """The plain fields of a query, and its ranks by baselines and without each source in columns of their own."""
    ranks = {f"{name}_rank": rank for name, rank in (line.get("baseline_ranks") or {}).items()}
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


def _latex(summary: Mapping[str, Any]) -> str:
    r"""The table of results, for ``\input`` in a document with the package booktabs."""
    kind = results.of(summary)
    rows = kind.rows(summary)
    table = kind.table(rows)
    headers = [" ".join(header.split()) for header in table.headers]
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(headers) - 1)}}}", "\\toprule", _row(headers), "\\midrule"]
    lines += [_row(row) for row in table.rows]
    lines += ["\\bottomrule", "\\end{tabular}"]
    notes = [f"% {note}" for note in kind.notes(rows)]
    return "\n".join([*notes, *lines]) + "\n"


def _row(cells: Sequence[str]) -> str:
    special = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"×": "$\\times$", "–": "--"})
    return " & ".join(cell.translate(special) for cell in cells) + r" \\"
