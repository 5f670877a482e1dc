"""Actor-critics: flax.linen modules from observations [n, ...] to (distribution [n], value [n])."""
