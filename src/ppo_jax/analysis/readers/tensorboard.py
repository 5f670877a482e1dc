"""Reads TensorBoard event files with the tags of Stable-Baselines, CleanRL, RLlib or ppo_jax."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from ppo_jax.analysis.readers.algorithms import other_algorithm
from ppo_jax.analysis.readers.names import EVERY_UPDATE, translate_names
from ppo_jax.analysis.readers.run_log import RunLog, check_settings, first_few, legible
from ppo_jax.analysis.readers.updates import Updates
from ppo_jax.config.toml import parse_assignment
from ppo_jax.types import PPOJaxError

__all__ = ["EVENT_FILES", "read_tensorboard"]

EVENT_FILES = "*tfevents*"
OVERLAP = 0.1  # share of a run's steps after which a further file of its folder goes on from it, and is no other run
HYPERPARAMETERS = "hyperparameters/text_summary"  # of CleanRL
# Arguments of CleanRL's scripts, which they log as a Markdown table -> our settings.
CLEANRL_SETTINGS = {
    "num_envs": "n_envs",
    "num_steps": "n_steps",
    "update_epochs": "n_epochs",
    "clip_coef": "clip_range",
    "norm_adv": "normalize_advantage",
    **{
        key: key
        for key in (
            "env_id",
            "total_timesteps",
            "gamma",
            "gae_lambda",
            "ent_coef",
            "vf_coef",
            "max_grad_norm",
            "target_kl",
        )
    },
}

Series = Mapping[str, list[tuple[int, float]]]  # tag -> step, value


@dataclass(frozen=True)
class _Run:
    """The event files of one run."""

    path: Path  # its folder; where several runs share that, its file
    files: tuple[Series, ...]  # of each file, the earliest first
    settings: Mapping[str, Any]

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tag for series in self.files for tag in series))


def read_tensorboard(path: str | Path, settings: Mapping[str, Any] | None = None) -> RunLog:
    """Read TensorBoard event files with the tags of SB3, SB2, CleanRL, RLlib or ppo_jax.

    Args:
        path: an event file, or a folder of those of one run.
        settings: configuration keys the log lacks, or has otherwise.

    Raises:
        PPOJaxError: the reader is not installed, no event file is there, several runs are (they are listed), no tag is
            known, or the algorithm is not PPO.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob(EVENT_FILES) if file.is_file())
    if not files:
        raise PPOJaxError(f"{path}: no TensorBoard event file there")
    runs = []
    hyperparameters: dict[str, Any] = {}  # CleanRL's may lie in a file of their own
    for folder, its_files in groupby(files, key=lambda file: file.parent):
        read = [(file, *_read_file(file)) for file in its_files]
        its_settings = {key: value for _, _, known in read for key, value in known.items()}
        hyperparameters |= its_settings
        runs += _runs_of(folder, [(file, series) for file, series, _ in read if series], its_settings)
    if not runs:
        raise PPOJaxError(f"{path}: no tag of SB3's, SB2's, CleanRL's or RLlib's PPO there")
    if len(runs) > 1:
        listed = first_few([*map(_describe, runs)])
        raise PPOJaxError(legible(f"{path}: {len(runs)} runs there; give the path of one: {listed}"))
    run = runs[0]
    updates = Updates(path)
    for line in _lines(run, updates):
        updates.add(line)
    name = run.path.resolve().parent.name if run.path.is_file() else run.path.resolve().name
    return updates.run_log(
        path.resolve().name if path.is_dir() else name, "tensorboard", run.settings or hyperparameters, settings or {}
    )


