"""Rules about returns, values and advantages: what the critic learns from, and whether it learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppo_jax.analysis.healthy_ranges import (
    EXPLAINED_VARIANCE_NIL,
    EXPLAINED_VARIANCE_POOR,
    GRADIENTS_CLIPPED_ALWAYS,
    VALUE_ERROR_HIGH,
    VALUE_ERROR_TOO_HIGH,
    VALUE_LOSS_HIGH,
    VALUES_CLIPPED_OFTEN,
)
from ppo_jax.analysis.rules.curve import high, median
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.rules.policy import hardly_moves
from ppo_jax.analysis.rules.rule import Hit, number, peak, rule
from ppo_jax.runs.given import LOOK_AT_LOSS
from ppo_jax.tasks import results

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

FIT_FIRST = "Mend {causes} first, which may keep the critic from fitting."
MEMORY = "If the observation hides part of the state, give the policy a memory first: {recurrent}."
TRUNK = "Give the critic a trunk of its own: {separate_critic}."
WEIGHT = "Give it more weight: raise {vf_coef}."
MINIBATCHES = "Take minibatches small enough for at least 16 gradient steps an update."
NOTHING_LEFT = (
    "Of the settings that help a critic none is left to change, so try a larger network, and look at whether the "
    "observation shows what the returns depend on."
)
HELPED = "It helped if the explained variance rises above 0.3."
CRITIC_ADVICE = f"{TRUNK} {WEIGHT} {MINIBATCHES} {HELPED}"
SCALE_FIRST = (
    "Scale the rewards first: {normalize_rewards}. Leave {vf_coef} as it is: more of a value loss of this size only "
    "crowds out the policy. It helped if the explained variance rises above 0.3."
)


@rule(
    "critic-worse-than-mean",
    severity="error",
    threshold=f"explained variance < −{EXPLAINED_VARIANCE_NIL:g} at the median of the last fifth, or, of five to nine "
    "updates, < −0.1 at each and not rising; a warning above −0.5 where returns rise to their best",
    cause="The value estimates are further from the returns than their mean would be, so advantages carry the critic's "
    "error into every policy step.",
    advice=CRITIC_ADVICE,
    source="explained variance 1 − Var(R − V) / Var(R), as Stable-Baselines3 logs it",
    confidence=0.9,
    columns=("explained_variance",),
    least=5,
)
def critic_worse_than_mean(run: Evidence) -> Hit | None:
    measured = run.finite("explained_variance")
    if measured.size < 10:
        half = measured.size // 2
        if (measured >= -0.1).any() or median(measured[half:]) > 0.5 * median(measured[:half]):
            return None
        seen = f"explained variance below −0.1 at each of {measured.size} updates (median {number(median(measured))})"
        return _critic(run, f"{seen}; more updates would make it surer", None, 0.6)
    explained = run.late("explained_variance")
    if explained >= -EXPLAINED_VARIANCE_NIL:
        return None
    evidence = f"explained variance {number(explained)} at the median of {run.last_fifth()}"
    return _critic(run, evidence, "warning" if explained > -0.5 and run.learns() else None)


@rule(
    "critic-uninformative",
    severity="warning",
    threshold=f"−{EXPLAINED_VARIANCE_NIL:g} ≤ explained variance < {EXPLAINED_VARIANCE_POOR:g} at the median of the "
    "last fifth; an error below 0.1, unless returns rise to their best, or where the critic cannot learn",
    cause="The critic says little more than the mean return, so advantages are almost as noisy as the returns.",
    advice=CRITIC_ADVICE,
    source="Andrychowicz et al. 2021, What Matters for On-Policy Deep Actor-Critic Methods",
    confidence=0.8,
    columns=("explained_variance",),
)
def critic_uninformative(run: Evidence) -> Hit | None:
    explained = run.late("explained_variance")
    if not -EXPLAINED_VARIANCE_NIL <= explained < EXPLAINED_VARIANCE_POOR:
        return None
    said = "0 (no better than the mean return)" if abs(explained) < EXPLAINED_VARIANCE_NIL else number(explained)
    blind = explained < 0.1 and not run.learns()
    evidence = f"explained variance {said} at the median of {run.last_fifth()}"
    return _critic(run, evidence, "error" if blind or _stopped(run) else None)


@rule(
    "returns-degenerate",
    severity="info",
    threshold="std of the returns < 1% of the reward range in half of the last fifth, or < 10% of what it was at its "
    "largest (the 90th percentile); of other trainers' logs √(value loss / (1 − explained variance)) stands for it; "
    "or the mean return stays at the highest of the run with a low explained variance and a critic that trains",
    cause="Nearly every episode ends alike: the task is solved or the policy is stuck. Explained variance divides by "
    "the returns' variance and means nothing here.",
    advice="Judge the run by its results. If they are good, stop earlier. If not, look for a reward that "
    "tells outcomes apart, and for what keeps the policy from exploring.",
    source="Var(R) in the denominator of the explained variance",
    confidence=0.8,
    columns=("returns_degenerate|returns_std",),
)
def returns_degenerate(run: Evidence) -> Hit | None:
    if run.late("returns_degenerate") > 0.5:
        share = run.tail("returns_degenerate")
        return Hit(f"in {share:.0%} of {run.last_fifth()} the returns vary by less than 1% of the reward range")
    if not run.has("returns_std"):
        return None
    last, most = run.late("returns_std"), high(run.finite("returns_std"))
    if last >= 0.1 * most and most != 0.0:
        return _solved(run)
    curve, idle = run.returns, ""
    if curve is not None and abs(curve.end) < 0.01 * max(curve.range, 1e-9):
        idle = "; the mean return is about 0 there: the policy has settled on doing nothing, or on what costs nothing"
    return Hit(f"the returns' std is {number(last)} over {run.last_fifth()}, {number(most)} at its largest{idle}")


@rule(
    "value-loss-high",
    severity="warning",
    threshold="value loss > the variance of the returns, over the last fifth",
    cause="The value loss alone says nothing; beside the variance of the returns it says that a constant would do "
    "better.",
    advice=CRITIC_ADVICE.replace(HELPED, "It helped if the value loss falls below that variance."),
    source="value loss is E[(V − R)²], which the best constant brings to Var(R)",
    confidence=0.7,
    columns=("value_loss", "returns_std"),
    ours_only=True,  # elsewhere the variance is known from the explained variance alone, which says the same
)
def value_loss_high(run: Evidence) -> Hit | None:
    loss, variance = run.late("value_loss"), float(np.square(run.late("returns_std")))
    if loss <= VALUE_LOSS_HIGH * variance or loss <= 1e-8:
        return None
    evidence = f"value loss {number(loss)} over {run.last_fifth()}, the variance of the returns {number(variance)}"
    advice = _critic_advice(run).replace(HELPED, "It helped if the value loss falls below that variance.")
    return Hit(evidence, _better_critic(run), advice=advice)


@rule(
    "value-clip-saturated",
    severity="warning",
    threshold="over half of the values hit clip_range_vf in the last fifth; of other trainers' logs, explained "
    f"variance < {EXPLAINED_VARIANCE_POOR:g} and a value error over 100 times clip_range_vf",
    cause="clip_range_vf is in the units of the returns: where these are large, it keeps the critic from following.",
    advice="Clip no values: {no_value_clip}. Or scale the rewards first: {normalize_rewards}. It helped if the value "
    "loss falls.",
    source="Engstrom et al. 2020, Implementation Matters in Deep Policy Gradients; Andrychowicz et al. 2021",
    confidence=0.8,
    columns=("value_clip_fraction|value_loss",),
    settings=("clip_range_vf",),
)
def value_clip_saturated(run: Evidence) -> Hit | None:
    limit = run.setting("clip_range_vf")
    if run.has("value_clip_fraction"):
        share = run.late("value_clip_fraction")
        if share <= VALUES_CLIPPED_OFTEN:
            return None
        return Hit(f"{share:.0%} of the values hit clip_range_vf = {limit}", {"clip_range_vf": None})
    error = _value_error(run)
    if run.ours or not limit or not error > 100.0 * peak(limit) or not _knows_little(run):
        return None
    evidence = (
        f"a value moves by at most {peak(limit):g} before its loss is cut off, and values are {number(error)} from the "
        f"returns over {run.last_fifth()}: the critic stands still"
    )
    return Hit(evidence, {"clip_range_vf": None}, "error")


@rule(
    "advantages-degenerate",
    severity="error",
    threshold="std of the advantages < 1e-6, or every return is 0 and their std < 0.02; of other trainers' logs, no "
    "explained variance at any of ten updates, because the returns of a rollout do not vary, or every return is 0",
    cause="No action differs from any other in what follows: rewards are constant or missing. Normalised advantages "
    "are then noise.",
    advice="Check that the environment rewards anything, and that episodes reach the reward (longer episodes, easier "
    "first tasks, another reward). It helped if some episodes have another return than the rest.",
    source="the policy gradient is E[∇ log π · A]: no spread of A, no gradient",
    confidence=0.9,
    columns=("advantage_std|approx_kl",),
)
def advantages_degenerate(run: Evidence) -> Hit | None:
    returns = run.finite("episode_return_mean")
    silent = returns.size > 0 and float(np.abs(returns).max()) == 0.0
    said = "no episode got any reward" if silent else ""
    if run.has("advantage_std"):
        spread = run.late("advantage_std")
        if spread > 1e-6 and not (silent and spread < 0.02):
            return None
        return Hit("; ".join([f"the advantages' std is {number(spread)} over {run.last_fifth()}", said][: 1 + silent]))
    if run.ours or "explained_variance" not in run.log.columns:
        return None
    undefined = not run.has("explained_variance") and run.rollout() >= 32.0
    if not undefined and not (silent and returns.size >= 10 and run.late("value_loss") < 1e-3):
        return None
    why = f"explained variance is undefined at each of {run.n_updates} updates: the returns of a rollout do not vary"
    return Hit("; ".join([said] * silent + [why] * undefined))


@rule(
    "reward-scale",
    severity="warning",
    threshold="std of the returns > 100 without normalisation, an error over 300, or < 0.03 at its largest; of other "
    f"trainers' logs, explained variance < {EXPLAINED_VARIANCE_POOR:g} and a value error over {VALUE_ERROR_HIGH:g} in "
    f"the last fifth, an error over {VALUE_ERROR_TOO_HIGH:g}",
    cause="Value errors grow with the square of the reward's scale and drown the policy's gradient under the shared "
    "gradient clip. Adam needs many steps to move the critic so far. Rewards far below 1 are lost in the critic's "
    "first guesses.",
    advice="Scale the rewards: {normalize_rewards}, or divide them in the environment so that returns are of the order "
    "of 1 to 10. Leave {vf_coef} as it is. It helped if the value loss is near 1 and the explained variance rises.",
    source="Engstrom et al. 2020; Henderson et al. 2018, Deep Reinforcement Learning that Matters, section on reward "
    "scale",
    confidence=0.9,
    columns=("returns_std|value_loss",),
)
def reward_scale(run: Evidence) -> Hit | None:
    if run.setting("normalize_rewards") or run.setting("normalize_values"):
        return None
    if run.ours and not run.has("returns_std"):
        return None
    if not run.ours:
        return _scale_by_error(run)
    spread, most = median(run.finite("returns_std")), high(run.finite("returns_std"))
    small = 0.0 < most < 0.03 and not run.late("returns_degenerate") > 0.5
    if spread <= 100.0 and not small:
        return None
    seen = f"{number(most)} at its largest" if small else f"{number(spread)}, at the median"
    return Hit(f"the returns' std is {seen}", {"normalize_rewards": True}, "error" if spread > 300.0 else None)


@rule(
    "horizon-too-short",
    severity="warning",
    threshold="1 / (1 − γ) < 4% of the longest mean episode; an error where it is also below 3 steps",
    cause="γ discounts away what an action leads to before the episode shows it.",
    advice="Raise {gamma} until 1 / (1 − gamma) is of the order of an episode, or of the delay between an action and "
    "its reward.",
    source="Schulman et al. 2016, Generalized Advantage Estimation; effective horizon 1 / (1 − γ)",
    confidence=0.8,
    columns=("episode_length_mean",),
    settings=("gamma",),
    least=5,
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
    threshold=f"over {GRADIENTS_CLIPPED_ALWAYS:.0%} of the gradients are clipped at the end, at a median norm over 5 × "
    "max_grad_norm",
    cause="Each step has the same length whatever the loss: the clip, not the learning rate, sets the pace, and the "
    "larger of the policy's and the critic's gradients crowds out the other.",
    advice="Scale the rewards: {normalize_rewards}. Or raise {max_grad_norm}.",
    source="Andrychowicz et al. 2021, on gradient clipping",
    confidence=0.6,
    columns=("grad_clip_fraction", "grad_norm"),
    settings=("max_grad_norm",),
    ours_only=True,
    least=5,
)
def gradient_always_clipped(run: Evidence) -> Hit | None:
    share, norm, limit = run.late("grad_clip_fraction"), run.late("grad_norm"), run.setting("max_grad_norm")
    if share <= GRADIENTS_CLIPPED_ALWAYS or norm <= 5.0 * limit:
        return None
    scaled = run.setting("normalize_rewards") or run.setting("normalize_values")
    return Hit(
        f"{share:.0%} of the gradients were clipped over {run.last_fifth()}; their norm is {number(norm)}, the limit "
        f"{limit:g}",
        {"max_grad_norm": 2.0 * limit} if scaled else {"normalize_rewards": True},
    )


@rule(
    "non-finite",
    severity="error",
    threshold="a loss, the KL divergence or the entropy is NaN or infinite at any update; of other trainers' logs, "
    "these or the std of the actions at the last two; with on_nan = skip, an update was skipped (a warning where fewer "
    "than half were and returns rise)",
    cause="A number overflowed or was undefined. From there on the parameters are lost.",
    advice="Lower {learning_rate}. Scale the rewards: {normalize_rewards}. If it happens at once, look for NaN in "
    "the environment's observations and rewards. It helped if every number stays finite.",
    source="IEEE 754: NaN in, NaN out",
    confidence=1.0,
    columns=("policy_loss|value_loss|approx_kl|entropy|update",),
    least=1,
)
def non_finite(run: Evidence) -> Hit | None:
    advice = f"{LOOK_AT_LOSS.format(run.own_loss)}. {non_finite.advice}" if run.own_loss else None
    skipped = np.flatnonzero(run.series("update_skipped") > 0) if run.ours else np.array([], int)
    if skipped.size:
        first = run.log.columns["update"][skipped[0]]
        return Hit(
            f"{skipped.size} of {run.n_updates} updates were skipped, the first is update {first:.0f}: a loss, a "
            "gradient or a parameter was not finite",
            advice=advice,
            severity="warning" if run.learns() and skipped.size < 0.5 * run.n_updates else None,
            cause="A number overflowed or was undefined. These updates were dropped: the parameters are those before "
            "them, and learnt nothing from their steps.",
        )
    for name in ("policy_loss", "value_loss", "loss", "approx_kl", "entropy", "action_std"):
        if name not in run.log.columns:
            continue
        lost = ~np.isfinite(run.series(name))
        if run.ours:
            lost &= name != "action_std"
        else:
            # Another trainer's log may lack a number here and there; one that ends without them has lost its run.
            trained = np.isfinite(run.series("clip_fraction")) | np.isfinite(run.series("learning_rate"))
            lost &= trained
            there = lost[trained]
            if not run.has(name) or there.size < 2 or not there[-2:].all():
                continue
        bad = np.flatnonzero(lost)
        if bad.size:
            first = run.log.columns["update"][bad[0]]
            return Hit(
                f"{name} is not finite at {bad.size} of {run.n_updates} updates, the first is update {first:.0f}",
                advice=advice,
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
    ours_only=True,
)
def truncation_dominates(run: Evidence) -> Hit | None:
    share = run.late("truncated_fraction")
    if share < 0.5 or run.setting("bootstrap_truncation"):
        return None
    return Hit(f"{share:.0%} of the episodes are cut by the time limit", {"bootstrap_truncation": True})


@rule(
    "critic-memorises",
    severity="warning",
    threshold="value error on valid > 2 × that on training queries, and 0.15 above it, in the last three evaluations",
    cause="The critic knows the training queries by heart and cannot judge new ones; its explained variance, measured "
    "in training, does not show it.",
    advice="Vary the queries: {fact_dropout}. Or describe actions by what is known of their constants: {fact_layers}. "
    "Or take more training facts, a smaller critic, fewer epochs. Never trust explained variance alone.",
    source="generalisation gap of the value function, the page on evaluation",
    confidence=0.8,
    records=("value errors",),
    ours_only=True,
    tasks=(results.PROOFS,),
)
def critic_memorises(run: Evidence) -> Hit | None:
    errors = run.value_errors()[-3:]
    valid, train = np.median(errors, axis=0)
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


def _solved(run: Evidence) -> Hit | None:
    """Where nothing is left to gain, a critic that knows little costs nothing, unless nothing trains it."""
    if not run.at_its_best() or not _knows_little(run) or _stopped(run):
        return None
    level, explained = number(run.late("episode_return_mean")), run.late("explained_variance")
    said = "0" if abs(explained) < EXPLAINED_VARIANCE_NIL else number(explained)
    return Hit(
        f"the mean return stays at {level}, the highest of the run, over {run.last_fifth()}: with nothing left to gain "
        f"an explained variance of {said} says nothing",
        advice="Judge the run by its returns. If they are good, it could stop earlier.",
    )


def _value_error(run: Evidence) -> float:
    """The critic's root mean square error at the end, in units of the returns."""
    return float(np.sqrt(max(run.late("value_loss"), 0.0)))


