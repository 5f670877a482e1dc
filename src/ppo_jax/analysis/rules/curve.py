"""The mean return over a run as a person sees it: its level apart from its noise, where it was best, where it ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Curve", "high", "make_curve", "median", "running_median", "spread"]

POINTS = 300  # a longer series is looked at in as many pieces, by their medians


@dataclass(frozen=True)
class Curve:
    """A series without its noise."""

    at: np.ndarray  # [n] int, the index of the update that a point stands for
    level: np.ndarray  # [n] running median over a twentieth of the points, three at least
    noise: float  # standard deviation of the level around the running median over a fifth of the points
    start: float  # the level that it begins at
    end: float  # the level of the last fifth or of the last tenth, whichever is better

    @property
    def range(self) -> float:
        """Of the level, from its lowest to its highest."""
        return float(np.ptp(self.level))

    @property
    def best(self) -> int:
        """The point with the highest level."""
        return int(self.level.argmax())


def make_curve(values: np.ndarray) -> Curve | None:
    """The curve of a series with gaps [U]; None where fewer than ten values are finite."""
    at = np.flatnonzero(np.isfinite(values))
    if at.size < 10:
        return None
    points = values[at]
    if at.size > POINTS:
        pieces = np.array_split(np.arange(at.size), POINTS)
        points = np.array([median(points[piece]) for piece in pieces])
        at = np.array([at[piece[len(piece) // 2]] for piece in pieces])
    n = points.size
    width = max(3, n // 20)
    level, trend = running_median(points, width), running_median(points, n // 5)
    return Curve(
        at=at,
        level=level,
        # Of a few values hardly two differ from their median; the second estimate is that of a median of normals.
        noise=max(spread(level - trend), 1.25 * spread(points - trend) / np.sqrt(width)),
        start=median(points[:3]),
        end=max(median(points[-max(3, n // 5) :]), median(points[-max(3, n // 10) :])),
    )


def median(values: np.ndarray) -> float:
    """Median; NaN of nothing."""
    return float(np.median(values)) if values.size else float("nan")


def high(values: np.ndarray, share: float = 0.9) -> float:
    """A value that this share of them do not exceed, and never the largest of three or more, which may be a freak."""
    return float(np.quantile(values, share, method="lower")) if values.size else float("nan")


def spread(values: np.ndarray) -> float:
    """Standard deviation by the median deviation, so that a few outliers do not count; NaN of nothing."""
    return 1.4826 * median(np.abs(values - median(values)))


def running_median(values: np.ndarray, width: int) -> np.ndarray:
    """Median over `width` values around each, three at least; at the ends over the first and the last of them."""
    half = min(max(1, width // 2), (values.size - 1) // 2)
    middle = np.median(np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1), axis=-1)
    return np.pad(middle, half, mode="edge")
