"""What is nearest to a mistake and right, to end an error message with."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable

__all__ = ["POLICIES", "nearest", "nearest_divisors", "nearest_key"]

MOST = 25  # names of a list
LONGEST = 100  # characters of a name that is compared with others

# What other libraries call a key.
OTHER_NAMES = {
    **dict.fromkeys(("lr", "alpha", "actor_lr", "lr_actor", "pi_lr", "step_size"), "learning_rate"),
    **dict.fromkeys(("critic_lr", "lr_critic", "vf_lr"), "critic_learning_rate"),
    **dict.fromkeys(("num_envs", "nenvs", "n_env", "num_actors", "n_workers"), "n_envs"),
    **dict.fromkeys(("num_steps", "nsteps", "rollout_length", "unroll_length", "horizon"), "n_steps"),
    **dict.fromkeys(("num_epochs", "update_epochs", "noptepochs", "ppo_epochs", "num_sgd_iter"), "n_epochs"),
    **dict.fromkeys(("minibatch_size", "mini_batch_size", "num_minibatches", "nminibatches"), "batch_size"),
    **dict.fromkeys(("num_timesteps", "n_timesteps", "total_steps", "max_steps", "timesteps"), "total_timesteps"),
    **dict.fromkeys(("discount", "discounting", "discount_factor"), "gamma"),
    **dict.fromkeys(("lam", "lambda", "lmbda", "gae", "td_lambda"), "gae_lambda"),
    **dict.fromkeys(("clip", "clip_coef", "clip_eps", "clip_epsilon", "clip_param", "cliprange"), "clip_range"),
    **dict.fromkeys(("vf_clip", "clip_vloss", "cliprange_vf", "vf_clip_param"), "clip_range_vf"),
    **dict.fromkeys(("entropy", "entropy_cost", "entropy_coef", "entropy_coeff", "entropy_coefficient"), "ent_coef"),
    **dict.fromkeys(("value_coef", "vf_loss_coeff", "value_loss_coef", "critic_coef"), "vf_coef"),
    **dict.fromkeys(("grad_clip", "max_norm", "clip_grad_norm", "global_norm"), "max_grad_norm"),
    **dict.fromkeys(("kl", "max_kl", "kl_target", "desired_kl"), "target_kl"),
    **dict.fromkeys(("env", "env_name", "environment", "env_kwargs"), "env_id"),
    **dict.fromkeys(("net_arch", "hidden", "hidden_dims", "hidden_layers", "layers", "layer_size"), "hidden_sizes"),
    **dict.fromkeys(("activation_fn", "nonlinearity"), "activation"),
    **dict.fromkeys(("norm_obs", "normalize_obs", "normalize_env"), "normalize_observations"),
    **dict.fromkeys(("norm_reward", "normalize_reward", "reward_scaling"), "normalize_rewards"),
    **dict.fromkeys(("norm_adv", "normalize_advantages"), "normalize_advantage"),
    **dict.fromkeys(("rnn", "lstm", "gru", "use_lstm"), "core"),
    **dict.fromkeys(("lstm_hidden_size", "lstm_size", "rnn_hidden_size", "gru_size"), "core_size"),
    **dict.fromkeys(("n_eval_episodes", "num_eval_episodes", "num_evals"), "eval_episodes"),
    **dict.fromkeys(("eval_freq", "eval_every"), "eval_interval"),
    **dict.fromkeys(("wandb_project_name", "project"), "wandb_project"),
    **dict.fromkeys(("track", "use_wandb"), "wandb"),
}

POLICIES = 'CnnPolicy is network = "cnn", MlpPolicy "mlp", and a memory is core = "gru" or "lstm"'
# Of Stable-Baselines3, what no one key stands for.
NOT_A_KEY = {
    **dict.fromkeys(("policy", "policy_type"), f"did you mean network? {POLICIES}"),
    "policy_kwargs": "its parts are keys of their own: hidden_sizes = [64, 64], activation, log_std_init, core_size",
    "verbose": "leave it out; --quiet (in Python progress=False) shows no progress bar",
    **dict.fromkeys(
        ("run_dir", "log_dir", "logdir", "save_dir", "output_dir", "checkpoint_dir"),
        "the folder of a run is not a setting: --run-dir FOLDER, and in Python train(config, FOLDER)",
    ),
    **dict.fromkeys(
        ("use_sde", "sde_sample_freq"), "not offered; the nearest is state_dependent_std = true, for continuous actions"
    ),
    **dict.fromkeys(
        ("features_extractor_class", "features_extractor_kwargs", "optimizer_class"),
        'a network or an optimizer of your own is network = "module:Name", optimizer = "module:name"',
    ),
    "tensorboard_log": "set tensorboard = true; its files lie in the run's folder",
    "device": "leave it out: JAX takes an accelerator where it finds one, and a CPU with JAX_PLATFORMS=cpu",
}


def nearest_key(name: str, known: Iterable[str]) -> str:
    """As `nearest`, of the keys of a configuration: also what other libraries call one of them.

    A name that is like none of them may be a parameter of the environment.
    """
    see = "`ppo-jax config` explains each"
    if hint := NOT_A_KEY.get(name.lower()):
        return hint
    if meant := OTHER_NAMES.get(name.lower()):
        return f"did you mean {meant}? {see}"
    if close := _close(name, known):
        return f"did you mean {' or '.join(close)}? {see}"
    return f"{see} key" + f"; a parameter of the environment is env_params.{name}" * name.isidentifier()


def nearest(name: str, known: Iterable[str], see: str = "") -> str:
    """The known names most like `name`, as a hint that ends an error message; of many only the first are told.

    `see` says where there is more about them, and ends the hint.
    """
    known = list(known)
    if close := _close(name, known):
        return f"did you mean {' or '.join(close)}?" + f" {see}" * bool(see)
    told = known if len(known) <= MOST else known[: MOST - 1]
    more = f", … ({len(known)} in all)" if len(known) > len(told) else ""
    return f"known: {', '.join(told)}{more}" + f"; {see}" * bool(see)


def _close(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name[:LONGEST], list(known), n=3, cutoff=0.5)


def nearest_divisors(factors: Iterable[int], wanted: int) -> list[int]:
    """The three divisors of the product of `factors` that lie closest to `wanted`, ascending."""
    each = [[d for i in range(1, math.isqrt(n) + 1) if n % i == 0 for d in (i, n // i)] for n in factors]
    divisors = {math.prod(parts) for parts in itertools.product(*each)}
    return sorted(sorted(divisors, key=lambda d: (abs(d - wanted), d))[:3])
