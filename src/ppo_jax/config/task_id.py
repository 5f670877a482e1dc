"""Which ids and settings name a proof task; quick to import."""

from __future__ import annotations

__all__ = ["PREFIX", "names_data_set"]

PREFIX = "Proof-"  # of the environment id of a data set


def names_data_set(env_id: str | None, dataset: str | None) -> bool:
    """Whether the ``env_id`` and the ``dataset`` of a configuration name a data set to prove queries of."""
    return dataset is not None or (env_id or "").startswith(PREFIX)
