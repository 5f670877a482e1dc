"""No finding rests on one value, or on the order of lines: a healthy log so changed gets no finding that it had not."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.readers.csv_table import read_csv

# What one value does prove. `non-finite`: ppo_jax writes null where a loss was not a number, and never otherwise.
PROOF = {"non-finite"}
SETTINGS = {
    **{"n_envs": 8, "n_steps": 256, "batch_size": 512, "n_epochs": 10, "gamma": 0.99, "gae_lambda": 0.95},
    **{"ent_coef": 0.01, "vf_coef": 0.5, "clip_range_vf": 10.0, "max_grad_norm": 0.5, "max_atoms": 4},
    **{"normalize_rewards": False, "normalize_values": False, "bootstrap_truncation": False},
}
CURVES = {
    "rising": lambda t: 200.0 * (1.0 - np.exp(-5.0 * t)),
    "late": lambda t: 200.0 / (1.0 + np.exp(-20.0 * (t - 0.6))),
    "flat": lambda t: 0.0 * t - 120.0,
    "costs": lambda t: -1500.0 * np.exp(-4.0 * t) - 150.0,
}
KINDS = ("discrete", "continuous")
FREAKS = (0.0, 1.0, -1.0, 1e-9, 12345.0, 1e9, -1e9, 1e300)
LENGTHS = (10, 14, 30, 60)


def columns(curve: str, kind: str, n: int) -> dict[str, np.ndarray]:
    """A healthy run of n updates, in our names."""
    t, wave = np.linspace(0.0, 1.0, n), np.sin(17.0 * np.arange(n))
    found = {
        "env_steps": 2048.0 * np.arange(1, n + 1),
        "episode_return_mean": CURVES[curve](t) + 2.0 * wave,
        "episode_length_mean": 60.0 + wave,
        "approx_kl": 0.008 + 0.002 * wave,
        "clip_fraction": 0.08 + 0.02 * wave,
        "entropy": 1.2 - 0.5 * t,
        "explained_variance": 0.45 + 0.45 * np.sqrt(t),
        "value_loss": 6.0 + wave,
        "policy_loss": -0.005 + 0.003 * wave,
        "learning_rate": 3e-4 * (1.0 - 0.9 * t),
        "eval/episode_return_mean": np.where(np.arange(n) % 3 == 2, CURVES[curve](t) + 5.0, np.nan),
    }
    if kind == "continuous":
        std = 1.0 - 0.5 * t
        found |= {"action_std": std, "entropy": 1.42 + np.log(std)}
    return found


def ours(curve: str, kind: str, n: int) -> dict[str, np.ndarray]:
    """The same with what only runs of ppo_jax have."""
    found = columns(curve, kind, n)
    del found["eval/episode_return_mean"]
    found.pop("action_std", None)  # it follows from the entropy
    found |= {"entropy_normalized": found["entropy"] / 1.38} if kind == "discrete" else {}
    constant = {
        **{"returns_std": 4.0, "returns_degenerate": 0.0, "advantage_std": 0.5, "value_clip_fraction": 0.0},
        **{"grad_norm": 0.4, "grad_clip_fraction": 0.3, "ent_coef": 0.01, "early_stopped": 0.0},
        **{"epochs_completed": 10.0, "truncated_fraction": 0.0, "forced_fraction": 0.3, "overflow_fraction": 0.0},
    }
    return {"update": np.arange(1.0, n + 1), **found, **{name: np.full(n, x) for name, x in constant.items()}}


SB3 = {
    "env_steps": "time/total_timesteps",
    "episode_return_mean": "rollout/ep_rew_mean",
    "episode_length_mean": "rollout/ep_len_mean",
    "eval/episode_return_mean": "eval/mean_reward",
    "entropy": "train/entropy_loss",
    "policy_loss": "train/policy_gradient_loss",
    "action_std": "train/std",
}


def sb3(curve: str, kind: str, n: int) -> dict[str, list[str]]:
    """The same as the cells of a progress.csv."""
    found = columns(curve, kind, n)
    found["entropy"] = -found["entropy"]
    table = {SB3.get(name, f"train/{name}"): values for name, values in found.items()}
    table |= {"time/iterations": np.arange(1.0, n + 1), "train/n_updates": 10.0 * np.arange(n)}
    return {name: ["" if x != x else repr(float(x)) for x in values] for name, values in table.items()}


def judge_ours(series: dict[str, np.ndarray]) -> set[str]:
    return {f.id for f in diagnose(RunLog("run", "ppo_jax", SETTINGS, series)).findings}


def judge_sb3(table: dict[str, list[str]]) -> set[str]:
    lines = [",".join(table), *map(",".join, zip(*table.values(), strict=True))]
    return {f.id for f in diagnose(read_csv(io.StringIO("\n".join(lines) + "\n"), 0, "log", "log", SETTINGS)).findings}


@cache
def before(trainer: str, curve: str, kind: str, n: int) -> set[str]:
    found = judge_ours(ours(curve, kind, n)) if trainer == "ppo_jax" else judge_sb3(sb3(curve, kind, n))
    assert found <= {"no-lr-schedule", "still-improving", "plateau"}
    return found


@pytest.mark.parametrize("trainer", ["ppo_jax", "sb3"])
@given(st.sampled_from(list(CURVES)), st.sampled_from(KINDS), st.sampled_from(LENGTHS), st.data())
def test_one_value_changed_or_missing_makes_no_finding(trainer, curve, kind, n, data):
    log = ours(curve, kind, n) if trainer == "ppo_jax" else sb3(curve, kind, n)
    name = data.draw(st.sampled_from([name for name in log if name != "update"]))
    at = data.draw(st.integers(0, n - 1))
    value = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, *FREAKS]) | st.floats())
    if trainer == "ppo_jax":
        log[name][at] = value
        after = judge_ours(log) - PROOF
    else:
        log[name][at] = data.draw(st.sampled_from(["", repr(value)]))
        after = judge_sb3(log)
    assert after <= before(trainer, curve, kind, n)


@given(st.sampled_from(list(CURVES)), st.sampled_from(KINDS), st.data())
def test_lines_in_another_order_make_no_finding(curve, kind, data):
    order = data.draw(st.permutations(range(30)))
    shuffled = {name: [cells[i] for i in order] for name, cells in sb3(curve, kind, 30).items()}
    assert judge_sb3(shuffled) <= before("sb3", curve, kind, 30)
