from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import ppo, schedules
from ppo_jax.config import Hyperparams, ScheduleConfig
from ppo_jax.types import EnvStep
from tests import toys

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def walk() -> tuple[ppo.Trainer, Hyperparams]:
    return toys.build(toys.Walk(), target_kl=0.005)


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
    trainer = replace(walk[0], settings=replace(walk[0].settings, n_steps=40))
    state = ppo.init(trainer, KEY, walk[1])
    return trainer, state, jax.jit(ppo.rollout)(trainer, state)[1]


def test_rollout_shapes(walked: Any) -> None:
    trainer, _, x = walked
    assert x.observation.shape == (40, 4, 1)
    for name in ("action", "log_prob", "value", "final_value", "reward", "terminated", "truncated"):
        assert getattr(x, name).shape == (40, 4), name
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
    policy, value = trainer.network.apply(state.params, x.observation.reshape(-1, 1))
    close(x.value.ravel(), value)
    close(x.log_prob.ravel(), policy.log_prob(x.action.ravel()))


def test_final_values_are_of_the_observation_that_was_cut(walked: Any) -> None:
    trainer, state, x = walked
    # The reward of the walk is the position it leads to.
    value = trainer.network.apply(state.params, x.reward.reshape(-1, 1))[1].reshape(x.value.shape)
    close(jnp.where(x.truncated, x.final_value, 0.0), jnp.where(x.truncated, value, 0.0))
    assert jnp.abs(x.final_value[:-1] - x.value[1:])[x.truncated[:-1]].min() > 1e-3


def test_minibatches_are_fresh_permutations() -> None:
    orders = [np.asarray(ppo.minibatch_order(KEY, jnp.asarray(epoch), 12, 4)) for epoch in range(2)]
    for order in orders:
        assert order.shape == (3, 4) and sorted(order.ravel()) == list(range(12))
    assert (orders[0] != orders[1]).any()


# --- identities


def loop(trainer: ppo.Trainer, hyperparams: Hyperparams, key: jax.Array = KEY) -> tuple[ppo.TrainState, dict[str, Any]]:
    """`train` as a Python loop."""
    update = jax.jit(ppo.update)
    state, rows = jax.jit(ppo.init)(trainer, key, hyperparams), []
    for _ in range(trainer.settings.n_updates):
        state, metrics = update(trainer, state)
        rows.append(metrics)
    return state, jax.tree.map(lambda *xs: np.stack(xs), *rows)


@pytest.fixture(scope="module")
def trained(walk: tuple[ppo.Trainer, Hyperparams]) -> tuple[ppo.TrainState, dict[str, Any]]:
    return jax.jit(ppo.train)(walk[0], KEY, walk[1])


def test_training_moves_everything(walk: Any, trained: Any) -> None:
    before, (after, metrics) = ppo.init(walk[0], KEY, walk[1]), trained
    assert after.step == walk[0].settings.n_updates
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        assert (old != new).any()
    for name, values in metrics.items():
        assert values.shape == (3,) and values.dtype == jnp.float32, name


def test_scan_is_the_loop_to_the_bit(walk: Any, trained: Any) -> None:
    equal(loop(*walk), trained)


def test_chunks_are_the_whole_to_the_bit(walk: Any, trained: Any) -> None:
    trainer, hp = walk

    @partial(jax.jit, static_argnums=1)
    def chunk(state: ppo.TrainState, length: int) -> tuple[ppo.TrainState, Any]:
        return jax.lax.scan(lambda s, _: ppo.update(trainer, s), state, length=length)

    state, first = chunk(ppo.init(trainer, KEY, hp), 1)
    state, rest = chunk(state, 2)
    equal((state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, rest)), trained)


def test_seeds_together_are_seeds_alone(walk: Any) -> None:
    trainer, hp = walk
    keys = jax.random.split(KEY, 3)
    states, metrics = jax.jit(jax.vmap(ppo.train, (None, 0, None)))(trainer, keys, hp)
    train = jax.jit(ppo.train)
    for i, key in enumerate(keys):
        alone, alone_metrics = train(trainer, key, hp)
        state, rows = jax.tree.map(lambda x, i=i: x[i], (states, metrics))
        equal((state.env_state, state.observation, state.key), (alone.env_state, alone.observation, alone.key))
        close(state.params, alone.params)
        close(rows, alone_metrics, 1e-5)
        for name in ("episodes", "episode_return_mean", "episode_length_mean", "truncated_fraction"):
            equal(rows[name], alone_metrics[name])


