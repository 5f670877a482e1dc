"""A sweep as a notebook has it: 32 seeds of four learning rates, 128 runs of CartPole in one call, and a plot.

Hyperparameters are traced, so `jax.vmap` over `ppo.train` is the whole sweep and one program. Prints the interquartile
mean over the seeds of the last ten updates, and writes `sweep.png`. Takes a minute on two CPU cores.
"""

import argparse

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import trim_mean

import ppo_jax
from ppo_jax import ppo

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=30_000, help="environment steps of a run")
parser.add_argument("--seeds", type=int, default=32)
parser.add_argument("--plot", default="sweep.png", metavar="FILE")
args = parser.parse_args()

config = ppo_jax.load_config("cartpole", {"total_timesteps": args.steps})
trainer, hp = ppo_jax.build(config).trainer, config.hyperparams
rates = jnp.array([3e-4, 1e-3, 3e-3, 1e-2])
keys = jax.random.split(jax.random.key(0), args.seeds)


def train(rate, key):
    """The learning curve of a run [updates]."""
    return ppo.train(trainer, key, hp._replace(learning_rate=rate))[1]["episode_return_mean"]


returns = np.asarray(jax.jit(jax.vmap(jax.vmap(train, (None, 0)), (0, None)))(rates, keys))  # [rates, seeds, updates]
# A rollout in which no episode ended has no return, NaN: the one before it stands in.
known = np.maximum.accumulate(np.where(np.isnan(returns), 0, np.arange(returns.shape[-1])), axis=-1)
returns = np.take_along_axis(returns, known, axis=-1)

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
steps = np.arange(1, returns.shape[-1] + 1) * config.settings.rollout_size
for rate, runs in zip(rates, returns, strict=True):
    axes.plot(steps, trim_mean(runs, 0.25, axis=0), label=f"{rate:g}")
    axes.fill_between(steps, *np.quantile(runs, [0.25, 0.75], axis=0), alpha=0.2)
    print(f"learning rate {rate:g}: return {trim_mean(runs[:, -10:].mean(1), 0.25):.0f}")
axes.set(xlabel="environment steps", ylabel="return of an episode", title="CartPole-v1")
axes.legend(title="learning rate", frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(args.plot, dpi=120)
