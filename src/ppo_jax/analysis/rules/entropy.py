"""Rules about what the policy leaves to chance: entropy, its bonus, and the std of continuous actions."""

from __future__ import annotations

import numpy as np

from ppo_jax.analysis.healthy_ranges import ENTROPY_COLLAPSED, ENTROPY_UNIFORM, STD_GONE, STD_GROWN
from ppo_jax.analysis.rules.curve import median
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.rules.rule import Hit, changes_over_time, number, peak, rule

__all__ = [
    "entropy_bonus_dominates",
    "entropy_collapse",
    "entropy_stuck",
    "no_entropy_schedule",
    "std_grows",
]


@rule(
    "entropy-collapse",
    severity="error",
    threshold=f"normalised entropy < {ENTROPY_COLLAPSED:g}, or std of the actions < {STD_GONE:.0%} of its first, for "
    "good within the first 40% of training, and returns hardly rose",
    cause="The policy made up its mind before it had seen what is good. It no longer explores.",
    advice="Raise {ent_coef} and let it decay: {decay_ent_coef}. Lower {learning_rate} or {n_epochs}. It helped if the "
    "entropy falls slowly while the return rises.",
    source="Andrychowicz et al. 2021; entropy bonus of Mnih et al. 2016, Asynchronous Methods for Deep RL",
    confidence=0.8,
    columns=("entropy_normalized|action_std", "episode_return_mean"),
)
def entropy_collapse(run: Evidence) -> Hit | None:
    for name, limit, words in (
        ("entropy_normalized", ENTROPY_COLLAPSED, "normalised entropy"),
        ("action_std", STD_GONE, "the actions' std relative to its first"),
    ):
        level = run.series(name)
        if name == "action_std" and run.has(name):
            level = level / max(median(run.finite(name)[:3]), 1e-12)
        at = np.flatnonzero(np.isfinite(level))
        low = level[at] < limit
        twice = np.flatnonzero(low[1:] & low[:-1])
        if low.sum() < 5 or twice.size == 0:
            continue
        start = at[twice[0]]
        share = float(start + 1) / run.n_updates
        # A log that begins there, of a run that went on, does not show a collapse.
        began_low = not run.ours and (level[:start] > 2.0 * limit).sum() < 2
        after = level[start:]
        if share > 0.4 or began_low or np.nanmedian(after) >= limit or run.improvement() > 3.0:
            continue
        update = run.log.columns["update"][start]
        ends = f"the actions' std ends at {number(run.late(name))}; " if name == "action_std" else ""
        evidence = f"{words} under {limit:g} from update {update:.0f} on, {share:.0%} of the way; {ends}{_returns(run)}"
        return Hit(evidence, _more_entropy(run))
    return None


@rule(
    "entropy-stuck",
    severity="warning",
    threshold=f"normalised entropy > {ENTROPY_UNIFORM:g} over the last fifth, or std of the actions as at first, and "
    "returns rose by less than two standard deviations; or a std that never changes (info where returns rise)",
    cause="The policy is as random at the end as it was at first. Nothing was learnt, or the bonus forbids to use it.",
    advice="Lower {ent_coef} or let it decay. If it is 0, look for a missing learning signal: a reward that is never "
    "found, or an observation that does not show what matters. It helped if the entropy falls.",
    source="log(valid actions) is the entropy of the uniform policy",
    confidence=0.7,
    columns=("entropy_normalized|action_std", "episode_return_mean"),
)
def entropy_stuck(run: Evidence) -> Hit | None:
    std = run.finite("action_std")
    if std.size == run.n_updates >= 10 and np.ptp(std) <= 1e-6 * std.max() and run.late("approx_kl") > 1e-4:
        evidence = f"the actions' std is {number(std[0])} at each of {std.size} updates: nothing trains it"
        return Hit(evidence, severity="info" if run.learns() else None, advice=FROZEN_ADVICE)
    if not run.improvement() < 2.0 or run.went_on():
        return None
    advice = NO_SIGNAL_ADVICE if peak(run.setting("ent_coef")) == 0.0 else None
    if run.has("entropy_normalized"):
        late = run.late("entropy_normalized")
        seen = f"normalised entropy {late:.2f} over {run.last_fifth()}"
        return Hit(seen, advice=advice) if late > ENTROPY_UNIFORM else None
    first, late = median(std[:3]), run.late("action_std")
    if not 0.9 * first <= late < STD_GROWN * first:
        return None
    return Hit(
        f"the actions' std is {number(first)} at first and {number(late)} over {run.last_fifth()}", advice=advice
    )


