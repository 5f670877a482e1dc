"""Serve a policy that `ppo-jax export` wrote, from plain JAX: needs jax and flatbuffers, not ppo_jax.

Reads observations from standard input, one JSON value a line, and prints the action for each:

    echo '[0.01, 0.02, -0.03, 0.04]' | python experiments/serve_policy.py runs/cartpole/policy.jaxexport
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax import export

artifact = Path(sys.argv[1])
about = json.loads(artifact.with_suffix(".json").read_text())
policy = jax.jit(export.deserialize(bytearray(artifact.read_bytes())).call)  # any batch size; compiled once for each
observation_space, key = about["inputs"]["observation"], jax.random.key(0)


def as_arrays(value, space):
    """A batch of one observation: its arrays [1, ...], of the dtypes that the artifact takes."""
    if "dtype" in space:
        return np.asarray(value, space["dtype"])[None]
    return {name: as_arrays(value[name], part) for name, part in space.items()}


for line in sys.stdin:
    key, key_action = jax.random.split(key)
    inputs = {"observation": as_arrays(json.loads(line), observation_space), "key": key_action[None]}
    actions = policy(*(inputs[name] for name in about["inputs"]))
    print(json.dumps(np.asarray(actions)[0].tolist()), flush=True)
