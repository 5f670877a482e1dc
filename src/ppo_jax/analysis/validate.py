"""The validation plan: what finished runs on a proof task must show, each point PASS or FAIL. Reads, never trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.analysis.healthy_ranges import EXPLAINED_VARIANCE_GOOD, PROOF_VALUE_LOSS_GOOD
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.rules.evidence import Evidence, number_at, overflow_allowed
from ppo_jax.config.checks import convert
from ppo_jax.config.toml import parse_assignment, read_toml
from ppo_jax.types import PPOJaxError

__all__ = ["FAIL", "INFORMATION", "NOT_JUDGED", "PASS", "Check", "Thresholds", "passed", "to_dict", "validate"]

PASS, FAIL, NOT_JUDGED, INFORMATION = "PASS", "FAIL", "not judged", ""


@dataclass(frozen=True)
class Thresholds:
    """Limits of the plan; "at the end" is the mean over the last fifth of the updates."""

    explained_variance: float = EXPLAINED_VARIANCE_GOOD
    """Above this at the end."""
    value_loss: float = PROOF_VALUE_LOSS_GOOD
    """Below this at the end."""
    entropy_rise: float = 0.1
    """The normalised entropy rises above its running minimum by at most this share of its first value."""
    early_stopped: float = 0.0
    """At most this share of the updates is cut short by the KL limit."""
    mrr: float = 0.85
    """Greedy MRR on test above this, and above the untrained networks'."""

    @classmethod
    def from_table(cls, table: Mapping[str, Any], place: str = "thresholds") -> Thresholds:
        """Read limits from a table, such as one of TOML; what it leaves out keeps its default.

        Raises:
            PPOJaxError: an unknown key (names the nearest), or a value that is no number.
        """
        limits: Thresholds = convert(dict(table), cls, place)
        return limits

    @classmethod
    def from_assignments(cls, assignments: Iterable[str]) -> Thresholds:
        """Read limits from strings such as ``"mrr=0.9"``, or ``"limits.toml"`` for a file of such lines; the last wins.

        Raises:
            PPOJaxError: neither, a file that cannot be read, an unknown key (names the nearest), or no number.
        """
        limits = cls()
        for text in assignments:
            if "=" in text:
                table, place = dict([parse_assignment(text)]), "thresholds"
            elif text.endswith(".toml"):
                table, place = read_toml(Path(text)), text
            else:
                raise PPOJaxError(f"thresholds: {text}: expected key=value, such as mrr=0.9, or a file.toml of them")
            limits = dataclasses.replace(limits, **{key: getattr(cls.from_table(table, place), key) for key in table})
        return limits


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    limit: str  # "> 0.7"; empty for information
    values: tuple[float | None, ...]  # of each run; None where it is not on record
    verdict: str  # PASS: every run keeps the limit; FAIL: one does not; NOT_JUDGED: one lacks the number; INFORMATION
    detail: str = ""  # how the number is taken
    baseline: tuple[float | None, ...] = field(default=())  # of each run, where the limit is a baseline's number


@overflow_allowed
def validate(logs: Sequence[RunLog], thresholds: Thresholds | None = None) -> tuple[Check, ...]:
    """Hold finished runs, usually seeds of one configuration, against the plan.

    Args:
        logs: the runs; of one that did not complete nothing is judged.
        thresholds: by default those of `Thresholds`.

    Returns:
        The checks, then lines of information: other numbers of the policy and the baselines without learning.
    """
    limits = thresholds or Thresholds()

    def check(name: str, sign: str, limit: float, number: Callable[[RunLog], float | None], detail: str) -> Check:
        values = tuple(number(log) if _finished(log) else None for log in logs)
        return Check(name, f"{sign} {limit:g}", values, _verdict(values, sign, [limit] * len(values)), detail)

    end = "mean over the last fifth of the updates"
    mrr = tuple(_mrr(log, "test") for log in logs)
    untrained = tuple(_mrr(log, "baselines", "untrained") for log in logs)
    return (
        check("explained variance", ">", limits.explained_variance, _at_end("explained_variance"), end),
        check("value loss", "<", limits.value_loss, _at_end("value_loss"), end),
        check("entropy, end / start", "<", 1.0, _entropy_left, f"normalised entropy, {end}, over its first value"),
        check(
            "entropy, largest rise",
            "≤",
            limits.entropy_rise,
            _entropy_rise,
            "above the running minimum of the normalised entropy, as a share of its first value",
        ),
        check("KL stops", "≤", limits.early_stopped, _stops, "share of the updates that the KL limit cut short"),
        check("test MRR", ">", limits.mrr, lambda log: _mrr(log, "test"), "greedy protocol"),
        Check("test MRR", "> untrained", mrr, _verdict(mrr, ">", untrained), "greedy protocol", untrained),
        *_information(logs),
    )


def passed(checks: Sequence[Check]) -> bool:
    """Whether every check was judged and passed."""
    return all(check.verdict in (PASS, INFORMATION) for check in checks)


def to_dict(checks: Sequence[Check]) -> dict[str, Any]:
    """The table as JSON data."""
    return {"passed": passed(checks), "checks": [dataclasses.asdict(check) for check in checks]}


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
    known = {name: tuple(number_at(log.summary, *path) for log in logs) for name, path in rows.items()}
    return [
        Check(name, "", values, INFORMATION)
        for name, values in known.items()
        if any(value is not None for value in values)
    ]


def _verdict(values: Sequence[float | None], sign: str, limits: Sequence[float | None]) -> str:
    keeps = {">": np.greater, "<": np.less, "≤": np.less_equal}[sign]
    pairs = list(zip(values, limits, strict=True))
    if any(value is not None and limit is not None and not keeps(value, limit) for value, limit in pairs):
        return FAIL
    if not pairs or any(value is None or limit is None for value, limit in pairs):
        return NOT_JUDGED
    return PASS


def _finished(log: RunLog) -> bool:
    """Only our own runs say whether they completed; another trainer's log is taken as it is."""
    return log.kind != "ppo_jax" or log.summary.get("status") == "completed"


def _mrr(log: RunLog, *path: str) -> float | None:
    return number_at(log.summary, *path, "greedy", "mrr") if _finished(log) else None


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