def _read_file(file: Path) -> tuple[Series, dict[str, Any]]:
    """The scalars of an event file whose tags are known of a trainer, and the settings written beside them."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise PPOJaxError("reading TensorBoard files needs the extra: pip install 'ppo-jax[tensorboard]'") from None
    events = EventAccumulator(str(file), size_guidance={"scalars": 0})
    events.Reload()
    settings: dict[str, Any] = {}
    for tensor in events.Tensors(HYPERPARAMETERS) if HYPERPARAMETERS in events.Tags()["tensors"] else ():
        settings |= _cleanrl_settings(b"".join(tensor.tensor_proto.string_val).decode("utf-8", "replace"))
    tags = tuple(events.Tags()["scalars"])
    if not (translate_names(tags).ours.values() or other_algorithm(tags)):
        return {}, settings
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}, settings


def _runs_of(folder: Path, files: list[tuple[Path, Series]], settings: Mapping[str, Any]) -> list[_Run]:
    """The runs in a folder: a file that goes on where the one before ended belongs to its run, another does not."""
    runs: list[tuple[Path, list[Series]]] = []
    for file, series in sorted(files, key=lambda pair: pair[0].name):
        own = translate_names(tuple(series)).ours
        before = runs[-1][1][-1] if runs else {}
        if runs and (_goes_on(before, series) or not own.keys() & before.keys()):
            runs[-1][1].append(series)
        else:
            runs.append((file, [series]))
    alone = len(runs) == 1
    return [_Run(folder if alone else file, tuple(series), settings) for file, series in runs]


def _goes_on(before: Series, series: Series) -> bool:
    first, last = (limit(step for points in before.values() for step, _ in points) for limit in (min, max))
    return min(step for points in series.values() for step, _ in points) > first + OVERLAP * (last - first)


def _describe(run: _Run) -> str:
    other = other_algorithm(run.tags)
    return f"{run.path} ({other[0] if other else 'PPO'})"


def _lines(run: _Run, updates: Updates) -> Iterator[dict[str, float]]:
    """One mapping a step, in our names; several values of one tag at a step make further lines."""
    ours = {tag: our for tag, our in updates.names(run.tags).ours.items() if our != "env_steps"}
    ends = [min(step for points in series.values() for step, _ in points) for series in run.files[1:]]
    points: list[tuple[int, int, str, float]] = []
    dropped = False
    for series, end in zip(run.files, [*ends, None], strict=True):
        for tag, our in ours.items():
            for step, value in series.get(tag, ()):
                if end is None or step < end or our not in EVERY_UPDATE:
                    points.append((step, len(points), our, value))
                else:
                    dropped = True
    if len(run.files) > 1:
        updates.note(f"{len(run.files)} event files of one run that went on; read as one")
    if dropped:
        updates.note(f"what was logged from step {min(ends)} on before the run went on from there is left out")
    for step, group in groupby(sorted(points), key=itemgetter(0)):
        lines: list[dict[str, float]] = []
        for _, _, our, value in group:
            line = next((line for line in lines if our not in line), None)
            if line is None:
                lines.append(line := {"env_steps": float(step)})
            line[our] = value
        yield from lines


def _cleanrl_settings(table: str) -> dict[str, Any]:
    """Our settings from CleanRL's table ``|param|value|``; what does not fit is left out."""
    cells = (line.strip().strip("|").split("|") for line in table.splitlines())
    given = {row[0].strip(): row[1].strip() for row in cells if len(row) == 2}
    settings: dict[str, Any] = {}
    for theirs, key in CLEANRL_SETTINGS.items():
        if theirs in given:
            _, value = parse_assignment(f"{key} = {given[theirs].replace('True', 'true').replace('False', 'false')}")
            with contextlib.suppress(PPOJaxError):
                settings |= check_settings({key: value})
    if given.get("clip_vloss") in ("True", "False"):  # values are clipped as ratios are
        settings["clip_range_vf"] = settings.get("clip_range") if given["clip_vloss"] == "True" else None
    rollout, minibatches = settings.get("n_envs", 0) * settings.get("n_steps", 0), given.get("num_minibatches", "")
    if rollout and minibatches.isdigit() and int(minibatches):
        settings["batch_size"] = rollout // int(minibatches)
    return settings
