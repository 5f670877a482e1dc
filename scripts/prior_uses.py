"""Train with and without each use of an embedding prior, and print what benchmarks/log.md reports: valid alone.

    python scripts/prior_uses.py family --seeds 3 --set dataset=PATH/family prior=family.npz

For each seed, of the last parameters: MRR on valid, and the share of training episodes that found the hidden answer, in
the last three updates and in all. That share is the mean return without what shaping adds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np

from ppo_jax import ppo
from ppo_jax.config import load_config
from ppo_jax.proving.results import ANSWERS
from ppo_jax.runs.experiment import build, policy_params
from ppo_jax.runs.runner import use_compilation_cache

SHAPED, FROM_PRIOR, NAMED = {"shaping": 1.0}, {"initial_embeddings": "prior"}, {"constants": True}
USES = {
    "none": {},
    "shaping": SHAPED,
    "shaping-3": {"shaping": 3.0},
    "embeddings": FROM_PRIOR,
    "constants": NAMED,
    "constants-embeddings": NAMED | FROM_PRIOR,
    "constants-both": NAMED | FROM_PRIOR | SHAPED,
}


def main() -> None:
    """Train each seed of each use."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--uses", nargs="+", default=list(USES), choices=list(USES))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    use_compilation_cache()
    for name in arguments.uses:
        config = load_config(arguments.experiment, arguments.set).override(USES[name])
        experiment = build(config)
        train = jax.jit(ppo.train)
        found = []
        for seed in range(arguments.seeds):
            state, metrics = train(experiment.trainer, jax.random.key(seed), config.hyperparams)
            right = np.asarray(metrics["answered_right"])
            result = experiment.evaluate(policy_params(experiment.trainer, state), "valid")[ANSWERS]
            found.append([result["mrr"], right[-3:].mean(), right.mean()])
            print(f"{name}, seed {seed}: " + " ".join(f"{x:.4f}" for x in found[-1]), flush=True)
        means, spreads = np.mean(found, axis=0), np.std(found, axis=0)
        numbers = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(means, spreads, strict=True)]
        print(f"{name}: valid MRR {numbers[0]}, right in the last three updates {numbers[1]}, in all {numbers[2]}")


if __name__ == "__main__":
    main()
