"""Whether a user's environment keeps to the protocol, told in one line before a trainer is compiled."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ppo_jax.networks.check import call_own_code
from ppo_jax.networks.observations import seems_channels_first
from ppo_jax.types import ActionSpace, Box, Environment, EnvStep, MultiDiscrete, PPOJaxError, PyTree

__all__ = ["check_draws", "check_environment", "check_first_observation", "odd_images", "odd_masks"]

BRIGHT = 16.0  # an image of numbers beyond it is not of shares, and one of bytes below it not of brightness
MASK = re.compile("mask|legal|valid|avail", re.IGNORECASE)  # what a mask of actions is called elsewhere


def check_environment(env: Environment, params: PyTree) -> None:
    """Trace the beginning of an episode and one step, and compare shapes; nothing is compiled or computed.

    Raises:
        PPOJaxError: what does not fit, with what is expected and what was found; or what the environment raised.
    """
    try:
        hash(env)
    except TypeError as error:
        raise PPOJaxError(
            f"environment: {error}, and what is compiled is kept by the environment's hash; make it "
            "@dataclass(frozen=True), with tuples for lists and its arrays in params"
        ) from None
    space: Any = env.action_space
    if not isinstance(space, ActionSpace):
        cls = type(space)
        found = space if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
        raise PPOJaxError(
            "environment: action_space must be ppo_jax.Discrete(n), MultiDiscrete((n, m)) or Box(low, high), got "
            f"{found}"
        )
    _check_signature(env.reset, "key", "params")
    _check_signature(env.step, "key", "state", "action", "params")
    jax.eval_shape(lambda params: _trace(env, params), params)


def check_first_observation(env: Environment, params: PyTree) -> None:
    """Begin an episode of an environment that passed `check_environment`; this compiles `reset` alone.

    Raises:
        PPOJaxError: what it observes is not finite, and every network would make NaN of it.
    """
    begun = call_own_code("environment: reset", _first_observation, env, params)
    for place, seen in begun.items():
        if not seen.finite:
            raise PPOJaxError(f"environment: observation{place} of reset is not finite (NaN or infinite)")


def check_draws(env: Environment, params: PyTree) -> None:
    """Trace an environment that passed `check_environment` twice: what NumPy draws is another number then.

    Raises:
        PPOJaxError: reset or step draws by ``np.random`` or ``random``.
    """
    key, action = jax.random.key(0), _some_action(env.action_space)

    def begin(params: PyTree) -> PyTree:
        return env.reset(key, params)

    def go_on(params: PyTree) -> PyTree:
        return env.step(key, env.reset(key, params)[1], action, params)

    for name, function in (("reset", begin), ("step", go_on)):
        # A function of its own each time, for JAX keeps what it traced by the function.
        first, again = (_numbers(jax.make_jaxpr(partial(function))(params)) for _ in range(2))
        if len(first) == len(again) and first != again:
            raise PPOJaxError(
                f"environment: {name} draws by np.random or random, which would be the same number in every {name}; "
                "draw by jax.random from key"
            )


def odd_images(env: Environment, params: PyTree, normalized: bool, flattened: bool = False) -> tuple[str, ...]:
    """What is probably not meant about the images of an environment that passed `check_first_observation`, a line each.

    `normalized` says whether the run standardises observations, which mends any scale of float32; `flattened`, whether
    its network sees an image as a vector because none was named.
    """
    shapes = jax.tree_util.tree_leaves_with_path(jax.eval_shape(env.reset, jax.random.key(0), params)[0])
    begun, found = _first_observation(env, params), []
    for place, x in ((jax.tree_util.keystr(path), x) for path, x in shapes):
        if x.ndim != 3:
            continue
        what, largest = f"environment: the image observation{place} {list(x.shape)}", float(begun[place].largest)
        if channels_first := seems_channels_first(x.shape):
            found.append(f"{what} seems to have its channels first; jnp.moveaxis(observation, 0, -1) puts them last")
        if jnp.issubdtype(x.dtype, jnp.floating) and largest > BRIGHT and not normalized:
            found.append(f"{what} has values up to {largest:g}; divide them by 255, or observe uint8, which is scaled")
        if x.dtype == jnp.uint8 and flattened and not channels_first:
            found.append(f'{what} is flattened for an MLP; network = "cnn" sees it as an image')
        if x.dtype == jnp.uint8 and 0 < largest <= BRIGHT:
            found.append(
                f"{what} of uint8 is divided by 255, but has values up to {largest:g}; observe bool or float32"
            )
    return tuple(found)


def odd_masks(env: Environment, params: PyTree) -> tuple[str, ...]:
    """What an observation seems to say of the actions under another name than ``action_mask``, a line each."""
    observation, _ = jax.eval_shape(env.reset, jax.random.key(0), params)
    shape = (getattr(env.action_space, "n_outputs", None),)
    if not isinstance(observation, dict) or "action_mask" in observation:
        return ()
    return tuple(
        f"environment: observation[{name!r}] seems to say which actions are allowed, and is a mere input; call it "
        "action_mask to rule the others out"
        for name, x in observation.items()
        if MASK.search(str(name)) and isinstance(x, jax.ShapeDtypeStruct) and (x.shape, x.dtype) == (shape, jnp.bool_)
    )


def _check_signature(function: Callable[..., Any], *arguments: str) -> None:
    """It is called with these, by their place."""
    try:
        signature = inspect.signature(function)
        signature.bind(*arguments)
    except TypeError:
        name = function.__name__
        raise PPOJaxError(f"environment: {name} must take ({', '.join(arguments)}), not {signature}") from None
    except ValueError:  # what Python cannot say it takes
        return


def _trace(env: Environment, params: PyTree) -> None:
    key = jax.random.key(0)
    begun = call_own_code("environment: reset", env.reset, key, params)
    if not (isinstance(begun, tuple) and len(begun) == 2):
        raise PPOJaxError(f"environment: reset must return (observation, state), got {type(begun).__name__}")
    observation, state = begun
    _check_readable(observation)
    space = env.action_space
    action = _some_action(space)
    empty = isinstance(state, dict) and not state
    no_state = "reset must return (observation, state), not Gymnasium's info {}; " if empty else ""
    step = call_own_code(f"environment: {no_state}step", env.step, key, state, action, params)
    if not (isinstance(step, tuple) and len(step) == len(EnvStep._fields)):
        raise PPOJaxError(f"environment: step must return an EnvStep, ({', '.join(EnvStep._fields)})")
    taken = EnvStep(*step)
    _check_alike("observation", observation, taken.observation)
    _check_alike(f"{no_state}state", state, taken.state)
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


def _some_action(space: Any) -> jax.Array:
    return jnp.zeros(space.shape, jnp.float32 if isinstance(space, Box) else jnp.int32)


def _check_readable(observation: PyTree) -> None:
    """Networks read arrays of numbers, of any size but none."""
    try:
        leaves = jax.tree_util.tree_leaves_with_path(observation)
    except ValueError:  # keys of a dictionary that have no order
        raise PPOJaxError("environment: the keys of an observation must all be strings") from None
    if not leaves:
        raise PPOJaxError("environment: the observation of reset holds no array")
    for path, x in leaves:
        place = f"observation{jax.tree_util.keystr(path)}"
        kind = getattr(x, "dtype", jnp.result_type(x) if isinstance(x, int | float) else None)
        if kind is None or not any(jnp.issubdtype(kind, one) for one in (jnp.floating, jnp.integer, jnp.bool_)):
            found = type(x).__name__ if kind is None else kind
            raise PPOJaxError(f"environment: {place} of reset must be an array of numbers, got {found}")
        if 0 in jnp.shape(x):
            raise PPOJaxError(f"environment: {place} of reset is empty, {list(jnp.shape(x))}; leave it out")


class _Part(NamedTuple):
    """A part of a first observation."""

    finite: jax.Array  # [] bool
    largest: jax.Array  # []


@partial(jax.jit, static_argnums=0)
def _first_observation(env: Environment, params: PyTree) -> dict[str, _Part]:
    """Each part of a first observation, by its place."""
    observation, _ = env.reset(jax.random.key(0), params)
    leaves = jax.tree_util.tree_leaves_with_path(observation)
    return {jax.tree_util.keystr(path): _Part(jnp.isfinite(x).all(), jnp.max(x)) for path, x in leaves}


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


def _numbers(program: core.ClosedJaxpr) -> list[bytes]:
    """The numbers that are written into a program, keys apart."""

    def literals(part: core.Jaxpr) -> Iterator[Any]:
        for step in part.eqns:
            yield from (x.val for x in step.invars if isinstance(x, core.Literal))
        for inner in core.subjaxprs(part):
            yield from literals(inner)

    written = (*program.consts, *literals(program.jaxpr))
    return [np.asarray(x).tobytes() for x in written if not jnp.issubdtype(jnp.result_type(x), jax.dtypes.extended)]


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
