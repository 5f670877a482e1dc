"""Rules about returns, values and advantages: what the critic learns from, and whether it learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppo_jax.analysis.healthy_ranges import (
    EXPLAINED_VARIANCE_POOR,
    GRADIENTS_CLIPPED_ALWAYS,
    VALUE_LOSS_HIGH,
    VALUES_CLIPPED_OFTEN,
)
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.rules.rule import Hit, number, peak, rule

__all__ = [
    "advantages_degenerate",
    "critic_memorises",
    "critic_uninformative",
    "critic_worse_than_mean",
    "gradient_always_clipped",
    "horizon_too_short",
    "non_finite",
    "returns_degenerate",
    "reward_scale",
    "truncation_dominates",
    "value_clip_saturated",
    "value_loss_high",
]

CRITIC_ADVICE = (
    "Find what keeps the critic from fitting first (the findings this one is because of). Else give it a trunk of its "
    "own (separate_critic = true), more weight (vf_coef = 1.0), and minibatches small enough for at least 16 gradient "
    "steps an update."
)


@rule(
    "critic-worse-than-mean",
    severity="error",
    threshold="explained variance < 0 on average over the last fifth",
    cause="The value estimates are further from the returns than their mean would be, so advantages carry the critic's "
    "error into every policy step.",
    advice=CRITIC_ADVICE,
    source="explained variance 1 − Var(R − V) / Var(R), as Stable-Baselines3 logs it",
    confidence=0.9,
    columns=("explained_variance",),
)
def critic_worse_than_mean(run: Evidence) -> Hit | None:
    explained = run.tail("explained_variance")
    if explained >= 0.0:
        return None
    return Hit(
        f"explained variance {number(explained)} on average over {run.last_fifth()}{_stopped(run)}", _better_critic(run)
    )


@rule(
    "critic-uninformative",
    severity="warning",
    threshold=f"0 ≤ explained variance < {EXPLAINED_VARIANCE_POOR:g} over the last fifth; an error below 0.1 or "
    "where the critic cannot learn",
    cause="The critic says little more than the mean return, so advantages are almost as noisy as the returns.",
    advice=CRITIC_ADVICE,
    source="Andrychowicz et al. 2021, What Matters for On-Policy Deep Actor-Critic Methods",
    confidence=0.8,
    columns=("explained_variance",),
)
def critic_uninformative(run: Evidence) -> Hit | None:
    explained, stopped = run.tail("explained_variance"), _stopped(run)
    if not 0.0 <= explained < EXPLAINED_VARIANCE_POOR:
        return None
    evidence = f"explained variance {number(explained)} on average over {run.last_fifth()}{stopped}"
    return Hit(evidence, _better_critic(run), "error" if stopped or explained < 0.1 else None)


@rule(
    "returns-degenerate",
    severity="info",
    threshold="std of the returns < 1% of the reward range in half of the last fifth, or < 10% of its largest value",
    cause="Nearly every state leads to the same return: the task is solved or the policy is stuck. Explained variance "
    "divides by the returns' variance and means nothing here.",
    advice="Judge the run by its returns or proofs. If they are good, stop earlier; if not, look for a reward that "
    "tells outcomes apart, and for what keeps the policy from exploring.",
    source="Var(R) in the denominator of the explained variance",
    confidence=0.8,
    columns=("returns_degenerate|returns_std|episode_return_mean",),
)
def returns_degenerate(run: Evidence) -> Hit | None:
    if run.has("returns_degenerate") and (share := run.tail("returns_degenerate")) > 0.5:
        return Hit(f"in {share:.0%} of {run.last_fifth()} the returns vary by less than 1% of the reward range")
    if run.has("returns_std"):
        last, most = run.tail("returns_std"), float(run.finite("returns_std").max())
        if last < 0.1 * most or most == 0.0:
            return Hit(f"the returns' std is {number(last)} over {run.last_fifth()}, {number(most)} at its largest")
        return None
    returns = run.finite("episode_return_mean")
    late = returns[-max(1, returns.size // 5) :]
    if returns.size >= 5 and np.ptp(late) <= 0.01 * abs(returns).max():
        return Hit(f"the mean return stays within {number(np.ptp(late))} of {number(late.mean())}", confidence=0.6)
    return None


@rule(
    "value-loss-high",
    severity="warning",
    threshold="value loss > the variance of the returns, over the last fifth",
    cause="The value loss alone says nothing; beside the variance of the returns it says that a constant would do "
    "better.",
    advice="Take care of the critic's other findings first; then raise vf_coef, or take smaller minibatches.",
    source="value loss is E[(V − R)²], which the best constant brings to Var(R)",
    confidence=0.7,
    columns=("value_loss", "returns_std"),
)
def value_loss_high(run: Evidence) -> Hit | None:
    loss, variance = run.tail("value_loss"), float(np.square(run.tail("returns_std")))
    if loss <= VALUE_LOSS_HIGH * variance or loss <= 1e-8:
        return None
    evidence = f"value loss {number(loss)} over {run.last_fifth()}, the variance of the returns {number(variance)}"
    return Hit(evidence, _better_critic(run))


@rule(
    "value-clip-saturated",
    severity="warning",
    threshold="over half of the values hit clip_range_vf in the last fifth",
    cause="clip_range_vf is in the units of the returns: where these are large, it keeps the critic from following.",
    advice="Set clip_range_vf = none, or scale the rewards first (normalize_rewards = true).",
    source="Engstrom et al. 2020, Implementation Matters in Deep Policy Gradients; Andrychowicz et al. 2021",
    confidence=0.8,
    columns=("value_clip_fraction",),
)
def value_clip_saturated(run: Evidence) -> Hit | None:
    share = run.tail("value_clip_fraction")
    if share <= VALUES_CLIPPED_OFTEN:
        return None
    return Hit(f"{share:.0%} of the values hit clip_range_vf = {run.setting('clip_range_vf')}", {"clip_range_vf": None})


@rule(
    "advantages-degenerate",
    severity="error",
    threshold="std of the advantages < 1e-6, or every return is 0 and their std < 0.02",
    cause="No action differs from any other in what follows: rewards are constant or missing. Normalised advantages "
    "are then noise.",
    advice="Check that the environment rewards anything, and that episodes reach the reward (longer episodes, easier "
    "first tasks, another reward).",
    source="the policy gradient is E[∇ log π · A]: no spread of A, no gradient",
    confidence=0.9,
    columns=("advantage_std",),
)
def advantages_degenerate(run: Evidence) -> Hit | None:
    spread = run.tail("advantage_std")
    returns = run.finite("episode_return_mean")
    silent = returns.size > 0 and float(np.abs(returns).max()) == 0.0
    if spread > 1e-6 and not (silent and spread < 0.02):
        return None
    said = "; no episode got any reward" if silent else ""
    return Hit(f"the advantages' std is {number(spread)} over {run.last_fifth()}{said}")


@rule(
    "reward-scale",
    severity="warning",
    threshold="std of the returns > 100 without normalisation; an error over 300",
    cause="Value errors grow with the square of the reward's scale and drown the policy's gradient under the shared "
    "gradient clip; Adam needs many steps to move the critic so far.",
    advice="Set normalize_rewards = true (or normalize_values = true), or divide the reward in the environment.",
    source="Engstrom et al. 2020; Henderson et al. 2018, Deep Reinforcement Learning that Matters, section on reward "
    "scale",
    confidence=0.9,
    columns=("returns_std",),
)
def reward_scale(run: Evidence) -> Hit | None:
    spread = float(np.median(run.finite("returns_std")))
    if spread <= 100.0 or run.setting("normalize_rewards") or run.setting("normalize_values"):
        return None
    severity = "error" if spread > 300.0 else None
    return Hit(f"the returns' std is {number(spread)}, at the median", {"normalize_rewards": True}, severity)


@rule(
    "horizon-too-short",
    severity="warning",
    threshold="1 / (1 − γ) < 4% of the longest mean episode; an error where it is also below 3 steps",
    cause="γ discounts away what an action leads to before the episode shows it.",
    advice="Raise gamma until 1 / (1 − gamma) is of the order of an episode, or of the delay between an action and its "
    "reward.",
    source="Schulman et al. 2016, Generalized Advantage Estimation; effective horizon 1 / (1 − γ)",
    confidence=0.8,
    columns=("episode_length_mean",),
    settings=("gamma",),
)
def horizon_too_short(run: Evidence) -> Hit | None:
    gamma, length = float(run.setting("gamma")), run.longest_episode()
    horizon = 1.0 / max(1.0 - gamma, 1e-6)
    blind = horizon < 3.0 and length > 1.5 * horizon
    if not blind and horizon >= 0.04 * length:
        return None
    evidence = f"gamma = {gamma:g} looks {number(horizon)} steps ahead, episodes take up to {number(length)}"
    better = round(min(0.999, max(0.99, 1.0 - 1.0 / length)), 4)
    return Hit(evidence, {"gamma": better}, "error" if blind else None)


@rule(
    "gradient-always-clipped",
    severity="info",
    threshold=f"over {GRADIENTS_CLIPPED_ALWAYS:.0%} of the gradients are clipped, at a median norm over 5 × "
    "max_grad_norm",
    cause="Each step has the same length whatever the loss: the clip, not the learning rate, sets the pace, and the "
    "larger of the policy's and the critic's gradients crowds out the other.",
    advice="Scale rewards or values (normalize_rewards, normalize_values), or raise max_grad_norm.",
    source="Andrychowicz et al. 2021, on gradient clipping",
    confidence=0.6,
    columns=("grad_clip_fraction", "grad_norm"),
    settings=("max_grad_norm",),
)
def gradient_always_clipped(run: Evidence) -> Hit | None:
    share, limit = run.mean("grad_clip_fraction"), run.setting("max_grad_norm")
    norm = float(np.median(run.finite("grad_norm")))
    if share <= GRADIENTS_CLIPPED_ALWAYS or norm <= 5.0 * limit:
        return None
    return Hit(f"{share:.0%} of the gradients were clipped; their norm is {number(norm)}, the limit {limit:g}")


@rule(
    "non-finite",
    severity="error",
    threshold="a loss, the KL divergence or the entropy is NaN or infinite at any update",
    cause="A number overflowed or was undefined. From there on the parameters are lost.",
    advice="Lower the learning rate and scale the rewards; if it happens at once, look for NaN in the environment's "
    "observations and rewards.",
    source="IEEE 754: NaN in, NaN out",
    confidence=1.0,
    columns=("policy_loss|value_loss|approx_kl|entropy|update",),
)
def non_finite(run: Evidence) -> Hit | None:
    for name in ("policy_loss", "value_loss", "approx_kl", "entropy"):
        bad = np.flatnonzero(~np.isfinite(run.series(name)))
        # Another trainer's log may lack a number here and there; one that ends in NaN has lost its run.
        lost = bad.size and (run.log.kind == "ppo_jax" or (run.has(name) and bad[-1] == run.n_updates - 1))
        if lost and (run.log.kind != "ppo_jax" or name in run.log.columns):
            first = run.log.columns["update"][bad[0]]
            return Hit(
                f"{name} is not finite at {bad.size} of {run.n_updates} updates, the first is update {first:.0f}"
            )
    return None


@rule(
    "truncation-dominates",
    severity="warning",
    threshold="half of the episodes are cut by a time limit and bootstrap_truncation is off",
    cause="A cut is taken for an end: the states before it seem worth less than they are, and the agent cannot see "
    "which these are.",
    advice="Set bootstrap_truncation = true.",
    source="Pardo et al. 2018, Time Limits in Reinforcement Learning",
    confidence=0.8,
    columns=("truncated_fraction",),
    settings=("bootstrap_truncation",),
)
def truncation_dominates(run: Evidence) -> Hit | None:
    share = run.tail("truncated_fraction")
    if share < 0.5 or run.setting("bootstrap_truncation"):
        return None
    return Hit(f"{share:.0%} of the episodes are cut by the time limit", {"bootstrap_truncation": True})


@rule(
    "critic-memorises",
    severity="warning",
    threshold="value error on valid > 2 × that on training queries, and 0.15 above it, in the last three evaluations",
    cause="The critic knows the training queries by heart and cannot judge new ones; its explained variance, measured "
    "in training, does not show it.",
    advice="More varied queries (fact_dropout = 0.15, more training facts), actions described by what is known of "
    "their constants (fact_layers = 2), a smaller critic, fewer epochs; never trust explained variance alone.",
    source="generalisation gap of the value function, docs/evaluation.md",
    confidence=0.8,
    records=("value errors",),
)
def critic_memorises(run: Evidence) -> Hit | None:
    errors = run.value_errors()[-3:]
    valid, train = errors.mean(axis=0)
    if valid <= 2.0 * train or valid - train <= 0.15:
        return None
    return Hit(
        f"root mean square error of the value: {valid:.2f} on validation queries, {train:.2f} on training queries",
        {
            name: value
            for name, value in (("fact_dropout", 0.15), ("fact_layers", 2))
            if run.setting(name) == 0 and (name != "fact_layers" or run.setting("network") != "proof_successors")
        },
    )


def _stopped(run: Evidence) -> str:
    """Why the critic cannot learn at all; the empty string where it can."""
    if run.setting("vf_coef") == 0:
        return "; with vf_coef = 0 nothing trains the critic"
    frozen = peak(run.setting("critic_learning_rate")) == 0
    return "; with critic_learning_rate = 0 nothing trains the critic" if frozen else ""


def _better_critic(run: Evidence) -> dict[str, Any]:
    """The first of these that is not done yet: let it learn, a trunk of its own, more weight."""
    vf_coef = run.setting("vf_coef")
    if vf_coef == 0:
        return {"vf_coef": 0.5}
    if peak(run.setting("critic_learning_rate")) == 0:
        return {"critic_learning_rate": None}
    if run.setting("separate_critic") is False:
        return {"separate_critic": True}
    return {"vf_coef": 1.0} if vf_coef is not None and vf_coef < 1.0 else {}
