"""What a sound run reaches, for the section "Expected against achieved"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ppo_jax.analysis.compare import degenerate
from ppo_jax.analysis.healthy_ranges import ENTROPY_UNIFORM, EXPLAINED_VARIANCE_GOOD, PROOF_VALUE_LOSS_GOOD
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.rules.evidence import Evidence, number_at

__all__ = ["EXPECTATIONS", "Expectation"]


@dataclass(frozen=True)
class Expectation:
    """A number that a sound run reaches."""

    name: str
    expected: str  # in words
    achieved: Callable[[RunLog], float | None]  # None where it is not on record
    met: Callable[[float], bool]
    proofs_only: bool = False  # other tasks have other scales


def _tail(name: str) -> Callable[[RunLog], float | None]:
    return lambda log: Evidence(log).tail_or_none(name)


EXPECTATIONS = (
    Expectation(
        "explained variance at the end",
        f"{EXPLAINED_VARIANCE_GOOD:g} to 0.95",
        lambda log: None if degenerate(log) else _tail("explained_variance")(log),
        lambda x: x >= EXPLAINED_VARIANCE_GOOD,
    ),
    Expectation(
        "value loss at the end",
        f"{PROOF_VALUE_LOSS_GOOD:g} or less",
        _tail("value_loss"),
        lambda x: x <= PROOF_VALUE_LOSS_GOOD,
        proofs_only=True,
    ),
    Expectation(
        "normalised entropy at the end",
        f"below {ENTROPY_UNIFORM:g}",
        _tail("entropy_normalized"),
        lambda x: x < ENTROPY_UNIFORM,
    ),
    Expectation(
        "updates cut short by the KL limit",
        "none",
        lambda log: Evidence(log).mean_or_none("early_stopped"),
        lambda x: x == 0.0,
    ),
    Expectation(
        "test MRR (greedy)",
        "above 0.9",
        lambda log: number_at(log.summary, "test", "greedy", "mrr"),
        lambda x: x > 0.9,
        proofs_only=True,
    ),
    Expectation(
        "environment steps a second",
        "800 or more",
        lambda log: number_at(log.summary, "steps_per_second"),
        lambda x: x >= 800.0,
    ),
)
