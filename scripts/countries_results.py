"""Train the Countries experiments that docs/results.md reports, and print its tables.

    python scripts/countries_results.py [--runs runs/results] [--seeds 20] [--splits 10] …

Every data set is a sweep over seeds, one member after another; what is there is not repeated. Tables: the published
benchmark, resampled splits by the same construction, and the clean benchmark (without locatedInCR(palestine,asia)).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ppo_jax.config import load_config
from ppo_jax.runs.compiled_programs import use_compilation_cache
from ppo_jax.sweeps import sweep
from ppo_jax.sweeps.plan import make_plan

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "countries_s3.toml"
Summary = dict[str, Any]


def trained(runs: Path, name: str, seeds: int) -> list[Summary]:
    """Train what is missing of a data set, and return the summaries with their metrics under `history`."""
    plan = make_plan(load_config(EXPERIMENT, {"env_id": f"Proof-{name}"}), seeds)
    sweep.run(plan, runs / name, chunk=1, progress=False)
    jax.clear_caches()  # the programs of a dozen data sets would not fit into one process
    summaries = []
    for member in plan.members:
        folder = runs / name / "members" / member.name
        summary: Summary = json.loads((folder / "summary.json").read_text())
        summary["history"] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        summaries.append(summary)
    return summaries


def spread(values: list[float], form: str = ".3f") -> str:
    """Mean ± standard deviation (least – greatest)."""
    return f"{np.mean(values):{form}} ± {np.std(values):{form}} ({min(values):{form}} – {max(values):{form}})"


def entropy_rise(history: list[dict[str, float]]) -> float:
    """Largest rise of the normalised entropy above its running minimum, as a share of its first value."""
    entropy = np.array([row["entropy_normalized"] for row in history])
    return float((entropy - np.minimum.accumulate(entropy)).max() / entropy[0])


def benchmark_table(summaries: list[Summary]) -> str:
    """One row a number, mean and spread over the seeds, baselines beside it."""
    rows = ["| number | trained | untrained | uniform | shortest proof |", "|---|---|---|---|---|"]
    for split, protocol, key in (
        ("valid", "greedy", "mrr"),
        ("test", "greedy", "mrr"),
        ("test_last", "greedy", "mrr"),
        ("test", "greedy", "hits@1"),
        ("test", "greedy", "proved_positive"),
        ("test", "greedy", "proved_negative"),
        ("test", "marginal", "mrr"),
        ("test", "marginal", "auc_pr"),
        ("test", "marginal", "unexplored_mass"),
    ):
        cells = [spread([s[split][protocol][key] for s in summaries])]
        for baseline in ("untrained", "uniform", "shortest_proof"):
            result = summaries[0]["baselines"][baseline].get(protocol)
            cells.append("–" if result is None or split != "test" or key not in result else f"{result[key]:.3f}")
        rows.append(f"| {split} {protocol} {key} | " + " | ".join(cells) + " |")
    final = [s["final"] for s in summaries]
    kl_stops = np.mean([row["early_stopped"] for s in summaries for row in s["history"]])
    rows += [
        f"| explained variance, last update | {spread([f['explained_variance'] for f in final])} | | | |",
        f"| value loss, last update | {spread([f['value_loss'] for f in final], '.4f')} | | | |",
        f"| share of updates with a KL stop | {kl_stops:.4f} | | | |",
        f"| largest rise of the normalised entropy | {max(entropy_rise(s['history']) for s in summaries):.3f} | | | |",
        f"| env-steps/s | {spread([s['steps_per_second'] for s in summaries], ',.0f')} | | | |",
    ]
    return "\n".join(rows)


def splits_table(splits: dict[int, list[Summary]]) -> str:
    """One row a resampled split."""
    rows = [
        "| split | greedy MRR | untrained | shortest proof | AUC-PR | uniform |",
        "|---|---|---|---|---|---|",
    ]
    for split, summaries in splits.items():
        baselines = summaries[0]["baselines"]
        rows.append(
            f"| {split} | {spread([s['test']['greedy']['mrr'] for s in summaries])}"
            f" | {baselines['untrained']['greedy']['mrr']:.3f} | {baselines['shortest_proof']['greedy']['mrr']:.3f}"
            f" | {spread([s['test']['marginal']['auc_pr'] for s in summaries])}"
            f" | {baselines['uniform']['marginal']['auc_pr']:.3f} |"
        )
    return "\n".join(rows)


def benchmark(runs: Path, name: str, seeds: int) -> None:
    """Train a built-in data set over several seeds and print its table."""
    summaries = trained(runs, name, seeds)
    protocols = "; ".join(summaries[0]["test"][protocol]["protocol"] for protocol in ("greedy", "marginal"))
    print(f"\n{name}, {seeds} seeds: {protocols}\n\n{benchmark_table(summaries)}", flush=True)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--clean-seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--split-seeds", type=int, default=3)
    arguments = parser.parse_args()
    use_compilation_cache()
    benchmark(arguments.runs, "countries_s3", arguments.seeds)
    splits = {
        split: trained(arguments.runs, f"countries_s3@{split}", arguments.split_seeds)
        for split in range(1, arguments.splits + 1)
    }
    print(f"\n{splits_table(splits)}", flush=True)
    benchmark(arguments.runs, "countries_s3_clean", arguments.clean_seeds)


if __name__ == "__main__":
    main()
