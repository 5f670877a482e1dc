from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ppo_jax import ppo
from ppo_jax.config import Hyperparams, ScheduleConfig
from ppo_jax.devices import collectives as device_collectives
from ppo_jax.ops import schedules
from ppo_jax.ops.metrics import rollout_metrics
from ppo_jax.ops.normalization import initial_moments, standardize
from ppo_jax.ops.optimizer import set_hyperparams
from ppo_jax.ops.sequences import flatten
from ppo_jax.ops.shuffle import permutation
from ppo_jax.types import EnvStep
from tests import toys
from tests.conftest import WELL

KEY = jax.random.key(0)
WALK = {"n_steps": 32, "batch_size": 64}


@pytest.fixture(scope="module")
def walk() -> tuple[ppo.Trainer, Hyperparams]:
    return toys.build(toys.Walk(), learning_rate=0.03, **WALK)


def plain(tree: Any) -> Any:
    """Leaves as numpy arrays, keys as their data."""

    def leaf(x: Any) -> np.ndarray:
        x = jnp.asarray(x)
        return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)

    return jax.tree.map(leaf, tree)


def equal(actual: Any, expected: Any) -> None:
    """Equality to the bit."""
    jax.tree.map(np.testing.assert_array_equal, plain(actual), plain(expected))


def close(actual: Any, expected: Any, tolerance: float = 1e-6) -> None:
    within = partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    jax.tree.map(within, plain(actual), plain(expected))


# --- advantages


def test_gae_by_hand() -> None:
    """gamma = lambda = 1/2; rewards 1 2 3, values 4 2 8, then 6; the second step ends an episode in the last columns.

    going on    d2 = 3 + 6/2 - 8 = -2, d1 = 2 + 8/2 - 2 = 4, d0 = 1 + 2/2 - 4 = -2
                A2 = -2, A1 = 4 - 2/4 = 3.5, A0 = -2 + 3.5/4 = -1.125
    terminated  d1 = 2 - 2 = 0: A1 = 0, A0 = -2 + 0/4 = -2
    truncated   the final observation is worth 10: d1 = 2 + 10/2 - 2 = 5: A1 = 5, A0 = -2 + 5/4 = -0.75
    both        as terminated
    """
    column = lambda *xs: jnp.array(xs, jnp.float32)[:, None].repeat(4, 1)  # noqa: E731
    ends = jnp.zeros((3, 4), bool)
    advantages = ppo.gae(
        rewards=column(1, 2, 3),
        values=column(4, 2, 8),
        last_value=jnp.full(4, 6.0),
        final_values=column(10, 10, 10),
        terminated=ends.at[1].set(jnp.array([False, True, False, True])),
        truncated=ends.at[1].set(jnp.array([False, False, True, True])),
        gamma=0.5,
        gae_lambda=0.5,
    )
    np.testing.assert_array_equal(advantages[2], [-2.0, -2.0, -2.0, -2.0])
    np.testing.assert_array_equal(advantages[1], [3.5, 0.0, 5.0, 0.0])
    np.testing.assert_array_equal(advantages[0], [-1.125, -2.0, -0.75, -2.0])


def test_gae_is_the_sum_of_discounted_errors_up_to_the_end() -> None:
    T, B, gamma, gae_lambda = 20, 5, 0.97, 0.9
    rng = np.random.default_rng(0)
    rewards, values, final_values = rng.normal(size=(3, T, B))
    last_value = rng.normal(size=B)
    terminated, truncated = rng.random((2, T, B)) < 0.15
    expected = np.zeros((T, B))
    for b in range(B):
        for start in range(T):
            for t in range(start, T):
                following = values[t + 1, b] if t + 1 < T else last_value[b]
                if terminated[t, b]:
                    following = 0.0
                elif truncated[t, b]:
                    following = final_values[t, b]
                error = rewards[t, b] + gamma * following - values[t, b]
                expected[start, b] += (gamma * gae_lambda) ** (t - start) * error
                if terminated[t, b] or truncated[t, b]:
                    break
    arrays = (jnp.asarray(x) for x in (rewards, values, last_value, final_values, terminated, truncated))
    close(ppo.gae(*arrays, gamma, gae_lambda), expected, 1e-5)


