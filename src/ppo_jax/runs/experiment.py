"""From a configuration to the objects of a run: environment, network, trainer, policy, evaluation."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ppo_jax import ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.devices.collectives import default_collectives
from ppo_jax.networks import make as networks
from ppo_jax.ops import normalization
from ppo_jax.proving import datasets, judge
from ppo_jax.proving import environment as proof
from ppo_jax.proving.candidates import Candidates, candidates
from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.proving.knowledge_base import KnowledgeBase
from ppo_jax.proving.networks import Background, ProofActions, ProofSuccessors
from ppo_jax.tasks import episodes
from ppo_jax.tasks import gymnax as gymnax_envs
from ppo_jax.tasks.wrappers import EpisodeStatistics
from ppo_jax.types import Environment, PPOJaxError

__all__ = [
    "Experiment",
    "PolicyParams",
    "build",
    "describe_data",
    "make_environment",
    "make_network",
    "policy_params",
]

PyTree = Any
PROOF_NETWORKS = {"proof_actions": ProofActions, "proof_successors": ProofSuccessors}
MAX_STEPS = 10_000  # of an evaluation episode in an environment that does not say how long one can last


class PolicyParams(NamedTuple):
    """What a trained policy needs: parameters and frozen statistics. This is what a checkpoint of a run holds."""

    params: PyTree
    observation_moments: PyTree
    value_moments: normalization.Moments
    reward_scale: jax.Array  # []


@dataclass(frozen=True, eq=False)
class Experiment:
    """A configuration made concrete."""

    config: Config
    env: Environment  # without episode statistics
    trainer: ppo.Trainer

    @property
    def is_proof(self) -> bool:
        return isinstance(self.env, ProofEnv)

    @property
    def dataset(self) -> Dataset | None:
        """The data of a proof task."""
        return self.env.dataset if isinstance(self.env, ProofEnv) else None

    def policy(self, params: PolicyParams, observation: PyTree) -> tuple[Any, jax.Array]:
        """Distribution and value in raw return units, for raw observations [n, ...]."""
        observation = normalization.normalize_observation(params.observation_moments, observation)
        start = jnp.zeros(len(jax.tree.leaves(observation)[0]), bool)
        distribution, value, _ = self.trainer.forward(params.params, observation, (), start)
        return distribution, normalization.denormalize(params.value_moments, value) * params.reward_scale

    def untrained(self, seed: int) -> PolicyParams:
        """A policy with fresh parameters."""
        return policy_params(self.trainer, self.initial_state(seed))

    def initial_state(self, seed: int) -> ppo.TrainState:
        """A training state with fresh parameters and environments."""
        return _init()(self.trainer, jax.random.key(seed), self.config.hyperparams)

    def shapes(self) -> tuple[ppo.TrainState, PolicyParams]:
        """Shapes of a training state and of what a policy needs of it; nothing is computed."""
        state = jax.eval_shape(_init(), self.trainer, jax.random.key(0), self.config.hyperparams)
        return state, jax.eval_shape(partial(policy_params, self.trainer), state)

    @cached_property
    def judge(self) -> judge.ProofJudge:
        """The judge of a proof task."""
        assert isinstance(self.env, ProofEnv)
        evaluation = self.config.evaluation
        facts = self.trainer.env_params
        beam = (evaluation.beam_width, evaluation.mask_end)
        return judge.ProofJudge(self.env, facts, self.policy, *beam)

    def variant(self, config: Config) -> Experiment:
        """The same experiment with another seed and other traced hyperparameters; what is compiled is shared."""
        other = Experiment(config, self.env, self.trainer)
        shared = ("policy", "judge", "_value_queries") if self.is_proof else ("policy", "_play")
        other.__dict__.update({name: getattr(self, name) for name in shared})
        return other

    def require_queries(self) -> None:
        """Raise `PPOJaxError` where a split that a proof task is judged on is empty."""
        for split in ("valid", "test"):
            if self.dataset and not len(self.dataset.queries[split]):
                raise PPOJaxError(f"data set {self.dataset.name!r} has no {split} queries; put some in {split}.txt")

    def candidates(self, split: str) -> Candidates:
        """The queries of a split with their corruptions, as the configuration asks."""
        assert isinstance(self.env, ProofEnv) and self.env.dataset is not None
        self.require_queries()
        evaluation = self.config.evaluation
        return candidates(self.env.dataset, split, self.env.corrupt, evaluation.n_corruptions, evaluation.n_queries)

    def evaluate(
        self, params: PolicyParams, split: str, protocols: Iterable[str] = ("greedy", "marginal")
    ) -> dict[str, Any]:
        """Judge a policy on ``"valid"`` or ``"test"``; for episodes the two differ in their random keys.

        Returns:
            For a proof task a summary for each of `protocols`, else one summary of episodes.
        """
        if self.is_proof:
            return {name: summary for name, (summary, _) in self.judge_proofs(params, split, protocols).items()}
        key = jax.random.fold_in(jax.random.key(self.config.run.seed), {"valid": 1, "test": 2}[split])
        return episodes.summarize(self._play(self.trainer.env_params, params, key))

    def judge_proofs(
        self, params: PolicyParams, split: str, protocols: Iterable[str] = ("greedy", "marginal")
    ) -> dict[str, tuple[dict[str, Any], Any]]:
        """Summary of a proof task on a split for each of `protocols`, and the `Attempts` or `MarginalProofs`."""
        judges: dict[str, Callable[..., Any]] = {"greedy": self.judge.greedy, "marginal": self.judge.marginal}
        queries = self.candidates(split)
        return {name: judges[name](params, queries) for name in protocols}

    def value_errors(self, params: PolicyParams) -> dict[str, float]:
        """`value_error_valid` and `value_error_train`: a critic that memorises does well on the second alone."""
        if not isinstance(self.env, ProofEnv) or self.env.dataset is None:
            return {}
        gamma, seed = self.config.ppo.gamma, self.config.run.seed
        error = partial(self.judge.value_error, params)
        return {f"value_error_{split}": error(self._value_queries[split], gamma, seed) for split in ("valid", "train")}

    @cached_property
    def _value_queries(self) -> dict[str, Candidates]:
        assert isinstance(self.env, ProofEnv) and self.env.dataset is not None
        return {
            split: candidates(self.env.dataset, split, self.env.corrupt, n_corruptions=20, n_queries=500)
            for split in ("valid", "train")
        }

    @cached_property
    def _play(self) -> Any:
        max_steps = getattr(self.env, "max_episode_length", None) or MAX_STEPS

        @jax.jit
        def play(env_params: PyTree, params: PolicyParams, key: jax.Array) -> episodes.EpisodeResults:
            return episodes.evaluate_episodes(
                self.env,
                env_params,
                lambda observation, _: self.policy(params, observation)[0].mode(),
                key,
                max_steps=max_steps,
                n_episodes=self.config.evaluation.eval_episodes,
            )

        return play


@cache
def _init() -> Any:
    # Runs once, and LLVM at a lower level compiles it a quarter faster, to the same bits.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None

    def init(trainer: ppo.Trainer, key: jax.Array, hyperparams: Hyperparams) -> ppo.TrainState:
        return ppo.init(trainer, key, hyperparams)

    return jax.jit(init, compiler_options=options)


def policy_params(trainer: ppo.Trainer, state: ppo.TrainState) -> PolicyParams:
    """Copy out of a training state what a policy needs (a copy: the state's buffers are donated)."""
    normalizers = state.normalizers
    scale = jnp.sqrt(normalizers.reward.var + 1e-8) if trainer.settings.normalize_rewards else jnp.ones(())
    return _copy(PolicyParams(state.learner.params, normalizers.observation, normalizers.value, scale))


@jax.jit
def _copy(tree: PolicyParams) -> PolicyParams:
    return jax.tree.map(jnp.copy, tree)


def build(config: Config, *, env: Environment | None = None, network: nn.Module | None = None) -> Experiment:
    """Environment, network and trainer of a configuration.

    Args:
        config: the configuration.
        env: an environment of your own, in place of the one that ``[task]`` names.
        network: a network of your own, in place of the one that ``[network]`` names.

    Raises:
        PPOJaxError: an unknown id, data that cannot be read, an import path that leads nowhere.
    """
    env = make_environment(config) if env is None else env
    network = make_network(config, env) if network is None else network
    trainer = ppo.Trainer(
        env=EpisodeStatistics(env),
        env_params=env.default_params,
        network=network,
        settings=config.settings,
        collectives=default_collectives(),
    )
    return Experiment(config, env, trainer)


def describe_data(name_or_folder: str, rules: str = "rules.txt") -> dict[str, Any]:
    """Counts of a data set, and how much of it can be proved within the default depth.

    Raises:
        PPOJaxError: the data cannot be read.
    """
    env = proof.make(name_or_folder, rules=rules)
    assert env.dataset is not None and env.default_params is not None
    return judge.data_summary(env, env.default_params) | datasets.describe(env.dataset)


def make_environment(config: Config) -> Environment:
    """The environment that ``[task]`` names."""
    task = config.task
    name = task.dataset or (task.env_id or "").removeprefix(gymnax_envs.PROOF_PREFIX)
    if task.dataset is not None or (task.env_id or "").startswith(gymnax_envs.PROOF_PREFIX):
        return proof.make(
            name,
            rules=task.rules,
            max_atoms=task.max_atoms,
            max_successors=task.max_successors,
            corrupt=task.corrupt,
            max_depth=task.max_depth,
            negative_ratio=task.negative_ratio,
            reward=task.reward,
            end_action=task.end_action,
            collapse_proved=task.collapse_proved,
            prune_visited=task.prune_visited,
            fact_dropout=task.fact_dropout,
            observe_successors=config.network.network != "proof_actions" and config.network.network != "auto",
        )
    if ":" in name:
        env = _imported(name, "task.env_id")()
        if isinstance(env, Environment):
            return env
        if not hasattr(env, "step_env"):
            raise PPOJaxError(f"task.env_id = {name!r}: neither a ppo_jax Environment nor one of gymnax's")
        return gymnax_envs.from_environment(env)
    return gymnax_envs.make(name)


def make_network(config: Config, env: Environment) -> nn.Module:
    """The network that ``[network]`` names, for `env`."""
    chosen = config.network
    common: dict[str, Any] = {
        "hidden_sizes": chosen.hidden_sizes,
        "activation": chosen.activation,
        "residual_layers": chosen.residual_layers,
        "separate_critic": chosen.separate_critic,
    }
    name = chosen.network
    if ":" in name:
        return networks.from_class(_imported(name, "network.network"), env.action_space, f"network.network = {name!r}")
    if name == "auto":
        name = "proof_actions" if isinstance(env, ProofEnv) else "mlp"
    memory: dict[str, Any] = {"core": getattr(chosen, "core", "none"), "core_size": getattr(chosen, "core_size", 64)}
    if isinstance(env, ProofEnv) and memory["core"] != "none":
        raise PPOJaxError(f"network.core = {memory['core']!r}: a proof network has no memory; use core = 'none'")
    if name in PROOF_NETWORKS and isinstance(env, ProofEnv):
        sizes = env.sizes
        return PROOF_NETWORKS[name](
            n_predicates=sizes.n_predicates,
            n_terms=sizes.n_terms,
            n_kinds=sizes.n_kinds,
            embedding_size=chosen.embedding_size,
            background=background_facts(env.dataset.kb) if chosen.fact_layers and env.dataset else None,
            fact_layers=chosen.fact_layers,
            **common,
        )
    if name in networks.NETWORKS and not isinstance(env, ProofEnv):
        return networks.make(name, env.action_space, **memory, **common)
    fitting = ", ".join(PROOF_NETWORKS if isinstance(env, ProofEnv) else networks.NETWORKS)
    raise PPOJaxError(
        f"network.network = {name!r} does not fit this task; use {fitting} or an import path module:Class"
    )


def background_facts(kb: KnowledgeBase) -> Background | None:
    """The facts of predicates that head no rule, both ways round, as edges; None where there are none."""
    facts = kb.facts[~np.isin(kb.facts[:, 0], [rule.head[0] for rule in kb.rules])]
    if len(facts) == 0:
        return None
    predicate, first, second = facts.T
    senders, receivers = np.concatenate([second, first]), np.concatenate([first, second])
    _, relations = np.unique(np.concatenate([2 * predicate, 2 * predicate + 1]), return_inverse=True)
    key = relations.astype(np.int64) * (len(kb.constants) + 1) + receivers
    _, group, counts = np.unique(key, return_inverse=True, return_counts=True)
    order = np.argsort(receivers, kind="stable")
    edges = [x[order].astype(np.int32) for x in (senders, receivers, relations)]
    return Background(
        digest=hashlib.sha256(b"".join(x.tobytes() for x in edges)).hexdigest(),
        n_relations=int(relations.max()) + 1,
        senders=edges[0],
        receivers=edges[1],
        relations=edges[2],
        weights=(1.0 / counts[group])[order].astype(np.float32),
    )


def _imported(path: str, place: str) -> Any:
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise PPOJaxError(f"{place} = {path!r}: expected an import path such as my_package.module:Name")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise PPOJaxError(f"{place} = {path!r}: cannot import {module_name}: {error}") from None
    except AttributeError:
        raise PPOJaxError(f"{place} = {path!r}: {module_name} has no {attribute}") from None
