"""A figure as SVG text that follows the page's colours: light, dark, and legible on a phone.

One chart a figure, drawn about as wide as a phone's screen, so that its text keeps its size there. Colours are written
as CSS variables with a fallback; text and axes take the colour of the text around them.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ppo_jax.config.legible import legible

__all__ = ["HEIGHT", "MUTED", "SERIES", "Axes", "Drawing", "Line", "make_figure", "shorten", "standalone"]

# Okabe and Ito's colours that stand out on white and, a little lighter in the page's dark scheme, on black.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#997700", "#56b4e9")
INK, RULE, MUTED = "#010101", "#cccccc", "#777777"  # stand for currentColor, --rule and --muted
WIDTH, HEIGHT = 5.2, 2.5  # inches; the page scales the figure to its column

Axes = Any  # matplotlib's
Line = tuple[str, str, Any]  # legend: text, colour, line style

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ppo_jax",  # the same figure is the same text
    "text.parse_math": False,
    "font.size": 11,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.xmargin": 0.01,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("ytick.major.size", "ytick.minor.size"), 0),
    "lines.linewidth": 1.6,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("text.color", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
}


@dataclass(frozen=True)
class Drawing:
    """A figure."""

    name: str  # of its file, without ending
    title: str
    caption: str
    svg: str  # an <svg> element for an HTML page; `standalone` makes a file of it


def standalone(drawing: Drawing) -> str:
    """The figure as a file of its own, light or dark as the reader's system is."""
    style = "svg{color:#222;font-family:system-ui,sans-serif}@media(prefers-color-scheme:dark){svg{color:#ddd}}"
    opening, rest = drawing.svg.split(">", 1)
    rest = re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", rest)  # variables are the page's, and unknown outside browsers
    return f'<?xml version="1.0" encoding="utf-8"?>\n{opening} color="#222"><style>{style}</style>{rest}\n'


def make_figure(
    name: str,
    title: str,
    caption: str,
    paint: Callable[..., None],
    legend: Sequence[Line] = (),
    height: float = HEIGHT,
    panels: int = 1,
) -> Drawing:
    """Paint on axes without a box, and turn the result into a `Drawing`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = max(1, min(len(legend), 60 // (6 + max((min(len(text), 46) for text, *_ in legend), default=0))))
    rows = -(-len(legend) // columns)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The page's font writes the text, which may well have what matplotlib's lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, height + 0.2 * rows), layout="constrained")
        axes = figure.subplots(panels, sharex=True, squeeze=False)[:, 0]
        paint(*axes)
        if legend:
            handles = [
                mpl.lines.Line2D(
                    [], [], color=colour, **({"marker": "o", "linestyle": ""} if style == "o" else {"linestyle": style})
                )
                for _, colour, style in legend
            ]
            labels = [shorten(text, 46) for text, *_ in legend]
            figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, borderaxespad=0)
        figure.draw_without_rendering()  # the layout settles only once it has seen the labels of the ticks
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return Drawing(name, title, caption, _for_pages(legible(buffer.getvalue(), keep="\n"), name, legible(title)))


def _for_pages(svg: str, name: str, title: str) -> str:
    """Make matplotlib's file a part of a page: no metadata, ids of its own, sizes and colours left to the page."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening, rest = svg.split(">", 1)
    opening = re.sub(r'\s(width|height)="[^"]*"', "", opening) + ' stroke-linejoin="round"'
    rest = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", rest)
    rest = re.sub(r"font-family: [^;]*;", "font-family: inherit;", rest)
    rest = re.sub(r"<style.*?</style>", "", rest, count=1, flags=re.DOTALL)  # it would hold for the whole page
    for i, colour in enumerate(SERIES, start=1):
        rest = rest.replace(colour, f"var(--series-{i}, {colour})")
    rest = rest.replace(INK, "currentColor").replace(MUTED, f"var(--muted, {MUTED})")
    rest = rest.replace(RULE, f"var(--rule, {RULE})")
    return f'{opening} role="img" aria-label="{escape(title)}">{rest.strip()}'


def shorten(text: str, most: int) -> str:
    """The text on one line, cut off after `most` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