# --- the rollout


@pytest.fixture(scope="module")
def walked(walk: tuple[ppo.Trainer, Hyperparams]) -> tuple[ppo.Trainer, ppo.TrainState, ppo.Transition]:
    state = ppo.init(walk[0], KEY, walk[1])
    return walk[0], state, jax.jit(ppo.rollout)(walk[0], state)[1]


def test_rollout_shapes(walked: Any) -> None:
    _, _, x = walked
    assert x.observation.shape == (32, 4, 1)
    for name in ("action", "log_prob", "value", "final_value", "reward", "terminated", "truncated"):
        assert getattr(x, name).shape == (32, 4), name
    assert "final_observation" not in x.info  # one observation a step is enough to keep


def test_both_kinds_of_end_happen_and_never_at_once(walked: Any) -> None:
    _, _, x = walked
    assert x.terminated.any() and x.truncated.any() and not (x.terminated & x.truncated).any()
    np.testing.assert_array_equal(x.terminated | x.truncated, x.info["episode_done"])


def test_terminated_wins() -> None:
    class Both(toys.EndlessReward):
        def step(self, *arguments: Any) -> EnvStep:
            step = super().step(*arguments)
            return step._replace(terminated=step.truncated)

    trainer, hp = toys.build(Both())
    x = ppo.rollout(trainer, ppo.init(trainer, KEY, hp))[1]
    assert x.terminated.any() and not x.truncated.any() and not x.final_value.any()


def test_log_probs_and_values_are_those_of_the_network(walked: Any) -> None:
    trainer, state, x = walked
    distribution, value = trainer.network.apply(state.learner.params, x.observation.reshape(-1, 1))
    close(x.value.ravel(), value)
    close(x.log_prob.ravel(), distribution.log_prob(x.action.ravel()))


def test_final_values_are_of_the_observation_that_was_cut(walked: Any) -> None:
    trainer, state, x = walked
    # The reward of the walk is the position it leads to.
    value = trainer.network.apply(state.learner.params, x.reward.reshape(-1, 1))[1].reshape(x.value.shape)
    close(jnp.where(x.truncated, x.final_value, 0.0), jnp.where(x.truncated, value, 0.0))
    assert jnp.abs(x.final_value[:-1] - x.value[1:])[x.truncated[:-1]].min() > 1e-3


def test_minibatches_of_each_epoch_are_a_fresh_permutation(walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, hp = walk
    orders: list[np.ndarray] = []

    def recorded(key: jax.Array, n: int) -> jax.Array:
        order = permutation(key, n)
        jax.debug.callback(lambda x: orders.append(np.array(x)), order)
        return order

    monkeypatch.setattr(ppo, "permutation", recorded)
    jax.block_until_ready(jax.jit(lambda state: ppo.update(trainer, state))(ppo.init(trainer, KEY, hp)))
    jax.effects_barrier()
    assert len({order.tobytes() for order in orders}) == trainer.settings.n_epochs > 1
    for order in orders:
        assert sorted(order.tolist()) == list(range(trainer.settings.rollout_size))


# --- identities


@pytest.fixture(scope="module")
def trained(walk: tuple[ppo.Trainer, Hyperparams]) -> tuple[ppo.TrainState, dict[str, Any]]:
    return jax.jit(ppo.train)(walk[0], KEY, walk[1])


def test_training_moves_everything(walk: Any, trained: Any) -> None:
    before, (after, metrics) = ppo.init(walk[0], KEY, walk[1]), trained
    assert after.step == 4
    for old, new in zip(jax.tree.leaves(before.learner.params), jax.tree.leaves(after.learner.params), strict=True):
        assert (old != new).any()
    for name, values in metrics.items():
        assert values.shape == (4,) and values.dtype == jnp.float32, name


def test_scan_is_the_loop_to_the_bit(walk: Any, trained: Any) -> None:
    update, state, rows = jax.jit(ppo.update), ppo.init(walk[0], KEY, walk[1]), []
    for _ in range(4):
        state, metrics = update(walk[0], state)
        rows.append(metrics)
    equal((state, jax.tree.map(lambda *xs: jnp.stack(xs), *rows)), trained)


def test_chunks_are_the_whole_to_the_bit(walk: Any) -> None:
    well = partial(jax.jit, compiler_options=WELL)
    trained = well(ppo.train)(walk[0], KEY, walk[1])

    @well
    def chunk(state: ppo.TrainState) -> tuple[ppo.TrainState, Any]:
        return jax.lax.scan(lambda s, _: ppo.update(walk[0], s), state, length=2)

    state, first = chunk(well(ppo.init)(walk[0], KEY, walk[1]))
    state, second = chunk(state)
    equal((state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)), trained)


