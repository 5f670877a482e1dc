"""Whether a network fits its environment, told in one line before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from ppo_jax.config.own_code import last_place, summarize_error
from ppo_jax.ops.distributions import Categorical, DiagonalGaussian, MultiCategorical
from ppo_jax.types import ActionSpace, Box, Discrete, Environment, MultiDiscrete, PPOJaxError

__all__ = ["call_own_code", "check_network", "convolves"]

PyTree = Any

DISTRIBUTION_METHODS = ("sample", "mode", "log_prob", "entropy", "max_entropy")


def check_network(network: Any, env: Environment, env_params: PyTree) -> None:
    """Trace one step of `network` on observations of `env`, and compare shapes with what PPO needs.

    A network is ``init(key, observation [n, ...])`` and ``apply(params, observation)`` to ``(distribution [n],
    value [n])``. One with `initial_carry` also takes ``(carry, start [n])`` and returns the next carry as a third.
    Nothing is compiled or computed.

    Raises:
        PPOJaxError: what does not fit, with the shape expected and the one found; or what the network itself raised.
    """
    for method in ("init", "apply"):
        if not callable(getattr(network, method, None)):
            raise PPOJaxError(f"network: must be a flax.linen module, got {_describe(network)} without {method}()")
    space = env.action_space
    n = 3 if space.n_outputs != 3 else 4  # episodes; no axis of actions can be taken for it
    jax.eval_shape(lambda env_params: _trace_step(network, env, env_params, n), env_params)


def convolves(network: Any, env: Environment, env_params: PyTree) -> bool:
    """Whether a network that passed `check_network` has XLA convolve images [n, h, w, c]; nothing is compiled."""

    def run(env_params: PyTree) -> PyTree:
        observation, _ = env.reset(jax.random.key(0), env_params)
        return jax.tree.map(lambda x: jnp.asarray(x)[None], observation)

    def init(observation: PyTree) -> PyTree:
        memory = (network.initial_carry(1), jnp.zeros(1, bool)) if hasattr(network, "initial_carry") else ()
        return network.init(jax.random.key(0), observation, *memory)

    return _holds_convolution(jax.make_jaxpr(init)(jax.eval_shape(run, env_params)).jaxpr)


def _holds_convolution(program: core.Jaxpr) -> bool:
    """Whether a program, or one that it calls, convolves images."""
    here = [step.params for step in program.eqns if step.primitive.name == "conv_general_dilated"]
    of_images = any(len(params["dimension_numbers"].lhs_spec) == 4 for params in here)
    return of_images or any(map(_holds_convolution, core.subjaxprs(program)))


def _trace_step(network: Any, env: Environment, env_params: PyTree, n: int) -> None:
    key = jax.random.key(0)
    observation, _ = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, n), env_params)
    memory: tuple[Any, ...] = ()
    if hasattr(network, "initial_carry"):
        carry = _call("initial_carry(n)", network.initial_carry, n)
        if any(jnp.shape(leaf)[:1] != (n,) for leaf in jax.tree.leaves(carry)):
            raise PPOJaxError(f"network: initial_carry(n) must hold arrays [n, ...], got {_describe(carry, n)}")
        memory = (carry, jnp.zeros(n, bool))
    params = _call("init", network.init, key, observation, *memory)
    output = _call("apply", network.apply, params, observation, *memory)

    wanted = "(distribution, value, carry)" if memory else "(distribution, value)"
    fits = isinstance(output, tuple) and len(output) == (3 if memory else 2)
    if not (fits and all(hasattr(output[0], name) for name in DISTRIBUTION_METHODS) and hasattr(output[1], "shape")):
        raise PPOJaxError(f"network: must return {wanted}, got {_describe(output, n)}")
    distribution, value, *after = output
    _check_distribution(distribution, env.action_space, n)
    if value.shape != (n,):
        raise PPOJaxError(f"network: value must be [n], got {_describe(value, n)}")
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise PPOJaxError(f"network: value must be floating point, got {value.dtype}")
    if memory:
        _check_carry(memory[0], after[0], n)


def _check_distribution(distribution: Any, space: ActionSpace, n: int) -> None:
    """Compare with the actions; a distribution of the user's own by what it samples."""
    expected: type
    match space:
        case Box():
            actions, expected, shape = f"a Box of {space.size}", DiagonalGaussian, space.shape
        case MultiDiscrete():
            actions, expected = f"MultiDiscrete({list(space.sizes)})", MultiCategorical
            shape = (len(space.sizes), max(space.sizes))
        case Discrete():
            actions, expected, shape = f"Discrete({space.n})", Categorical, (space.n,)
    wanted = f"[{', '.join(map(str, ('n', *shape)))}]"
    if isinstance(distribution, Categorical | MultiCategorical | DiagonalGaussian):
        if not isinstance(distribution, expected):
            raise PPOJaxError(
                f"network: the actions are {actions}, which need a {expected.__name__}, got a "
                f"{type(distribution).__name__}"
            )
        for name, array in distribution._asdict().items():
            if array is not None and jnp.shape(array) != (n, *shape):
                raise PPOJaxError(f"network: {name} must be {wanted} for {actions}, got {_describe(array, n)}")
        return
    logits = getattr(distribution, "logits", None)
    if logits is not None and isinstance(space, Discrete) and jnp.shape(logits) != (n, *shape):
        raise PPOJaxError(f"network: logits must be {wanted} for {actions}, got {_describe(logits, n)}")
    action = _call("sample", distribution.sample, jax.random.key(0))
    if jnp.shape(action) != (n, *space.shape):
        wanted = f"[{', '.join(map(str, ('n', *space.shape)))}]"
        raise PPOJaxError(f"network: sampled actions must be {wanted} for {actions}, got {_describe(action, n)}")
    for name in ("log_prob", "entropy", "max_entropy"):
        array = _call(name, getattr(distribution, name), *([action] if name == "log_prob" else []))
        if jnp.shape(array) != (n,):
            raise PPOJaxError(f"network: {name} of the distribution must be [n], got {_describe(array, n)}")


