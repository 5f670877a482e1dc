"""Run as a program of its own, which alone can have eight devices: updates of one state on one and on more.

``python -m tests.devices.many_devices FILE`` pickles ``{case: [{devices: (state, metrics)} for each update]}``.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from ppo_jax import ppo
from ppo_jax.devices.mesh import AXIS, Placement
from ppo_jax.runs.loop import run_chunk
from ppo_jax.types import EnvStep
from tests import toys


@dataclass(frozen=True)
class Push(toys.Walk):
    """The walk with a continuous push, a metric of its own, and more that it says of a step."""

    action_space: Any = toys.ONE_NUMBER

    def outcome(self, key: jax.Array, state: toys.ProbeState, action: jax.Array) -> tuple[Any, Any, Any, Any]:
        return super().outcome(key, state, action[0])

    def step(self, key: jax.Array, state: toys.ProbeState, action: jax.Array, params: Any) -> EnvStep:
        moved = super().step(key, state, action, params)
        said = {"metrics": {"height_late": (state.observation[0], state.time > 3)}, "said": jnp.zeros((2, 3))}
        return moved._replace(info=moved.info | said)


SETTINGS = {"n_envs": 16, "n_steps": 16, "batch_size": 64, "learning_rate": 0.01}
NORMALISED = {"normalize_observations": True, "normalize_rewards": True, "normalize_values": True}
CASES: dict[str, tuple[toys.Probe, dict[str, Any]]] = {
    "kl_stop": (toys.Walk(), {"target_kl": 0.002, "n_epochs": 4, **NORMALISED}),
    "continuous": (Push(), {"clip_range_vf": 0.2, "ent_coef": 0.01}),
    "memory": (toys.Walk(), {"core": "gru", "sequence_length": 4, **NORMALISED}),
}
DEVICES = {"kl_stop": (2, 8), "continuous": (8,), "memory": (8,)}  # beside one


def placement(devices: int) -> Placement:
    mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,), axis_types=(AxisType.Auto,))
    return Placement(mesh if devices > 1 else None)


def on_host(state: ppo.TrainState) -> Any:
    return jax.device_get(state._replace(key=jax.random.key_data(state.key)))


def updates(case: str, n: int = 3) -> list[dict[int, Any]]:
    """Each update from the state that one device is in, on each number of devices."""
    trainer, hyperparams = toys.build(CASES[case][0], **SETTINGS, **CASES[case][1])
    state = jax.jit(ppo.init)(trainer, jax.random.key(0), hyperparams)
    results = []
    for _ in range(n):
        result = {}
        host = on_host(state)
        for devices in (1, *DEVICES[case]):
            here = placement(devices)
            before = ppo.TrainState(*jax.tree.map(jnp.asarray, host))
            before, _ = here.put(before._replace(key=jax.random.wrap_key_data(before.key)), 0)
            after, rows = run_chunk(trainer, before, jnp.int32(1), False, here)
            for leaf in jax.tree.leaves(after._replace(rollout=(), key=())):
                for part in leaf.addressable_shards:
                    np.testing.assert_array_equal(part.data, leaf.addressable_shards[0].data)
            whole = here.whole(after)
            result[devices] = (on_host(whole), {name: float(x[0]) for name, x in rows.items()})
            if devices == 1:
                state = whole
        results.append(result)
    return results


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps({case: updates(case) for case in CASES}))
