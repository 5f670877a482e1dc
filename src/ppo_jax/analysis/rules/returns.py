"""Rules about the curve of returns: a fall, a plateau, still rising, evaluation beside training, a task with memory."""

from __future__ import annotations

import numpy as np

from ppo_jax.analysis.healthy_ranges import EXPLAINED_VARIANCE_POOR
from ppo_jax.analysis.rules.curve import Curve, median, running_median, spread
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.rules.rule import Hit, number, rule
from ppo_jax.tasks import results

__all__ = [
    "evaluation_below_training",
    "memory_missing",
    "memory_needed",
    "plateau",
    "return_collapse",
    "still_improving",
]


@rule(
    "return-collapse",
    severity="error",
    threshold="the mean return lost half of its rise, or fell by a quarter from where it began, by over 6 times its "
    "noise, and stays there to the end",
    cause="The policy unlearnt what it could do.",
    advice="Keep the parameters of the best evaluation: {keep_best}. Take smaller steps: half the {learning_rate}, "
    "or fewer {n_epochs}. Or stop an update where it has gone too far: {target_kl}. It helped if the return "
    "keeps its level past the update where it fell.",
    source="Schulman et al. 2017: the surrogate holds near the old policy; Henderson et al. 2018",
    confidence=0.85,
    columns=("episode_return_mean",),
)
def return_collapse(run: Evidence) -> Hit | None:
    curve = run.returns
    if curve is None:
        return None
    best, end, level = curve.best, curve.end, curve.level
    top = float(level[best])
    fall, rise = top - end, top - curve.start
    noise = max(curve.noise, 1e-9 * abs(top))
    lost_rise = rise > 6.0 * noise and fall > 0.5 * rise
    lost_start = curve.start - end > 0.25 * abs(curve.start) and fall < 1.5 * (curve.start - end)
    if not (fall > 6.0 * noise and (lost_rise or lost_start)) or fall < 0.2 * max(abs(top), abs(end)):
        return None
    begun = int(np.flatnonzero(level >= top - 0.05 * fall)[-1])
    down = begun + int(np.argmax(level[begun:] <= top - 0.5 * fall))
    if not _stands_out(level, best, down, fall):
        return None
    update = run.log.columns["update"]
    first, middle = curve.at[min(begun + 1, curve.at.size - 1)], curve.at[down]
    quiet = QUIET if run.has("approx_kl") else ""
    moved = _moved(run, int(curve.at[begun]), int(middle))
    evidence = (
        f"the mean return was {number(top)} at its best (update {update[curve.at[best]]:.0f}), fell from update "
        f"{update[first]:.0f} on, {(first + 1) / run.n_updates:.0%} of the way, and ends at {number(end)}, a fall of "
        f"{_share(fall, top)}{'; first moved there: ' + ', then '.join(moved) if moved else quiet}"
    )
    return Hit(evidence, advice=None if moved or not run.has("approx_kl") else QUIET_ADVICE)


QUIET = "; nothing else moved there, neither KL, clip fraction, entropy, explained variance nor learning rate"
QUIET_ADVICE = (
    "Look at the environment at that update first: what changed, a harder stage, another reward, other statistics of "
    "normalised observations. Keep the parameters of the best evaluation: {keep_best}. Then try half the "
    "{learning_rate}. Or stop an update where it has gone too far: {target_kl}. It helped if the return "
    "keeps its level past that update."
)


