"""What commands that train or compile share: experiments read, their names, settings compared, compiled programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ppo_jax.cli.console import warn
from ppo_jax.config import Config, load_config
from ppo_jax.runs import trust as consent
from ppo_jax.types import PPOJaxError

__all__ = ["check_same_settings", "experiment_name", "load_experiment", "settings_of_run", "use_caches"]


def load_experiment(path: Path, assignments: list[str], trust: bool = False) -> Config:
    """The configuration of an experiment; that of a run is code only with the user's consent, as for the run itself."""
    recorded = load_config(path)
    config = load_config(path, assignments) if assignments else recorded
    if path.name == "config.toml" and any((path.parent / name).exists() for name in ("summary.json", "metrics.jsonl")):
        consent.check(path.parent, recorded, config, trust)
    return config


def experiment_name(path: Path) -> str:
    """The name of the file or environment, or of the run whose config.toml it is without its seed and time."""
    if path.name == "config.toml":
        return re.sub(r"-s\d+-\d{8}-\d{6}$", "", path.resolve().parent.name)
    return path.stem if path.suffix == ".toml" else re.sub(r"[^\w.-]+", "-", str(path))


def check_same_settings(config: Config, folder: Path, remedy: str) -> None:
    """Make sure that the run of `folder` is one of `config`; where and how it is written may differ.

    Raises:
        PPOJaxError: it has other settings; names them and ends with `remedy`.
    """
    there = load_config(folder / "config.toml")
    if there.task.rules == str(folder.absolute() / "rules.txt"):  # mined
        there = there.override({"rules": "rules.txt"})
    changed = [key for key in config.differences(there) if not _of_run(key)]
    if changed:
        raise PPOJaxError(f"{folder}: holds a run of another configuration ({', '.join(changed)}); {remedy}")


def settings_of_run(config: Config, folder: Path) -> dict[str, Any]:
    """What `config` asks of ``[run]`` otherwise than the run of `folder`, as `Config.override` takes it."""
    changed = config.differences(load_config(folder / "config.toml"))
    names = [key.removeprefix("run.") for key in changed if _of_run(key)]
    return {name: getattr(config.run, name) for name in names if name != "devices" or config.run.devices is not None}


def _of_run(key: str) -> bool:
    return key.startswith("run.") and key != "run.seed"


def use_caches() -> None:
    """Keep compiled programs between processes."""
    from ppo_jax.runs.compiled_programs import use_compilation_cache

    use_compilation_cache(warn)
