"""Ctrl-C and SIGTERM: held back until a chunk of updates has ended, then raised."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupted", "Signals", "sigterm_interrupts"]


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop; during training it did so at the end of a chunk."""

    def __init__(self, number: int, agreed: bool = False) -> None:
        super().__init__()
        self.signal = signal.Signals(number)
        self.agreed = agreed  # every process of the run stops with this one


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within, SIGTERM ends what runs as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    old = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


class Signals:
    """Remembers Ctrl-C and SIGTERM until the chunk that runs has ended; a second one is not held back."""

    def __init__(self) -> None:
        self.received = 0  # none yet
        self._old: Mapping[int, Any] = {}

    def check(self) -> None:
        """Raise `Interrupted` where a signal came."""
        if self.received:
            raise Interrupted(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