def _check_carry(before: PyTree, after: PyTree, n: int) -> None:
    """The carry must come back as it went in, or no scan over steps can hold it."""
    built: Any = jax.tree.structure(before)
    if built != jax.tree.structure(after):
        raise PPOJaxError(
            "network: the carry it returns must be built like initial_carry(n), "
            f"{_describe(before, n)}, got {_describe(after, n)}"
        )
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (jnp.shape(old), jnp.result_type(old)) != (jnp.shape(new), jnp.result_type(new)):
            raise PPOJaxError(
                f"network: carry{jax.tree_util.keystr(path)} must stay {_describe(old, n)} {jnp.result_type(old)}, "
                f"got {_describe(new, n)} {jnp.result_type(new)}"
            )


def _call(what: str, function: Callable[..., Any], *args: Any) -> Any:
    return call_own_code(f"network: {what}", function, *args)


def call_own_code(what: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of the user's; what it raises becomes one line that begins with `what` and says where."""
    try:
        return function(*args)
    except PPOJaxError as error:
        error.__notes__ = []  # JAX's, on the frames that it hid
        raise
    except (Exception, SystemExit) as error:
        place, said = last_place(error), summarize_error(error)
        if isinstance(error, jax.errors.ConcretizationTypeError):
            said = f"{type(error).__name__}: no number is known while it is compiled: jnp.where for if, no float()"
        elif isinstance(error, jax.errors.TracerArrayConversionError):
            said = f"{type(error).__name__}: it is compiled, and NumPy cannot be; write jnp for np, x.at[i].set(v)"
        raise PPOJaxError(f"{what} raised {said}{f' ({place})' if place else ''}") from error


def _describe(x: Any, n: int | None = None) -> str:
    """Arrays as their shape with n for its first axis, containers with what they hold, anything else by its type."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        shape = [str(size) for size in x.shape]
        if x.shape[:1] == (n,):
            shape[0] = "n"
        return f"[{', '.join(shape)}]"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{key}: {_describe(value, n)}" for key, value in x.items()) + "}"
    if type(x) in (tuple, list):
        return "(" + ", ".join(_describe(value, n) for value in x) + ")"
    return "None" if x is None else type(x).__name__
