"""Arguments that several commands take. Imports nothing that takes time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from ppo_jax.cli.errors import explain
from ppo_jax.types import PPOJaxError

__all__ = ["Assignments", "DataName", "Devices", "RunFolder", "Switch", "Trust", "check_new", "flat"]

Assignments = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]], arg(name="set", metavar="KEY=VALUE …", help_behavior_hint="")
]
RunFolder = Positional[Annotated[Path, arg(metavar="RUN", help_behavior_hint="")]]
DataName = Positional[Annotated[str, arg(metavar="FOLDER_OR_NAME", help_behavior_hint="")]]
Switch = Annotated[bool, arg(help_behavior_hint="")]
_TRUSTED = "Consent to the code that the run names by import paths, where it was not made here."
Trust = Annotated[bool, arg(help=_TRUSTED, help_behavior_hint="")]


@dataclass(frozen=True)
class Devices:
    """Where a run is trained."""

    devices: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Short for --set devices=N: split the environments over N devices, of all processes together."""
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """Several processes train together: where process 0 listens. Within SLURM this and the next two are its own."""
    num_processes: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """How many processes there are; 1 trains alone within SLURM too."""
    process_id: Annotated[int | None, arg(metavar="I", help_behavior_hint="")] = None
    """Which of them this one is, from 0; process 0 alone writes."""

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Within, the processes train together."""
        from ppo_jax.devices import processes

        processes.join(self.coordinator, self.num_processes, self.process_id, explain)
        with processes.together(explain):
            yield

    @property
    def settings(self) -> dict[str, int]:
        """The settings that the options are short for."""
        return {} if self.devices is None else {"devices": self.devices}


def check_new(file: Path, option: str = "--out") -> None:
    """Find out before the work is done that `file`, which is not replaced, is there already."""
    if file.exists():
        raise PPOJaxError(f"{file}: exists; choose another file with {option}")


def flat(assignments: tuple[tuple[str, ...], ...]) -> list[str]:
    """The assignments of every --set in one list."""
    return [text for given in assignments for text in given]
