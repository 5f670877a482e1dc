"""Which kind of task a stored result is of: the only place that recognises it; JAX is not needed for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppo_jax.config.task_id import names_data_set
from ppo_jax.proving.results import ANSWERS, PROTOCOLS, AnswerResults, ProofResults
from ppo_jax.results import Results
from ppo_jax.tasks.episode_results import EpisodeTaskResults

__all__ = ["ANSWERED", "EPISODES", "PROOFS", "of", "of_settings"]

PROOFS, ANSWERED, EPISODES = ProofResults(), AnswerResults(), EpisodeTaskResults()


def of(stored: Any) -> Results:
    """The reader of a stored result: of a summary, an evaluation, or a line of ``eval.jsonl``.

    What holds no result of proofs or answers counts as one of episodes.
    """
    if not isinstance(stored, Mapping):
        return EPISODES
    results = [stored, *(stored[split] for split in ("test", "valid") if isinstance(stored.get(split), Mapping))]
    if any(ANSWERS in result for result in results):
        return ANSWERED
    return PROOFS if any(protocol in result for result in results for protocol in PROTOCOLS) else EPISODES


def of_settings(settings: Mapping[str, Any]) -> Results:
    """The reader of the results of a run with these settings, ``env_id`` and ``dataset`` among them."""
    if not names_data_set(settings.get("env_id"), settings.get("dataset")):
        return EPISODES
    return ANSWERED if settings.get("mode") == "answer" else PROOFS
