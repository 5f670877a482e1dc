"""What commands that train or compile share: experiments read, their names, settings compared, compiled programs."""

from __future__ import annotations

import re
from pathlib import Path

from ppo_jax.cli.console import warn
from ppo_jax.config import Config, load_config
from ppo_jax.runs import trust as consent

__all__ = ["experiment_name", "load_experiment", "other_settings", "use_caches"]


def load_experiment(path: Path, assignments: list[str], trust: bool = False) -> Config:
    """The configuration of an experiment; that of a run is code only with the user's consent, as for the run itself."""
    recorded = load_config(path)
    config = recorded.override(assignments) if assignments else recorded
    if path.name == "config.toml" and any((path.parent / name).exists() for name in ("summary.json", "metrics.jsonl")):
        consent.check(path.parent, recorded, config, trust)
    return config


def experiment_name(path: Path) -> str:
    """The name of the file, or of the run whose config.toml it is without its seed and time."""
    return re.sub(r"-s\d+-\d{8}-\d{6}$", "", path.resolve().parent.name) if path.name == "config.toml" else path.stem


def other_settings(config: Config, folder: Path) -> list[str]:
    """Names of settings in which the run of `folder` differs from `config`, but for devices that it chose by itself."""
    changed = config.differences(load_config(folder / "config.toml"))
    return [key for key in changed if key != "run.devices" or config.run.devices]


def use_caches() -> None:
    """Keep compiled programs between processes."""
    from ppo_jax.runs.compiled_programs import use_compilation_cache

    use_compilation_cache(warn)
