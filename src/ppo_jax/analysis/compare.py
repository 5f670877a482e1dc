"""Runs side by side: how their metrics moved, where their configurations differ, what seeds allow to conclude."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_jax.analysis import conclusions
from ppo_jax.analysis.formatting import without_folders, write_setting
from ppo_jax.analysis.healthy_ranges import HEALTHY_RANGES, unit_of_mean
from ppo_jax.analysis.queries import different_queries
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.reference_settings import DEFAULTS, RECOMMENDED, SB3_DEFAULTS
from ppo_jax.analysis.rules.critic import returns_degenerate
from ppo_jax.analysis.rules.evidence import Evidence, number_at, overflow_allowed
from ppo_jax.analysis.run_sets import OWN_SETTINGS, RunSet
from ppo_jax.analysis.statistics import Estimate, difference_interval, iqm_interval
from ppo_jax.runs.files import to_json

__all__ = [
    "COMPARED",
    "Movement",
    "Score",
    "Setting",
    "baselines",
    "compared_seeds",
    "configuration",
    "degenerate",
    "left_out",
    "movements",
    "scores",
    "status",
    "status_of_score",
    "to_dict",
]

# Always shown, in this order; other keys follow where the runs differ in them.
SHOWN = (
    *("n_envs", "n_steps", "batch_size", "n_epochs", "learning_rate", "ent_coef", "target_kl", "clip_range"),
    *("clip_range_vf", "vf_coef", "max_grad_norm", "gamma", "gae_lambda", "separate_critic"),
)


@dataclass(frozen=True)
class Movement:
    """A metric of a run set from the first update to the end, the mean over the last fifth; means over the seeds."""

    name: str  # of the metric
    unit: str  # empty of a plain number
    first: float | None  # at the first update; None: a number of the whole run
    last: float  # mean over the last fifth
    spread: float  # standard deviation of `last` over the seeds; NaN for one seed
    status: str  # the word that most seeds deserve; empty where a metric has no range of its own
    level: str  # "good", "fair", "bad" or ""


@dataclass(frozen=True)
class Score:
    """A final number of every run set, with what the seeds allow to conclude."""

    name: str  # of the number
    higher_is_better: bool | None  # False: lower is; None: neither, as of a metric of the user's own
    values: tuple[tuple[float, ...], ...]  # of the seeds of each run set
    iqm: tuple[Estimate | None, ...]  # of each run set its interquartile mean; None where it has no such number
    improvement: tuple[Estimate | None, ...]  # probability of improvement on the first set; None: first, or one seed
    p_values: tuple[float | None, ...]  # of the improvement, corrected for the number of all comparisons
    difference: tuple[Estimate | None, ...]  # from the first set, of a number that has no better and worse; else None

    def verdict(self, i: int) -> str:
        """What the seeds of a run set say against those of the first; empty where they are too few to say anything."""
        chance, p_value = self.improvement[i], self.p_values[i]
        comparison = None if chance is None or p_value is None else (chance, p_value)
        return conclusions.verdict(comparison, min(len(self.values[0]), len(self.values[i])))


@dataclass(frozen=True)
class Setting:
    """A configuration key in every run set, beside the references."""

    key: str  # of the configuration
    values: tuple[str | None, ...]  # "none" is unset, None unknown
    sb3: str | None  # None: Stable-Baselines3 has no such setting
    recommended: str | None  # None: there is no advice on it
    differs: bool  # between the run sets


WHOLE_RUN = ("early_stopped", "epochs_completed")  # metrics whose last value is the mean over the whole run
COMPARED = (
    *("explained_variance", "value_loss", "policy_loss", "entropy", "entropy_normalized", "approx_kl"),
    *("clip_fraction", "value_clip_fraction", "early_stopped", "epochs_completed", "grad_clip_fraction"),
    *("episode_return_mean", "episode_length_mean", "proved_positive", "proved_negative"),
)


EXPLAINED = "explained variance at the end"
# name -> (where in summary.json, or the metric at the end; higher is better, None: neither)
SCORES: Mapping[str, tuple[tuple[str, ...], bool | None]] = {
    "test MRR (greedy)": (("test", "greedy", "mrr"), True),
    "test MRR (marginal)": (("test", "marginal", "mrr"), True),
    "test AUC-PR (marginal)": (("test", "marginal", "auc_pr"), True),
    "test MRR (answers)": (("test", "answers", "mrr"), True),
    "test MRR (combined)": (("test", "combined", "mrr"), True),
    "true test queries proved": (("test", "greedy", "proved_positive"), True),
    "false test queries proved": (("test", "greedy", "proved_negative"), False),
    "test return": (("test", "return_mean"), True),
    "training return at the end": (("episode_return_mean",), True),
    EXPLAINED: (("explained_variance",), True),
    "value loss at the end": (("value_loss",), None),  # it grows with the square of the rewards' scale
}


def status(name: str, value: float, log: RunLog) -> tuple[str, str]:
    """The word for a metric at the end of a run, and its level: "good", "fair", "bad", or "" for no judgement.

    The critic is not judged where the returns hardly vary: it has nothing to explain.
    """
    if name in ("explained_variance", "value_loss") and degenerate(log):
        return "returns hardly vary", ""
    if name == "value_loss":
        variance = float(np.square(Evidence(log).tail("returns_std")))
        value = value / variance if variance > 0.0 else np.nan
    if name == "epochs_completed":
        value = value / (log.settings.get("n_epochs") or np.nan)
    statuses = HEALTHY_RANGES[name].statuses if name in HEALTHY_RANGES else ()
    if not statuses or not np.isfinite(value):
        return "", ""
    return next((word, level) for limit, word, level in statuses if value < limit)


def degenerate(log: RunLog) -> bool:
    """Whether the returns at the end of a run hardly vary; False where the log does not tell."""
    run = Evidence(log)
    return returns_degenerate.lacks(run) is None and returns_degenerate.check(run) is not None


@overflow_allowed
def movements(run_set: RunSet) -> tuple[Movement, ...]:
    """How the metrics of a run set moved, the user's own last.

    A metric that no run measured is left out; one of the user's own, such as one that is never finite, is NaN.
    """
    rows = []
    evidence = [*map(Evidence, run_set.logs)]
    own = dict.fromkeys(name for run in evidence for name in run.own_metrics)
    for name in (*COMPARED, *own):
        runs = [run for run in evidence if run.has(name)] or evidence * (name in own)
        if not runs or (name == "value_clip_fraction" and run_set.settings.get("clip_range_vf") is None):
            continue
        whole = name in WHOLE_RUN
        lasts = [run.mean(name) if whole else run.tail(name) for run in runs]
        first = None if whole else float(np.mean([run.first(name) for run in runs]))
        spread = float(np.std(lasts, ddof=1)) if len(lasts) > 1 else float("nan")
        judged = lasts if whole else [run.late(name) for run in runs]  # as the rules of diagnosis do
        words = Counter(status(name, x, run.log) for x, run in zip(judged, runs, strict=True))
        rows.append(
            Movement(name, unit_of_mean(name), first, float(np.mean(lasts)), spread, *words.most_common(1)[0][0])
        )
    return tuple(rows)


@overflow_allowed
def scores(run_sets: Sequence[RunSet]) -> tuple[Score, ...]:
    """Final numbers of the run sets: test scores from the summaries, then metrics at the end, the user's own last."""
    rows = []
    own_metrics = dict.fromkeys(name for one in run_sets for log in one.logs for name in Evidence(log).own_metrics)
    for name, (path, higher) in {**SCORES, **{f"{own} at the end": ((own,), None) for own in own_metrics}}.items():
        values = tuple(
            tuple(x for x in (_final(log, path) for log in run_set.logs) if x is not None) for run_set in run_sets
        )
        if not any(values) or (path == ("episode_return_mean",) and any(run_set.proves for run_set in run_sets)):
            continue
        rows.append((name, higher, values))
    compared = iter(conclusions.against_first([(values, higher) for _, higher, values in rows if higher is not None]))
    return tuple(_score(*row, [None] * len(run_sets) if row[1] is None else next(compared)) for row in rows)


