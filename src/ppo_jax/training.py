"""The training loop of a run: chunks of updates in one program, with evaluations and checkpoints between them.

Where training stands is a `Standing`; what follows from it does not depend on how the updates were cut into chunks, nor
on how often the run was stopped and resumed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import metrics, ppo
from ppo_jax.experiment import Experiment
from ppo_jax.interrupts import Signals
from ppo_jax.journal import GUARDED, Journal, Standing

__all__ = ["chunk_length", "fit", "run_chunk"]

BUFFER = 64  # most updates of one call of the compiled program
CHUNK_SECONDS = 0.5  # aim of one call: often enough for a live progress bar, seldom enough to cost nothing


@partial(jax.jit, static_argnums=3, donate_argnums=1)
def run_chunk(
    trainer: ppo.Trainer, state: ppo.TrainState, n: jax.Array, skip_non_finite: bool = False
) -> tuple[ppo.TrainState, dict[str, jax.Array]]:
    """Up to `BUFFER` updates, `n` of them traced: every chunk length runs the same program.

    Args:
        trainer: the experiment's.
        state: donated.
        n: [] int32.
        skip_non_finite: where a loss or a parameter is not finite, keep parameters, optimizer and normalisers as they
            were before that update and set the metric ``update_skipped``.

    Returns:
        The state after n updates and their metrics, [BUFFER] each, of which the first n are set.
    """
    update = _update_or_skip if skip_non_finite else ppo.update
    shapes = jax.eval_shape(update, trainer, state)[1]
    buffers = {name: jnp.zeros((BUFFER, *s.shape), s.dtype) for name, s in shapes.items()}

    def body(i: jax.Array, carry: Any) -> Any:
        state, buffers = carry
        state, row = update(trainer, state)
        return state, {name: buffers[name].at[i].set(row[name]) for name in buffers}

    return jax.lax.fori_loop(0, n, body, (state, buffers))


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
    writers: Sequence[metrics.Writer],
    bar: metrics.Progress,
) -> None:
    """Train from `standing` to the end, which it then is; metrics, evaluations and checkpoints go to `folder`.

    Raises:
        Interrupted: a signal asked for it; a checkpoint was written.
        PPOJaxError: a loss or a parameter is not finite, and the run is set to stop at that.
    """
    with Journal(experiment, standing, folder, summary, writers) as journal:
        if not journal.finished:
            _train(journal, bar)
        journal.save_last(standing.state)


def _train(journal: Journal, bar: metrics.Progress) -> None:
    experiment, standing = journal.experiment, journal.standing
    n, begin = 1, time.perf_counter()
    skip = experiment.config.run.on_nan == "skip"
    chunk = run_chunk.lower(experiment.trainer, standing.state, n, skip).compile()
    journal.summary["compile_seconds"] = time.perf_counter() - begin
    with Signals() as signals:
        while not journal.finished:
            n = min(n, journal.updates_to_evaluation)
            begin = time.perf_counter()
            standing.state, rows = chunk(experiment.trainer, standing.state, jnp.int32(n))
            rows = jax.device_get(rows)
            seconds = time.perf_counter() - begin
            shown = journal.record(rows, n, seconds)
            if journal.evaluation_due:
                shown["valid"] = journal.evaluate(standing.state)
            bar.update(journal.summary["env_steps"], shown)
            if journal.checkpoint_due or signals.received:
                journal.save_checkpoint(standing.state)
            signals.check()
            n = chunk_length(seconds / n)


def chunk_length(seconds_per_update: float) -> int:
    """Updates of the next call of the compiled program."""
    return int(np.clip(CHUNK_SECONDS / seconds_per_update, 1, BUFFER))
