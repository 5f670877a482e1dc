"""Write a trained policy as an ONNX graph, which runtimes without JAX run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax import export

from ppo_jax.config.own_code import summarize_error
from ppo_jax.policies.policy import Policy
from ppo_jax.runs import files
from ppo_jax.types import PPOJaxError, PyTree, describe_action_space

__all__ = ["export_onnx"]

EPISODES, STEPS = 32, 8  # whose observations the graph is held against
TOLERANCE = 1e-4  # of a continuous action, in units of the largest


def export_onnx(policy: Policy, file: str | Path) -> dict[str, Any]:
    """Write the most likely actions of a feed-forward policy as an ONNX graph, the run's normalisation included.

    The graph maps observations [n, ...], an input for each array of them in alphabetical order, to actions [n, ...]; n
    is free. Before it is written, onnxruntime runs it on the observations of some episodes, and its actions must be
    those of the policy.

    Returns:
        Names, shapes and types of its inputs and of the action, and on how many observations it was held.

    Raises:
        PPOJaxError: a library is missing, the policy has a memory or is of a proof task, jax2onnx does not know an
            operation, an action differs, or `file` cannot be written; in each case nothing is written.
    """
    if policy.has_memory:
        raise PPOJaxError("export --onnx: for policies without a memory; this one has a recurrent core")
    if policy.experiment.task.action_meaning is not None:
        raise PPOJaxError("export --onnx: not for a proof task, whose observations its environment makes")
    with _quiet():
        try:
            import onnxruntime
            from jax2onnx import to_onnx
        except ImportError as error:
            raise PPOJaxError(f"export --onnx: needs the extra: pip install 'ppo-jax[onnx]' ({error})") from None
    paths, structure = jax.tree_util.tree_leaves_with_path(policy.observation), jax.tree.structure(policy.observation)
    names = [_name(path) for path, _ in paths]
    (n,) = export.symbolic_shape("n")
    inputs = [jax.ShapeDtypeStruct((n, *x.shape), x.dtype) for _, x in paths]

    def act(*leaves: jax.Array) -> jax.Array:
        actions: jax.Array = jax.vmap(lambda observation: policy(observation))(jax.tree.unflatten(structure, leaves))
        return actions

    try:
        # Traced beforehand: jax2onnx puts primitives of its own in place of JAX's functions, which vmap must not see.
        graph = jax.extend.core.jaxpr_as_fun(jax.make_jaxpr(act)(*inputs))
        with _quiet():
            model = to_onnx(graph, inputs, model_name="policy", input_names=names, output_names=["action"])
        content = model.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        seen = _seen(policy)
        given = dict(zip(names, map(np.asarray, jax.tree.leaves(seen)), strict=True))
        (found,) = session.run(None, given)
    except Exception as error:  # of many kinds, with many lines
        raise PPOJaxError(
            f"export --onnx: this policy cannot be written as a graph: {summarize_error(error)}"
        ) from error
    expected = np.asarray(jax.jit(jax.vmap(lambda observation: policy(observation)))(seen))
    if found.shape != expected.shape or not _agree(found, expected):
        raise PPOJaxError("export --onnx: onnxruntime takes other actions than the policy; nothing was written")
    files.write_atomically(Path(file), content)
    described = {name: _array(x) for name, x in zip(names, inputs, strict=True)}
    action = _array(jax.eval_shape(act, *inputs)) | describe_action_space(policy.action_space)
    return {"inputs": described, "action": action, "compared": len(expected)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, nothing is logged and no warning shown: jax2onnx tells of each plugin that this JAX has no use for."""
    disabled = logging.root.manager.disable
    try:
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _seen(policy: Policy) -> PyTree:
    """Observations [EPISODES STEPS, ...] of the policy's own episodes."""
    env, params = policy.experiment.env, policy.experiment.task.env_params

    def episode(key: jax.Array) -> PyTree:
        reset_key, *keys = jax.random.split(key, STEPS)

        def step(now: tuple[PyTree, PyTree], key: jax.Array) -> tuple[tuple[PyTree, PyTree], PyTree]:
            observation, state = now
            taken = env.step(key, state, policy(observation), params)
            return (taken.observation, taken.state), observation

        (last, _), before = jax.lax.scan(step, env.reset(reset_key, params), jnp.stack(keys))
        return jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), before, last)

    observations = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), EPISODES))
    if isinstance(observations, dict):
        observations = {name: x for name, x in observations.items() if name != "privileged"}
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), observations)


def _agree(found: np.ndarray, expected: np.ndarray) -> bool:
    if np.issubdtype(expected.dtype, np.integer):
        return bool((found == expected).all())
    return bool(np.allclose(found, expected, rtol=0.0, atol=TOLERANCE * max(np.abs(expected).max(), 1.0)))


def _name(path: tuple[Any, ...]) -> str:
    parts = [str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", entry)))) for entry in path]
    return ".".join(parts) or "observation"


def _array(x: Any) -> dict[str, Any]:
    return {"shape": [size if isinstance(size, int) else "n" for size in x.shape], "dtype": str(x.dtype)}
