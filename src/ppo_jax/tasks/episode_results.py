"""How the results of an episode task are read and shown; JAX is not needed for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ppo_jax.results import Metric, Path, Results, Table, baseline_name, number

__all__ = ["FEWEST_EPISODES", "EpisodeTaskResults"]

Json = Mapping[str, Any]
FEWEST_EPISODES = 10  # of a comparison: by fewer, chance decides


class EpisodeTaskResults(Results):
    """A result holds the mean return of whole episodes, its spread, their mean length and how many there were."""

    scores: ClassVar[Mapping[str, Path]] = {"return": ("return_mean",)}
    compared: ClassVar[Mapping[str, Path]] = {"return": ("return_mean",)}
    form = ".2f"
    judged_on = "episodes"
    metrics: ClassVar[Mapping[str, tuple[Metric, ...]]] = {
        "": (
            Metric("return_mean", "return", "mean undiscounted return of whole episodes; null if none ended"),
            Metric("return_std", "return", "std of these returns over the episodes"),
            Metric("length_mean", "steps", "mean length of the episodes"),
            Metric("episodes", "episodes", "how many ended"),
        )
    }

    def baseline_rows(self, baselines: Json) -> dict[str, Json]:
        """The random policy; older runs have none."""
        return {baseline_name(name): result for name, result in baselines.items()}

    def verdict(self, test: Json, baselines: Json) -> str:
        """Which baselines the trained policy does not beat, chance of the episodes included; none by few episodes."""
        counts = {"test": test["episodes"]} | {name: result["episodes"] for name, result in baselines.items()}
        if min(counts.values()) < FEWEST_EPISODES:
            rests = ", ".join(f"{baseline_name(name)} {n}" for name, n in counts.items())
            return f"Too few episodes to compare ({rests}): {FEWEST_EPISODES} of each are needed, by eval_episodes."
        near = [
            f"{baseline_name(name)} {number(result['return_mean'], self.form)}"
            for name, result in baselines.items()
            if 0.0 < _difference(test, result) < 2.0 * _error(test, result)
        ]
        if not near:
            return super().verdict(test, baselines)
        own = number(test["return_mean"], self.form)
        return f"Not told apart from without learning: return {own} ({', '.join(near)}), within two standard errors."

    def table(self, rows: Mapping[str, Json]) -> Table:
        """Mean return and its standard deviation over the episodes, mean length, how many episodes."""
        keys = ("return_mean", "return_std", "length_mean")
        cells = (
            (name, *(number(result[key], self.form) for key in keys), str(result["episodes"]))
            for name, result in rows.items()
        )
        return Table(("", "return", "± std", "length", "episodes"), tuple(cells))

    def notes(self, rows: Mapping[str, Json]) -> list[str]:
        """That no episode ended, where none did: there is nothing to judge by then."""
        endless = [name for name, result in rows.items() if result["episodes"] == 0]
        if not endless:
            return []
        return [f"No episode ended ({', '.join(endless)}): end it in the environment, or cut it (truncated)."]

    def data_note(self, data: Json) -> str | None:
        """Nothing: there is no data."""
        return None


def _difference(a: Json, b: Json) -> float:
    return float(a["return_mean"] - b["return_mean"])


def _error(a: Json, b: Json) -> float:
    """Standard error of the difference of two mean returns."""
    return math.sqrt(sum(one["return_std"] ** 2 / one["episodes"] for one in (a, b)))
