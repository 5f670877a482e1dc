"""What a rule of diagnosis sees of a run, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppo_jax.analysis.logs import RunLog
from ppo_jax.results import look_up
from ppo_jax.tasks import results

__all__ = [
    "NO_UPDATE",
    "Hit",
    "Rule",
    "View",
    "changes_over_time",
    "look_up",
    "number",
    "overflow_allowed",
    "peak",
    "rule",
    "score",
]

NO_UPDATE = "no update is on record"
overflow_allowed = np.errstate(all="ignore")  # decorator: a run that blew up holds numbers whose sums overflow


@dataclass(frozen=True)
class Hit:
    """What a rule that fired has seen."""

    evidence: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # configuration keys -> values to try
    severity: str | None = None  # where it differs from the rule's
    confidence: float | None = None


@dataclass(frozen=True)
class Rule:
    """One fault: how it is seen, what it means, what to do."""

    id: str
    check: Callable[[View], Hit | None]
    severity: str  # "error": do not trust the run; "warning": it could be better; "info": worth knowing
    threshold: str
    cause: str
    advice: str
    source: str
    confidence: float
    columns: tuple[str, ...] = ()  # metrics it needs; "a|b" where either will do
    settings: tuple[str, ...] = ()  # configuration keys it needs
    records: tuple[str, ...] = ()  # what else it needs, names of `RECORDS`

    def lacks(self, view: View) -> str | None:
        """Why the rule cannot be judged on a run; None: it can."""
        if view.n_updates == 0 and self.columns:
            return NO_UPDATE
        missing = [name for name in self.columns if not any(view.has(one) for one in name.split("|"))]
        unknown = [key for key in self.settings if key not in view.log.settings]
        parts = [f"the log has no {name.replace('|', ' or ')}" for name in missing]
        parts += [RECORDS[name][1] for name in self.records if not RECORDS[name][0](view)]
        if unknown:
            parts.append(f"not known: {', '.join(unknown)} (give it with --set)")
        return "; ".join(parts) or None


def rule(id: str, severity: str, **fields: Any) -> Callable[[Callable[[View], Hit | None]], Rule]:
    """Decorator that makes a `Rule` of its check."""
    return lambda check: Rule(id=id, check=check, severity=severity, **fields)


@dataclass(frozen=True)
class View:
    """A run as the rules look at it: means over the whole run and its last fifth, trends, scores."""

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
        pairs = [(score(e, "value_error_valid"), score(e, "value_error_train")) for e in self.log.evaluations]
        return np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)

    def overlaps(self) -> Mapping[str, int]:
        """Queries that two splits share, by pair of splits; empty where it was not counted."""
        found = look_up(self.log.summary, "data", "overlaps")
        return {pair: n for pair, n in found.items() if isinstance(n, int)} if isinstance(found, Mapping) else {}

    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines with a test result."""
        found = self.log.summary.get("baselines")
        return tuple(found) if isinstance(found, Mapping) else ()

    def other_scores(self) -> np.ndarray:
        """Final scores of the other runs."""
        scores = [View(log).final_score() for log in self.others]
        return np.array([x for x in scores if x is not None and np.isfinite(x)], float)

    def final_score(self) -> float | None:
        """Test score, else the mean return over the last fifth; None where neither is on record."""
        score = _score(self.log.summary.get("test"))
        if score is None and self.has("episode_return_mean"):
            return self.tail("episode_return_mean")
        return score


# What a rule may need besides metrics and settings: whether it is there, and what to say where it is not.
RECORDS: dict[str, tuple[Callable[[View], bool], str]] = {
    "evaluations": (lambda v: v.scores().size >= 5, "fewer than five evaluations on record"),
    "value errors": (lambda v: v.value_errors().size > 0, "no value error on valid and training queries on record"),
    "overlaps": (lambda v: bool(v.overlaps()), "overlaps between the splits were not counted"),
    "baselines": (lambda v: bool(v.baselines()), "no test result beside baselines on record"),
    "other seeds": (lambda v: v.other_scores().size >= 3, "fewer than three other runs to compare with"),
}


def peak(value: Any) -> float:
    """Largest value of a setting that may be a schedule; NaN where it is unknown."""
    if isinstance(value, Mapping):
        return float(max(value.get("init", 0.0), value.get("final", 0.0)))
    return float("nan") if value is None else float(value)


def changes_over_time(value: Any) -> bool:
    """Whether a setting is a schedule that goes somewhere."""
    return isinstance(value, Mapping) and value.get("shape") != "constant" and value.get("init") != value.get("final")


def number(x: float) -> str:
    """Three significant digits."""
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def score(data: Any, *path: str) -> float | None:
    """A finite number at a path of nested JSON objects, as in ``score(summary, "test", "greedy", "mrr")``, or None."""
    value = look_up(data, *path)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _score(result: Any) -> float | None:
    """The headline of a result; None where it is not known."""
    path = next(iter(results.of(result).scores.values()))
    return score(result, *path)


def _span(update: np.ndarray) -> str:
    first, last = f"{update[0]:.0f}", f"{update[-1]:.0f}"
    return f"updates {first}–{last}" if first != last else f"update {last}"


def _fifth(n: int) -> int:
    return max(1, n // 5)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
