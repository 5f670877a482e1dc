"""What other trainers call the numbers that they log, in our names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from ppo_jax.runs.metric_table import METRICS

__all__ = ["EVERY_UPDATE", "PER_EPISODE", "Names", "plain_name", "policies_in", "translate_names", "wandb_runs"]

# Trainer -> (its name -> ours). A leading "-" flips the sign. Where a log has several names of one number, the first
# here is read. "updates_total" counts lines that are updates, "iterations_total" those that need not be.
VOCABULARIES: Mapping[str, Mapping[str, str]] = {
    "sb3": {
        "time/total_timesteps": "env_steps",
        "time/iterations": "iterations_total",
        "time/fps": "fps",
        "rollout/ep_rew_mean": "episode_return_mean",
        "rollout/ep_len_mean": "episode_length_mean",
        "rollout/success_rate": "success_rate",
        "eval/mean_reward": "eval/episode_return_mean",
        "eval/mean_ep_length": "eval/episode_length_mean",
        "eval/success_rate": "eval/success_rate",
        "train/approx_kl": "approx_kl",
        "train/clip_fraction": "clip_fraction",
        "train/clip_range": "clip_range",
        "train/explained_variance": "explained_variance",
        "train/entropy_loss": "-entropy",
        "train/value_loss": "value_loss",
        "train/policy_gradient_loss": "policy_loss",
        "train/learning_rate": "learning_rate",
        "train/std": "action_std",
        "train/n_updates": "epochs_begun_total",
    },
    "cleanrl": {
        "charts/episodic_return": "episode_return_mean",
        "charts/episodic_length": "episode_length_mean",
        "charts/learning_rate": "learning_rate",
        "losses/value_loss": "half_value_loss",
        "losses/policy_loss": "policy_loss",
        "losses/entropy": "entropy",
        "losses/approx_kl": "approx_kl",
        "losses/clipfrac": "clip_fraction",
        "losses/explained_variance": "explained_variance",
    },
    # OpenAI Baselines and Stable-Baselines 2: PPO2 in the newer and the older spelling, in TensorBoard, then PPO1.
    "baselines": {
        "total_timesteps": "env_steps",
        "TimestepsSoFar": "env_steps",
        "nupdates": "updates_total",
        "n_updates": "updates_total",
        "eprewmean": "episode_return_mean",
        "ep_reward_mean": "episode_return_mean",
        "EpRewMean": "episode_return_mean",
        "episode_reward": "episode_return_mean",
        "eplenmean": "episode_length_mean",
        "ep_len_mean": "episode_length_mean",
        "EpLenMean": "episode_length_mean",
        "approxkl": "approx_kl",
        "approximate_kullback-leibler": "approx_kl",
        "loss_kl": "approx_kl",
        "clipfrac": "clip_fraction",
        "clip_factor": "clip_fraction",
        "explained_variance": "explained_variance",
        "ev_tdlam_before": "explained_variance",
        "policy_entropy": "entropy",
        "entropy_loss": "entropy",
        "loss_ent": "entropy",
        "policy_loss": "policy_loss",
        "policy_gradient_loss": "policy_loss",
        "loss_pol_surr": "policy_loss",
        "value_loss": "half_value_loss",
        "value_function_loss": "half_value_loss",
        "loss_vf_loss": "value_loss",
        "clip_range": "clip_range",
        "learning_rate": "learning_rate",
    },
    # "learner/" stands for the numbers of a policy, wherever a version of RLlib keeps them.
    "rllib": {
        "num_env_steps_sampled_lifetime": "env_steps",
        "timesteps_total": "env_steps",
        "num_env_steps_sampled": "env_steps",
        "training_iteration": "updates_total",
        "env_runners/episode_return_mean": "episode_return_mean",
        "env_runners/episode_reward_mean": "episode_return_mean",
        "sampler_results/episode_reward_mean": "episode_return_mean",
        "episode_reward_mean": "episode_return_mean",
        "env_runners/episode_len_mean": "episode_length_mean",
        "sampler_results/episode_len_mean": "episode_length_mean",
        "episode_len_mean": "episode_length_mean",
        "evaluation/env_runners/episode_return_mean": "eval/episode_return_mean",
        "evaluation/env_runners/episode_reward_mean": "eval/episode_return_mean",
        "evaluation/sampler_results/episode_reward_mean": "eval/episode_return_mean",
        "evaluation/episode_reward_mean": "eval/episode_return_mean",
        "evaluation/env_runners/episode_len_mean": "eval/episode_length_mean",
        "evaluation/episode_len_mean": "eval/episode_length_mean",
        "learner/mean_kl_loss": "approx_kl",
        "learner/kl": "approx_kl",
        "learner/entropy": "entropy",
        "learner/vf_explained_var": "explained_variance",
        "learner/vf_loss": "value_loss",
        "learner/policy_loss": "policy_loss",
        "learner/default_optimizer_learning_rate": "learning_rate",
        "learner/cur_lr": "learning_rate",
    },
    "ppo_jax": {name: name for name in ("env_steps", *(metric.name for metric in METRICS))},
}
STEPS = ("global_step", "num_timesteps", "Step", "step", "_step")  # where a trainer's own count is not in the log
EVERY_UPDATE = frozenset(  # ours that are written once an update, and only then
    [
        "approx_kl",
        "clip_fraction",
        "clip_range",
        "explained_variance",
        "entropy",
        "-entropy",
        "value_loss",
        "half_value_loss",
        "policy_loss",
        "learning_rate",
        "action_std",
        "epochs_begun_total",
        "updates_total",
    ]
)
PER_EPISODE = frozenset({"eval/episode_return_mean", "eval/episode_length_mean", "eval/success_rate"})

_WANDB_RUN = re.compile(r"^(.*) - (?=[^ ])")  # "my run - train/approx_kl" in a chart's export
_BASELINES_GROUP = re.compile(r"^(?:loss|misc|input_info)/+")
_RLLIB_POLICY = re.compile(r"^(?:ray/tune/)?(?:info/learner|info|learners)/(?!__)([^/]+)/(?:learner_stats/)?([^/]+)$")


class Names(NamedTuple):
    """What the names of a log mean."""

    trainer: str  # a key of `VOCABULARIES`; "" where no name is known
    ours: Mapping[str, str]  # name in the log -> ours


@lru_cache(maxsize=256)
def translate_names(names: tuple[str, ...]) -> Names:
    """Find whose names these are, and what each is in ours; the trainer that knows most of them has them all."""
    best = Names("", {})
    for trainer, vocabulary in VOCABULARIES.items():
        theirs: dict[str, str] = {}
        for name in names:
            theirs.setdefault(plain_name(name, trainer), name)
        ours: dict[str, str] = {}
        for name, our in vocabulary.items():
            if name in theirs and our not in ours.values():
                ours[theirs[name]] = our
        if len(ours) > len(best.ours):
            best = Names(trainer, ours)
    if best.ours and "env_steps" not in best.ours.values():
        plain = {plain_name(name): name for name in reversed(names)}
        if step := next((plain[name] for name in STEPS if name in plain), None):
            return Names(best.trainer, {**best.ours, step: "env_steps"})
    return best


def plain_name(name: str, trainer: str = "") -> str:
    """A name without what exporters put around it, and as the vocabulary of a trainer has it."""
    name = _WANDB_RUN.sub("", name.strip())
    if trainer == "baselines":
        return _BASELINES_GROUP.sub("", name)
    if trainer == "rllib":
        return _RLLIB_POLICY.sub(r"learner/\2", name).removeprefix("ray/tune/")
    return name


def policies_in(names: Iterable[str]) -> list[str]:
    """The policies of RLlib that have numbers here."""
    known = VOCABULARIES["rllib"]
    found = (_RLLIB_POLICY.match(name) for name in names)
    return list(dict.fromkeys(match[1] for match in found if match and f"learner/{match[2]}" in known))


def wandb_runs(names: Iterable[str]) -> list[str]:
    """The runs whose charts stand side by side in an export of W&B."""
    return list(dict.fromkeys(match[1] for match in map(_WANDB_RUN.match, names) if match))
