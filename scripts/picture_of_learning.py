"""Draw what a run on Countries learned: its curve, and proofs before and after.

ppo-jax train countries_s3 --run-dir runs/countries_s3
python scripts/picture_of_learning.py runs/countries_s3 docs/learning.png
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ppo_jax.policies.prover import Prover, load_prover

BLUE, ORANGE, GREY = "#3b6ea8", "#c8702a", "#6a6a6a"
QUERIES = ("locatedInCR(bulgaria,europe)", "locatedInCR(norway,europe)", "locatedInCR(burkina_faso,africa)")


def main() -> None:
    """Read the run folder and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    trained = load_prover(arguments.run)
    untrained = Prover(trained.experiment, trained.experiment.untrained(seed=0))

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11})
    figure, (curve, proofs) = plt.subplots(2, 1, figsize=(7.4, 5.0), height_ratios=(1, 1.25), layout="constrained")
    draw_curve(curve, arguments.run)
    draw_proofs(proofs, untrained, trained)
    figure.savefig(arguments.picture, dpi=140)


def draw_curve(axis: Any, run: Path) -> None:
    """Shares of true and false training queries proved, and of the true ones that can be proved at all."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    data = json.loads((run / "summary.json").read_text())["data"]
    steps = [row["env_steps"] / 1000 for row in rows]
    axis.plot(steps, [row["proved_positive"] for row in rows], color=BLUE)
    axis.plot(steps, [row["proved_negative"] for row in rows], color=ORANGE)
    provable = data["train_positives_provable"] / data["train_positives_searched"]
    axis.axhline(provable, color=GREY, lw=1, ls=":")
    for label, color, height in (
        ("dotted: all that search can prove", GREY, 0.38),
        ("true queries", BLUE, 0.19),
        ("false queries", ORANGE, 0.035),
    ):
        axis.text(steps[-1], height, label, color=color, ha="right")
    axis.set(xlabel="thousand environment steps", ylim=(0, 0.42), xlim=(0, steps[-1]))
    axis.set_title("share of training queries proved", loc="left")


def draw_proofs(axis: Any, untrained: Prover, trained: Prover) -> None:
    """The way that each policy takes from country to country, for a few test queries."""
    axis.set_axis_off()
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_title("proofs of test queries, before and after training", loc="left")
    for i, query in enumerate(QUERIES):
        top = 0.90 - 0.33 * i
        country, region = (name(word) for word in re.findall(r"\((\w+),(\w+)\)", query)[0])
        axis.text(0.0, top, f"Is {country} in {region}?", weight="bold")
        for row, (prover, color) in enumerate(((untrained, ORANGE), (trained, BLUE))):
            y = top - 0.10 - 0.095 * row
            axis.text(0.02, y, ("before", "after")[row], color=color)
            axis.text(0.12, y, way(prover.prove(query), country, region), color=color)


def way(proof: dict[str, Any], country: str, region: str) -> str:
    """The countries of a proof, each a neighbour of the one before, and how it ends."""
    steps = [step["action"] for step in proof["steps"]]
    countries = [country, *(name(re.findall(r",(\w+)\)", step)[0]) for step in steps if "neighborOf" in step[:15])]
    return " → ".join(countries) + (f" is in {region}" if proof["proved"] else ": gives up")


def name(constant: str) -> str:
    """`burkina_faso` as one writes it."""
    return constant.replace("_", " ").title()


if __name__ == "__main__":
    main()
