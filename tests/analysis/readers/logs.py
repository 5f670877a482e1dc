"""Small logs as other trainers write them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Lines = Sequence[Mapping[str, object]]


def sb3_lines(n: int = 12, rollout: int = 2048, n_epochs: int = 10, **columns) -> list[dict[str, object]]:
    """Lines of SB3's PPO after each of n rollouts; the first is written before there was an update.

    Args:
        n: lines.
        rollout: transitions of an update.
        n_epochs: of an update.
        columns: what the lines have besides, or in place of what they would have; `None` takes a column away.
    """
    lines = []
    for i in range(1, n + 1):
        line: dict[str, object] = {
            "time/iterations": i,
            "time/total_timesteps": rollout * i,
            "rollout/ep_len_mean": 100.0,
            "rollout/ep_rew_mean": 10.0 * i,
        }
        if i > 1:
            line |= {
                "train/approx_kl": 0.01,
                "train/clip_fraction": 0.1,
                "train/clip_range": 0.2,
                "train/entropy_loss": -1.0,
                "train/explained_variance": 0.8,
                "train/learning_rate": 3e-4,
                "train/n_updates": n_epochs * (i - 1),
                "train/policy_gradient_loss": -0.01,
                "train/value_loss": 5.0,
            }
        more = {name.replace("__", "/"): value for name, value in columns.items()}
        line |= {name: value for name, value in more.items() if i > 1 or not name.startswith("train/")}
        lines.append({name: value for name, value in line.items() if value is not None})
    return lines


def to_csv(lines: Lines, delimiter: str = ",") -> str:
    names = list(dict.fromkeys(name for line in lines for name in line))
    rows = [names, *([str(line.get(name, "")) for name in names] for line in lines)]
    return "\n".join(map(delimiter.join, rows)) + "\n"


def to_json_lines(lines: Lines) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def to_tables(lines: Lines) -> str:
    """As SB3 prints them."""
    text = []
    for line in lines:
        text.append("-" * 41)
        section = ""
        for name in sorted(line):
            group, key = name.split("/")
            if group != section:
                text.append(f"| {group + '/':<23} |             |")
            section = group
            value = line[name]
            text.append(f"|    {key:<20} | {f'{value:<8.3g}' if isinstance(value, float) else value:<11} |")
        text.append("-" * 41)
    return "\n".join(text) + "\n"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def pipe(text: str, monkeypatch) -> None:
    """Give a text to standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
