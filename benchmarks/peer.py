"""One trainer as a process that benchmarks/benchmark.py asks to train: each line on standard input is a turn.

    python benchmarks/peer.py TRAINER CASE

It prints ``{"ready": true}`` when everything is compiled, then ``{"steps": …, "seconds": …}`` a turn. It imports
the trainer that is asked for alone, so that it runs in an environment that holds no other.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

TURN_SECONDS = 1.5  # that a turn takes at least; a rollout more where one takes longer
N_STEPS, N_EPOCHS, N_MINIBATCHES = 128, 4, 4
CASES = {  # gymnax environment, environments
    "cartpole_4": ("CartPole-v1", 4),
    "cartpole_64": ("CartPole-v1", 64),
    "cartpole_1024": ("CartPole-v1", 1024),
    "breakout_64": ("Breakout-MinAtar", 64),
}


def ppo_jax(env_id: str, n_envs: int) -> Callable[[int], Any]:
    """This project, as `ppo-jax train` runs it."""
    import jax
    import jax.numpy as jnp

    from ppo_jax.config import from_dict
    from ppo_jax.devices import cpu, mesh
    from ppo_jax.runs.experiment import build
    from ppo_jax.runs.loop import compile_chunk

    ppo = {"n_envs": n_envs, "n_steps": N_STEPS, "n_epochs": N_EPOCHS, "batch_size": n_envs * N_STEPS // N_MINIBATCHES}
    ppo |= {"learning_rate": 3e-4, "ent_coef": 0.01, "total_timesteps": 10**9}
    config = from_dict({"task": {"env_id": env_id}, "ppo": ppo})
    cpu.prepare(config)
    config = mesh.resolve(config)
    experiment, placement = build(config), mesh.placement(config)
    carried = [placement.put(experiment.initial_state(0), 0)[0]]
    chunk = compile_chunk(experiment.trainer, carried[0], placement=placement)

    def train(n_updates: int) -> None:
        for left in range(n_updates, 0, -64):
            carried[0], _ = chunk(experiment.trainer, carried[0], jnp.int32(min(left, 64)))
        jax.block_until_ready(carried[0].step)

    return train


def rejax(env_id: str, n_envs: int) -> Callable[[int], Any]:
    """The JAX trainer nearest to this one."""
    import jax
    from rejax import PPO

    algorithm = PPO.create(
        env=env_id,
        agent_kwargs={"hidden_layer_sizes": (64, 64), "activation": "tanh"},
        **{"num_envs": n_envs, "num_steps": N_STEPS, "num_epochs": N_EPOCHS, "num_minibatches": N_MINIBATCHES},
        **{"learning_rate": 3e-4, "ent_coef": 0.01, "max_grad_norm": 0.5},
    )
    update = jax.jit(lambda state, n: jax.lax.fori_loop(0, n, lambda _, s: algorithm.train_iteration(s), state))
    carried = [algorithm.init_state(jax.random.key(0))]

    def train(n_updates: int) -> None:
        carried[0] = jax.block_until_ready(update(carried[0], n_updates))

    return train


def _stable_baselines(trainer: Any, env_id: str, n_envs: int, **policy: Any) -> Callable[[int], Any]:
    from stable_baselines3.common.env_util import make_vec_env

    model = trainer(
        "MlpPolicy",
        make_vec_env(env_id, n_envs),
        **{"n_steps": N_STEPS, "n_epochs": N_EPOCHS, "batch_size": n_envs * N_STEPS // N_MINIBATCHES},
        **{"learning_rate": 3e-4, "ent_coef": 0.01, "device": "cpu", "policy_kwargs": policy},
    )
    return lambda n_updates: model.learn(n_updates * n_envs * N_STEPS, reset_num_timesteps=False)


def sb3(env_id: str, n_envs: int) -> Callable[[int], Any]:
    """Stable-Baselines3, on environments of gymnasium."""
    import torch
    from stable_baselines3 import PPO

    return _stable_baselines(PPO, env_id, n_envs, net_arch=[64, 64], activation_fn=torch.nn.Tanh)


def sbx(env_id: str, n_envs: int) -> Callable[[int], Any]:
    """Stable-Baselines3 with its networks in JAX."""
    from flax import linen as nn
    from sbx import PPO

    return _stable_baselines(PPO, env_id, n_envs, net_arch=[64, 64], activation_fn=nn.tanh)


def main() -> None:
    """Train once to compile and once to see how long an update takes, then a turn for each line."""
    env_id, n_envs = CASES[sys.argv[2]]
    train = {"ppo_jax": ppo_jax, "rejax": rejax, "sb3": sb3, "sbx": sbx}[sys.argv[1]](env_id, n_envs)
    train(1)
    begin = time.perf_counter()
    train(1)
    n_updates = max(1, round(TURN_SECONDS / (time.perf_counter() - begin)))
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        train(n_updates)
        seconds = time.perf_counter() - begin
        print(json.dumps({"steps": n_updates * n_envs * N_STEPS, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
