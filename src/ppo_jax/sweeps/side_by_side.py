"""Members side by side: the program that trains them, and what they share."""

from __future__ import annotations

import math
import os
from functools import cached_property, lru_cache, partial
from typing import Any

import jax

from ppo_jax import ppo
from ppo_jax.config import Config
from ppo_jax.runs import loop, runner
from ppo_jax.runs.experiment import Experiment, build

__all__ = ["WAYS", "Shared", "chunk_width", "pick", "run_members", "share"]

PyTree = Any
WAYS = ("one by one", "side by side")


@partial(jax.jit, static_argnames=("way", "skip"), donate_argnums=1)
def run_members(
    trainer: ppo.Trainer, states: ppo.TrainState, n: jax.Array, one_by_one: jax.Array, *, way: str, skip: bool = False
) -> tuple[ppo.TrainState, dict[str, jax.Array]]:
    """Up to `training.BUFFER` updates of each of M members.

    Args:
        trainer: shared by the members.
        states: [M, ...], donated.
        n: [] int32, updates.
        one_by_one: [] bool, decides where `way` is ``"either"``: both ways are then in the one program.
        way: ``"side by side"`` (vmapped), ``"one by one"`` or ``"either"``.
        skip: as `skip_non_finite` of `training.run_chunk`.

    Returns:
        The states after n updates and their metrics, [M, BUFFER] each, of which the first n are set.
    """

    def advance(state: ppo.TrainState) -> Any:
        return loop.run_chunk(trainer, state, n, skip)

    def in_turn(states: ppo.TrainState) -> Any:
        return jax.lax.map(advance, states)

    side_by_side = jax.vmap(advance)
    if way == "either":
        return jax.lax.cond(one_by_one, in_turn, side_by_side, states)
    return in_turn(states) if way == "one by one" else side_by_side(states)


@jax.jit
def pick(states: PyTree, i: jax.Array) -> PyTree:
    """The state of member i of [M, ...]."""
    return jax.tree.map(lambda x: x[i], states)


class Shared:
    """What members of a group share, and later sweeps of this process over the same settings as well."""

    def __init__(self, config: Config) -> None:
        self.experiment = build(config)
        self.experiment.task.check()
        self.compiled: dict[tuple[int, int, str], Any] = {}  # (width, devices, way) -> program

    @cached_property
    def context(self) -> dict[str, Any]:
        """What every member's results on test stand beside."""
        return runner.test_context(self.experiment)


@lru_cache(maxsize=4)
def share(config: Config) -> Shared:
    """That of a configuration from `grid.shared_part`."""
    return Shared(config)


def chunk_width(experiment: Experiment, n_members: int, chunk: int | None, devices: int) -> int:
    """Members of a chunk: as many as asked for or as memory allows, as even as can be, a multiple of the devices."""
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
