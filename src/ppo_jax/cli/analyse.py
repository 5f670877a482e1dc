"""The commands of the analyst: diagnose, validate, compare, report. `validate` trains; the analysis only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from ppo_jax.cli.arguments import Assignments, Switch, Trust, check_new, flat
from ppo_jax.cli.console import print_json, say, warn
from ppo_jax.cli.errors import how_to_go_on
from ppo_jax.cli.experiments import check_same_settings, experiment_name, load_experiment, use_caches
from ppo_jax.cli.tables.analyse import show_comparison, show_diagnosis, show_validation
from ppo_jax.config.toml import parse_assignment
from ppo_jax.runs import manifest
from ppo_jax.runs.files import read_summary
from ppo_jax.types import PPOJaxError

if TYPE_CHECKING:
    from ppo_jax.analysis.readers import RunLog
    from ppo_jax.config import Config

__all__ = ["Compare", "Diagnose", "Report", "Validate"]

Runs = Positional[Annotated[tuple[Path, ...], arg(metavar="RUN [RUN …]", help_behavior_hint="")]]
Limits = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]], arg(name="limit", metavar="KEY=VALUE …", help_behavior_hint="")
]


@dataclass(frozen=True)
class Diagnose:
    """Say what is wrong with a run, why, and what to change. Exits with 1 where a finding is an error."""

    run_folder: Positional[Annotated[Path | None, arg(name="run", metavar="RUN", help_behavior_hint="")]] = None
    """Folder of the run, or the log of another trainer: a CSV or JSON file, printed tables, TensorBoard files, their
    folder; - for a pipe."""
    sb3: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Text file of another trainer, such as Stable-Baselines3's progress.csv, in place of RUN."""
    tensorboard: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Event file or folder of one run, with the tags of another trainer or ppo_jax, in place of RUN."""
    assignments: Assignments = ()
    """Settings that the log lacks, such as n_steps=2048 n_envs=1 batch_size=64 gamma=0.99."""
    others: Annotated[tuple[Path, ...], arg(metavar="RUN …", help_behavior_hint="")] = ()
    """Further seeds of the same experiment, three or more, to see whether this run is an outlier."""
    fix: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the configuration with what the findings ask for, a comment at each change; a new file."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.analysis import diagnose, readers
        from ppo_jax.runs.files import write_atomically

        if self.fix:
            check_new(self.fix, "--fix")
        log = self._log()
        others = [readers.read(path) for path in self.others]
        _warn_of_other_settings(log, others)
        diagnosis = diagnose.diagnose(log, others)
        if self.fix:
            write_atomically(self.fix, diagnose.fix(log, diagnosis))
        if self.json:
            print_json(diagnosis.to_dict())
        else:
            _say_notes((log,))
            show_diagnosis(log.name, diagnosis)
        if self.fix:
            changed = any(finding.changes for finding in diagnosis.findings)
            remark = f"; try it with: ppo-jax train {self.fix}" if changed else ", unchanged: no finding asks for more"
            say(f"\nwrote {self.fix}{remark}")
        return int(diagnosis.has_error)

    def _log(self) -> RunLog:
        from ppo_jax.analysis import readers

        given = [path for path in (self.run_folder, self.sb3, self.tensorboard) if path is not None]
        if len(given) != 1:
            raise PPOJaxError("diagnose: give one of RUN, --sb3 FILE and --tensorboard FOLDER")
        settings = readers.check_settings(dict(map(parse_assignment, flat(self.assignments))))
        if self.run_folder:
            return readers.read(self.run_folder, settings)
        return readers.read_sb3(self.sb3, settings) if self.sb3 else readers.read_tensorboard(given[0], settings)


@dataclass(frozen=True)
class Validate:
    """Train, then hold the runs against the validation plan: PASS or FAIL. Exits with 1 where a check fails."""

    config: Positional[Annotated[Path, arg(metavar="EXPERIMENT")]] = Path("countries_s3")
    """TOML file or name of a proof experiment."""
    seeds: Annotated[int, arg(metavar="N")] = 1
    """Train this many seeds, from the configuration's on."""
    run_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: runs/validate-<config>)")] = (
        None
    )
    """Where the runs are written, s0, s1, … ; completed runs of the same configuration are not repeated."""
    assignments: Assignments = ()
    """Settings other than the file's."""
    limits: Limits = ()
    """Limits other than the plan's, such as mrr=0.9, or a file.toml of them; the keys: explained_variance, value_loss,
    entropy_left, entropy_rise, early_stopped, mrr. The plan is that of Countries S3; other tasks need limits."""
    trust: Trust = False
    json: Switch = False
    """Print JSON, and no progress bar."""

    def run(self) -> int:
        from ppo_jax.analysis import readers, validate

        limits = validate.read_limits(flat(self.limits))
        if self.seeds < 1:
            raise PPOJaxError(f"validate: --seeds {self.seeds}: at least 1")
        config = self._config()
        thresholds = validate.Thresholds.of_task(None if config.answers else config.task.env_id, limits)
        if not thresholds:
            raise PPOJaxError(
                f"validate: the plan's limits come from Countries S3, and {self.config} trains something else; "
                "give its own, such as --limit mrr=0.5"
            )
        folders = [self._train(i) for i in range(self.seeds)]
        checks = validate.validate([readers.read_run(folder) for folder in folders], thresholds)
        if self.json:
            print_json({"runs": list(map(str, folders)), **validate.to_dict(checks)})
        else:
            show_validation([folder.name for folder in folders], checks)
            say(f"\nruns in {folders[0].parent}; `ppo-jax report` draws them")
        return 0 if validate.passed(checks) else 1

    def _config(self) -> Config:
        return load_experiment(self.config, flat(self.assignments), self.trust)

    def _train(self, i: int) -> Path:
        config = self._config()
        config = config.override({"seed": config.run.seed + i})
        folder = (self.run_dir or Path("runs") / f"validate-{experiment_name(self.config)}") / f"s{config.run.seed}"
        there = (manifest.settled(folder) / "config.toml").is_file()
        if there:
            check_same_settings(config.with_absolute_dataset(), folder, "choose another --run-dir")
        if there and read_summary(folder).get("status") == "completed":
            return folder
        use_caches()
        from ppo_jax.devices import cpu
        from ppo_jax.runs import runner

        cpu.prepare(config)
        progress = not self.json
        with how_to_go_on(folder):
            if there:
                runner.resume(folder, progress=progress, warn=warn)
            else:
                runner.train(config, folder, progress=progress, warn=warn)
        return folder


