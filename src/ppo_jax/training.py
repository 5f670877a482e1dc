"""The training loop of a run: chunks of updates in one program, evaluations, checkpoints to resume from.

Where training stands is a `Standing`; what follows from it does not depend on how the updates were cut into chunks, nor
on how often the run was stopped and resumed.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import checkpoint, distributed, metrics, ppo
from ppo_jax.distributed import Placement
from ppo_jax.experiment import Experiment, PolicyParams, policy_params
from ppo_jax.types import PPOJaxError

__all__ = ["Best", "Interrupted", "Standing", "fit", "follow", "restore", "run_chunk", "sigterm_interrupts"]

BUFFER = 64  # most updates of one call of the compiled program
CHUNK_SECONDS = 0.5  # aim of one call: often enough for a live progress bar, seldom enough to cost nothing
# What a chunk adds to the summary.
PROGRESS = ("env_steps", "updates", "train_seconds", "steps_per_second", "updates_skipped", "final")
# Must be finite; a parameter is not finite only after a gradient that was not.
GUARDED = ("policy_loss", "value_loss", "grad_norm")


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop; during training it did so at the end of a chunk."""

    def __init__(self, number: int, agreed: bool = False) -> None:
        super().__init__()
        self.signal = signal.Signals(number)
        self.agreed = agreed  # every process of the run stops with this one


@dataclass
class Best:
    """Parameters best on valid so far; of equals the latest."""

    score: tuple[float, ...] = (-np.inf,)
    params: PolicyParams | None = None
    update: int = 0
    result: dict[str, Any] = field(default_factory=dict)

    def offer(self, params: PolicyParams, update: int, result: dict[str, Any]) -> bool:
        """Take these parameters if they are no worse; says whether they were taken."""
        if (score := _score(result)) < self.score:
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


@partial(jax.jit, static_argnums=(3, 4), donate_argnums=1)
def run_chunk(
    trainer: ppo.Trainer,
    state: ppo.TrainState,
    n: jax.Array,
    skip_non_finite: bool = False,
    placement: Placement = Placement(),  # noqa: B008
) -> tuple[ppo.TrainState, dict[str, jax.Array]]:
    """Up to `BUFFER` updates, `n` of them traced: every chunk length runs the same program.

    Args:
        trainer: the experiment's.
        state: donated.
        n: [] int32.
        skip_non_finite: where a loss or a parameter is not finite, keep parameters, optimizer and normalisers as they
            were before that update and set the metric ``update_skipped``.
        placement: the devices that the state lies on.

    Returns:
        The state after n updates and their metrics, [BUFFER] each, of which the first n are set.
    """
    update = _update_or_skip if skip_non_finite else ppo.update

    def updates(trainer: ppo.Trainer, state: ppo.TrainState, n: jax.Array) -> Any:
        shapes = jax.eval_shape(update, trainer, state)[1]
        buffers = {name: jnp.zeros((BUFFER, *s.shape), s.dtype) for name, s in shapes.items()}

        def body(i: jax.Array, carry: Any) -> Any:
            state, buffers = carry
            state, row = update(trainer, state)
            return state, {name: buffers[name].at[i].set(row[name]) for name in buffers}

        return jax.lax.fori_loop(0, n, body, (state, buffers))

    return placement.spread(updates)(trainer, state, n)


def _update_or_skip(trainer: ppo.Trainer, before: ppo.TrainState) -> tuple[ppo.TrainState, dict[str, jax.Array]]:
    after, row = ppo.update(trainer, before)
    learnt = [*(row[name] for name in GUARDED), *jax.tree.leaves(after.params)]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in learnt]))
    moved_on = {name: getattr(after, name) for name in ("env_state", "observation", "key", "step")}
    kept = before._replace(**moved_on)
    key, plain = after.key, lambda state: state._replace(key=())
    state = jax.tree.map(partial(jnp.where, finite), plain(after), plain(kept))._replace(key=key)
    return state, row | {"update_skipped": 1.0 - finite}


