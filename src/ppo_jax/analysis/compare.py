"""Runs side by side: how their metrics moved, where their configurations differ, what seeds allow to conclude."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from ppo_jax.analysis.logs import RunLog, legible
from ppo_jax.analysis.rules_critic import returns_degenerate
from ppo_jax.analysis.statistics import Estimate, improvement_interval, iqm_interval
from ppo_jax.analysis.view import View, overflow_allowed, score
from ppo_jax.config import SECTIONS
from ppo_jax.config.toml import write_toml
from ppo_jax.runs.files import to_json
from ppo_jax.tasks import results

__all__ = [
    "RECOMMENDED",
    "SB3_DEFAULTS",
    "Group",
    "Movement",
    "Score",
    "Setting",
    "configuration",
    "degenerate",
    "group",
    "movements",
    "scores",
    "status",
    "status_of_score",
    "to_dict",
    "write_changes",
    "write_setting",
]

# Stable-Baselines3 2.x: the signature of PPO.__init__ and MlpPolicy (net_arch pi = vf = [64, 64], tanh). Normalisation
# is a wrapper of the user's, so off; the value after a truncation is always bootstrapped.
SB3_DEFAULTS: Mapping[str, Any] = {
    "n_envs": 1,
    "n_steps": 2048,
    "n_epochs": 10,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": None,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": None,
    "normalize_advantage": True,
    "bootstrap_truncation": True,
    "normalize_observations": False,
    "normalize_rewards": False,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "separate_critic": True,
}

# For proof tasks: what experiments/countries_s3.toml sets, measured in docs/results.md.
RECOMMENDED: Mapping[str, Any] = {
    "max_atoms": 4,
    "reward": "sound",
    "fact_dropout": 0.15,
    "total_timesteps": 100_000,
    "n_envs": 128,
    "n_steps": 16,
    "n_epochs": 2,
    "batch_size": 512,
    "learning_rate": {"init": 1.3e-3, "final": 1e-4, "warmup": 0.1},
    "critic_learning_rate": {"init": 3e-3, "final": 1e-4},
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": {"init": 0.1, "final": 0.01, "end": 0.6},
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": 0.02,
    "network": "proof_actions",
    "hidden_sizes": (64, 64),
    "embedding_size": 32,
    "fact_layers": 2,
    "eval_interval": 10,
    "beam_width": 64,
}
DEFAULTS = {field.name: field.default for section in SECTIONS.values() for field in dataclasses.fields(section)}

# Always shown, in this order; other keys follow where the runs differ in them.
SHOWN = (
    *("n_envs", "n_steps", "batch_size", "n_epochs", "learning_rate", "ent_coef", "target_kl", "clip_range"),
    *("clip_range_vf", "vf_coef", "max_grad_norm", "gamma", "gae_lambda", "separate_critic"),
)
SEEDS_OWN = {"seed", "tensorboard", "wandb"}  # settings in which runs of one configuration may differ


@dataclass(frozen=True)
class Group:
    """Runs of one configuration that differ in their seed alone."""

    name: str
    logs: tuple[RunLog, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.logs[0].settings

    @property
    def proves(self) -> bool:
        """Whether the task is to prove queries."""
        told = (results.of_settings(self.settings), *(results.of(log.summary) for log in self.logs))
        return results.PROOFS in told or any(View(log).has("proved_positive") for log in self.logs)


@dataclass(frozen=True)
class Movement:
    """A metric of a group from the first update to the end, the mean over the last fifth; means over the seeds."""

    name: str
    unit: str
    first: float | None  # None: a number of the whole run
    last: float
    spread: float  # standard deviation of `last` over the seeds; NaN for one seed
    status: str  # the word that most seeds deserve; empty where a metric has no range of its own
    level: str  # "good", "fair", "bad" or ""


@dataclass(frozen=True)
class Score:
    """A final number of every group, with what the seeds allow to conclude."""

    name: str
    higher_is_better: bool
    values: tuple[tuple[float, ...], ...]  # of each group's seeds
    iqm: tuple[Estimate | None, ...]  # interquartile mean of each group; None where it has no such number
    improvement: tuple[Estimate | None, ...]  # probability of improvement on the first group; None: first or one seed


@dataclass(frozen=True)
class Setting:
    """A configuration key in every group, beside the references."""

    key: str
    values: tuple[str | None, ...]  # "none" is unset, None unknown
    sb3: str | None  # None: Stable-Baselines3 has no such setting
    recommended: str | None
    differs: bool  # between the groups


Range = tuple[tuple[float, str, str], ...]  # (upper limit, word, level); the first whose limit exceeds the value holds
RANGES: Mapping[str, Range] = {
    "explained_variance": (
        (0.0, "worse than the mean", "bad"),
        (0.3, "poor", "bad"),
        (0.7, "fair", "fair"),
        (np.inf, "OK", "good"),
    ),
    "value_loss": ((0.3, "OK", "good"), (1.0, "high", "fair"), (np.inf, "too high", "bad")),  # over var(returns)
    "policy_loss": ((-0.1, "large", "fair"), (0.1, "OK", "good"), (np.inf, "large", "fair")),
    "entropy_normalized": ((0.03, "no exploration", "fair"), (0.9, "OK", "good"), (np.inf, "close to uniform", "fair")),
    "approx_kl": (
        (1e-4, "hardly moves", "fair"),
        (0.03, "OK", "good"),
        (0.1, "high", "fair"),
        (np.inf, "too high", "bad"),
    ),
    "clip_fraction": ((0.3, "OK", "good"), (np.inf, "high", "fair")),
    "value_clip_fraction": ((0.5, "OK", "good"), (np.inf, "saturated", "fair")),
    "grad_clip_fraction": ((0.95, "OK", "good"), (np.inf, "always clipped", "fair")),
    "early_stopped": ((1e-9, "OK", "good"), (0.1, "rare", "good"), (0.4, "frequent", "fair"), (np.inf, "most", "bad")),
    "epochs_completed": ((0.6, "wasted epochs", "bad"), (0.95, "cut short", "fair"), (np.inf, "OK", "good")),  # share
}

WHOLE_RUN = ("early_stopped", "epochs_completed")
COMPARED = {  # metric -> unit
    "explained_variance": "",
    "value_loss": "return²",
    "policy_loss": "",
    "entropy": "nat",
    "entropy_normalized": "",
    "approx_kl": "nat",
    "clip_fraction": "",
    "value_clip_fraction": "",
    "early_stopped": "of the updates",
    "epochs_completed": "epochs",
    "grad_clip_fraction": "",
    "episode_return_mean": "return",
    "episode_length_mean": "steps",
    "proved_positive": "",
    "proved_negative": "",
}

# name -> (where in summary.json, or the metric at the end; higher is better)
SCORES: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "test MRR (greedy)": (("test", "greedy", "mrr"), True),
    "test MRR (marginal)": (("test", "marginal", "mrr"), True),
    "test AUC-PR (marginal)": (("test", "marginal", "auc_pr"), True),
    "true test queries proved": (("test", "greedy", "proved_positive"), True),
    "false test queries proved": (("test", "greedy", "proved_negative"), False),
    "test return": (("test", "return_mean"), True),
    "training return at the end": (("episode_return_mean",), True),
    "explained variance at the end": (("explained_variance",), True),
    "value loss at the end": (("value_loss",), False),
}


def group(logs: Sequence[RunLog]) -> tuple[Group, ...]:
    """Put runs together whose configurations differ in their seed alone, in the order given.

    Runs of other trainers stand alone: their logs do not tell their whole configuration.
    """
    found: list[list[RunLog]] = []
    for log in logs:
        same = (one for one in found if log.kind == one[0].kind == "ppo_jax" and log.settings and _same(log, one[0]))
        if (place := next(same, None)) is None:
            found.append([log])
        else:
            place.append(log)
    names: list[str] = []
    for one in found:
        name = _name(one)
        repeats = sum(re.sub(r" \(\d+\)$", "", other) == name for other in names)
        names.append(f"{name} ({repeats + 1})" if repeats else name)
    return tuple(Group(name, tuple(one)) for name, one in zip(names, found, strict=True))


def status(name: str, value: float, log: RunLog) -> tuple[str, str]:
    """The word for a metric at the end of a run, and its level: "good", "fair", "bad", or "" for no judgement.

    The critic is not judged where the returns hardly vary: it has nothing to explain.
    """
    if name in ("explained_variance", "value_loss") and degenerate(log):
        return "returns hardly vary", ""
    if name == "value_loss":
        variance = float(np.square(View(log).tail("returns_std")))
        value = value / variance if variance > 0.0 else np.nan
    if name == "epochs_completed":
        value = value / (log.settings.get("n_epochs") or np.nan)
    if name not in RANGES or not np.isfinite(value):
        return "", ""
    return next((word, level) for limit, word, level in RANGES[name] if value < limit)


def degenerate(log: RunLog) -> bool:
    """Whether the returns at the end of a run hardly vary; False where the log does not tell."""
    view = View(log)
    return returns_degenerate.lacks(view) is None and returns_degenerate.check(view) is not None


@overflow_allowed
def movements(runs: Group) -> tuple[Movement, ...]:
    """How the metrics of a group moved; those that no run measured are left out."""
    rows = []
    for name, unit in COMPARED.items():
        views = [view for view in map(View, runs.logs) if view.has(name)]
        if not views or (name == "value_clip_fraction" and runs.settings.get("clip_range_vf") is None):
            continue
        whole = name in WHOLE_RUN
        lasts = [view.mean(name) if whole else view.tail(name) for view in views]
        first = None if whole else float(np.mean([view.finite(name)[0] for view in views]))
        spread = float(np.std(lasts, ddof=1)) if len(lasts) > 1 else float("nan")
        words = Counter(status(name, x, view.log) for x, view in zip(lasts, views, strict=True))
        rows.append(Movement(name, unit, first, float(np.mean(lasts)), spread, *words.most_common(1)[0][0]))
    return tuple(rows)


@overflow_allowed
def scores(groups: Sequence[Group]) -> tuple[Score, ...]:
    """Final numbers of the groups: test scores from the summaries, training metrics at the end."""
    rows = []
    for name, (path, higher) in SCORES.items():
        values = tuple(tuple(x for x in (_final(log, path) for log in runs.logs) if x is not None) for runs in groups)
        if not any(values) or (path == ("episode_return_mean",) and any(runs.proves for runs in groups)):
            continue
        improvement = [
            _improvement(own, values[0], higher) if i and min(len(own), len(values[0])) > 1 else None
            for i, own in enumerate(values)
        ]
        iqm = tuple(iqm_interval([own]) if own else None for own in values)
        rows.append(Score(name, higher, values, iqm, tuple(improvement)))
    return tuple(rows)


def status_of_score(runs: Group) -> tuple[str, str]:
    """Word and level for the greedy test MRR of a group beside the baselines that need no learning."""
    own = [x for x in (score(log.summary, "test", "greedy", "mrr") for log in runs.logs) if x is not None]
    if not own:
        return "", ""
    mean = float(np.mean(own))
    for name, level in (("untrained", "bad"), ("shortest_proof", "fair")):
        theirs = [score(log.summary, "baselines", name, "greedy", "mrr") for log in runs.logs]
        known = [x for x in theirs if x is not None]
        if known and mean <= float(np.mean(known)):
            return f"not above {name.replace('_', ' ')}", level
    return "above the baselines", "good"


def configuration(groups: Sequence[Group]) -> tuple[Setting, ...]:
    """The settings that matter most and all in which the groups differ, beside SB3's defaults and our recommendation.

    The recommendation is for proof tasks; for other tasks it is None throughout.
    """
    proves = any(runs.proves for runs in groups)
    keys = dict.fromkeys([*SHOWN, *(key for runs in groups for key in runs.settings if key not in SEEDS_OWN)])
    rows = []
    for key in keys:
        values = tuple(_value_of(runs, key) for runs in groups)
        differs = len(set(values)) > 1
        if differs or (key in SHOWN and any(value is not None for value in values)):
            sb3 = write_setting(SB3_DEFAULTS[key]) if key in SB3_DEFAULTS else None
            recommended = write_setting(RECOMMENDED.get(key, DEFAULTS.get(key))) if proves else None
            rows.append(Setting(key, values, sb3, recommended, differs))
    return tuple(rows)


def to_dict(groups: Sequence[Group]) -> dict[str, Any]:
    """The comparison as JSON data: metrics of each group, configurations, scores."""
    each = [(runs, [dataclasses.asdict(row) for row in movements(runs)]) for runs in groups]
    found = {
        "groups": [{"name": g.name, "runs": [log.name for log in g.logs], "metrics": rows} for g, rows in each],
        "configuration": [dataclasses.asdict(row) for row in configuration(groups)],
        "scores": [_score_to_dict(row) for row in scores(groups)],
    }
    return {name: to_json(value) for name, value in found.items()}


def write_setting(value: Any) -> str:
    """A setting as a person writes it: ``0.1 → 0.01`` for a schedule, ``none`` where it is unset."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        first, last = value.get("init"), value.get("final")
        if value.get("shape") == "constant" or first == last:
            return write_setting(first)
        details = [] if value.get("shape", "linear") == "linear" else [str(value["shape"])]
        start, end = value.get("start", 0.0), value.get("end", 1.0)
        details += [f"from {start:.0%} to {end:.0%}"] if (start, end) != (0.0, 1.0) else []
        details += [f"warm-up {value['warmup']:.0%}"] if value.get("warmup") else []
        return f"{write_setting(first)} → {write_setting(last)}" + (f" ({', '.join(details)})" if details else "")
    if isinstance(value, list | tuple):
        return " × ".join(map(write_setting, value)) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and 0.0 < abs(value) < 0.01:
        return re.sub(r"\.?0*e-0?", "e-", f"{value:.3e}")  # 3e-4
    return f"{value:g}" if isinstance(value, float) else legible(str(value))


