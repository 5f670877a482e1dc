"""The experiments that come with ppo_jax: found by their name, or by the environment that they train."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ppo_jax.config.suggestions import nearest
from ppo_jax.config.toml import read_toml
from ppo_jax.types import PPOJaxError

__all__ = ["NEEDS_MEMORY", "experiment_file", "experiment_names", "read_experiment"]

FOLDER = Path(__file__).parents[1] / "experiments"
DEFAULT = FOLDER / "default.toml"  # of environments that no experiment is of
ENV_ID = re.compile(r"\w+-[\w.-]+|[\w.]+:\w+|\w+/[\w./:-]+")  # Name-v1, package.module:Name, suite/name
OF_SUITE = {"-MinAtar": "breakout"}  # ending of an id -> the experiment whose settings its suite takes
# The observation of these does not say all that the best action depends on.
NEEDS_MEMORY = ("BernoulliBandit-misc", "GaussianBandit-misc", "MemoryChain-bsuite", "MetaMaze-misc", "PointRobot-misc")


def experiment_names() -> list[str]:
    """The experiments that come with ppo_jax, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if path != DEFAULT)


def experiment_file(name: str | Path) -> Path | None:
    """The TOML file of an experiment; None for an environment that no experiment is of.

    Args:
        name: a file, or the name or the ``env_id`` of an experiment that comes with ppo_jax. ``experiments/NAME.toml``
            is the same as ``NAME`` where no such file is.

    Raises:
        PPOJaxError: it is none of these; names the nearest.
    """
    path, word = Path(name), str(name)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise PPOJaxError(f"{name}: cannot be read: {error.strerror}") from None
    if is_there and not is_folder:
        if path.suffix == ".py":
            raise PPOJaxError(f"{name}: Python code; an environment in it is {path.stem}:Name, Name being its class")
        return path
    if path.suffix == ".toml":
        if path.parent.name == FOLDER.name and path.stem in experiment_names():
            return FOLDER / path.name
        raise PPOJaxError(
            f"{name}: no such file; {nearest(path.stem, experiment_names(), '`ppo-jax init` copies one')}"
        )
    if word in experiment_names():
        return FOLDER / f"{word}.toml"
    for file in (FOLDER / f"{known}.toml" for known in experiment_names()):
        if read_toml(file)["task"].get("env_id") == word:
            return file
    if is_folder:
        raise PPOJaxError(f"{name}: is a folder; {_instead(path)}")
    if ENV_ID.fullmatch(word):
        return None
    module, _, name_there = word.rpartition(".")
    if name_there[:1].isupper() and all(part.isidentifier() for part in module.split(".")):
        raise PPOJaxError(
            f"{name}: no such file, and no experiment; did you mean the import path {module}:{name_there}?"
        )
    near = nearest(word.lower(), experiment_names(), "`ppo-jax envs` lists environments to train")
    raise PPOJaxError(f"{name}: no such file, and no experiment; {near}")


def _instead(folder: Path) -> str:
    """What to give in place of a folder: the configuration of a run, or an experiment on the data that it holds."""
    if (folder / "config.toml").is_file():
        return f"use {folder / 'config.toml'}"
    if any(folder.glob("train*.*")):
        return f"to train on the graph in it: `ppo-jax train family --set dataset={folder}`"
    return "a TOML file is needed"


def read_experiment(name: str | Path) -> dict[str, Any]:
    """The tables of an experiment.

    Those of an environment that no experiment is of are the defaults of its suite. Whether there is such an environment
    shows when it is made.

    Raises:
        PPOJaxError: as `experiment_file`, or the file cannot be read.
    """
    if file := experiment_file(name):
        return read_toml(file)
    env_id = str(name)
    like = next((FOLDER / f"{one}.toml" for ending, one in OF_SUITE.items() if env_id.endswith(ending)), DEFAULT)
    tables = read_toml(like)
    tables["task"] = {"env_id": env_id}
    if env_id in NEEDS_MEMORY:
        tables["network"] = tables.get("network", {}) | {"core": "gru"}
    return {"task": tables.pop("task"), **tables}