def fit(
    experiment: Experiment,
    standing: Standing,
    folder: Path,
    summary: dict[str, Any],
    writers: list[metrics.Writer],
    bar: metrics.Progress,
) -> None:
    """Train from `standing` to the end, which it then is; metrics, evaluations and checkpoints go to `folder`.

    Raises:
        Interrupted: a signal asked for it; a checkpoint was written.
        PPOJaxError: a loss or a parameter is not finite, and the run is set to stop at that.
    """
    placement = distributed.placement(experiment.config)
    standing.state, _ = placement.put(standing.state, standing.update)
    if standing.update < experiment.config.settings.n_updates:
        _train(experiment, placement, standing, folder, summary, writers, bar)
    standing.state = placement.whole(standing.state)
    checkpoint.save(folder / "checkpoints" / "last", policy_params(experiment.trainer, standing.state))


def follow(experiment: Experiment) -> None:
    """Take part in the training that process 0 does by `fit`, from its standing to the end; writes nothing.

    Raises:
        Interrupted: a signal asked for it, here or elsewhere.
    """
    placement = distributed.placement(experiment.config)
    state, update = placement.put(experiment.initial_state(experiment.config.run.seed), 0)
    chunk, n = _compile(experiment, placement, state), 1
    with _Signals() as signals:
        while update < experiment.config.settings.n_updates:
            state, _ = chunk(experiment.trainer, state, jnp.int32(n))
            update += n
            n, keep, stop = distributed.agree(0, False, signals.received)
            if keep:
                placement.whole(state)
            if stop:
                raise Interrupted(stop, agreed=True)
    placement.whole(state)


def _compile(experiment: Experiment, placement: Placement, state: ppo.TrainState) -> jax.stages.Compiled:
    skip = experiment.config.run.on_nan == "skip"
    return run_chunk.lower(experiment.trainer, state, 1, skip, placement).compile()


def _train(
    experiment: Experiment,
    placement: Placement,
    standing: Standing,
    folder: Path,
    summary: dict[str, Any],
    writers: list[metrics.Writer],
    bar: metrics.Progress,
) -> None:
    config, trainer, settings = experiment.config, experiment.trainer, experiment.config.settings
    interval = config.evaluation.eval_interval or settings.n_updates
    skip = config.run.on_nan == "skip"
    n, begin = 1, time.perf_counter()
    chunk = _compile(experiment, placement, standing.state)
    summary["compile_seconds"] = time.perf_counter() - begin
    evals, timing = metrics.JSONLines(folder / "eval.jsonl"), metrics.JSONLines(folder / "timing.jsonl")
    with _Keeper(experiment, folder, standing) as keeper, _Signals() as signals:
        while standing.update < settings.n_updates:
            begin = time.perf_counter()
            standing.state, rows = chunk(trainer, standing.state, jnp.int32(n))
            rows = jax.device_get(rows)
            seconds = time.perf_counter() - begin
            standing.seconds += seconds
            for i in range(n):
                standing.update += 1
                position = {"update": standing.update, "env_steps": standing.update * settings.rollout_size}
                row = {name: float(column[i]) for name, column in rows.items()}
                for writer in writers:
                    writer.write(position | row)
                if not skip and (broken := [name for name in GUARDED if not np.isfinite(row[name])]):
                    raise PPOJaxError(_not_finite(broken[0], standing.update, keeper.latest))
            timing.write({"update": standing.update, "updates": n, "seconds": seconds})
            summary |= {
                "env_steps": position["env_steps"],
                "updates": standing.update,
                "train_seconds": standing.seconds,
                "steps_per_second": position["env_steps"] / standing.seconds,
                "final": row,
            }
            if skip:
                summary["updates_skipped"] = summary.get("updates_skipped", 0) + int(rows["update_skipped"][:n].sum())
            shown = dict(row)
            if standing.update % interval == 0 or standing.update == settings.n_updates:
                params = policy_params(trainer, placement.part(standing.state))
                result = experiment.evaluate(params, "valid")
                evals.write(position | result | experiment.value_errors(params))
                if standing.best.offer(params, standing.update, result):
                    checkpoint.save(folder / "checkpoints" / "best", params)
                shown["valid"] = standing.best.score[0]
            bar.update(position["env_steps"], shown)
            n = int(np.clip(CHUNK_SECONDS / (seconds / n), 1, BUFFER))
            n = min(n, interval - standing.update % interval, settings.n_updates - standing.update)
            n, keep, stop = distributed.agree(n, keeper.due or n == 0, signals.received)
            if keep:
                keeper.keep(summary, placement.whole(standing.state))
            if stop:
                raise Interrupted(stop, agreed=True)


