"""What a run shows to the rules of diagnosis."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.readers.updates import NORMAL_ENTROPY, largest_entropy
from ppo_jax.analysis.rules.curve import Curve, make_curve, median, running_median
from ppo_jax.config.experiments import NEEDS_MEMORY
from ppo_jax.config.task_id import is_import_path
from ppo_jax.results import Results, look_up
from ppo_jax.runs.given import name_of_loss
from ppo_jax.runs.metric_table import METRICS
from ppo_jax.tasks import results

__all__ = ["STANDARD", "Evidence", "look_up", "number_at", "overflow_allowed"]

overflow_allowed = np.errstate(all="ignore")  # decorator: a run that blew up holds numbers whose sums overflow

# Tasks whose observation does not show the state, by parts of their names.
HIDDEN_STATE = re.compile(r"memory|repeat|pomdp|popgym|masked|novel|-p-v\d|minigrid|deepmindlab|tmaze|t-maze", re.I)
STANDARD = {"update", "env_steps", *(metric.name for metric in METRICS)}  # columns that every run may have


@dataclass(frozen=True)
class Evidence:
    """What a run shows: over the whole run and its last fifth, trends, scores.

    Rules judge by `late`, a median, which no single update decides; tables show `tail`, a mean.
    """

    log: RunLog
    others: Sequence[RunLog] = ()  # further seeds of the same experiment

    @property
    def n_updates(self) -> int:
        return self.log.n_updates

    def setting(self, key: str) -> Any:
        """A configuration value; None where it is unknown or unset."""
        return self.log.settings.get(key)

    @property
    def ours(self) -> bool:
        """Whether the run is one of ppo_jax, with all its metrics."""
        return self.log.kind == "ppo_jax"

    @property
    def own_loss(self) -> str | None:
        """The name of the loss that a run of ppo_jax has in place of PPO's; None: it has none."""
        return name_of_loss(self.setting("loss"), self.log.given) if self.ours else None

    @property
    def task(self) -> Results:
        """How the results of the task are read, which tells the kinds of task apart."""
        told = [results.of_settings(self.log.settings), results.of(self.log.summary)]
        told += [results.ANSWERED] * self.has("answered_right") + [results.PROOFS] * self.has("forced_fraction")
        told += [results.PROOFS] * self.has("proved_positive")
        return next((one for one in told if one is not results.EPISODES), results.EPISODES)

    @property
    def hides_state(self) -> bool | None:
        """Whether the observation hides part of the state, by its name or its class; None where one's own is silent."""
        task, summary = str(self.setting("env_id")), self.log.summary
        if isinstance(declared := summary.get("needs_memory"), bool):
            return declared
        if HIDDEN_STATE.search(task) or task in NEEDS_MEMORY:
            return True
        own = "needs_memory" in summary or is_import_path(task)
        return None if self.ours and own else False

    def has(self, name: str) -> bool:
        """Whether a metric was ever measured."""
        return bool(np.isfinite(self.series(name)).any())

    @property
    def own_metrics(self) -> list[str]:
        """Metrics that are the user's own: of a loss or an environment. Of other trainers' logs none."""
        return [name for name in self.log.columns if name not in STANDARD] if self.ours else []

    def series(self, name: str) -> np.ndarray:
        """A metric over the updates [U]; NaN where it was not measured.

        Of other trainers the spread of the returns follows from Var(R) = value loss / (1 − explained variance), and
        where the std of continuous actions is not logged it follows from their entropy.
        """
        if name == "entropy_normalized" and not self.ours and "entropy" in self.log.columns:
            # Elsewhere the run's own largest entropy stands for the uniform policy's, of two actions at least.
            most = largest_entropy(self.finite("entropy"))
            return self.log.columns.get(name, np.full(self.n_updates, np.nan)) * min(1.0, most / np.log(2.0))
        if name in self.log.columns:
            return self.log.columns[name]
        if name == "returns_std" and {"value_loss", "explained_variance"} <= self.log.columns.keys():
            unexplained = 1.0 - self.log.columns["explained_variance"]
            variance = self.log.columns["value_loss"] / np.where(unexplained > 1e-6, unexplained, np.nan)
            return np.sqrt(np.where(variance >= 0.0, variance, np.nan))
        if name == "action_std" and "entropy" in self.log.columns and not self.has("entropy_normalized"):
            return _std_of_normals(self.log.columns["entropy"])
        return np.full(self.n_updates, np.nan)

    def finite(self, name: str) -> np.ndarray:
        """The measured values of a metric."""
        values = self.series(name)
        return values[np.isfinite(values)]

    def first(self, name: str) -> float:
        """The first measured value; NaN where there is none."""
        return float(next(iter(self.finite(name)), np.nan))

    def mean(self, name: str) -> float:
        """Mean of the measured values; NaN where there are none."""
        return _mean(self.finite(name))

    def tail(self, name: str) -> float:
        """Mean over the last fifth of the updates; over all measured values where none is that late."""
        late = self.series(name)[-_fifth(self.n_updates) :]
        late = late[np.isfinite(late)]
        return _mean(late) if late.size else self.mean(name)

    def late(self, name: str) -> float:
        """Median over the last fifth of the updates; of the measured values where fewer than three are that late."""
        late = self.series(name)[-_fifth(self.n_updates) :]
        late, measured = late[np.isfinite(late)], self.finite(name)
        return median(late if late.size >= 3 else measured[-_fifth(measured.size) :])

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
        """The updates that `late` and `tail` look at, in words."""
        update = self.log.columns["update"]
        return _span(update[-_fifth(self.n_updates) :])

    def whole(self) -> str:
        """All updates, in words."""
        update = self.log.columns["update"]
        return _span(update)

    def longest_episode(self) -> float:
        """Largest mean episode length, as a running median has it: one odd update does not count."""
        lengths = self.finite("episode_length_mean")
        return float(running_median(lengths, 3).max()) if lengths.size else 0.0

    @property
    def returns(self) -> Curve | None:
        """The mean return over the run; None where fewer than ten updates have one."""
        return make_curve(self.series("episode_return_mean"))

    def improvement(self) -> float:
        """Rise of the mean return from the first updates to the last, in standard deviations.

        The standard deviation is that of an update's mean around the run's trend, its largest moves left out; NaN
        where returns are not on record.
        """
        returns = self.finite("episode_return_mean")
        if returns.size < 5:
            return float("nan")
        early, late = median(returns[:3]), median(returns[-_fifth(returns.size) :])
        moves = np.diff(returns)
        extreme = max(0.05, 1.0 / (moves.size - 1))  # one at least: a freak makes one move up and one down
        noise = float(np.std(np.clip(moves, *np.quantile(moves, [extreme, 1.0 - extreme])))) / np.sqrt(2.0)
        return float((late - early) / max(noise, 1e-9 * max(1.0, median(np.abs(returns)))))

    def learns(self) -> bool:
        """Whether the mean return rose clearly and ends near its best."""
        curve = self.returns
        return curve is not None and self.improvement() > 3.0 and curve.end >= curve.level.max() - 0.2 * curve.range

    def at_its_best(self) -> bool:
        """Whether the mean return rose and then stays where it was never higher, as that of a solved task does."""
        curve = self.returns
        if curve is None or not self.learns():
            return False
        return float(self.finite("episode_return_mean").max()) - self.late("episode_return_mean") <= 1e-3 * curve.range

    def dead(self) -> bool:
        """Whether the mean return never changes: there is nothing to learn from."""
        returns = self.finite("episode_return_mean")
        return returns.size > 1 and float(np.ptp(returns)) <= 1e-6 * max(1.0, float(np.abs(returns).max()))

    def rollout(self) -> float:
        """Transitions of a rollout: by the settings, else by the steps between two lines; NaN where neither is known.

        Where a line stands for several updates this is more than a rollout.
        """
        n_envs, n_steps, size = self.setting("n_envs"), self.setting("n_steps"), self.setting("rollout_size")
        if n_envs and n_steps:
            return float(n_envs * n_steps)
        if size:
            return float(size)
        steps = np.diff(self.finite("env_steps"))
        return median(steps[steps > 0])

    def went_on(self) -> bool:
        """Whether another trainer's log begins in the middle of a run, so that its first policy is not a fresh one."""
        steps = self.finite("env_steps")
        return not self.ours and steps.size > 0 and bool(steps[0] > 5.0 * self.rollout())

    def planned_updates(self) -> int:
        """Updates of the whole run by its settings; at least those on record."""
        steps, rollout = self.setting("total_timesteps"), self.rollout()
        planned = math.ceil(steps / rollout) if steps and rollout > 0 else 0
        return max(planned, self.n_updates)

    def stretch(self, shown: np.ndarray) -> tuple[int, int]:
        """The longest run of consecutive updates that show something [U]: the first, and one beyond the last."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]).astype(int)))
        if edges.size == 0:
            return 0, 0
        starts, ends = edges[::2], edges[1::2]
        longest = int((ends - starts).argmax())
        return int(starts[longest]), int(ends[longest])

    def updates(self, start: int, end: int) -> str:
        """Updates by their indices, the last excluded, in words."""
        return _span(self.log.columns["update"][start:end])

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
        if score is None and self.has("episode_return_mean"):
            return self.late("episode_return_mean")
        return score


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


def _std_of_normals(entropy: np.ndarray) -> np.ndarray:
    """Geometric mean of the actions' stds [U] by the entropy [U]; NaN unless it begins as that of standard normals."""
    first = next(iter(entropy[np.isfinite(entropy)]), 0.0) / NORMAL_ENTROPY  # soon the policy has moved on
    n_actions = np.round(first)
    if n_actions < 1.0 or abs(first - n_actions) > 0.1 * n_actions:
        return np.full(entropy.shape, np.nan)
    return np.asarray(np.exp(entropy / n_actions - NORMAL_ENTROPY))


def _span(update: np.ndarray) -> str:
    first, last = f"{update[0]:.0f}", f"{update[-1]:.0f}"
    return f"updates {first}–{last}" if first != last else f"update {last}"


def _fifth(n: int) -> int:
    """A fifth of n updates, or three, so that no median over them is one of them."""
    return max(3, n // 5)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
