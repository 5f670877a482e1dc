"""Write a trained policy as a program of its own, which plain JAX loads and runs where ppo_jax is not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
from jax import export

from ppo_jax.config.checks import check_argument
from ppo_jax.policies.policy import Policy
from ppo_jax.runs import files
from ppo_jax.types import PPOJaxError, PyTree, describe_action_space

__all__ = ["PLATFORMS", "export_policy"]

PLATFORMS = ("cpu", "cuda", "tpu")


def export_policy(policy: Policy, file: str | Path) -> dict[str, Any]:
    """Write `policy` as a ``jax.export`` artifact, and beside it a JSON file that says how to call it.

    The artifact holds the parameters and maps observations [n, ...], and random keys [n] unless the policy is
    deterministic, to actions [n, ...], those of ``jax.vmap(policy)``; n is free. With a memory it also takes the carry
    [n, ...] and returns the next one; the description has the one that an episode begins with. The artifact is compiled
    where it is loaded, for any of `PLATFORMS`, and calls nothing on the host. JAX promises to read it for six months of
    releases.

    Returns:
        The content of the JSON file, which is named as the artifact with the suffix ``.json``.

    Raises:
        PPOJaxError: `file` cannot be written.
    """
    check_argument(policy, Policy, "policy must be a Policy", "ppo_jax.load_policy(PATH) reads that of a run")
    file = Path(file)
    description = file.with_suffix(".json")
    if description == file:
        raise PPOJaxError(f"{file}: its description is written to the file of that name; choose another suffix")
    (n,) = export.symbolic_shape("n")
    arguments = {"observation": policy.observation}
    if not policy.deterministic:
        arguments["key"] = jax.random.key(0)
    if policy.has_memory:
        arguments["carry"] = policy.initial_carry
    inputs = {
        name: jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), value)
        for name, value in arguments.items()
    }

    def act(*values: PyTree) -> Any:
        return policy(**dict(zip(inputs, values, strict=True)))

    exported = export.export(jax.jit(jax.vmap(act)), platforms=PLATFORMS)(*inputs.values())
    described = _describe(policy, inputs, exported)
    artifact = bytes(exported.serialize())
    files.write_atomically(description, json.dumps(described, indent=2, allow_nan=False) + "\n")
    files.write_atomically(file, artifact)  # last: an artifact that is there has its description
    return described


def _describe(policy: Policy, inputs: dict[str, PyTree], exported: export.Exported) -> dict[str, Any]:
    task, space = policy.experiment.config.task, policy.action_space
    action = _array(exported.out_avals[0])
    action |= describe_action_space(space)
    if (meaning := policy.experiment.task.action_meaning) is not None:
        action["meaning"] = meaning
    memory = {}
    if policy.has_memory:
        memory["initial_carry"] = jax.tree.map(lambda x: x.tolist(), policy.initial_carry)
    return {
        "env_id": task.env_id or task.dataset,
        "deterministic": policy.deterministic,
        "inputs": {name: jax.tree.map(_array, x) for name, x in inputs.items()},
        "action": action,
        **memory,
        "platforms": list(exported.platforms),
        "jax": jax.__version__,
    }


def _array(x: Any) -> dict[str, Any]:
    """Shape, with "n" for the free batch size, and dtype: "key<fry>" is that of `jax.random.key`."""
    return {"shape": [size if isinstance(size, int) else str(size) for size in x.shape], "dtype": str(x.dtype)}
