"""The command line ``ppo-jax``."""

from ppo_jax.cli.commands import main

__all__ = ["main"]
