"""Seeds × settings: the members of a sweep, and which of them can share a compiled program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from ppo_jax.config import SCHEDULED, Config, Hyperparams, from_dict
from ppo_jax.config.toml import parse_values, shortest
from ppo_jax.types import PPOJaxError

__all__ = ["Member", "Plan", "by_program", "make_plan", "shared_part", "traced", "without_infinity"]

LONGEST_NAME = 200  # bytes of what a folder's name says of a setting; file systems allow 255 in all
TRACED = frozenset(Hyperparams._fields) - {"total_timesteps"}  # keys of [ppo] that may differ within one program


@dataclass(frozen=True)
class Member:
    """One seed with one setting."""

    name: str  # of its folder, such as "learning_rate=0.001-s3"
    config: Config
    setting: dict[str, Any]  # what the grid sets


@dataclass(frozen=True)
class Plan:
    """What a sweep trains."""

    config: Config
    seeds: tuple[int, ...]
    grid: dict[str, list[Any]]

    @property
    def settings(self) -> list[dict[str, Any]]:
        """One for each point of the grid; a single empty one without a grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    @cached_property
    def members(self) -> list[Member]:
        """Every seed of every setting."""
        words = [[f"{key}={word}" for word in _words(values)] for key, values in self.grid.items()]
        names = ["-".join(parts) for parts in product(*words)]
        if any(len(name.encode()) > LONGEST_NAME for name in names):
            names = [f"setting-{i}" for i in range(len(names))]
        return [
            Member(
                f"{name}-s{seed}" if name else f"s{seed}",
                self.config.override(setting | {"seed": seed}, place="--grid"),
                setting,
            )
            for name, setting in zip(names, self.settings, strict=True)
            for seed in self.seeds
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "config": without_infinity(self.config.to_tables()),
            "seeds": list(self.seeds),
            "grid": without_infinity(self.grid),
        }

    @staticmethod
    def from_dict(data: dict[str, Any], place: str = "sweep.json") -> Plan:
        """The plan that `to_dict` wrote; `place` begins every error."""
        config = from_dict(_with_infinity(data["config"]), place=place)
        plan = Plan(config, tuple(data["seeds"]), _with_infinity(data["grid"]))
        try:
            _ = plan.members  # every setting is checked
        except PPOJaxError as error:
            raise PPOJaxError(f"{place}: {error}") from None
        return plan


def make_plan(config: Config, n_seeds: int, grid: Iterable[str] = ()) -> Plan:
    """The sweep over `n_seeds` seeds, counted from the configuration's, and over a grid.

    Args:
        config: the base.
        n_seeds: seeds of each setting.
        grid: ``"key=value,value,…"`` for each key; keys and values as for ``--set``.

    Raises:
        PPOJaxError: an unknown key (names the nearest), a value of the wrong type or range, something given twice.
    """
    if n_seeds < 1:
        raise PPOJaxError(f"--seeds {n_seeds}: a sweep needs at least one seed")
    keys: dict[str, list[Any]] = {}
    for text in grid:
        key, values = parse_values(text)
        if key.removeprefix("run.") == "seed":
            raise PPOJaxError(f"--grid {text}: --seeds says how many; --set seed=N where they begin")
        if key in keys or any(value in values[:i] for i, value in enumerate(values)):
            raise PPOJaxError(f"--grid {text}: given twice")
        keys[key] = values
    plan = Plan(config, tuple(range(config.run.seed, config.run.seed + n_seeds)), keys)
    _ = plan.members  # every setting is checked
    return plan


def traced(config: Config) -> dict[str, Any]:
    """The settings of a configuration that may differ within one program."""
    return {key: value for key, value in config.to_dict()["ppo"].items() if key in _traced_keys(config)}


def _traced_keys(config: Config) -> frozenset[str]:
    # What shapes rewards is part of the environment, and pays back by the same discount.
    return TRACED - {"gamma"} if config.task.shaping else TRACED


def by_program(members: Sequence[Member]) -> list[list[Member]]:
    """Members that can share a compiled program together, in the order of their first."""
    together: dict[Config, list[Member]] = {}
    for member in members:
        together.setdefault(shared_part(member.config), []).append(member)
    return list(together.values())


def shared_part(config: Config) -> Config:
    """The configuration without seed and traced numbers: equal where a program can be shared.

    Of a scheduled setting the shape stays, of `critic_learning_rate` whether there is one, and of `loss_coefs` the
    names: they are static.
    """
    tables = config.to_dict()
    settings = {key: value for key, value in tables["ppo"].items() if key not in _traced_keys(config)}
    for key in SCHEDULED:
        if key in tables["ppo"]:
            schedule = tables["ppo"][key]
            shape = schedule["shape"] if isinstance(schedule, dict) else "constant"
            adaptive = {"init": 1e-3, "desired_kl": 0.01, "shape": shape}
            settings[key] = adaptive if shape == "kl_adaptive" else {"init": 1.0, "final": 1.0, "shape": shape}
    if names := tables["ppo"].get("loss_coefs"):
        settings["loss_coefs"] = dict.fromkeys(names, 1.0)
    tables["ppo"] = settings
    del tables["run"]["seed"]
    return from_dict(tables)


def without_infinity(value: Any) -> Any:
    """Infinity, which JSON lacks, becomes ``"inf"``."""
    if isinstance(value, dict):
        return {key: without_infinity(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinity(one) for one in value]
    return "inf" if value == math.inf else value


def _with_infinity(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_infinity(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_infinity(one) for one in value]
    return math.inf if value == "inf" else value


def _words(values: Sequence[Any]) -> list[str]:
    """Values of a key as parts of folders' names, no two alike, not even where case does not count."""
    words: list[str] = []
    for value in values:
        word = _word(value)
        again = sum(word.lower() == other.lower().partition("~")[0] for other in words)
        words.append(f"{word}~{again + 1}" if again else word)
    return words


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    text = shortest(value) if isinstance(value, float) else "none" if value is None else str(value)
    return "".join(c if c.isalnum() or c in "+-._@" else "_" for c in text)