@rule(
    "evaluation-below-training",
    severity="warning",
    threshold="evaluations during training below the training returns of the same time by over 30% of them, and by "
    "over 3 times their noise, in the last three at least",
    cause="The policy is evaluated otherwise than it is trained: without the statistics that normalise observations, "
    "with the most likely action in place of a drawn one, or in another environment.",
    advice="Evaluate as in training: {evaluate}. Then compare the wrappers of both environments. It helped if "
    "evaluation and training returns agree.",
    source="Stable-Baselines3 on VecNormalize and EvalCallback; Engstrom et al. 2020 on observation normalisation",
    confidence=0.8,
    columns=("eval/episode_return_mean", "episode_return_mean"),
    least=3,
)
def evaluation_below_training(run: Evidence) -> Hit | None:
    evaluated = run.series("eval/episode_return_mean")
    at = np.flatnonzero(np.isfinite(evaluated))[-5:]
    trained = run.series("episode_return_mean")
    near = np.array([median(_finite(trained[max(0, i - 1) : i + 2])) for i in at])
    gaps, size = near - evaluated[at], np.abs(near)
    known = np.isfinite(gaps)
    at, near, gaps, size = at[known], near[known], gaps[known], size[known]
    noise = spread(np.diff(_finite(trained))) / np.sqrt(2.0)
    curve = run.returns
    scale = max(median(size), curve.range if curve else 0.0)
    if gaps.size < 3 or not (gaps[-3:] > max(0.3 * scale, 3.0 * noise)).all():
        return None
    return Hit(
        f"the last evaluation gave {number(evaluated[at][-1])} beside {number(near[-1])} in training, and the two "
        "before it were as far below"
    )


MEMORY = (
    "Give the policy a memory: {recurrent}. Or show it the last observations: {frame_stack}. It helped if the "
    "explained variance rises first."
)
HAUSKNECHT = "Hausknecht and Stone 2015, Deep Recurrent Q-Learning for Partially Observable MDPs"


@rule(
    "memory-missing",
    severity="warning",
    threshold="the class of the environment says needs_memory = True, and there is neither a recurrent core nor "
    "frame_stack; whatever the returns",
    cause="The observation does not show what the best action and the value depend on.",
    advice=MEMORY,
    source=HAUSKNECHT,
    confidence=0.9,
    ours_only=True,
    tasks=(results.EPISODES,),
)
def memory_missing(run: Evidence) -> Hit | None:
    declared = run.log.summary.get("needs_memory") is True
    if not declared or run.setting("core") or run.setting("frame_stack"):
        return None
    return Hit(f"{run.setting('env_id')}: needs_memory is true in its class", {"core": "gru"})


@rule(
    "memory-needed",
    severity="info",
    threshold=f"a task known by its name to hide part of its state, whose returns rose by less than two standard "
    f"deviations with an explained variance under {EXPLAINED_VARIANCE_POOR:g} at the end, and no recurrent core",
    cause="A hypothesis: the observation does not show what the best action and the value depend on.",
    advice=MEMORY,
    source=HAUSKNECHT,
    confidence=0.5,
    columns=("episode_return_mean", "explained_variance"),
    settings=("env_id",),
    records=("hidden state",),
    tasks=(results.EPISODES,),
)
def memory_needed(run: Evidence) -> Hit | None:
    task, explained = str(run.setting("env_id")), run.late("explained_variance")
    if not run.hides_state or run.setting("core") or not run.improvement() < 2.0:
        return None
    if explained >= EXPLAINED_VARIANCE_POOR:
        return None
    return Hit(f"{task}: the return does not rise and the explained variance is {number(explained)} at the end")


@rule(
    "plateau",
    severity="info",
    threshold="after a rise of over one standard deviation the best return of the second half is no more than 5% of "
    "the range above that of the first, and the end within 20% of it",
    cause="Learning has come to its end with this configuration.",
    advice="If the result is good, halve {total_timesteps}. If not, more steps of the same will not help: change the "
    "settings that other findings name, or explore more.",
    source="running median of episode_return_mean",
    confidence=0.6,
    columns=("episode_return_mean",),
)
def plateau(run: Evidence) -> Hit | None:
    curve = run.returns
    if curve is None or not run.improvement() > 1.0 or curve.end - curve.start <= 4.0 * curve.noise:
        return None
    half = curve.level.size // 2
    before, after = _best(curve, 0, half), _best(curve, half, None)
    if after - before >= 0.05 * curve.range or _at_the_end(curve) < max(before, after) - 0.2 * curve.range:
        return None
    return Hit(f"the mean return reached {number(before)} in the first half and {number(after)} in the second")