def test_runs_together_are_runs_alone(walk: Any) -> None:
    """Seeds and KL limits at once: each run stops where it stops alone, whatever the others do."""
    trainer, hp = walk
    keys, limits = jax.random.split(KEY, 3), [1e-6, 0.005, np.inf]
    axes = jax.tree.map(lambda _: None, hp)._replace(target_kl=0)
    together = jax.jit(jax.vmap(ppo.train, (None, 0, axes)))
    states, metrics = plain(together(trainer, keys, hp._replace(target_kl=jnp.array(limits))))
    for i, limit in enumerate(limits):
        alone, alone_metrics = plain(jax.jit(ppo.train)(trainer, keys[i], hp._replace(target_kl=limit)))
        state, rows = jax.tree.map(lambda x, i=i: x[i], (states, metrics))
        equal(
            (state.rollout.env_state, state.rollout.observation, state.key),
            (alone.rollout.env_state, alone.rollout.observation, alone.key),
        )
        for name in ("episodes", "episode_return_mean", "minibatches_applied", "epochs_completed", "early_stopped"):
            equal(rows[name], alone_metrics[name])
        close(state.learner.params, alone.learner.params)
        close(rows, alone_metrics, 1e-5)

    applied = metrics["minibatches_applied"]  # of 4
    assert metrics["early_stopped"][0].all() and not metrics["early_stopped"][2].any()
    # The first minibatch passes any limit: the policy is still the one of the rollout.
    assert (applied[0] == 1).all() and (applied[2] == 4).all() and 4 < applied[1].sum() < 16
    np.testing.assert_array_equal(metrics["epochs_completed"], applied // 2)


@pytest.mark.parametrize(("cached", "parts"), [(64, 1), (63, 2), (24, 4), (20, 4), (1, 64)])
def test_a_minibatch_in_parts_is_the_minibatch(walk: Any, cached: int, parts: int) -> None:
    """64 transitions whose gradient is taken in the fewest equal parts that the cache holds."""
    trainer, hp = walk
    state = ppo.init(trainer, KEY, hp)
    expected = jax.jit(lambda state: ppo.update(trainer, state))(state)
    seen = []

    def loss(params: Any, trainer: ppo.Trainer, batch: ppo.Batch, scheduled: Any, hyperparams: Any) -> Any:
        seen.append(len(batch.log_prob))
        return ppo.loss(params, trainer, batch, scheduled, hyperparams)

    in_parts = replace(trainer, loss=loss, collectives=device_collectives.InParts(cached))
    actual = jax.jit(lambda state: ppo.update(in_parts, state))(state)
    assert set(seen) == {64, 64 // parts}  # whole once, for the names of its metrics
    close((actual[0].learner.params, actual[1]), (expected[0].learner.params, expected[1]), 1e-5)


def test_parts_are_for_cpus_and_for_numbers_that_divide(monkeypatch: Any) -> None:
    monkeypatch.setattr(device_collectives, "CPU_CACHED", 8)
    shapes: list[int] = []

    def mean(x: jax.Array) -> jax.Array:
        shapes.append(len(x))
        return x.mean(axis=0)

    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        average = device_collectives.default_collectives().average
        close(average(mean, jnp.arange(24.0)[:, None]), jnp.array([11.5]))
        close(average(mean, jnp.arange(23.0)[:, None]), jnp.array([11.0]))
    assert shapes == [8, 23, 24, 23]


def test_networks_of_runs_together_begin_one_by_one(walk: Any) -> None:
    """A QR of many matrices blocks threads of the pool that it waits for, and now and then all of them."""
    trainer, hp = walk
    keys = jax.random.split(KEY, 64)
    together = jax.jit(jax.vmap(ppo.init, (None, 0, None))).lower(trainer, keys, hp)
    found = re.findall(r"@lapack_s(?:geqrf|orgqr)_ffi.*?num_batch_dims = \"(\d)\"", together.as_text())
    assert found and set(found) == {"0"}, found
    states, alone = together.compile()(trainer, keys, hp), ppo.init(trainer, keys[7], hp)
    equal(jax.tree.map(lambda x: x[7], states.learner.params), alone.learner.params)


def test_the_update_is_traced_once_whatever_the_hyperparameters(walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, hp = walk
    update, traces = ppo.update, []
    monkeypatch.setattr(ppo, "update", lambda *arguments: traces.append(1) or update(*arguments))
    train = jax.jit(lambda *arguments: ppo.train(*arguments))
    other = toys.build(toys.Walk(), learning_rate=ScheduleConfig(1e-3, 0.0, "constant", warmup=0.1), gamma=0.5, **WALK)[
        1
    ]
    for hyperparams in (hp, other, hp._replace(ent_coef=schedules.constant(0.1), target_kl=1e-3)):
        train.trace(replace(trainer), jax.random.key(len(traces)), hyperparams)
    assert len(traces) == 1
    train.trace(toys.build(toys.Walk(), n_epochs=3, **WALK)[0], KEY, hp)
    assert len(traces) == 2  # a static setting does retrace


def test_the_state_keeps_its_types(walk: Any) -> None:
    """A weak type that an update made strong would compile the second chunk of a run anew."""
    before = jax.eval_shape(ppo.init, walk[0], KEY, walk[1])
    assert jax.eval_shape(ppo.update, walk[0], before)[0] == before


@dataclass(frozen=True)
class WeaklyTyped(toys.Probe):
    """Starts with a number as Python has it, and goes on with strong ones."""

    def start(self, key: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key, shape=(1,)), 1.0, 2.0)


def test_weak_types_of_an_environment_end_at_the_start() -> None:
    trainer, hp = toys.build(WeaklyTyped(), **WALK)
    assert WeaklyTyped().reset(KEY, ())[0].weak_type
    state = ppo.init(trainer, KEY, hp)
    assert not any(x.weak_type for x in jax.tree.leaves((state.rollout.observation, state.rollout.env_state)))
    update = jax.jit(lambda state: ppo.update(trainer, state)[0])
    update(update(state))
    assert update._cache_size() == 1


def test_no_host_callback_in_the_update(walk: Any) -> None:
    def talkative(trainer: ppo.Trainer, state: ppo.TrainState) -> Any:
        jax.debug.callback(lambda step: None, state.step)
        return ppo.update(trainer, state)

    state = jax.eval_shape(ppo.init, walk[0], KEY, walk[1])
    assert "callback" in jax.jit(talkative).lower(walk[0], state).as_text()
    assert "callback" not in jax.jit(ppo.update).lower(walk[0], state).as_text()


# --- schedules and learning rates


def test_schedules_run_on_environment_steps(walk: Any) -> None:
    """Four updates: at 0, 1/4, 1/2, 3/4 of training, however many minibatches a KL stop leaves out."""
    changes = {
        "learning_rate": ScheduleConfig(0.03, 0.0),
        "ent_coef": ScheduleConfig(0.1, 0.02),
        "clip_range": ScheduleConfig(0.3, 0.1, end=0.5),
    }
    hp = toys.build(toys.Walk(), **WALK, **changes)[1]
    for target_kl in (np.inf, 1e-6):
        metrics = jax.jit(ppo.train)(walk[0], KEY, hp._replace(target_kl=target_kl))[1]
        assert metrics["early_stopped"].all() == (target_kl < 1)
        assert metrics["learning_rate"][0] == np.float32(0.03)  # to the bit
        close(metrics["learning_rate"], [0.03, 0.0225, 0.015, 0.0075])
        close(metrics["ent_coef"], [0.1, 0.08, 0.06, 0.04])
        close(metrics["clip_range"], [0.3, 0.2, 0.1, 0.1])


def test_transitions_may_be_changed_before_they_are_learned_from(walk: Any, walked: Any) -> None:
    trainer, state, transitions = walked
    learn_from = jax.jit(ppo.learn_from)
    larger = transitions._replace(reward=10.0 * transitions.reward)
    (_, plain_metrics), (learnt, metrics) = (learn_from(trainer, state, given) for given in (transitions, larger))
    assert metrics["episode_return_mean"] == plain_metrics["episode_return_mean"]  # as the environment gave them
    assert metrics["returns_std"] > 5.0 * plain_metrics["returns_std"]
    assert int(learnt.step) == int(state.step) + 1


def test_sequences_of_a_network_without_memory_are_evaluated_at_once(walk: Any, walked: Any) -> None:
    trainer, state, transitions = walked
    params, batch = state.learner.params, flatten(ppo.make_batch(trainer, state, transitions)[1])
    of_sequences = replace(trainer, settings=replace(trainer.settings, sequence_length=8))
    equal(of_sequences.evaluate(params, batch), trainer.evaluate(params, batch))
    assert "scan" not in str(jax.make_jaxpr(of_sequences.evaluate)(params, batch))


@pytest.mark.parametrize("still", ["learning_rate", "critic_learning_rate"])
def test_the_critic_has_a_learning_rate_of_its_own(walk: Any, still: str) -> None:
    rates = dict.fromkeys(("learning_rate", "critic_learning_rate"), schedules.constant(0.03))
    state = ppo.init(walk[0], KEY, walk[1]._replace(**rates | {still: schedules.constant(0.0)}))
    before, after = state.learner.params["params"], jax.jit(ppo.update)(walk[0], state)[0].learner.params["params"]
    for module in ("actor", "actor_head", "critic", "critic_head"):
        resting = module.startswith("critic") == (still == "critic_learning_rate")
        moved = [(a != b).any() for a, b in zip(*map(jax.tree.leaves, (before[module], after[module])), strict=True)]
        assert not any(moved) if resting else all(moved), module


# --- an optimizer and a loss of your own


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(3e-4),
        optax.sgd(1e-3),
        optax.chain(optax.clip(1.0), optax.adamw(3e-4)),
        optax.inject_hyperparams(optax.adam)(learning_rate=1.0),
    ],
    ids=["adam", "sgd", "chain", "injected"],
)
def test_any_optimizer_descends(walk: Any, optimizer: optax.GradientTransformation) -> None:
    trainer = replace(walk[0], optimizer=optimizer)
    hp = walk[1]._replace(learning_rate=schedules.constant(3e-4))
    state = ppo.init(trainer, KEY, hp)
    state, transitions = ppo.rollout(trainer, state)
    state, batch, _ = ppo.make_batch(trainer, state, transitions)
    scheduled = schedules.scheduled(hp, state.step, 128)
    flat = flatten(batch)
    before = ppo.loss(state.learner.params, trainer, flat, scheduled, hp)[0]
    learner = state.learner._replace(
        opt_state=set_hyperparams(state.learner.opt_state, learning_rate=scheduled["learning_rate"])
    )
    learner, _ = jax.jit(ppo.update_epochs)(trainer, learner, batch, KEY, scheduled, hp)
    assert ppo.loss(learner.params, trainer, flat, scheduled, hp)[0] < before


