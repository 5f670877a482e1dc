"""What the algorithm is told: `Settings`, which are static, and `Hyperparams`, which are traced.

Another value of a static setting needs another compilation. A traced one may change at no cost, and may be an array
over runs under `jax.vmap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["RATE_LIMITS", "SCHEDULE_SHAPES", "Hyperparams", "KLAdaptive", "Schedule", "Settings"]

RATE_LIMITS = (1e-5, 1e-2)  # between which `kl_adaptive` moves a learning rate, as in Brax
SCHEDULE_SHAPES = ("constant", "linear", "cosine", "exponential")  # that follow the fraction of training done


@dataclass(frozen=True)
class Schedule:
    """How a setting changes over training; `ppo_jax.ops.schedules.value` reads it.

    A pytree: the shape is static, each of the other fields a number or an array [...].
    """

    init: Any  # value at `start`
    final: Any  # value at `end`
    shape: str = "constant"  # one of SCHEDULE_SHAPES
    start: Any = 0.0  # fraction of training at which the value begins to change
    end: Any = 1.0  # fraction of training from which it is `final`
    warmup: Any = 0.0  # fraction of training over which it first rises from zero


@dataclass(frozen=True)
class KLAdaptive:
    """A learning rate that follows the KL of the updates (shape `kl_adaptive`); `ppo_jax.ops.schedules.adapt` moves it.

    A pytree of numbers or arrays [...].
    """

    rate: Any  # of the next update
    desired_kl: Any  # of an update


class Hyperparams(NamedTuple):
    """The traced settings: any may be an array under `jax.vmap`. Infinity switches a limit off.

    A number [] in place of a schedule stands for one that stays there.
    """

    learning_rate: Schedule | KLAdaptive | Any  # of the optimizer
    critic_learning_rate: Schedule | KLAdaptive | Any | None  # None: it follows `learning_rate`
    ent_coef: Schedule | Any  # weight of the entropy in the loss
    clip_range: Schedule | Any  # how far the ratio of probabilities may move from 1
    clip_range_vf: Any  # how far a value may move from the rollout's, in network output
    gamma: Any  # discount of a step
    gae_lambda: Any  # of generalised advantage estimation
    vf_coef: Any  # weight of the value loss
    max_grad_norm: Any  # largest global norm of the gradient
    target_kl: Any  # epochs end where the KL exceeds 1.5 times this
    total_timesteps: Any  # environment steps over which the schedules run
    loss_coefs: dict[str, Any] | None = None  # numbers of a loss of the user's own, by name


@dataclass(frozen=True)
class Settings:
    """The static settings of the training program; another value means another compilation."""

    n_envs: int  # B, environments side by side
    n_steps: int  # T, steps of a rollout
    n_epochs: int  # passes over a rollout
    batch_size: int  # transitions
    n_updates: int  # of the whole run
    sequence_length: int = 1  # steps of the sequences that minibatches are made of; divides n_steps and batch_size
    normalize_advantage: bool = True
    bootstrap_truncation: bool = True
    normalize_observations: bool = False
    normalize_rewards: bool = False
    normalize_values: bool = False

    @property
    def rollout_size(self) -> int:
        """Environment steps of one update."""
        return self.n_envs * self.n_steps

    @property
    def n_minibatches(self) -> int:
        return self.rollout_size // self.batch_size
