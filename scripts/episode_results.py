"""Train an experiment of finite episodes over several seeds and print the final returns that docs/results.md reports.

    python scripts/episode_results.py cartpole --seeds 10

The return of a seed is the mean over the configured evaluation episodes, most likely actions, last parameters. Speed
is that of the training program alone, compilation apart.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from ppo_jax import ppo
from ppo_jax.config import load_config
from ppo_jax.runs.compiled_programs import use_compilation_cache
from ppo_jax.runs.experiment import build, policy_params


def main() -> None:
    """Train each seed with one compiled program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    use_compilation_cache()
    config = load_config(arguments.experiment)
    experiment, settings = build(config), config.settings
    begin = time.perf_counter()
    train = jax.jit(ppo.train).lower(experiment.trainer, jax.random.key(0), config.hyperparams).compile()
    print(f"{config.task.env_id}, {settings.n_updates * settings.rollout_size:,} steps, {settings.n_envs} environments")
    print(f"compiled in {time.perf_counter() - begin:.1f} s")
    returns, speeds = [], []
    for seed in range(arguments.seeds):
        begin = time.perf_counter()
        state, _ = jax.block_until_ready(train(experiment.trainer, jax.random.key(seed), config.hyperparams))
        speeds.append(settings.n_updates * settings.rollout_size / (time.perf_counter() - begin))
        result = experiment.evaluate(policy_params(experiment.trainer, state), "test")
        returns.append(result["return_mean"])
        print(f"seed {seed}: return {returns[-1]:.1f}, {speeds[-1]:,.0f} env-steps/s", flush=True)
    untrained = experiment.evaluate(experiment.untrained(0), "test")["return_mean"]
    print(
        f"return {np.mean(returns):.1f} ± {np.std(returns):.1f} ({min(returns):.1f} – {max(returns):.1f}) over "
        f"{len(returns)} seeds, untrained {untrained:.1f}; median {np.median(speeds):,.0f} env-steps/s"
    )


if __name__ == "__main__":
    main()