@dataclass(frozen=True)
class Compare:
    """Put runs side by side: metrics first → last, configurations, and what the seeds allow to say."""

    runs: Runs
    """Run folders, sweeps and logs of other trainers; seeds of one configuration are put together."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.analysis import compare, run_sets
        from ppo_jax.analysis.queries import different_queries

        logs = _read_all(self.runs)
        compared = run_sets.gather_run_sets(logs)
        if warning := different_queries(compared):
            warn(f"compare: {warning}")
        if self.json:
            print_json(compare.to_dict(compared))
        else:
            _say_notes(logs)
            show_comparison(compared)
        return 0


@dataclass(frozen=True)
class Report:
    """Write report.html, one file that needs no network, and report.md with its figures."""

    runs: Runs
    """Run folders, sweeps and logs of other trainers; the first is what the others are compared with."""
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: that of the first run)")] = None
    """Where the report is written."""
    limits: Limits = ()
    """Limits of the validation, as in `ppo-jax validate`. Without, only Countries S3 is judged, by the plan's."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.analysis import report, validate

        limits = validate.read_limits(flat(self.limits))
        logs = _read_all(self.runs)
        _say_notes(logs)
        first = self.runs[0]
        written = report.write(logs, self.out or (first if first.is_dir() else first.parent), limits)
        if self.json:
            print_json({"files": list(map(str, written))})
        else:
            say(f"wrote {written[0]} and {written[1]}")
        return 0


def _read_all(paths: tuple[Path, ...]) -> list[Any]:
    from ppo_jax.analysis import readers

    if not paths:
        raise PPOJaxError("give one run folder or more")
    return [readers.read(run) for path in paths for run in runs_of(path)]


def runs_of(path: Path) -> list[Path]:
    """The members of a sweep that began; of anything else the path itself."""
    from ppo_jax.analysis import readers

    if not (path / "sweep.json").is_file():
        return [path]
    members = [path / "members" / member["name"] for member in readers.read_sweep(path)["members"]]
    if not (began := [member for member in members if manifest.holds_run(member)]):
        raise PPOJaxError(f"{path}: no member of this sweep has begun; `ppo-jax resume {path}` trains them")
    return began


def _warn_of_other_settings(log: RunLog, others: Sequence[RunLog]) -> None:
    """One line where runs that are to be seeds of one configuration tell that they are not."""
    from ppo_jax.analysis.readers.run_log import first_few
    from ppo_jax.analysis.run_sets import differing_settings

    told = [one for one in others if one.settings and log.settings and one.kind == log.kind == "ppo_jax"]
    if differ := {one.name: keys for one in told if (keys := differing_settings(log, one))}:
        keys = list(dict.fromkeys(key for keys in differ.values() for key in keys))
        warn(
            f"diagnose: --others: {first_few(list(differ))} and {log.name} differ in {first_few(keys)}; give seeds of "
            "one configuration"
        )


def _say_notes(logs: Any) -> None:
    for log in logs:
        for note in log.notes:
            say(f"note: {log.name}: {note}")
