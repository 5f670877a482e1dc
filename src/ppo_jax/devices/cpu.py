"""What a CPU offers: how many devices a run makes of it, and how programs that train are compiled for it.

On a CPU XLA gives a program a pool of threads. They gain little where it does not multiply large matrices, and the
order in which it hands them small operations costs much. So a long run lets the CPU be several devices, as many as
its minibatches are worth, each of which computes a part of them.
"""

from __future__ import annotations

import os
from typing import Any

import jax

from ppo_jax.config import Config
from ppo_jax.config.task_id import named_outside

__all__ = ["compiler_options", "cores", "fitting_devices", "prepare"]

SMALL = 256 * 64  # numbers in the widest layer of what a device computes at once
MOST = 8  # devices that a run takes without being asked to; measured with two
LONG = 1_000_000  # environment steps; a shorter run loses more to compiling for several devices than it gains


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fitting_devices(config: Config, there: int) -> int:
    """Devices out of `there` that a run takes on a CPU where it names none.

    Where it is `LONG`, the most that environments and minibatches can be split over, each with `SMALL` numbers a layer
    or more.
    """
    if config.ppo.total_timesteps < LONG or named_outside(config.task.env_id):
        return 1
    settings = config.settings
    most = min(there, _numbers(config) // SMALL, MOST)
    sequences = settings.batch_size // settings.sequence_length
    fitting = [n for n in range(2, most + 1) if settings.n_envs % n == 0 and sequences % n == 0]
    return max(fitting, default=1)


def prepare(config: Config, devices: int | None = None) -> None:
    """Let the CPU be as many devices as a run or a sweep takes, where it has the cores, with the threads it asks for.

    To be called before all else: where JAX already computed something nothing changes. Accelerators are not concerned.

    Args:
        config: of the run.
        devices: by default those of the configuration, or as many as fit it.
    """
    if config.run.threads is not None:
        os.environ.setdefault("NPROC", str(config.run.threads))  # XLA takes it for the number of cores
    n = devices or config.run.devices
    if n is None:
        n = 1 if jax.distributed.is_initialized() else fitting_devices(config, cores())
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    there = max(1, jax.config.jax_num_cpu_devices)  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_num_cpu_devices", max(there, n if n <= cores() else 1))
    except RuntimeError:
        return


def compiler_options() -> dict[str, Any]:
    """XLA's options for a program that trains, on the backend in use. They do not change its results."""
    if jax.default_backend() != "cpu":
        return {}
    # Otherwise each minibatch copies parameters and moments of the optimizer before it writes the new ones: 1.04 to
    # 1.10 times as fast with CartPole, 1.03 on Countries S3.
    return {"xla_cpu_copy_insertion_use_region_analysis": True}


def _numbers(config: Config) -> int:
    """In the widest layer, for a minibatch."""
    return config.settings.batch_size * max(config.network.hidden_sizes, default=1)
