"""What the counts in another trainer's log tell: the transitions of an update, updates a line, epochs, early stops."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["count_updates", "read_epochs", "rollout_size"]

MOST = 0.75  # share that has to agree on a number for it to be constant


def rollout_size(steps: np.ndarray, iterations: np.ndarray) -> int | None:
    """The transitions of an update, where it is constant.

    Args:
        steps: environment steps of the lines that end a rollout [L].
        iterations: rollouts so far at each [L]; NaN where that is not written, and then a line is an update.
    """
    if not steps.size:
        return None
    sizes = np.diff(steps) / _iterations_between(iterations)
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not sizes.size:
        sizes = (steps / iterations)[:1]
    size = float(np.median(sizes))
    constant = np.isclose(sizes, size, rtol=1e-6).mean() >= MOST
    return int(size) if constant and 1 <= size < np.inf and size == int(size) else None


def _iterations_between(iterations: np.ndarray) -> np.ndarray:
    """Rollouts from each line to the next; the count begins again at 1 where learning is called again."""
    between = np.diff(iterations)
    return np.where(np.isnan(between), 1.0, np.where(between > 0, between, iterations[1:]))


def count_updates(steps: np.ndarray, iterations: np.ndarray | None, size: int | None) -> np.ndarray:
    """Updates that each line of Stable-Baselines3 stands for [U], by the steps or the count of iterations.

    A line is written before the update of its own iteration. 0 in a first line where learning went on from before.
    """
    if size and np.isfinite(steps).all():
        return np.diff(np.ceil(steps / size) - 1.0, prepend=0.0)
    if iterations is None:
        return np.ones(len(steps))
    return np.concatenate([iterations[:1] - 1.0, _iterations_between(iterations)])


def read_epochs(begun_total: np.ndarray, updates: np.ndarray, known: dict[str, Any]) -> dict[str, np.ndarray]:
    """Early stops and epochs from SB3's count of epochs, where one that the KL limit cut short counts as whole.

    The number of epochs is the median difference. Where the differences disagree, which is what a KL limit makes of
    them, it is the largest. Of a line that stands for several updates (``log_interval``) only the least share that was
    cut short is known.

    Args:
        begun_total: epochs begun so far [U].
        updates: those of each line [U].
        known: settings; `n_epochs` is added where it is missing.
    """
    begun = np.diff(begun_total, prepend=0.0) / np.where(updates >= 1, updates, np.nan)
    within = begun[1:] if np.isfinite(begun[1:]).any() else begun  # the first may hold what was learnt before the log
    within = within[np.isfinite(within) & (within > 0)]
    if not within.size:
        return {}
    usual = float(np.median(within))
    enough = min(MOST * within.size, max(3, within.size - 2))  # one wrong count spoils the differences on both sides
    agreed = usual > 1 and np.isclose(within, usual).sum() >= enough
    n_epochs = known.setdefault("n_epochs", int(np.ceil(usual if agreed else within.max())))
    if n_epochs <= 1:  # of one epoch an update nobody can tell whether there should have been more
        return {}
    # Every update begins an epoch. What has none has a wrong count, or the log a gap or a run that was loaded.
    begun[~((begun >= 1) & (begun <= n_epochs + 1e-9))] = np.nan
    lost = n_epochs - begun
    early_stopped = np.where(updates == 1, np.sign(lost), lost / (n_epochs - 1))
    return {"early_stopped": early_stopped, "epochs_completed": begun - early_stopped}
