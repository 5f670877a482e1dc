"""The commands about answers: ask a run for some, and take its scores elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ppo_jax.cli.arguments import RunFolder, Switch, Trust
from ppo_jax.cli.console import output, say
from ppo_jax.cli.experiments import use_caches
from ppo_jax.cli.tables.answers import flat_answers, show_answers, write_csv
from ppo_jax.types import PPOJaxError

__all__ = ["Ask", "Scores"]


@dataclass(frozen=True)
class Ask:
    """Ask the agent of a run for answers: "ancestorOf(ann, X)", ranked, each with its proof."""

    folder: RunFolder
    """Folder of the run."""
    queries: Positional[Annotated[tuple[str, ...], arg(metavar="QUERY …", help_behavior_hint="")]] = ()
    """Atoms with one variable, quoted: "ancestorOf(ann, X)" or "ancestorOf(X, bob)"."""
    file: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """A file of queries, one a line."""
    top: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 10)")] = 10
    """Answers to each query, at most."""
    proofs: Switch = False
    """Rank by the probability of the proofs alone; otherwise as the run combined proofs, rules and prior."""
    csv: Switch = False
    """Print CSV: query, rank, answer, known, probability of the proofs, and of a combined score what --json has."""
    trust: Trust = False
    json: Switch = False
    """Print JSON, with the steps of every proof."""

    def run(self) -> int:
        if self.top < 1:
            raise PPOJaxError(f"--top = {self.top}: expected at least 1")
        queries = [*self.queries, *(_lines(self.file) if self.file else ())]
        if not queries:
            raise PPOJaxError('ask: no query; write one such as "ancestorOf(ann, X)", or name a file with --file')
        use_caches()
        from ppo_jax.policies.prover import load_prover

        prover = load_prover(self.folder, trust=self.trust)
        answered = [prover.ask(query, self.top, proofs_alone=self.proofs) for query in queries]
        if self.csv:
            write_csv(flat_answers(answered))
        else:
            output(answered, self.json, show_answers)
        return 0


@dataclass(frozen=True)
class Scores:
    """Write the rank of every test query of a run, or its table of results, for a paper."""

    folder: RunFolder
    """Folder of the run."""
    form: Annotated[Literal["csv", "parquet", "latex"], arg(name="format", help_behavior_hint="(default: csv)")] = "csv"
    """csv and parquet: a line for each query; latex: the table of results."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: standard output)")] = None
    """Where it is written; parquet needs a file."""

    def run(self) -> int:
        from ppo_jax.analysis.scores import write_scores

        n = write_scores(self.folder, self.form, self.out)
        if self.out is not None:
            say(f"wrote {self.out}: {n} lines", sys.stdout)
        return 0


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PPOJaxError(f"cannot read {file}: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip() and line.strip()[0] not in "%#"]
