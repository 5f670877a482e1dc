"""PPO in reading order: state, init, rollout, advantages, loss, epochs, update, train.

Reference semantics are those of Stable-Baselines3's ``PPO.train()``; docs/ppo.md lists them. Everything here is pure:
`update` maps a `TrainState` to the next one and a dict of scalars, and `train` is a `lax.scan` of it.
Shapes: T steps of a rollout, B environments, N = T * B transitions; of this device, where several share a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ppo_jax.config import SCHEDULED, Hyperparams, Settings
from ppo_jax.ops import groups, normalization, schedules
from ppo_jax.ops.collectives import mean_of_devices, mean_over_parts, standardize, standardize_rows
from ppo_jax.ops.distributions import Distribution
from ppo_jax.ops.groups import minibatch_order
from ppo_jax.ops.normalization import Moments
from ppo_jax.ops.optimizer import adam, gradient_step
from ppo_jax.ops.rollout_metrics import rollout_metrics
from ppo_jax.types import Environment, Transition

__all__ = ["Batch", "TrainState", "Trainer", "adam", "gae", "init", "loss", "rollout", "train", "update"]

PyTree = Any
Metrics = dict[str, jax.Array]
# Of one minibatch; an update reports their means over the minibatches applied.
MINIBATCH_METRICS = (
    *("policy_loss", "value_loss", "entropy", "entropy_normalized", "free_fraction", "approx_kl"),
    *("clip_fraction", "value_clip_fraction", "grad_norm", "grad_clip_fraction"),
)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["env_params"],
    meta_fields=["env", "network", "optimizer", "settings"],
)
@dataclass(frozen=True)
class Trainer:
    """What stays the same over a run. A pytree (its data: `env_params`), so it can be an argument of `jax.jit`."""

    env: Environment  # with episode statistics
    env_params: PyTree
    network: Any  # a flax module: apply(params, observation [n, ...]) -> (distribution [n], value [n])
    optimizer: optax.GradientTransformation  # clipped gradients to directions; the learning rate comes after
    settings: Settings

    def forward(self, params: PyTree, observation: PyTree) -> tuple[Distribution, jax.Array]:
        """Distribution and value (network output) [n] for observations [n, ...] as the network sees them."""
        output: Any = self.network.apply(params, observation)
        return output


class TrainState(NamedTuple):
    """Everything a run is: saving it saves the run."""

    params: PyTree
    opt_state: PyTree
    env_state: PyTree  # [B, ...]
    observation: PyTree  # [B, ...] raw, to act on next
    observation_moments: PyTree  # Moments for each leaf of an observation; () where not normalised
    return_moments: Moments  # of the discounted reward sums [], scale of the rewards
    discounted_return: jax.Array  # [B] running sum behind it
    value_moments: Moments  # of the returns [], scale of the value network
    key: jax.Array
    step: jax.Array  # [] int32, updates done
    hyperparams: Hyperparams


class Batch(NamedTuple):
    """What the loss needs of N transitions."""

    observation: PyTree  # [N, ...]
    action: jax.Array  # [N] or [N, size]
    log_prob: jax.Array  # [N] under the policy of the rollout
    value: jax.Array  # [N] of the rollout, network output
    advantages: jax.Array  # [N]
    returns: jax.Array  # [N] in the units of the network output


def init(trainer: Trainer, key: jax.Array, hyperparams: Hyperparams) -> TrainState:
    """Fresh parameters and environments. `key` decides everything random in the run."""
    settings = trainer.settings
    key, params_key, reset_key = jax.random.split(key, 3)
    observation, env_state = jax.vmap(trainer.env.reset, in_axes=(0, None))(
        jax.random.split(reset_key, settings.n_envs), trainer.env_params
    )
    # One by one under vmap: on a CPU the QR of a batch, for orthogonal weights, can wait for its own threads for good.
    params = jax.custom_batching.sequential_vmap(trainer.network.init)(params_key, observation)
    return TrainState(
        params=params,
        opt_state=trainer.optimizer.init(params),
        env_state=env_state,
        observation=observation,
        observation_moments=normalization.observation_moments(observation) if settings.normalize_observations else (),
        return_moments=normalization.initial_moments(),
        discounted_return=jnp.zeros(settings.n_envs),
        value_moments=normalization.initial_moments(),
        key=key,
        step=jnp.zeros((), jnp.int32),
        # One dtype from the first update on: a weakly typed number would compile the update twice.
        hyperparams=jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyperparams),
    )


def rollout(trainer: Trainer, state: TrainState) -> tuple[TrainState, Transition, PyTree]:
    """Run the policy for T steps in every environment.

    Returns the state with environments moved on, the transitions [T, B, ...], and the raw observations [T, B, ...]
    where observations are normalised, else ``()``.
    """
    settings = trainer.settings
    normalize = partial(normalization.normalize_observation, state.observation_moments)

    def env_step(carry: tuple[PyTree, PyTree], key: jax.Array) -> tuple[tuple[PyTree, PyTree], Any]:
        raw, env_state = carry
        action_key, step_key = jax.random.split(key)
        observation = normalize(raw)
        policy, value = trainer.forward(state.params, observation)
        action = groups.sample(policy, action_key, settings.shuffle_groups, settings.axis)
        step = jax.vmap(trainer.env.step, in_axes=(0, 0, 0, None))(
            groups.split(step_key, settings.n_envs, settings.axis), env_state, action, trainer.env_params
        )
        info, truncated = dict(step.info), step.truncated & ~step.terminated
        final_observation, final_value = info.pop("final_observation", None), jnp.zeros_like(value)
        if trainer.env.can_truncate and settings.bootstrap_truncation:
            # Few steps truncate: the critic sees final observations only when one does.
            final_value = jax.lax.cond(
                jnp.any(truncated),
                lambda: trainer.forward(state.params, normalize(final_observation))[1],
                lambda: jnp.zeros_like(value),
            )
        log_prob, terminated = policy.log_prob(action), step.terminated
        transition = Transition(
            observation, action, log_prob, value, final_value, step.reward, terminated, truncated, info
        )
        return (step.observation, step.state), (transition, raw if settings.normalize_observations else ())

    key, rollout_key = jax.random.split(state.key)
    (observation, env_state), (transitions, raw) = jax.lax.scan(
        env_step, (state.observation, state.env_state), jax.random.split(rollout_key, settings.n_steps)
    )
    return state._replace(key=key, observation=observation, env_state=env_state), transitions, raw


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

    def backward(carry: tuple[jax.Array, jax.Array], step: Any) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        next_advantage, next_value = carry
        reward, value, final_value, term, trunc = step
        bootstrap = jnp.where(term, 0.0, jnp.where(trunc, final_value, next_value))
        delta = reward + gamma * bootstrap - value
        advantage = delta + gamma * gae_lambda * jnp.where(term | trunc, 0.0, next_advantage)
        return (advantage, value), advantage

    steps = (rewards, values, final_values, terminated, truncated)
    return jax.lax.scan(backward, (jnp.zeros_like(last_value), last_value), steps, reverse=True)[1]


def loss(
    params: PyTree,
    apply: Callable[..., Any],
    batch: Batch,
    clip_range: jax.Array | float,
    clip_range_vf: jax.Array | float,
    ent_coef: jax.Array | float,
    vf_coef: jax.Array | float,
    normalize_advantage: bool = True,
) -> tuple[jax.Array, Metrics]:
    """PPO's loss [] on one minibatch and its metrics (Schulman et al. 2017, eq. 9, with SB3's details).

    ``-mean(min(r A, clip(r, 1 ± clip_range) A)) + vf_coef mean((R - v)²) - ent_coef mean(H)``, with r the ratio of
    new to old probability and v kept within `clip_range_vf` of the rollout's value (infinity: not clipped).
    """
    policy, value = apply(params, batch.observation)
    log_ratio = policy.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantages = standardize(batch.advantages) if normalize_advantage else batch.advantages
    clipped_ratio = jnp.clip(ratio, 1.0 - clip_range, 1.0 + clip_range)
    policy_loss = -jnp.mean(jnp.minimum(ratio * advantages, clipped_ratio * advantages))

    change = value - batch.value
    value = jnp.where(jnp.isinf(clip_range_vf), value, batch.value + jnp.clip(change, -clip_range_vf, clip_range_vf))
    value_loss = jnp.mean((batch.returns - value) ** 2)

    entropy, max_entropy = policy.entropy(), policy.max_entropy()
    entropy_mean = jnp.mean(entropy)
    free = max_entropy > 0.0
    metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy_mean,
        "entropy_normalized": jnp.mean(entropy / jnp.where(free, max_entropy, 1.0) * free),
        "free_fraction": jnp.mean(free),
        "approx_kl": jnp.mean(ratio - 1.0 - log_ratio),
        "clip_fraction": jnp.mean(jnp.abs(ratio - 1.0) > clip_range),
        "value_clip_fraction": jnp.mean(jnp.abs(change) > clip_range_vf),
    }
    return policy_loss + vf_coef * value_loss - ent_coef * entropy_mean, metrics


class _Epochs(NamedTuple):
    params: PyTree
    opt_state: PyTree
    stopped: jax.Array  # [] bool
    begun: jax.Array  # [] epochs
    completed: jax.Array  # [] epochs whose every minibatch was applied
    applied: jax.Array  # [] minibatches
    sums: Metrics  # over the applied minibatches


def update_epochs(
    trainer: Trainer,
    params: PyTree,
    opt_state: PyTree,
    batch: Batch,
    key: jax.Array,
    scheduled: Metrics,
    hyperparams: Hyperparams,
    order: Callable[..., jax.Array] = minibatch_order,
) -> tuple[PyTree, PyTree, Metrics]:
    """Up to `n_epochs` passes over the batch; a minibatch whose KL exceeds 1.5 target_kl ends them, unapplied.

    Args:
        batch: N transitions that minibatches are taken from, of all devices where they share one shuffle.
        scheduled: this update's `learning_rate`, `critic_learning_rate`, `ent_coef` and `clip_range`, all [].
        order: ``(key, epoch, n, batch_size) -> indices [minibatches, this device's part of batch_size]``.

    Returns parameters, optimizer state, and metrics averaged over the minibatches applied.
    """
    settings, hp = trainer.settings, hyperparams
    coefficients = (scheduled["clip_range"], hp.clip_range_vf, scheduled["ent_coef"], hp.vf_coef)
    rates = (hp.max_grad_norm, scheduled["learning_rate"], scheduled["critic_learning_rate"])

    def minibatch_step(carry: _Epochs, chosen: tuple[jax.Array, jax.Array]) -> tuple[_Epochs, None]:
        indices, advantages = chosen
        minibatch = jax.tree.map(lambda x: x[indices], batch)._replace(advantages=advantages)
        gradient = lambda part: jax.grad(loss, has_aux=True)(carry.params, trainer.forward, part, *coefficients, False)  # noqa: E731
        grads, metrics = mean_of_devices(mean_over_parts(gradient, minibatch, settings.axis), settings.axis)
        stopped = carry.stopped | (metrics["approx_kl"] > 1.5 * hp.target_kl)
        *moved, norms = gradient_step(trainer.optimizer, carry.params, carry.opt_state, grads, *rates)
        params, opt_state = jax.tree.map(lambda a, b: jnp.where(stopped, b, a), tuple(moved), tuple(carry[:2]))
        sums = jax.tree.map(lambda total, x: total + jnp.where(stopped, 0.0, x), carry.sums, metrics | norms)
        applied = carry.applied + ~stopped
        return carry._replace(params=params, opt_state=opt_state, stopped=stopped, applied=applied, sums=sums), None

    def epoch(carry: _Epochs) -> _Epochs:
        indices = order(key, carry.begun, batch.log_prob.shape[0], settings.batch_size)
        advantages = batch.advantages[indices]
        advantages = standardize_rows(advantages, settings.axis) if settings.normalize_advantage else advantages
        carry, _ = jax.lax.scan(minibatch_step, carry, (indices, advantages))
        return carry._replace(begun=carry.begun + 1, completed=carry.completed + ~carry.stopped)

    zero = jnp.zeros((), jnp.int32)
    end = jax.lax.while_loop(
        lambda carry: (carry.begun < settings.n_epochs) & ~carry.stopped,
        epoch,
        _Epochs(params, opt_state, jnp.array(False), zero, zero, zero, dict.fromkeys(MINIBATCH_METRICS, jnp.zeros(()))),
    )
    counts = {"epochs_completed": end.completed, "minibatches_applied": end.applied, "early_stopped": end.stopped}
    metrics = {name: total / end.applied for name, total in end.sums.items()}
    metrics["entropy_normalized"] /= metrics.pop("free_fraction")  # over states with a choice; NaN where none had one
    return end.params, end.opt_state, metrics | {name: x.astype(jnp.float32) for name, x in counts.items()}


def make_batch(trainer: Trainer, state: TrainState, transitions: Transition) -> tuple[TrainState, Batch, Metrics]:
    """Advantages and value targets of a rollout, flattened to N transitions.

    Returns:
        The state with its reward and value statistics moved on, the batch, and the rollout's metrics, among them
        `value_unit` [], the size of one unit of the value network in raw returns.
    """
    settings, axis, hp = trainer.settings, trainer.settings.axis, state.hyperparams
    terminated, truncated = transitions.terminated, transitions.truncated
    observation = normalization.normalize_observation(state.observation_moments, state.observation)
    last_value = trainer.forward(state.params, observation)[1]

    rewards, reward_scale = transitions.reward, jnp.ones(())
    if settings.normalize_rewards:
        moments, running, rewards, reward_scale = normalization.scale_rewards(
            state.return_moments, state.discounted_return, rewards, terminated | truncated, hp.gamma, axis
        )
        state = state._replace(return_moments=moments, discounted_return=running)

    outputs = (transitions.value, last_value, transitions.final_value)
    values, last_value, final_values = (normalization.denormalize(state.value_moments, v) for v in outputs)
    if not settings.bootstrap_truncation:
        final_values = jnp.zeros_like(final_values)
    advantages = gae(rewards, values, last_value, final_values, terminated, truncated, hp.gamma, hp.gae_lambda)
    returns = advantages + values
    raw_values, raw_returns, raw_advantages = (x * reward_scale for x in (values, returns, advantages))
    metrics = rollout_metrics(transitions, raw_values, raw_returns, raw_advantages, axis)

    targets = returns
    if settings.normalize_values:
        state = state._replace(value_moments=normalization.update_moments(state.value_moments, returns, axis))
        targets = normalization.normalize(state.value_moments, returns)
    metrics["value_unit"] = reward_scale * jnp.sqrt(state.value_moments.var)
    batch = Batch(*transitions[:4], advantages, targets)
    return state, jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), batch), metrics


def update(trainer: Trainer, state: TrainState) -> tuple[TrainState, Metrics]:
    """One rollout and the epochs on it. Returns the next state and this update's metrics, all float32 []."""
    settings, hp = trainer.settings, state.hyperparams
    share = settings.rollout_size / hp.total_timesteps
    progress = state.step.astype(jnp.float32) * share
    scheduled = {name: schedules.value(getattr(hp, name), progress, share) for name in SCHEDULED}

    state, transitions, raw_observations = rollout(trainer, state)
    state, batch, metrics = make_batch(trainer, state, transitions)
    key, epochs_key = jax.random.split(state.key)
    spread: dict[str, Any] = {"n_steps": settings.n_steps, "groups": settings.shuffle_groups, "axis": settings.axis}
    learner = (trainer, state.params, state.opt_state, groups.gather(batch, **spread))
    params, opt_state, losses = update_epochs(*learner, epochs_key, scheduled, hp, partial(minibatch_order, **spread))
    losses["value_loss"] *= metrics.pop("value_unit") ** 2  # the loss saw normalised values; readers compare raw ones
    if settings.normalize_observations:
        # Only now: a rollout and its epochs must see one normalisation.
        moments = normalization.update_observation_moments(state.observation_moments, raw_observations, settings.axis)
        state = state._replace(observation_moments=moments)
    metrics |= losses | {name: scheduled[name] for name in ("learning_rate", "ent_coef", "clip_range")}
    return state._replace(params=params, opt_state=opt_state, key=key, step=state.step + 1), metrics


def train(trainer: Trainer, key: jax.Array, hyperparams: Hyperparams) -> tuple[TrainState, Metrics]:
    """A whole run: `n_updates` updates. Metrics are stacked, [n_updates] each. Jit it, vmap it."""
    state = init(trainer, key, hyperparams)
    return jax.lax.scan(lambda state, _: update(trainer, state), state, length=trainer.settings.n_updates)
