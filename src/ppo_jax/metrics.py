"""What is measured and where it is written: one table of names, JSON lines, TensorBoard, Weights & Biases, progress."""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from ppo_jax.types import PPOJaxError

__all__ = [
    "METRICS",
    "JSONLines",
    "Metric",
    "Progress",
    "TensorBoard",
    "WandB",
    "Writer",
    "check_extras",
    "read_summary",
    "to_json",
    "write_atomically",
]


@dataclass(frozen=True)
class Metric:
    """One number of an update."""

    name: str
    unit: str
    meaning: str


METRICS = tuple(
    Metric(*row)
    for row in (
        ("policy_loss", "", "clipped surrogate, mean over the minibatches applied"),
        ("value_loss", "return²", "mean squared value error (clipped where clip_range_vf is set), raw returns"),
        ("entropy", "nat", "mean entropy of the policy over valid actions"),
        ("entropy_normalized", "1", "entropy / log(valid actions), over states with at least two"),
        ("approx_kl", "nat", "mean of (r - 1) - log r, r the ratio of new to old probability"),
        ("clip_fraction", "1", "share of ratios outside 1 ± clip_range"),
        ("value_clip_fraction", "1", "share of values further than clip_range_vf from the rollout's"),
        ("explained_variance", "1", "1 - Var(returns - values) / Var(returns), before the update; null if degenerate"),
        ("returns_degenerate", "0/1", "std of the returns under 1% of the reward range"),
        ("returns_std", "return", "std of the returns"),
        ("value_error_std", "return", "std of returns - values"),
        ("advantage_std", "return", "std of the advantages before normalisation"),
        ("grad_norm", "", "global norm of the gradient before clipping"),
        ("grad_clip_fraction", "1", "share of minibatches whose gradient was clipped"),
        ("learning_rate", "", "learning rate of this update"),
        ("ent_coef", "", "entropy coefficient of this update"),
        ("clip_range", "", "clip range of this update"),
        ("epochs_completed", "epochs", "epochs whose every minibatch was applied"),
        ("minibatches_applied", "minibatches", "gradient steps of this update"),
        ("early_stopped", "0/1", "the KL limit ended the epochs"),
        ("update_skipped", "0/1", "with on_nan = skip: a loss or parameter was not finite, the update was dropped"),
        ("episodes", "episodes", "episodes that ended in the rollout"),
        ("episode_return_mean", "return", "mean undiscounted return of those episodes; null if none"),
        ("episode_length_mean", "steps", "their mean length"),
        ("truncated_fraction", "1", "share of them cut by a time limit"),
        ("proved_positive", "1", "proof tasks: share of true queries proved, among finished episodes"),
        ("proved_negative", "1", "proof tasks: share of corrupted queries proved"),
        ("proof_length_mean", "steps", "proof tasks: mean length of the proofs found"),
        ("candidates_mean", "actions", "proof tasks: mean number of valid actions"),
        ("forced_fraction", "1", "proof tasks: share of states with one valid action"),
        ("overflow_fraction", "1", "proof tasks: share of successors dropped for want of room"),
    )
)


def to_json(value: Any) -> Any:
    """Plain JSON data: numpy scalars to numbers, NaN and infinities to null."""
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one move: readers, a crash or a full disk see the old content or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PPOJaxError(f"{path}: cannot be written: {error.strerror}; what was there is unchanged") from None


def read_summary(folder: Path) -> dict[str, Any]:
    """The ``summary.json`` of a run; empty where there is none, or half of one."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def check_extras(tensorboard: bool, wandb: bool) -> None:
    """Make sure that the libraries of the wanted writers are there, before anything is written.

    Raises:
        PPOJaxError: one is not installed; says how to install it.
    """
    for name, module, wanted in (("tensorboard", "tensorboardX", tensorboard), ("wandb", "wandb", wandb)):
        if wanted and importlib.util.find_spec(module) is None:
            raise PPOJaxError(f"run.{name} needs the library {module}: pip install 'ppo-jax[{name}]'")


class Writer(Protocol):
    """Receives rows of metrics."""

    def write(self, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JSONLines:
    """One JSON object a line, appended; whole lines only, also when the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, row: dict[str, Any]) -> None:
        line = (json.dumps(to_json(row)) + "\n").encode()
        try:
            with open(self._path, "ab", buffering=0) as file:
                size = file.tell()
                if file.write(line) < len(line):
                    file.truncate(size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise PPOJaxError(f"{self._path}: cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Nothing is open between rows."""


class TensorBoard:
    """Scalars for TensorBoard, against environment steps; what is there `after` some step is superseded."""

    def __init__(self, folder: Path, after: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def write(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, float) and math.isfinite(value):
                self._writer.add_scalar(name, value, row["env_steps"])

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Scalars for Weights & Biases, against environment steps; a resumed run goes on with the same one there."""

    def __init__(self, name: str, run_id: str | None, config: dict[str, Any]) -> None:
        import wandb

        self._run = wandb.init(project="ppo_jax", name=name, config=config, id=run_id, resume="allow")

    def write(self, row: dict[str, Any]) -> None:
        self._run.log(to_json(row), step=row["env_steps"])

    def close(self) -> None:
        self._run.finish()


class Progress:
    """A progress bar over environment steps, with a few live metrics beside it."""

    def __init__(self, total: int, shown: Iterable[tuple[str, str, str]], enabled: bool = True) -> None:
        """`shown` lists (metric, label, format), such as ``("explained_variance", "EV", ".2f")``."""
        from rich import console, progress

        self._shown = tuple(shown)
        self._latest: dict[str, Any] = {}
        self._done = 0
        self._bar = progress.Progress(
            progress.BarColumn(bar_width=16),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[live]}"),
            progress.TimeRemainingColumn(compact=True),
            console=console.Console(stderr=True),
            disable=not enabled,
        )
        self._task = self._bar.add_task("", total=total, live="compiling …")

    def update(self, env_steps: int, row: dict[str, Any]) -> None:
        """Move to `env_steps` and show the newest value of each shown metric."""
        self._latest |= {k: v for k, v in row.items() if isinstance(v, float) and math.isfinite(v)}
        live = "  ".join(
            f"{label} {self._latest[name]:{form}}" for name, label, form in self._shown if name in self._latest
        )
        self._bar.update(self._task, completed=env_steps, live=live)

    def advance(self, env_steps: int, row: dict[str, Any] | None = None) -> None:
        """Move on by `env_steps`; `row` as for `update`."""
        self._done += env_steps
        self.update(self._done, row or {})

    def say(self, text: str) -> None:
        """Show `text` in place of the metrics."""
        self._bar.update(self._task, live=text)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