def restore(
    experiment: Experiment, folder: Path, check: Callable[[dict[str, Any]], None]
) -> tuple[Standing | None, dict[str, Any], list[str]]:
    """The newest standing of a run that can be read, what was recorded beside it, and a line on each that could not.

    `check` raises where the record of a checkpoint does not fit.
    """
    if not (folder / "checkpoints" / "resume").is_dir():
        return None, {}, []
    seed = experiment.config.run.seed
    state = jax.eval_shape(lambda: _plain(experiment.initial_state(seed)))
    params = jax.eval_shape(lambda: experiment.untrained(seed))
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints" / "resume", experiment.config.run.checkpoint_keep)
    stored, problems = checkpoints.newest({"state": state, "best": params}, check)
    checkpoints.close()
    if stored is None:
        return None, {}, problems
    record, best = stored.record, Best()
    if "best" in stored.trees:
        score = tuple(-np.inf if x is None else x for x in record["best_score"])
        best = Best(score, stored.trees["best"], record["best_update"], record["best_result"])
    train_state: ppo.TrainState = stored.trees["state"]
    train_state = train_state._replace(key=jax.random.wrap_key_data(train_state.key))
    return Standing(train_state, best, stored.update, record["summary"]["train_seconds"]), record, problems


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within, SIGTERM ends what runs as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    old = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


class _Keeper:
    """Writes checkpoints to resume from, says when they are due, and waits for the last one at the end."""

    def __init__(self, experiment: Experiment, folder: Path, standing: Standing) -> None:
        self._experiment, self._folder, self._standing = experiment, folder, standing
        self._checkpoints: checkpoint.Checkpoints | None = None
        self._time = time.monotonic()
        self.latest = standing.update  # of the newest checkpoint

    @property
    def due(self) -> bool:
        """Whether an interval has passed since the last checkpoint."""
        run = self._experiment.config.run
        by_updates = run.checkpoint_interval and self._standing.update - self.latest >= run.checkpoint_interval
        by_time = run.checkpoint_minutes and time.monotonic() - self._time >= 60.0 * run.checkpoint_minutes
        return bool(by_updates or by_time)

    def keep(self, summary: dict[str, Any], state: ppo.TrainState) -> None:
        """Write a checkpoint of where training stands; `state` is that of the standing on this process alone."""
        run, standing = self._experiment.config.run, self._standing
        if self._checkpoints is None:
            self._checkpoints = checkpoint.Checkpoints(self._folder / "checkpoints" / "resume", run.checkpoint_keep)
        best = standing.best
        trees = {"state": _plain(state)} | ({"best": best.params} if best.params is not None else {})
        record = {
            "config": self._experiment.config.to_dict(),
            "summary": metrics.to_json({name: summary[name] for name in PROGRESS if name in summary}),
            "best_score": metrics.to_json(best.score),
            "best_update": best.update,
            "best_result": metrics.to_json(best.result),
        }
        self._checkpoints.save(standing.update, trees, record)
        self.latest, self._time = standing.update, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._checkpoints is not None:
            self._checkpoints.close()


class _Signals:
    """Remembers Ctrl-C and SIGTERM until the chunk that runs has ended; a second one is not held back."""

    def __init__(self) -> None:
        self.received = 0  # none yet
        self._old: Mapping[int, Any] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()


def _plain(state: ppo.TrainState) -> ppo.TrainState:
    """With the data of its random key, which can be written."""
    return state._replace(key=jax.random.key_data(state.key))


def _not_finite(name: str, update: int, latest: int) -> str:
    kept = f"the checkpoint of update {latest} is kept" if latest else "no checkpoint was written yet"
    advice = "Lower learning_rate, or go on without such updates: on_nan=skip"
    return f"update {update}: {name} is not finite; {kept}. {advice}"


def _score(result: dict[str, Any]) -> tuple[float, ...]:
    """Greedy MRR, then marginal AUC-PR; mean return for episodes. None counts as worst."""
    keys = [("greedy", "mrr"), ("marginal", "auc_pr")] if "greedy" in result else [("return_mean",)]
    values = []
    for key in keys:
        value: Any = result
        for part in key:
            value = value[part]
        values.append(-np.inf if value is None or np.isnan(value) else float(value))
    return tuple(values)
