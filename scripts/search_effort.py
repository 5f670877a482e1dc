"""How many resolvents a search looks at for each answer that it proves: trained policy, uniform policy, breadth first.

``python scripts/search_effort.py RUN [--queries N]`` asks the test queries of a run over a knowledge graph with ever
wider beams. A row of the table says which share of the answers was proved, and how many resolvents were looked at for
each of them. Breadth first looks at every resolvent of each depth until it has gone through the one in which the answer
is proved.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

import ppo_jax
from ppo_jax.proving.answers.evaluation import AnswerEvaluator, open_atoms
from ppo_jax.proving.open_queries import OpenQueries, open_queries

BEAMS = (1, 2, 4, 8, 16, 32, 64)
EVERYTHING = 4096  # resolvents of a depth that breadth first can hold for a query


def beam(prover: ppo_jax.Prover, queries: OpenQueries, width: int, sharpness: float) -> tuple[float, float]:
    """Share of the answers that are proved, and resolvents looked at for each."""
    task = prover.experiment.task
    evaluator = AnswerEvaluator(task.env, task.env_params, width)
    ask = partial(evaluator.answers, prover.experiment.policy, prover.params, sharpness=sharpness)
    proved, looked_at = 0, 0
    for chunk in evaluator.chunks(queries):
        found = ask(open_atoms(chunk))
        proved += int((found.probability[np.arange(len(chunk.answer)), chunk.answer] > 0.0).sum())
        looked_at += int(found.looked_at.sum())
    return proved / len(queries.known), looked_at / max(proved, 1)


def breadth_first(prover: ppo_jax.Prover, queries: OpenQueries) -> tuple[float, float, float]:
    """As `beam`, and the share of queries at whose depth there was more than could be held: a lower bound for them."""
    task = prover.experiment.task
    evaluator = AnswerEvaluator(task.env, task.env_params, EVERYTHING)
    proved, looked_at, cut = 0, 0, 0
    for chunk in evaluator.chunks(queries):
        found = evaluator.answers(
            prover.experiment.policy, prover.params, open_atoms(chunk), sharpness=0.0, keep_trail=True
        )
        at_depth = (found.onward.log_mass > -np.inf).sum(axis=2)  # [D, n] resolvents that go on after each step
        for i, answer in enumerate(chunk.answer):
            depths = np.flatnonzero((found.proofs.answer[:, i] == answer).any(axis=1))
            last = depths[0] if len(depths) else len(at_depth) - 1
            proved += len(depths) > 0
            looked_at += 1 + int(at_depth[:last, i].sum())
            cut += bool((at_depth[:last, i] >= EVERYTHING).any())
    return proved / len(queries.known), looked_at / max(proved, 1), cut / len(queries.known)


def main() -> None:
    """Ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--queries", type=int, default=100, help="triples of test, each asked from both sides")
    arguments = parser.parse_args()
    prover = ppo_jax.load_prover(arguments.run)
    queries = open_queries(prover.experiment.task.dataset, "test", arguments.queries)
    print(f"{'search':<24}{'proved':>8}{'looked at':>12}   resolvents for each answer proved")
    for name, sharpness in (("trained", 1.0), ("uniform", 0.0)):
        for width in BEAMS:
            proved, looked_at = beam(prover, queries, width, sharpness)
            print(f"{name + ', beam ' + str(width):<24}{proved:>8.3f}{looked_at:>12.1f}", flush=True)
    proved, looked_at, cut = breadth_first(prover, queries)
    note = f"   at least: {cut:.0%} of the queries had more than {EVERYTHING} at a depth" if cut else ""
    print(f"{'breadth first':<24}{proved:>8.3f}{looked_at:>12.1f}{note}")


if __name__ == "__main__":
    main()
