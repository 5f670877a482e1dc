"""Members of a sweep in one program: the program that trains them, and what they share."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from typing import Any

import jax

from ppo_jax import ppo
from ppo_jax.config import Config
from ppo_jax.config.own_code import describe_raised, summarize_error
from ppo_jax.runs import loop, runner
from ppo_jax.runs.experiment import Experiment, build
from ppo_jax.tasks.wrappers import steps_outside
from ppo_jax.types import PPOJaxError

__all__ = ["NotBuilt", "Shared", "building", "chunk_width", "describe_failure", "pick", "run_members", "share"]

PyTree = Any


class NotBuilt(Exception):
    """A program cannot be built; its cause says why."""


@contextmanager
def building() -> Iterator[None]:
    """Within, whatever is raised is a `NotBuilt`."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise NotBuilt from error


def describe_failure(error: BaseException) -> str:
    """Why a member or a trial failed, in one line."""
    return str(error) if isinstance(error, PPOJaxError) else describe_raised(error) or summarize_error(error)


@partial(jax.jit, static_argnames=("side_by_side", "skip"), donate_argnums=1)
def run_members(
    trainer: ppo.Trainer, states: ppo.TrainState, n: jax.Array, *, side_by_side: bool, skip: bool = False
) -> tuple[ppo.TrainState, dict[str, jax.Array]]:
    """Up to `loop.BUFFER` updates of each of M members.

    Args:
        trainer: shared by the members.
        states: [M, ...], donated.
        n: [] int32, updates.
        side_by_side: vmapped; otherwise one after another.
        skip: as `skip_non_finite` of `loop.run_chunk`.

    Returns:
        The states after n updates and their metrics, [M, BUFFER] each, of which the first n are set.
    """

    def advance(state: ppo.TrainState) -> tuple[ppo.TrainState, dict[str, jax.Array]]:
        return loop.run_chunk(trainer, state, n, skip)

    advanced: Any = jax.vmap(advance)(states) if side_by_side else jax.lax.map(advance, states)
    return advanced


@jax.jit
def pick(states: PyTree, i: jax.Array) -> PyTree:
    """The state of member i of [M, ...]."""
    return jax.tree.map(lambda x: x[i], states)


class Shared:
    """What members that share a program share, and later sweeps of this process over the same settings as well."""

    def __init__(self, config: Config) -> None:
        self.experiment = build(config)
        self.experiment.task.check()
        self.compiled: dict[tuple[int, int, bool], Any] = {}  # (width, devices, side by side) -> program

    @cached_property
    def context(self) -> dict[str, Any]:
        """What every member's results on test stand beside."""
        return runner.test_context(self.experiment)


@lru_cache(maxsize=4)
def share(config: Config) -> Shared:
    """That of a configuration from `plan.shared_part`."""
    return Shared(config)


def chunk_width(experiment: Experiment, n_members: int, chunk: int | None, devices: int) -> int:
    """Members of a chunk: as many as asked for or as memory allows, as even as can be, a multiple of the devices.

    One where the environment is stepped outside the program.
    """
    if steps_outside(experiment.env):
        return 1
    state, _ = experiment.shapes()
    transitions = jax.eval_shape(lambda state: ppo.rollout(experiment.trainer, state)[1], state)
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(transitions))
    # A rollout is held about four times: as written, flattened, shuffled, and as what the gradient keeps.
    limit = min(n_members, chunk or max(1, int(devices * _memory() * 0.5 / (4 * size))))
    even = math.ceil(n_members / math.ceil(n_members / limit))
    return math.ceil(even / devices) * devices


def _memory() -> int:
    """Bytes of the device, or for the CPU of the machine."""
    stats = jax.devices()[0].memory_stats() or {}
    return int(stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
