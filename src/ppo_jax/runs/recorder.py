"""What a run writes while it trains, where it stands, and how that is read again to go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import ppo
from ppo_jax.ops import keys
from ppo_jax.runs import checkpoint, files, loggers
from ppo_jax.runs.contents import LINES
from ppo_jax.runs.experiment import Experiment, PolicyParams, policy_params
from ppo_jax.runs.given import LOOK_AT_LOSS, name_of_loss
from ppo_jax.tasks.wrappers import NO_VALID_ACTION
from ppo_jax.types import PPOJaxError

__all__ = ["GUARDED", "Best", "Follower", "Hopeless", "NotFinite", "Recorder", "Standing", "restore"]

# What a chunk adds to the summary.
PROGRESS = (
    *("env_steps", "updates", "compile_seconds", "train_seconds", "valid_seconds", "steps_per_second"),
    *("updates_skipped", "final"),
)
FORMAT = 3  # of the checkpoints to resume from; 3: running statistics with twice the digits
LARGEST_RETURN = 1e15  # a rollout of larger ones has squares that float32 does not hold
RESUME = Path("checkpoints", "resume")
# Must be finite; a parameter is not finite only after a gradient that was not.
GUARDED = ("policy_loss", "value_loss", "loss", "grad_norm")


class Hopeless(PPOJaxError):
    """What a run measured says that it cannot go on; of a sweep, that member alone."""


class NotFinite(Hopeless):
    """A loss or a parameter is not finite, and the run is set to stop at that."""


@dataclass
class Best:
    """Parameters best on valid so far; of equals the latest."""

    score: tuple[float, ...] = (-np.inf,)
    params: PolicyParams | None = None
    update: int = 0
    result: dict[str, Any] = field(default_factory=dict)

    def offer(self, params: PolicyParams, update: int, result: dict[str, Any], score: tuple[float, ...]) -> bool:
        """Take these parameters if their score is no worse; says whether they were taken."""
        if score < self.score:
            return False
        self.score, self.params, self.update, self.result = score, params, update, result
        return True


@dataclass
class Standing:
    """Where training stands: all that the rest of it depends on, and how long it took so far."""

    state: ppo.TrainState
    best: Best = field(default_factory=Best)
    update: int = 0
    seconds: float = 0.0


class Recorder:
    """What one run writes while it trains: metrics, evaluations, the best parameters, checkpoints to resume from."""

    def __init__(
        self,
        experiment: Experiment,
        standing: Standing,
        folder: Path,
        summary: dict[str, Any],
        writers: Sequence[loggers.Writer] = (),
    ) -> None:
        """`summary` is kept up to date; `writers` receive rows of metrics and evaluations besides the files."""
        self.experiment, self.standing, self.folder, self.summary = experiment, standing, folder, summary
        self._metrics, self._evaluations, self._timing = (loggers.JSONLines(folder / name) for name in LINES)
        self._writers = tuple(writers)
        self._n_updates = experiment.config.settings.n_updates
        self._interval = experiment.config.evaluation.eval_interval or self._n_updates
        self._checkpoints: checkpoint.Checkpoints | None = None  # while it is open
        self._checkpointed_at, self._checkpoint = time.monotonic(), standing.update

    @property
    def finished(self) -> bool:
        return self.standing.update >= self._n_updates

    @property
    def env_steps(self) -> int:
        """Environment steps done."""
        return self.standing.update * self.experiment.config.settings.rollout_size

    def compiled(self, seconds: float) -> None:
        """Note how long it took to compile."""
        self.summary["compile_seconds"] = seconds

    @property
    def updates_to_evaluation(self) -> int:
        """Updates until the next evaluation or the end."""
        done = self.standing.update
        return min(self._interval - done % self._interval, self._n_updates - done)

    @property
    def evaluation_due(self) -> bool:
        return self.standing.update % self._interval == 0 or self.finished

    def record(self, rows: dict[str, np.ndarray], n: int, seconds: float) -> dict[str, Any]:
        """Write the metrics of the next `n` updates, `rows` [n or more] each; returns the last row.

        Raises:
            NotFinite: one is not, and the run is set to stop at that; or every update of the run was skipped.
            Hopeless: the environment left no valid action.
            PPOJaxError: a file cannot be written.
        """
        standing, run = self.standing, self.experiment.config.run
        standing.seconds += seconds
        for i in range(n):
            standing.update += 1
            row = {name: float(column[i]) for name, column in rows.items()}
            for writer in (self._metrics, *self._writers):
                writer.write(self._position | row)
            if stuck := row.get(NO_VALID_ACTION, 0.0):
                raise Hopeless(
                    f"update {standing.update}: after {stuck:.2%} of the steps no action was valid; where action_mask "
                    "is all false the environment must end the episode"
                )
            if row["truncated_fraction"] > 0.0 and not self.experiment.env.can_truncate:
                raise Hopeless(
                    f"update {standing.update}: an episode was truncated, and the environment's can_truncate is False; "
                    'set it True and put the last observation into info["final_observation"], or end it as terminated'
                )
            if run.on_nan == "stop" and (broken := [x for x in GUARDED if not np.isfinite(row.get(x, 0.0))]):
                raise NotFinite(_not_finite(broken[0], self._find_cause(row), standing, self._checkpoint))
        self._timing.write({"update": standing.update, "updates": n, "seconds": seconds})
        self.summary |= {
            "env_steps": self.env_steps,
            "updates": standing.update,
            "train_seconds": standing.seconds,
            "steps_per_second": self.env_steps / standing.seconds,
            "final": row,
        }
        if run.on_nan == "skip":
            skipped = int(rows["update_skipped"][:n].sum())
            self.summary["updates_skipped"] = self.summary.get("updates_skipped", 0) + skipped
            if self.finished and self.summary["updates_skipped"] >= standing.update:
                raise NotFinite(
                    f"every update was skipped, {standing.update} of {standing.update}: nothing was learnt. "
                    f"{self._find_cause(row)}"
                )
        return dict(row)

    def evaluate(self, state: ppo.TrainState) -> dict[str, float]:
        """Judge the parameters on valid and keep them if they are the best; returns the best score so far to show."""
        begin, params = time.perf_counter(), policy_params(self.experiment.trainer, state)
        result = self.experiment.evaluate(params, "valid")
        row = result | self.experiment.value_errors(params)
        self.summary["valid_seconds"] = self.summary.get("valid_seconds", 0.0) + time.perf_counter() - begin
        self._evaluations.write(self._position | row)
        for writer in self._writers:
            writer.write(self._position | dict(_flat_numbers("eval", row)))
        score = self.experiment.task.results.score(result)
        if self.standing.best.offer(params, self.standing.update, result, score):
            checkpoint.save(self.folder / "checkpoints" / "best", params)
        return {"valid": self.standing.best.score[0]}

    @property
    def checkpoint_due(self) -> bool:
        """Whether an interval has passed since the last checkpoint, or the run has come to its end."""
        run, done = self.experiment.config.run, self.standing.update
        by_updates = run.checkpoint_interval and done - self._checkpoint >= run.checkpoint_interval
        minutes = (time.monotonic() - self._checkpointed_at) / 60.0
        by_time = run.checkpoint_minutes and minutes >= run.checkpoint_minutes
        return bool(self.finished or by_updates or by_time) and done > self._checkpoint

    def _find_cause(self, row: dict[str, float]) -> str:
        loss = name_of_loss(self.experiment.config.ppo.loss, self.experiment.given)
        return _find_cause(row, self.standing.state, loss)

    def save_checkpoint(self, state: ppo.TrainState) -> None:
        """Begin to write a checkpoint to resume from; `state` is the standing's, whole and on this process.

        The lines before it are on disk before it.
        """
        assert self._checkpoints is not None
        best = self.standing.best
        for lines in (self._metrics, self._evaluations, self._timing):
            lines.sync()
        trees = {"state": keys.as_data(state)} | ({"best": best.params} if best.params is not None else {})
        record = {
            "format": FORMAT,
            "config": self.experiment.config.to_dict(),
            "summary": files.to_json({name: self.summary[name] for name in PROGRESS if name in self.summary}),
            "best_score": files.to_json(best.score),
            "best_update": best.update,
            "best_result": files.to_json(best.result),
        }
        self._checkpoints.save(self.standing.update, trees, record)
        self._checkpointed_at, self._checkpoint = time.monotonic(), self.standing.update

    def save_last(self, state: ppo.TrainState) -> None:
        """Write the parameters as they are at the end."""
        params = policy_params(self.experiment.trainer, state)
        checkpoint.save(self.folder / "checkpoints" / "last", params)

    @property
    def _position(self) -> dict[str, int]:
        done = self.standing.update
        return {"update": done, "env_steps": self.env_steps}

    def close(self) -> None:
        """Wait until every checkpoint is on disk."""
        if self._checkpoints is not None:
            checkpoints, self._checkpoints = self._checkpoints, None
            checkpoints.close()

    def __enter__(self) -> Self:
        keep = self.experiment.config.run.checkpoint_keep
        self._checkpoints = checkpoint.Checkpoints(self.folder / RESUME, keep)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _flat_numbers(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of nested mappings under the names of their paths: ``eval/greedy/mrr``."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat_numbers(f"{name}/{key}", value)
        elif isinstance(value, int | float):
            yield f"{name}/{key}", float(value)


class Follower:
    """A recorder in a process that trains along with process 0: it counts updates and writes nothing."""

    evaluation_due = checkpoint_due = False
    updates_to_evaluation = 1  # process 0 says how many

    def __init__(self, experiment: Experiment, standing: Standing) -> None:
        self.standing, self._settings = standing, experiment.config.settings

    @property
    def finished(self) -> bool:
        return self.standing.update >= self._settings.n_updates

    @property
    def env_steps(self) -> int:
        return self.standing.update * self._settings.rollout_size

    def record(self, rows: dict[str, np.ndarray], n: int, seconds: float) -> dict[str, Any]:
        """Count the next `n` updates."""
        self.standing.update += n
        return {}

    def evaluate(self, state: ppo.TrainState) -> dict[str, float]:
        return {}

    def compiled(self, seconds: float) -> None: ...

    def save_checkpoint(self, state: ppo.TrainState) -> None: ...

    def save_last(self, state: ppo.TrainState) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def restore(
    experiment: Experiment,
    folder: Path,
    check: Callable[[dict[str, Any]], None] = lambda record: None,
    until: int | None = None,
) -> tuple[Standing | None, dict[str, Any], list[str]]:
    """The newest standing of a run that can be read, what was recorded beside it, and a line on each that could not.

    Args:
        experiment: of the run.
        folder: of the run.
        check: raises where the record of a checkpoint does not fit.
        until: checkpoints of later updates are passed over.
    """

    def check_record(record: dict[str, Any]) -> None:
        if record.get("format") != FORMAT:
            raise PPOJaxError(
                f"{folder}: its checkpoint was written by an earlier version and holds another training state; "
                "`ppo-jax eval` and `prove` read its parameters, but training cannot go on: train anew"
            )
        check(record)

    state, params = experiment.shapes()
    like = {"state": jax.eval_shape(keys.as_data, state), "best": params}
    stored, problems = checkpoint.newest(folder / RESUME, like, check_record, until)
    if stored is None:
        return None, {}, problems
    record, best = stored.record, Best()
    if "best" in stored.trees:
        score = tuple(-np.inf if x is None else x for x in record["best_score"])
        best = Best(score, stored.trees["best"], record["best_update"], record["best_result"])
    train_state: ppo.TrainState = keys.as_keys(stored.trees["state"], state)
    return Standing(train_state, best, stored.update, record["summary"]["train_seconds"]), record, problems


def _not_finite(name: str, cause: str, standing: Standing, latest: int) -> str:
    kept = f"the checkpoint of update {latest} is kept" if latest else "no checkpoint was written yet"
    return f"update {standing.update}: {name} is not finite; {kept}. {cause}"


def _find_cause(row: dict[str, float], state: ppo.TrainState, loss: str | None) -> str:
    """What the first update that is not finite points to: environment, loss or settings, and what to do about it.

    Args:
        row: its metrics.
        state: after it, or after later ones.
        loss: name of one in place of PPO's.
    """
    running, observation = state.rollout.env_state.episode_return, state.rollout.observation
    here = [x for x in jax.tree.leaves((running, observation)) if x.is_fully_addressable]  # of several processes
    running, *seen = [np.asarray(x) for x in here if jnp.issubdtype(x.dtype, jnp.floating)] or [np.zeros(1)]
    returns = np.append(running, row["episode_return_mean"] if row.get("episodes") else 0.0)
    if not np.isfinite(returns).all():
        return "The environment's rewards are not finite"
    if np.abs(returns).max() > LARGEST_RETURN:
        return f"Returns reach {np.abs(returns).max():.0e}, and float32 cannot square them: make the rewards smaller"
    if not all(np.isfinite(x).all() for x in seen):
        return "The environment's observations are not finite"
    if not all(np.isfinite(row.get(name, 0.0)) for name in ("returns_std", "advantage_std")):
        return "The rollout itself is not finite: look for observations or rewards that are not, or are far too large"
    first = f"{LOOK_AT_LOSS.format(loss)}. " if loss else ""
    return f"{first}Lower learning_rate, or go on without such updates: on_nan=skip"
