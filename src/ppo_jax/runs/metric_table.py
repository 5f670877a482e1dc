"""What an update measures: one table of names, units and meanings."""

from __future__ import annotations

from ppo_jax.results import Metric

__all__ = ["METRICS", "OF_UPDATE", "Metric"]

METRICS = tuple(
    Metric(*row)
    for row in (
        ("policy_loss", "", "clipped surrogate, mean over the minibatches applied; in units of the advantages"),
        ("value_loss", "return²", "mean squared value error (clipped where clip_range_vf is set), raw returns"),
        (
            "loss",
            "",
            "the whole loss, whose gradient is followed; its value error in the units of the network's output",
        ),
        ("entropy", "nat", "mean entropy of the policy over valid actions"),
        ("entropy_normalized", "1", "entropy / log(valid actions), over states with at least two"),
        ("approx_kl", "nat", "mean of (r - 1) - log r, r the ratio of new to old probability"),
        ("clip_fraction", "1", "share of ratios outside 1 ± clip_range"),
        ("value_clip_fraction", "1", "share of values further than clip_range_vf from the rollout's"),
        ("explained_variance", "1", "1 - Var(returns - values) / Var(returns), before the update; null if degenerate"),
        ("returns_degenerate", "0/1", "std of the returns under 1% of the reward range"),
        ("returns_std", "return", "std of the returns"),
        ("value_error_std", "return", "std of returns - values"),
        ("advantage_std", "return", "std of the advantages before normalisation"),
        ("grad_norm", "", "global norm of the gradient of the loss before clipping"),
        ("grad_clip_fraction", "1", "share of minibatches whose gradient was clipped"),
        ("learning_rate", "", "learning rate of this update"),
        ("ent_coef", "", "entropy coefficient of this update"),
        ("clip_range", "", "clip range of this update"),
        ("epochs_completed", "epochs", "epochs whose every minibatch was applied"),
        ("minibatches_applied", "minibatches", "gradient steps of this update"),
        ("early_stopped", "0/1", "the KL limit ended the epochs"),
        ("update_skipped", "0/1", "with on_nan = skip: a loss or parameter was not finite, the update was dropped"),
        ("episodes", "episodes", "episodes that ended in the rollout"),
        ("episode_return_mean", "return", "mean undiscounted return of those episodes; null if none"),
        ("episode_length_mean", "steps", "their mean length"),
        ("truncated_fraction", "1", "share of them cut by a time limit"),
        (
            "no_valid_action",
            "1",
            "environments of your own: share of steps whose action_mask offers nothing; must be 0",
        ),
        ("proved_positive", "1", "proof tasks: share of true queries proved, among finished episodes"),
        ("proved_negative", "1", "proof tasks: share of corrupted queries proved"),
        ("answered_right", "1", "answers: share of finished episodes that ended with the hidden fact's answer"),
        ("answered_known", "1", "answers: share that ended with another training fact"),
        ("answered_wrong", "1", "answers: share that ended with what no training fact says"),
        ("proof_length_mean", "steps", "proof tasks: mean length of the proofs found"),
        ("candidates_mean", "actions", "proof tasks: mean number of valid actions"),
        ("forced_fraction", "1", "proof tasks: share of states with one valid action"),
        ("overflow_fraction", "1", "proof tasks: share of successors dropped for want of room"),
        ("too_long_fraction", "1", "proof tasks: the part of it with more than max_atoms atoms; the rest had no slot"),
    )
)
_OF_LOSS = {
    *("policy_loss", "value_loss", "entropy", "entropy_normalized"),
    *("approx_kl", "clip_fraction", "value_clip_fraction"),
}
# What the update and its line in metrics.jsonl report themselves; a loss of a user's own cannot.
OF_UPDATE = {"update", "env_steps", *(metric.name for metric in METRICS)} - _OF_LOSS
