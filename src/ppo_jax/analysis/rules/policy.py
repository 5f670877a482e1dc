"""Rules about the policy's steps: KL limit and epochs, learning rate, clipping, entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppo_jax.analysis.healthy_ranges import (
    CLIPPED_OFTEN,
    ENTROPY_COLLAPSED,
    ENTROPY_UNIFORM,
    EPOCHS_WASTED,
    KL_TOO_HIGH,
    STOPS_FREQUENT,
    STOPS_RARE,
)
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.rules.rule import Hit, changes_over_time, number, peak, rule

__all__ = [
    "batch_exceeds_rollout",
    "clip_fraction_high",
    "entropy_bonus_dominates",
    "entropy_collapse",
    "entropy_stuck",
    "kl_early_stops",
    "kl_target_unreachable",
    "lr_too_high",
    "lr_too_low",
    "no_entropy_schedule",
    "no_lr_schedule",
    "rollout_shorter_than_episode",
    "too_many_epochs",
]

USUAL_RATE = 3e-4


@rule(
    "kl-early-stops",
    severity="warning",
    threshold=f"over {STOPS_RARE:.0%} of the updates stop early; an error over {STOPS_FREQUENT:.0%} with under "
    f"{EPOCHS_WASTED:.0%} of the epochs completed",
    cause="The policy moves further in an update than the KL limit allows, so the remaining epochs, the critic's among "
    "them, never happen.",
    advice="Lower n_epochs to what is completed, or take smaller steps with a lower learning_rate.",
    source="SpinningUp and Stable-Baselines3 stop where approx_kl > 1.5 × target_kl",
    confidence=0.9,
    columns=("early_stopped", "epochs_completed"),
    settings=("n_epochs",),
)
def kl_early_stops(run: Evidence) -> Hit | None:
    share, done, n_epochs = run.mean("early_stopped"), run.mean("epochs_completed"), int(run.setting("n_epochs"))
    if share <= STOPS_RARE:
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
    advice="Lower learning_rate; where it is below 1e-3 already, raise target_kl (0.02 to 0.05).",
    source="the limit is tested after each minibatch's forward pass, docs/ppo.md",
    confidence=0.85,
    columns=("early_stopped", "epochs_completed"),
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
    advice="Set n_epochs between 3 and 10.",
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
    if run.has("clip_fraction") and (clipped := run.tail("clip_fraction")) > 0.2:
        symptoms.append(f"{clipped:.0%} of the ratios were clipped")
    evidence = f"n_epochs = {n_epochs}" + (f": {' and '.join(symptoms)}" if symptoms else "")
    return Hit(evidence, {"n_epochs": 5}, "error" if stops > STOPS_FREQUENT else None, 0.9 if symptoms else None)


@rule(
    "batch-exceeds-rollout",
    severity="warning",
    threshold="batch_size > n_envs × n_steps",
    cause="Each epoch is one step on the whole rollout: no minibatches, and as few gradient steps as epochs.",
    advice="Set batch_size to a quarter of n_envs × n_steps or less, or raise n_steps.",
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
    advice="Raise n_steps to twice the episode's length, or at least to 1 / (1 − gamma · gae_lambda).",
    source="Schulman et al. 2016: γλ sets how far GAE looks ahead",
    confidence=0.75,
    columns=("episode_length_mean",),
    settings=("n_steps", "gamma", "gae_lambda"),
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
    "entropy-collapse",
    severity="error",
    threshold=f"normalised entropy < {ENTROPY_COLLAPSED:g} for good within the first 40% of training, and returns "
    "hardly rose",
    cause="The policy made up its mind before it had seen what is good, and no longer explores.",
    advice="Raise ent_coef and let it decay (ent_coef = { init = 0.05, final = 0.001 }), and lower learning_rate or "
    "n_epochs.",
    source="Andrychowicz et al. 2021; entropy bonus of Mnih et al. 2016, Asynchronous Methods for Deep RL",
    confidence=0.8,
    columns=("entropy_normalized",),
)
def entropy_collapse(run: Evidence) -> Hit | None:
    entropy = run.series("entropy_normalized")
    low = np.flatnonzero(entropy < ENTROPY_COLLAPSED)
    if low.size == 0:
        return None
    share = float(low[0] + 1) / run.n_updates
    if share > 0.4 or np.nanmedian(entropy[low[0] :]) >= ENTROPY_COLLAPSED or run.improvement() > 3.0:
        return None
    update = run.log.columns["update"][low[0]]
    start = peak(run.setting("ent_coef"))
    changes = {} if np.isnan(start) else {"ent_coef": {"init": max(5.0 * start, 0.05), "final": max(start, 0.001)}}
    return Hit(
        f"normalised entropy under {ENTROPY_COLLAPSED:g} from update {update:.0f} on, {share:.0%} of the way", changes
    )


@rule(
    "entropy-stuck",
    severity="warning",
    threshold=f"normalised entropy > {ENTROPY_UNIFORM:g} over the last fifth, and returns rose by less than one "
    "standard deviation",
    cause="The policy is as good as uniform at the end: nothing was learnt, or the bonus forbids to use it.",
    advice="Lower ent_coef or let it decay; if it is 0, look for a missing learning signal.",
    source="log(valid actions) is the entropy of the uniform policy",
    confidence=0.7,
    columns=("entropy_normalized", "episode_return_mean"),
)
def entropy_stuck(run: Evidence) -> Hit | None:
    tail = run.tail("entropy_normalized")
    if tail <= ENTROPY_UNIFORM or run.improvement() >= 1.0:
        return None
    return Hit(f"normalised entropy {tail:.2f} over {run.last_fifth()}")


@rule(
    "entropy-bonus-dominates",
    severity="error",
    threshold="ent_coef × entropy over 5 times the size of the policy loss and over 0.02, normalised entropy > 0.8, in "
    "the last fifth",
    cause="The loss gains more by staying random than by choosing well.",
    advice="Lower ent_coef tenfold, and let it decay to 0.001 or below.",
    source="the PPO objective L = L_clip + c_ent · H, Schulman et al. 2017, equation 9",
    confidence=0.85,
    columns=("policy_loss", "entropy", "entropy_normalized"),
    settings=("ent_coef",),
)
def entropy_bonus_dominates(run: Evidence) -> Hit | None:
    coefficient = run.tail("ent_coef") if run.has("ent_coef") else peak(run.setting("ent_coef"))
    bonus, objective = coefficient * run.tail("entropy"), abs(run.tail("policy_loss"))
    tail = run.tail("entropy_normalized")
    if not (bonus > 5.0 * objective and bonus > 0.02 and tail > 0.8):
        return None
    evidence = (
        f"ent_coef × entropy = {number(bonus)} beside a policy loss of {number(objective)} over {run.last_fifth()}; "
        f"normalised entropy stays at {tail:.2f}"
    )
    return Hit(evidence, {"ent_coef": {"init": min(peak(run.setting("ent_coef")) / 10.0, 0.02), "final": 0.001}})


@rule(
    "no-entropy-schedule",
    severity="info",
    threshold="ent_coef ≥ 0.05 from beginning to end",
    cause="A bonus that helps to explore at the beginning keeps the policy from settling at the end.",
    advice="Let it decay early enough to leave time without it: ent_coef = { init = …, final = … / 20, end = 0.6 }.",
    source="docs/results.md: Countries S3 with ent_coef 0.1 → 0.01 over the first 60% of training",
    confidence=0.6,
    settings=("ent_coef",),
)
def no_entropy_schedule(run: Evidence) -> Hit | None:
    coefficient = run.setting("ent_coef")
    if coefficient is None or changes_over_time(coefficient) or peak(coefficient) < 0.05:
        return None
    start = peak(coefficient)
    evidence = f"ent_coef = {start:g} from the first update to the last"
    return Hit(evidence, {"ent_coef": {"init": start, "final": start / 20.0, "end": 0.6}})


@rule(
    "no-lr-schedule",
    severity="info",
    threshold="the learning rate does not change",
    cause="With steps of the same size to the end the last policy is noisier than it needs to be, and the first steps "
    "are as timid as the last.",
    advice="Begin at 3e-4 or above and decay: learning_rate = { init = 3e-4, final = 0.0 }.",
    source="Andrychowicz et al. 2021; Huang et al. 2022, detail 4, learning rate annealing",
    confidence=0.5,
    settings=("learning_rate",),
)
def no_lr_schedule(run: Evidence) -> Hit | None:
    rate = run.setting("learning_rate")
    if rate is None or changes_over_time(rate):
        return None
    return Hit(f"learning_rate = {peak(rate):g} throughout", {"learning_rate": _decay(max(peak(rate), USUAL_RATE))})


@rule(
    "lr-too-high",
    severity="error",
    threshold=f"median KL > {KL_TOO_HIGH:g} with over 20% of the ratios clipped; or learning_rate > 5e-3 and: "
    f"KL > 0.2 at some update, over {CLIPPED_OFTEN:.0%} clipped, entropy < {ENTROPY_COLLAPSED:g} in the first fifth, "
    "or most first epochs there cut short",
    cause="Each update throws the policy far from the one that gathered the data, where the clipped objective is no "
    "guide any more.",
    advice="Lower learning_rate to 3e-4 and let it decay.",
    source="Schulman et al. 2017: the surrogate holds near the old policy; Andrychowicz et al. 2021 on Adam's rate",
    confidence=0.85,
    columns=("approx_kl", "clip_fraction"),
)
def lr_too_high(run: Evidence) -> Hit | None:
    kl, clipped, rate = run.finite("approx_kl"), run.mean("clip_fraction"), peak(run.setting("learning_rate"))
    far = np.median(kl) > KL_TOO_HIGH and clipped > 0.2
    signs = {
        f"KL up to {number(kl.max())}": kl.max() > 0.2,
        f"{clipped:.0%} of the ratios clipped": clipped > CLIPPED_OFTEN,
        "the entropy gone within the first fifth": run.head("entropy_normalized").min(initial=1.0) < ENTROPY_COLLAPSED,
        "most first epochs cut short from the start": _mean(run.head("epochs_completed") < 1.0) > 0.5,
    }
    if not far and not (rate > 5e-3 and any(signs.values())):
        return None
    seen = [sign for sign, shown in signs.items() if shown] or [f"{clipped:.0%} of the ratios clipped"]
    known = not np.isnan(rate)
    return Hit(
        f"median KL {number(np.median(kl))}, " + ", ".join(seen) + (f"; learning_rate = {rate:g}" if known else ""),
        {"learning_rate": _decay(min(USUAL_RATE, rate / 10.0))} if known else {},
    )


@rule(
    "lr-too-low",
    severity="error",
    threshold="KL < 2e-4 at the median and < 1e-3 at most, under 0.5% of the ratios clipped, normalised entropy > 0.8 "
    "at the end",
    cause="The policy hardly moves: the data of a rollout goes to waste.",
    advice="Raise learning_rate (3e-4 to 1e-3).",
    source="Andrychowicz et al. 2021, on Adam's learning rate",
    confidence=0.8,
    columns=("approx_kl", "clip_fraction"),
)
def lr_too_low(run: Evidence) -> Hit | None:
    kl, clipped, rate = run.finite("approx_kl"), run.mean("clip_fraction"), peak(run.setting("learning_rate"))
    # A policy that has settled does not move either, but is no longer random.
    settled = run.has("entropy_normalized") and run.tail("entropy_normalized") <= 0.8
    if np.median(kl) >= 2e-4 or kl.max() >= 1e-3 or clipped >= 0.005 or settled or run.dead():
        return None
    known = not np.isnan(rate)
    return Hit(
        f"KL {number(np.median(kl))} at the median and {number(kl.max())} at most, {clipped:.1%} of the ratios clipped"
        + (f"; learning_rate = {rate:g}" if known else ""),
        {"learning_rate": _decay(min(max(30.0 * rate, USUAL_RATE), 3e-3))} if known else {},
    )


@rule(
    "clip-fraction-high",
    severity="warning",
    threshold=f"over {CLIPPED_OFTEN:.0%} of the ratios are clipped in the last fifth",
    cause="Clipped samples give no gradient; with so many of them an update rests on the rest.",
    advice="Take smaller steps: a lower learning_rate or fewer epochs, not a wider clip_range.",
    source="Schulman et al. 2017, equation 7; Huang et al. 2022 on reading the clip fraction",
    confidence=0.7,
    columns=("clip_fraction",),
)
def clip_fraction_high(run: Evidence) -> Hit | None:
    share = run.tail("clip_fraction")
    return Hit(f"{share:.0%} of the ratios are clipped over {run.last_fifth()}") if share > CLIPPED_OFTEN else None


def _decay(start: float) -> dict[str, float]:
    return {"init": start, "final": float(f"{start / 30.0:.3g}")}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0
