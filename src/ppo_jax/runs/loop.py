"""The training loop of a run: chunks of updates in one program, with evaluations and checkpoints between them.

Where training stands is a `Standing`; what follows from it does not depend on how the updates were cut into chunks, nor
on how often the run was stopped and resumed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import ppo
from ppo_jax.devices import cpu, mesh, processes
from ppo_jax.devices.mesh import Placement
from ppo_jax.runs import loggers
from ppo_jax.runs.experiment import Experiment
from ppo_jax.runs.recorder import GUARDED, Journal, Standing
from ppo_jax.runs.signals import Interrupted, Signals

__all__ = [
    "BUFFER",
    "Program",
    "chunk_length",
    "compile_chunk",
    "fit",
    "follow",
    "run_chunk",
]

BUFFER = 64  # most updates of one call of the compiled program
CHUNK_SECONDS = 0.5  # aim of one call: often enough for a live progress bar, seldom enough to cost nothing


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
    # Jitted, so that its shapes below and the loop share one trace, which takes seconds.
    update = jax.jit(_update_or_skip if skip_non_finite else ppo.update)

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


class Program(NamedTuple):
    """`run_chunk` for a run."""

    chunk: jax.stages.Compiled
    seconds: float  # that it took to compile


def fit(
    experiment: Experiment,
    standing: Standing,
    folder: Path,
    summary: dict[str, Any],
    writers: Sequence[loggers.Writer],
    bar: loggers.Progress,
) -> None:
    """Train from `standing` to the end, which it then is; metrics, evaluations and checkpoints go to `folder`.

    Raises:
        Interrupted: a signal asked for it; a checkpoint was written.
        NotFinite: a loss or a parameter is not finite, and the run is set to stop at that.
    """
    placement = mesh.placement(experiment.config)
    standing.state, _ = placement.put(standing.state, standing.update)
    with Journal(experiment, standing, folder, summary, writers) as journal:
        if not journal.finished:
            program = _compile(experiment, placement, standing.state)
            _train(journal, placement, program, bar)
        standing.state = placement.whole(standing.state)
        journal.save_last(standing.state)


def follow(experiment: Experiment) -> None:
    """Take part in the training that process 0 does by `fit`, from its standing to the end; writes nothing.

    Raises:
        Interrupted: a signal asked for it, here or elsewhere.
    """
    placement = mesh.placement(experiment.config)
    state, update = placement.put(experiment.initial_state(experiment.config.run.seed), 0)
    if update < experiment.config.settings.n_updates:
        chunk, n = _compile(experiment, placement, state).chunk, 1
        with Signals() as signals:
            while update < experiment.config.settings.n_updates:
                state, _ = chunk(experiment.trainer, state, jnp.int32(n))
                update += n
                n, keep, stop = processes.agree(0, False, signals.received)
                if keep:
                    placement.whole(state)
                if stop:
                    raise Interrupted(stop, agreed=True)
    placement.whole(state)


def _train(journal: Journal, placement: Placement, program: Program, bar: loggers.Progress) -> None:
    experiment, standing = journal.experiment, journal.standing
    chunk, n = program.chunk, 1
    journal.summary["compile_seconds"] = program.seconds
    with Signals() as signals:
        while not journal.finished:
            begin = time.perf_counter()
            standing.state, rows = chunk(experiment.trainer, standing.state, jnp.int32(n))
            rows = jax.device_get(rows)
            seconds = time.perf_counter() - begin
            shown = journal.record(rows, n, seconds)
            if journal.evaluation_due:
                shown["valid"] = journal.evaluate(placement.part(standing.state))
            bar.update(journal.summary["env_steps"], shown)
            n = min(chunk_length(seconds / n), journal.updates_to_evaluation)
            n, keep, stop = processes.agree(n, journal.checkpoint_due, signals.received)
            if keep:
                journal.save_checkpoint(placement.whole(standing.state))
            if stop:
                raise Interrupted(stop, agreed=True)


def compile_chunk(
    trainer: ppo.Trainer,
    state: ppo.TrainState,
    skip_non_finite: bool = False,
    placement: Placement = Placement(),  # noqa: B008
) -> jax.stages.Compiled:
    """`run_chunk`, compiled for the shapes of its arguments: a function of ``(trainer, state, n)``."""
    lowered = run_chunk.lower(trainer, state, jnp.int32(1), skip_non_finite, placement)
    return lowered.compile(cpu.compiler_options())


def _compile(experiment: Experiment, placement: Placement, state: ppo.TrainState) -> Program:
    begin = time.perf_counter()
    chunk = compile_chunk(experiment.trainer, state, experiment.config.run.on_nan == "skip", placement)
    return Program(chunk, time.perf_counter() - begin)


def chunk_length(seconds_per_update: float) -> int:
    """Updates of the next call of the compiled program."""
    return int(np.clip(CHUNK_SECONDS / seconds_per_update, 1, BUFFER))
