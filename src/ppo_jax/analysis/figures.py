"""Figures of runs as SVG text that follows the page's colours: light, dark, and legible on a phone.

One chart a figure, drawn about as wide as a phone's screen, so that its text keeps its size there. Colours are written
as CSS variables with a fallback; text and axes take the colour of the text around them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from ppo_jax.analysis.axes import MUTED, set_log_below, set_steps_axis
from ppo_jax.analysis.compare import Group
from ppo_jax.analysis.logs import RunLog
from ppo_jax.analysis.view import View

__all__ = ["SERIES", "Drawing", "draw", "draw_learning", "make_figure", "standalone"]

# Okabe and Ito's colours that stand out on white and, a little lighter in the page's dark scheme, on black.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#997700", "#56b4e9")
INK, RULE = "#010101", "#cccccc"  # stand for currentColor and --rule, MUTED for --muted
WIDTH, HEIGHT = 5.2, 2.5  # inches; the page scales the figure to its column
MAX_POINTS, MAX_QUERIES = 300, 32
LARGEST = 1e30  # axes cannot hold the numbers of a run that blew up beyond this

Axes = Any  # matplotlib's
Line = tuple[str, str, Any]  # legend: text, colour, line style


@dataclass(frozen=True)
class Drawing:
    """A figure."""

    name: str  # of its file, without ending
    title: str
    caption: str
    svg: str  # an <svg> element for an HTML page; `standalone` makes a file of it


def draw(groups: Sequence[Group]) -> tuple[Drawing, ...]:
    """All figures for which the runs hold data. Lines are means over the seeds, bands reach from the least to the most.

    Args:
        groups: of one configuration each.
    """
    return tuple(found for make in FIGURES if (found := make(groups)) is not None)


def standalone(drawing: Drawing) -> str:
    """The figure as a file of its own, light or dark as the reader's system is."""
    style = "svg{color:#222;font-family:system-ui,sans-serif}@media(prefers-color-scheme:dark){svg{color:#ddd}}"
    opening, rest = drawing.svg.split(">", 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{opening}><style>{style}</style>{rest}\n'


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
    with mpl.rc_context(STYLE):
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
            labels = [_shorten(text, 46) for text, *_ in legend]
            figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, borderaxespad=0)
        figure.draw_without_rendering()  # the layout settles only once it has seen the labels of the ticks
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return Drawing(name, title, caption, _for_pages(buffer.getvalue(), name, title))


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


def draw_learning(groups: Sequence[Group]) -> Drawing | None:
    """How the policies were judged during training; None where no run was judged twice."""
    logs = [log for runs in groups for log in runs.logs]
    if not any(len(View(log).scores()) > 1 for log in logs):
        return None

    def paint(axes: Axes) -> None:
        for colour, runs in _coloured(groups):
            curves = [(_eval_steps(log), View(log).scores()) for log in runs.logs]
            _band(axes, colour, [(x, y) for x, y in curves if len(x) == len(y) > 1], marker=".")
        set_steps_axis(axes)

    proves = any(runs.proves for runs in groups)
    title = "Greedy MRR on valid" if proves else "Return in evaluation"
    return make_figure("learning", title, "The policy as it is judged during training.", paint, _names(groups))


def _curve(
    name: str, title: str, metric: str, caption: str, log_scale: bool = False, log_below: float | None = None
) -> Callable[[Sequence[Group]], Drawing | None]:
    """A figure of one metric over the updates."""

    def make(groups: Sequence[Group]) -> Drawing | None:
        if not _any_has(groups, metric):
            return None
        from matplotlib.ticker import FuncFormatter, NullFormatter

        def paint(axes: Axes) -> None:
            for colour, runs in _coloured(groups):
                _metric(axes, colour, runs, metric)
            if log_scale and any((View(log).finite(metric) > 0).any() for runs in groups for log in runs.logs):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            if log_below is not None:
                set_log_below(axes, log_below)
            set_steps_axis(axes)

        return make_figure(name, title, caption, paint, _names(groups))

    return make


