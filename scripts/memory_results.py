"""Tasks that need a memory, learnt by a network with one and by one without: the numbers of docs/results.md.

    python scripts/memory_results.py [--seeds 5] [--cores gru none] [--tasks memory_chain velocities_hidden]

`memory_chain` is bsuite's MemoryChain with 10 steps between what is shown and what is asked; the best return is 1 and
a guess has 0. `velocities_hidden` is CartPole-v1 whose observation lacks the two velocities; the best return is 500.
The return of a seed is the mean over the evaluation's episodes, most likely actions, last parameters.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ppo_jax import ppo
from ppo_jax.config import Config, from_dict
from ppo_jax.runs.compiled_programs import use_compilation_cache
from ppo_jax.runs.experiment import build, policy_params
from ppo_jax.tasks import gymnax
from ppo_jax.tasks.wrappers import Wrapper
from ppo_jax.types import Environment, EnvStep

MEMORY_LENGTH = 10
POSITIONS = np.array([0, 2])  # of the cart and of the pole in CartPole's observation


@dataclass(frozen=True)
class VelocitiesHidden(Wrapper):
    """CartPole that shows positions alone."""

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        observation, state = self.env.reset(key, params)
        return observation[POSITIONS], state

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> EnvStep:
        step = self.env.step(key, state, action, params)
        info = step.info | {"final_observation": step.info["final_observation"][POSITIONS]}
        return step._replace(observation=step.observation[POSITIONS], info=info)


def memory_chain() -> tuple[Environment, Config]:
    """The environment, and settings that solve it with a memory."""
    environment = gymnax.make("MemoryChain-bsuite").environment
    env = gymnax.from_environment(environment, environment.default_params.replace(memory_length=MEMORY_LENGTH))
    settings = {"total_timesteps": 500_000, "n_envs": 64, "n_steps": 64, "batch_size": 1024, "ent_coef": 0.01}
    return env, from_dict(
        {
            "task": {"env_id": "MemoryChain-bsuite"},
            "ppo": settings | {"learning_rate": {"init": 1e-3, "final": 1e-4}},
            "network": {"hidden_sizes": [64]},
        }
    )


def velocities_hidden() -> tuple[Environment, Config]:
    """The environment, and settings that solve it with a memory."""
    # Returns of 500 steps vary too little for the critic to see, unless they are standardised.
    settings = {"total_timesteps": 1_000_000, "n_envs": 64, "n_steps": 64, "batch_size": 1024, "n_epochs": 8}
    return VelocitiesHidden(gymnax.make("CartPole-v1")), from_dict(
        {
            "task": {"env_id": "CartPole-v1"},
            "ppo": settings | {"learning_rate": {"init": 1e-3, "final": 0.0}, "normalize_values": True},
            "network": {"hidden_sizes": [64]},
        }
    )


TASKS = {"memory_chain": memory_chain, "velocities_hidden": velocities_hidden}


def measure(name: str, core: str, seeds: int) -> None:
    """Train each seed with one compiled program and print what it reached."""
    env, config = TASKS[name]()
    config = config.override({"core": None if core == "none" else core})
    experiment, settings = build(config, env=env), config.settings
    train = jax.jit(ppo.train).lower(experiment.trainer, jax.random.key(0), config.hyperparams).compile()
    returns, begin = [], time.perf_counter()
    for seed in range(seeds):
        state, _ = train(experiment.trainer, jax.random.key(seed), config.hyperparams)
        result = experiment.evaluate(policy_params(experiment.trainer, state), "test")
        returns.append(result["return_mean"])
        print(f"{name}, core {core}, seed {seed}: return {returns[-1]:.3f}", flush=True)
    speed = seeds * settings.n_updates * settings.rollout_size / (time.perf_counter() - begin)
    random = experiment.baselines()["random"]["return_mean"]
    print(
        f"{name}, core {core}: return {np.mean(returns):.3f} ± {np.std(returns):.3f} ({min(returns):.3f} to "
        f"{max(returns):.3f}) over {seeds} seeds, {settings.n_updates * settings.rollout_size:,} steps; random policy "
        f"{random:.3f}; {speed:,.0f} env-steps/s with evaluations",
        flush=True,
    )


def main() -> None:
    """Measure the tasks and networks asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cores", nargs="+", default=["gru", "none"], choices=["gru", "lstm", "none"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    arguments = parser.parse_args()
    use_compilation_cache()
    for name in arguments.tasks:
        for core in arguments.cores:
            measure(name, core, arguments.seeds)


if __name__ == "__main__":
    main()
