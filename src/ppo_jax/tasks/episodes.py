"""The episode task: a policy is judged by its return over whole episodes, one parallel environment an episode.

Each environment contributes its *first* episode only. Counting every episode that ends within a number of steps
would favour short ones; here the same happens only to episodes still running after ``max_steps``, which do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ppo_jax.config.schema import NetworkConfig
from ppo_jax.config.suggestions import POLICIES
from ppo_jax.networks.check import check_network
from ppo_jax.networks.make import NETWORKS, make
from ppo_jax.ops.distributions import from_outputs
from ppo_jax.results import Judged, Played, Results
from ppo_jax.tasks.episode_results import EpisodeTaskResults
from ppo_jax.tasks.task import Policy
from ppo_jax.tasks.wrappers import unwrap
from ppo_jax.types import ActionSpace, Box, Environment, PPOJaxError, PyTree

__all__ = ["Episode", "EpisodeResults", "EpisodeTask", "evaluate_episodes", "play", "random_actions", "summarize"]

MAX_STEPS = 10_000  # of an evaluation episode in an environment that does not say how long one can last
SPLITS = {"valid": 1, "test": 2}  # folded into the key of an evaluation: the splits differ in their random keys alone
BASELINE_SEED = 0  # a baseline belongs to the task: it is the same whatever the seed of a run


@dataclass(frozen=True, eq=False)
class EpisodeTask:
    """Reaching a high return in an environment; satisfies `ppo_jax.tasks.task.Task`."""

    env: Environment
    n_episodes: int  # of an evaluation
    env_id: str
    sample_actions: bool = False  # as in training; otherwise the most likely ones

    takes_memory: ClassVar[bool] = True
    results: ClassVar[Results] = EpisodeTaskResults()
    warnings: ClassVar[tuple[str, ...]] = ()
    sha256: ClassVar[str | None] = None
    prior_sha256: ClassVar[str | None] = None
    action_meaning: ClassVar[str | None] = None

    @property
    def env_params(self) -> PyTree:
        """The environment's own."""
        return self.env.default_params

    def default_network(self, config: NetworkConfig) -> nn.Module:
        """An MLP, or a CNN for images; with a memory where the configuration asks for a core.

        Raises:
            PPOJaxError: the name is of another network, or a CNN is to see what is no image.
        """
        name = "mlp" if config.network == "auto" else config.network
        if name not in NETWORKS:
            use = f"use {', '.join(NETWORKS)} or an import path module:Class"
            raise PPOJaxError(
                f"network.network = {name!r} does not fit this task; {POLICIES if name.endswith('Policy') else use}"
            )
        network = make(
            name,
            self.env.action_space,
            core=config.core,
            core_size=config.core_size,
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            residual_layers=config.residual_layers,
            separate_critic=config.separate_critic,
            log_std_init=config.log_std_init,
            state_dependent_std=config.state_dependent_std,
            dtype=config.dtype,
        )
        if name == "cnn":
            check_network(network, self.env, self.env_params)
        return network

    def check(self) -> None:
        """Nothing can be missing."""

    def evaluate(
        self, policy: Policy, params: PyTree, split: str, *, seed: int, protocols: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Summary of whole episodes with the policy's actions; there is one protocol."""
        key = _evaluation_key(seed, split)
        played = _evaluate(self.env, policy, self.n_episodes, self.sample_actions, self.env_params, params, key)
        return summarize(played)

    def value_errors(self, policy: Policy, params: PyTree, *, gamma: float, seed: int) -> dict[str, float]:
        """None are measured."""
        return {}

    def test(self, policy: Policy, params: PyTree, *, seed: int) -> Judged:
        """The result on test; no files."""
        return Judged(self.evaluate(policy, params, "test", seed=seed), files={})

    def data_summary(self) -> dict[str, Any]:
        """There are no data."""
        return {}

    def baselines(self, policy: Policy, untrained: Callable[[int], PyTree]) -> dict[str, Any]:
        """A random policy, on as many episodes as any other."""
        key = _evaluation_key(BASELINE_SEED, "test")
        return {"random": summarize(_evaluate_random(self.env, self.n_episodes, self.env_params, key))}

    def play(self, policy: Policy, params: PyTree, *, seed: int, n: int, max_steps: int) -> Played:
        """`n` episodes of at most `max_steps` steps, as a GIF.

        Raises:
            PPOJaxError: the environment cannot be drawn, or a library for it is missing.
        """
        from ppo_jax.tasks import drawing  # only here: pictures need libraries that nothing else does

        env = drawing.drawable(self.env, self.env_id)
        episodes = play(env, policy, params, seed, n, max_steps, sample_actions=self.sample_actions)
        record = [
            {"return": float(e.rewards.sum()), "length": len(e.rewards), "finished": e.finished} for e in episodes
        ]
        drawn = [(unwrap(env, e.states)[1], e.rewards) for e in episodes]
        return Played({"episodes": record}, drawing.animate(unwrap(env, [])[0], drawn))


def _evaluation_key(seed: int, split: str) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), SPLITS[split])


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _evaluate(
    env: Environment,
    policy: Policy,
    n_episodes: int,
    sample_actions: bool,
    env_params: PyTree,
    params: PyTree,
    key: jax.Array,
) -> EpisodeResults:
    def act(observation: PyTree, carry: PyTree, start: jax.Array, key: jax.Array) -> tuple[jax.Array, PyTree]:
        distribution, _, carry = policy(params, observation, carry, start)
        return distribution.sample(key) if sample_actions else distribution.mode(), carry

    return evaluate_episodes(
        env,
        env_params,
        act,
        key,
        carry=policy.initial_carry(n_episodes),
        max_steps=_step_limit(env),
        n_episodes=n_episodes,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate_random(env: Environment, n_episodes: int, env_params: PyTree, key: jax.Array) -> EpisodeResults:
    def act(observation: PyTree, carry: PyTree, start: jax.Array, key: jax.Array) -> tuple[jax.Array, PyTree]:
        return random_actions(env.action_space, observation, key), carry

    return evaluate_episodes(env, env_params, act, key, max_steps=_step_limit(env), n_episodes=n_episodes)


def _step_limit(env: Environment) -> int:
    return getattr(env, "max_episode_length", None) or MAX_STEPS


def random_actions(space: ActionSpace, observation: PyTree, key: jax.Array) -> jax.Array:
    """Actions of a policy that knows nothing.

    Args:
        space: of the actions.
        observation: [n, ...]; where the actions are choices it may hold ``action_mask`` [n, space.n_outputs].
        key: draws the actions.

    Returns:
        [n, ...] int32, uniform over the actions that are valid; or [n, size] float32, where each number is uniform
        between its bounds, or of the standard normal clipped to them where one is infinite. Squashed actions are
        uniform once they are squashed.
    """
    n = jax.tree.leaves(observation)[0].shape[0]
    if not isinstance(space, Box):
        mask = observation.get("action_mask") if isinstance(observation, dict) else None
        return from_outputs(space, jnp.zeros((n, space.n_outputs)), mask).sample(key)
    low, high = np.array(space.low, np.float32), np.array(space.high, np.float32)
    bounded = np.isfinite(low) & np.isfinite(high)
    key_uniform, key_normal = jax.random.split(key)
    share = jax.random.uniform(key_uniform, (n, space.size))
    if space.squashed:
        return jnp.arctanh(jnp.clip(2.0 * share - 1.0, -0.999999, 0.999999))
    uniform = np.where(bounded, low, 0.0)[None] + share * np.where(bounded, high - low, 0.0)[None]
    normal = jnp.clip(jax.random.normal(key_normal, (n, space.size)), low[None], high[None])
    return jnp.where(bounded[None], uniform, normal)


class EpisodeResults(NamedTuple):
    """One episode of each of N environments."""

    returns: jax.Array  # [N] float32, undiscounted; of the steps so far where not finished
    lengths: jax.Array  # [N] int32; the steps so far where not finished
    finished: jax.Array  # [N] bool


class _Progress(NamedTuple):
    key: jax.Array
    observation: PyTree  # [N, ...]
    carry: PyTree  # [N, ...] the policy's memory
    state: PyTree  # [N, ...]
    results: EpisodeResults
    step: jax.Array  # [] int32


def evaluate_episodes(
    env: Environment,
    params: PyTree,
    act: Callable[[PyTree, PyTree, jax.Array, jax.Array], tuple[jax.Array, PyTree]],
    key: jax.Array,
    *,
    carry: PyTree = (),
    max_steps: int,
    n_episodes: int = 128,
) -> EpisodeResults:
    """Play one episode in each of ``n_episodes`` environments. Pure: it may be jitted and vmapped.

    Args:
        env: the environment, unbatched.
        params: its parameters, shared by all episodes.
        act: ``(observations [N, ...], carry [N, ...], start [N], key) -> (actions [N, ...], carry)``; `start` is true
            at the first step.
        key: determines resets, transitions and the policy's choices.
        carry: [N, ...] memory at the beginning; () without.
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
        start = jnp.broadcast_to(progress.step == 0, (n_episodes,))
        actions, carry = act(progress.observation, progress.carry, start, key_policy)
        step = step_all(jax.random.split(key_env, n_episodes), progress.state, actions, params)
        returns, lengths, finished = progress.results
        results = EpisodeResults(
            returns=jnp.where(finished, returns, returns + step.reward),
            lengths=jnp.where(finished, lengths, lengths + 1),
            finished=finished | step.terminated | step.truncated,
        )
        return _Progress(key, step.observation, carry, step.state, results, progress.step + 1)

    nothing_yet = EpisodeResults(
        returns=jnp.zeros(n_episodes, jnp.float32),
        lengths=jnp.zeros(n_episodes, jnp.int32),
        finished=jnp.zeros(n_episodes, bool),
    )
    beginning = _Progress(key_steps, observation, carry, state, nothing_yet, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(running, advance, beginning).results


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


class Episode(NamedTuple):
    """One episode of T steps."""

    states: list[PyTree]  # T states acted in, of NumPy arrays
    rewards: np.ndarray  # [T] float32
    finished: bool  # it ended within the steps allowed


def play(
    env: Environment,
    policy: Policy,
    params: PyTree,
    seed: int,
    n_episodes: int,
    max_steps: int,
    *,
    sample_actions: bool = False,
) -> list[Episode]:
    """Play episodes of at most `max_steps` steps, each from a random key of its own.

    Actions are the most likely ones, or drawn with `sample_actions`.
    """
    episodes = []
    for key in jax.random.split(jax.random.key(seed), n_episodes):
        states, rewards, done = jax.device_get(
            _play(env, policy, max_steps, sample_actions, env.default_params, params, key)
        )
        length = int(np.argmax(done)) + 1 if done.any() else max_steps
        states = [jax.tree.map(lambda x, t=t: x[t], states) for t in range(length)]
        episodes.append(Episode(states, rewards[:length], bool(done.any())))
    return episodes


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _play(
    env: Environment,
    policy: Policy,
    max_steps: int,
    sample_actions: bool,
    env_params: PyTree,
    params: PyTree,
    key: jax.Array,
) -> tuple[PyTree, jax.Array, jax.Array]:
    """States before each of `max_steps` steps, rewards and whether an episode ended there, [max_steps, ...] each."""

    def step(now: tuple[Any, ...], key: jax.Array) -> tuple[tuple[Any, ...], Any]:
        observation, state, carry, start = now
        key_action, key_env = jax.random.split(key)
        batch = jax.tree.map(lambda x: x[None], observation)
        distribution, _, carry = policy(params, batch, carry, start[None])
        action = distribution.sample(key_action) if sample_actions else distribution.mode()
        taken = env.step(key_env, state, action[0], env_params)
        done = taken.terminated | taken.truncated
        return (taken.observation, taken.state, carry, done), (state, taken.reward, done)

    key_reset, key_steps = jax.random.split(key)
    beginning = (*env.reset(key_reset, env_params), policy.initial_carry(1), jnp.array(True))
    keys = jax.random.split(key_steps, max_steps)
    played: tuple[PyTree, jax.Array, jax.Array] = jax.lax.scan(step, beginning, keys)[1]
    return played
