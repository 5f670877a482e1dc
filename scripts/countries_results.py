"""Train the Countries experiments that docs/results.md reports, and print its tables.

    python scripts/countries_results.py [--runs runs/results] [--seeds 20] [--splits 10] …

Every data set is a sweep over seeds, one member after another; what is there is not repeated. Tables: the published
benchmark, the clean one (without locatedInCR(palestine,asia)), resampled splits by the same construction, and all of
them in answer mode.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from ppo_jax.config import load_config
from ppo_jax.proving import ranking
from ppo_jax.proving.answers.evaluation import AnswerEvaluator
from ppo_jax.proving.answers.task import AnswerTask
from ppo_jax.proving.open_queries import known_answers
from ppo_jax.runs import runner
from ppo_jax.runs.compiled_programs import use_compilation_cache
from ppo_jax.runs.experiment import Experiment, PolicyParams
from ppo_jax.sweeps import sweep
from ppo_jax.sweeps.plan import make_plan

EXPERIMENT = "countries_s3"
Summary = dict[str, Any]


ANSWERS = {"mode": "answer", "max_depth": 8, "max_atoms": None, "fact_layers": 0, "untrained_networks": 0}


def trained(runs: Path, name: str, seeds: int, settings: Mapping[str, Any] = MappingProxyType({})) -> list[Summary]:
    """Train what is missing of a data set, and return the summaries with their metrics under `history`."""
    plan = make_plan(load_config(EXPERIMENT, {"env_id": f"Proof-{name}", **settings}), seeds)
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


def splits_table(splits: dict[str, list[Summary]]) -> str:
    """One row a split: greedy proofs, and the marginal ranking beside the uniform policy."""
    rows = [
        "| split | greedy MRR | untrained | shortest | false proved | marginal MRR | uniform | AUC-PR | uniform |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    numbers = []
    for split, summaries in splits.items():
        baselines = summaries[0]["baselines"]
        test = [s["test"] for s in summaries]
        fixed = [baselines["untrained"]["greedy"]["mrr"], baselines["shortest_proof"]["greedy"]["mrr"]]
        uniform = baselines["uniform"]["marginal"]
        greedy, false, marginal, auc_pr = (
            [one[protocol][key] for one in test]
            for protocol, key in (
                ("greedy", "mrr"),
                ("greedy", "proved_negative"),
                ("marginal", "mrr"),
                ("marginal", "auc_pr"),
            )
        )
        rows.append(
            f"| {split} | {spread(greedy)} | {fixed[0]:.3f} | {fixed[1]:.3f} | {np.mean(false):.3f} "
            f"| {spread(marginal)} | {uniform['mrr']:.3f} | {spread(auc_pr)} | {uniform['auc_pr']:.3f} |"
        )
        means = [np.mean(x) for x in (greedy, false, marginal, auc_pr)]
        numbers.append([means[0], *fixed, *means[1:3], uniform["mrr"], means[3], uniform["auc_pr"]])
    return "\n".join([*rows, "| mean | " + " | ".join(f"{x:.3f}" for x in np.mean(numbers, axis=0)) + " |"])


def answers_table(runs: Path, splits: dict[str, int]) -> str:
    """One row a data set in answer mode: which region, among the five; beside the uniform policy."""
    rows = ["| split | MRR | uniform | AUC-PR | uniform |", "|---|---|---|---|---|"]
    numbers = []
    for name, seeds in splits.items():
        runs_of_name = runs / "answers"
        trained(runs_of_name, name, seeds, ANSWERS)
        judged = []
        for folder in sorted((runs_of_name / name / "members").iterdir()):
            sharpness = json.loads((folder / "summary.json").read_text())["test"]["answers"]["sharpness"]
            experiment, params = runner.load(folder)
            judged.append([*_regions(experiment, params, sharpness), *_regions(experiment, params, 0.0)])
        jax.clear_caches()
        mrr, auc_pr, uniform_mrr, uniform_auc_pr = (list(column) for column in zip(*judged, strict=True))
        rows.append(f"| {name} | {spread(mrr)} | {uniform_mrr[0]:.3f} | {spread(auc_pr)} | {uniform_auc_pr[0]:.3f} |")
        numbers.append([np.mean(mrr), uniform_mrr[0], np.mean(auc_pr), uniform_auc_pr[0]])
    return "\n".join([*rows, "| mean | " + " | ".join(f"{x:.3f}" for x in np.mean(numbers, axis=0)) + " |"])


def _regions(experiment: Experiment, params: PolicyParams, sharpness: float) -> tuple[float, float]:
    """MRR and AUC-PR of a policy's answers to the test queries, among the regions that are candidates."""
    task = experiment.task
    assert isinstance(task, AnswerTask)
    queries = task.queries("test")
    evaluator = AnswerEvaluator(task.env, task.env_params, experiment.config.evaluation.beam_width)
    found = [
        evaluator.probabilities(experiment.policy, params, chunk, sharpness=sharpness)
        for chunk in evaluator.chunks(queries)
    ]
    out = known_answers(task.dataset, "test").mask(queries)
    rows = np.arange(len(out))
    out[:, 0] = out[rows, queries.answer] = True
    scores = np.where(np.concatenate(found) > 0.0, np.concatenate(found), -np.inf)
    own = scores[rows, queries.answer][:, None]
    summary = ranking.summarize(np.hstack([own, scores]), np.hstack([np.ones_like(own, bool), ~out]), rows, auc_pr=True)
    return summary["mrr"], summary["auc_pr"]


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
    benchmark(arguments.runs, "countries_s3_clean", arguments.clean_seeds)
    names = [f"countries_s3@{split}" for split in range(1, arguments.splits + 1)]
    seeds = dict.fromkeys(names, arguments.split_seeds)
    every = {"countries_s3": arguments.seeds, "countries_s3_clean": arguments.clean_seeds, **seeds}
    print(f"\n{splits_table({name: trained(arguments.runs, name, n) for name, n in every.items()})}", flush=True)
    print(f"\n{answers_table(arguments.runs, dict.fromkeys(every, arguments.split_seeds))}", flush=True)


if __name__ == "__main__":
    main()
