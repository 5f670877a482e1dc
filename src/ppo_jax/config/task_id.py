"""Which ids and settings name a proof task, and which one that Python steps; quick to import."""

from __future__ import annotations

__all__ = ["PREFIX", "named_outside", "names_data_set"]

PREFIX = "Proof-"  # of the environment id of a data set

OUTSIDE = "gymnasium/"  # of the ids of environments outside the compiled program


def named_outside(env_id: str | None) -> bool:
    """Whether an ``env_id`` names an environment that lives outside the compiled program."""
    return (env_id or "").startswith(OUTSIDE)


def names_data_set(env_id: str | None, dataset: str | None) -> bool:
    """Whether the ``env_id`` and the ``dataset`` of a configuration name a data set to prove queries of."""
    return dataset is not None or (env_id or "").startswith(PREFIX)
