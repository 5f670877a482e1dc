"""The commands that train: a run, and the rest of one that was stopped."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ppo_jax.cli.arguments import Assignments, Devices, RunFolder, Switch, Trust, flat
from ppo_jax.cli.console import print_json, say, warn
from ppo_jax.cli.errors import how_to_go_on
from ppo_jax.cli.experiments import (
    check_same_settings,
    experiment_name,
    load_experiment,
    settings_of_run,
    use_caches,
)
from ppo_jax.cli.sweep import resume_sweep
from ppo_jax.cli.tables.train import show_run
from ppo_jax.runs import manifest
from ppo_jax.runs.files import read_summary
from ppo_jax.types import PPOJaxError

__all__ = ["Resume", "Train"]


@dataclass(frozen=True)
class Train:
    """Train a policy, evaluate it beside its baselines, and write a run folder."""

    config: Positional[Annotated[Path, arg(metavar="EXPERIMENT", help_behavior_hint="")]]
    """A TOML file, where the config.toml of a run repeats that run; the name of an experiment that comes with ppo_jax,
    such as cartpole; or an environment, such as CartPole-v1."""
    run_dir: Annotated[
        Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: runs/<experiment>-s<seed>-<time>)")
    ] = None
    """Where the run is written."""
    seed: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Short for --set seed=N."""
    assignments: Assignments = ()
    """Settings other than the file's, such as n_envs=32 ent_coef.final=0; `ppo-jax config` explains every key."""
    overwrite: Switch = False
    """Replace the run that the folder holds."""
    reuse: Switch = False
    """Where --run-dir holds this run: print the results of one that is complete, go on with one that was stopped."""
    on_nan: Annotated[Literal["stop", "skip"] | None, arg(metavar="{stop,skip}", help_behavior_hint="")] = None
    """Short for --set on_nan=…: stop at a loss that is not finite, or drop that update and go on."""
    placement: Devices = field(default_factory=Devices)
    trust: Trust = False
    json: Switch = False
    """Print summary.json instead of tables, and no progress bar."""
    quiet: Switch = False
    """Show no progress bar; the results are printed all the same."""

    def run(self) -> int:
        short = {"seed": self.seed, "on_nan": self.on_nan}
        config = load_experiment(self.config, flat(self.assignments), self.trust).with_absolute_dataset()
        config = config.override(
            {key: value for key, value in short.items() if value is not None} | self.placement.settings
        )
        if self.reuse and self.run_dir is None:
            raise PPOJaxError("--reuse needs --run-dir, the folder of the run to look at")
        folder = self.run_dir or Path("runs") / f"{experiment_name(self.config)}-s{config.run.seed}-{_now()}"
        reused = self.reuse and not self.overwrite and (manifest.settled(folder) / "config.toml").is_file()
        if reused:
            check_same_settings(config, folder, "choose another --run-dir, or --overwrite to replace it")
        if reused and read_summary(folder).get("status") == "completed":
            _show(read_summary(folder), folder, self.json)
            say(f"This run was completed before. To train anew, remove {folder} or pass --overwrite.")
            return 0
        use_caches()
        from ppo_jax.devices import cpu, processes
        from ppo_jax.runs import runner

        progress = not (self.json or self.quiet)
        with self.placement.joined():
            new = manifest.unused(folder) if self.run_dir is None and processes.leads() else nullcontext(folder)
            with new as folder, how_to_go_on(folder):
                cpu.prepare(config)
                if reused:
                    summary = runner.resume(
                        folder, settings_of_run(config, folder), progress=progress, warn=warn, trust=self.trust
                    )
                else:
                    summary = runner.train(config, folder, overwrite=self.overwrite, progress=progress, warn=warn)
        _show(summary, folder, self.json)
        return 0


@dataclass(frozen=True)
class Resume:
    """Go on with a run or a sweep that was stopped or killed, as if it had not been."""

    folder: RunFolder
    """Folder of the run or of the sweep."""
    assignments: Assignments = ()
    """total_timesteps=N makes the run longer; settings of [run], such as on_nan=skip, may change as well."""
    placement: Devices = field(default_factory=Devices)
    trust: Trust = False
    json: Switch = False
    """Print summary.json instead of tables, and no progress bar."""
    quiet: Switch = False
    """Show no progress bar; the results are printed all the same."""

    def run(self) -> int:
        use_caches()
        from ppo_jax.devices import cpu
        from ppo_jax.runs import run_folder, runner
        from ppo_jax.sweeps import sweep

        if sweep.holds_sweep(self.folder):
            if self.assignments:
                raise PPOJaxError(f"{self.folder}: settings cannot change in the middle of a sweep; sweep anew")
            return resume_sweep(self.folder, self.json, self.quiet, self.trust)
        summary = read_summary(manifest.settled(self.folder))
        if summary.get("status") == "completed" and not self.assignments:
            _show(summary, self.folder, self.json)
            say("This run is complete; to make it longer: --set total_timesteps=N")
            return 0
        progress = not (self.json or self.quiet)
        assignments = [*flat(self.assignments), *(f"{key}={value}" for key, value in self.placement.settings.items())]
        config = run_folder.read_config(self.folder).override(assignments)
        with self.placement.joined(), how_to_go_on(self.folder):
            cpu.prepare(config, config.run.devices or 1)
            summary = runner.resume(self.folder, assignments, progress=progress, warn=warn, trust=self.trust)
        _show(summary, self.folder, self.json)
        return 0


def _show(summary: dict[str, Any], folder: Path, as_json: bool) -> None:
    if not summary:
        return  # another process has it
    if as_json:
        print_json({"run": str(folder), **summary})
    else:
        show_run(summary, folder)


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
