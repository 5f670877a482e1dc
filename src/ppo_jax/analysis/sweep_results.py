"""What a sweep says: for each setting the interquartile mean over its seeds, with interval and a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo_jax.analysis.conclusions import against_first, verdict
from ppo_jax.analysis.formatting import write_setting
from ppo_jax.analysis.readers import read_run, read_sweep
from ppo_jax.analysis.report import svg
from ppo_jax.analysis.report.figures import draw_curves
from ppo_jax.analysis.run_sets import RunSet
from ppo_jax.analysis.statistics import Estimate, iqm_interval
from ppo_jax.config.toml import shortest
from ppo_jax.results import Results, look_up
from ppo_jax.runs.files import to_json, write_atomically
from ppo_jax.tasks import results
from ppo_jax.types import PPOJaxError

__all__ = ["conclude", "describe_setting"]

Json = dict[str, Any]
MAX_CURVES = 6


def conclude(folder: Path) -> Json:
    """Add ``groups``, a result for each setting, to the ``sweep.json`` of `folder` and draw its figures; returns it.

    A result holds the scores on valid (best of training) and on test: ``iqm``, ``low`` and ``high`` of a 95% bootstrap
    interval, ``n``, and ``improvement``, the probability that a seed of it beats one of the first setting, with its
    corrected ``p_value`` and a ``verdict``. ``baselines`` are the scores on test that no learning reaches. Settings
    are in the order of their first score on valid, the best first.

    Raises:
        PPOJaxError: no sweep there that can be read, or no member of it was completed.
    """
    record: Json = read_sweep(folder)
    settings: list[Json] = []
    for member in record["members"]:
        if member["setting"] not in settings:
            settings.append(member["setting"])
    members = [[m for m in record["members"] if m["setting"] == setting] for setting in settings]
    ended = [[m for m in together if _completed(m)] for together in members]
    if not any(ended):
        reasons = {m["error"] for together in members for m in together if "error" in m}
        raise PPOJaxError(f"{folder}: no member was completed{': ' + min(reasons) if reasons else ''}")
    first = next(together[0] for together in ended if together)
    reader = results.of(first["test"])
    scores = {
        f"{split} {name}": [[_number(m[split], path) for m in together] for together in ended]
        for split in ("valid", "test")
        for name, path in reader.scores.items()
    }
    compared = dict(zip(scores, against_first([(values, True) for values in scores.values()]), strict=True))
    by_setting = [
        {
            "setting": setting,
            "members": len(together),
            "failed": sum(m.get("status") == "failed" for m in together),
            "scores": {
                name: _statistics(values[i], len(values[0]), compared[name][i])
                for name, values in scores.items()
                if values[i]
            },
            "baselines": _baselines(reader, ended[i]),
        }
        for i, (setting, together) in enumerate(zip(settings, members, strict=True))
    ]
    headline = next(iter(scores))
    record["groups"] = sorted(by_setting, key=lambda one: _rank(one, headline))
    record["baseline"] = settings[0]
    write_atomically(folder / "sweep.json", json.dumps(to_json(record), indent=2) + "\n")
    _draw(folder, record, ended)
    return dict(to_json(record))


def describe_setting(setting: Mapping[str, Any]) -> str:
    """As a reader would write it; numbers in full, for settings may differ in their last digits."""
    numbers = {key: shortest(value) for key, value in setting.items() if isinstance(value, float)}
    written = (f"{key}={numbers.get(key) or write_setting(value)}" for key, value in setting.items())
    return ", ".join(written) or "as configured"


def _completed(member: Json) -> bool:
    return member.get("status") == "completed" and "valid" in member and "test" in member


def _statistics(own: Sequence[float], n_first: int, compared: tuple[Estimate, float] | None) -> Json:
    iqm = iqm_interval([own])
    statistics: Json = {"iqm": iqm.value, "low": iqm.low, "high": iqm.high, "n": iqm.n}
    if compared:
        better, p_value = compared
        statistics["improvement"] = {"value": better.value, "low": better.low, "high": better.high}
        statistics |= {"p_value": p_value, "verdict": verdict(compared, min(len(own), n_first))}
    return statistics


def _baselines(reader: Results, ended: Sequence[Json]) -> dict[str, dict[str, float]]:
    """The scores of the baselines by their name, which are the same for every seed."""
    rows = reader.baseline_rows(ended[0].get("baselines", {})) if ended else {}
    return {
        baseline: {f"test {name}": _number(result, path) for name, path in reader.scores.items()}
        for baseline, result in rows.items()
    }


def _rank(result: Json, score: str) -> float:
    """Of a setting, the best first; those without any score come last."""
    return -result["scores"][score]["iqm"] if result["scores"] else float("inf")


def _number(result: Mapping[str, Any], path: Sequence[str]) -> float:
    value = look_up(result, *path)
    return float(value) if isinstance(value, int | float) else float("nan")


def _draw(folder: Path, record: Json, ended: Sequence[Sequence[Json]]) -> None:
    """``sweep.svg``: scores of the settings; ``curves.svg``: how the first few learnt."""
    results = [result for result in record["groups"] if result["scores"]]
    names = list(results[0]["scores"])

    def paint(*panels: Any) -> None:
        for axes, name in zip(panels, names, strict=True):
            for row, result in enumerate(reversed(results)):
                one = result["scores"][name]
                if one["low"] is not None and one["low"] == one["low"]:
                    axes.plot([one["low"], one["high"]], [row, row], color=svg.SERIES[0], linewidth=3, alpha=0.4)
                axes.plot([one["iqm"]], [row], "o", color=svg.SERIES[0])
            axes.set_yticks(range(len(results)), [describe_setting(result["setting"]) for result in reversed(results)])
            axes.set_ylim(-0.6, len(results) - 0.4)
            axes.margins(x=0.05)
            axes.set_title(name)
            axes.grid(visible=True, axis="x")

    height = len(names) * (0.55 + 0.24 * len(results))
    caption = "Interquartile mean over the seeds of each setting, with a 95% bootstrap interval."
    drawing = svg.make_figure("sweep", "Settings", caption, paint, height=height, panels=len(names))
    write_atomically(folder / "sweep.svg", svg.standalone(drawing))
    shown = []
    for result in results[:MAX_CURVES]:
        members = next(together for together in ended if together and together[0]["setting"] == result["setting"])
        logs = [read_run(folder / "members" / member["name"]) for member in members]
        shown.append(RunSet(describe_setting(result["setting"]), tuple(logs)))
    curves = draw_curves(shown)
    if curves is not None:
        write_atomically(folder / "curves.svg", svg.standalone(curves))
