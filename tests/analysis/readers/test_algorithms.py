"""Is it PPO? The columns decide."""

from __future__ import annotations

import pytest

from ppo_jax.analysis.readers import read
from ppo_jax.types import PPOJaxError
from tests.analysis.readers.logs import sb3_lines, to_csv, to_json_lines, to_tables, write
from tests.cli.console import call, fail

COUNTS = {"time/episodes": 4, "time/fps": 100, "time/total_timesteps": 1000, "rollout/ep_rew_mean": 10.0}
OTHERS = {
    "A2C": {"train/policy_loss", "train/value_loss", "train/entropy_loss", "train/explained_variance", "train/std"},
    "DQN": {"rollout/exploration_rate", "train/loss", "train/learning_rate"},
    "SAC": {"train/actor_loss", "train/critic_loss", "train/ent_coef", "train/ent_coef_loss", "train/learning_rate"},
    "TQC": {"train/actor_loss", "train/critic_loss", "train/ent_coef"},
    "TD3": {"train/actor_loss", "train/critic_loss", "train/learning_rate"},
    "TRPO": {"train/explained_variance", "train/kl_divergence_loss", "train/policy_objective", "train/value_loss"},
    "off-policy": {"train/loss", "train/learning_rate"},
}


def other_lines(columns: set[str], n: int = 12) -> list[dict]:
    losses = dict.fromkeys(sorted(columns), 0.5)
    return [COUNTS | {"time/total_timesteps": 1000 * i, "train/n_updates": 900 * i} | losses for i in range(1, n)]


@pytest.mark.parametrize("form", [to_csv, to_json_lines, to_tables])
@pytest.mark.parametrize("algorithm", OTHERS)
def test_logs_of_other_algorithms_are_refused_by_name(tmp_path, algorithm, form):
    file = write(tmp_path / "log.txt", form(other_lines(OTHERS[algorithm])))
    error = fail("diagnose", file)
    assert "not PPO" in error
    assert algorithm in error


@pytest.mark.parametrize(
    ("algorithm", "columns"),
    [
        ("SAC", {"losses/qf1_loss", "losses/qf2_loss", "losses/actor_loss", "losses/alpha"}),
        ("TD3", {"losses/qf1_loss", "losses/actor_loss"}),
        ("DQN", {"losses/td_loss", "losses/q_values"}),
        ("A2C", {"nupdates", "policy_entropy", "value_loss", "explained_variance"}),
        ("DQN", {"% time spent exploring", "episodes", "mean 100 episode reward"}),
        ("IMPALA", {"info/learner/default_policy/learner_stats/policy_loss", "training_iteration"}),
    ],
)
def test_those_of_other_trainers_too(tmp_path, algorithm, columns):
    lines = [{"global_step": 100 * i, **dict.fromkeys(sorted(columns), 0.5)} for i in range(1, 9)]
    with pytest.raises(PPOJaxError, match=f"not PPO but .*{algorithm}"):
        read(write(tmp_path / "log.csv", to_csv(lines)))


@pytest.mark.parametrize("option", [[], ["--sb3"]])
def test_every_way_to_give_the_file_refuses(tmp_path, option):
    assert "not PPO but SAC" in fail("diagnose", *option, write(tmp_path / "a.csv", to_csv(other_lines(OTHERS["SAC"]))))


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"train__std": 0.9},  # gSDE and other continuous actions
        {"train__clip_range_vf": 0.2, "train__loss": 1.0, "rollout__success_rate": 0.5},
        {"train__approx_kl": None, "train__clip_fraction": None},  # MaskablePPO and RecurrentPPO have PPO's columns
        {"train__policy_loss": 0.1},  # of a callback
        {"rollout__exploration_rate": 0.1},
        {"train__policy_gradient_loss": None, "train__entropy_loss": None, "train__clip_range": None},
    ],
)
def test_variants_of_ppo_are_ppo(tmp_path, columns):
    lines = sb3_lines(20, **columns)
    assert read(write(tmp_path / "log.csv", to_csv(lines))).trainer == "sb3"
    assert call("diagnose", tmp_path / "log.csv").code in (0, 1)
