"""Where metrics go: JSON lines, TensorBoard, Weights & Biases, a progress bar."""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from ppo_jax.config import Config
from ppo_jax.runs.files import explained, sync, to_json
from ppo_jax.runs.metric_table import METRICS
from ppo_jax.types import PPOJaxError

__all__ = ["JSONLines", "Progress", "TensorBoard", "WandB", "Writer", "check_extras", "open_writers", "show_stage"]


KNOWN = {"valid", *(metric.name for metric in METRICS)}  # others are metrics of the user's own
MOST_OWN = 3  # of them are shown in the progress bar; the files have all


def check_extras(tensorboard: bool, wandb: bool) -> None:
    """Make sure that the libraries of the wanted writers are there, before anything is written.

    Raises:
        PPOJaxError: one is not installed; says how to install it.
    """
    for name, module, wanted in (("tensorboard", "tensorboardX", tensorboard), ("wandb", "wandb", wandb)):
        if wanted and importlib.util.find_spec(module) is None:
            raise PPOJaxError(f"run.{name} needs the library {module}: pip install 'ppo-jax[{name}]'")


def open_writers(folder: Path, config: Config, run_id: str | None, env_steps: int = 0, sweep: str = "") -> list[Writer]:
    """The writers that a configuration asks for besides the files of a run.

    Args:
        folder: of the run.
        config: of the run.
        run_id: of the run; a resumed one has the same.
        env_steps: where the run goes on.
        sweep: name of the sweep that the run is a member of.
    """
    writers: list[Writer] = []
    if config.run.tensorboard:
        writers.append(TensorBoard(folder / "tensorboard", after=env_steps))
    if config.run.wandb:
        name = f"{sweep}-{folder.name}" if sweep else folder.name
        writers.append(WandB(config.run.wandb_project, name, run_id, config.to_dict(), group=sweep or None))
    return writers


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
        with explained(self._path), open(self._path, "ab", buffering=0) as file:
            size = file.tell()
            if file.write(line) < len(line):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Have the lines on disk."""
        with explained(self._path):
            sync(self._path)

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

    def __init__(
        self, project: str, name: str, run_id: str | None, config: dict[str, Any], group: str | None = None
    ) -> None:
        import wandb

        # Members of a sweep are open side by side.
        self._run = wandb.init(
            project=project, name=name, config=config, id=run_id, resume="allow", group=group, reinit="create_new"
        )

    def write(self, row: dict[str, Any]) -> None:
        self._run.log(to_json(row), step=row["env_steps"])

    def close(self) -> None:
        self._run.finish()


def show_stage(stage: str, done: int, total: int) -> None:
    """How far a step before the training is: one line that is written over, while somebody watches."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{stage}: {done} of {total}    ", end=end, file=sys.stderr, flush=True)


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
            progress.TextColumn("{task.fields[live]}", markup=False),
            progress.TimeRemainingColumn(compact=True),
            console=console.Console(stderr=True),
            disable=not enabled,
        )
        self._task = self._bar.add_task("", total=total, live="compiling …")

    def update(self, env_steps: int, row: dict[str, Any]) -> None:
        """Move to `env_steps` and show the newest value of each shown metric, and of a few of the user's own."""
        self._latest |= {k: v for k, v in row.items() if isinstance(v, float) and math.isfinite(v)}
        own = [(name, name, ".4g") for name in self._latest if name not in KNOWN][:MOST_OWN]
        live = "  ".join(
            f"{label} {self._latest[name]:{form}}" for name, label, form in (*self._shown, *own) if name in self._latest
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
