"""PPO in reading order: trainer and state, init, rollout, advantages, loss, epochs, update, train.

Reference semantics are those of Stable-Baselines3's ``PPO.train()``; docs/concepts/ppo.md lists them. Everything here
is pure: `update` maps a `TrainState` to the next one and a dict of scalars, and `train` is a `lax.scan` of it.

Shapes: T steps of a rollout, B environments, N transitions. A network without memory learns from single transitions.
One with memory learns from sequences of L steps, each of one environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ppo_jax.config.hyperparams import Hyperparams, Settings
from ppo_jax.ops import network, normalization, schedules
from ppo_jax.ops.collectives import Collectives
from ppo_jax.ops.distributions import Distribution
from ppo_jax.ops.metrics import REPORTED, mean_metrics, rollout_metrics
from ppo_jax.ops.optimizer import adam, clip_by_global_norm, set_hyperparams
from ppo_jax.ops.sequences import flatten, to_sequences
from ppo_jax.ops.shuffle import permutation
from ppo_jax.types import Batch, Environment, Learner, Rollout, TrainState, Transition

__all__ = ["Batch", "TrainState", "Trainer", "adam", "gae", "init", "learn_from", "loss", "rollout", "train", "update"]

PyTree = Any
Scheduled = dict[str, jax.Array]  # name -> [], the value of this update
Metrics = dict[str, Any]  # name -> [], or a pair [], [] of a sum and its weight, whose ratio is reported
# (params, trainer, batch, scheduled, hyperparams) -> (loss [], metrics)
Loss = Callable[[PyTree, "Trainer", "Batch", Scheduled, Hyperparams], tuple[jax.Array, Metrics]]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["env_params"],
    meta_fields=["env", "network", "settings", "optimizer", "loss", "collectives"],
)
@dataclass(frozen=True)
class Trainer:
    """What stays the same over a run. A pytree (its data: `env_params`), so it can be an argument of `jax.jit`.

    The network is a flax module, with or without memory (`ppo_jax.ops.network`). The optimizer follows optax's
    contract: its updates are added to the parameters. Where it was made by `optax.inject_hyperparams` with a
    `learning_rate`, that follows the schedule; any other keeps its own. The loss returns its metrics as well;
    `approx_kl` must be among them: it ends the epochs.
    """

    env: Environment  # with episode statistics
    env_params: PyTree  # handed to every call of the environment
    network: Any  # observations [n, ...] -> distribution [n], value [n]
    settings: Settings  # static: another value is another compilation
    optimizer: optax.GradientTransformation = field(default_factory=adam)  # any of optax
    loss: Loss = field(default_factory=lambda: loss)  # PPO's, or one of your own
    collectives: Collectives = field(default_factory=Collectives)  # what several devices do otherwise

    def evaluate(self, params: PyTree, batch: Batch) -> tuple[Distribution, jax.Array]:
        """Distributions and values (network output) [N] of a minibatch."""
        return network.evaluate(self.network, params, batch, self.settings.sequence_length)


def init(trainer: Trainer, key: jax.Array, hyperparams: Hyperparams) -> TrainState:
    """Fresh parameters and environments. `key` decides everything random in the run."""
    settings = trainer.settings
    key, params_key, reset_key = jax.random.split(key, 3)
    observation, env_state = jax.vmap(trainer.env.reset, in_axes=(0, None))(
        jax.random.split(reset_key, settings.n_envs), trainer.env_params
    )
    carry, start = network.initial_carry(trainer.network, settings.n_envs), jnp.ones(settings.n_envs, bool)
    params = network.init(trainer.network, params_key, observation, carry, start)
    state = TrainState(
        learner=Learner(params=params, opt_state=trainer.optimizer.init(params)),
        rollout=Rollout(
            env_state=env_state,
            observation=observation,
            carry=carry,
            start=start,
            discounted_return=jnp.zeros(settings.n_envs),
        ),
        normalizers=normalization.initial_normalizers(observation, settings.normalize_observations),
        key=key,
        step=jnp.zeros((), jnp.int32),
        hyperparams=jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyperparams),
    )
    # One dtype from the first update on: a weakly typed number would compile the update twice.
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)


def rollout(trainer: Trainer, state: TrainState) -> tuple[TrainState, Transition]:
    """Run the policy for T steps in every environment; returns the state with these moved on, and the transitions.

    Of the final observations of episodes that were truncated the values alone are kept, as `final_value`.
    """
    settings, collectives = trainer.settings, trainer.collectives
    policy = partial(network.apply, trainer.network, state.learner.params)
    normalize = partial(normalization.normalize_observation, state.normalizers.observation)

    def env_step(now: Rollout, key: jax.Array) -> tuple[Rollout, Transition]:
        action_key, step_key = jax.random.split(key)
        observation = normalize(now.observation)
        distribution, value, carry = policy(observation, now.carry, now.start)
        action = collectives.sample(distribution, action_key)
        step = jax.vmap(trainer.env.step, in_axes=(0, 0, 0, None))(
            collectives.split(step_key, settings.n_envs), now.env_state, action, trainer.env_params
        )
        info = dict(step.info)
        final_observation = info.pop("final_observation", None)
        truncated = step.truncated & ~step.terminated
        final_value = jnp.zeros_like(value)
        if trainer.env.can_truncate and settings.bootstrap_truncation:
            # Few steps truncate: the critic sees final observations only when one does.
            final_value = jax.lax.cond(
                jnp.any(truncated),
                lambda: policy(normalize(final_observation), carry, jnp.zeros_like(now.start))[1],
                lambda: jnp.zeros_like(value),
            )
        transition = Transition(
            observation=observation,
            action=action,
            log_prob=distribution.log_prob(action),
            value=value,
            final_value=final_value,
            reward=step.reward,
            terminated=step.terminated,
            truncated=truncated,
            start=now.start,
            carry=now.carry,
            raw_observation=now.observation if settings.normalize_observations else (),
            info=info,
        )
        after = now._replace(
            env_state=step.state, observation=step.observation, carry=carry, start=step.terminated | truncated
        )
        return after, transition

    key, rollout_key = jax.random.split(state.key)
    moved, transitions = jax.lax.scan(env_step, state.rollout, jax.random.split(rollout_key, settings.n_steps))
    return state._replace(key=key, rollout=moved), transitions


def gae(
    rewards: jax.Array,
    values: jax.Array,
    last_value: jax.Array,
    final_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    gae_lambda: jax.Array | float,
) -> jax.Array:
    """Generalised advantage estimates [T, B] (Schulman et al. 2016, eq. 16).

    ``delta_t = r_t + gamma v'_t - v_t`` and ``A_t = delta_t + gamma lambda A_{t+1}``, where v' is zero after
    termination, the value of the final observation after truncation and v_{t+1} otherwise; the sum is cut after both.
    All arguments are [T, B] but `last_value` [B], the value of the observation after the last step, and the scalars.
    """

    def backward(later: tuple[jax.Array, jax.Array], step: Any) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        next_advantage, next_value = later
        reward, value, final_value, term, trunc = step
        bootstrap = jnp.where(term, 0.0, jnp.where(trunc, final_value, next_value))
        delta = reward + gamma * bootstrap - value
        advantage = delta + gamma * gae_lambda * jnp.where(term | trunc, 0.0, next_advantage)
        return (advantage, value), advantage

    steps = (rewards, values, final_values, terminated, truncated)
    return jax.lax.scan(backward, (jnp.zeros_like(last_value), last_value), steps, reverse=True)[1]


def make_batch(trainer: Trainer, state: TrainState, transitions: Transition) -> tuple[TrainState, Batch, Metrics]:
    """Advantages and value targets of a rollout, as N / L sequences [N / L, L, ...].

    Returns the state with its statistics moved on, the batch, and the rollout's metrics, among them `value_unit` [],
    the size of one unit of the value network in raw returns.
    """
    settings, collectives, hp = trainer.settings, trainer.collectives, state.hyperparams
    now, normalizers = state.rollout, state.normalizers
    observation = normalization.normalize_observation(normalizers.observation, now.observation)
    last_value = network.apply(trainer.network, state.learner.params, observation, now.carry, now.start)[1]
    transitions = transitions._replace(
        carry=jax.tree.map(lambda x: x[:: settings.sequence_length], transitions.carry),
        info={name: x for name, x in transitions.info.items() if name in REPORTED},
    )
    # From here on transitions, values and returns are of all environments.
    at_end = last_value[None], now.discounted_return[None]
    transitions, at_end = collectives.gather((transitions, at_end))
    last_value, discounted_return = at_end[0][0], at_end[1][0]

    done = transitions.terminated | transitions.truncated
    rewards, reward_scale = transitions.reward, jnp.ones(())
    if settings.normalize_rewards:
        moments, discounted_return, rewards, reward_scale = normalization.scale_rewards(
            normalizers.reward, discounted_return, rewards, done, hp.gamma
        )
        normalizers = normalizers._replace(reward=moments)
        now = now._replace(discounted_return=collectives.part(discounted_return))

    denormalize = partial(normalization.denormalize, normalizers.value)
    values = denormalize(transitions.value)
    advantages = gae(
        rewards=rewards,
        values=values,
        last_value=denormalize(last_value),
        final_values=denormalize(transitions.final_value) * settings.bootstrap_truncation,
        terminated=transitions.terminated,
        truncated=transitions.truncated,
        gamma=hp.gamma,
        gae_lambda=hp.gae_lambda,
    )
    returns = advantages + values
    metrics = rollout_metrics(transitions, values, returns, advantages, reward_scale)
    # The epochs see observations as the rollout did, normalised already.
    normalizers = normalization.update_normalizers(
        normalizers, transitions.raw_observation, returns if settings.normalize_values else None
    )
    metrics["value_unit"] = reward_scale * jnp.sqrt(normalizers.value.var)
    batch = Batch(
        observation=transitions.observation,
        action=transitions.action,
        log_prob=transitions.log_prob,
        value=transitions.value,
        advantages=advantages,
        returns=normalization.normalize(normalizers.value, returns),
        start=transitions.start,
        carry=transitions.carry,
    )
    batch = to_sequences(batch, settings.sequence_length)
    return state._replace(rollout=now, normalizers=normalizers), batch, metrics


def loss(
    params: PyTree, trainer: Trainer, batch: Batch, scheduled: Scheduled, hyperparams: Hyperparams
) -> tuple[jax.Array, Metrics]:
    """PPO's loss [] on one minibatch and its metrics (Schulman et al. 2017, eq. 9, with SB3's details).

    ``-mean(min(r A, clip(r, 1 ± clip_range) A)) + vf_coef mean((R - v)²) - ent_coef mean(H)``, with r the ratio of
    new to old probability and v kept within `clip_range_vf` of the rollout's value (infinity: not clipped). Advantages
    are standardised before. `scheduled` holds the values [] of this update.
    """
    distribution, value = trainer.evaluate(params, batch)
    clip_range, clip_range_vf = scheduled["clip_range"], hyperparams.clip_range_vf

    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    clipped_ratio = jnp.clip(ratio, 1.0 - clip_range, 1.0 + clip_range)
    policy_loss = -jnp.mean(jnp.minimum(ratio * batch.advantages, clipped_ratio * batch.advantages))

    change = value - batch.value
    value = jnp.where(jnp.isinf(clip_range_vf), value, batch.value + jnp.clip(change, -clip_range_vf, clip_range_vf))
    value_loss = jnp.mean((batch.returns - value) ** 2)

    entropy, max_entropy = distribution.entropy(), distribution.max_entropy()
    entropy_mean = jnp.mean(entropy)
    free = max_entropy > 0.0  # states with a choice
    metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy_mean,
        "entropy_normalized": (jnp.mean(entropy / jnp.where(free, max_entropy, 1.0) * free), jnp.mean(free)),
        "approx_kl": jnp.mean(ratio - 1.0 - log_ratio),
        "clip_fraction": jnp.mean(jnp.abs(ratio - 1.0) > clip_range),
        "value_clip_fraction": jnp.mean(jnp.abs(change) > clip_range_vf),
    }
    return policy_loss + hyperparams.vf_coef * value_loss - scheduled["ent_coef"] * entropy_mean, metrics


def gradient(
    params: PyTree, trainer: Trainer, batch: Batch, scheduled: Scheduled, hyperparams: Hyperparams
) -> tuple[PyTree, Metrics]:
    """Gradient of the trainer's loss on a minibatch of sequences [N / L, L, ...]; its metrics, and itself as `loss`."""

    def of_part(part: Batch) -> tuple[PyTree, Metrics]:
        value_and_grad = jax.value_and_grad(trainer.loss, has_aux=True)
        (total, metrics), grads = value_and_grad(params, trainer, flatten(part), scheduled, hyperparams)
        return grads, metrics | {"loss": total}

    mean: Any = trainer.collectives.average(of_part, batch)
    return mean


