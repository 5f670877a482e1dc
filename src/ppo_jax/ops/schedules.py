"""Schedules: the fraction of training done, in [0, 1], to the value of a setting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ppo_jax.config.hyperparams import RATE_LIMITS, Hyperparams, KLAdaptive, Schedule
from ppo_jax.types import PPOJaxError

__all__ = ["adapt", "constant", "scheduled", "value"]

# Here and not beside the class: the settings are read without JAX.
jax.tree_util.register_dataclass(
    Schedule, data_fields=["init", "final", "start", "end", "warmup"], meta_fields=["shape"]
)
jax.tree_util.register_dataclass(KLAdaptive, data_fields=["rate", "desired_kl"], meta_fields=[])
# From 1 at the beginning to 0 at the end.
_LINEAR = optax.linear_schedule(init_value=1.0, end_value=0.0, transition_steps=1)
_COSINE = optax.cosine_decay_schedule(init_value=1.0, decay_steps=1)


def constant(level: float | jax.Array) -> Schedule:
    """A schedule that stays at `level`. A bare number means the same: ``hp._replace(ent_coef=x)``."""
    return Schedule(init=level, final=level, shape="constant")


def value(
    schedule: Schedule | KLAdaptive | float | jax.Array, progress: jax.Array, update: jax.Array | float = 0.0
) -> jax.Array:
    """Value at `progress` (fraction of environment steps done, []), in the unit of the scheduled setting.

    With u the progress rescaled to [0, 1] between `start` and `end`::

        constant     init
        linear       final + (init - final) (1 - u)
        cosine       final + (init - final) (1 + cos(pi u)) / 2
        exponential  init (final / init)^u

    A number stands for the constant schedule; a rate that follows the KL is what `adapt` made it. `warmup` is the
    fraction of training over which the value first rises linearly. It counts the update at hand, of the size `update`
    (a fraction of training too), so that the first one does not run at zero.
    """
    if isinstance(schedule, KLAdaptive):
        return jnp.asarray(schedule.rate, jnp.float32)
    if not isinstance(schedule, Schedule):
        schedule = constant(schedule)
    init, final, start, end, warmup = (
        jnp.asarray(x, jnp.float32)
        for x in (schedule.init, schedule.final, schedule.start, schedule.end, schedule.warmup)
    )
    u = jnp.clip((progress - start) / jnp.maximum(end - start, 1e-8), 0.0, 1.0)
    match schedule.shape:
        case "constant":
            level = init
        case "linear":
            level = final + (init - final) * _LINEAR(u)
        case "cosine":
            level = final + (init - final) * _COSINE(u)
        case "exponential":
            tiny = 1e-12  # an exponential cannot start or end at zero
            level = init * (jnp.maximum(final, tiny) / jnp.maximum(init, tiny)) ** u
        case _:
            raise ValueError(f"unknown shape of a schedule: {schedule.shape!r}")
    # A blend of init and final may miss init by a rounding; the first update has exactly init.
    level = jnp.where(u == 0.0, init, level)
    return level * jnp.where(warmup > 0.0, jnp.minimum((progress + update) / jnp.maximum(warmup, 1e-8), 1.0), 1.0)


def scheduled(hyperparams: Hyperparams, step: jax.Array, rollout_size: int) -> dict[str, jax.Array]:
    """The values [] of an update: `learning_rate`, `critic_learning_rate`, `ent_coef` and `clip_range`.

    Args:
        hyperparams: of the run; a critic's rate that is None follows `learning_rate`, a number is a constant schedule.
        step: [] int32, updates done before this one.
        rollout_size: environment steps of an update.

    Raises:
        PPOJaxError: a hyperparameter is not one number.
    """
    share = rollout_size / hyperparams.total_timesteps
    progress = step.astype(jnp.float32) * share
    critic = hyperparams.critic_learning_rate
    _check_numbers(hyperparams)
    schedules = {
        "learning_rate": hyperparams.learning_rate,
        "critic_learning_rate": hyperparams.learning_rate if critic is None else critic,
        "ent_coef": hyperparams.ent_coef,
        "clip_range": hyperparams.clip_range,
    }
    return {name: value(schedule, progress, share) for name, schedule in schedules.items()}


def adapt(hyperparams: Hyperparams, approx_kl: jax.Array) -> Hyperparams:
    """The hyperparameters of the next update: a learning rate that follows the KL moves by `approx_kl` [].

    With KL over twice `desired_kl` a rate is divided by 1.5, under half of it multiplied by 1.5, within 1e-5 and 1e-2.
    A KL of zero or NaN says nothing. The rule and its numbers are those of Brax (``adaptive_kl_learning_rate``) and of
    rl_games' adaptive schedule. Brax moves the rate after each minibatch, we once an update, by the mean KL of its
    minibatches: so an update has one rate, the one that is reported.
    """

    def moved(schedule: Any) -> Any:
        if not isinstance(schedule, KLAdaptive):
            return schedule
        rate, desired, (least, most) = schedule.rate, schedule.desired_kl, RATE_LIMITS
        lower = jnp.where(approx_kl > 2.0 * desired, jnp.maximum(rate / 1.5, least), rate)
        higher = jnp.where((approx_kl > 0.0) & (approx_kl < desired / 2.0), jnp.minimum(rate * 1.5, most), lower)
        return replace(schedule, rate=higher)

    rates = {name: moved(getattr(hyperparams, name)) for name in ("learning_rate", "critic_learning_rate")}
    return hyperparams._replace(**rates)


def _check_numbers(hyperparams: Hyperparams) -> None:
    for name, setting in hyperparams._asdict().items():
        if isinstance(setting, KLAdaptive) and not name.endswith("learning_rate"):
            raise PPOJaxError(f"hyperparams.{name}: learning rates alone follow the KL")
        tree = name == "loss_coefs" or (setting is None and name == "critic_learning_rate")
        whole = tree or isinstance(setting, Schedule | KLAdaptive)
        for x in jax.tree.leaves(setting) if whole else [setting]:
            shape = getattr(x, "shape", () if isinstance(x, int | float) else None)
            if shape != ():
                found = type(x).__name__ if shape is None else list(shape)
                raise PPOJaxError(
                    f"hyperparams.{name}: must be one number [], got {found}; to train with several, jax.vmap a "
                    "function of one"
                )
