"""What is healthy for each metric: the numbers that rules, status words, validation and report share.

A number that several of them use stands here once, with a name. One that a single rule uses stands in that rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ppo_jax.runs.metric_table import METRICS

__all__ = [
    "CLIPPED_HALF",
    "CLIPPED_OFTEN",
    "ENTROPY_COLLAPSED",
    "ENTROPY_UNIFORM",
    "EPOCHS_WASTED",
    "EXPLAINED_VARIANCE_GOOD",
    "EXPLAINED_VARIANCE_NIL",
    "EXPLAINED_VARIANCE_POOR",
    "FORCED_OFTEN",
    "GRADIENTS_CLIPPED_ALWAYS",
    "HEALTHY_RANGES",
    "KL_HIGH",
    "KL_TOO_HIGH",
    "PROOF_VALUE_LOSS_GOOD",
    "STD_GONE",
    "STD_GROWN",
    "STOPS_FREQUENT",
    "STOPS_RARE",
    "VALUES_CLIPPED_OFTEN",
    "VALUE_ERROR_HIGH",
    "VALUE_ERROR_TOO_HIGH",
    "VALUE_LOSS_GOOD",
    "VALUE_LOSS_HIGH",
    "HealthyRange",
    "unit_of_mean",
]

EXPLAINED_VARIANCE_POOR = 0.3  # below: little more than the mean return; below 0: less than that
EXPLAINED_VARIANCE_GOOD = 0.7  # from here on
EXPLAINED_VARIANCE_NIL = 0.01  # in size, below: the critic says what the mean return says, neither better nor worse
VALUE_LOSS_GOOD = 0.3  # below, as a share of the variance of the returns
VALUE_LOSS_HIGH = 1.0  # above, as a share of that variance: a constant would do better
PROOF_VALUE_LOSS_GOOD = 0.05  # below, in return²: proof tasks have rewards of one scale
ENTROPY_UNIFORM = 0.9  # above: normalised entropy of a policy close to uniform
ENTROPY_COLLAPSED = 0.1  # below: normalised entropy of a policy that hardly explores
STD_GONE = 0.05  # below: std of continuous actions as a share of its first, that hardly explores
STD_GROWN = 2.0  # above, as a share of its first: the policy becomes more random
KL_HIGH = 0.03  # nat, of an update
KL_TOO_HIGH = 0.1  # nat
CLIPPED_OFTEN = 0.3  # share of the probability ratios
CLIPPED_HALF = 0.5  # share of the probability ratios: the step is too large
VALUE_ERROR_HIGH = 30.0  # in returns: above, a critic that knows little has rewards of a scale it cannot follow
VALUE_ERROR_TOO_HIGH = 100.0
VALUES_CLIPPED_OFTEN = 0.5  # share of the values
GRADIENTS_CLIPPED_ALWAYS = 0.95  # share of the gradients
STOPS_RARE = 0.1  # up to this share of the updates may be cut short by the KL limit
STOPS_FREQUENT = 0.4  # above, it is most of what the limit does
EPOCHS_WASTED = 0.6  # share of n_epochs; of fewer completed the work is lost
FORCED_OFTEN = 0.8  # share of the states with one valid action


@dataclass(frozen=True)
class HealthyRange:
    """How to read a metric at the end of a run; status words are those of the rules, as of `value-loss-high`."""

    healthy: str  # in words
    otherwise: str  # what it means where it is not healthy
    # (upper limit, status word, "good", "fair" or "bad"); the first whose limit exceeds the value holds. The value of
    # value_loss is divided by the variance of the returns, that of epochs_completed by n_epochs.
    statuses: tuple[tuple[float, str, str], ...] = ()


HEALTHY_RANGES: Mapping[str, HealthyRange] = {
    "explained_variance": HealthyRange(
        f"above {EXPLAINED_VARIANCE_GOOD:g} at the end; may be far below 0 in the first updates",
        "0: the critic knows no more than the mean return. Below 0: less than that, and the advantages are noise. Null "
        "or meaningless where all returns are the same.",
        (
            (-EXPLAINED_VARIANCE_NIL, "worse than the mean", "bad"),
            (EXPLAINED_VARIANCE_POOR, "uninformative", "bad"),
            (EXPLAINED_VARIANCE_GOOD, "fair", "fair"),
            (np.inf, "OK", "good"),
        ),
    ),
    "value_loss": HealthyRange(
        f"falling, and below {VALUE_LOSS_GOOD:g} of the variance of the returns; under {PROOF_VALUE_LOSS_GOOD:g} on "
        "proof tasks",
        "Large and flat: the critic does not learn; look at the scale of the rewards and at vf_coef.",
        ((VALUE_LOSS_GOOD, "OK", "good"), (VALUE_LOSS_HIGH, "fair", "fair"), (np.inf, "high", "bad")),
    ),
    "policy_loss": HealthyRange(
        "within ±0.02, noisy",
        "Its value says little: it is measured against the policy just left.",
        ((-0.1, "large", "fair"), (0.1, "OK", "good"), (np.inf, "large", "fair")),
    ),
    "entropy": HealthyRange(
        "falling slowly", "Its scale depends on the number of actions; entropy_normalized does not."
    ),
    "entropy_normalized": HealthyRange(
        f"from near 1 smoothly down; above {ENTROPY_COLLAPSED:g} in the first half",
        "Near 0 early: the policy stopped exploring. Near 1 at the end: it has not decided anything, or the bonus is "
        "too strong.",
        ((0.03, "no exploration", "fair"), (ENTROPY_UNIFORM, "OK", "good"), (np.inf, "close to uniform", "fair")),
    ),
    "approx_kl": HealthyRange(
        f"0.001 to {KL_HIGH:g}",
        "Above: an update moves the policy too far; fewer epochs or a lower learning rate. Near 0: it does not move.",
        (
            (1e-4, "hardly moves", "fair"),
            (KL_HIGH, "OK", "good"),
            (KL_TOO_HIGH, "high", "fair"),
            (np.inf, "too high", "bad"),
        ),
    ),
    "clip_fraction": HealthyRange(
        f"0.02 to {CLIPPED_OFTEN:g}",
        "Above: much of the data no longer teaches. 0 throughout: steps are very small.",
        ((CLIPPED_OFTEN, "OK", "good"), (np.inf, "high", "fair")),
    ),
    "value_clip_fraction": HealthyRange(
        f"below {VALUES_CLIPPED_OFTEN:g}",
        "Above: the critic is held back; raise clip_range_vf or leave it out.",
        ((VALUES_CLIPPED_OFTEN, "OK", "good"), (np.inf, "saturated", "fair")),
    ),
    "epochs_completed": HealthyRange(
        "all of n_epochs",
        "Fewer: the KL limit ended the update, and the rest of its work is lost.",
        ((EPOCHS_WASTED, "wasted epochs", "bad"), (0.95, "cut short", "fair"), (np.inf, "OK", "good")),
    ),
    "early_stopped": HealthyRange(
        "0, or now and then",
        "Often: fewer epochs, or a lower learning rate, rather than a higher limit.",
        (
            (1e-9, "OK", "good"),
            (STOPS_RARE, "rare", "good"),
            (STOPS_FREQUENT, "frequent", "fair"),
            (np.inf, "most", "bad"),
        ),
    ),
    "grad_norm": HealthyRange(
        "near max_grad_norm or below", "Far above: the clip, not the learning rate, decides the step."
    ),
    "grad_clip_fraction": HealthyRange(
        f"below {GRADIENTS_CLIPPED_ALWAYS:g}",
        "1 throughout: every step has the same length.",
        ((GRADIENTS_CLIPPED_ALWAYS, "OK", "good"), (np.inf, "always clipped", "fair")),
    ),
    "returns_std": HealthyRange(
        "above 0, steady", "Near 0: all episodes end alike, solved or stuck; the critic has nothing to explain."
    ),
    "advantage_std": HealthyRange("above 0", "0: no action is better than another, so nothing can be learnt."),
    "episode_return_mean": HealthyRange(
        "rising, then flat", "Includes exploration: the evaluated policy usually does better."
    ),
    "truncated_fraction": HealthyRange(
        "small", "Most: episodes end by the clock; the return is that of the time limit."
    ),
    "proved_positive": HealthyRange("rising", "Bounded by the share of training queries that have a proof at all."),
    "proved_negative": HealthyRange("near 0", "Rising: the policy proves what is false; rules or facts allow it."),
    "forced_fraction": HealthyRange(
        f"below {FORCED_OFTEN:g}", "Above: most states leave no choice, so there is little to learn."
    ),
    "overflow_fraction": HealthyRange(
        "0", "Above: proofs may be lost; raise max_atoms, or max_successors where too_long_fraction is smaller."
    ),
}

_UNITS = {metric.name: metric.unit for metric in METRICS}


def unit_of_mean(name: str) -> str:
    """The unit of a metric averaged over updates; empty for a plain number. A yes or no becomes a share of them."""
    unit = _UNITS.get(name, "")  # of a metric of the user's own it is not known
    return {"1": "", "0/1": "of the updates"}.get(unit, unit)
