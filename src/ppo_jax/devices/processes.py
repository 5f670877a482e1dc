"""Several processes that train together: how they meet, agree and end."""

from __future__ import annotations

import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from ppo_jax.types import PPOJaxError

__all__ = [
    "CONNECT_SECONDS",
    "HEARTBEAT_SECONDS",
    "SHUTDOWN_SECONDS",
    "SLURM",
    "Lost",
    "agree",
    "join",
    "leads",
    "together",
]

CONNECT_SECONDS = 120  # processes may start that far apart
HEARTBEAT_SECONDS = 30  # without a sign of life a process counts as dead
SHUTDOWN_SECONDS = 60
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


class Lost(PPOJaxError):
    """Another process of the run ended or cannot be reached."""

    exit_code = 1


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
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, encoding=encoding, errors=errors)
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
