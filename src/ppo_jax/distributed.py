"""Several devices and several processes: where the state of a run lies, and how processes that train together agree.

Environments are split over the devices of a mesh, everything else is on each of them. Process 0 leads: it alone writes,
evaluates and decides how a run goes on; the others compute the same updates and follow (docs/scaling.md).
"""

from __future__ import annotations

import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ppo_jax import ppo, processor
from ppo_jax.config import Config
from ppo_jax.parsing import nearest_divisors
from ppo_jax.types import PPOJaxError

__all__ = ["Lost", "Placement", "join", "leads", "placement", "require_devices", "resolve", "shard_seeds", "together"]

PyTree = Any
AXIS = "devices"
SPLIT, WHOLE = PartitionSpec(AXIS), PartitionSpec()
LAYOUT = ppo.TrainState(
    **dict.fromkeys(ppo.TrainState._fields, WHOLE)  # type: ignore[arg-type]
    | dict.fromkeys(("env_state", "observation", "discounted_return"), SPLIT)
)
CONNECT_SECONDS = 120  # processes may start that far apart
HEARTBEAT_SECONDS = 30  # without a sign of life a process counts as dead
SHUTDOWN_SECONDS = 60
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


class Lost(PPOJaxError):
    """Another process of the run ended or cannot be reached."""

    exit_code = 1


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
            return updates(replace(trainer, settings=replace(trainer.settings, axis=AXIS)), state, n)

        # No check of what varies over the mesh: it would refuse the loops within many an environment.
        ins, outs = (WHOLE, LAYOUT, WHOLE), (LAYOUT, WHOLE)
        return jax.shard_map(part, mesh=self.mesh, in_specs=ins, out_specs=outs, check_vma=False)

    def put(self, state: ppo.TrainState, update: int) -> tuple[ppo.TrainState, int]:
        """A state of all environments, and its number of updates, as process 0 has them, onto the devices."""
        if self.mesh is None:
            return state, update
        host = jax.device_get(state._replace(key=jax.random.key_data(state.key)))
        if jax.process_count() > 1:
            host, update = multihost_utils.broadcast_one_to_all((host, np.int32(update)))
        parts = {name: jax.tree.map(partial(self._put, spec), getattr(host, name)) for name, spec in _layout()}
        state = ppo.TrainState(**parts)
        return state._replace(key=jax.random.wrap_key_data(state.key)), int(update)

    def _put(self, spec: PartitionSpec, x: np.ndarray) -> jax.Array:
        assert self.mesh is not None
        return jax.make_array_from_callback(x.shape, NamedSharding(self.mesh, spec), lambda index: x[index])

    def whole(self, state: ppo.TrainState) -> ppo.TrainState:
        """The state of all environments on this process alone. All processes must call it."""
        if self.mesh is None:
            return state
        gather = partial(multihost_utils.process_allgather, tiled=True)
        kept = self.part(state)
        return kept._replace(**{name: gather(getattr(state, name)) for name, spec in _layout() if spec == SPLIT})

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
        n = processor.fitting_devices(config, min(jax.device_count(), processor.cores()))
    if n == 1 == processes:
        return config
    require_devices(n)
    if n % processes:
        raise PPOJaxError(f"devices = {n} cannot be shared equally by {processes} processes")
    n_envs, batch_size = config.ppo.n_envs, config.settings.batch_size
    if n_envs % n:
        near = " or ".join(map(str, sorted({max(n_envs // n, 1) * n, (n_envs // n + 1) * n})))
        raise PPOJaxError(f"ppo.n_envs = {n_envs} cannot be split over {n} devices; the nearest that can: {near}")
    if batch_size % n:
        sizes = [n * size for size in nearest_divisors((n_envs // n, config.ppo.n_steps), round(batch_size / n))]
        near = " or ".join(map(str, sizes))
        raise PPOJaxError(
            f"ppo.batch_size = {batch_size} cannot be split over {n} devices; the nearest that can: {near}"
        )
    if (groups := config.ppo.shuffle_groups) > 1 and groups % n:
        fitting = ", ".join(str(d) for d in range(1, groups + 1) if groups % d == 0)
        raise PPOJaxError(f"{n} devices cannot share ppo.shuffle_groups = {groups}; these many can: {fitting}")
    return config.override({"devices": n})


def require_devices(n: int) -> None:
    """Raise `PPOJaxError` where so many devices are not there."""
    there, kind = jax.device_count(), jax.devices()[0].platform
    if n <= there:
        return
    cores = processor.cores()
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


def leads() -> bool:
    """Whether this process writes, evaluates and decides."""
    return jax.process_index() == 0


def agree(n: int, keep: bool, stop: int) -> tuple[int, bool, int]:
    """What all processes do next; each calls it with what it would do.

    Returns:
        Updates of the next chunk, of process 0; whether to keep a checkpoint, where process 0 would or before a stop;
        a signal to stop, of any process, or 0.
    """
    if jax.process_count() > 1:
        told = multihost_utils.process_allgather(np.array([n, keep, stop], np.int32))  # [processes, 3]
        n, keep, stop = int(told[0, 0]), bool(told[0, 1]), int(told[:, 2].max())
    return n, keep or stop > 0, stop


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    explain: Callable[[BaseException], int] = lambda error: 1,
) -> None:
    """Join the processes that train together; before anything of JAX is computed. Alone if nothing says otherwise.

    Args:
        coordinator: HOST:PORT of process 0, where it listens.
        num_processes: how many there are; 1: alone, whatever SLURM says.
        process_id: which one this is, from 0.
        explain: prints what ended this process where the others do not come, and returns its exit code.

    What is not given is read from SLURM's variables within a step of several tasks.

    Raises:
        PPOJaxError: something is missing or malformed.
    """
    given = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    in_slurm = all(name in os.environ for name in SLURM) and int(os.environ["SLURM_NTASKS"]) > 1
    missing = [name for name, value in given.items() if value is None]
    if num_processes == 1 or (len(missing) == 3 and not in_slurm):
        return
    if missing and not in_slurm:
        raise PPOJaxError(f"{', '.join(given)} go together; missing: {', '.join(missing)}")
    if coordinator is not None and not re.fullmatch(r".+:\d+", coordinator):
        raise PPOJaxError(f"--coordinator {coordinator}: expected HOST:PORT")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise PPOJaxError(f"--process-id {process_id}: the {num_processes} processes are 0 to {num_processes - 1}")
    _keep_stdout_for_results()
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
    address = coordinator or "the address that SLURM gives"
    where = f"on the way to {address}" if process_id else f"in process 0, listening at {address}"
    late = Lost(f"the processes did not find each other within {CONNECT_SECONDS} s ({where})")
    patience = threading.Timer(CONNECT_SECONDS, lambda: _leave(explain(late)))  # the runtime would abort with a trace
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(
            *(coordinator, num_processes, process_id),
            initialization_timeout=2 * CONNECT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise PPOJaxError(f"the processes cannot meet at {address}: {_first(error)}") from None
    finally:
        patience.cancel()


def _keep_stdout_for_results() -> None:
    """Send to stderr what libraries write past Python: gloo reports its connections on stdout."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)


@contextmanager
def together(explain: Callable[[BaseException], int]) -> Iterator[None]:
    """Within, what ends one process ends all of them: at the end each waits for the others, and a failure is told.

    A process that failed leaves at once, by the exit code of `explain`, which prints the line: in good order it would
    wait for others that wait for it in an exchange.
    """
    try:
        try:
            yield
        except BaseException as error:
            if jax.process_count() > 1 and getattr(error, "agreed", False):
                multihost_utils.sync_global_devices("stopped")
            raise
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("done")
    except BaseException as error:
        if jax.process_count() == 1 or getattr(error, "agreed", False):
            raise
        try:
            code = explain(_as_lost(error))
        except BaseException:
            traceback.print_exc()
            code = 1
        _leave(code)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _as_lost(error: BaseException) -> BaseException:
    if not re.search(r"gloo|nccl|collective|socket closed|UNAVAILABLE|heartbeat", str(error), re.IGNORECASE):
        return error
    if isinstance(error, PPOJaxError) or not isinstance(error, RuntimeError | ValueError):
        return error
    return Lost(
        f"process {jax.process_index()} of {jax.process_count()}: another process ended or cannot be reached; start "
        f"them again with `ppo-jax resume RUN` to go on from the last checkpoint ({_first(error)})"
    )


def _first(error: BaseException) -> str:
    """The first line of an error, without what a reader cannot use."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _layout() -> Iterator[tuple[str, PartitionSpec]]:
    return iter(LAYOUT._asdict().items())