def test_the_default_optimizer_is_optax_adam(walk: Any) -> None:
    """With one constant rate, and gradients too small to be clipped."""
    trainer, hp = walk
    hp = hp._replace(learning_rate=schedules.constant(1e-3), max_grad_norm=np.inf)
    plain_adam = replace(trainer, optimizer=optax.adam(1e-3, eps=1e-5))
    update = jax.jit(ppo.update)
    ours, _ = update(trainer, ppo.init(trainer, KEY, hp))
    theirs, _ = update(plain_adam, ppo.init(plain_adam, KEY, hp))
    close(ours.learner.params, theirs.learner.params, 1e-7)


def test_an_injected_learning_rate_follows_the_schedule(walk: Any) -> None:
    trainer = replace(walk[0], optimizer=optax.inject_hyperparams(optax.sgd)(learning_rate=1.0))
    hp = toys.build(toys.Walk(), learning_rate=ScheduleConfig(0.04, 0.0), **WALK)[1]
    state, _ = jax.jit(ppo.train)(trainer, KEY, hp)
    assert state.learner.opt_state.hyperparams["learning_rate"] == pytest.approx(0.01)


def test_rates_that_follow_kl_in_runs_side_by_side(walk: Any) -> None:
    """Seeds and limits at once, each by the plain rule on the KL that its own updates report."""
    rate = ScheduleConfig(1e-3, shape="kl_adaptive", desired_kl=0.01)
    trainer, hp = toys.build(toys.Walk(), n_updates=8, learning_rate=rate, **WALK)
    desired = [1e-7, 1e-4, 0.05]
    axes = jax.tree.map(lambda _: None, hp)
    axes = axes._replace(learning_rate=replace(axes.learning_rate, desired_kl=0))
    several = hp._replace(learning_rate=replace(hp.learning_rate, desired_kl=jnp.array(desired)))
    states, metrics = jax.jit(jax.vmap(ppo.train, (None, 0, axes)))(trainer, jax.random.split(KEY, 3), several)
    for i, kl in enumerate(desired):
        expected = 1e-3
        for seen, used in zip(metrics["approx_kl"][i].tolist(), metrics["learning_rate"][i].tolist(), strict=True):
            assert used == pytest.approx(expected, rel=1e-5)
            if seen > 2 * kl:
                expected = max(expected / 1.5, 1e-5)
            elif 0 < seen < kl / 2:
                expected = min(expected * 1.5, 1e-2)
        assert states.hyperparams.learning_rate.rate[i] == pytest.approx(expected, rel=1e-5)
    assert metrics["learning_rate"][0, -1] < 1e-3 < metrics["learning_rate"][2, -1]


