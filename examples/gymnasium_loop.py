"""A policy trained here plays in Gymnasium's CartPole, which is another program.

The policy is a pure function of one observation, so it is compiled once and called as any other function; Gymnasium
wants a Python integer, `int(action)`. Prints the return of five episodes, 500 at most, and the time of a step. Takes a
quarter of a minute on two CPU cores.
"""

import argparse
import time

import gymnasium
import jax

import ppo_jax
from ppo_jax import ppo

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=200_000, help="environment steps of training")

config = ppo_jax.load_config("cartpole", {"total_timesteps": parser.parse_args().steps})
experiment = ppo_jax.build(config)
state, _ = jax.jit(ppo.train)(experiment.trainer, jax.random.key(0), config.hyperparams)

# Of a run folder it is `ppo_jax.load_policy("runs/cartpole", deterministic=True)`.
policy = jax.jit(ppo_jax.Policy(experiment, experiment.trained(state), deterministic=True))

env = gymnasium.make("CartPole-v1")
observation, _ = env.reset(seed=0)
policy(observation)  # compiles
started, decisions = time.perf_counter(), 0
for episode in range(5):
    observation, _ = env.reset(seed=episode)
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(int(policy(observation)))
        total, over, decisions = total + float(reward), terminated or truncated, decisions + 1
    print(f"episode {episode}: return {total:.0f}")
print(f"{1e6 * (time.perf_counter() - started) / decisions:.0f} microseconds a step, Gymnasium's included")
