"""How many resolvents a search looks at until it has proved an answer: trained policy, uniform policy, breadth first.

``python scripts/search_effort.py RUN [--queries N] [--beam W] [--last]`` asks the test queries of a run over a graph. A
search that goes on with the most probable derivation looks at those that are more probable than the best proof of the
answer; breadth first looks at all of each depth until it has gone through the one in which the answer is proved. Both
are counted in a beam so wide that it holds nearly all of them; what it could not hold makes the counts of the uniform
policy and of breadth first lower bounds.
"""

from __future__ import annotations

import argparse

import numpy as np

import ppo_jax
from ppo_jax.proving.answers.evaluation import AnswerEvaluator, open_atoms
from ppo_jax.proving.open_queries import OpenQueries, open_queries

BUDGETS = (10, 30, 100, 300, 1000)
RECALLS = (0.5, 0.8, 0.9, 0.95, 1.0)


def per_proof(efforts: np.ndarray, recall: float) -> float:
    """Resolvents looked at for each proof found, where every search ends at the budget that proves so large a share."""
    ordered = np.sort(efforts)
    found = int(np.ceil(recall * len(ordered)))
    return float(np.minimum(ordered, ordered[found - 1]).sum() / found)


def efforts(
    prover: ppo_jax.Prover, queries: OpenQueries, width: int, sharpness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Resolvents looked at until the answer is proved, best first and breadth first, [Q]; infinity where it is not."""
    task = prover.experiment.task
    evaluator = AnswerEvaluator(task.env, task.env_params, width)
    best_first, breadth_first = [], []
    for chunk in evaluator.chunks(queries):
        found = evaluator.answers(
            prover.experiment.policy, prover.params, open_atoms(chunk), sharpness, keep_trail=True
        )
        for i, answer in enumerate(chunk.answer):
            onward = found.onward.log_mass[:, i]
            proofs = np.where(found.proofs.answer[:, i] == answer, found.proofs.log_mass[:, i], -np.inf)
            proved = np.flatnonzero((proofs > -np.inf).any(axis=1))
            if len(proved) == 0:
                best_first.append(np.inf)
                breadth_first.append(np.inf)
                continue
            best_first.append(1 + (onward >= proofs.max()).sum())
            breadth_first.append(1 + (onward[: proved[0]] > -np.inf).sum())
    return np.array(best_first), np.array(breadth_first)


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
    trained, _ = efforts(prover, queries, arguments.beam, 1.0)
    uniform, breadth = efforts(prover, queries, arguments.beam, 0.0)
    rows = {"trained": trained, "uniform": uniform, "breadth first": breadth}
    every = np.all([np.isfinite(row) for row in rows.values()], axis=0)
    print(f"{len(trained)} queries; means and medians over the {every.sum()} that every search proves")
    print(f"{'search':<15}{'mean':>8}{'median':>8}   share proved within " + "".join(f"{b:>7}" for b in BUDGETS))
    for name, row in rows.items():
        shares = "".join(f"{(row <= budget).mean():>7.3f}" for budget in BUDGETS)
        print(f"{name:<15}{row[every].mean():>8.1f}{np.median(row[every]):>8.1f}   {'':<20}{shares}")
    print(f"\n{'looked at for each proof, where this share is proved':<54}" + "".join(f"{r:>8.2f}" for r in RECALLS))
    for name, row in rows.items():
        print(f"{name:<54}" + "".join(f"{per_proof(row[every], recall):>8.1f}" for recall in RECALLS))


if __name__ == "__main__":
    main()
