"""Ctrl-C, SIGTERM and SIGHUP: held back until a chunk of updates has ended, then raised; a second one is not."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupted", "Signals", "sigterm_interrupts"]

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop; during training it did so at the end of a chunk."""

    def __init__(self, number: int, agreed: bool = False) -> None:
        super().__init__()
        self.signal = signal.Signals(number)
        self.agreed = agreed  # every process of the run stops with this one


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end what runs as Ctrl-C does; one that is ignored, as under nohup, stays so."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    old = _handle(STOPS[1:], interrupt)
    try:
        yield
    finally:
        _restore(old)


class Signals:
    """Remembers a signal to stop until what runs has ended: a chunk of updates, or a compilation.

    A second one ends the process at once where it is a command, as a kill would; what is on disk is whole at any
    moment. In a notebook it interrupts. An error raised amidst a compilation would abort the process or get lost.
    """

    def __init__(self) -> None:
        self.received = 0  # none yet
        self._old: Mapping[int, Any] = {}

    def check(self) -> None:
        """Raise `Interrupted` where a signal came."""
        if self.received:
            raise Interrupted(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and not _interactive():
            show_cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides it
            os.write(2, show_cursor + b"interrupted twice, ended at once\n")
            os._exit(128 + number)
        if self.received:
            raise Interrupted(number)
        self.received = number

    def __enter__(self) -> Self:
        self._old = _handle(STOPS, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._old)


def _handle(numbers: tuple[int, ...], handler: Any) -> dict[int, Any]:
    """Handle those of the signals that are not ignored; returns what handled them before. In the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    kept = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in kept}


def _restore(old: Mapping[int, Any]) -> None:
    for number, handler in old.items():
        signal.signal(number, handler)


def _interactive() -> bool:
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules
