"""What a rule of diagnosis is, and the words in which it says what it has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppo_jax.analysis import vocabulary
from ppo_jax.analysis.rules.evidence import Evidence, number_at
from ppo_jax.results import Results
from ppo_jax.tasks.episode_results import FEWEST_EPISODES

__all__ = ["NO_UPDATE", "Hit", "Rule", "changes_over_time", "follows_kl", "number", "peak", "rule"]

NO_UPDATE = "no update is on record"


@dataclass(frozen=True)
class Hit:
    """What a rule that fired has seen."""

    evidence: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # configuration keys -> values to try
    severity: str | None = None  # where it differs from the rule's
    confidence: float | None = None
    advice: str | None = None  # where it differs from the rule's
    cause: str | None = None  # where it differs from the rule's


@dataclass(frozen=True)
class Rule:
    """One fault: how it is seen, what it means, what to do.

    Names in braces, as in ``{learning_rate}``, become those of the log's trainer (`analysis/vocabulary.py`).
    """

    id: str  # as ``lr-too-high``
    check: Callable[[Evidence], Hit | None]  # None: it does not fire
    severity: str  # "error": do not trust the run; "warning": it could be better; "info": worth knowing
    threshold: str  # what it looks for, in words
    cause: str  # what it means
    advice: str  # what to do, a sentence for each thing: those that a run has done are left out
    source: str  # in the literature, or where it was measured
    confidence: float  # 0 to 1
    columns: tuple[str, ...] = ()  # metrics it needs; "a|b" where either will do
    settings: tuple[str, ...] = ()  # configuration keys it needs
    records: tuple[str, ...] = ()  # what else it needs, names of `RECORDS`
    least: int = 10  # updates at which each metric must have been measured
    ours_only: bool = False  # it judges what only runs of ppo_jax have
    tasks: tuple[Results, ...] = ()  # kinds of task that it is about, by how their results are read; empty: all

    def lacks(self, run: Evidence) -> str | None:
        """Why the rule cannot be judged on a run; None: it can."""
        if run.n_updates == 0 and self.columns:
            return NO_UPDATE
        measured = {name: max(run.finite(one).size for one in name.split("|")) for name in self.columns}
        unknown = [key for key in self.settings if key not in run.log.settings]
        parts = [_missing(run, name) for name, n in measured.items() if n == 0]
        few = {name: n for name, n in measured.items() if 0 < n < self.least}
        if run.n_updates < self.least and few:
            recorded = f"{run.n_updates} update{'s are' if run.n_updates > 1 else ' is'} on record"
            parts.append(f"{recorded}, {self.least} are needed")
        else:
            parts += [
                f"{name.split('|')[0]} is on record at {n} updates, {self.least} are needed" for name, n in few.items()
            ]
        parts += [RECORDS[name][1](run) for name in self.records if not RECORDS[name][0](run)]
        if unknown:
            parts.append(f"not known: {', '.join(unknown)} (give it with --set)")
        return "; ".join(parts) or None


def _missing(run: Evidence, name: str) -> str:
    if name == "episode_return_mean" and not run.ours:
        return "the log has no episode returns; " + vocabulary.say("{monitor}", run.log.trainer)
    return f"the log has no {name.replace('|', ' or ')}"


def rule(id: str, severity: str, **fields: Any) -> Callable[[Callable[[Evidence], Hit | None]], Rule]:
    """Decorator that makes a `Rule` of its check."""
    return lambda check: Rule(id=id, check=check, severity=severity, **fields)


def _few_evaluations(run: Evidence) -> str:
    n, updates = run.scores().size, run.planned_updates()
    said = f"{n or 'no'} evaluation{'' if n == 1 else 's'} on record, five are needed"
    if updates < 5:
        return f"{said}: the run has {updates} updates, so raise total_timesteps and set eval_interval"
    interval = run.setting("eval_interval")
    return said if interval and interval <= updates // 5 else f"{said}: eval_interval = {updates // 5} gives them"


def _unknown_state(run: Evidence) -> str:
    remedy = vocabulary.say("a memory ({recurrent}) or the last observations ({frame_stack})", run.log.trainer)
    return (
        "an environment of your own may hide part of its state: needs_memory = True or False in its class says so; "
        f"where it does, {remedy} help"
    )


def _episodes(run: Evidence) -> dict[str, float]:
    """How many episodes stand behind the result on test and each baseline; empty of what counts none."""
    paths = {"test": ("test",)} | {name: ("baselines", name) for name in run.baselines()}
    counted = {name: number_at(run.log.summary, *path, "episodes") for name, path in paths.items()}
    return {name: n for name, n in counted.items() if n is not None}


def _few_episodes(run: Evidence) -> str:
    rests = ", ".join(f"{name.replace('_', ' ')} {n:.0f}" for name, n in _episodes(run).items())
    return f"too few episodes to compare ({rests}): {FEWEST_EPISODES} of each are needed, by eval_episodes"


# What a rule may need besides metrics and settings: whether it is there, and what to say where it is not.
RECORDS: dict[str, tuple[Callable[[Evidence], bool], Callable[[Evidence], str]]] = {
    "evaluations": (lambda run: run.scores().size >= 5, _few_evaluations),
    "value errors": (
        lambda run: run.value_errors().size > 0,
        lambda _: "no value error on valid and training queries on record",
    ),
    "overlaps": (lambda run: bool(run.overlaps()), lambda _: "overlaps between the splits were not counted"),
    "baselines": (lambda run: bool(run.baselines()), lambda _: "no test result beside baselines on record"),
    "episodes": (lambda run: min(_episodes(run).values(), default=math.inf) >= FEWEST_EPISODES, _few_episodes),
    "other seeds": (
        lambda run: run.other_scores().size >= 3,
        lambda _: "fewer than three other runs to compare with (give them with --others)",
    ),
    "hidden state": (lambda run: run.hides_state is not None or bool(run.setting("core")), _unknown_state),
}


def peak(value: Any) -> float:
    """Largest value of a setting that may be a schedule; NaN where it is unknown, as of a rate that follows KL."""
    if follows_kl(value):
        return float("nan")
    if isinstance(value, Mapping):
        return float(max(value.get("init", 0.0), value.get("final", 0.0)))
    return float("nan") if value is None else float(value)


def follows_kl(value: Any) -> bool:
    """Whether a setting is a learning rate that follows the KL of the updates."""
    return isinstance(value, Mapping) and value.get("shape") == "kl_adaptive"


def changes_over_time(value: Any) -> bool:
    """Whether a setting is a schedule that goes somewhere."""
    return isinstance(value, Mapping) and value.get("shape") != "constant" and value.get("init") != value.get("final")


def number(x: float) -> str:
    """Three significant digits."""
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"
