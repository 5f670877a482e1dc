"""Serve a policy that `ppo-jax export` wrote, from plain JAX: needs jax and flatbuffers, not ppo_jax.

Reads observations from standard input, one JSON value a line, and prints the action for each:

    echo '[0.01, 0.02, -0.03, 0.04]' | python experiments/serve_policy.py runs/cartpole/policy.jaxexport

A policy with a memory takes the lines for the steps of one episode; an empty line begins another.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax import export

artifact = Path(sys.argv[1])
about = json.loads(artifact.with_suffix(".json").read_text())
program = export.deserialize(bytearray(artifact.read_bytes()))
policy = jax.jit(program.call)  # any batch size; compiled once for each
observation_space, key = about["inputs"]["observation"], jax.random.key(0)
has_memory = "carry" in about["inputs"]


def as_arrays(value, space):
    """A batch of one observation: its arrays [1, ...], of the dtypes that the artifact takes."""
    if "dtype" in space:
        return np.asarray(value, space["dtype"])[None]
    return {name: as_arrays(value[name], part) for name, part in space.items()}


def initial_carry():
    """The memory at the beginning of an episode, a batch of one."""
    arguments, _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    # JSON has lists where the artifact takes tuples: numbers in the order of the file, structure from the artifact.
    numbers = jax.tree.leaves(about["initial_carry"])
    leaves, structure = jax.tree.flatten(arguments[-1])
    sizes = np.cumsum([int(np.prod(leaf.shape[1:])) for leaf in leaves])[:-1]
    parts = zip(np.split(np.array(numbers), sizes), leaves, strict=True)
    return jax.tree.unflatten(structure, [part.reshape(1, *leaf.shape[1:]).astype(leaf.dtype) for part, leaf in parts])


carry = initial_carry() if has_memory else None
for line in sys.stdin:
    if not line.strip():
        carry = initial_carry() if has_memory else None
        continue
    key, key_action = jax.random.split(key)
    inputs = {"observation": as_arrays(json.loads(line), observation_space), "key": key_action[None], "carry": carry}
    output = policy(*(inputs[name] for name in about["inputs"]))
    actions, carry = output if has_memory else (output, None)
    print(json.dumps(np.asarray(actions)[0].tolist()), flush=True)
