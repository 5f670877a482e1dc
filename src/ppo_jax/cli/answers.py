"""The commands about answers: ask a run for some, and take its scores elsewhere."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from ppo_jax.cli.analyse import runs_of
from ppo_jax.cli.arguments import RunFolder, Switch, Trust, check_new
from ppo_jax.cli.console import output, say, warn
from ppo_jax.cli.experiments import use_caches
from ppo_jax.cli.policies import check_writable
from ppo_jax.cli.tables.answers import flat_answers, show_answers, show_scores, write_csv
from ppo_jax.runs.files import as_written, read_summary
from ppo_jax.types import PPOJaxError

if TYPE_CHECKING:
    from ppo_jax.policies.prover import Prover

__all__ = ["Ask", "Scores"]

ENDINGS = {".csv": "csv", ".parquet": "parquet", ".tex": "latex"}


@dataclass(frozen=True)
class Ask:
    """Ask the agent of a run for answers: "ancestorOf(ann, X)", ranked, each with its proof."""

    folder: RunFolder
    """Folder of the run."""
    queries: Positional[Annotated[tuple[str, ...], arg(metavar="QUERY …", help_behavior_hint="")]] = ()
    """Atoms with one variable, quoted: "ancestorOf(ann, X)" or "ancestorOf(X, bob)". Of one without, such as
    "ancestorOf(ann, bob)", that answer alone is shown, with its rank among all; `ppo-jax prove` shows its proof."""
    file: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """A file of queries, one a line."""
    top: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 10)")] = 10
    """Answers to each query, at most."""
    proofs: Switch = False
    """Rank by the probability of the proofs alone; otherwise as the run combined proofs, rules and prior."""
    csv: Switch = False
    """Print CSV: query, rank, answer, known, probability of the proofs, and of a combined score what --json has. There
    `prior` is the logarithm of the probability that the table shows."""
    trust: Trust = False
    json: Switch = False
    """Print JSON, with the steps of every proof."""

    def run(self) -> int:
        if self.top < 1:
            raise PPOJaxError(f"--top = {self.top}: expected at least 1")
        queries = [("query", text) for text in self.queries] + (_lines(self.file) if self.file else [])
        if not queries:
            raise PPOJaxError('ask: no query; write one such as "ancestorOf(ann, X)", or name a file with --file')
        if folder := next(filter(os.path.isdir, self.queries), None):
            raise PPOJaxError(f"ask: {folder} is a folder, no query; one run is asked at a time")
        use_caches()
        from ppo_jax.policies.prover import load_prover

        prover = load_prover(self.folder, trust=self.trust)
        if (status := read_summary(self.folder).get("status")) != "completed" and not self.proofs:
            warn(f"{self.folder}: the run is {status}, so its proofs alone answer; `ppo-jax resume` finishes it")
        answered = [self._ask(prover, place, query) for place, query in queries]
        if self.csv:
            write_csv(flat_answers(answered))
        else:
            output(answered, self.json, show_answers)
        return 0

    def _ask(self, prover: Prover, place: str, query: str) -> dict[str, Any]:
        try:
            return prover.ask(query, self.top, proofs_alone=self.proofs)
        except PPOJaxError as error:
            raise PPOJaxError(f"{place}: {str(error).removeprefix('query: ')}") from error


@dataclass(frozen=True)
class Scores:
    """Write the rank of every test query of a run, or its table of results; of seeds mean and standard deviation."""

    folders: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN …", help_behavior_hint="")]]
    """Run folders that differ in their seed alone, or a sweep of seeds."""
    form: Annotated[
        Literal["csv", "parquet", "latex", "table"] | None,
        arg(
            name="format",
            metavar="{csv,parquet,latex,table}",
            help_behavior_hint="(default: as FILE ends; without FILE csv, of several runs table)",
        ),
    ] = None
    """csv and parquet: a line for each query; latex, and table to read: the results on test."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: standard output)")] = None
    """Where it is written, with the protocol of CSV and Parquet in FILE.protocol.json; parquet needs a file. A file
    that is there is not replaced."""

    def run(self) -> int:
        folders = [run for folder in self.folders for run in runs_of(folder)]
        if not folders:
            raise PPOJaxError("give one run folder or more")
        if self.out is not None:
            check_writable(self.out)
            check_new(self.out)
            if self.form not in (None, "table", theirs := ENDINGS.get(self.out.suffix, self.form)):
                raise PPOJaxError(f"{self.out}: ends as a file of {theirs} does, and --format is {self.form}")
        form = self.form or (_form_of(self.out) if self.out else "csv" if len(folders) == 1 else "table")
        with as_written(folders[0] / "summary.json"):
            return self._write(folders, form)

    def _write(self, folders: list[Path], form: str) -> int:
        from ppo_jax.analysis import protocol
        from ppo_jax.analysis.scores import mean_table, protocol_file, read_seeds, write_scores

        if form == "table":
            if self.out is not None:
                raise PPOJaxError("scores: a table is printed; with --out choose --format csv, parquet or latex")
            runs = read_seeds(folders)
            show_scores(mean_table(runs, "\n±"), protocol.caption(runs))
            return 0
        n = write_scores(folders, form, self.out)
        if self.out is not None:
            beside = "" if form == "latex" else f"; {protocol_file(self.out)} says how they were measured"
            say(f"wrote {self.out}: {n} lines{beside}", sys.stdout)
        return 0


def _form_of(out: Path) -> str:
    if out.suffix not in ENDINGS:
        raise PPOJaxError(
            f"{out}: its ending tells no format; choose --format csv, parquet or latex (the JSON of a run is its "
            "queries.jsonl)"
        )
    return ENDINGS[out.suffix]


def _lines(file: Path) -> list[tuple[str, str]]:
    """The queries of a file, each with its place."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PPOJaxError(f"cannot read {file}: {why}") from error
    lines = ((f"{file}:{i}", line.strip()) for i, line in enumerate(text.splitlines(), start=1))
    return [(place, line) for place, line in lines if line and line[0] not in "%#"]
