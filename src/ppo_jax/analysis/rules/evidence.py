"""What a run shows to the rules of diagnosis."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_jax.analysis.readers import RunLog
from ppo_jax.results import look_up
from ppo_jax.runs.metric_table import METRICS
from ppo_jax.tasks import results

__all__ = ["STANDARD", "Evidence", "look_up", "number_at", "overflow_allowed"]

overflow_allowed = np.errstate(all="ignore")  # decorator: a run that blew up holds numbers whose sums overflow

STANDARD = {"update", "env_steps", *(metric.name for metric in METRICS)}  # columns that every run may have


@dataclass(frozen=True)
class Evidence:
    """What a run shows: means over the whole run and its last fifth, trends, scores."""

    log: RunLog
    others: Sequence[RunLog] = ()  # further seeds of the same experiment

    @property
    def n_updates(self) -> int:
        return self.log.n_updates

    def setting(self, key: str) -> Any:
        """A configuration value; None where it is unknown or unset."""
        return self.log.settings.get(key)

    def has(self, name: str) -> bool:
        """Whether a metric was ever measured."""
        return name in self.log.columns and bool(np.isfinite(self.log.columns[name]).any())

    @property
    def own_metrics(self) -> list[str]:
        """Measured metrics that are the user's own: of a loss or an environment. Of other trainers' logs none."""
        if self.log.kind != "ppo_jax":
            return []
        return [name for name in self.log.columns if name not in STANDARD and self.has(name)]

    def series(self, name: str) -> np.ndarray:
        """A metric over the updates [U]; NaN where it was not measured."""
        return self.log.columns[name] if name in self.log.columns else np.full(self.n_updates, np.nan)

    def finite(self, name: str) -> np.ndarray:
        """The measured values of a metric."""
        values = self.series(name)
        return values[np.isfinite(values)]

    def mean(self, name: str) -> float:
        """Mean of the measured values; NaN where there are none."""
        return _mean(self.finite(name))

    def tail(self, name: str) -> float:
        """Mean over the last fifth of the updates; over all measured values where none is that late."""
        late = self.series(name)[-_fifth(self.n_updates) :]
        late = late[np.isfinite(late)]
        return _mean(late) if late.size else self.mean(name)

    def mean_or_none(self, name: str) -> float | None:
        """`mean`; None where the metric was never measured."""
        return self.mean(name) if self.has(name) else None

    def tail_or_none(self, name: str) -> float | None:
        """`tail`; None where the metric was never measured."""
        return self.tail(name) if self.has(name) else None

    def head(self, name: str) -> np.ndarray:
        """The values measured in the first fifth of the updates."""
        early = self.series(name)[: _fifth(self.n_updates)]
        return early[np.isfinite(early)]

    def last_fifth(self) -> str:
        """The updates that `tail` averages, in words."""
        update = self.log.columns["update"]
        return _span(update[-_fifth(self.n_updates) :])

    def whole(self) -> str:
        """All updates, in words."""
        update = self.log.columns["update"]
        return _span(update)

    def longest_episode(self) -> float:
        """Largest mean episode length of an update."""
        return float(self.finite("episode_length_mean").max(initial=0.0))

    def improvement(self) -> float:
        """Rise of the mean return from the first tenth of the run to its last fifth, in standard deviations.

        The standard deviation is that of an update's mean around the run's trend; NaN where returns are not on record.
        """
        returns = self.finite("episode_return_mean")
        if returns.size < 5:
            return float("nan")
        early, late = returns[: max(1, returns.size // 10)], returns[-_fifth(returns.size) :]
        noise = float(np.std(np.diff(returns))) / np.sqrt(2.0)
        return float((late.mean() - early.mean()) / max(noise, 1e-9 * max(1.0, np.abs(returns).max())))

    def dead(self) -> bool:
        """Whether the mean return never changes: there is nothing to learn from."""
        returns = self.finite("episode_return_mean")
        return returns.size > 1 and float(np.ptp(returns)) <= 1e-6 * max(1.0, float(np.abs(returns).max()))

    def trend(self, share: float) -> float:
        """Rise of the mean return over the last `share` of the run by a straight line, as part of its whole range.

        0 where fewer than ten updates have finished episodes.
        """
        returns = self.finite("episode_return_mean")
        window = returns[-max(3, round(share * returns.size)) :]
        if returns.size < 10 or np.ptp(returns) <= 0.0:
            return 0.0
        at = np.linspace(-0.5, 0.5, window.size)
        return float(at @ (window - window.mean()) / (at @ at) / np.ptp(returns))

    def scores(self) -> np.ndarray:
        """The headline of each evaluation on valid."""
        return np.array([x for x in map(_score, self.log.evaluations) if x is not None], float)

    def value_errors(self) -> np.ndarray:
        """Value error on valid and on training queries of each evaluation that has both [n, 2]."""
        pairs = [(number_at(e, "value_error_valid"), number_at(e, "value_error_train")) for e in self.log.evaluations]
        return np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)

    def overlaps(self) -> Mapping[str, int]:
        """Queries that two splits share, by pair of splits; empty where it was not counted."""
        counted = look_up(self.log.summary, "data", "overlaps")
        return {pair: n for pair, n in counted.items() if isinstance(n, int)} if isinstance(counted, Mapping) else {}

    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines with a test result."""
        results = self.log.summary.get("baselines")
        return tuple(results) if isinstance(results, Mapping) else ()

    def other_scores(self) -> np.ndarray:
        """Final scores of the other runs."""
        scores = [Evidence(log).final_score() for log in self.others]
        return np.array([x for x in scores if x is not None and np.isfinite(x)], float)

    def final_score(self) -> float | None:
        """Test score, else the mean return over the last fifth; None where neither is on record."""
        score = _score(self.log.summary.get("test"))
        return self.tail_or_none("episode_return_mean") if score is None else score


def number_at(data: Any, *path: str) -> float | None:
    """A finite number at a path of nested JSON objects, as in ``number_at(summary, "test", "greedy", "mrr")``.

    None where there is no such number.
    """
    value = look_up(data, *path)
    return float(value) if isinstance(value, int | float) and abs(value) <= sys.float_info.max else None


def _score(result: Any) -> float | None:
    """The headline of a result; None where it is not known."""
    path = next(iter(results.of(result).scores.values()))
    return number_at(result, *path)


def _span(update: np.ndarray) -> str:
    first, last = f"{update[0]:.0f}", f"{update[-1]:.0f}"
    return f"updates {first}–{last}" if first != last else f"update {last}"


def _fifth(n: int) -> int:
    return max(1, n // 5)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