def _score(
    name: str,
    higher: bool | None,
    values: tuple[tuple[float, ...], ...],
    compared: Sequence[tuple[Estimate, float] | None],
) -> Score:
    return Score(
        name,
        higher,
        values,
        iqm=tuple(iqm_interval([own]) if own else None for own in values),
        improvement=tuple(one and one[0] for one in compared),
        p_values=tuple(one and one[1] for one in compared),
        difference=tuple(
            difference_interval(own, values[0]) if i and own and values[0] and higher is None else None
            for i, own in enumerate(values)
        ),
    )


def compared_seeds(rows: Sequence[Score]) -> list[tuple[int, int]]:
    """Of each comparison for which the p-values are corrected, how many seeds each side has."""
    return [
        (len(own), len(row.values[0]))
        for row in rows
        for own, p in zip(row.values, row.p_values, strict=True)
        if p is not None
    ]


def left_out(row: Score, run_sets: Sequence[RunSet]) -> str:
    """Of which run sets a score has fewer seeds than there are, and why; empty where it has all."""
    told: dict[str, list[str]] = {}  # why -> which
    for own, one in zip(row.values, run_sets, strict=True):
        n, flat = len(one.logs), [row.name == EXPLAINED and degenerate(log) for log in one.logs]
        if own and len(own) < n:
            why = "returns of the others hardly vary, there is nothing to explain" if any(flat) else "others have none"
            told.setdefault(f"{{}}: the {why}", []).append(f"{one.name} {len(own)} of {n} seeds")
        elif not own and all(flat):
            which = f"the {n} seeds of {one.name}" if n > 1 else one.name
            told.setdefault("in {} the returns hardly vary, there is nothing to explain", []).append(which)
        elif not own:
            told.setdefault("{}", []).append(f"{one.name} has none")
    return "; ".join(why.format(", ".join(which)) for why, which in told.items())


