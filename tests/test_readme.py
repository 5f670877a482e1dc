"""The Python of README and docs runs as it stands, on fewer steps."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn

import ppo_jax
from ppo_jax import ppo

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["total_timesteps=256", "n_envs=4", "n_steps=32", "batch_size=64", "learning_rate=1e-3", "eval_episodes=4"]


def blocks(page: str) -> list[str]:
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


BLOCKS = blocks("README.md")


@pytest.fixture
def names(monkeypatch):
    monkeypatch.chdir(ROOT)
    load = ppo_jax.load_config
    monkeypatch.setattr(ppo_jax, "load_config", lambda path, more=(): load(path, [*SMALL, *more]), raising=False)
    return {
        **{"jax": jax, "jnp": jnp, "nn": nn, "optax": optax, "dataclasses": dataclasses},
        **{"ppo_jax": ppo_jax, "ppo": ppo},
    }


def test_the_notebook_trains_and_vmaps(names):
    block = next(b for b in BLOCKS if "load_config" in b)
    exec(block, names)
    assert names["states"].step.shape == (3,)
    assert names["metrics"]["ent_coef"][:, 0].tolist() == pytest.approx([0.0, 0.01, 0.1])


def test_an_environment_and_a_network_of_ones_own_train(names):
    for marker in ("class Walk", "class Small"):
        exec(next(b for b in BLOCKS if marker in b), names)
    env = names["Walk"]()
    config = ppo_jax.load_config("cartpole")
    experiment = ppo_jax.build(config, env=env, network=names["Small"](env.action_space))
    state, metrics = jax.jit(ppo.train)(experiment.trainer, jax.random.key(0), config.hyperparams)
    assert int(state.step) == 2
    assert jnp.all(jnp.isfinite(metrics["policy_loss"]))
    assert float(metrics["episodes"].sum()) > 0


def test_a_loss_an_optimizer_and_a_memory(names):
    exec(next(b for b in BLOCKS if "def huber" in b), names)
    assert jnp.all(jnp.isfinite(names["metrics"]["huber_loss"]))
    assert names["state"].rollout.carry["actor"].shape == (4, 64)


def test_the_loss_the_optimizer_and_the_memory_of_the_page_on_ppo(names):
    loss, optimizer, memory = blocks("docs/concepts/ppo.md")
    exec(loss, names)
    assert set(names["metrics"]) >= {"policy_loss", "value_loss", "entropy", "approx_kl"}
    exec(optimizer, names)
    updated, _ = jax.jit(ppo.update)(names["experiment"].trainer, names["experiment"].initial_state(0))
    assert float(updated.learner.opt_state.hyperparams["learning_rate"]) == pytest.approx(1e-3)
    exec(memory, names)
    assert names["experiment"].config.sequence_length == 16
    assert names["state"].rollout.carry["critic"].shape == (4, 64)


def test_the_hook(names, tmp_path, monkeypatch):
    (block,) = blocks("docs/runs_and_sweeps.md")
    steps, train = [], ppo_jax.train

    def small(config, folder, hook, hook_interval):
        def noted(trainer, state):
            steps.append(int(state.step))
            return hook(trainer, state)

        return train(config, tmp_path / folder, hook=noted, hook_interval=1, progress=False)

    monkeypatch.setattr(ppo_jax, "train", small, raising=False)
    exec(block, names)
    assert steps == [0, 1] and names["summary"]["status"] == "completed"


def test_a_policy_with_memory(names, tmp_path, monkeypatch):
    ppo_jax.train(ppo_jax.load_config("cartpole", ["core=lstm"]), tmp_path / "run", progress=False)
    load = ppo_jax.load_policy
    monkeypatch.setattr(ppo_jax, "load_policy", lambda folder: load(tmp_path / "run"), raising=False)
    block = next(b for b in blocks("docs/policy.md") if "initial_carry" in b)
    exec(block, names | {"observations": jnp.zeros((3, 4)), "key": jax.random.key(0)})
