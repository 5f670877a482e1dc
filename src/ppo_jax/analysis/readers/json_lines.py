"""Reads logs of JSON objects, one an update: SB3's progress.json, RLlib's result.json, an array of such objects."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import msgspec

from ppo_jax.analysis.readers.run_log import RunLog, check_settings, to_number
from ppo_jax.analysis.readers.updates import Updates
from ppo_jax.types import PPOJaxError

__all__ = ["read_json"]

# Keys of RLlib's configuration -> our settings.
RLLIB_SETTINGS = {
    "env": "env_id",
    "lr": "learning_rate",
    "gamma": "gamma",
    "lambda": "gae_lambda",
    "lambda_": "gae_lambda",
    "clip_param": "clip_range",
    "num_sgd_iter": "n_epochs",
    "num_epochs": "n_epochs",
    "sgd_minibatch_size": "batch_size",
    "minibatch_size": "batch_size",
    "entropy_coeff": "ent_coef",
    "vf_loss_coeff": "vf_coef",
    "grad_clip": "max_grad_norm",
}


def read_json(file: TextIO, place: object, name: str, given: Mapping[str, Any]) -> RunLog:
    """Read one JSON object a line, or an array of them; nested keys are joined by ``/``.

    Raises:
        PPOJaxError: no key is known, or the algorithm is not PPO.
    """
    updates = Updates(place)
    settings: dict[str, Any] = {}
    for number, row in _objects(file):
        if row is None:
            updates.note("not a JSON object; left out", number)
            continue
        if not settings and isinstance(config := row.get("config"), dict):
            settings = _rllib_settings(config)
        row.pop("config", None)
        flat = _flat(row)
        updates.add(
            {
                our: value
                for theirs, our in updates.names(flat).ours.items()
                if (value := to_number(flat[theirs])) == value or isinstance(flat[theirs], float)
            }
        )
    return updates.run_log(name, "", settings, given)


def _objects(file: TextIO) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The objects of a file with the number of their line; None for what is none."""
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        row = _decode(line)
        if row is None and number == 1:  # spread over several lines, or an array cut off
            row = _decode(line + file.read())
        if isinstance(row, list):
            yield from ((number, one if isinstance(one, dict) else None) for one in row)
        else:
            yield number, row if isinstance(row, dict) else None


def _decode(text: str) -> Any:
    """JSON, with NaN and Infinity; None where it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """One mapping of nested ones."""
    if not prefix and not any(isinstance(value, dict) for value in row.values()):
        return row
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat |= _flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _rllib_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings from the configuration that RLlib writes into every line; what does not fit is left out."""
    settings: dict[str, Any] = {}
    for theirs, key in RLLIB_SETTINGS.items():
        if config.get(theirs) is not None:
            with contextlib.suppress(PPOJaxError):
                settings |= check_settings({key: config[theirs]})
    return settings