def test_the_update_is_traced_once_whatever_the_hyperparameters(walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, hp = walk
    traces = []
    update = ppo.update
    monkeypatch.setattr(ppo, "update", lambda *arguments: traces.append(1) or update(*arguments))
    train = jax.jit(lambda *arguments: ppo.train(*arguments))
    train(trainer, KEY, hp)
    train(trainer, KEY, hp._replace(ent_coef=schedules.constant(0.1), gamma=0.5, target_kl=1e-3))
    linear = toys.build(toys.Walk(), learning_rate=ScheduleConfig(1e-3, 0.0, "cosine", warmup=0.1))[1]
    train(replace(trainer), KEY, linear)
    assert len(traces) == 1


def test_the_chunks_of_a_run_compile_once(walk: Any) -> None:
    update = jax.jit(ppo.update)
    state = ppo.init(*walk[:1], KEY, walk[1])
    for _ in range(3):
        state, _ = update(walk[0], state)
    assert update._cache_size() == 1


def test_no_host_callback_in_the_update(walk: Any) -> None:
    trainer, hp = walk
    state = ppo.init(trainer, KEY, hp)

    def talkative(trainer: ppo.Trainer, state: ppo.TrainState) -> Any:
        jax.debug.callback(lambda step: None, state.step)
        return ppo.update(trainer, state)

    program = lambda f: jax.jit(f).lower(trainer, state).as_text()  # noqa: E731
    assert "callback" in program(talkative)
    assert "callback" not in program(ppo.update)


# --- the epochs


def test_kl_stop_under_vmap_is_that_of_single_runs(walk: Any) -> None:
    trainer, hp = toys.build(toys.Walk(), n_epochs=4, n_updates=2, learning_rate=0.03)
    limits = jnp.array([1e-6, 0.01, jnp.inf])
    axes = jax.tree.map(lambda _: None, hp)._replace(target_kl=0)
    states, metrics = jax.jit(jax.vmap(ppo.train, (None, None, axes)))(trainer, KEY, hp._replace(target_kl=limits))
    train = jax.jit(ppo.train)
    for i, limit in enumerate(limits):
        alone, alone_metrics = train(trainer, KEY, hp._replace(target_kl=limit))
        for name in ("minibatches_applied", "epochs_completed", "early_stopped"):
            equal(metrics[name][i], alone_metrics[name])
        close(jax.tree.map(lambda x, i=i: x[i], states.params), alone.params)
    applied = metrics["minibatches_applied"]
    np.testing.assert_array_equal(metrics["early_stopped"], [[1, 1], [1, 1], [0, 0]])
    # The first minibatch cannot exceed a limit: the policy is still the one of the rollout.
    assert (applied[0] >= 1).all() and (applied[0] < applied[1]).all() and (applied[1] < applied[2]).all()
    np.testing.assert_array_equal(metrics["epochs_completed"], applied // 2)


def test_schedules_run_on_environment_steps() -> None:
    """Four updates: at 0, 1/4, 1/2, 3/4 of training, however many minibatches a KL stop leaves out."""
    changes = {
        "learning_rate": ScheduleConfig(0.03, 0.0),
        "ent_coef": ScheduleConfig(0.1, 0.02),
        "clip_range": ScheduleConfig(0.3, 0.1, end=0.5),
    }
    trainer, hp = toys.build(toys.Walk(), n_updates=4, **changes)
    train = jax.jit(ppo.train)
    for target_kl in (jnp.inf, 1e-6):
        metrics = train(trainer, KEY, hp._replace(target_kl=target_kl))[1]
        assert metrics["early_stopped"].all() == (target_kl < 1)
        assert metrics["learning_rate"][0] == np.float32(0.03)  # to the bit
        close(metrics["learning_rate"], [0.03, 0.0225, 0.015, 0.0075])
        close(metrics["ent_coef"], [0.1, 0.08, 0.06, 0.04])
        close(metrics["clip_range"], [0.3, 0.2, 0.1, 0.1])


@pytest.mark.parametrize("still", ["learning_rate", "critic_learning_rate"])
def test_the_critic_has_a_learning_rate_of_its_own(still: str) -> None:
    trainer, hp = toys.build(toys.Walk(), n_updates=1, critic_learning_rate=0.02)
    before = jax.jit(ppo.init)(trainer, KEY, hp).params["params"]
    after = jax.jit(ppo.train)(trainer, KEY, hp._replace(**{still: schedules.constant(0.0)}))[0].params["params"]
    for module in ("actor", "actor_head", "critic", "critic_head"):
        resting = module.startswith("critic") == (still == "critic_learning_rate")
        moved = [(a != b).any() for a, b in zip(*map(jax.tree.leaves, (before[module], after[module])), strict=True)]
        assert not any(moved) if resting else all(moved), module


# --- units


def first_update(env: toys.Probe, **changes: Any) -> tuple[ppo.TrainState, dict[str, float]]:
    """One update that learns nothing, from a critic that says 0 everywhere."""
    trainer, hp = toys.build(env, n_updates=1, learning_rate=0.0, n_steps=64, batch_size=256, **changes)
    state = ppo.init(trainer, KEY, hp)
    head = state.params["params"]["critic_head"]
    head["kernel"] = jnp.zeros_like(head["kernel"])
    state, metrics = jax.jit(ppo.update)(trainer, state)
    return state, {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("switch", ["normalize_observations", "normalize_rewards", "normalize_values"])
def test_value_loss_and_returns_are_in_raw_units(switch: str) -> None:
    """Rewards of ±50, one step: the returns are the rewards."""
    env = toys.ObservedReward(scale=50.0)
    plain_metrics, metrics = first_update(env)[1], first_update(env, **{switch: True})[1]
    assert plain_metrics["value_loss"] == pytest.approx(2500.0)
    # Normalised values denormalise a network's 0 to the mean of the returns: the error is their variance.
    variance = plain_metrics["returns_std"] ** 2
    assert metrics["value_loss"] == pytest.approx(variance if switch == "normalize_values" else 2500.0, rel=1e-4)
    assert 2400 < variance < 2500
    for name in ("returns_std", "value_error_std", "advantage_std", "episode_return_mean"):
        assert metrics[name] == pytest.approx(plain_metrics[name], rel=1e-4), name
    assert metrics["explained_variance"] == pytest.approx(0.0, abs=1e-4)


def test_explained_variance_judges_the_values_before_the_update() -> None:
    """With normalised values, a critic whose output is x / 50 explains returns of ±50 once the scale is known."""
    trainer, hp = toys.build(
        toys.ObservedReward(scale=50.0), n_steps=64, batch_size=256, learning_rate=0.0, normalize_values=True
    )
    state = ppo.init(trainer, KEY, hp)
    metrics = jax.jit(ppo.update)(trainer, state)[1]
    x = ppo.rollout(trainer, state)[1]
    expected = 1 - np.var(x.reward - x.value) / np.var(x.reward)
    assert metrics["explained_variance"] == pytest.approx(expected, rel=1e-5)


def test_one_rollout_and_its_epochs_see_one_normalisation() -> None:
    """Nothing is known before the first update, so it must be that of a run without normalisation, to the bit."""
    (trainer, hp), (normalizing, _) = toys.build(toys.Walk()), toys.build(toys.Walk(), normalize_observations=True)
    update = jax.jit(ppo.update)
    expected, _ = update(trainer, ppo.init(trainer, KEY, hp))
    state, _ = update(normalizing, ppo.init(normalizing, KEY, hp))
    equal(state.params, expected.params)
    raw = np.asarray(ppo.rollout(trainer, ppo.init(trainer, KEY, hp))[1].observation)
    close(state.observation_moments.mean, raw.mean((0, 1)))
    close(state.observation_moments.var, raw.var((0, 1)), 1e-5)
    # The second update sees them.
    x = ppo.rollout(normalizing, state)[1]
    close(x.observation[0], (state.observation - raw.mean((0, 1))[None]) / raw.std((0, 1))[None], 1e-4)


def test_returns_that_do_not_vary_are_no_broken_critic() -> None:
    _, metrics = first_update(toys.ConstantReward())
    assert metrics["returns_degenerate"] == 1.0 and np.isnan(metrics["explained_variance"])
    _, metrics = first_update(toys.ObservedReward())
    assert metrics["returns_degenerate"] == 0.0 and metrics["explained_variance"] == pytest.approx(0.0, abs=1e-5)


def test_episodes_are_counted_when_they_end() -> None:
    """Rollouts of eight steps, episodes of five: one ends in the first, two in the second (at steps 10 and 15)."""
    trainer, hp = toys.build(toys.EndlessReward(), n_updates=2)
    metrics = jax.jit(ppo.train)(trainer, KEY, hp)[1]
    np.testing.assert_array_equal(metrics["episodes"], [4, 8])
    for name, value in {"episode_return_mean": 5, "episode_length_mean": 5, "truncated_fraction": 1}.items():
        np.testing.assert_array_equal(metrics[name], [value, value])


def test_a_time_limit_that_is_part_of_the_task_is_not_bootstrapped() -> None:
    trainer, hp = toys.build(toys.EndlessReward(), bootstrap_truncation=False)
    state = ppo.init(trainer, KEY, hp)
    transitions = ppo.rollout(trainer, state)[1]
    assert transitions.truncated.any() and not transitions.final_value.any()
