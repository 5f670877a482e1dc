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

    init: Any
    final: Any
    shape: str = "constant"  # one of SCHEDULE_SHAPES
    start: Any = 0.0
    end: Any = 1.0
    warmup: Any = 0.0


@dataclass(frozen=True)
class KLAdaptive:
    """A learning rate that follows the KL of the updates (shape `kl_adaptive`); `ppo_jax.ops.schedules.adapt` moves it.

    A pytree of numbers or arrays [...].
    """

    rate: Any  # of the next update
    desired_kl: Any


class Hyperparams(NamedTuple):
    """The traced settings: any may be an array under `jax.vmap`. Infinity switches a limit off.

    A number [] in place of a schedule stands for one that stays there.
    """

    learning_rate: Schedule | KLAdaptive | Any
    critic_learning_rate: Schedule | KLAdaptive | Any | None  # None: it follows `learning_rate`
    ent_coef: Schedule | Any
    clip_range: Schedule | Any
    clip_range_vf: Any
    gamma: Any
    gae_lambda: Any
    vf_coef: Any
    max_grad_norm: Any
    target_kl: Any
    total_timesteps: Any  # environment steps over which the schedules run


@dataclass(frozen=True)
class Settings:
    """The static settings of the training program; another value means another compilation."""

    n_envs: int
    n_steps: int
    n_epochs: int
    batch_size: int  # transitions
    n_updates: int
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
