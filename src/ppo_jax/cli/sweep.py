"""The commands of sweeps: train many members, take one out, search for good settings."""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from ppo_jax.cli.arguments import Assignments, Switch, Trust, flat
from ppo_jax.cli.console import output, print_json, say, warn
from ppo_jax.cli.errors import how_to_go_on
from ppo_jax.cli.experiments import experiment_name, load_experiment, use_caches
from ppo_jax.cli.policies import check_writable
from ppo_jax.cli.tables.sweep import show_study, show_sweep
from ppo_jax.runs import trust as consent
from ppo_jax.sweeps.plan import make_plan
from ppo_jax.types import PPOJaxError

__all__ = ["Extract", "Sweep", "Tune", "resume_sweep"]


@dataclass(frozen=True)
class Sweep:
    """Train seeds × settings, as many as can in one compiled program, and compare the settings."""

    config: Positional[Annotated[Path, arg(metavar="EXPERIMENT", help_behavior_hint="")]]
    """TOML file, name or environment, as of `ppo-jax train`."""
    seeds: Annotated[int, arg(metavar="N")] = 8
    """Seeds of each setting, counted from the configuration's."""
    grid: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="KEY=VALUE,VALUE …", help_behavior_hint="")
    ] = ()
    """Values of a key to cross with the seeds, such as learning_rate=1e-4,3e-4; may be given several times."""
    run_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: runs/sweep-<…>-<time>)")] = None
    """Where it is written; a sweep that was stopped there goes on."""
    assignments: Assignments = ()
    """Settings other than the file's, for every member."""
    chunk: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: by memory)")] = None
    """Members in the program at a time."""
    order: Annotated[
        Literal["side-by-side", "one-by-one"] | None,
        arg(
            metavar="{side-by-side,one-by-one}",
            help_behavior_hint="(default: side-by-side on an accelerator, one-by-one on a CPU)",
        ),
    ] = None
    """Train the members of a chunk in one vmapped program, or one after another."""
    devices: Annotated[int, arg(metavar="N", help_behavior_hint="")] = 1
    """Spread the members over N devices."""
    trust: Trust = False
    json: Switch = False
    """Print sweep.json instead of a table, and no progress bar."""
    quiet: Switch = False
    """Show no progress bar; the results are printed all the same."""

    def run(self) -> int:
        plan = make_plan(load_experiment(self.config, flat(self.assignments), self.trust), self.seeds, flat(self.grid))
        use_caches()
        from ppo_jax.devices import cpu
        from ppo_jax.runs import manifest
        from ppo_jax.sweeps import sweep

        cpu.prepare(plan.members[0].config, self.devices)
        name = f"sweep-{experiment_name(self.config)}-{time.strftime('%Y%m%d-%H%M%S')}"
        new = nullcontext(self.run_dir) if self.run_dir else manifest.unused(Path("runs") / name)
        with new as folder, how_to_go_on(folder):
            progress = not (self.json or self.quiet)
            sweep.run(
                plan,
                folder,
                chunk=self.chunk,
                devices=self.devices,
                side_by_side=None if self.order is None else self.order == "side-by-side",
                progress=progress,
                warn=warn,
            )
        return _show(folder, self.json)


