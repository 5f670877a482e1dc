"""How the results of one kind of task are read and shown: plain data in, plain strings out.

Runs are shown and analysed from their files, without building the task, so nothing here needs JAX.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

__all__ = ["Judged", "Metric", "Path", "Played", "Results", "Table", "baseline_name", "look_up", "number"]

Json = Mapping[str, Any]
Path = tuple[str, ...]  # keys that lead to a number in nested JSON objects


class Metric(NamedTuple):
    """One number that a run measures."""

    name: str  # its key
    unit: str  # "1" of shares and ratios; empty where there is none
    meaning: str  # a phrase


class Judged(NamedTuple):
    """What the test of a policy leaves in a run."""

    result: dict[str, Any]  # as of an evaluation
    files: dict[str, list[dict[str, Any]]]  # file name in the run's folder -> its lines, JSON objects


class Played(NamedTuple):
    """A policy watched."""

    record: dict[str, Any]  # JSON data: ``episodes`` or ``proofs``
    gif: bytes | None  # of a task that has pictures


class Table(NamedTuple):
    """A table of results. The first column names the row, the others hold numbers."""

    headers: tuple[str, ...]  # one that breaks has a group of columns above its name
    rows: tuple[tuple[str, ...], ...]  # each as long as the headers


class Results(ABC):
    """Reads the results of one kind of task.

    A result is what `ppo_jax.tasks.task.Task.evaluate` returns, as it is stored in ``summary.json`` and ``eval.jsonl``.
    """

    scores: ClassVar[Mapping[str, Path]]
    """Where in a result the numbers lie that choose the best parameters, by label: the first is the headline, the
    others break ties. More is better."""
    compared: ClassVar[Mapping[str, Path]]
    """The numbers that are held against the baselines, by label; more is better."""
    form: ClassVar[str]
    """Format of one of these numbers."""
    judged_on: ClassVar[str] = "queries"
    """What a split holds."""
    metrics: ClassVar[Mapping[str, tuple[Metric, ...]]]
    """What a result holds, in nested objects under the paths that are the keys; those of "" are its own."""
    files: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """What a line of each file holds that a test leaves in a run: field -> meaning. Those of an object in a field stand
    behind a dot, those of the objects of a list behind ``[].``."""

    def score(self, result: Json) -> tuple[float, ...]:
        """The scores of a result, to compare results with; -inf for one that is unknown."""
        values = (look_up(result, *path) for path in self.scores.values())
        return tuple(-math.inf if value is None or math.isnan(value) else float(value) for value in values)

    def headline(self, result: Json) -> str:
        """Label and value of the first score."""
        label, path = next(iter(self.scores.items()))
        return f"{label} {number(look_up(result, *path), self.form)}"

    def verdict(self, test: Json, baselines: Json) -> str:
        """Which baselines the trained policy does not beat, in a sentence."""
        beaten, unbeaten = [], []
        for label, path in self.compared.items():
            own = look_up(test, *path)
            others = {baseline_name(name): look_up(result, *path) for name, result in baselines.items()}
            better = [
                f"{name} {number(value, self.form)}"
                for name, value in others.items()
                if value is not None and (own is None or own <= value)
            ]
            if better:
                unbeaten.append(f"{label} {number(own, self.form)} ({', '.join(better)})")
            elif own is not None:
                beaten.append(label)
        if not unbeaten:
            return "Better than every baseline."
        said = f"better than without learning: {'; '.join(unbeaten)}."
        return f"Better than every baseline by {', '.join(beaten)}; not {said}" if beaten else f"Not {said}"

    def rows(self, summary: Json) -> dict[str, Json]:
        """The results of a completed run that its table shows, by the name of their row."""
        trained = {"trained (best)": summary["test"], "trained (last)": summary["test_last"]}
        return trained | self.baseline_rows(summary.get("baselines", {}))

    @abstractmethod
    def baseline_rows(self, baselines: Json) -> dict[str, Json]:
        """The results of the baselines, by the name of their row; empty where a run has none."""

    @abstractmethod
    def table(self, rows: Mapping[str, Json]) -> Table:
        """A table of results, by the name of their row."""

    @abstractmethod
    def notes(self, rows: Mapping[str, Json]) -> list[str]:
        """Lines below the table: how the numbers were measured."""

    @abstractmethod
    def data_note(self, data: Json) -> str | None:
        """What the data allows, a sentence about ``data`` of a summary; None where there is nothing to say."""


def baseline_name(key: str) -> str:
    """What people read for a baseline, by its key in ``summary.json``."""
    return {"random": "random policy", "uniform": "uniform policy"}.get(key, key.replace("_", " "))


def look_up(data: Any, *path: str) -> Any:
    """What lies at a path of nested JSON objects; None where one is missing or something else."""
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def number(value: float | None, form: str = ".3f") -> str:
    """A number in a table; a dash for one that is unknown."""
    return "–" if value is None else f"{value:{form}}"
