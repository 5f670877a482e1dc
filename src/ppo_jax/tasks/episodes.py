"""Returns of whole episodes under a fixed policy: one parallel environment an episode, no auto-reset bias.

Each environment contributes its *first* episode only. Counting every episode that ends within a number of steps
would favour short ones; here the same happens only to episodes still running after ``max_steps``, which do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.types import Environment, PyTree

__all__ = ["EpisodeResults", "evaluate_episodes", "summarize"]


class EpisodeResults(NamedTuple):
    """One episode of each of N environments."""

    returns: jax.Array  # [N] float32, undiscounted; of the steps so far where not finished
    lengths: jax.Array  # [N] int32; the steps so far where not finished
    finished: jax.Array  # [N] bool


class _Progress(NamedTuple):
    key: jax.Array
    observation: PyTree  # [N, ...]
    state: PyTree  # [N, ...]
    results: EpisodeResults
    step: jax.Array  # [] int32


def evaluate_episodes(
    env: Environment,
    params: PyTree,
    policy: Callable[[PyTree, jax.Array], jax.Array],
    key: jax.Array,
    *,
    max_steps: int,
    n_episodes: int = 128,
) -> EpisodeResults:
    """Play one episode in each of ``n_episodes`` environments. Pure: it may be jitted and vmapped.

    Args:
        env: the environment, unbatched.
        params: its parameters, shared by all episodes.
        policy: ``(observations [N, ...], key) -> actions [N, ...]``; the network's mode ignores the key.
        key: determines resets, transitions and the policy's choices.
        max_steps: steps after which the episodes still running are given up. Every gymnax id ends by itself within its
            ``max_episode_length``; an environment that never ends yields no finished episode at all.
        n_episodes: N, the episodes played in parallel.

    Returns:
        Returns (sum of raw rewards), lengths and whether the episode finished, each [N].
    """
    key_reset, key_steps = jax.random.split(key)
    observation, state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key_reset, n_episodes), params)
    step_all = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    def running(progress: _Progress) -> jax.Array:
        return (progress.step < max_steps) & ~progress.results.finished.all()

    def advance(progress: _Progress) -> _Progress:
        key, key_policy, key_env = jax.random.split(progress.key, 3)
        actions = policy(progress.observation, key_policy)
        step = step_all(jax.random.split(key_env, n_episodes), progress.state, actions, params)
        returns, lengths, finished = progress.results
        results = EpisodeResults(
            returns=jnp.where(finished, returns, returns + step.reward),
            lengths=jnp.where(finished, lengths, lengths + 1),
            finished=finished | step.terminated | step.truncated,
        )
        return _Progress(key, step.observation, step.state, results, progress.step + 1)

    nothing_yet = EpisodeResults(
        returns=jnp.zeros(n_episodes, jnp.float32),
        lengths=jnp.zeros(n_episodes, jnp.int32),
        finished=jnp.zeros(n_episodes, bool),
    )
    start = _Progress(key_steps, observation, state, nothing_yet, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(running, advance, start).results


def summarize(results: EpisodeResults) -> dict[str, Any]:
    """Average over the finished episodes, on the host.

    Returns:
        ``return_mean``, ``return_std`` (of the population, as NumPy's), ``length_mean`` (steps) and ``episodes``, the
        number of finished ones. The first three are None, not zero, where no episode finished.
    """
    finished = np.asarray(results.finished)
    if not finished.any():
        return {"return_mean": None, "return_std": None, "length_mean": None, "episodes": 0}
    returns = np.asarray(results.returns, np.float64)[finished]
    lengths = np.asarray(results.lengths)[finished]
    return {
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "length_mean": float(lengths.mean()),
        "episodes": int(finished.sum()),
    }
