"""What commands that train or compile share: the name of an experiment, settings compared, the compilation cache."""

from __future__ import annotations

import re
from pathlib import Path

from ppo_jax.config import Config, load_config

__all__ = ["experiment_name", "other_settings", "use_caches"]


def experiment_name(path: Path) -> str:
    """The name of the file, or of the run whose config.toml it is without its seed and time."""
    return re.sub(r"-s\d+-\d{8}-\d{6}$", "", path.resolve().parent.name) if path.name == "config.toml" else path.stem


def other_settings(config: Config, folder: Path) -> list[str]:
    """Names of settings in which the run of `folder` differs from `config`, but for devices that it chose by itself."""
    changed = config.differences(load_config(folder / "config.toml"))
    return [key for key in changed if key != "run.devices" or config.run.devices]


def use_caches() -> None:
    """Keep compiled programs between processes."""
    from ppo_jax.runs import runner

    runner.use_compilation_cache()
