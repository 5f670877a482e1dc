"""A processor is as many devices as are asked for or worth it, and has threads where they gain something."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.devices import cpu
from ppo_jax.runs.experiment import build
from ppo_jax.runs.loop import compile_chunk, run_chunk
from tests.conftest import WELL
from tests.devices.test_devices import REPOSITORY, TOY

PROGRAM = """
import json, os, sys
from ppo_jax.devices import cpu
from ppo_jax.config import from_dict
tables, devices = json.loads(sys.argv[1])
cpu.prepare(from_dict(tables), devices)
import jax
print(jax.local_device_count())
"""
LARGE = {"total_timesteps": 1_000_000, "n_envs": 64, "batch_size": 1024, "hidden_sizes": [64, 64]}


def prepared(settings, devices=None, **environment):
    """Devices that a process of its own then has."""
    settings = TOY.override(settings).to_dict()
    kept = {name: x for name, x in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    command = [sys.executable, "-c", PROGRAM, json.dumps([settings, devices])]
    found = subprocess.run(command, cwd=REPOSITORY, env=kept | environment, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
@pytest.mark.parametrize(
    ("settings", "devices", "environment", "expected"),
    [
        ({}, None, {}, 1),
        ({"devices": 2}, None, {}, 2),
        (LARGE, None, {}, cpu.fitting_devices(TOY.override(LARGE), cpu.cores())),
        (LARGE | {"devices": 1}, None, {}, 1),
        (LARGE, 2, {}, 2),  # a sweep's
        (LARGE | {"devices": 2}, None, {"JAX_NUM_CPU_DEVICES": "4"}, 4),
        (LARGE | {"devices": 2}, None, {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
        (LARGE | {"devices": 64 * 1024}, None, {}, 1),  # more than it has cores
    ],
)
def test_devices_of_a_process(settings, devices, environment, expected) -> None:
    assert prepared(settings, devices, **environment) == expected


@pytest.mark.parametrize(
    ("settings", "there", "expected"),
    [
        ({}, 64, 1),
        ({}, 1, 1),
        (LARGE | {"hidden_sizes": []}, 64, 1),  # a linear policy
        (LARGE, 1, 1),
        (LARGE | {"total_timesteps": 999_999}, 64, 1),
        (LARGE, 3, 2),  # 3 divides nothing
        (LARGE, 64, 4),  # 1024 samples of 64 numbers are four times 16,384
        (LARGE | {"n_envs": 6, "n_steps": 512, "batch_size": 1024}, 64, 2),  # 3 divides no minibatch
        (LARGE | {"hidden_sizes": [1024]}, 64, 8),  # at most
        (LARGE | {"n_envs": 30, "batch_size": 480, "hidden_sizes": [1024]}, 64, 6),
        (LARGE | {"env_id": "gymnasium/CartPole-v1"}, 4, 1),  # Python steps it
    ],
)
def test_devices_that_fit_a_configuration(settings, there, expected) -> None:
    assert cpu.fitting_devices(TOY.override(settings), there) == expected


def test_nothing_changes_once_jax_computed() -> None:
    before = jax.device_count(), dict(os.environ)
    cpu.prepare(TOY, 2)
    assert (jax.device_count(), dict(os.environ)) == before


def test_training_copies_less_with_the_compiler_options_and_changes_no_bit(well_compiled) -> None:
    experiment = build(TOY)
    trainer, state = experiment.trainer, experiment.initial_state(0)
    programs = [run_chunk.lower(trainer, state, jnp.int32(1)).compile(WELL), compile_chunk(trainer, state)]
    plain, optimized = (program.as_text().count(" copy(") for program in programs)
    assert optimized < 0.75 * plain
    # Each is given a state of its own, which it donates.
    ends = [program(trainer, experiment.initial_state(0), jnp.int32(3))[0].learner.params for program in programs]
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get(ends))