def test_metrics_of_a_loss_of_your_own_are_reported(walk: Any) -> None:
    def loss(params: Any, trainer: ppo.Trainer, batch: ppo.Batch, scheduled: Any, hyperparams: Any) -> Any:
        total, metrics = ppo.loss(params, trainer, batch, scheduled, hyperparams)
        norm = optax.tree.norm(params)
        return total + 1e-3 * norm, metrics | {"weights": norm, "mean_action": (batch.action.mean(), 2.0)}

    trainer = replace(walk[0], loss=loss)
    _, metrics = jax.jit(ppo.train)(trainer, KEY, walk[1])
    assert metrics["weights"].shape == (4,) and (metrics["weights"] > 0).all()
    assert (metrics["mean_action"] < 0.5).all()  # a pair is a sum and its weight
    assert set(metrics) - {"weights", "mean_action"} == set(jax.eval_shape(ppo.train, *walk[:1], KEY, walk[1])[1])


# --- units


def first_update(env: toys.Probe, **changes: Any) -> dict[str, float]:
    """One update that learns nothing, from a critic that says 0 everywhere."""
    trainer, hp = toys.build(env, learning_rate=0.0, n_steps=64, batch_size=256, **changes)
    state = ppo.init(trainer, KEY, hp)
    head = state.learner.params["params"]["critic_head"]
    head["kernel"] = jnp.zeros_like(head["kernel"])
    metrics = jax.jit(ppo.update)(trainer, state)[1]
    return {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("switch", ["normalize_rewards", "normalize_values"])
def test_value_loss_and_returns_are_in_raw_units(switch: str) -> None:
    """Rewards of ±50, one step: the returns are the rewards."""
    env = toys.ObservedReward(scale=50.0)
    raw, metrics = first_update(env), first_update(env, **{switch: True})
    assert raw["value_loss"] == pytest.approx(2500.0)
    variance = raw["returns_std"] ** 2
    assert 2400 < variance < 2499
    # Normalised values denormalise a network's 0 to the mean of the returns: the error left is their variance.
    assert metrics["value_loss"] == pytest.approx(variance if switch == "normalize_values" else 2500.0, rel=1e-4)
    for name in ("returns_std", "value_error_std", "advantage_std", "episode_return_mean", "returns_degenerate"):
        assert metrics[name] == pytest.approx(raw[name], rel=1e-4), name
    # A critic that says the same everywhere explains nothing, in any unit.
    assert metrics["explained_variance"] == pytest.approx(0.0, abs=1e-4)


def test_a_critic_in_other_units_explains_as_much() -> None:
    """Returns x = ±50 and a normalised critic: once moments are known, half of x explains 3/4 of the variance."""
    trainer, hp = toys.build(toys.ObservedReward(scale=50.0), learning_rate=0.0, normalize_values=True)
    state = ppo.init(trainer, KEY, hp)
    transitions = ppo.rollout(trainer, state)[1]
    moments = initial_moments()._replace(var=jnp.asarray(2500.0), seen=jnp.asarray(1e4))
    half = transitions._replace(value=transitions.reward / 2 / 50.0)
    state = state._replace(normalizers=state.normalizers._replace(value=moments))
    metrics = ppo.make_batch(trainer, state, half)[2]
    assert metrics["explained_variance"] == pytest.approx(0.75, abs=1e-5)


@pytest.mark.parametrize("bootstrap", [True, False])
def test_what_follows_a_cut_in_normalised_units(bootstrap: bool) -> None:
    """Cut after five steps of reward 1: the last return is 1 + gamma v, v in raw units, or 1 without the bootstrap."""
    settings = {"n_steps": 5, "gamma": 0.5, "normalize_values": True, "bootstrap_truncation": bootstrap}
    trainer, hp = toys.build(toys.EndlessReward(), **settings, batch_size=20)
    state = ppo.init(trainer, KEY, hp)
    moments = initial_moments()._replace(mean=jnp.asarray(7.0), var=jnp.asarray(4.0), seen=jnp.asarray(1e6))
    state = state._replace(normalizers=state.normalizers._replace(value=moments))
    state, transitions = ppo.rollout(trainer, state)
    batch = ppo.make_batch(trainer, state, transitions)[1]
    value = 7.0 + 2.0 * transitions.value[-1]  # the observation never changes, so neither does its value
    advantage = 1.0 + (0.5 * value if bootstrap else 0.0) - value
    close(batch.advantages.reshape(5, 4)[-1], advantage, 1e-5)


def test_one_rollout_and_its_epochs_see_one_normalisation(walk: Any, walked: Any) -> None:
    """Nothing is known before the first update: what is seen in it is raw to the bit, in rollout and epochs alike.

    Its parameters are those of a run without normalisation but for how two programs are fused.
    """
    trainer, hp = walk
    normalizing = toys.build(toys.Walk(), normalize_observations=True, **WALK)[0]
    update = jax.jit(ppo.update)
    expected, _ = update(trainer, ppo.init(trainer, KEY, hp))
    state, _ = update(normalizing, ppo.init(normalizing, KEY, hp))
    close(state.learner.params, expected.learner.params, 1e-7)
    fresh = ppo.init(normalizing, KEY, hp)
    _, transitions = jax.jit(ppo.rollout)(normalizing, fresh)
    batch = jax.jit(ppo.make_batch)(normalizing, fresh, transitions)[1]
    plain_batch = jax.jit(ppo.make_batch)(trainer, ppo.init(trainer, KEY, hp), walked[2])[1]
    equal((transitions.observation, batch.observation), (walked[2].observation, plain_batch.observation))
    raw = np.asarray(walked[2].observation)
    close(state.normalizers.observation.mean, raw.mean((0, 1)))
    close(state.normalizers.observation.var, raw.var((0, 1)), 1e-5)
    # The second update sees them.
    seen = jax.jit(ppo.rollout)(normalizing, state)[1].observation[0]
    close(seen, (state.rollout.observation - raw.mean((0, 1))[None]) / raw.std((0, 1))[None], 1e-4)


def metrics_of(rewards: jax.Array, values: jax.Array) -> dict[str, jax.Array]:
    """Of episodes of one step, so that rewards are the returns."""
    ends, nothing = jnp.ones(rewards.shape, bool), jnp.zeros(rewards.shape)
    info = {"episode_done": ends, "episode_return": rewards, "episode_length": ends}
    transitions = ppo.Transition(
        observation=(),
        action=nothing,
        log_prob=nothing,
        value=values,
        final_value=nothing,
        reward=rewards,
        terminated=ends,
        truncated=~ends,
        start=ends,
        carry=(),
        raw_observation=(),
        info=info,
    )
    return rollout_metrics(transitions, values, rewards, rewards - values)


def test_returns_that_do_not_vary_are_no_broken_critic() -> None:
    noise = jax.random.normal(KEY, (8, 4))
    for rewards in (jnp.zeros((8, 4)), jnp.ones((8, 4)), 1.0 + 1e-3 * noise):
        metrics = metrics_of(rewards, rewards / 2)
        assert metrics["returns_degenerate"] == 1 and np.isnan(metrics["explained_variance"])
    metrics = metrics_of(noise, noise / 2)
    assert metrics["returns_degenerate"] == 0
    assert metrics["explained_variance"] == pytest.approx(0.75, abs=1e-5)


def test_metrics_of_episodes_are_null_where_none_ended() -> None:
    trainer, hp = toys.build(toys.EndlessReward(), bootstrap_truncation=False)
    _, x = jax.jit(ppo.rollout)(trainer, ppo.init(trainer, KEY, hp))
    # Eight steps, episodes of five: four environments end one each in the first rollout.
    metrics = rollout_metrics(x, x.value, x.value, x.value)
    assert metrics["episodes"] == 4
    for name, value in {"episode_return_mean": 5, "episode_length_mean": 5, "truncated_fraction": 1}.items():
        assert metrics[name] == value
    unfinished = jax.tree.map(lambda leaf: leaf[:4], x)
    metrics = rollout_metrics(unfinished, *[unfinished.value] * 3)
    assert metrics["episodes"] == 0 and np.isnan(metrics["episode_return_mean"])
    # A time limit that is part of the task is not bootstrapped.
    assert x.truncated.any() and not x.final_value.any()


def test_what_is_gathered_from_devices_is_whole_and_their_parts_are_equal():
    rng = np.random.default_rng(0)
    of_all = {
        "image": rng.normal(size=(5, 8, 2, 3)).astype(np.float32),
        "reward": rng.normal(size=(5, 8)).astype(np.float32),
        "last": rng.normal(size=(1, 8)).astype(np.float32),
        "action": rng.integers(2**30, size=(5, 8)).astype(np.int32),
        "direction": rng.integers(2**30, size=(5, 8)).astype(np.int32),
        "bytes": rng.integers(256, size=(5, 8, 3)).astype(np.uint8),
        "half": rng.normal(size=(5, 8)).astype(jnp.bfloat16),
        "done": rng.random((5, 8)) < 0.5,
        "nothing": (),
    }
    over_mesh = device_collectives.OverMesh("devices")

    def there_and_back(x):
        whole = over_mesh.gather(x)
        return whole, over_mesh.part(whole, axis=1)

    # Four devices: of each the environments that are its own.
    parts = jax.tree.map(lambda x: jnp.stack(jnp.split(x, 4, axis=1)), of_all)
    whole, again = jax.vmap(there_and_back, axis_name="devices")(parts)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.stack([y] * 4)), whole, of_all)
    jax.tree.map(np.testing.assert_array_equal, again, parts)


def test_a_single_advantage_is_not_standardized():
    assert standardize(jnp.array([3.0])).tolist() == [3.0]
