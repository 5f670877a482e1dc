"""Which ids and settings name a proof task, one that Python steps, and code of a user's own; quick to import."""

from __future__ import annotations

__all__ = ["PREFIX", "is_import_path", "named_outside", "names_data_set", "path_of_code"]

PREFIX = "Proof-"  # of the environment id of a data set

OUTSIDE = "gymnasium/"  # of the ids of environments outside the compiled program


def named_outside(env_id: str | None) -> bool:
    """Whether an ``env_id`` names an environment that lives outside the compiled program."""
    return (env_id or "").startswith(OUTSIDE)


def is_import_path(env_id: str | None) -> bool:
    """Whether an ``env_id`` is the import path of an environment of the user's own, ``module:Name``."""
    return ":" in (env_id or "") and not named_outside(env_id)


def path_of_code(env_id: str | None) -> str | None:
    """What of an ``env_id`` begins with a module to import: ``module:Name``, also after ``gymnasium/``; else None."""
    return env_id.removeprefix(OUTSIDE) if env_id and ":" in env_id else None


def names_data_set(env_id: str | None, dataset: str | None) -> bool:
    """Whether the ``env_id`` and the ``dataset`` of a configuration name a data set to prove queries of."""
    return dataset is not None or (env_id or "").startswith(PREFIX)
