"""How commands print: results on standard output, what is said about them on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment
from rich.table import Table

from ppo_jax.config.legible import legible
from ppo_jax.config.toml import shortest
from ppo_jax.runs.files import to_json

__all__ = [
    "as_argument",
    "count",
    "make_console",
    "make_pairs",
    "make_table",
    "number",
    "output",
    "print_json",
    "say",
    "warn",
]


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line, by default to standard error, where it disturbs no results."""
    print(legible(text, keep="\n"), file=file or sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print a warning to standard error."""
    say(f"warning: {text}")


def output(value: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print `value`, plain data, as JSON; or let `show` print it for people."""
    if as_json:
        print_json(value)
    else:
        show(value)


def print_json(value: Any) -> None:
    """Print JSON that others can parse: what is not a finite number is null."""
    print(json.dumps(to_json(value), indent=2, allow_nan=False))


def make_console() -> Console:
    """A console that prints text as it is, with control characters written out."""
    console = _Console(highlight=False, markup=False, emoji=False)
    console.push_render_hook(_WriteOut())
    return console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich calls this where it handles the error, and would exit with 1


class _WriteOut(RenderHook):
    """Makes all text of whatever is printed legible, once it is laid out."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_WrittenOut(one) for one in renderables]


@dataclass(frozen=True)
class _WrittenOut:
    renderable: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self.renderable, options):
            yield Segment(text if control else legible(text, keep="\n"), style, control)


def make_table(*headers: str, header: bool = True) -> Table:
    """A table without lines; a header that begins with ``>`` is right-justified, one that breaks has a group above."""
    table = Table(box=None, show_header=header, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in headers:
        right = name.startswith(">")
        side: Literal["left", "right"] = "right" if right else "left"
        table.add_column(name.removeprefix(">"), justify=side, no_wrap=right, overflow="fold")
    return table


def make_pairs(values: dict[str, str], style: str = "bold") -> Table:
    """A table of names and values, the names in `style`."""
    table = make_table("", "", header=False)
    table.columns[0].style = style
    for name, value in values.items():
        table.add_row(f"{name} ", value)
    return table


def number(value: float | None, form: str = ".3f") -> str:
    """A number of a table; one that is not known is a dash."""
    return "–" if value is None else f"{value:{form}}"


def count(n: int, thing: str) -> str:
    """How many of a thing: ``1 step``, ``2 steps``."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def as_argument(value: Any) -> str:
    """The value of a setting as it is typed behind ``--set key=``."""
    if isinstance(value, Mapping):
        return "'{" + ", ".join(f"{key} = {as_argument(one)}" for key, one in value.items()) + "}'"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else shortest(value) if isinstance(value, float) else str(value)
