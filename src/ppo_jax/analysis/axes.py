"""Axes of figures that several charts share: a scale for numbers far below zero, and environment steps."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["MUTED", "set_log_below", "set_steps_axis"]

MUTED = "#777777"
Axes = Any  # matplotlib's


def set_log_below(axes: Axes, lowest: float) -> None:
    """A scale that is linear above `lowest`, which is negative, and logarithmic below it."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_ylim()
    if low < lowest:
        axes.set_yscale("symlog", linthresh=-lowest, linscale=1.0)
        decades = np.arange(np.ceil(np.log10(low / lowest)) + 1)
        below = [factor * lowest * 10.0**k for k in decades for factor in (3, 10) if factor * lowest * 10.0**k >= low]
        below = below[1::2] if len(below) > 3 else below
        axes.yaxis.set_major_locator(FixedLocator([*below, lowest, 0.0, -0.5 * lowest, -lowest]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}".replace("-", "−")))
    axes.set_ylim(low, min(high, 1.05))
    axes.axhline(0.0, color=MUTED, linewidth=0.8)


def set_steps_axis(axes: Axes) -> None:
    """Environment steps along the bottom, in thousands and millions."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _round(x)))
    axes.set_xlabel("environment steps", loc="right")


def _round(x: float) -> str:
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:g}{mark}"
    return f"{x:g}"
