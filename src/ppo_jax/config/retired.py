"""Keys that configurations no longer have: what an old run or experiment says with them is said with today's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppo_jax.types import PPOJaxError

__all__ = ["rename_retired"]

_REWARDS = ("prove", "sound", "decide", "strict", "verify", "refuse")  # the names of reward_type = 0 to 5


def rename_retired(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The settings `values`, by bare key, with every retired key replaced by what it means today.

    ``reward_type = 4`` becomes ``reward = "verify"``. ``shuffle_groups = 1`` is dropped: it was the default and asked
    for nothing.

    Raises:
        PPOJaxError: a retired key has a value that has no meaning any more; begins with `place`.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == "reward_type":
            found["reward"] = _reward(value, place)
        elif key == "shuffle_groups":
            if value != 1:
                raise PPOJaxError(f"{place}: shuffle_groups is gone; remove it: minibatches mix all environments")
        else:
            found[key] = value
    return found


def _reward(number: Any, place: str) -> str:
    if type(number) is not int or not 0 <= number < len(_REWARDS):
        names = ", ".join(_REWARDS)
        raise PPOJaxError(f"{place}: reward_type = {number!r} was never a reward; write reward = one of {names}")
    return _REWARDS[number]
