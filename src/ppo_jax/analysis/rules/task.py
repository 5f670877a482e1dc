"""Rules about the task and what came of it: progress, generalisation, baselines, data."""

from __future__ import annotations

import numpy as np

from ppo_jax.analysis.healthy_ranges import FORCED_OFTEN
from ppo_jax.analysis.rules.curve import median, running_median
from ppo_jax.analysis.rules.evidence import Evidence, number_at
from ppo_jax.analysis.rules.rule import Hit, number, rule
from ppo_jax.results import baseline_name
from ppo_jax.tasks import results
from ppo_jax.tasks.episode_results import FEWEST_EPISODES

__all__ = [
    "action_space_forced",
    "beaten_by_baseline",
    "data_leak",
    "episodes_not_restarted",
    "overfitting",
    "seed_outlier",
    "successors_overflow",
]

NO_ROOM = 0.05  # share of the successors, above: as often as this a proof may be lost


@rule(
    "overfitting",
    severity="warning",
    threshold="the running median of three evaluations on valid is best in the first 60% of them and 0.08 (or 8%) "
    "above its end, while training does not fall",
    cause="The agent goes on learning the training queries by heart and unlearns what carries over.",
    advice="Use the best parameters, which are kept. Or train for fewer steps, or on more varied tasks.",
    source="early stopping on held-out data",
    confidence=0.7,
    columns=("episode_return_mean",),
    records=("evaluations",),
    ours_only=True,
)
def overfitting(run: Evidence) -> Hit | None:
    scores = running_median(run.scores(), 3)  # one evaluation may be lucky
    best, last = int(scores.argmax()), float(scores[-1])
    fall = float(scores[best]) - last
    if best + 1 > 0.6 * scores.size or fall <= 0.08 * max(1.0, abs(scores[best])) or _falls(run):
        return None
    return Hit(
        f"valid was best at evaluation {best + 1} of {scores.size} ({number(scores[best])}) and ends at {number(last)}",
        advice=PROOFS_ADVICE if run.task is results.PROOFS else None,
    )


PROOFS_ADVICE = (
    "Use the best parameters, which are kept. Or train for fewer steps, or vary training more: a larger "
    "negative_ratio. Or leave out facts: {fact_dropout}."
)


@rule(
    "action-space-forced",
    severity="info",
    threshold=f"over {FORCED_OFTEN:.0%} of the states have one valid action",
    cause="There is little to decide: entropy, KL and clip fraction are averages over states where nothing can happen.",
    advice="Read the normalised entropy, which leaves these states out; offer more actions (larger max_successors, "
    "collapse_proved = false) if the task is meant to be richer.",
    source="forced_fraction, the page on proving",
    confidence=0.8,
    columns=("forced_fraction",),
    ours_only=True,
    tasks=(results.PROOFS, results.ANSWERED),
    least=5,
)
def action_space_forced(run: Evidence) -> Hit | None:
    share = median(run.finite("forced_fraction"))
    return Hit(f"{share:.0%} of the states leave one action") if share > FORCED_OFTEN else None


@rule(
    "successors-overflow",
    severity="warning",
    threshold=f"over {NO_ROOM:.0%} of the successors are dropped for want of room",
    cause="Proofs that pass through dropped successors cannot be found, whatever is learnt.",
    advice="Raise max_atoms (longer resolvents) or max_successors (more facts for an atom).",
    source="overflow_fraction, the page on proving",
    confidence=0.8,
    columns=("overflow_fraction",),
    ours_only=True,
    tasks=(results.PROOFS, results.ANSWERED),
    least=5,
)
def successors_overflow(run: Evidence) -> Hit | None:
    share, too_long = median(run.finite("overflow_fraction")), run.series("too_long_fraction")
    if share <= NO_ROOM:
        return None
    evidence = f"{share:.1%} of the successors had no room"
    if not run.has("too_long_fraction"):  # older runs do not tell which cap it was
        return Hit(evidence)
    # In force, as the end of a run tells them; before, as they are set.
    caps = {cap: int(number_at(run.log.summary, "data", cap) or run.setting(cap) or 0) for cap in ROOM_ADVICE}
    lost = zip(caps, (too_long, run.series("overflow_fraction") - too_long), strict=True)
    shares = {cap: median(values[np.isfinite(values)]) for cap, values in lost}
    by_cap = [f"{x:.1%} by {cap}" + (f" = {caps[cap]}" if caps[cap] else "") for cap, x in shares.items() if x > 5e-4]
    narrow = [cap for cap, x in shares.items() if x > NO_ROOM / 2]
    cut = int(number_at(run.log.summary, "data", "widest_row_cut") or caps["max_successors"])
    wider = {"max_atoms": 2, "max_successors": cut}
    return Hit(
        f"{evidence}: {', '.join(by_cap)}",
        {cap: caps[cap] + min(wider[cap], caps[cap]) for cap in narrow if caps[cap]},
        advice=" ".join(ROOM_ADVICE[cap] for cap in narrow) or None,
    )


ROOM_ADVICE = {
    "max_atoms": "Raise max_atoms: resolvents of more atoms are dropped.",
    "max_successors": "Raise max_successors: the facts beyond it are left out.",
}


