"""The command that begins an experiment of your own: init."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ppo_jax.cli.arguments import Switch, check_new
from ppo_jax.cli.console import print_json, say
from ppo_jax.config.experiments import experiment_file, experiment_names, read_experiment
from ppo_jax.config.toml import write_toml
from ppo_jax.runs.files import write_atomically

__all__ = ["Init"]


@dataclass(frozen=True)
class Init:
    """Copy an experiment, to be edited and trained."""

    name: Positional[Annotated[str, arg(metavar="NAME")]] = "cartpole"
    """An experiment that comes with ppo_jax, or an environment such as MountainCar-v0, with settings to begin with."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NAME.toml, here)")] = None
    """Where it is written; a new file."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        source = experiment_file(self.name)
        tables = read_experiment(self.name)
        text = source.read_text(encoding="utf-8") if source else write_toml(tables)
        out = self.out or Path(f"{source.stem if source else self.name.replace('/', '-').replace(':', '-')}.toml")
        check_new(out)
        write_atomically(out, text)
        if self.json:
            print_json({"file": str(out), "experiments": experiment_names()})
        else:
            say(f"wrote {out}; train it with: ppo-jax train {out}", sys.stdout)
            say(f"experiments to copy: {', '.join(experiment_names())}", sys.stdout)
        return 0
