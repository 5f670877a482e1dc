"""The training loop of a run: chunks of updates in one program, with evaluations and checkpoints between them.

What follows from where training stands does not depend on how the updates were cut into chunks, nor on how often the
run was stopped and resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import ppo
from ppo_jax.devices import cpu, processes
from ppo_jax.devices.mesh import Placement, placement
from ppo_jax.networks.check import call_own_code
from ppo_jax.runs.experiment import Experiment
from ppo_jax.runs.recorder import GUARDED, Follower, Recorder
from ppo_jax.runs.signals import Interrupted, Signals
from ppo_jax.types import PPOJaxError, PyTree

__all__ = ["BUFFER", "Hook", "check", "chunk_length", "compile_chunk", "fit", "run_chunk"]

BUFFER = 64  # most updates of one call of the compiled program
CHUNK_SECONDS = 0.5  # aim of one call: often enough for a live progress bar, seldom enough to cost nothing
# (trainer, state) -> (trainer, state) of the same shapes, between updates; on one device.
Hook = Callable[[ppo.Trainer, ppo.TrainState], tuple[ppo.Trainer, ppo.TrainState]]


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
        skip_non_finite: where a loss or a parameter is not finite, keep learner and normalizers as they were before
            that update and set the metric ``update_skipped``.
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
    learnt = [*(row[name] for name in GUARDED if name in row), *jax.tree.leaves(after.learner.params)]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in learnt]))
    learner, normalizers = jax.tree.map(
        partial(jnp.where, finite), (after.learner, after.normalizers), (before.learner, before.normalizers)
    )
    return after._replace(learner=learner, normalizers=normalizers), row | {"update_skipped": 1.0 - finite}


def fit(
    experiment: Experiment,
    recorder: Recorder | Follower,
    show: Callable[[int, dict[str, Any]], None] = lambda env_steps, row: None,
    hook: Hook | None = None,
    hook_interval: int = 1,
) -> None:
    """Train from where the recorder stands to the end, where it then stands.

    Every process of a run does the same; what is written and evaluated is the business of its recorder, and processes
    agree after each chunk on how to go on.

    Args:
        experiment: of the run.
        recorder: process 0's writes and evaluates; another's follows.
        show: receives the environment steps done and the newest metrics, such as `loggers.Progress.update`.
        hook: called before the first update and then every `hook_interval` updates. What it changes in the trainer
            is not saved: it should follow from the state, so that a resumed run goes on the same way.
        hook_interval: updates.

    Raises:
        Interrupted: a signal asked for it, here or in another process; a checkpoint was written.
        NotFinite: a loss or a parameter is not finite, and the run is set to stop at that.
    """
    where, trainer, standing = placement(experiment.config), experiment.trainer, recorder.standing
    standing.state, standing.update = where.put(standing.state, standing.update)
    with recorder:
        with Signals() as signals:
            if not recorder.finished:
                begin = time.perf_counter()
                skip = experiment.config.run.on_nan == "skip"
                chunk = compile_chunk(trainer, standing.state, skip, where)
                recorder.compiled(time.perf_counter() - begin)
            n = 1
            while not recorder.finished:
                if hook is not None and standing.update % hook_interval == 0:
                    trainer, standing.state = _call_hook(hook, trainer, standing.state)
                begin = time.perf_counter()
                standing.state, rows = chunk(trainer, standing.state, jnp.int32(n))
                rows = jax.device_get(rows)
                seconds = time.perf_counter() - begin
                shown = recorder.record(rows, n, seconds)
                if recorder.evaluation_due:
                    shown |= recorder.evaluate(where.part(standing.state))
                show(recorder.env_steps, shown)
                n = min(chunk_length(seconds / n), recorder.updates_to_evaluation)
                if hook is not None:
                    n = min(n, hook_interval - standing.update % hook_interval)
                n, keep, stop = processes.agree(n, recorder.checkpoint_due, signals.received)
                if keep:
                    recorder.save_checkpoint(where.whole(standing.state))
                if stop:
                    raise Interrupted(stop, agreed=True)
        standing.state = where.whole(standing.state)
        recorder.save_last(standing.state)


def check(experiment: Experiment) -> None:
    """Trace the training program; nothing is compiled or computed. Raises whatever the user's own parts raise."""
    state, _ = experiment.shapes()
    jax.eval_shape(ppo.update, experiment.trainer, state)


def _call_hook(hook: Hook, trainer: ppo.Trainer, state: ppo.TrainState) -> tuple[ppo.Trainer, ppo.TrainState]:
    """What a hook makes of trainer and state, if the compiled program can go on with it."""
    before = _shapes((trainer, state))
    after = call_own_code("hook", hook, trainer, state)
    if not (isinstance(after, tuple) and len(after) == 2):
        raise PPOJaxError(f"hook: must return (trainer, state), got {type(after).__name__}")
    if (now := _shapes(after)).keys() != before.keys():
        raise PPOJaxError("hook: trainer and state must stay built as they were")
    for name, shape in now.items():
        if shape != before[name]:
            raise PPOJaxError(f"hook: {name} must stay {before[name]}, got {shape}")
    return after


def _shapes(tree: PyTree) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(lambda x: x, tree))
    return {jax.tree_util.keystr(path): f"{list(x.shape)} {x.dtype}" for path, x in leaves}


def compile_chunk(
    trainer: ppo.Trainer,
    state: ppo.TrainState,
    skip_non_finite: bool = False,
    placement: Placement = Placement(),  # noqa: B008
) -> jax.stages.Compiled:
    """`run_chunk`, compiled for the shapes of its arguments: a function of ``(trainer, state, n)``."""
    lowered = run_chunk.lower(trainer, state, jnp.int32(1), skip_non_finite, placement)
    return lowered.compile(cpu.compiler_options())


def chunk_length(seconds_per_update: float) -> int:
    """Updates of the next call of the compiled program."""
    return int(np.clip(CHUNK_SECONDS / seconds_per_update, 1, BUFFER))
