"""Numbers and settings as a person writes them, for tables and pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ppo_jax.analysis.readers import legible
from ppo_jax.config.toml import write_toml

__all__ = ["without_folders", "write_changes", "write_number", "write_setting"]


def write_number(x: float) -> str:
    """A number for a table: three decimals where that says enough, so that columns align; a dash for NaN."""
    if np.isnan(x):
        return "–"
    if np.isinf(x):
        text = "∞" if x > 0 else "-∞"
    elif x == round(x) or abs(x) >= 1000:
        text = f"{x:,.0f}"
    elif abs(x) >= 0.01:
        text = f"{x:.3f}" if abs(x) < 10 else f"{x:.1f}"
    else:
        text = f"{x:.1g}" if abs(x) >= 1e-4 else f"{x:.0e}".replace("e-0", "e-")
    return text.replace("-", "−", 1) if x < 0 else text


def write_setting(value: Any) -> str:
    """A setting as a person writes it: ``0.1 → 0.01`` for a schedule, ``none`` where it is unset."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        first, last = value.get("init"), value.get("final")
        if value.get("shape") == "kl_adaptive":
            return f"{write_setting(first)}, following KL {write_setting(value.get('desired_kl'))}"
        if value.get("shape") == "constant" or first == last:
            return write_setting(first)
        details = [] if value.get("shape", "linear") == "linear" else [str(value["shape"])]
        start, end = value.get("start", 0.0), value.get("end", 1.0)
        details += [f"from {start:.0%} to {end:.0%}"] if (start, end) != (0.0, 1.0) else []
        details += [f"warm-up {value['warmup']:.0%}"] if value.get("warmup") else []
        return f"{write_setting(first)} → {write_setting(last)}" + (f" ({', '.join(details)})" if details else "")
    if isinstance(value, list | tuple):
        return " × ".join(map(write_setting, value)) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and 0.0 < abs(value) < 0.01:
        return re.sub(r"\.?0*e-0?", "e-", f"{value:.3e}")  # 3e-4
    return f"{value:g}" if isinstance(value, float) else legible(str(value))


def write_changes(changes: Mapping[str, Any]) -> str:
    """Lines for a configuration; a setting that is to be unset is a comment."""
    given = {key: value for key, value in changes.items() if value is not None}
    lines = write_toml({"": given}).splitlines()[1:] if given else []
    return "\n".join([*lines, *(f"# leave out {key}" for key, value in changes.items() if value is None)])


def without_folders(values: Sequence[Any]) -> list[Any]:
    """Absolute paths among the values as their last parts, so many as tell them apart; the others as they are.

    Where on a machine they lie says nothing to readers elsewhere, and much about the machine.
    """
    parts = {value: path.parts[1:] for value in values if isinstance(value, str) and (path := _absolute(value))}
    longest = max(map(len, parts.values()), default=0)
    enough = (depth for depth in range(1, longest) if len({one[-depth:] for one in parts.values()}) == len(parts))
    depth = next(enough, longest)
    return ["/".join(parts[one][-depth:]) if isinstance(one, str) and one in parts else one for one in values]


def _absolute(text: str) -> PurePath | None:
    kinds: tuple[type[PurePath], ...] = (PurePosixPath, PureWindowsPath)
    return next((path for path in (kind(text) for kind in kinds) if path.is_absolute()), None)
