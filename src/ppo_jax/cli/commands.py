"""The command line ``ppo-jax``: arguments and dispatch. What is printed is made in `ppo_jax.cli.tables`.

Each command is a data class: its fields are the arguments, the docstrings below them the help. Modules that import
JAX are imported where a command needs them, so help and mistakes answer at once.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg

from ppo_jax.cli import tables
from ppo_jax.cli.analyse import Compare, Diagnose, Report, Validate
from ppo_jax.cli.arguments import (
    Assignments,
    DataName,
    RunFolder,
    Switch,
    describe_mistake,
    explain,
    flat,
    output,
    print_json,
    use_caches,
)
from ppo_jax.cli.bench import Bench
from ppo_jax.cli.prove import Export, Play, Prove
from ppo_jax.cli.sweep import Extract, Sweep, Tune
from ppo_jax.cli.train import Resume, Train
from ppo_jax.types import PPOJaxError

__all__ = ["main"]


@dataclass(frozen=True)
class Evaluate:
    """Judge the policy of a run again."""

    folder: RunFolder
    """Folder of the run."""
    split: Literal["valid", "test"] = "valid"
    """Queries to judge on; tasks other than proving differ in their random numbers alone."""
    protocol: Literal["greedy", "marginal", "both"] = "both"
    """Proof tasks: follow the most likely action, or sum the probability of all proofs."""
    last: Switch = False
    """Judge the last parameters; otherwise those best on valid."""
    assignments: Assignments = ()
    """Settings of the evaluation other than the run's, such as beam_width=256 or mask_end=true."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        use_caches()
        from ppo_jax.runs import runner

        which = "last" if self.last else "best"
        experiment, params = runner.load(self.folder, which, flat(self.assignments))
        protocols = None if self.protocol == "both" else (self.protocol,)
        result = experiment.evaluate(params, self.split, protocols)
        if self.json:
            print_json({"run": str(self.folder), "parameters": which, "split": self.split, **result})
        else:
            tables.show_results({f"trained ({which})": result})
        return 0


@dataclass(frozen=True)
class Envs:
    """List the ids that env_id takes, what each observes and what it does."""

    pattern: Positional[Annotated[str, arg(metavar="PATTERN", help_behavior_hint="(default: all)")]] = ""
    """A part of the id, in any case: minatar, proof, cart."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.tasks import gymnax

        ids = [name for name in gymnax.environment_ids() if self.pattern.lower() in name.lower()]
        if not ids:
            raise PPOJaxError(f"no environment id holds {self.pattern!r}; `ppo-jax envs` lists all")
        rows = [gymnax.describe(name) for name in ids]
        output(rows, self.json, tables.show_environments)
        return 0


@dataclass(frozen=True)
class Build:
    """Write a built-in data set to a folder."""

    name: Positional[Annotated[str, arg(metavar="NAME", help_behavior_hint="")]]
    """countries_s1, countries_s2, countries_s3, countries_s3_clean or countries_s3_full."""
    out: Annotated[Path, arg(metavar="FOLDER", help_behavior_hint="(required)")]
    """Where it is written."""
    split_seed: Annotated[int | None, arg(metavar="K", help_behavior_hint="(default: the published split)")] = None
    """Hold out other countries, drawn with this seed; the task Proof-NAME@K is the same without a folder."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.proving import datasets

        files = datasets.build_countries(self.name, self.split_seed)
        datasets.write_folder(files, self.out)
        if self.json:
            print_json({"folder": str(self.out), "files": sorted(files)})
        else:
            tables.say(f"wrote {', '.join(sorted(files))} to {self.out}", file=sys.stdout)
        return 0


@dataclass(frozen=True)
class Check:
    """Read a data set and say what is wrong or odd about it. Exits with 2 where it cannot be used."""

    name: DataName
    """A folder with train.txt, valid.txt, test.txt and rules, or the name of a built-in data set."""
    rules: Annotated[str, arg(metavar="FILE")] = "rules.txt"
    """Name of the rule file in the data set, or path of another."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.proving import datasets

        found = datasets.describe(datasets.load(self.name, self.rules))
        output(found, self.json, tables.show_data_check)
        return 0


@dataclass(frozen=True)
class Describe:
    """Count what a data set holds, and how much of it can be proved."""

    name: DataName
    """A folder with train.txt, valid.txt, test.txt and rules, or the name of a built-in data set."""
    rules: Annotated[str, arg(metavar="FILE")] = "rules.txt"
    """Name of the rule file in the data set, or path of another."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        use_caches()
        from ppo_jax.proving.task import describe_data

        found = describe_data(self.name, self.rules)
        output(found, self.json, tables.show_data)
        return 0


@dataclass(frozen=True)
class Data:
    """Data sets of facts, rules and queries: build, check, describe."""

    command: (
        Annotated[Build, tyro.conf.subcommand("build")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[Describe, tyro.conf.subcommand("describe")]
    )

    def run(self) -> int:
        return self.command.run()


@dataclass(frozen=True)
class Keys:
    """List and explain the keys of a configuration: those of a TOML file and of --set."""

    pattern: Positional[Annotated[str, arg(metavar="PATTERN", help_behavior_hint="(default: all)")]] = ""
    """A part of the key or of its section: rate, normalize, evaluation."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        rows = [row for row in tables.describe_keys() if self.pattern in f"{row['section']}.{row['key']}"]
        if not rows:
            raise PPOJaxError(f"no key holds {self.pattern!r}; `ppo-jax config` lists all")
        output(rows, self.json, tables.show_keys)
        return 0


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Extract, tyro.conf.subcommand("sweep extract")]
    | Annotated[Tune, tyro.conf.subcommand("tune")]
    | Annotated[Evaluate, tyro.conf.subcommand("eval")]
    | Annotated[Prove, tyro.conf.subcommand("prove")]
    | Annotated[Play, tyro.conf.subcommand("play")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Envs, tyro.conf.subcommand("envs")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Keys, tyro.conf.subcommand("config")]
)

DESCRIPTION = """PPO in JAX: train a policy in one XLA program, on knowledge-graph proofs or on any gymnax environment.

Begin with `ppo-jax train experiments/cartpole.toml`; `ppo-jax <command> --help` explains a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; `arguments` are those after ``ppo-jax``, by default the process's own.

    Returns:
        The exit code: 0; 1 where a query was not proved, a diagnosis found errors, a validation failed or
        another process of the run was lost; 2 after a mistake of the user's, in one line; 130 after Ctrl-C, 143 after
        SIGTERM.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # import paths in a configuration begin where the user stands
    if arguments is None:
        atexit.register(gc.freeze)  # Python would look through all that JAX made for cycles: 0.3 s of 8 on Countries S3
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:2] == ["sweep", "extract"]:  # a command of two words beside `sweep CONFIG`
        arguments[:2] = ["sweep extract"]
    try:
        code = _parse(arguments).run()
        sys.stdout.flush()
        return code
    except BaseException as error:
        return explain(error)


def _parse(arguments: list[str]) -> Any:
    """The command that the arguments name, after tyro's help where they ask for it."""
    with redirect_stderr(io.StringIO()) as said:
        try:
            return tyro.cli(
                Command,
                args=arguments,
                prog="ppo-jax",
                description=DESCRIPTION,
                config=(OmitArgPrefixes, OmitSubcommandPrefixes, FlagCreatePairsOff),
            )
        except SystemExit as error:
            if error.code:
                raise PPOJaxError(describe_mistake(said.getvalue(), arguments)) from None
            raise