def _knows_little(run: Evidence) -> bool:
    return run.has("explained_variance") and run.late("explained_variance") < EXPLAINED_VARIANCE_POOR


def _scale_by_error(run: Evidence) -> Hit | None:
    """A critic that is far off, in units of the returns, and could have learnt."""
    error = _value_error(run)
    # A critic that once knew its returns was not kept from it by their scale.
    knew = run.has("explained_variance") and high(run.finite("explained_variance")) > 0.5
    if not error > VALUE_ERROR_HIGH or not _knows_little(run) or knew or hardly_moves(run):
        return None
    evidence = (
        f"values are {number(error)} from the returns (root of the value loss) over {run.last_fifth()}, with an "
        f"explained variance of {number(run.late('explained_variance'))}"
    )
    return Hit(evidence, {"normalize_rewards": True}, "error" if error > VALUE_ERROR_TOO_HIGH else None)


def _critic(run: Evidence, evidence: str, severity: str | None, confidence: float | None = None) -> Hit:
    """A finding about the critic; of rewards out of scale it does not ask for more weight."""
    evidence += _stopped(run)
    if not run.ours and _scale_by_error(run):
        return Hit(evidence, {}, severity, confidence, SCALE_FIRST)
    return Hit(evidence, _better_critic(run), severity, confidence, _critic_advice(run))


def _critic_advice(run: Evidence) -> str:
    """What is left to do for the critic: first what explains its state, then the settings that help one."""
    vf_coef, sizes = run.setting("vf_coef"), [run.setting(key) for key in ("n_epochs", "batch_size")]
    if _stopped(run):
        return f"Let the critic train: {{vf_coef}} and its learning rate must be above 0. {HELPED}"
    parts = [FIT_FIRST]
    # Nothing in a log says what an observation hides, unless the class of the environment does; a proof's is whole.
    whole = run.task is not results.EPISODES or run.log.summary.get("needs_memory") is False
    if run.ours and not run.setting("core") and not whole:
        parts.append(MEMORY)
    left = [TRUNK] if not run.setting("separate_critic") else []
    left += [WEIGHT] if vf_coef is None or vf_coef < 1.0 else []
    left += [MINIBATCHES] if None in sizes or sizes[0] * run.rollout() < 16.0 * sizes[1] else []
    return " ".join([*parts, *(left or [NOTHING_LEFT]), HELPED])


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
