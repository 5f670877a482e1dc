"""What `ppo_jax.ppo` is made of: distributions, schedules, the optimizer, statistics, shuffling."""
