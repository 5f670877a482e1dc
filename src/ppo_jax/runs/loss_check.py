"""A loss of the user's own: whether it fits, told in one line before anything is compiled; what it reads."""

from __future__ import annotations

import inspect
from collections import UserDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax import ppo
from ppo_jax.config import Hyperparams
from ppo_jax.networks.check import call_own_code
from ppo_jax.ops import schedules
from ppo_jax.ops.sequences import flatten
from ppo_jax.runs.given import describe_given, given_name
from ppo_jax.runs.metric_table import OF_UPDATE
from ppo_jax.types import PPOJaxError, PyTree

__all__ = ["OwnLoss", "check_loss"]


@dataclass(frozen=True)
class OwnLoss:
    """A loss of the user's own; wherever it is traced, numbers that it lacks and metrics that are none are one line."""

    function: ppo.Loss

    def __call__(self, *arguments: Any) -> tuple[jax.Array, ppo.Metrics]:
        """What the function returns.

        Raises:
            PPOJaxError: what it returns does not fit, or it reads other `loss_coefs` than are set.
        """
        coefs = arguments[-1].loss_coefs
        if not isinstance(coefs, Mapping | None):
            raise PPOJaxError('hyperparams.loss_coefs: must be a dict of numbers by name, {"name": 0.1}')
        read: dict[str, bool] = {}
        try:
            output = self._call(*arguments, coefs=coefs if coefs is None else _Coefficients(coefs, read))
        except Exception:
            if coefs is None:  # which may be why
                self._call(*arguments, coefs=_Coefficients({}, read))
                _check_read({}, read)
            raise
        _check_read(coefs or {}, read)
        return output

    def _call(self, *arguments: Any, coefs: Any) -> tuple[jax.Array, ppo.Metrics]:
        function: Any = self.function
        output: Any = function(*arguments[:-1], arguments[-1]._replace(loss_coefs=coefs))
        if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], dict)):
            raise PPOJaxError("loss: must return (loss, metrics), metrics a dict")
        for name, value in output[1].items():
            if not (isinstance(name, str) and _is_metric(value)):
                raise PPOJaxError(
                    f"loss: {given_name(describe_given(self.function))} returns a {type(value).__name__} as its metric "
                    f"{name}: a metric is a number with a name, or a pair of a sum and its weight"
                )
        return output


def check_loss(trainer: ppo.Trainer, hyperparams: Hyperparams) -> None:
    """Trace the trainer's loss on a minibatch; nothing is compiled or computed.

    Raises:
        PPOJaxError: what it returns does not fit, a metric takes another's name, it reads other `loss_coefs` than are
            set; or what the loss itself raised.
    """
    own: Any = trainer.loss
    try:
        inspect.signature(own.function).bind(*range(5))
    except TypeError as error:
        raise PPOJaxError(
            f"loss: must be a function of params, trainer, batch, scheduled and hyperparams: {error}"
        ) from None

    def minibatch(trainer: ppo.Trainer, key: jax.Array) -> tuple[PyTree, ppo.Batch, ppo.Scheduled, ppo.Metrics]:
        state, transitions = ppo.rollout(trainer, ppo.init(trainer, key, hyperparams))
        state, batch, _ = ppo.make_batch(trainer, state, transitions)
        scheduled = schedules.scheduled(hyperparams, state.step, trainer.settings.rollout_size)
        return state.learner.params, flatten(batch), scheduled, transitions.info.get("metrics", {})

    params, batch, scheduled, of_environment = jax.eval_shape(minibatch, trainer, jax.random.key(0))
    trace = partial(jax.eval_shape, trainer.loss)
    total, metrics = call_own_code("loss", trace, params, trainer, batch, scheduled, hyperparams)
    if getattr(total, "shape", None) != ():
        raise PPOJaxError(f"loss: must be one number [], got {list(jnp.shape(total))}")
    if "approx_kl" not in metrics:
        raise PPOJaxError("loss: its metrics lack approx_kl, which ends the epochs where it exceeds 1.5 target_kl")
    for names, whose in ((OF_UPDATE, "the update itself"), (of_environment, "the environment")):
        if taken := [name for name in metrics if name in names]:
            raise PPOJaxError(f"loss: {taken[0]} is a metric of {whose}; give the loss's own another name")
    for name, value in metrics.items():
        if shapes := [jnp.shape(x) for x in jax.tree.leaves(value) if jnp.shape(x)]:
            raise PPOJaxError(
                f"loss: its metric {name} is {list(shapes[0])}: a metric must be one number; take its mean"
            )


def _is_metric(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(_is_real, value))
    return _is_real(value)


def _is_real(x: Any) -> bool:
    """Whether `x` is a number or an array of numbers, of whatever shape."""
    if not hasattr(x, "dtype"):
        return isinstance(x, bool | int | float)
    return any(jnp.issubdtype(x.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))


def _check_read(coefs: Mapping[str, Any], read: Mapping[str, bool]) -> None:
    """Compare the numbers that are set with those that a loss reads: name -> whether it needs it."""
    if unread := [name for name in coefs if name not in read]:
        told = ", ".join(read) or "none"
        raise PPOJaxError(f"loss_coefs.{unread[0]}: the loss does not read it; it reads {told}")
    if unset := [name for name, needed in read.items() if needed and name not in coefs]:
        name, others = unset[0], f"; set: {', '.join(coefs)}" if coefs else ""
        raise PPOJaxError(
            f'the loss reads loss_coefs["{name}"], which nobody set: add loss_coefs.{name}=… to the settings, or '
            f'"{name}" to hyperparams.loss_coefs in Python{others}'
        )


class _Coefficients(UserDict[str, Any]):
    """`loss_coefs` for a loss that is traced: notes in `read` what it reads. What nobody set is 1."""

    def __init__(self, values: Mapping[str, Any], read: dict[str, bool]) -> None:
        self.data, self.read = dict(values), read

    def __getitem__(self, name: str) -> Any:
        self.read[name] = True
        return self.data.get(name, jnp.ones(()))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f'write loss_coefs["{name}"]: its numbers are no attributes')

    def get(self, name: str, default: Any = None) -> Any:
        self.read.setdefault(name, False)
        return self.data.get(name, default)

    def __contains__(self, name: object) -> bool:
        self.read.setdefault(str(name), False)
        return name in self.data

    def __iter__(self) -> Iterator[str]:
        self.read.update(dict.fromkeys(self.data, True))
        return iter(self.data)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)


def _flatten(coefs: _Coefficients) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    return tuple(coefs.values()), tuple(coefs)


def _unflatten(names: tuple[str, ...], values: Any) -> Any:
    return dict(zip(names, values, strict=True))  # in a function jitted within the loss


jax.tree_util.register_pytree_node(_Coefficients, _flatten, _unflatten)
