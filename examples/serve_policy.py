"""Serve a policy that `ppo-jax export` wrote, from plain JAX: needs jax and flatbuffers, not ppo_jax.

Reads observations from standard input, one JSON value a line, and prints the action for each:

    echo '[0.01, 0.02, -0.03, 0.04]' | python examples/serve_policy.py runs/cartpole/policy.jaxexport

A policy with a memory remembers the lines before; an empty line begins a new episode.
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
    if isinstance(space, list):
        return tuple(map(as_arrays, value, space))
    return {name: as_arrays(value[name], part) for name, part in space.items()}


has_memory = "carry" in about["inputs"]
initial_carry = as_arrays(about["initial_carry"], about["inputs"]["carry"]) if has_memory else None
carry = initial_carry

for line in sys.stdin:
    if not line.strip():
        carry = initial_carry
        continue
    key, key_action = jax.random.split(key)
    observation = as_arrays(json.loads(line), observation_space)
    inputs = {"observation": observation, "key": key_action[None], "carry": carry}
    actions = policy(*(inputs[name] for name in about["inputs"]))
    if has_memory:
        actions, carry = actions
    print(json.dumps(np.asarray(actions)[0].tolist()), flush=True)
