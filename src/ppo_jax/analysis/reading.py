"""How to read the metrics of a run, what a sound run reaches, and how a table writes numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ppo_jax.analysis.compare import degenerate
from ppo_jax.analysis.logs import RunLog
from ppo_jax.analysis.view import View, score

__all__ = ["EXPECTATIONS", "READING", "Expectation", "write_number"]

# Metric -> what is healthy, and what it means where it is not.
READING: Mapping[str, tuple[str, str]] = {
    "explained_variance": (
        "above 0.7 at the end; may be far below 0 in the first updates",
        "0: the critic knows no more than the mean return. Below 0: less than that, and the advantages are noise. Null "
        "or meaningless where all returns are the same.",
    ),
    "value_loss": (
        "falling, and below 0.3 of the variance of the returns; under 0.05 on proof tasks",
        "Large and flat: the critic does not learn; look at the scale of the rewards and at vf_coef.",
    ),
    "policy_loss": ("within ±0.02, noisy", "Its value says little: it is measured against the policy just left."),
    "entropy": ("falling slowly", "Its scale depends on the number of actions; entropy_normalized does not."),
    "entropy_normalized": (
        "from near 1 smoothly down; above 0.1 in the first half",
        "Near 0 early: the policy stopped exploring. Near 1 at the end: it has not decided anything, or the bonus is "
        "too strong.",
    ),
    "approx_kl": (
        "0.001 to 0.03",
        "Above: an update moves the policy too far; fewer epochs or a lower learning rate. Near 0: it does not move.",
    ),
    "clip_fraction": ("0.02 to 0.3", "Above: much of the data no longer teaches. 0 throughout: steps are very small."),
    "value_clip_fraction": ("below 0.5", "Above: the critic is held back; raise clip_range_vf or leave it out."),
    "epochs_completed": ("all of n_epochs", "Fewer: the KL limit ended the update, and the rest of its work is lost."),
    "early_stopped": (
        "0, or now and then",
        "Often: fewer epochs, or a lower learning rate, rather than a higher limit.",
    ),
    "grad_norm": ("near max_grad_norm or below", "Far above: the clip, not the learning rate, decides the step."),
    "grad_clip_fraction": ("below 0.95", "1 throughout: every step has the same length."),
    "returns_std": (
        "above 0, steady",
        "Near 0: all episodes end alike, solved or stuck; the critic has nothing to explain.",
    ),
    "advantage_std": ("above 0", "0: no action is better than another, so nothing can be learnt."),
    "episode_return_mean": ("rising, then flat", "Includes exploration: the evaluated policy usually does better."),
    "truncated_fraction": ("small", "Most: episodes end by the clock; the return is that of the time limit."),
    "proved_positive": ("rising", "Bounded by the share of training queries that have a proof at all."),
    "proved_negative": ("near 0", "Rising: the policy proves what is false; rules or facts allow it."),
    "forced_fraction": ("below 0.8", "Above: most states leave no choice, so there is little to learn."),
    "overflow_fraction": ("0", "Above: proofs may be lost; raise max_atoms."),
}


@dataclass(frozen=True)
class Expectation:
    """What a sound run reaches."""

    name: str
    expected: str
    achieved: Callable[[RunLog], float | None]
    met: Callable[[float], bool]
    proofs_only: bool = False  # other tasks have other scales


def _tail(name: str) -> Callable[[RunLog], float | None]:
    return lambda log: View(log).tail(name) if View(log).has(name) else None


EXPECTATIONS = (
    Expectation(
        "explained variance at the end",
        "0.7 to 0.95",
        lambda log: None if degenerate(log) else _tail("explained_variance")(log),
        lambda x: x >= 0.7,
    ),
    Expectation("value loss at the end", "0.05 or less", _tail("value_loss"), lambda x: x <= 0.05, True),
    Expectation("normalised entropy at the end", "below 0.9", _tail("entropy_normalized"), lambda x: x < 0.9),
    Expectation(
        "updates cut short by the KL limit",
        "none",
        lambda log: View(log).mean("early_stopped") if View(log).has("early_stopped") else None,
        lambda x: x == 0.0,
    ),
    Expectation(
        "test MRR (greedy)",
        "above 0.9",
        lambda log: score(log.summary, "test", "greedy", "mrr"),
        lambda x: x > 0.9,
        True,
    ),
    Expectation(
        "environment steps a second",
        "800 or more",
        lambda log: score(log.summary, "steps_per_second"),
        lambda x: x >= 800.0,
    ),
)


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