def gradient_step(
    trainer: Trainer, learner: Learner, grads: PyTree, hyperparams: Hyperparams
) -> tuple[Learner, Metrics]:
    """One step of the optimizer along the gradient, clipped to the global norm `max_grad_norm`."""
    grads, norm = clip_by_global_norm(grads, hyperparams.max_grad_norm)
    updates, opt_state = trainer.optimizer.update(grads, learner.opt_state, learner.params)
    params = optax.apply_updates(learner.params, updates)
    clipped = (norm > hyperparams.max_grad_norm).astype(jnp.float32)
    return Learner(params=params, opt_state=opt_state), {"grad_norm": norm, "grad_clip_fraction": clipped}


class _Epochs(NamedTuple):
    learner: Learner
    stopped: jax.Array  # [] bool
    begun: jax.Array  # [] epochs
    completed: jax.Array  # [] epochs whose every minibatch was applied
    applied: jax.Array  # [] minibatches
    sums: Metrics  # over the applied minibatches


def update_epochs(
    trainer: Trainer, learner: Learner, batch: Batch, key: jax.Array, scheduled: Scheduled, hyperparams: Hyperparams
) -> tuple[Learner, Metrics]:
    """Up to `n_epochs` passes over the batch [N / L, L, ...], each in minibatches of whole sequences.

    A minibatch whose KL exceeds 1.5 target_kl ends them, unapplied. Returns the learner after them, and metrics
    averaged over the minibatches applied.
    """
    n_sequences, length = batch.log_prob.shape
    size = trainer.settings.batch_size // length  # sequences of a minibatch

    def minibatch_step(carry: _Epochs, of_minibatch: tuple[jax.Array, jax.Array]) -> tuple[_Epochs, None]:
        indices, advantages = of_minibatch
        minibatch = jax.tree.map(lambda x: x[indices], batch)._replace(advantages=advantages)
        grads, metrics = gradient(carry.learner.params, trainer, minibatch, scheduled, hyperparams)
        stopped = carry.stopped | (metrics["approx_kl"] > 1.5 * hyperparams.target_kl)
        moved, norms = gradient_step(trainer, carry.learner, grads, hyperparams)
        after = carry._replace(
            learner=jax.tree.map(lambda new, old: jnp.where(stopped, old, new), moved, carry.learner),
            stopped=stopped,
            applied=carry.applied + ~stopped,
            sums=jax.tree.map(lambda total, x: total + jnp.where(stopped, 0.0, x), carry.sums, metrics | norms),
        )
        return after, None

    def epoch(carry: _Epochs) -> _Epochs:
        order = permutation(jax.random.fold_in(key, carry.begun), n_sequences).reshape(-1, size)
        advantages = batch.advantages[order]
        if trainer.settings.normalize_advantage:
            advantages = jax.vmap(normalization.standardize)(advantages)  # each minibatch by itself
        carry, _ = jax.lax.scan(minibatch_step, carry, trainer.collectives.part((order, advantages), axis=1))
        return carry._replace(begun=carry.begun + 1, completed=carry.completed + ~carry.stopped)

    some = flatten(jax.tree.map(lambda x: x[:size], batch))
    names = jax.eval_shape(trainer.loss, learner.params, trainer, some, scheduled, hyperparams)[1]
    names |= dict.fromkeys(("loss", "grad_norm", "grad_clip_fraction"), jnp.zeros(()))
    sums = jax.tree.map(lambda _: jnp.zeros(()), names)
    zero = jnp.zeros((), jnp.int32)
    end = jax.lax.while_loop(
        lambda carry: (carry.begun < trainer.settings.n_epochs) & ~carry.stopped,
        epoch,
        _Epochs(learner=learner, stopped=jnp.array(False), begun=zero, completed=zero, applied=zero, sums=sums),
    )
    counts = {"epochs_completed": end.completed, "minibatches_applied": end.applied, "early_stopped": end.stopped}
    return end.learner, mean_metrics(end.sums, end.applied) | jax.tree.map(jnp.float32, counts)


