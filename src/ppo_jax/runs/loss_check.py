"""Whether a loss of the user's own fits, told in one line before anything is compiled."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax import ppo
from ppo_jax.config import Hyperparams
from ppo_jax.networks.check import call_own_code
from ppo_jax.ops import schedules
from ppo_jax.ops.sequences import flatten
from ppo_jax.runs.metric_table import OF_UPDATE
from ppo_jax.types import PPOJaxError, PyTree

__all__ = ["check_loss"]


def check_loss(trainer: ppo.Trainer, hyperparams: Hyperparams) -> None:
    """Trace the trainer's loss on a minibatch; nothing is compiled or computed.

    Raises:
        PPOJaxError: what it returns does not fit, a metric takes another's name, it reads other `loss_coefs` than are
            set; or what the loss itself raised.
    """

    def minibatch(trainer: ppo.Trainer, key: jax.Array) -> tuple[PyTree, ppo.Batch, ppo.Scheduled, ppo.Metrics]:
        state, transitions = ppo.rollout(trainer, ppo.init(trainer, key, hyperparams))
        state, batch, _ = ppo.make_batch(trainer, state, transitions)
        scheduled = schedules.scheduled(hyperparams, state.step, trainer.settings.rollout_size)
        return state.learner.params, flatten(batch), scheduled, transitions.info.get("metrics", {})

    params, batch, scheduled, of_environment = jax.eval_shape(minibatch, trainer, jax.random.key(0))
    total, metrics = _trace(trainer.loss, params, trainer, batch, scheduled, hyperparams)
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


def _trace(loss: ppo.Loss, *arguments: Any) -> tuple[Any, ppo.Metrics]:
    """Shapes of what a loss returns for `arguments`, the last of which are hyperparameters."""
    coefs = arguments[-1].loss_coefs
    read: dict[str, bool] = {}

    def traced(noting: bool, params: PyTree, trainer: ppo.Trainer, batch: Any, scheduled: Any, hyperparams: Any) -> Any:
        if noting:
            hyperparams = hyperparams._replace(loss_coefs=_Coefficients(hyperparams.loss_coefs or {}, read))
        output = loss(params, trainer, batch, scheduled, hyperparams)
        if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], dict)):
            raise PPOJaxError("loss: must return (loss, metrics), metrics a dict")
        return output

    def trace(noting: bool) -> Any:
        return call_own_code("loss", partial(jax.eval_shape, partial(traced, noting)), *arguments)

    try:
        output = trace(noting=coefs is not None)
    except PPOJaxError:
        if coefs is None:  # which may be why
            trace(noting=True)
            _check_read({}, read)
        raise
    _check_read(coefs or {}, read)
    return output


def _check_read(coefs: Mapping[str, Any], read: Mapping[str, bool]) -> None:
    """Compare the numbers that are set with those that a loss reads: name -> whether it needs it."""
    if unread := [name for name in coefs if name not in read]:
        told = ", ".join(read) or "none"
        raise PPOJaxError(f"loss_coefs.{unread[0]}: the loss does not read it; it reads {told}")
    if unset := [name for name, needed in read.items() if needed and name not in coefs]:
        raise PPOJaxError(
            f'the loss reads loss_coefs["{unset[0]}"], which nobody set: add loss_coefs.{unset[0]}=… to the settings'
        )


class _Coefficients(UserDict[str, Any]):
    """`loss_coefs` for a loss that is traced: notes in `read` what it reads. What nobody set is 1."""

    def __init__(self, values: Mapping[str, Any], read: dict[str, bool]) -> None:
        self.data, self.read = dict(values), read

    def __getitem__(self, name: str) -> Any:
        self.read[name] = True
        return self.data.get(name, jnp.ones(()))

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
