"""Every number of one rollout and one update against Stable-Baselines3's own, written by scripts/golden_sb3.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import ppo
from ppo_jax.config import Hyperparams, Settings
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.ops.metrics import rollout_metrics
from ppo_jax.ops.normalization import standardize
from ppo_jax.ops.optimizer import set_hyperparams
from ppo_jax.ops.schedules import constant
from ppo_jax.ops.sequences import flatten, to_sequences
from ppo_jax.types import Box, Discrete, Transition
from tests.toys import given_order

KEY = jax.random.key(0)
GOLDEN = sorted(Path(__file__).with_name("golden").glob("sb3_*.npz"))
# A module of ours to the module of the other side, with an actor and a critic of their own or a shared trunk.
SEPARATE = {
    "actor/Dense_0": "mlp_extractor.policy_net.0",
    "critic/Dense_0": "mlp_extractor.value_net.0",
    "actor_head": "action_net",
    "critic_head": "value_net",
}
SHARED = {"actor/Dense_0": "features_extractor.layers.0", "actor_head": "action_net", "critic_head": "value_net"}


class Case(NamedTuple):
    name: str
    golden: dict[str, np.ndarray]
    trainer: ppo.Trainer
    hyperparams: Hyperparams
    scheduled: dict[str, float]
    before: Any  # parameters of the rollout
    after: Any  # parameters after the update
    transitions: Transition
    last_value: jax.Array  # [B]

    @property
    def applied(self) -> int:
        return len(self.golden["grad_norm"])

    @property
    def batch(self) -> ppo.Batch:
        """The rollout as Stable-Baselines3 kept it, so that errors of GAE and of the loss do not mix."""
        g = self.golden
        actions = self.transitions.action
        batch = ppo.Batch(
            observation=g["observations"],
            action=actions,
            log_prob=g["log_probs"],
            value=g["values"],
            advantages=g["advantages"],
            returns=g["returns"],
            start=jnp.zeros(g["values"].shape, bool),
            carry=(),
        )
        return to_sequences(jax.tree.map(jnp.asarray, batch), 1)


def weights(golden: dict[str, np.ndarray], moment: str) -> Any:
    """Parameters of our network from a state dict of torch, whose kernels are transposed."""
    names = SHARED if f"{moment}/features_extractor.layers.0.weight" in golden else SEPARATE
    params: dict[str, Any] = {}
    for ours, theirs in names.items():
        *parents, leaf = ours.split("/")
        module = params
        for parent in parents:
            module = module.setdefault(parent, {})
        module[leaf] = {
            "kernel": jnp.asarray(golden[f"{moment}/{theirs}.weight"].T),
            "bias": jnp.asarray(golden[f"{moment}/{theirs}.bias"]),
        }
    if f"{moment}/log_std" in golden:
        params["log_std"] = jnp.asarray(golden[f"{moment}/log_std"])
    return {"params": params}


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda path: path.stem.removeprefix("sb3_"))
def case(request: pytest.FixtureRequest) -> Case:
    with np.load(request.param) as file:
        golden = dict(file)
    given = json.loads(str(golden["settings"]))
    continuous = golden["actions"].shape[-1] > 1
    network = MLPActorCritic(
        action_space=Box((-1.0, -1.0), (1.0, 1.0)) if continuous else Discrete(3),
        hidden_sizes=(8,),
        separate_critic="before/features_extractor.layers.0.weight" not in golden,
    )
    settings = Settings(
        n_envs=golden["rewards"].shape[1],
        n_steps=given["n_steps"],
        n_epochs=given["n_epochs"],
        batch_size=given["batch_size"],
        n_updates=1,
        normalize_advantage=given["normalize_advantage"],
    )
    scheduled = {name: given[name] for name in ("learning_rate", "ent_coef", "clip_range")}
    scheduled["critic_learning_rate"] = given["learning_rate"]
    limits = {name: np.inf if given[name] is None else given[name] for name in ("clip_range_vf", "target_kl")}
    plain = {name: given[name] for name in ("gamma", "gae_lambda", "vf_coef", "max_grad_norm")}
    hyperparams = Hyperparams(
        **{name: constant(x) for name, x in scheduled.items()}, **plain, **limits, total_timesteps=1.0
    )
    before = weights(golden, "before")

    def critic(observations: np.ndarray) -> jax.Array:
        flat = jnp.reshape(observations, (-1, observations.shape[-1]))
        return network.apply(before, flat)[1].reshape(observations.shape[:-1])

    distribution, _ = network.apply(before, golden["observations"].reshape(-1, 3))
    actions = golden["actions"] if continuous else golden["actions"][..., 0].astype(np.int32)
    shape = golden["rewards"].shape
    nothing = jnp.zeros(shape)
    transitions = Transition(
        observation=golden["observations"],
        action=actions,
        log_prob=distribution.log_prob(jnp.reshape(actions, (-1, *actions.shape[2:]))).reshape(shape),
        value=critic(golden["observations"]),
        final_value=critic(golden["final_observations"]),
        reward=golden["rewards"],
        terminated=golden["terminated"],
        truncated=golden["truncated"],
        start=nothing > 0,
        carry=(),
        raw_observation=(),
        info={"episode_done": nothing > 0, "episode_return": nothing, "episode_length": nothing},
    )
    return Case(
        name=request.param.stem.removeprefix("sb3_"),
        golden=golden,
        # The environment plays no part: the rollout is given.
        trainer=ppo.Trainer(env=None, env_params=(), network=network, settings=settings),
        hyperparams=hyperparams,
        scheduled=scheduled,
        before=before,
        after=weights(golden, "after"),
        transitions=transitions,
        last_value=critic(golden["last_observations"]),
    )


def close(actual: Any, expected: Any) -> None:
    """Agreement to 1e-5: relative for numbers above one, absolute below."""
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def advantages(case: Case) -> jax.Array:
    x, hp = case.transitions, case.hyperparams
    return ppo.gae(
        rewards=x.reward,
        values=x.value,
        last_value=case.last_value,
        final_values=x.final_value,
        terminated=x.terminated,
        truncated=x.truncated,
        gamma=hp.gamma,
        gae_lambda=hp.gae_lambda,
    )


def test_every_case_is_there() -> None:
    names = {path.stem.removeprefix("sb3_") for path in GOLDEN}
    assert names == {"plain", "clip_range_vf", "kl_stop", "unnormalised", "shared_trunk", "continuous"}


def test_rollout(case: Case) -> None:
    close(case.transitions.value, case.golden["values"])
    close(case.transitions.log_prob, case.golden["log_probs"])


def test_advantages_and_returns(case: Case) -> None:
    close(advantages(case), case.golden["advantages"])
    close(advantages(case) + case.transitions.value, case.golden["returns"])


def test_explained_variance(case: Case) -> None:
    x, estimate = case.transitions, advantages(case)
    metrics = rollout_metrics(x, x.value, estimate + x.value, estimate)
    close(metrics["explained_variance"], case.golden["explained_variance"])


def update(case: Case, learner: ppo.Learner, batch: ppo.Batch, indices: np.ndarray) -> tuple[ppo.Learner, Any]:
    """Epochs on a batch, with minibatches in the order of `indices` [epochs, minibatches, size]."""
    trainer = replace(case.trainer, settings=replace(case.trainer.settings, n_epochs=len(indices)))
    scheduled = {name: jnp.float32(x) for name, x in case.scheduled.items()}
    learner = learner._replace(opt_state=set_hyperparams(learner.opt_state, **scheduled))
    with given_order(indices, KEY) as update_epochs:
        return update_epochs(trainer, learner, batch, KEY, scheduled, case.hyperparams)


@jax.jit
def loss(trainer: ppo.Trainer, params: Any, batch: ppo.Batch, scheduled: Any, hyperparams: Any) -> Any:
    """The loss of one minibatch and its terms."""
    if trainer.settings.normalize_advantage:
        batch = batch._replace(advantages=standardize(batch.advantages))
    return ppo.loss(params, trainer, flatten(batch), scheduled, hyperparams)


def test_every_minibatch(case: Case) -> None:
    """One minibatch at a time, that which stops the epochs included; the parameters are our own all along."""
    golden = case.golden
    learner = ppo.Learner(params=case.before, opt_state=case.trainer.optimizer.init(case.before))
    size = case.trainer.settings.batch_size
    as_it_is = np.arange(size)[None, None]  # the batch is a minibatch already, so that one program serves all
    for k, indices in enumerate(golden["minibatches"].reshape(-1, size)):
        if k == len(golden["approx_kl"]):
            break
        minibatch = jax.tree.map(lambda x, indices=indices: x[indices], case.batch)
        total, terms = loss(case.trainer, learner.params, minibatch, case.scheduled, case.hyperparams)
        learner, metrics = update(case, learner, minibatch, as_it_is)
        for name in ("policy_loss", "value_loss", "approx_kl", "clip_fraction"):
            close(terms[name], golden[name][k])
        close(terms["entropy"], -golden["entropy_loss"][k])
        assert metrics["early_stopped"] == (k >= case.applied)
        if k < case.applied:
            close([total, metrics["loss"]], [golden["loss"][k]] * 2)
            close(metrics["grad_norm"], golden["grad_norm"][k])
            assert metrics["grad_clip_fraction"] == (golden["grad_norm"][k] > case.hyperparams.max_grad_norm)
    jax.tree.map(close, learner.params, case.after)


def test_the_whole_update(case: Case) -> None:
    golden, applied = case.golden, case.applied
    learner = ppo.Learner(params=case.before, opt_state=case.trainer.optimizer.init(case.before))
    learner, metrics = update(case, learner, case.batch, golden["minibatches"])
    jax.tree.map(close, learner.params, case.after)
    assert metrics["minibatches_applied"] == learner.opt_state.count == applied
    assert metrics["epochs_completed"] == applied // golden["minibatches"].shape[1]
    assert metrics["early_stopped"] == (case.name == "kl_stop")
    # Ours average the minibatches applied; the one that stopped the epochs is not among them.
    for name in ("policy_loss", "value_loss", "approx_kl", "clip_fraction", "loss", "grad_norm"):
        close(metrics[name], golden[name][:applied].mean())
    close(metrics["entropy"], -golden["entropy_loss"][:applied].mean())
    close(metrics["grad_clip_fraction"], (golden["grad_norm"] > case.hyperparams.max_grad_norm).mean())