def learn_from(trainer: Trainer, state: TrainState, transitions: Transition) -> tuple[TrainState, Metrics]:
    """Advantages and epochs on the transitions of `rollout`, which a program may have changed; rewards are raw here."""
    hyperparams = state.hyperparams
    scheduled = schedules.scheduled(hyperparams, state.step, trainer.settings.rollout_size)
    state, batch, metrics = make_batch(trainer, state, transitions)
    key, epochs_key = jax.random.split(state.key)
    learner = state.learner._replace(opt_state=set_hyperparams(state.learner.opt_state, **scheduled))
    learner, losses = update_epochs(trainer, learner, batch, epochs_key, scheduled, hyperparams)
    value_unit = metrics.pop("value_unit")
    if "value_loss" in losses:
        losses["value_loss"] *= value_unit**2  # the loss saw normalised values; readers compare raw ones
    metrics |= losses | {name: scheduled[name] for name in ("learning_rate", "ent_coef", "clip_range")}
    hyperparams = schedules.adapt(hyperparams, metrics["approx_kl"])
    return state._replace(learner=learner, key=key, step=state.step + 1, hyperparams=hyperparams), metrics


def update(trainer: Trainer, state: TrainState) -> tuple[TrainState, Metrics]:
    """One rollout and the epochs on it. Returns the next state and this update's metrics, all float32 []."""
    return learn_from(trainer, *rollout(trainer, state))


def train(trainer: Trainer, key: jax.Array, hyperparams: Hyperparams) -> tuple[TrainState, Metrics]:
    """A whole run: `n_updates` updates. Metrics are stacked, [n_updates] each. Jit it, vmap it."""
    state = init(trainer, key, hyperparams)
    return jax.lax.scan(lambda state, _: update(trainer, state), state, length=trainer.settings.n_updates)
