"""Whether a user's environment keeps to the protocol, told in one line before anything is compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.networks.check import call_own_code
from ppo_jax.types import Box, Environment, EnvStep, MultiDiscrete, PPOJaxError, PyTree

__all__ = ["check_environment"]


def check_environment(env: Environment, params: PyTree) -> None:
    """Trace the beginning of an episode and one step, and compare shapes; nothing is compiled or computed.

    Raises:
        PPOJaxError: what does not fit, with what is expected and what was found; or what the environment raised.
    """
    jax.eval_shape(lambda params: _trace(env, params), params)


def _trace(env: Environment, params: PyTree) -> None:
    key = jax.random.key(0)
    begun = call_own_code("environment: reset", env.reset, key, params)
    if not (isinstance(begun, tuple) and len(begun) == 2):
        raise PPOJaxError(f"environment: reset must return (observation, state), got {type(begun).__name__}")
    observation, state = begun
    space = env.action_space
    action = jnp.zeros(space.shape, jnp.float32 if isinstance(space, Box) else jnp.int32)
    step = call_own_code("environment: step", env.step, key, state, action, params)
    if not (isinstance(step, tuple) and len(step) == len(EnvStep._fields)):
        raise PPOJaxError(f"environment: step must return an EnvStep, ({', '.join(EnvStep._fields)})")
    taken = EnvStep(*step)
    _check_alike("observation", observation, taken.observation)
    _check_alike("state", state, taken.state)
    for name in ("reward", "terminated", "truncated"):
        if (shape := jnp.shape(getattr(taken, name))) != ():
            raise PPOJaxError(f"environment: {name} of a step must be one number [], got {list(shape)}")
    for name in ("terminated", "truncated"):
        if (kind := jnp.result_type(getattr(taken, name))) != jnp.bool_:
            raise PPOJaxError(f"environment: {name} of a step must be bool, got {kind}")
    if not isinstance(taken.info, dict):
        raise PPOJaxError(f"environment: info of a step must be a dict, got {type(taken.info).__name__}")
    if env.can_truncate:
        if "final_observation" not in taken.info:
            raise PPOJaxError("environment: can_truncate is true, so info of a step must hold final_observation")
        _check_alike("info['final_observation']", observation, taken.info["final_observation"])
    if isinstance(observation, dict) and "action_mask" in observation:
        _check_mask(observation["action_mask"], space)


def _check_mask(mask: Any, space: Any) -> None:
    if isinstance(space, Box):
        raise PPOJaxError("environment: action_mask is for Discrete actions, these are a Box")
    shape, kind = jnp.shape(mask), jnp.result_type(mask)
    if shape != (space.n_outputs,) or kind != jnp.bool_:
        many = isinstance(space, MultiDiscrete)
        actions = f"MultiDiscrete({list(space.sizes)})" if many else f"Discrete({space.n_outputs})"
        raise PPOJaxError(
            f"environment: action_mask must be [{space.n_outputs}] bool for {actions}, got {list(shape)} {kind}"
        )


def _check_alike(what: str, first: PyTree, later: PyTree) -> None:
    """What a step returns must be built as what reset returned, or no scan over steps can hold it."""
    built: Any = jax.tree.structure(first)
    if built != jax.tree.structure(later):
        raise PPOJaxError(f"environment: {what} of a step must be built as that of reset, {built}")
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(later), strict=True):
        ours, theirs = ((list(jnp.shape(x)), str(jnp.result_type(x))) for x in (a, b))
        if ours != theirs:
            place = f"{what}{jax.tree_util.keystr(path)}"
            raise PPOJaxError(
                f"environment: {place} of a step must stay {ours[0]} {ours[1]} as in reset, got {theirs[0]} {theirs[1]}"
            )
