"""Seeds × settings: the members of a sweep, and which of them can share a compiled program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from ppo_jax.config import SCHEDULED, Config, Hyperparams, from_dict
from ppo_jax.config.toml import parse_values
from ppo_jax.types import PPOJaxError

__all__ = ["Member", "Plan", "by_program", "make_plan", "shared_part", "traced"]

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
        return [
            Member(
                "-".join([*(f"{key}={_word(value)}" for key, value in setting.items()), f"s{seed}"]),
                self.config.override(setting | {"seed": seed}, place="--grid"),
                setting,
            )
            for setting in self.settings
            for seed in self.seeds
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {"config": self.config.to_dict(), "seeds": list(self.seeds), "grid": self.grid}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Plan:
        """The plan that `to_dict` wrote."""
        return Plan(from_dict(data["config"], place="sweep.json"), tuple(data["seeds"]), data["grid"])


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
    config = config.override({"tensorboard": False, "wandb": False})  # members write files alone
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

    Of a scheduled setting the shape stays, and of `critic_learning_rate` whether there is one: they are static.
    """
    tables = config.to_dict()
    settings = {key: value for key, value in tables["ppo"].items() if key not in _traced_keys(config)}
    for key in SCHEDULED:
        if key in tables["ppo"]:
            schedule = tables["ppo"][key]
            shape = schedule["shape"] if isinstance(schedule, dict) else "constant"
            settings[key] = {"init": 1.0, "final": 1.0, "shape": shape}
    tables["ppo"] = settings
    del tables["run"]["seed"]
    return from_dict(tables)


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    text = f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
    return "".join(c if c.isalnum() or c in "+-._@" else "_" for c in text)
