"""Whose code a run may call: an import path in a configuration is code, and needs the consent of this user.

Who types a path, on the command line, in an experiment file or in Python, consents to it. A run that is made so is
remembered in the user's own state. What a run received from elsewhere names is imported where the user says ``--trust``
or lists its module in ``trusted_modules`` of their own configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ppo_jax.config import Config
from ppo_jax.config.task_id import path_of_code
from ppo_jax.config.toml import read_toml
from ppo_jax.config.user_folders import user_folder
from ppo_jax.types import PPOJaxError

__all__ = ["check", "import_paths", "read_run_id", "remember"]

RUN_FILES = ("environment.json", "sweep.json")  # hold the id of a run, that of a sweep


def import_paths(config: Config) -> dict[str, str]:
    """The import paths ``module:name`` that a configuration names, by what they stand for, such as ``"loss"``."""
    named = {
        "env": path_of_code(config.task.env_id),
        "network": config.network.network,
        "loss": config.ppo.loss,
        "optimizer": config.ppo.optimizer,
    }
    return {name: path for name, path in named.items() if path is not None and ":" in path}


def check(folder: Path, recorded: Config, wanted: Config, trust: bool = False) -> None:
    """Make sure that the user agrees with the code that the run in `folder` names; imports nothing.

    Args:
        folder: of the run or the sweep.
        recorded: its configuration.
        wanted: the one to be used; what the user put in place of what was recorded needs no further consent.
        trust: the user consents now; it is remembered.

    Raises:
        PPOJaxError: the user did not consent; names the module.
    """
    run_id = read_run_id(folder)
    known = _remembered(run_id)
    began = import_paths(recorded).values()
    foreign = [path for path in import_paths(wanted).values() if path in began and path not in known]
    if trust:
        remember(run_id, foreign)
        return
    trusted = _trusted_modules() if foreign else []
    for path in foreign:
        module = path.partition(":")[0]
        if not any(f"{module}.".startswith(f"{one}.") for one in trusted):
            raise PPOJaxError(
                f"{folder}: would run code of the module {module} ({path!r}), and this run was not made here; where "
                f"you trust it: --trust (in Python trust=True), or trusted_modules = [{module!r}] in {_settings_file()}"
            )


def remember(run_id: str | None, paths: Iterable[str]) -> None:
    """Note that this user consents to `paths` in a run; where that cannot be written they are asked again."""
    folder = user_folder("state")
    lines = "".join(f"{run_id} {path}\n" for path in paths if not re.search(r"\s", path))
    if folder is None or run_id is None or not lines:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(folder / "trusted", "a", encoding="utf-8") as file:
            file.write(lines)
    except OSError:
        return


def read_run_id(folder: Path) -> str | None:
    """The id that the run or the sweep in `folder` was given when it began; None where it has none."""
    for name in RUN_FILES:
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))["run_id"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{32}", found):
            return found
    return None


def _remembered(run_id: str | None) -> set[str]:
    """The import paths that this user consented to in a run."""
    folder = user_folder("state")
    if folder is None or run_id is None:
        return set()
    try:
        lines = (folder / "trusted").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {line.removeprefix(f"{run_id} ") for line in lines if line.startswith(f"{run_id} ")}


def _settings_file() -> Path:
    return (user_folder("config") or Path("~/.config/ppo_jax")) / "config.toml"


def _trusted_modules() -> list[str]:
    """Modules and packages whose code this user lets any run call."""
    path = _settings_file()
    if not path.is_file():
        return []
    found = read_toml(path).get("trusted_modules", [])
    if not (isinstance(found, list) and all(isinstance(name, str) and name for name in found)):
        raise PPOJaxError(f"{path}: trusted_modules must be a list of module names, such as ['my_lab.networks']")
    return found
