"""Runs put together by configuration: the seeds of one configuration are one set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.config import OPEN_TABLES
from ppo_jax.tasks import results

__all__ = ["OWN_SETTINGS", "RunSet", "differing_settings", "flat_configuration", "gather_run_sets"]

OWN_SETTINGS = {"seed", "tensorboard", "wandb", "wandb_project"}  # in which runs of one configuration may differ


@dataclass(frozen=True)
class RunSet:
    """Runs of one configuration that differ in their seed alone."""

    name: str  # what the names of its runs have in common
    logs: tuple[RunLog, ...]  # of its runs

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.logs[0].settings

    @property
    def configuration(self) -> Mapping[str, Any]:
        """As `flat_configuration` of its runs."""
        return flat_configuration(self.logs[0])

    @property
    def env_id(self) -> str | None:
        """The id of the environment; None where it is not known, or a folder's."""
        known = (self.settings.get("env_id"), *(log.summary.get("env_id") for log in self.logs))
        return next((one for one in known if isinstance(one, str)), None)

    @property
    def proves(self) -> bool:
        """Whether the task is to prove queries."""
        return any(Evidence(log).task is results.PROOFS for log in self.logs)


def gather_run_sets(logs: Sequence[RunLog]) -> tuple[RunSet, ...]:
    """Put runs together whose configurations differ in their seed alone, in the order given.

    A seed counts once: a run that is given twice, or was repeated, begins a set of its own. Runs of other trainers
    stand alone: their logs do not tell their whole configuration.
    """
    gathered: list[list[RunLog]] = []
    for log in logs:
        own_set = next((seeds for seeds in gathered if _another_seed(log, seeds)), None)
        if own_set is None:
            gathered.append([log])
        else:
            own_set.append(log)
    names: list[str] = []
    for seeds in gathered:
        name = _common_name(seeds)
        repeats = sum(re.sub(r" \(\d+\)$", "", other) == name for other in names)
        names.append(f"{name} ({repeats + 1})" if repeats else name)
    return tuple(RunSet(name, tuple(seeds)) for name, seeds in zip(names, gathered, strict=True))


def flat_configuration(log: RunLog) -> dict[str, Any]:
    """The settings of a run one by one: also those of a table whose keys are the user's, as ``loss_coefs.name``.

    What Python gave stands in place of the setting, or beside the others. The code that an import path leads to is
    told apart from other code of the same name.
    """
    flat = {key: value for key, value in log.settings.items() if key not in OPEN_TABLES}
    for table in OPEN_TABLES:
        flat |= {f"{table}.{name}": value for name, value in (log.settings.get(table) or {}).items()}
    flat |= {f"code of {name}": told for name, told in log.code.items()}
    return flat | {name: f"{told} (Python)" for name, told in log.given.items()}


def differing_settings(a: RunLog, b: RunLog) -> list[str]:
    """Keys of `flat_configuration`, in its order, in which two runs differ that are no seeds of one configuration."""
    ours, theirs = flat_configuration(a), flat_configuration(b)
    return [key for key in {**ours, **theirs} if key not in OWN_SETTINGS and ours.get(key) != theirs.get(key)]


def _another_seed(log: RunLog, seeds: Sequence[RunLog]) -> bool:
    seed = log.settings.get("seed")
    known = seed is not None and any(seed == other.settings.get("seed") for other in seeds)
    return _same_configuration(log, seeds[0]) and not known


def _same_configuration(a: RunLog, b: RunLog) -> bool:
    return a.kind == b.kind == "ppo_jax" and bool(a.settings) and not differing_settings(a, b)


def _common_name(logs: Sequence[RunLog]) -> str:
    """What the names of the runs begin with, less the mark of a seed."""
    if len(logs) == 1:
        return logs[0].name
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*(log.name for log in logs), strict=False))
    common = "".join(letters[0] for letters in alike)
    return re.sub(r"[-_ .]*(s|seed)?[-_=]?\d*$", "", common) or common or logs[0].name
