"""The README's Python runs as it stands, on fewer steps."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

import ppo_jax
from ppo_jax import ppo

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
SMALL = ["total_timesteps=256", "n_envs=4", "n_steps=32", "batch_size=64", "learning_rate=1e-3"]


@pytest.fixture
def names():
    return {"jax": jax, "jnp": jnp, "nn": nn, "dataclasses": dataclasses, "ppo_jax": ppo_jax, "ppo": ppo}


def test_the_notebook_trains_and_vmaps(names, monkeypatch):
    monkeypatch.chdir(ROOT)
    load = ppo_jax.load_config
    monkeypatch.setattr(ppo_jax, "load_config", lambda path: load(path, SMALL), raising=False)
    block = next(b for b in BLOCKS if "load_config" in b)
    exec(block, names)
    assert names["states"].step.shape == (3,)
    assert names["metrics"]["ent_coef"][:, 0].tolist() == pytest.approx([0.0, 0.01, 0.1])


def test_an_environment_and_a_network_of_ones_own_train(names):
    for marker in ("class Walk", "class Small"):
        exec(next(b for b in BLOCKS if marker in b), names)
    env = names["Walk"]()
    config = ppo_jax.load_config(ROOT / "experiments" / "cartpole.toml", SMALL)
    experiment = ppo_jax.build(config, env=env, network=names["Small"](env.action_space))
    state, metrics = jax.jit(ppo.train)(experiment.trainer, jax.random.key(0), config.hyperparams)
    assert int(state.step) == 2
    assert jnp.all(jnp.isfinite(metrics["policy_loss"]))
    assert float(metrics["episodes"].sum()) > 0