def write_changes(changes: Mapping[str, Any]) -> str:
    """Lines for a configuration; a setting that is to be unset is a comment."""
    given = {key: value for key, value in changes.items() if value is not None}
    lines = write_toml({"": given}).splitlines()[1:] if given else []
    return "\n".join([*lines, *(f"# leave out {key}" for key, value in changes.items() if value is None)])


def _value_of(runs: Group, key: str) -> str | None:
    """Unset in one of our runs is "none"; what another trainer's log does not tell is None."""
    if key not in runs.settings and (runs.logs[0].kind != "ppo_jax" or not runs.settings):
        return None
    return write_setting(runs.settings.get(key))


def _score_to_dict(row: Score) -> dict[str, Any]:
    estimates = {name: [one and one._asdict() for one in getattr(row, name)] for name in ("iqm", "improvement")}
    return {"name": row.name, "higher_is_better": row.higher_is_better, "values": row.values} | estimates


def _final(log: RunLog, path: tuple[str, ...]) -> float | None:
    if len(path) == 1:
        view = View(log)
        return view.tail(path[0]) if view.has(path[0]) else None
    return score(log.summary, *path)


def _improvement(own: Sequence[float], baseline: Sequence[float], higher: bool) -> Estimate:
    sign = 1.0 if higher else -1.0
    return improvement_interval([sign * np.array(own)], [sign * np.array(baseline)])


def _same(a: RunLog, b: RunLog) -> bool:
    return all(a.settings.get(key) == b.settings.get(key) for key in {*a.settings, *b.settings} - SEEDS_OWN)


def _name(logs: Sequence[RunLog]) -> str:
    """What the names of the runs begin with, less the mark of a seed."""
    if len(logs) == 1:
        return logs[0].name
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*(log.name for log in logs), strict=False))
    common = "".join(letters[0] for letters in alike)
    return re.sub(r"[-_ .]*(s|seed)?[-_=]?\d*$", "", common) or common or logs[0].name
