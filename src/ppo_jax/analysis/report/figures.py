"""The figures of a report: curves over the training steps, and the rank of each test query."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.report.svg import HEIGHT, MUTED, SERIES, Axes, Drawing, Line, make_figure, shorten
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.run_sets import RunSet

__all__ = ["draw", "draw_curves"]

MAX_POINTS, MAX_QUERIES = 300, 32
LARGEST = 1e30  # axes cannot hold the numbers of a run that blew up beyond this


def draw(run_sets: Sequence[RunSet]) -> tuple[Drawing, ...]:
    """All figures for which the runs hold data. Lines are means over the seeds, bands reach from the least to the most.

    Args:
        run_sets: of one configuration each.
    """
    own = dict.fromkeys(name for run_set in run_sets for log in run_set.logs for name in Evidence(log).own_metrics)
    of_own = [
        _curve(f"own-{i}-{re.sub(r'[^a-z0-9]+', '-', name.lower())}", name, name, "A metric of your own.")
        for i, name in enumerate(own, start=1)
    ]
    drawings = (make(run_sets) for make in (*FIGURES, *of_own))
    return tuple(drawing for drawing in drawings if drawing is not None)


def draw_learning(run_sets: Sequence[RunSet]) -> Drawing | None:
    """How the policies were judged during training; None where no run was judged twice."""
    logs = [log for run_set in run_sets for log in run_set.logs]
    if not any(len(Evidence(log).scores()) > 1 for log in logs):
        return None

    def paint(axes: Axes) -> None:
        _paint_scores(axes, run_sets)
        _set_steps_axis(axes)

    title = _name_of_score(run_sets)
    return make_figure("learning", title, "The policy as it is judged during training.", paint, _names(run_sets))


def draw_curves(run_sets: Sequence[RunSet]) -> Drawing | None:
    """A figure that stands by itself: returns in training, and below how the policies were judged meanwhile.

    The second panel is left out where no run was judged twice; None where there are no returns either.
    """
    panels: list[tuple[str, Callable[[Axes], None]]] = []
    if _any_has(run_sets, "episode_return_mean"):

        def paint_returns(axes: Axes) -> None:
            for colour, run_set in _coloured(run_sets):
                _metric(axes, colour, run_set, "episode_return_mean")

        panels.append(("return in training", paint_returns))
    if any(len(Evidence(log).scores()) > 1 for run_set in run_sets for log in run_set.logs):
        name = _name_of_score(run_sets)
        panels.append((name[0].lower() + name[1:], lambda axes: _paint_scores(axes, run_sets)))
    if not panels:
        return None

    def paint(*each: Axes) -> None:
        for axes, (label, paint_panel) in zip(each, panels, strict=True):
            paint_panel(axes)
            axes.set_ylabel(label)
        _set_steps_axis(each[-1])

    caption = "Means over the seeds of a setting; bands reach from the least to the most."
    height = HEIGHT * len(panels)
    return make_figure("curves", "How the policies learnt", caption, paint, _names(run_sets), height, len(panels))


def _paint_scores(axes: Axes, run_sets: Sequence[RunSet]) -> None:
    for colour, run_set in _coloured(run_sets):
        curves = [(_eval_steps(log), Evidence(log).scores()) for log in run_set.logs]
        _band(axes, colour, [(x, y) for x, y in curves if len(x) == len(y) > 1], marker=".")


def _name_of_score(run_sets: Sequence[RunSet]) -> str:
    return "Greedy MRR on valid" if any(run_set.proves for run_set in run_sets) else "Return in evaluation"


def _curve(
    name: str, title: str, metric: str, caption: str, log_scale: bool = False, log_below: float | None = None
) -> Callable[[Sequence[RunSet]], Drawing | None]:
    """A figure of one metric over the updates."""

    def make(run_sets: Sequence[RunSet]) -> Drawing | None:
        if not _any_has(run_sets, metric):
            return None
        from matplotlib.ticker import FuncFormatter, NullFormatter

        def paint(axes: Axes) -> None:
            for colour, run_set in _coloured(run_sets):
                _metric(axes, colour, run_set, metric)
            if log_scale and any(
                (Evidence(log).finite(metric) > 0).any() for run_set in run_sets for log in run_set.logs
            ):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            if log_below is not None:
                _set_log_below(axes, log_below)
            _set_steps_axis(axes)

        return make_figure(name, title, caption, paint, _names(run_sets))

    return make


def _entropy(run_sets: Sequence[RunSet]) -> Drawing | None:
    metric = "entropy_normalized" if _any_has(run_sets, "entropy_normalized") else "entropy"
    if not _any_has(run_sets, metric):
        return None
    scheduled = _any_has(run_sets, "ent_coef") and metric == "entropy_normalized"

    def paint(axes: Axes) -> None:
        for colour, run_set in _coloured(run_sets):
            _metric(axes, colour, run_set, metric)
            for x, y in _curves(run_set.logs[:1], "ent_coef") if scheduled else ():
                if y.max() > 0:
                    axes.plot(x, y / y.max(), color=colour, linestyle=":", linewidth=1.2)
        if metric == "entropy_normalized":
            axes.set_ylim(0.0, 1.05)
        _set_steps_axis(axes)

    legend = [*_names(run_sets), *([("its coefficient, scaled", _style_colour(run_sets), ":")] if scheduled else [])]
    title = "Entropy of the policy" + (", 1 is uniform" if metric == "entropy_normalized" else "")
    caption = "It should fall smoothly, about as its coefficient does." if scheduled else "It should fall smoothly."
    return make_figure("entropy", title, caption, paint, legend, HEIGHT + 0.2)


def _kl(run_sets: Sequence[RunSet]) -> Drawing | None:
    if not _any_has(run_sets, "approx_kl"):
        return None
    epochs = _any_has(run_sets, "epochs_completed")
    limits = {run_set.settings.get("target_kl") for run_set in run_sets} - {None}

    def paint(axes: Axes, below: Axes | None = None) -> None:
        for colour, run_set in _coloured(run_sets):
            _metric(axes, colour, run_set, "approx_kl")
            if target := run_set.settings.get("target_kl"):
                axes.axhline(1.5 * target, color=colour, linestyle=":", linewidth=1.2)
            if below is not None:
                _metric(below, colour, run_set, "epochs_completed")
        axes.set_ylim(bottom=0.0)
        if below is not None:
            axes.set_title("approximate KL")
            below.set_title("epochs completed")
            below.set_ylim(bottom=0.0)
            below.yaxis.get_major_locator().set_params(integer=True)
        _set_steps_axis(below if below is not None else axes)

    legend = [*_names(run_sets), *([("limit, 1.5 × target_kl", _style_colour(run_sets), ":")] if limits else [])]
    title = "KL against its limit" + (", and the epochs completed" if epochs else "")
    caption = "Where an update passes its limit, the rest of its epochs is left out."
    return make_figure("kl", title, caption, paint, legend, 3.6 if epochs else HEIGHT, 2 if epochs else 1)


def _clipping(run_sets: Sequence[RunSet]) -> Drawing | None:
    return _pair(
        run_sets,
        "clipping",
        "Clip fractions",
        "Shares of what moved further in an update than the clip range allows.",
        ("clip_fraction", "probability ratios"),
        ("value_clip_fraction", "values"),
    )


def _proofs(run_sets: Sequence[RunSet]) -> Drawing | None:
    return _pair(
        run_sets,
        "proofs",
        "Queries proved in training",
        "Shares of the finished episodes; many training queries have no proof, so the first need not approach 1.",
        ("proved_positive", "true queries"),
        ("proved_negative", "false queries"),
    )


def _pair(
    run_sets: Sequence[RunSet], name: str, title: str, caption: str, solid: tuple[str, str], dashed: tuple[str, str]
) -> Drawing | None:
    """Two shares of each run set, the second dashed; it is left out where it is always zero, unless it is of proofs."""
    if not _any_has(run_sets, solid[0]):
        return None
    both = _any_has(run_sets, dashed[0]) and (name == "proofs" or _any_positive(run_sets, dashed[0]))

    def paint(axes: Axes) -> None:
        for colour, run_set in _coloured(run_sets):
            _metric(axes, colour, run_set, solid[0])
            if both:
                _metric(axes, colour, run_set, dashed[0], linestyle="--")
        axes.set_ylim(bottom=0.0)
        _set_steps_axis(axes)

    colour = _style_colour(run_sets)
    legend = [*_names(run_sets), *([(solid[1], colour, "-"), (dashed[1], colour, "--")] if both else [])]
    return make_figure(name, title, caption, paint, legend)


def _ranks(run_sets: Sequence[RunSet]) -> Drawing | None:
    """Reciprocal rank of each test query, averaged over the seeds, worst first."""
    each = [_reciprocal_ranks(run_set) for run_set in run_sets]
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
        for i, (colour, _) in enumerate(_coloured(run_sets)):
            known = [k for k, query in enumerate(queries) if query in each[i]]
            shift = 0.5 * ((i + 0.5) / len(run_sets) - 0.5)
            x = [each[i][queries[k]] for k in known]
            axes.plot(x, [k + shift for k in known], "o", color=colour, markersize=4.5, clip_on=False)
        axes.set_yticks(range(len(queries)), [shorten(label.replace(",", ", "), 30) for label in labels], fontsize=9.5)
        axes.set_ylim(len(queries) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.0)
        axes.spines["bottom"].set_visible(False)
        axes.grid(True, axis="x")

    which = f"The {len(queries)} test queries ranked worst" if len(pooled) > len(queries) else "Test queries"
    of = f" of {shorten(next(iter(heads)), 40)}" if len(heads) == 1 else ""
    caption = f"{which}{of}, worst first: 1 is first among the corruptions, means over the seeds."
    return make_figure(
        *("ranks", "Reciprocal rank of each query", caption, paint),
        legend=[(text, colour, "o") for text, colour, _ in _names(run_sets)],
        height=0.5 + 0.19 * len(queries),
    )


FIGURES: tuple[Callable[[Sequence[RunSet]], Drawing | None], ...] = (
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


def _coloured(run_sets: Sequence[RunSet]) -> list[tuple[str, RunSet]]:
    return [(SERIES[i % len(SERIES)], run_set) for i, run_set in enumerate(run_sets)]


def _names(run_sets: Sequence[RunSet]) -> list[Line]:
    """Legend of the run_sets; a single one needs none."""
    return [(run_set.name, colour, "-") for colour, run_set in _coloured(run_sets)] if len(run_sets) > 1 else []


def _style_colour(run_sets: Sequence[RunSet]) -> str:
    """For the legend of a line style: the colour of the run set where there is one."""
    return SERIES[0] if len(run_sets) == 1 else MUTED


def _any_has(run_sets: Sequence[RunSet], metric: str) -> bool:
    return any(Evidence(log).has(metric) for run_set in run_sets for log in run_set.logs)


def _any_positive(run_sets: Sequence[RunSet], metric: str) -> bool:
    return any((Evidence(log).finite(metric) > 0).any() for run_set in run_sets for log in run_set.logs)


def _metric(axes: Axes, colour: str, run_set: RunSet, metric: str, **style: Any) -> None:
    _band(axes, colour, _curves(run_set.logs, metric), **style)


def _curves(logs: Sequence[RunLog], metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Environment steps and values [U] of each run that has the metric."""
    return [
        (log.columns["env_steps" if Evidence(log).has("env_steps") else "update"], log.columns[metric])
        for log in logs
        if Evidence(log).has(metric)
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


def _reciprocal_ranks(run_set: RunSet) -> dict[str, float]:
    """Of each ground test query the mean over the seeds; open ones have a section of their own."""
    of_seeds: dict[str, list[float]] = {}
    for log in run_set.logs:
        for row in log.queries:
            if "side" not in row and isinstance(row.get("reciprocal_rank"), int | float):
                of_seeds.setdefault(str(row.get("query")), []).append(row["reciprocal_rank"])
    return {query: float(np.mean(ranks)) for query, ranks in of_seeds.items()}


def _set_log_below(axes: Axes, lowest: float) -> None:
    """A scale that is linear above `lowest`, which is negative, and logarithmic below it."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_ylim()
    if low < lowest:
        axes.set_yscale("symlog", linthresh=-lowest, linscale=1.0)
        decades = np.arange(np.ceil(np.log10(low / lowest)) + 1)
        below = [factor * lowest * 10.0**k for k in decades for factor in (3, 10) if factor * lowest * 10.0**k >= low]
        below = below[1::2] if len(below) > 3 else below
        axes.yaxis.set_major_locator(FixedLocator([*below, lowest, 0.0, -0.5 * lowest, -lowest]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}".replace("-", "−")))
    axes.set_ylim(low, min(high, 1.05))
    axes.axhline(0.0, color=MUTED, linewidth=0.8)


def _set_steps_axis(axes: Axes) -> None:
    """Environment steps along the bottom, in thousands and millions."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _with_prefix(x)))
    axes.set_xlabel("environment steps", loc="right")


def _with_prefix(x: float) -> str:
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:g}{mark}"
    return f"{x:g}"
