"""Draw a proof run: what was proved, validation MRR beside the baselines, the critic, the policy's entropy and KL.

    python scripts/plot_run.py runs/countries_s3 docs/countries_s3.png

Needs matplotlib, which gymnax brings along.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, GREY = "#3b6ea8", "#c8702a", "#4a8f5a", "#8a8a8a"


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    """Read the run folder and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    rows, evals = read(arguments.run / "metrics.jsonl"), read(arguments.run / "eval.jsonl")
    summary = json.loads((arguments.run / "summary.json").read_text())
    steps = [row["env_steps"] / 1000 for row in rows]

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10})
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.7), layout="constrained")

    def draw(axis: Any, title: str, lines: list[tuple[str, str, str]]) -> None:
        for name, label, color in lines:
            points = [(s, row[name]) for s, row in zip(steps, rows, strict=True) if row.get(name) is not None]
            axis.plot(*zip(*points, strict=True), color=color, label=label)
        axis.set_title(title, loc="left")
        axis.set_xlabel("thousand environment steps")

    draw(
        axes[0],
        "queries proved while training",
        [("proved_positive", "true queries", BLUE), ("proved_negative", "corrupted queries", ORANGE)],
    )
    data = summary["data"]
    axes[0].axhline(
        data["train_positives_provable"] / data["train_positives_searched"], color=GREY, lw=1, ls=":", label="provable"
    )
    axes[0].legend(frameon=False)

    axes[1].plot([e["env_steps"] / 1000 for e in evals], [e["greedy"]["mrr"] for e in evals], "o-", color=BLUE, ms=3)
    axes[1].axhline(summary["test"]["greedy"]["mrr"], color=GREEN, lw=1, label="test, best on valid")
    axes[1].axhline(
        summary["baselines"]["untrained"]["greedy"]["mrr"], color=GREY, lw=1, ls=":", label="test, untrained"
    )
    axes[1].set_title("greedy MRR on valid", loc="left")
    axes[1].set_xlabel("thousand environment steps")
    axes[1].set_ylim(0.4, 1.02)
    axes[1].legend(frameon=False, loc=(0.35, 0.4))

    draw(
        axes[2],
        "the critic",
        [("explained_variance", "explained variance", BLUE), ("value_loss", "value loss", ORANGE)],
    )
    axes[2].set_ylim(-0.2, 1.02)
    axes[2].legend(frameon=False)
    draw(
        axes[3],
        "the policy",
        [("entropy_normalized", "normalised entropy", BLUE), ("clip_fraction", "clip fraction", ORANGE)],
    )
    axes[3].set_ylim(0, 1.02)
    axes[3].legend(frameon=False)
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.picture, dpi=130)


if __name__ == "__main__":
    main()
