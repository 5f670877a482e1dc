"""Advice in the words of the trainer that wrote a log: its arguments, and the classes that do what our settings do.

A rule writes ``{learning_rate}`` or ``{normalize_rewards}``; `say` puts in what a user of the trainer types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ppo_jax.analysis.formatting import write_setting

__all__ = ["advise", "first_sentence", "say", "write_change"]

# Of the trainers whose names are not ours. What is not listed is called as it is here.
_SB3 = {
    "decay_learning_rate": "learning_rate=lambda left: left * first_rate",
    "decay_ent_coef": "ent_coef of 0.01, lowered by a callback that sets model.ent_coef",
    "normalize_rewards": "VecNormalize(venv, norm_reward=True)",
    "normalize_observations": "VecNormalize(venv, norm_obs=True)",
    "no_value_clip": "clip_range_vf=None",
    "separate_critic": "policy_kwargs=dict(net_arch=dict(pi=[64, 64], vf=[64, 64]))",
    "recurrent": "RecurrentPPO of sb3_contrib",
    "frame_stack": "VecFrameStack(venv, 4)",
    "monitor": "wrap each environment in stable_baselines3.common.monitor.Monitor",
    "bounded_actions": "use_sde=True with squash_output=True in policy_kwargs",
    "log_std": "log_std_init in policy_kwargs",
    "target_kl": "target_kl=0.03",
    "keep_best": "EvalCallback(best_model_save_path=…)",
    "clip_actions": "gymnasium.wrappers.RescaleAction",
    "evaluate": "sync_envs_normalization(train_env, eval_env), VecNormalize(eval_env, training=False, "
    "norm_reward=False), and deterministic=False",
}
_CLEANRL = {
    "learning_rate": "--learning-rate",
    "n_envs": "--num-envs",
    "n_steps": "--num-steps",
    "n_epochs": "--update-epochs",
    "batch_size": "--num-minibatches",
    "ent_coef": "--ent-coef",
    "vf_coef": "--vf-coef",
    "gamma": "--gamma",
    "gae_lambda": "--gae-lambda",
    "clip_range": "--clip-coef",
    "max_grad_norm": "--max-grad-norm",
    "total_timesteps": "--total-timesteps",
    "target_kl": "--target-kl 0.03",
    "decay_learning_rate": "--anneal-lr",
    "decay_ent_coef": "an --ent-coef of 0.01, lowered in the training loop",
    "normalize_rewards": "gym.wrappers.NormalizeReward(env)",
    "normalize_observations": "gym.wrappers.NormalizeObservation(env)",
    "no_value_clip": "--no-clip-vloss",
    "separate_critic": "layers of its own for the critic in Agent",
    "recurrent": "ppo_atari_lstm.py",
    "frame_stack": "gym.wrappers.FrameStackObservation(env, 4)",
    "monitor": "wrap each environment in gym.wrappers.RecordEpisodeStatistics",
    "bounded_actions": "actions squashed by tanh in Agent",
    "log_std": "actor_logstd in Agent",
    "keep_best": "a copy of the weights at the best return",
    "clip_actions": "gym.wrappers.ClipAction",
    "evaluate": "the statistics of NormalizeObservation copied from the training environment, and sampled actions",
}
_BASELINES = _SB3 | {
    "n_epochs": "noptepochs",
    "batch_size": "nminibatches",
    "clip_range": "cliprange",
    "no_value_clip": "cliprange_vf=-1",
    "target_kl": "a smaller cliprange",
    "recurrent": 'policy="MlpLstmPolicy"',
    "monitor": "wrap each environment in stable_baselines.bench.Monitor",
}
_RLLIB = {
    "learning_rate": "lr",
    "n_epochs": "num_epochs",
    "batch_size": "minibatch_size",
    "ent_coef": "entropy_coeff",
    "vf_coef": "vf_loss_coeff",
    "clip_range": "clip_param",
    "gae_lambda": "lambda_",
    "n_steps": "rollout_fragment_length",
    "n_envs": "num_envs_per_env_runner",
    "max_grad_norm": "grad_clip",
    "target_kl": "kl_target",
    "decay_learning_rate": "lr=[[0, first_rate], [total_steps, 0.0]]",
    "decay_ent_coef": "entropy_coeff=[[0, 0.01], [total_steps, 0.0]]",
    "normalize_rewards": "gym.wrappers.NormalizeReward(env)",
    "normalize_observations": "the MeanStdFilter",
    "no_value_clip": "a large vf_clip_param",
    "separate_critic": "vf_share_layers=False",
    "recurrent": "use_lstm=True",
    "frame_stack": "frame stacking",
    "monitor": "RLlib logs episode returns by itself once an episode ends, so look whether one ever does",
    "bounded_actions": "normalize_actions=True",
    "log_std": "free_log_std",
    "keep_best": "the checkpoint with the best return",
    "clip_actions": "clip_actions=True",
    "evaluate": "the same filter in the evaluation workers, and explore=True",
}
_OURS = {
    "decay_learning_rate": "learning_rate = { init = …, final = … / 30 }",
    "decay_ent_coef": "ent_coef = { init = …, final = … }",
    "normalize_rewards": "normalize_rewards = true",
    "normalize_observations": "normalize_observations = true",
    "no_value_clip": "clip_range_vf = none",
    "separate_critic": "separate_critic = true",
    "recurrent": 'core = "gru"',
    "frame_stack": "frame_stack = 4",
    "monitor": "episodes must end within the run",
    "bounded_actions": "squash_actions = true",
    "log_std": "log_std_init",
    "target_kl": "target_kl = 0.03",
    "keep_best": "the best parameters, which are kept",
    "clip_actions": "a wrapper that scales actions",
    "evaluate": "the same normalisation as in training, and sampled actions",
    "fact_dropout": "fact_dropout = 0.15",
    "fact_layers": "fact_layers = 2",
    "causes": "what explains it",  # where no run is at hand
}
WORDS: Mapping[str, Mapping[str, str]] = {
    "ppo_jax": _OURS,
    "sb3": _SB3,
    "cleanrl": _CLEANRL,
    "baselines": _BASELINES,
    "rllib": _RLLIB,
}
# Settings of ours that elsewhere are not a setting; the changes to them are said by a phrase.
_PHRASES = {
    "normalize_rewards": "normalize_rewards",
    "normalize_values": "normalize_rewards",
    "normalize_observations": "normalize_observations",
    "separate_critic": "separate_critic",
    "core": "recurrent",
    "clip_range_vf": "no_value_clip",
}


# What is done already, by the settings one of which does it. What is not listed can be done again, as a lower rate.
_DONE_BY = {
    "normalize_rewards": ("normalize_rewards", "normalize_values"),
    "normalize_observations": ("normalize_observations",),
    "separate_critic": ("separate_critic",),
    "recurrent": ("core",),
    "frame_stack": ("frame_stack",),
    "bounded_actions": ("squash_actions",),
    "target_kl": ("target_kl",),
    "fact_dropout": ("fact_dropout",),
    "fact_layers": ("fact_layers",),
}
_NAME = re.compile(r"\{([a-z_]+)\}")
_BETWEEN_SENTENCES = re.compile(r"(?<=\.) (?=[A-Z{])")
NOTHING_LEFT = "What it would change is set so already: look at the task and the data, or at other findings."


def advise(text: str, trainer: str, settings: Mapping[str, Any], causes: Sequence[str] = ()) -> str:
    """Advice without the sentences that a run has followed already, in the words of its trainer.

    Args:
        text: sentences, one for each thing to do; ``{causes}`` stands for the findings that explain this one.
        trainer: that wrote the log.
        settings: of the run, as far as known.
        causes: ids of those findings; a sentence about them is left out where there are none.
    """
    done = {name for name, keys in _DONE_BY.items() if any(settings.get(key) for key in keys)}
    done |= set() if causes else {"causes"}
    sentences = _BETWEEN_SENTENCES.split(text)
    left = [one for one in sentences if not (names := set(_NAME.findall(one))) or names - done]
    if len(left) < len(sentences) and all(one.startswith("It helped if") for one in left):
        return NOTHING_LEFT
    first = re.sub(r"^(?:Or|Else),? (\w)", lambda found: found[1].upper(), " ".join(left))
    return say(first.replace("{causes}", " and ".join(causes)), trainer)


def first_sentence(advice: str) -> str:
    """What advice says to do first."""
    return _BETWEEN_SENTENCES.split(advice)[0]


def say(text: str, trainer: str) -> str:
    """Put the words of a trainer in place of the names in braces."""
    words = WORDS.get(trainer, _SB3)
    return _NAME.sub(lambda name: words.get(name[1], name[1]), text)


def write_change(key: str, value: Any, trainer: str) -> str:
    """A setting to try, as a user of a trainer other than ppo_jax writes it; in words where it is a schedule."""
    if key in _PHRASES and (value is True or value is None or key == "core"):
        return say(f"{{{_PHRASES[key]}}}", trainer)
    name = WORDS.get(trainer, _SB3).get(key, key).split("=")[0].split()[0]
    if isinstance(value, Mapping):
        return f"{name} {write_setting(value)}"
    written = write_setting(value).replace(",", "")
    return f"{name} {written}" if name.startswith("--") else f"{name}={written}"