def baselines(run_set: RunSet) -> dict[str, dict[str, Estimate]]:
    """What the baselines of a run set reach in the test scores: name -> score -> interquartile mean over the seeds."""
    found: dict[str, dict[str, Estimate]] = {}
    for name in dict.fromkeys(name for log in run_set.logs for name in Evidence(log).baselines()):
        for score, ((split, *path), _) in SCORES.items():
            values = [number_at(log.summary, "baselines", name, *path) for log in run_set.logs]
            if split == "test" and (known := [x for x in values if x is not None]):
                found.setdefault(name, {})[score] = iqm_interval([known])
    return found


def status_of_score(run_set: RunSet) -> tuple[str, str]:
    """Word and level for the greedy test MRR of a run set beside the baselines that need no learning."""
    own = [x for x in (number_at(log.summary, "test", "greedy", "mrr") for log in run_set.logs) if x is not None]
    if not own:
        return "", ""
    mean = float(np.mean(own))
    for name, level in (("untrained", "bad"), ("shortest_proof", "fair")):
        theirs = [number_at(log.summary, "baselines", name, "greedy", "mrr") for log in run_set.logs]
        known = [x for x in theirs if x is not None]
        if known and mean <= float(np.mean(known)):
            return f"not above {name.replace('_', ' ')}", level
    return "above the baselines", "good"


def configuration(run_sets: Sequence[RunSet]) -> tuple[Setting, ...]:
    """The settings that matter most and all in which the run sets differ, beside SB3's defaults and our recommendation.

    The recommendation is for proof tasks; for other tasks it is None throughout.
    """
    proves = any(run_set.proves for run_set in run_sets)
    settings = [run_set.configuration for run_set in run_sets]
    keys = dict.fromkeys([*SHOWN, *(key for one in settings for key in one if key not in OWN_SETTINGS)])
    rows = []
    for key in keys:
        set_to = without_folders([one.get(key) for one in settings])
        values = tuple(
            write_setting(value) if _is_told(run_set, key) else None
            for run_set, value in zip(run_sets, set_to, strict=True)
        )
        differs = len(set(values)) > 1
        if differs or (key in SHOWN and any(value is not None for value in values)):
            sb3 = write_setting(SB3_DEFAULTS[key]) if key in SB3_DEFAULTS else None
            recommended = write_setting(RECOMMENDED.get(key, DEFAULTS.get(key))) if proves else None
            rows.append(Setting(key, values, sb3, recommended, differs))
    return tuple(rows)


def to_dict(run_sets: Sequence[RunSet]) -> dict[str, Any]:
    """The comparison as JSON data: metrics of each run set (under ``groups``), configurations, scores, a warning."""
    comparison = {
        "groups": [
            {
                "name": run_set.name,
                "runs": [log.name for log in run_set.logs],
                "metrics": [dataclasses.asdict(row) for row in movements(run_set)],
            }
            for run_set in run_sets
        ],
        "configuration": [dataclasses.asdict(row) for row in configuration(run_sets)],
        "scores": [_score_to_dict(row) for row in scores(run_sets)],
        "different_queries": different_queries(run_sets),
    }
    return {name: to_json(value) for name, value in comparison.items()}


def _is_told(run_set: RunSet, key: str) -> bool:
    """Unset in one of our runs is a value; what another trainer's log does not tell is not known."""
    return key in run_set.configuration or (run_set.logs[0].kind == "ppo_jax" and bool(run_set.settings))


def _score_to_dict(row: Score) -> dict[str, Any]:
    names = ("iqm", "improvement", "difference")
    estimates = {name: [one and one._asdict() for one in getattr(row, name)] for name in names}
    return {
        "name": row.name,
        "higher_is_better": row.higher_is_better,
        "values": row.values,
        **estimates,
        "p_values": row.p_values,
    }


def _final(log: RunLog, path: tuple[str, ...]) -> float | None:
    if len(path) == 1:
        silent = path == ("explained_variance",) and degenerate(log)
        return None if silent else Evidence(log).tail_or_none(path[0])
    return number_at(log.summary, *path)
