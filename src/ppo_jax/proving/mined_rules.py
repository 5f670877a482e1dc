"""Rules mined from the triples of a folder, as text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ppo_jax.config.suggestions import nearest
from ppo_jax.files import write_atomically
from ppo_jax.proving import datasets
from ppo_jax.proving.rules.files import format_mined
from ppo_jax.proving.rules.mining import Limits, mine
from ppo_jax.types import PPOJaxError

__all__ = ["mine_rules"]


def mine_rules(dataset: str | Path, file: str | Path | None = None, **limits: Any) -> list[str]:
    """Rules mined from the training facts of a data set, the surest of each head first; valid and test are not seen.

    Args:
        dataset: a folder with train.txt, or the name of a built-in data set.
        file: where they are written, such as rules.txt in the folder; one that is there is not replaced.
        **limits: fields of `ppo_jax.proving.rules.mining.Limits`, such as ``max_length=2`` or ``constants=False``.

    Returns:
        A line of a rule file for each, ``name:confidence:b1(X,Z), b2(Z,Y) -> head(X,Y)``.

    Raises:
        PPOJaxError: an unknown limit or one out of range, triples that cannot be read, or the file is there already.
    """
    known = [field.name for field in dataclasses.fields(Limits)]
    if unknown := [name for name in limits if name not in known]:
        raise PPOJaxError(f"mine_rules: unknown limit {unknown[0]!r}; {nearest(unknown[0], known)}")
    if file is not None and Path(file).exists():
        raise PPOJaxError(f"{file} is there already; name another file or remove it")
    kb = datasets.load(dataset, require_rules=False).kb
    wanted = Limits(**limits)
    text = format_mined(mine(kb, wanted).added_to(kb).rules, kb, wanted)
    if file is not None:
        write_atomically(Path(file), text)
    return text.splitlines()[1:]
