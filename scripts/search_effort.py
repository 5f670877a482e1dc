"""How many resolvents a search looks at until it has proved an answer: trained policy, uniform policy, breadth first.

``python scripts/search_effort.py RUN [--queries N] [--beam W] [--last]`` asks the test queries of a run over a graph.
Best first, a search goes on where the probability of the derivation so far is largest. With the critic it goes on where
that times the critic's value is: the value estimates how probable a proof is from there, and the product the
probability of the proofs that lie beyond. Breadth first looks at all of each depth until it has gone through the one in
which the answer is proved. All are counted in a beam so wide that it holds nearly all derivations; what it could not
hold makes the counts of the uniform policy and of breadth first lower bounds.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

import ppo_jax
from ppo_jax.proving.answers.evaluation import AnswerEvaluator, open_atoms
from ppo_jax.proving.answers.search import Answers
from ppo_jax.proving.open_queries import OpenQueries, open_queries

BUDGETS = (10, 30, 100, 300, 1000)
RECALLS = (0.5, 0.8, 0.9, 0.95, 1.0)
SEARCHES = ("trained, with the critic", "trained", "uniform", "breadth first")
LEAST_VALUE = 1e-3  # what a critic's value counts for at least


def per_proof(efforts: np.ndarray, recall: float) -> float:
    """Resolvents looked at for each proof found, where every search ends at the budget that proves so large a share."""
    ordered = np.sort(efforts)
    found = int(np.ceil(recall * len(ordered)))
    return float(np.minimum(ordered, ordered[found - 1]).sum() / found)


def best_first(found: Answers, i: int, answer: int, critic: bool) -> float:
    """Resolvents that query `i` looks at before its `answer` is proved; infinity where it is not.

    A search comes to a place when nothing better is open, that is, in the order of the least priority on the way there.
    """
    onward, proofs, values = found.onward, found.proofs, found.value
    assert onward is not None and proofs is not None and values is not None
    worst = np.where(np.arange(onward.log_mass.shape[2]) == 0, np.inf, -np.inf)  # on the way to each place of the beam
    looked_at, best = [], -np.inf
    for step, parent in enumerate(onward.parent[:, i]):
        proved = np.where(proofs.answer[step, i] == answer, proofs.log_mass[step, i], -np.inf)
        best = max(best, np.minimum(proved, worst[proofs.parent[step, i]]).max())
        priority = onward.log_mass[step, i]
        if critic and step + 1 < len(values):
            priority = priority + np.log(np.clip(values[step + 1, i], LEAST_VALUE, 1.0))
        worst = np.minimum(priority, worst[parent])
        looked_at.append(worst)
    return np.inf if best == -np.inf else 1 + float((np.array(looked_at[:-1]) >= best).sum())


def breadth_first(found: Answers, i: int, answer: int) -> float:
    """The same, where every depth is gone through."""
    assert found.onward is not None and found.proofs is not None
    mass = np.where(found.proofs.answer[:, i] == answer, found.proofs.log_mass[:, i], -np.inf)
    proved = np.flatnonzero((mass > -np.inf).any(axis=1))
    return 1 + float((found.onward.log_mass[: proved[0], i] > -np.inf).sum()) if len(proved) else np.inf


def efforts(prover: ppo_jax.Prover, queries: OpenQueries, width: int) -> dict[str, np.ndarray]:
    """Resolvents looked at until the answer is proved, [Q], for each kind of search."""
    task = prover.experiment.task
    evaluator = AnswerEvaluator(task.env, task.env_params, width)
    counts: dict[str, list[float]] = {name: [] for name in SEARCHES}
    for chunk in evaluator.chunks(queries):
        ask = partial(evaluator.answers, prover.experiment.policy, prover.params, open_atoms(chunk), keep_trail=True)
        trained, uniform = ask(sharpness=1.0), ask(sharpness=0.0)
        for i, answer in enumerate(chunk.answer):
            counts["trained, with the critic"].append(best_first(trained, i, answer, critic=True))
            counts["trained"].append(best_first(trained, i, answer, critic=False))
            counts["uniform"].append(best_first(uniform, i, answer, critic=False))
            counts["breadth first"].append(breadth_first(uniform, i, answer))
    return {name: np.array(row) for name, row in counts.items()}


def main() -> None:
    """Ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--queries", type=int, default=100, help="triples of test, each asked from both sides")
    parser.add_argument("--beam", type=int, default=1024)
    parser.add_argument("--last", action="store_true", help="the last parameters in place of those best on valid")
    arguments = parser.parse_args()
    prover = ppo_jax.load_prover(arguments.run, "last" if arguments.last else "best")
    queries = open_queries(prover.experiment.task.dataset, "test", arguments.queries)
    rows = efforts(prover, queries, arguments.beam)
    every = np.all([np.isfinite(row) for row in rows.values()], axis=0)
    print(f"{len(every)} queries; means and medians over the {every.sum()} that every search proves")
    print(f"{'search':<25}{'mean':>8}{'median':>8}   share proved within " + "".join(f"{b:>7}" for b in BUDGETS))
    for name, row in rows.items():
        shares = "".join(f"{(row <= budget).mean():>7.3f}" for budget in BUDGETS)
        print(f"{name:<25}{row[every].mean():>8.1f}{np.median(row[every]):>8.1f}   {'':<20}{shares}")
    print(f"\n{'looked at for each proof, where this share is proved':<54}" + "".join(f"{r:>8.2f}" for r in RECALLS))
    for name, row in rows.items():
        print(f"{name:<54}" + "".join(f"{per_proof(row[every], recall):>8.1f}" for recall in RECALLS))


if __name__ == "__main__":
    main()