@rule(
    "seed-outlier",
    severity="warning",
    threshold="the final score is further from the other runs' median than 4 of their standard deviations (by median "
    "deviation) and 10% of it",
    cause="This seed went another way than the others; a mean over few seeds hides such runs.",
    advice="Report interquartile means over more seeds, and look at what this run's other findings are.",
    source="Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice; Henderson et "
    "al. 2018",
    confidence=0.7,
    records=("other seeds",),
)
def seed_outlier(run: Evidence) -> Hit | None:
    own, others = run.final_score(), run.other_scores()
    if own is None:
        return None
    center = float(np.median(others))
    spread = 1.4826 * float(np.median(np.abs(others - center)))
    if abs(own - center) <= max(4.0 * spread, 0.1 * abs(center), 1e-9):
        return None
    return Hit(f"final score {number(own)}; the other {others.size} runs: {number(center)} ± {number(spread)}")


@rule(
    "beaten-by-baseline",
    severity="warning",
    threshold="a test score is no higher than that of a baseline that learnt nothing, of episodes by "
    f"{FEWEST_EPISODES} of each at least; an error for the greedy MRR of untrained networks; an info for "
    "Hits@1 of answers alone",
    cause="What the agent learnt does not help on test, by this score.",
    advice="Do not report the score without that baseline. Mend {causes} first.",
    source="the page on evaluation, baselines",
    confidence=0.9,
    records=("baselines", "episodes"),
    ours_only=True,
)
def beaten_by_baseline(run: Evidence) -> Hit | None:
    summary, lost, by_untrained, alike = run.log.summary, [], False, []
    for i, (label, path) in enumerate(results.of(summary).scores.items()):
        mine = number_at(summary, "test", *path)
        others = {name: number_at(summary, "baselines", name, *path) for name in run.baselines()}
        better = {name: x for name, x in others.items() if mine is not None and x is not None and mine <= x}
        if mine is not None and better:
            told = ", ".join(f"{baseline_name(name)} {number(theirs)}" for name, theirs in better.items())
            lost.append(f"{label} {number(mine)} ({told})")
            by_untrained |= "untrained" in better and i == 0
            same = [baseline_name(name) for name, x in better.items() if name.startswith(UNLEARNT) and x == mine]
            alike += [f"{label} is {number(mine)} with the trained policy as with {' and '.join(same)}"] if same else []
    if not lost:
        return None
    advice = None if run.task is results.EPISODES else f"{beaten_by_baseline.advice} {DATA_ADVICE}"
    if alike and run.task is results.ANSWERED:
        advice = f"{advice} {'; '.join(alike)}: what was learnt adds nothing there."
    few_ranks = run.task is results.ANSWERED and not lost[0].startswith("MRR")  # a rank or two decide Hits@1
    return Hit("; ".join(lost), severity="error" if by_untrained else "info" if few_ranks else None, advice=advice)


UNLEARNT = ("uniform", "untrained")  # policies that search as the trained one does
DATA_ADVICE = "Look at whether the data leaves anything to learn (`ppo-jax data describe`)."


@rule(
    "data-leak",
    severity="error",
    threshold="two splits share a query",
    cause="Queries that are judged on were trained on, or tuned on: the score says what is remembered.",
    advice="Remove the shared lines from the training or validation file (`ppo-jax data check` counts them) and train "
    "anew.",
    source="held-out evaluation",
    confidence=1.0,
    records=("overlaps",),
    ours_only=True,
    tasks=(results.PROOFS, results.ANSWERED),
)
def data_leak(run: Evidence) -> Hit | None:
    shared = {pair: n for pair, n in run.overlaps().items() if n}
    return Hit("queries in both: " + ", ".join(f"{pair} {n}" for pair, n in shared.items())) if shared else None


@rule(
    "episodes-not-restarted",
    severity="error",
    threshold="training episodes of one step by the median at the end, where those of an evaluation last two or more; "
    "an evaluation plays the first episode of each environment alone",
    cause="The step does not begin a new episode where one ends: each step that follows counts as an episode of its "
    "own, and the policy learns from steps after the end.",
    advice="Let step return the observation and the state of a fresh episode where terminated or truncated is true, "
    "as the page on environments shows.",
    source="the page on environments, restart inside step",
    confidence=0.95,
    columns=("episode_length_mean",),
    least=3,
    ours_only=True,
    tasks=(results.EPISODES,),
)
def episodes_not_restarted(run: Evidence) -> Hit | None:
    judged = [number_at(one, "length_mean") for one in (*run.log.evaluations, run.log.summary.get("test"))]
    longest = max((length for length in judged if length is not None), default=0.0)
    if run.late("episode_length_mean") != 1.0 or longest < 2.0:
        return None
    return Hit(f"episodes of training are 1 step long at the end, those of an evaluation {number(longest)}")


def _falls(run: Evidence) -> bool:
    """Whether the mean return on training queries ends clearly below its best."""
    curve = run.returns
    return curve is not None and curve.level[curve.best] - curve.end > max(0.1 * curve.range, 3.0 * curve.noise)
