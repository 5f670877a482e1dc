"""One run in the order in which it was trained: runs that went on, began again, or were written out of order."""

from __future__ import annotations

import numpy as np

__all__ = ["in_order"]

COUNTS = ("epochs_begun_total", "updates_total")
AT_FIRST = 0.1  # share of the steps; a count that falls back to there belongs to another run
MIXED = 0.1  # share of the lines; where more fall back, lines are out of order


def in_order(columns: dict[str, np.ndarray], notes: list[str]) -> dict[str, np.ndarray]:
    """Columns [U] with steps that never fall; what was done for it is said in `notes`.

    - The steps begin again and the count of epochs does not: learning was called again, and its steps are added on.
    - The steps fall back part of the way: a checkpoint was loaded, and what had come after it is left out.
    - Both begin again: another run. The longest is read.
    """
    steps = columns["env_steps"].copy()
    if not (np.diff(steps) < 0).any():
        return columns
    count = next((columns[name] for name in COUNTS if name in columns), None)
    starts = np.flatnonzero(np.diff(steps) < 0) + 1
    order = np.argsort(steps, kind="stable")
    agrees = False
    if count is not None and np.isfinite(count).all() and len(np.unique(count)) == len(count):
        order = np.argsort(count, kind="stable")
        agrees = bool((np.diff(steps[order]) >= 0).all())  # where learning began again it does not
    if agrees or len(starts) > max(3, MIXED * len(steps)):
        notes.append("its lines are out of order; sorted by time step")
        return {name: column[order] for name, column in columns.items()}
    pieces = np.split(np.arange(len(steps)), starts)
    runs, now = [], pieces[0]
    for piece in pieces[1:]:
        first, began, ended = steps[piece[0]], steps[now[0]], steps[now[-1]]
        if count is not None and count[piece[0]] > count[now[-1]]:
            steps[piece] += ended
            now = np.concatenate([now, piece])
            notes.append(f"learning began again at step {ended:.0f}, its steps counted from 0; read as one run")
        elif first <= began + AT_FIRST * (ended - began):
            runs.append(now)
            now = piece
        else:
            notes.append(f"learning went on from step {first:.0f}; what was logged beyond it before is left out")
            now = np.concatenate([now[steps[now] < first], piece])
    runs.append(now)
    longest = max(runs, key=len)
    if len(runs) > 1:
        which = [run is longest for run in runs].index(True) + 1
        notes.append(f"{len(runs)} runs in one log; read is the longest, run {which}, of {len(longest)} updates")
    return {name: column[longest] for name, column in {**columns, "env_steps": steps}.items()}
