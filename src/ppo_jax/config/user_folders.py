"""Where this user keeps caches, settings and state, as the XDG base directory specification says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["user_folder"]

DEFAULTS = {"cache": ".cache", "config": ".config", "state": ".local/state"}


def user_folder(kind: Literal["cache", "config", "state"]) -> Path | None:
    """The folder of ppo_jax for files of a kind, which need not exist; None where the user has no home.

    A variable such as ``XDG_CACHE_HOME`` counts where it is an absolute path; empty or relative it is ignored.
    """
    named = os.environ.get(f"XDG_{kind.upper()}_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "ppo_jax"
    try:
        return Path.home() / DEFAULTS[kind] / "ppo_jax"
    except RuntimeError:
        return None
