"""Settings to hold a configuration against: the defaults of Stable-Baselines3, ours, and what we recommend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ppo_jax.config import SECTIONS

__all__ = ["DEFAULTS", "RECOMMENDED", "SB3_DEFAULTS"]

# Stable-Baselines3 2.x: the signature of PPO.__init__ and MlpPolicy (net_arch pi = vf = [64, 64], tanh). Normalisation
# is a wrapper of the user's, so off; the value after a truncation is always bootstrapped.
SB3_DEFAULTS: Mapping[str, Any] = {
    "n_envs": 1,
    "n_steps": 2048,
    "n_epochs": 10,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": None,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": None,
    "normalize_advantage": True,
    "bootstrap_truncation": True,
    "normalize_observations": False,
    "normalize_rewards": False,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "separate_critic": True,
}

# For proof tasks: what the experiment countries_s3 sets, measured in docs/results.md.
RECOMMENDED: Mapping[str, Any] = {
    "max_atoms": 4,
    "reward": "sound",
    "fact_dropout": 0.15,
    "total_timesteps": 100_000,
    "n_envs": 128,
    "n_steps": 16,
    "n_epochs": 2,
    "batch_size": 512,
    "learning_rate": {"init": 1.3e-3, "final": 1e-4, "warmup": 0.1},
    "critic_learning_rate": {"init": 3e-3, "final": 1e-4},
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": {"init": 0.1, "final": 0.01, "end": 0.6},
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": 0.02,
    "network": "proof_actions",
    "hidden_sizes": (64, 64),
    "embedding_size": 32,
    "fact_layers": 2,
    "eval_interval": 10,
    "beam_width": 64,
}

# Of every configuration key of ours.
DEFAULTS = {field.name: field.default for section in SECTIONS.values() for field in dataclasses.fields(section)}
