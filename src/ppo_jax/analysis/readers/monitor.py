"""Reads monitor.csv, which the Monitor wrapper of Stable-Baselines and Gym writes: a line an episode."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ppo_jax.analysis.readers.run_log import RunLog, legible, to_number
from ppo_jax.types import PPOJaxError

__all__ = ["MOST_ROWS", "is_monitor", "read_monitor"]

MOST_ROWS = 100  # episodes are put together to at most so many rows, so that a row says more than chance


def is_monitor(line: str) -> bool:
    """Whether the header of a file is that of a monitor.csv: reward, length and time of an episode."""
    return {"r", "l"} <= set(line.strip().replace('"', "").split(","))


def read_monitor(files: Sequence[Iterable[str]], place: object, name: str, given: Mapping[str, Any]) -> RunLog:
    """Read the episodes of a run from the files of its environments; of losses they say nothing.

    Raises:
        PPOJaxError: no episode is complete.
    """
    episodes = np.array([row for file in files for row in _episodes(file)], float).reshape(-1, 3)
    if not len(episodes):
        raise PPOJaxError(f"{place}: a monitor.csv without an episode")
    episodes = episodes[np.argsort(episodes[:, 2], kind="stable")] if len(files) > 1 else episodes
    groups = np.array_split(episodes, min(len(episodes), MOST_ROWS))
    most = max(map(len, groups))
    rows = f"a row is a group of up to {most} episodes" if most > 1 else "a row is an episode"
    return RunLog(
        name=legible(name),
        kind="monitor",
        settings=dict(given),
        columns={
            "update": np.arange(1.0, len(groups) + 1),
            "env_steps": np.cumsum([group[:, 1].sum() for group in groups]),
            "episode_return_mean": np.array([group[:, 0].mean() for group in groups]),
            "episode_length_mean": np.array([group[:, 1].mean() for group in groups]),
        },
        notes=(
            f"monitor.csv: returns and lengths of {len(episodes)} episodes and nothing of PPO, so only rules on "
            f"returns are judged; {rows}, not an update",
        ),
        trainer="sb3",
    )


def _episodes(lines: Iterable[str]) -> Iterable[tuple[float, float, float]]:
    """Return, length and time of each complete episode."""
    header: list[str] = []
    for cells in csv.reader(line for line in lines if not line.startswith("#")):
        if is_monitor(",".join(cells)):  # also where a run went on in the same file
            header = cells
        elif len(cells) == len(header):
            row = dict(zip(header, cells, strict=True))
            episode = (to_number(row["r"]), to_number(row["l"]), to_number(row.get("t", 0.0)))
            if np.isfinite(episode).all():
                yield episode
