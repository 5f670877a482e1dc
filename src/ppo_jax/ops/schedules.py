"""Schedules: the fraction of training done, in [0, 1], to the value of a setting.

Every number of a schedule is traced, the shape included, so a sweep over schedules compiles once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from ppo_jax.config import SCHEDULE_SHAPES, Schedule

__all__ = ["constant", "value"]

_LINEAR = optax.linear_schedule(init_value=1.0, end_value=0.0, transition_steps=1)
_COSINE = optax.cosine_decay_schedule(init_value=1.0, decay_steps=1)


def constant(level: float | jax.Array) -> Schedule:
    """A schedule that stays at `level`; the way to vmap a scheduled setting: ``hp._replace(ent_coef=constant(x))``."""
    return Schedule(init=level, final=level, shape=SCHEDULE_SHAPES.index("constant"))


def value(schedule: Schedule, progress: jax.Array, update: jax.Array | float = 0.0) -> jax.Array:
    """Value at `progress` (fraction of environment steps done, []), in the unit of the scheduled setting.

    With u the progress rescaled to [0, 1] between `start` and `end`::

        linear       final + (init - final) (1 - u)
        cosine       final + (init - final) (1 + cos(pi u)) / 2
        exponential  init (final / init)^u
        logarithmic  final + (init - final) (1 - log10(1 + 9 u))

    `warmup` is the fraction of training over which the value first rises linearly. It counts the update at hand, of
    the size `update` (a fraction of training too), so that the first one does not run at zero.
    """
    init, final, shape, start, end, warmup = (jnp.asarray(x, jnp.float32) for x in schedule)
    u = jnp.clip((progress - start) / jnp.maximum(end - start, 1e-8), 0.0, 1.0)
    tiny = 1e-12  # an exponential cannot start or end at zero
    ratio = jnp.maximum(final, tiny) / jnp.maximum(init, tiny)
    remaining = {
        "constant": jnp.ones_like(u),
        "linear": _LINEAR(u),
        "cosine": _COSINE(u),
        "logarithmic": 1.0 - jnp.log10(1.0 + 9.0 * u),
    }
    values = {name: final + (init - final) * left for name, left in remaining.items()}
    values["constant"] = init
    values["exponential"] = init * ratio**u
    level = jnp.stack([values[name] for name in SCHEDULE_SHAPES])[shape.astype(jnp.int32)]
    # A blend of init and final may miss init by a rounding; the first update has exactly init.
    level = jnp.where(u == 0.0, init, level)
    return level * jnp.where(warmup > 0.0, jnp.minimum((progress + update) / jnp.maximum(warmup, 1e-8), 1.0), 1.0)