@dataclass(frozen=True)
class Extract:
    """Take a member out of a sweep: a run folder that stands by itself."""

    sweep: Positional[Annotated[Path, arg(metavar="SWEEP", help_behavior_hint="")]]
    """Folder of the sweep."""
    member: Positional[Annotated[str, arg(metavar="MEMBER", help_behavior_hint="")]]
    """Name of the member, as sweep.json lists it."""
    out: Annotated[Path, arg(metavar="FOLDER", help_behavior_hint="(required)")]
    """Where the run is written."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.runs import manifest
        from ppo_jax.sweeps import sweep

        found = sweep.member_folder(self.sweep, self.member)
        manifest.check_folder(self.out, overwrite=False)
        try:
            shutil.copytree(found, self.out, dirs_exist_ok=True)
        except OSError as error:
            raise PPOJaxError(f"{self.out}: cannot be written: {error.strerror}; choose another --out") from None
        if self.json:
            print_json({"run": str(self.out), "member": self.member})
        else:
            say(f"wrote {self.out}")
        return 0


@dataclass(frozen=True)
class Tune:
    """Search settings with Optuna, each scored over several seeds on valid. The experiment's table [search] says what.

    Several processes, also on several machines, share the work where they name one --storage and --study.
    """

    config: Positional[Annotated[Path, arg(metavar="EXPERIMENT", help_behavior_hint="")]]
    """TOML file or name of an experiment with a table [search], such as
    learning_rate = { low = 1e-4, high = 1e-2, log = true }."""
    trials: Annotated[int, arg(metavar="N")] = 20
    """Trials of the study, over all of its workers."""
    seeds: Annotated[int, arg(metavar="N")] = 4
    """Seeds of a trial; its score is their interquartile mean."""
    storage: Annotated[str | None, arg(metavar="URL", help_behavior_hint="(default: in memory)")] = None
    """Where the study is kept, such as sqlite:///tune.db."""
    study: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the experiment's name)")] = None
    """Name of the study in the storage."""
    sampler: Literal["tpe", "gp", "random", "cmaes"] = "tpe"
    """How settings are chosen."""
    pruner: Literal["none", "median", "halving"] = "median"
    """How trials that fall behind are stopped."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the best configuration there."""
    assignments: Assignments = ()
    """Settings other than the file's, for every trial."""
    trust: Trust = False
    json: Switch = False
    """Print JSON instead of tables."""
    quiet: Switch = False
    """Do not report each trial."""

    def run(self) -> int:
        from ppo_jax.runs.files import write_atomically
        from ppo_jax.sweeps import tuning

        config = load_experiment(self.config, flat(self.assignments), self.trust).with_absolute_dataset()
        space = tuning.read_search_space(self.config, config)
        for name, value in (("--trials", self.trials), ("--seeds", self.seeds)):
            if value < 1:
                raise PPOJaxError(f"{name} {value}: expected at least 1")
        if self.out is not None:
            check_writable(self.out)
        use_caches()
        from ppo_jax.devices import cpu

        cpu.prepare(config, 1)
        study = tuning.tune(
            config,
            space,
            n_trials=self.trials,
            n_seeds=self.seeds,
            storage=self.storage,
            study_name=self.study or experiment_name(self.config),
            sampler=self.sampler,
            pruner=self.pruner,
            report=(lambda text: None) if self.quiet or self.json else say,
        )
        found = tuning.conclude(study)
        if found["best"] is None:
            reasons = f": {found['failed'][0]['error']}" if found["failed"] else ""
            raise PPOJaxError(f"no trial was completed{reasons}; a narrower [search] or --pruner none may help")
        output(found, self.json, show_study)
        if self.out is not None:  # last: whatever happens to the file, the results were printed
            write_atomically(self.out, config.override(found["best"]["setting"]).to_toml())
        return 0


def resume_sweep(folder: Path, as_json: bool, quiet: bool, trust: bool) -> int:
    """Go on with a sweep that was stopped; `trust`: the user consents to the code that it names."""
    use_caches()
    from ppo_jax.devices import cpu
    from ppo_jax.sweeps import sweep

    plan = sweep.read_plan(folder)
    for member in plan.members:
        consent.check(folder, member.config, member.config, trust)
    cpu.prepare(plan.members[0].config, sweep.recorded_devices(folder))
    with how_to_go_on(folder):
        sweep.run(plan, folder, progress=not (as_json or quiet), warn=warn)
    return _show(folder, as_json)


def _show(folder: Path, as_json: bool) -> int:
    """Add the statistics and the figure to what a sweep wrote, and show them.

    Raises:
        PPOJaxError: at the end, where members could not be trained.
    """
    from ppo_jax.analysis import sweep_results

    found = sweep_results.conclude(folder)
    if as_json:
        print_json(found)
    else:
        show_sweep(found, folder)
    if errors := {program["error"] for program in found["programs"] if "error" in program}:
        names = [member["name"] for member in found["members"] if member.get("error") in errors]
        raise PPOJaxError(f"{folder}: {'; '.join(sorted(errors))}; not trained: {', '.join(names)}")
    return 0