NO_SIGNAL_ADVICE = (
    "Look for a missing learning signal: a reward that is never found, or an observation that does not show what "
    "matters. It helped if the entropy falls."
)
FROZEN_ADVICE = (
    "Give the optimizer the parameter of the std ({log_std}), or, where it is fixed on purpose, lower it as training "
    "goes on. It helped if the std falls while the return rises."
)


@rule(
    "std-grows",
    severity="warning",
    threshold=f"std of the actions over {STD_GROWN:g} times its first in the last fifth, and no fall since the middle",
    cause="The policy becomes more random as it trains. A bonus for entropy outweighs what the actions earn, the "
    "advantages are noise, or actions beyond the environment's bounds are clipped and cost nothing.",
    advice="Set {ent_coef} to 0. Keep actions within their bounds: {bounded_actions}. Or scale them: "
    "{clip_actions}. Look at the reward's scale: {normalize_rewards}. It helped if the std falls below its first.",
    source="Andrychowicz et al. 2021, on the std of Gaussian policies",
    confidence=0.8,
    columns=("action_std",),
)
def std_grows(run: Evidence) -> Hit | None:
    std = run.finite("action_std")
    first, middle, late = median(std[:3]), median(std[std.size * 2 // 5 : std.size * 3 // 5]), run.late("action_std")
    if not late > STD_GROWN * first or late < middle:
        return None
    evidence = f"the actions' std grew from {number(first)} to {number(late)} over {run.last_fifth()}"
    coefficient = peak(run.setting("ent_coef"))
    without_bonus = std_grows.advice.removeprefix("Set {ent_coef} to 0. ") if coefficient == 0.0 else None
    return Hit(evidence, {"ent_coef": 0.0} if coefficient > 0.0 else {}, advice=without_bonus)


@rule(
    "entropy-bonus-dominates",
    severity="error",
    threshold="ent_coef × entropy over 5 times the size of the policy loss and over 0.02, normalised entropy > 0.8, in "
    "the last fifth",
    cause="The loss gains more by staying random than by choosing well.",
    advice="Lower {ent_coef} tenfold, and let it decay to 0.001 or below. It helped if the entropy falls.",
    source="the PPO objective L = L_clip + c_ent · H, Schulman et al. 2017, equation 9",
    confidence=0.85,
    columns=("policy_loss", "entropy", "entropy_normalized"),
    settings=("ent_coef",),
)
def entropy_bonus_dominates(run: Evidence) -> Hit | None:
    coefficient = run.late("ent_coef") if run.has("ent_coef") else peak(run.setting("ent_coef"))
    bonus, objective = coefficient * run.late("entropy"), abs(run.late("policy_loss"))
    late = run.late("entropy_normalized")
    if not (bonus > 5.0 * objective and bonus > 0.02 and late > 0.8):
        return None
    evidence = (
        f"ent_coef × entropy = {number(bonus)} beside a policy loss of {number(objective)} over {run.last_fifth()}; "
        f"normalised entropy stays at {late:.2f}"
    )
    return Hit(evidence, {"ent_coef": {"init": min(peak(run.setting("ent_coef")) / 10.0, 0.02), "final": 0.001}})


@rule(
    "no-entropy-schedule",
    severity="info",
    threshold="ent_coef ≥ 0.05 from beginning to end",
    cause="A bonus that helps to explore at the beginning keeps the policy from settling at the end.",
    advice="Let {ent_coef} decay to a twentieth by 60% of the training, to leave time without it.",
    source="benchmarks/log.md: Countries S3 with ent_coef 0.1 → 0.01 over the first 60% of training",
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


def _returns(run: Evidence) -> str:
    """What the mean return did, in words."""
    curve = run.returns
    if curve is None:
        return "the return hardly rose"
    moved = f"from {number(curve.start)} to {number(curve.end)}"
    if run.improvement() < -3.0 and curve.start != 0.0:
        return f"the return FELL by {abs((curve.start - curve.end) / curve.start):.0%}, {moved}"
    return f"the return hardly rose, {moved}"


def _more_entropy(run: Evidence) -> dict[str, dict[str, float]]:
    start = peak(run.setting("ent_coef"))
    return {} if np.isnan(start) else {"ent_coef": {"init": max(5.0 * start, 0.05), "final": max(start, 0.001)}}
