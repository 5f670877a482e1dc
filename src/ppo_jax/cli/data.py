"""The commands that say what there is: environments, data sets, the keys of a configuration."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from ppo_jax.cli.arguments import DataName, Switch
from ppo_jax.cli.console import output, print_json, say
from ppo_jax.cli.experiments import use_caches
from ppo_jax.cli.tables.data import show_data, show_data_check, show_environments, show_keys, show_suites
from ppo_jax.config import SECTIONS
from ppo_jax.config.checks import field_docs
from ppo_jax.types import PPOJaxError

__all__ = ["Data", "Envs", "Keys"]


Columns = Annotated[
    Literal["hrt", "rht", "htr"] | None,
    arg(
        metavar="ORDER",
        help="Order of the columns of triples: head, relation, tail (hrt), rht or htr.",
        help_behavior_hint="(default: as they look)",
    ),
]


@dataclass(frozen=True)
class Envs:
    """List the ids that env_id takes by suite: what each observes and does, and what it needs."""

    pattern: Positional[Annotated[str, arg(metavar="PATTERN", help_behavior_hint="(default: all)")]] = ""
    """A part of the id, in any case: minatar, proof, cart; a suite: brax, jumanji/snake; or module:Name of your own."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.tasks import describe
        from ppo_jax.tasks.suites import registry

        ids = describe.environment_ids(self.pattern)
        if not ids:
            meant = registry.other_name(self.pattern)
            hint = f"did you mean {meant}?" if meant else "`ppo-jax envs` lists all"
            raise PPOJaxError(f"no environment id holds {self.pattern!r}; {hint}")
        rows, lacking = describe.describe_all(ids)
        output(rows, self.json, show_environments)
        if lacking:
            say(f"warning: not listed, `ppo-jax envs ID` says why: {', '.join(lacking)}")
        if not self.pattern and not self.json:
            show_suites(registry.SUITES.values())
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
            say(f"wrote {', '.join(sorted(files))} to {self.out}", file=sys.stdout)
        return 0


@dataclass(frozen=True)
class Check:
    """Read a data set and say what is wrong or odd about it, and how much of test has its like in train.

    Exits with 2 where it cannot be used.
    """

    name: DataName
    """A folder with train.txt, valid.txt, test.txt and rules, or the name of a built-in data set."""
    rules: Annotated[str, arg(metavar="FILE")] = "rules.txt"
    """Name of the rule file in the data set, or path of another."""
    columns: Columns = None
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.proving import datasets
        from ppo_jax.proving.leakage import leaked

        dataset = datasets.load(self.name, self.rules, columns=self.columns, require_rules=False)
        found = datasets.describe(dataset) | {"leakage": leaked(dataset)}
        output(found, self.json, show_data_check)
        return 0


@dataclass(frozen=True)
class Describe:
    """Count what a data set holds, and with rules how much of it can be proved."""

    name: DataName
    """A folder with train.txt, valid.txt, test.txt and rules, or the name of a built-in data set."""
    rules: Annotated[str, arg(metavar="FILE")] = "rules.txt"
    """Name of the rule file in the data set, or path of another."""
    columns: Columns = None
    json: Switch = False
    """Print JSON, with all rules."""

    def run(self) -> int:
        use_caches()
        from ppo_jax.proving.task import describe_data
        from ppo_jax.runs.loggers import show_stage

        found = describe_data(self.name, self.rules, self.columns, show_stage)
        output(found, self.json, show_data)
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
    """A part of the key or of its section, or else of what is said of it: rate, evaluation, entropy."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        every, wanted = _describe_keys(), self.pattern.lower()
        rows = [row for row in every if wanted in f"{row['section']}.{row['key']}"]
        rows = rows or [row for row in every if wanted in row["meaning"].lower()]
        if not rows:
            raise PPOJaxError(f"no key and no explanation holds {self.pattern!r}; `ppo-jax config` lists all")
        output(rows, self.json, show_keys)
        return 0


def _describe_keys() -> list[dict[str, Any]]:
    """Section, key, default and meaning of every configuration key."""
    rows = []
    for section, cls in SECTIONS.items():
        docs = field_docs(cls)
        for field in dataclasses.fields(cls):
            row = {"section": section, "key": field.name, "default": field.default, "meaning": docs.get(field.name, "")}
            rows.append(row)
    return rows
