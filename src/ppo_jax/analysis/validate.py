"""The validation plan: what finished runs must show, each point PASS or FAIL. Reads, never trains.

The plan's limits were measured on one benchmark, Countries S3. Runs of any other task are held against those limits
alone that the user gives; without one a number is information.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppo_jax.analysis.healthy_ranges import EXPLAINED_VARIANCE_GOOD, PROOF_VALUE_LOSS_GOOD
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.rules.evidence import Evidence, number_at, overflow_allowed
from ppo_jax.config.checks import convert
from ppo_jax.config.suggestions import nearest
from ppo_jax.config.toml import parse_assignment, read_toml
from ppo_jax.proving.results import ANSWERS
from ppo_jax.types import PPOJaxError

__all__ = [
    "BENCHMARK",
    "FAIL",
    "INFORMATION",
    "NOT_JUDGED",
    "PASS",
    "Check",
    "Thresholds",
    "passed",
    "read_limits",
    "to_dict",
    "validate",
]

PASS, FAIL, NOT_JUDGED, INFORMATION = "PASS", "FAIL", "not judged", ""
BENCHMARK = "Proof-countries_s3"  # where the plan's limits were measured, by ground queries
PROTOCOL = "greedy protocol, or answers to open queries"


@dataclass(frozen=True)
class Thresholds:
    """Limits, by default the plan's; None: no limit. "At the end" is the mean over the last fifth of the updates."""

    explained_variance: float | None = EXPLAINED_VARIANCE_GOOD
    """Above this at the end."""
    value_loss: float | None = PROOF_VALUE_LOSS_GOOD
    """Below this at the end."""
    entropy_left: float | None = 1.0
    """The normalised entropy at the end is below this share of its first value."""
    entropy_rise: float | None = 0.1
    """The normalised entropy rises above its running minimum by at most this share of its first value."""
    early_stopped: float | None = 0.0
    """At most this share of the updates is cut short by the KL limit."""
    mrr: float | None = 0.85
    """MRR on test above this, and above the untrained networks': of greedy proofs, or of answers to open queries."""

    @classmethod
    def of_task(cls, env_id: str | None, given: Mapping[str, float] | None = None) -> Thresholds:
        """Those of a task: the plan's for the benchmark that they come from, for any other none but those given.

        Args:
            env_id: of runs that prove ground queries; None: not known, a folder of the user's, or open queries.
            given: limits by key, as of `read_limits`; they have the last word.
        """
        limits = cls() if env_id == BENCHMARK else cls(**dict.fromkeys(_keys()))
        return dataclasses.replace(limits, **(given or {}))

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(getattr(self, key) is not None for key in _keys())


def _keys() -> list[str]:
    return [field.name for field in dataclasses.fields(Thresholds)]


def read_limits(assignments: Iterable[str]) -> dict[str, float]:
    """Limits by key from strings such as ``"mrr=0.9"``, or ``"limits.toml"`` for a file of such lines; the last wins.

    Raises:
        PPOJaxError: neither, a file that cannot be read, an unknown key (names the nearest), or no number.
    """
    limits: dict[str, float] = {}
    for text in assignments:
        if "=" in text:
            table, place = dict([parse_assignment(text)]), "thresholds"
        elif text.endswith(".toml"):
            table, place = read_toml(Path(text)), text
        else:
            raise PPOJaxError(f"thresholds: {text}: expected key=value, such as mrr=0.9, or a file.toml of them")
        for key, value in table.items():
            if key not in _keys():
                raise PPOJaxError(f"{place}: unknown key {key!r}; {nearest(key, _keys())}")
            limits[key] = convert(value, float, f"{place}.{key}")
    return limits


class Check(NamedTuple):
    """One line of the table."""

    name: str  # what is checked
    limit: str  # "> 0.7"; empty for information
    values: tuple[float | None, ...]  # of each run; None where it is not on record
    detail: str = ""  # how the number is taken
    baseline: tuple[float | None, ...] = ()  # of each run, where the limit is a baseline's number
    kept: tuple[bool | None, ...] = ()  # of each run, whether it keeps the limit; None where that is not known

    @property
    def verdict(self) -> str:
        """PASS: every run keeps the limit; FAIL: one does not; NOT_JUDGED: one lacks the number; else INFORMATION."""
        if not self.limit:
            return INFORMATION
        if False in self.kept:
            return FAIL
        return PASS if self.kept and None not in self.kept else NOT_JUDGED


@overflow_allowed
def validate(logs: Sequence[RunLog], thresholds: Thresholds | None = None) -> tuple[Check, ...]:
    """Hold finished runs, usually seeds of one configuration, against limits.

    Args:
        logs: the runs; of one that did not complete nothing is judged.
        thresholds: by default the plan's; `Thresholds.of_task` has those of a task.

    Returns:
        The checks, those without a limit as information; then other numbers of the policy and the baselines.
    """
    limits = Thresholds() if thresholds is None else thresholds
    mrr = tuple(_mrr(log, "test") for log in logs)
    untrained = tuple(_mrr(log, "baselines", "untrained") for log in logs)
    checks = [_check(one, logs, getattr(limits, one.key)) for one in _PLAN]
    if limits.mrr is not None:
        kept = tuple(map(_keeps(">"), mrr, untrained))
        checks.append(Check("test MRR", "> untrained", mrr, PROTOCOL, untrained, kept))
    return (*checks, *_information(logs))