def _entropy(groups: Sequence[Group]) -> Drawing | None:
    metric = "entropy_normalized" if _any_has(groups, "entropy_normalized") else "entropy"
    if not _any_has(groups, metric):
        return None
    scheduled = _any_has(groups, "ent_coef") and metric == "entropy_normalized"

    def paint(axes: Axes) -> None:
        for colour, runs in _coloured(groups):
            _metric(axes, colour, runs, metric)
            for x, y in _curves(runs.logs[:1], "ent_coef") if scheduled else ():
                if y.max() > 0:
                    axes.plot(x, y / y.max(), color=colour, linestyle=":", linewidth=1.2)
        if metric == "entropy_normalized":
            axes.set_ylim(0.0, 1.05)
        set_steps_axis(axes)

    legend = [*_names(groups), *([("its coefficient, scaled", _style_colour(groups), ":")] if scheduled else [])]
    title = "Entropy of the policy" + (", 1 is uniform" if metric == "entropy_normalized" else "")
    caption = "It should fall smoothly, about as its coefficient does." if scheduled else "It should fall smoothly."
    return make_figure("entropy", title, caption, paint, legend, HEIGHT + 0.2)


def _kl(groups: Sequence[Group]) -> Drawing | None:
    if not _any_has(groups, "approx_kl"):
        return None
    epochs = _any_has(groups, "epochs_completed")
    limits = {runs.settings.get("target_kl") for runs in groups} - {None}

    def paint(axes: Axes, below: Axes | None = None) -> None:
        for colour, runs in _coloured(groups):
            _metric(axes, colour, runs, "approx_kl")
            if target := runs.settings.get("target_kl"):
                axes.axhline(1.5 * target, color=colour, linestyle=":", linewidth=1.2)
            if below is not None:
                _metric(below, colour, runs, "epochs_completed")
        axes.set_ylim(bottom=0.0)
        if below is not None:
            axes.set_title("approximate KL")
            below.set_title("epochs completed")
            below.set_ylim(bottom=0.0)
            below.yaxis.get_major_locator().set_params(integer=True)
        set_steps_axis(below if below is not None else axes)

    legend = [*_names(groups), *([("limit, 1.5 × target_kl", _style_colour(groups), ":")] if limits else [])]
    title = "KL against its limit" + (", and the epochs completed" if epochs else "")
    caption = "Where an update passes its limit, the rest of its epochs is left out."
    return make_figure("kl", title, caption, paint, legend, 3.6 if epochs else HEIGHT, 2 if epochs else 1)


def _clipping(groups: Sequence[Group]) -> Drawing | None:
    return _pair(
        groups,
        "clipping",
        "Clip fractions",
        "Shares of what moved further in an update than the clip range allows.",
        ("clip_fraction", "probability ratios"),
        ("value_clip_fraction", "values"),
    )


def _proofs(groups: Sequence[Group]) -> Drawing | None:
    return _pair(
        groups,
        "proofs",
        "Queries proved in training",
        "Shares of the finished episodes; many training queries have no proof, so the first need not approach 1.",
        ("proved_positive", "true queries"),
        ("proved_negative", "false queries"),
    )


def _pair(
    groups: Sequence[Group], name: str, title: str, caption: str, solid: tuple[str, str], dashed: tuple[str, str]
) -> Drawing | None:
    """Two shares of each group, the second dashed; left out where it is zero throughout and not a matter of proofs."""
    if not _any_has(groups, solid[0]):
        return None
    both = _any_has(groups, dashed[0]) and (
        name == "proofs" or any((View(log).finite(dashed[0]) > 0).any() for runs in groups for log in runs.logs)
    )

    def paint(axes: Axes) -> None:
        for colour, runs in _coloured(groups):
            _metric(axes, colour, runs, solid[0])
            if both:
                _metric(axes, colour, runs, dashed[0], linestyle="--")
        axes.set_ylim(bottom=0.0)
        set_steps_axis(axes)

    colour = _style_colour(groups)
    legend = [*_names(groups), *([(solid[1], colour, "-"), (dashed[1], colour, "--")] if both else [])]
    return make_figure(name, title, caption, paint, legend)


