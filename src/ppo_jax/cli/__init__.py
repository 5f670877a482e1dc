"""The command line ``ppo-jax``."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, see `ppo_jax.cli.commands.main`; what prints is imported without all the commands."""
    from ppo_jax.cli import commands

    return commands.main(arguments)
