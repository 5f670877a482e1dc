"""Let a trained policy prove a query."""

from __future__ import annotations

from typing import Any

from ppo_jax.proving.task import ProofTask
from ppo_jax.runs.experiment import Experiment, PolicyParams
from ppo_jax.types import PPOJaxError

__all__ = ["prove"]


def prove(experiment: Experiment, params: PolicyParams, query: str) -> dict[str, Any]:
    """The greedy attempt at a proof of a ground atom such as ``"locatedInCR(france,europe)"``, as JSON data.

    Returns:
        ``query``, ``proved``, ``stopped_by`` (what ended an attempt that is no proof, else None) and ``steps``, each
        with ``action``, ``probability``, ``facts`` and ``resolvent``.

    Raises:
        PPOJaxError: no proof task, or a query the knowledge base cannot read.
    """
    task = experiment.task
    if not isinstance(task, ProofTask):
        raise PPOJaxError(f"{experiment.config.task.env_id}: no proof task, there is nothing to prove")
    return task.prove(experiment.policy, params, query)
