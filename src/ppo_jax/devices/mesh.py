"""Several devices: environments are split over a mesh, everything else is on each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ppo_jax import ppo
from ppo_jax.config import Config
from ppo_jax.config.suggestions import nearest_divisors
from ppo_jax.devices import cpu
from ppo_jax.devices.collectives import default_collectives
from ppo_jax.ops import keys
from ppo_jax.types import PPOJaxError

PyTree = Any
__all__ = ["AXIS", "LAYOUT", "SPLIT", "WHOLE", "Placement", "placement", "require_devices", "resolve", "shard_seeds"]

AXIS = "devices"
SPLIT, WHOLE = PartitionSpec(AXIS), PartitionSpec()
# Where the environments stand is split, everything else is on each device.
LAYOUT: Any = ppo.TrainState(**dict.fromkeys(ppo.TrainState._fields, WHOLE) | {"rollout": SPLIT})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Placement:
    """The devices of a run; hashable, so a static argument of a compiled program. `mesh` None: the default device."""

    mesh: Mesh | None = None

    @property
    def size(self) -> int:
        """Number of devices."""
        return 1 if self.mesh is None else self.mesh.size

    def spread(self, updates: Callable[..., Any]) -> Callable[..., Any]:
        """``updates(trainer, state, n) -> (state, metrics)``, run by every device on its part of the environments."""
        if self.mesh is None:
            return updates

        def part(trainer: ppo.Trainer, state: ppo.TrainState, n: jax.Array) -> Any:
            return updates(replace(trainer, collectives=default_collectives(AXIS)), state, n)

        # No check of what varies over the mesh: it would refuse the loops within many an environment.
        ins, outs = (WHOLE, LAYOUT, WHOLE), (LAYOUT, WHOLE)
        return jax.shard_map(part, mesh=self.mesh, in_specs=ins, out_specs=outs, check_vma=False)

    def put(self, state: ppo.TrainState, update: int) -> tuple[ppo.TrainState, int]:
        """A state of all environments, and its number of updates, as process 0 has them, onto the devices."""
        if self.mesh is None:
            return state, update
        host = jax.device_get(keys.as_data(state))
        if jax.process_count() > 1:
            host, update = multihost_utils.broadcast_one_to_all((host, np.int32(update)))
        placed = jax.tree.map(lambda spec, part: jax.tree.map(partial(self._put, spec), part), LAYOUT, host)
        return keys.as_keys(placed, state), int(update)

    def _put(self, spec: PartitionSpec, x: np.ndarray) -> jax.Array:
        assert self.mesh is not None
        return jax.make_array_from_callback(x.shape, NamedSharding(self.mesh, spec), lambda index: x[index])

    def whole(self, state: ppo.TrainState) -> ppo.TrainState:
        """The state of all environments on this process alone. All processes must call it."""
        if self.mesh is None:
            return state
        rollout = multihost_utils.process_allgather(keys.as_data(state.rollout), tiled=True)
        return self.part(state)._replace(rollout=keys.as_keys(rollout, state.rollout))

    def part(self, state: ppo.TrainState) -> ppo.TrainState:
        """What this process's first device holds: all but the environments of others."""
        return state if self.mesh is None else jax.tree.map(lambda x: x.addressable_data(0), state)


def placement(config: Config) -> Placement:
    """The devices that a resolved configuration asks for, equally many of each process."""
    n = config.run.devices or 1
    if n == 1:
        return Placement()
    each = n // jax.process_count()
    of_process: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        of_process.setdefault(device.process_index, []).append(device)
    chosen = [device for index in sorted(of_process) for device in of_process[index][:each]]
    return Placement(Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,)))


def resolve(config: Config, begins: bool = True) -> Config:
    """The configuration with its number of devices, where that is not one.

    Without a number it is those of all processes that train together; else one accelerator, or as many devices of a
    processor as are there and fit a run that `begins`. One that goes on and names none was on one.

    Raises:
        PPOJaxError: that many devices are not there, or environments or minibatches cannot be split over them.
    """
    processes = jax.process_count()
    n = config.run.devices or (jax.device_count() if processes > 1 else 1)
    if config.run.devices is None and processes == 1 and begins and jax.default_backend() == "cpu":
        n = cpu.fitting_devices(config, min(jax.device_count(), cpu.cores()))
    if n == 1 == processes:
        return config
    require_devices(n)
    if n % processes:
        raise PPOJaxError(f"devices = {n} cannot be shared equally by {processes} processes")
    n_envs, batch_size = config.ppo.n_envs, config.settings.batch_size
    if n_envs % n:
        near = " or ".join(map(str, sorted({max(n_envs // n, 1) * n, (n_envs // n + 1) * n})))
        raise PPOJaxError(f"ppo.n_envs = {n_envs} cannot be split over {n} devices; the nearest that can: {near}")
    length = config.settings.sequence_length
    if batch_size % (n * length):  # whole sequences for each
        factors = n_envs // n, config.ppo.n_steps // length
        sizes = [n * length * size for size in nearest_divisors(factors, round(batch_size / (n * length)))]
        sequences = f" in sequences of {length}" if length > 1 else ""
        raise PPOJaxError(
            f"ppo.batch_size = {batch_size} cannot be split over {n} devices{sequences}; the nearest that can: "
            + " or ".join(map(str, sizes))
        )
    return config.override({"devices": n})


def require_devices(n: int) -> None:
    """Raise `PPOJaxError` where so many devices are not there."""
    there, kind = jax.device_count(), jax.devices()[0].platform
    if n <= there:
        return
    cores = cpu.cores()
    most = max(there, cores) if kind == "cpu" and jax.process_count() == 1 else there
    more = f"; more virtual ones on a CPU: JAX_NUM_CPU_DEVICES={n} ppo-jax …" if kind == "cpu" else ""
    of_cores = f" and {cores} core{'s' if cores > 1 else ''}" if most > there else ""
    count = (
        f"{there} {kind} device{'s' if there > 1 else ''}{of_cores} {'is' if there == 1 and not of_cores else 'are'}"
    )
    raise PPOJaxError(f"devices = {n}, but {count} there; take them with --devices {most}{more}")


def shard_seeds(tree: PyTree, devices: int) -> PyTree:
    """Place the leading axis of every array of `tree`, one entry a seed, in equal parts on the first `devices` devices.

    ``jax.jit(jax.vmap(...))`` of it then runs each part where it lies; nothing is exchanged.
    """
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:devices]), (AXIS,), axis_types=(AxisType.Auto,)), SPLIT)
    return jax.tree.map(lambda x: jax.device_put(x, sharding), tree)