def _ranks(groups: Sequence[Group]) -> Drawing | None:
    """Reciprocal rank of each test query, averaged over the seeds, worst first."""
    each = [_reciprocal_ranks(runs) for runs in groups]
    pooled: dict[str, list[float]] = {}
    for ranks in each:
        for query, rank in ranks.items():
            pooled.setdefault(query, []).append(rank)
    if not pooled:
        return None
    queries = sorted(pooled, key=lambda query: (np.mean(pooled[query]), query))[:MAX_QUERIES]
    heads = {query.partition("(")[0] for query in queries}
    labels = [query.partition("(")[2].removesuffix(")") if len(heads) == 1 else query for query in queries]

    def paint(axes: Axes) -> None:
        for i, (colour, _) in enumerate(_coloured(groups)):
            known = [k for k, query in enumerate(queries) if query in each[i]]
            shift = 0.5 * ((i + 0.5) / len(groups) - 0.5)
            x = [each[i][queries[k]] for k in known]
            axes.plot(x, [k + shift for k in known], "o", color=colour, markersize=4.5, clip_on=False)
        axes.set_yticks(range(len(queries)), [_shorten(label.replace(",", ", "), 30) for label in labels], fontsize=9.5)
        axes.set_ylim(len(queries) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.0)
        axes.spines["bottom"].set_visible(False)
        axes.grid(True, axis="x")

    which = f"The {len(queries)} test queries ranked worst" if len(pooled) > len(queries) else "Test queries"
    of = f" of {_shorten(next(iter(heads)), 40)}" if len(heads) == 1 else ""
    caption = f"{which}{of}, worst first: 1 is first among the corruptions, means over the seeds."
    return make_figure(
        *("ranks", "Reciprocal rank of each query", caption, paint),
        legend=[(text, colour, "o") for text, colour, _ in _names(groups)],
        height=0.5 + 0.19 * len(queries),
    )


FIGURES: tuple[Callable[[Sequence[Group]], Drawing | None], ...] = (
    draw_learning,
    _curve("returns", "Return of training episodes", "episode_return_mean", "Mean over the episodes of an update."),
    _curve(
        "explained-variance",
        "Explained variance of the critic",
        "explained_variance",
        "1 is perfect, 0 is no better than the mean return; logarithmic below −1.",
        log_below=-1.0,
    ),
    _curve("value-loss", "Value loss", "value_loss", "Mean squared error of the values, logarithmic.", log_scale=True),
    _entropy,
    _kl,
    _clipping,
    _proofs,
    _ranks,
)


def _coloured(groups: Sequence[Group]) -> list[tuple[str, Group]]:
    return [(SERIES[i % len(SERIES)], runs) for i, runs in enumerate(groups)]


def _names(groups: Sequence[Group]) -> list[Line]:
    """Legend of the groups; a single one needs none."""
    return [(runs.name, colour, "-") for colour, runs in _coloured(groups)] if len(groups) > 1 else []


def _style_colour(groups: Sequence[Group]) -> str:
    """For the legend of a line style: the group's colour where there is one group."""
    return SERIES[0] if len(groups) == 1 else MUTED


def _any_has(groups: Sequence[Group], metric: str) -> bool:
    return any(View(log).has(metric) for runs in groups for log in runs.logs)


def _metric(axes: Axes, colour: str, runs: Group, metric: str, **style: Any) -> None:
    _band(axes, colour, _curves(runs.logs, metric), **style)


def _curves(logs: Sequence[RunLog], metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Environment steps and values [U] of each run that has the metric."""
    return [
        (log.columns["env_steps" if View(log).has("env_steps") else "update"], log.columns[metric])
        for log in logs
        if View(log).has(metric)
    ]


def _eval_steps(log: RunLog) -> np.ndarray:
    return np.array([float(row.get("env_steps", i)) for i, row in enumerate(log.evaluations, start=1)])


def _band(axes: Axes, colour: str, curves: Sequence[tuple[np.ndarray, np.ndarray]], **style: Any) -> None:
    """Mean of the curves, and a band from the least to the greatest; a shorter curve ends where its run did."""
    if not curves:
        return
    x = max((steps for steps, _ in curves), key=len)
    values = np.full((len(curves), len(x)), np.nan)
    for row, (_, y) in zip(values, curves, strict=True):
        row[: len(y)] = np.clip(np.where(np.isfinite(y), y, np.nan), -LARGEST, LARGEST)
    known = np.isfinite(values).any(0) & np.isfinite(x)
    x, values = x[known], values[:, known]
    low, mean, high = np.nanmin(values, 0), np.nanmean(values, 0), np.nanmax(values, 0)
    blocks = np.array_split(np.arange(len(x)), min(len(x), MAX_POINTS))  # long logs: means of neighbouring updates
    x, low, mean, high = (np.array([y[block].mean() for block in blocks]) for y in (x, low, mean, high))
    if len(curves) > 1:
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=colour, **({"marker": "."} if len(x) == 1 else {}) | style)


def _reciprocal_ranks(runs: Group) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for log in runs.logs:
        for row in log.queries:
            if isinstance(row.get("reciprocal_rank"), int | float):
                found.setdefault(str(row.get("query")), []).append(row["reciprocal_rank"])
    return {query: float(np.mean(ranks)) for query, ranks in found.items()}


def _shorten(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