def passed(checks: Sequence[Check]) -> bool:
    """Whether every check was judged and passed."""
    return all(check.verdict in (PASS, INFORMATION) for check in checks)


def to_dict(checks: Sequence[Check]) -> dict[str, Any]:
    """The table as JSON data."""
    return {"passed": passed(checks), "checks": [check._asdict() | {"verdict": check.verdict} for check in checks]}


def _check(point: _Point, logs: Sequence[RunLog], limit: float | None) -> Check:
    values = tuple(point.number(log) if _finished(log) else None for log in logs)
    if limit is None:
        return Check(point.name, "", values, point.detail)
    kept = tuple(_keeps(point.sign)(value, limit) for value in values)
    return Check(point.name, f"{point.sign} {limit:g}", values, point.detail, kept=kept)


def _keeps(sign: str) -> Callable[[float | None, float | None], bool | None]:
    keeps = {">": np.greater, "<": np.less, "≤": np.less_equal}[sign]
    return lambda value, limit: None if value is None or limit is None else bool(keeps(value, limit))


def _information(logs: Sequence[RunLog]) -> list[Check]:
    rows = {
        "test marginal MRR": ("test", "marginal", "mrr"),
        "test marginal AUC-PR": ("test", "marginal", "auc_pr"),
        "true queries proved": ("test", "greedy", "proved_positive"),
        "false queries proved": ("test", "greedy", "proved_negative"),
        "untrained: MRR": ("baselines", "untrained", "greedy", "mrr"),
        "untrained: marginal AUC-PR": ("baselines", "untrained", "marginal", "auc_pr"),
        "uniform policy: marginal MRR": ("baselines", "uniform", "marginal", "mrr"),
        "uniform policy: marginal AUC-PR": ("baselines", "uniform", "marginal", "auc_pr"),
        "shortest proof: MRR": ("baselines", "shortest_proof", "greedy", "mrr"),
    }
    known = [Check(name, "", tuple(number_at(log.summary, *path) for log in logs)) for name, path in rows.items()]
    speed = tuple(number_at(log.summary, "steps_per_second") for log in logs)
    known.append(Check("environment steps a second", "", speed, "of training alone"))
    return [check for check in known if any(value is not None for value in check.values)]


def _finished(log: RunLog) -> bool:
    """Only our own runs say whether they completed; another trainer's log is taken as it is."""
    return log.kind != "ppo_jax" or log.summary.get("status") == "completed"


def _mrr(log: RunLog, *path: str) -> float | None:
    """Of greedy proofs; of a run that answers open queries, of its answers."""
    found = (number_at(log.summary, *path, protocol, "mrr") for protocol in ("greedy", ANSWERS))
    return next((x for x in found if x is not None), None) if _finished(log) else None


def _at_end(name: str) -> Callable[[RunLog], float | None]:
    return lambda log: Evidence(log).tail_or_none(name)


def _entropy_left(log: RunLog) -> float | None:
    run = Evidence(log)
    entropy = run.finite("entropy_normalized")
    return run.tail("entropy_normalized") / max(float(entropy[0]), 1e-12) if entropy.size > 1 else None


def _entropy_rise(log: RunLog) -> float | None:
    entropy = Evidence(log).finite("entropy_normalized")
    if entropy.size < 2:
        return None
    return float(np.max(entropy - np.minimum.accumulate(entropy))) / max(float(entropy[0]), 1e-12)


def _stops(log: RunLog) -> float | None:
    return Evidence(log).mean_or_none("early_stopped")


class _Point(NamedTuple):
    """A point of the plan."""

    key: str  # of its limit
    name: str
    sign: str  # what a number has to be to the limit
    number: Callable[[RunLog], float | None]
    detail: str


_END = "mean over the last fifth of the updates"
_RISE = "above the running minimum of the normalised entropy, as a share of its first value"
_PLAN = (
    _Point("explained_variance", "explained variance", ">", _at_end("explained_variance"), _END),
    _Point("value_loss", "value loss", "<", _at_end("value_loss"), _END),
    _Point(
        *("entropy_left", "entropy, end / start", "<", _entropy_left),
        f"normalised entropy, {_END}, over its first value",
    ),
    _Point("entropy_rise", "entropy, largest rise", "≤", _entropy_rise, _RISE),
    _Point("early_stopped", "KL stops", "≤", _stops, "share of the updates that the KL limit cut short"),
    _Point("mrr", "test MRR", ">", lambda log: _mrr(log, "test"), PROTOCOL),
)
