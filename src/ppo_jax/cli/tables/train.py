"""The results of a run, beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo_jax.cli.console import make_console, make_pairs, make_table
from ppo_jax.runs.files import as_written
from ppo_jax.tasks import results

if TYPE_CHECKING:
    from ppo_jax.analysis.readers import RunLog

__all__ = ["show_results", "show_run"]

Json = dict[str, Any]


def show_run(summary: Json, folder: Path) -> None:
    """Results of a completed run beside its baselines, what the data allows, and where to find everything.

    Args:
        summary: content of summary.json.
        folder: of the run.
    """
    with as_written(folder / "summary.json"):
        _show_run(summary, folder)


def _show_run(summary: Json, folder: Path) -> None:
    from ppo_jax.analysis.readers import read_run  # only here: it takes a while, and --help does without

    console, kind, log = make_console(), results.of(summary), read_run(folder)
    what = f"{summary['env_id']}, {_network(folder)}"
    console.print(f"{what}, seed {summary['seed']}, {summary['env_steps']:,} environment steps")
    show_results(kind.rows(summary), "test")
    if baselines := summary.get("baselines"):
        console.print(f"\n{kind.verdict(summary['test'], baselines)}")
    if note := kind.data_note(summary.get("data", {})):
        console.print(note)
    for line in _worth_knowing(log):
        console.print(line)
    best = f"update {summary['best_update']} of {summary['updates']}, chosen"
    if len(log.evaluations) == 1:
        best = "the last update, which alone was judged"
    facts = {
        "run": str(folder),
        "best": f"{best} on valid {kind.judged_on}: {kind.headline(summary['valid'])}",
        "speed": f"{summary['steps_per_second']:,.0f} environment steps/s",
        "time": _time(summary),
    }
    if skipped := summary.get("updates_skipped"):
        facts["skipped"] = (
            f"{skipped} of {summary['updates']} updates: a loss, a gradient or a parameter was not finite"
        )
    console.print()
    console.print(make_pairs(facts))


def _time(summary: Json) -> str:
    """Where the time went; older runs did not take that of judging."""
    said = f"training {summary['train_seconds']:.1f} s, compiling {summary['compile_seconds']:.1f} s before"
    if None in (judged := (summary.get("valid_seconds"), summary.get("test_seconds"))):
        return f"{said}, without judging"
    return f"{said}, judging on valid {judged[0]:.1f} s and on test, with baselines, {judged[1]:.1f} s"


def _worth_knowing(log: RunLog) -> list[str]:
    """What `diagnose` finds of the environment, which need not be asked for, a line each."""
    from ppo_jax.analysis.diagnose import diagnose

    found = {finding.id: finding for finding in diagnose(log).findings}
    lines = []
    if lost := found.get("successors-overflow"):
        lines.append(f"{lost.evidence}; proofs that pass through them cannot be found.")
    if endless := found.get("episodes-not-restarted"):
        lines.append(f"{endless.evidence[0].upper()}{endless.evidence[1:]}. {endless.advice}")
    return lines


def _network(folder: Path) -> str:
    """The network that a run's configuration names, and its core."""
    from ppo_jax.config.task_id import names_data_set  # only here: with these JAX comes, which --help does without
    from ppo_jax.runs import run_folder

    config = run_folder.read_config(folder)
    name, core = config.network.network, config.network.core
    if name == "auto":
        name = "proof_actions" if names_data_set(config.task.env_id, config.task.dataset) else "mlp"
    return f"{name} + {core}" if core else name


def show_results(rows: Mapping[str, Mapping[str, Any]], split: str) -> None:
    """A table with a row for each named result of `Experiment.evaluate` on a split, and how they were measured."""
    console, kind = make_console(), results.of(next(iter(rows.values())))
    console.print(f"Judged on {split} {kind.judged_on}:\n")
    headers, cells = kind.table(rows)
    table = make_table(headers[0], *(f">{header}" for header in headers[1:]))
    for row in cells:
        table.add_row(*row)
    console.print(table)
    if notes := kind.notes(rows):
        console.print()
    for note in notes:
        console.print(note)
