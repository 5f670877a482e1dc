"""``python -m ppo_jax`` is the command ``ppo-jax``."""

from ppo_jax.cli import main

raise SystemExit(main())
