"""Rules about the policy's steps: size of the rollout, KL limit and epochs, learning rate, clipping."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppo_jax.analysis.healthy_ranges import (
    CLIPPED_HALF,
    CLIPPED_OFTEN,
    ENTROPY_COLLAPSED,
    EPOCHS_WASTED,
    KL_TOO_HIGH,
    STOPS_FREQUENT,
    STOPS_RARE,
)
from ppo_jax.analysis.rules.curve import high, median
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.rules.rule import Hit, changes_over_time, follows_kl, number, peak, rule

__all__ = [
    "batch_exceeds_rollout",
    "clip_fraction_high",
    "hardly_moves",
    "kl_early_stops",
    "kl_target_unreachable",
    "lr_too_high",
    "lr_too_low",
    "no_lr_schedule",
    "rollout_shorter_than_episode",
    "rollout_too_small",
    "too_many_epochs",
]

USUAL_RATE = 3e-4
TINY_RATE = 3e-5
KL_TOO_TIMID = "Raise desired_kl of {learning_rate}: the rate follows it. It helped if KL lies between 0.002 and 0.02."


@rule(
    "rollout-too-small",
    severity="warning",
    threshold="a rollout of under 128 transitions; an error under 32",
    cause="An update learns from a handful of steps. Advantages normalised over so few are noise, and the critic sees "
    "too little to fit.",
    advice="Raise {n_steps} (128 to 2048) or {n_envs} until a rollout has at least 1,000 transitions. It helped if "
    "the explained variance rises above 0.",
    source="Andrychowicz et al. 2021, on the number of transitions an iteration; Huang et al. 2022",
    confidence=0.95,
    columns=("env_steps", "approx_kl|value_loss"),
    least=5,
)
def rollout_too_small(run: Evidence) -> Hit | None:
    size = run.rollout()
    if not size < 128.0:
        return None
    return Hit(f"a rollout has {size:.0f} transitions", severity="error" if size < 32.0 else None)


@rule(
    "kl-early-stops",
    severity="warning",
    threshold=f"over {STOPS_RARE:.0%} of the updates stop early, three at least; an error over {STOPS_FREQUENT:.0%} "
    f"with under {EPOCHS_WASTED:.0%} of the epochs completed",
    cause="The policy moves further in an update than the KL limit allows, so the remaining epochs, the critic's among "
    "them, never happen.",
    advice="Lower {n_epochs} to what is completed, or take smaller steps with a lower {learning_rate}. It helped if "
    "updates go through to their last epoch.",
    source="SpinningUp and Stable-Baselines3 stop where approx_kl > 1.5 × target_kl",
    confidence=0.9,
    columns=("early_stopped", "epochs_completed"),
    settings=("n_epochs",),
    least=5,
)
def kl_early_stops(run: Evidence) -> Hit | None:
    stopped, done, n_epochs = run.finite("early_stopped"), run.mean("epochs_completed"), int(run.setting("n_epochs"))
    share = float(stopped.mean())
    if share <= STOPS_RARE or (stopped > 0).sum() < 3:
        return None
    lost = max(0.0, 1.0 - done / max(n_epochs, 1))
    evidence = (
        f"the KL limit cut {share:.0%} of {run.whole()} short; {done:.1f} of {n_epochs} epochs were completed on "
        f"average, {lost:.0%} of the gradient steps were lost"
    )
    changes = {"n_epochs": min(max(1, round(done)), n_epochs - 1, 5)} if n_epochs > 1 else {}
    return Hit(evidence, changes, "error" if share > STOPS_FREQUENT and lost > 1.0 - EPOCHS_WASTED else None)


@rule(
    "kl-target-unreachable",
    severity="error",
    threshold="in over 30% of the updates the limit stops the first epoch",
    cause="A few minibatches already move the policy past the limit: hardly any data is learnt from.",
    advice="Lower {learning_rate}; where it is below 1e-3 already, raise the KL limit (0.02 to 0.05).",
    source="the limit is tested after each minibatch's forward pass, the page on PPO",
    confidence=0.85,
    columns=("early_stopped", "epochs_completed"),
    least=5,
)
def kl_target_unreachable(run: Evidence) -> Hit | None:
    at_once = (run.series("early_stopped") > 0) & (run.series("epochs_completed") < 1)
    share = float(at_once.mean())
    if share <= 0.3:
        return None
    rate, target = run.setting("learning_rate"), run.setting("target_kl")
    limit = f" already exceeded 1.5 × target_kl = {1.5 * target:g}" if target else " was stopped by the KL limit"
    if peak(rate) > 1e-3:
        changes: dict[str, Any] = {"learning_rate": _decay(USUAL_RATE)}
    else:
        changes = {"target_kl": max(0.02, 2.0 * target)} if target else {}
    return Hit(f"in {share:.0%} of {run.whole()} the first epoch{limit}", changes)


@rule(
    "too-many-epochs",
    severity="warning",
    threshold=f"n_epochs > 10; an error where over {STOPS_FREQUENT:.0%} of the updates stop early besides",
    cause="Each epoch reuses the same rollout: after some the policy fits its noise, ratios leave the clip range and "
    "values chase stale returns.",
    advice="Set {n_epochs} between 3 and 10. It helped if the clip fraction falls.",
    source="Schulman et al. 2017, Proximal Policy Optimization Algorithms (3 to 15); Andrychowicz et al. 2021",
    confidence=0.7,
    settings=("n_epochs",),
)
def too_many_epochs(run: Evidence) -> Hit | None:
    n_epochs = int(run.setting("n_epochs"))
    if n_epochs <= 10:
        return None
    stops = run.mean("early_stopped") if run.has("early_stopped") else 0.0
    symptoms = [f"{stops:.0%} of the updates stopped early"] if stops > STOPS_RARE else []
    if run.has("clip_fraction") and (clipped := run.late("clip_fraction")) > 0.2:
        symptoms.append(f"{clipped:.0%} of the ratios were clipped")
    evidence = f"n_epochs = {n_epochs}" + (f": {' and '.join(symptoms)}" if symptoms else "")
    return Hit(evidence, {"n_epochs": 5}, "error" if stops > STOPS_FREQUENT else None, 0.9 if symptoms else None)


@rule(
    "batch-exceeds-rollout",
    severity="warning",
    threshold="batch_size > n_envs × n_steps",
    cause="Each epoch is one step on the whole rollout: no minibatches, and as few gradient steps as epochs.",
    advice="Set minibatches ({batch_size}) of a quarter of {n_envs} × {n_steps} or less, or raise {n_steps}.",
    source="Huang et al. 2022, The 37 Implementation Details of PPO, on minibatches",
    confidence=1.0,
    settings=("batch_size", "n_envs", "n_steps"),
)
def batch_exceeds_rollout(run: Evidence) -> Hit | None:
    batch, n_envs, n_steps = (int(run.setting(key)) for key in ("batch_size", "n_envs", "n_steps"))
    rollout = n_envs * n_steps
    if batch <= rollout:
        return None
    fitting = next(size for size in range(max(rollout // 4, 1), 0, -1) if rollout % size == 0)
    evidence = f"batch_size = {batch}, and a rollout has {n_envs} × {n_steps} = {rollout} transitions"
    return Hit(evidence, {"batch_size": fitting})


@rule(
    "rollout-shorter-than-episode",
    severity="warning",
    threshold="n_steps < 80% of min(longest mean episode, 1 / (1 − γλ))",
    cause="Advantages are cut off by the end of the rollout, where the critic's guess stands in for what was to come.",
    advice="Raise {n_steps} to twice the episode's length, or at least to 1 / (1 − gamma · gae_lambda).",
    source="Schulman et al. 2016: γλ sets how far GAE looks ahead",
    confidence=0.75,
    columns=("episode_length_mean",),
    settings=("n_steps", "gamma", "gae_lambda"),
    least=5,
)
def rollout_shorter_than_episode(run: Evidence) -> Hit | None:
    n_steps, length = int(run.setting("n_steps")), run.longest_episode()
    ahead = 1.0 / max(1.0 - float(run.setting("gamma")) * float(run.setting("gae_lambda")), 1e-3)
    reach = min(length, ahead)
    if n_steps >= 0.8 * reach:
        return None
    evidence = (
        f"n_steps = {n_steps}, while episodes take up to {number(length)} steps and advantages look {ahead:.0f} ahead"
    )
    return Hit(evidence, {"n_steps": int(2 ** np.ceil(np.log2(2.0 * reach)))})


@rule(
    "no-lr-schedule",
    severity="info",
    threshold="the learning rate does not change",
    cause="With steps of the same size to the end the last policy is noisier than it needs to be, and the first steps "
    "are as timid as the last.",
    advice="Let it decay to nearly 0 by the end: {decay_learning_rate}.",
    source="Andrychowicz et al. 2021; Huang et al. 2022, detail 4, learning rate annealing",
    confidence=0.5,
    settings=("learning_rate",),
)
def no_lr_schedule(run: Evidence) -> Hit | None:
    rate = run.setting("learning_rate")
    if rate is None or changes_over_time(rate):
        return None
    start = max(peak(rate), USUAL_RATE) if run.ours else peak(rate)
    return Hit(f"learning_rate = {peak(rate):g} throughout", {"learning_rate": _decay(start)})


@rule(
    "lr-too-high",
    severity="error",
    threshold=f"in 5% of the updates on end, three at least: KL > {KL_TOO_HIGH:g} with over 20% of the ratios clipped, "
    f"or over {CLIPPED_HALF:.0%} of them clipped with KL > 0.02 (a warning where returns rise to their best all the "
    "same and it is less than half of the run); or learning_rate > 5e-3 and: KL > 0.2 at three updates, over "
    f"{CLIPPED_OFTEN:.0%} clipped, entropy < {ENTROPY_COLLAPSED:g} in the first fifth, or most first epochs there cut "
    "short",
    cause="Steps are too large: an update throws the policy far from the one that gathered the data, where the clipped "
    "objective is no guide any more.",
    advice="Lower {learning_rate} to 3e-4 and let it decay. It helped if KL stays below 0.03.",
    source="Schulman et al. 2017: the surrogate holds near the old policy; Andrychowicz et al. 2021 on Adam's rate",
    confidence=0.85,
    columns=("approx_kl", "clip_fraction"),
    least=5,
)
def lr_too_high(run: Evidence) -> Hit | None:
    kl, clipped, rate = run.series("approx_kl"), run.series("clip_fraction"), peak(run.setting("learning_rate"))
    far = ((kl > KL_TOO_HIGH) & (clipped > 0.2)) | ((clipped >= CLIPPED_HALF) & (kl > 0.02))
    start, end = run.stretch(far)
    seen = _large_steps(run, far, start, end) if end - start >= max(3, run.n_updates // 20) else ""
    share = median(run.finite("clip_fraction"))
    signs = {
        f"KL over 0.2 at {(kl > 0.2).sum()} updates": (kl > 0.2).sum() >= 3,
        f"{share:.0%} of the ratios clipped at the median": share > CLIPPED_OFTEN,
        "the entropy gone within the first fifth": (run.head("entropy_normalized") < ENTROPY_COLLAPSED).sum() >= 2,
        "most first epochs cut short from the start": _mean(run.head("epochs_completed") < 1.0) > 0.5,
    }
    shown = [sign for sign, holds in signs.items() if holds]
    if not seen and not (rate > 5e-3 and shown):
        return None
    harmless = bool(seen) and not rate > 5e-3 and end < run.n_updates - 1 and far.mean() < 0.5 and run.learns()
    known = not np.isnan(rate)
    return Hit(
        "; ".join([*([seen] if seen else [", ".join(shown)]), *([f"learning_rate = {rate:g}"] if known else [])]),
        {"learning_rate": _decay(smaller_rate(rate))} if known else {},
        severity="warning" if harmless else None,
        advice=_smaller_steps(run, rate),
    )


@rule(
    "lr-too-low",
    severity="error",
    threshold="KL < 2e-4 at the median and < 1e-3 in nearly all updates, under 0.5% of the ratios clipped, normalised "
    "entropy > 0.8 at the end; or learning_rate ≤ 3e-5 with KL < 1e-3 at the median and hardly a ratio clipped (a "
    "warning where returns rise)",
    cause="The policy hardly moves. The data of a rollout goes to waste.",
    advice="Raise {learning_rate} (3e-4 to 1e-3). It helped if KL lies between 0.002 and 0.02.",
    source="Andrychowicz et al. 2021, on Adam's learning rate",
    confidence=0.8,
    columns=("approx_kl", "clip_fraction"),
    least=5,
)
def lr_too_low(run: Evidence) -> Hit | None:
    setting = run.setting("learning_rate")
    kl, clipped, rate = run.finite("approx_kl"), run.finite("clip_fraction"), peak(setting)
    middle, most, clip = median(kl), high(kl, 0.95), high(clipped)
    timid = hardly_moves(run)
    # A policy that has settled does not move either, but is no longer random.
    settled = run.has("entropy_normalized") and run.late("entropy_normalized") <= 0.8
    still = middle < 2e-4 and most < 1e-3 and clip < 0.005 and not settled
    if not (still or timid) or run.dead():
        return None
    known = not np.isnan(rate)
    higher = min(max(30.0 * rate, USUAL_RATE), 3e-3)
    advice = _larger_steps(rate, higher) if known else KL_TOO_TIMID if follows_kl(setting) else None
    if run.own_loss:
        held = f"Your loss {run.own_loss} may hold the policy: look at the weights of its terms."
        advice = f"{held} {advice or lr_too_low.advice}"
    return Hit(
        f"KL {number(middle)} at the median and {number(most)} in all but 5% of the updates, {np.median(clipped):.1%} "
        "of the ratios clipped" + (f"; learning_rate = {rate:g}" if known else ""),
        {"learning_rate": _decay(higher)} if known else {},
        severity="warning" if run.learns() else None,
        advice=advice,
    )


def hardly_moves(run: Evidence) -> bool:
    """Whether a tiny learning rate keeps the policy where it is, by KL and clip fraction of most updates."""
    rate = peak(run.setting("learning_rate"))
    kl, clipped = run.finite("approx_kl"), run.finite("clip_fraction")
    if not rate <= TINY_RATE or kl.size < 5 or clipped.size < 5:
        return False
    return bool(median(kl) < 1e-3 and high(clipped) < 0.005)


def smaller_rate(rate: float) -> float:
    """A learning rate to try in place of one that takes too large steps."""
    return float(f"{min(USUAL_RATE, rate / 10.0) if rate > USUAL_RATE else rate / 3.0:.2g}")


def _large_steps(run: Evidence, far: np.ndarray, start: int, end: int) -> str:
    """The stretch of large steps beside what was before it, with the numbers."""
    kl, clipped = run.series("approx_kl"), run.series("clip_fraction")
    before, there = kl[:start][np.isfinite(kl[:start])], kl[start:end]
    since = f", {number(median(before))} before" if before.size >= 3 else ""
    where = f", from {start / run.n_updates:.0%} of the way on" if start else ""
    return (
        f"in {run.updates(start, end)}{where}, KL {number(median(there))} at the median and {number(there.max())} at "
        f"most{since}, {median(clipped[start:end]):.0%} of the ratios clipped ({far.mean():.0%} of updates are such)"
    )


def _smaller_steps(run: Evidence, rate: float) -> str:
    """What to lower, always below what is set."""
    n_epochs, target = run.setting("n_epochs"), run.setting("target_kl")
    parts = []
    if follows_kl(run.setting("learning_rate")):
        parts.append("Lower desired_kl of {learning_rate} to a third: the rate follows it.")
    elif not np.isnan(rate):
        decay = "" if changes_over_time(run.setting("learning_rate")) else " and let it decay"
        parts.append(f"Lower {{learning_rate}} from {rate:g} to {smaller_rate(rate):g}{decay}.")
    else:
        parts.append("Lower {learning_rate} to a third.")
    if n_epochs and n_epochs > 4:
        parts.append(f"Or lower {{n_epochs}} from {n_epochs} to {max(3, int(n_epochs) // 3)}.")
    if not target:
        parts.append("Or stop an update where it has gone too far: {target_kl}.")
    return " ".join([*parts, "It helped if KL stays below 0.03 and under 30% of the ratios are clipped."])


def _larger_steps(rate: float, higher: float) -> str:
    if rate < 1e-4:
        return f"Raise {{learning_rate}} from {rate:g} to {higher:g}. It helped if KL lies between 0.002 and 0.02."
    return (
        f"{{learning_rate}} = {rate:g} is no small rate, so look first for what makes the gradient vanish: advantages "
        "that are not normalised beside tiny rewards, parameters that are frozen or not in the optimizer. "
        f"Else try {higher:g}. It helped if KL lies between 0.002 and 0.02."
    )


@rule(
    "clip-fraction-high",
    severity="warning",
    threshold=f"over {CLIPPED_OFTEN:.0%} of the ratios are clipped in the last fifth",
    cause="Clipped samples give no gradient; with so many of them an update rests on the rest.",
    advice="Take smaller steps: a lower {learning_rate} or fewer {n_epochs}, not a wider {clip_range}.",
    source="Schulman et al. 2017, equation 7; Huang et al. 2022 on reading the clip fraction",
    confidence=0.7,
    columns=("clip_fraction",),
)
def clip_fraction_high(run: Evidence) -> Hit | None:
    share = run.late("clip_fraction")
    return Hit(f"{share:.0%} of the ratios are clipped over {run.last_fifth()}") if share > CLIPPED_OFTEN else None


def _decay(start: float) -> dict[str, float]:
    return {"init": start, "final": float(f"{start / 30.0:.3g}")}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0