@rule(
    "still-improving",
    severity="info",
    threshold="over the last fifth the mean return rises by more than 10% of its whole range, and ends more than 5% "
    "of it above its best before",
    cause="The run ended before learning did.",
    advice="Raise {total_timesteps}; schedules stretch with it. It helped if the return ends higher.",
    source="running median of episode_return_mean, before and at the end of the last fifth",
    confidence=0.6,
    columns=("episode_return_mean",),
)
def still_improving(run: Evidence) -> Hit | None:
    curve = run.returns
    if curve is None or run.improvement() < 1.0 or curve.range <= 0.0:
        return None
    n = curve.level.size
    rise = _at_the_end(curve) - median(curve.level[n - n // 5 - max(2, n // 20) : n - n // 5])
    gained = _at_the_end(curve) - _best(curve, 0, n - n // 5)  # after a dip there is a rise and no gain
    if rise <= max(0.1 * curve.range, 2.0 * curve.noise) or gained <= 0.05 * curve.range:
        return None
    evidence = f"the mean return rises by {rise / curve.range:.0%} of its range over {run.last_fifth()}, to its best"
    steps = run.setting("total_timesteps")
    return Hit(evidence, {"total_timesteps": 2 * steps} if steps else {})


def _stands_out(level: np.ndarray, best: int, down: int, fall: float) -> bool:
    """Whether a fall is no swing like others: few below it before the best, no rise after, and time to see."""
    smooth = running_median(level, level.size // 8)  # of single episodes the level is still noisy
    before, after = smooth[: best + 1], smooth[down:]
    swing = float((np.maximum.accumulate(before) - before).max())
    rise = float((after - np.minimum.accumulate(after)).max())
    small = fall / (3.0 if level.size >= 30 else 6.0)
    return swing < small and after.size >= max(4, level.size // 8) and rise < small


def _best(curve: Curve, start: int, end: int | None) -> float:
    """A high level of a part that is not its highest point."""
    return float(np.quantile(curve.level[start:end], 0.9))


def _at_the_end(curve: Curve) -> float:
    return median(curve.level[-max(2, curve.level.size // 20) :])


def _share(fall: float, top: float) -> str:
    return f"{fall / top:.0%}" if top > 0 and fall <= top else number(fall)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


# What can move before a return falls: name, words, and whether a new value is a move from the old one.
SIGNS = (
    ("learning_rate", "learning rate", lambda old, new: new > 1.5 * old),
    ("approx_kl", "KL", lambda old, new: new > max(3.0 * old, 0.03)),
    ("clip_fraction", "clip fraction", lambda old, new: new > max(1.5 * old, 0.2)),
    ("entropy", "entropy", lambda old, new: abs(new - old) > 0.3 * max(abs(old), 0.1)),
    ("action_std", "std of the actions", lambda old, new: new > 1.5 * old or new < 0.5 * old),
    ("explained_variance", "explained variance", lambda old, new: new < old - 0.3),
)


def _moved(run: Evidence, begun: int, down: int) -> list[str]:
    """What left its level around the updates of a fall, earliest first, with the numbers."""
    width = max(3, run.n_updates // 20)
    window = slice(max(3, begun - width), min(run.n_updates, down + width + 1))
    found = []
    for place, (name, words, moved) in enumerate(SIGNS):
        series = run.series(name)
        before, there = _finite(series[max(0, window.start - 4 * width) : window.start]), series[window]
        if before.size < 3 or not np.isfinite(there).any():
            continue
        old = median(before)
        hits = [i for i, new in enumerate(there) if np.isfinite(new) and moved(old, new)]
        if hits:
            extreme = max((there[i] for i in hits), key=lambda new: abs(new - old))
            update = run.log.columns["update"][window.start + hits[0]]
            found.append((hits[0], place, f"{words} {number(old)} → {number(extreme)} from update {update:.0f}"))
    return [text for _, _, text in sorted(found)]
