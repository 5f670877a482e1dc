"""Logs of other trainers: each fault that people ask about, by small series of its kind, and runs that learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_jax.analysis.diagnose import EXCLUDES, Diagnosis, diagnose
from ppo_jax.analysis.readers import RunLog

U = 60
T = np.linspace(0.0, 1.0, U)
WAVE = np.sin(17.0 * np.arange(U))  # noise that is the same each time, of size 1
LEARNT = 200.0 * (1.0 - np.exp(-5.0 * T)) + 4.0 * WAVE
FLAT = -120.0 + 4.0 * WAVE
SIGNATURE = {
    "episode_return_mean": LEARNT,
    "episode_length_mean": 200.0,
    "approx_kl": 0.008 + 0.002 * WAVE,
    "clip_fraction": 0.08 + 0.02 * WAVE,
    "entropy": 1.38 - 0.8 * T,
    "explained_variance": 0.3 + 0.6 * np.sqrt(T),
    "value_loss": 6.0 + WAVE,
    "policy_loss": -0.005 + 0.003 * WAVE,
    "learning_rate": 3e-4,
}
SETTINGS = {"n_epochs": 10, "learning_rate": 3e-4, "clip_range": 0.2}


def log(n=U, rollout=2048, trainer="sb3", settings=(), kind=None, **columns) -> RunLog:
    """A run of another trainer that learns, but for what is given; None leaves a column out."""
    merged = SIGNATURE | columns
    series = {k: np.broadcast_to(np.asarray(x, float), U)[:n] for k, x in merged.items() if x is not None}
    if "action_std" not in series and "entropy" in series:
        series["entropy_normalized"] = series["entropy"] / np.nanmax(series["entropy"])
    at = np.arange(1.0, n + 1)
    return RunLog(
        "run",
        kind or trainer,
        SETTINGS | dict(settings),
        {"update": at, "env_steps": rollout * at} | series,
        trainer=trainer,
    )


def judge(**given) -> Diagnosis:
    return diagnose(log(**given))


def ids(diagnosis: Diagnosis) -> list[str]:
    """The findings that ask for something."""
    return [f.id for f in diagnosis.findings if f.severity != "info"]


def finding(diagnosis: Diagnosis, id: str):
    return next(f for f in diagnosis.findings if f.id == id)


def infos(diagnosis: Diagnosis) -> set[str]:
    return {f.id for f in diagnosis.findings if f.severity == "info"} - {"no-lr-schedule"}


def noise(seed: int, size: float, carry: float = 0.8) -> np.ndarray:
    """As a mean over the latest episodes moves: what one update has the next still has in part."""
    draws = np.random.default_rng(seed).standard_normal(U) * size * np.sqrt(1.0 - carry**2)
    for i in range(1, U):
        draws[i] += carry * draws[i - 1]
    return draws


HEALTHY = {
    "noisy": lambda seed: {"episode_return_mean": LEARNT + noise(seed, 40.0, 0.0)},
    "slow start": lambda seed: {
        "episode_return_mean": 200.0 / (1.0 + np.exp(-20.0 * (T - 0.7))) + noise(seed, 4.0),
        "entropy": 1.38 - 0.5 * np.clip(T - 0.5, 0.0, 1.0),
        "explained_variance": np.clip(1.2 * T - 0.1, 0.0, 0.9),
    },
    "plateau at the maximum": lambda seed: {
        "episode_return_mean": np.minimum(500.0, 20.0 + 2500.0 * T),
        "entropy": 0.69 * np.exp(-4.0 * T),
        "explained_variance": np.where(T < 0.3, 0.8, 0.2) + noise(seed, 0.2, 0.0),
    },
    "sparse reward": lambda seed: {
        "episode_return_mean": np.random.default_rng(seed).binomial(20, 0.9 / (1.0 + np.exp(-15.0 * (T - 0.5)))) / 20.0,
        "explained_variance": np.clip(1.3 * T - 0.3, 0.0, 0.8),
        "value_loss": 0.05 + 0.01 * WAVE,
    },
    "continuing": lambda seed: {
        "episode_return_mean": 480.0 + noise(seed, 10.0),
        "entropy": 0.05 + 0.01 * WAVE,
        "explained_variance": 0.8 + 0.05 * WAVE,
    },
}


@pytest.mark.parametrize("shape", HEALTHY)
@pytest.mark.parametrize("seed", range(5))
def test_a_run_that_learns_gets_no_error(shape, seed):
    diagnosis = judge(**HEALTHY[shape](seed))
    assert not diagnosis.has_error
    assert set(ids(diagnosis)) <= {"critic-uninformative"}


def test_one_outlier_decides_nothing():
    """One update in which the explained variance is −4e9, and a few bad ones at the end."""
    once, late = SIGNATURE["explained_variance"].copy(), SIGNATURE["explained_variance"].copy()
    once[-3], late[-4:-1] = -4e9, -3.0
    spike = np.where(np.arange(U) == 30, 5.0, 0.008)
    for columns in ({"explained_variance": once}, {"explained_variance": late}, {"approx_kl": spike}):
        assert ids(judge(**columns)) == []


def test_an_explained_variance_of_about_0_is_uninformative_and_its_errors_tell_of_the_scale():
    """−1e-6 with values 72 from the returns."""
    diagnosis = judge(episode_return_mean=FLAT, explained_variance=-1e-6 * T, value_loss=5200.0, approx_kl=1e-3)
    assert ids(diagnosis)[:2] == ["reward-scale", "critic-uninformative"]
    assert finding(diagnosis, "critic-uninformative").because_of == ("reward-scale",)
    assert "VecNormalize" in finding(diagnosis, "reward-scale").advice
    assert finding(diagnosis, "reward-scale").severity == "error"
    assert all("vf_coef" not in f.changes for f in diagnosis.findings)
    assert "values are 72.1 from the returns" in finding(diagnosis, "reward-scale").evidence


def test_the_scale_of_the_rewards_comes_before_an_entropy_bonus():
    diagnosis = judge(
        settings={"ent_coef": 0.15, "vf_coef": 0.5},
        **{"episode_return_mean": 1e3 * FLAT, "explained_variance": 1e-8 * WAVE, "value_loss": 1e6},
        **{"approx_kl": 1.5e-3, "clip_fraction": 0.0, "entropy": 1.38 - 0.05 * T, "policy_loss": 0.002},
    )
    assert ids(diagnosis)[:3] == ["reward-scale", "entropy-bonus-dominates", "critic-uninformative"]
    assert "vf_coef" not in finding(diagnosis, "critic-uninformative").changes
    assert "Leave vf_coef as it is" in finding(diagnosis, "critic-uninformative").advice


@pytest.mark.parametrize(("error", "severity"), [(20.0, None), (60.0, "warning"), (200.0, "error")])
def test_the_scale_is_named_by_the_size_of_the_errors(error, severity):
    diagnosis = judge(explained_variance=0.2, value_loss=error**2)
    named = [f.severity for f in diagnosis.findings if f.id == "reward-scale"]
    assert named == ([severity] if severity else [])
    assert "reward-scale" not in ids(judge(explained_variance=0.8, value_loss=error**2))  # it follows them all the same


@pytest.mark.parametrize("name", ["normalize_rewards", "normalize_values"])
def test_rewards_that_are_normalised_are_not_told_to_be(name):
    assert "reward-scale" not in ids(judge(settings={name: True}, explained_variance=0.2, value_loss=1e4))


def test_returns_that_vary_are_not_degenerate_where_their_mean_stands_still():
    """A mean over 100 episodes at its plateau, with a value loss of 12 and an explained variance of 0.75."""
    flat = 57.0 * (1.0 - np.exp(-12.0 * T)) + 0.05 * WAVE
    assert infos(judge(episode_return_mean=flat, value_loss=12.0, explained_variance=0.75)) == {"plateau"}
    blind = judge(episode_return_mean=np.full(U, -57.0) + 0.05 * WAVE, value_loss=5000.0, explained_variance=0.01)
    assert ids(blind)[:2] == ["reward-scale", "critic-uninformative"]
    assert blind.has_error and "returns-degenerate" not in infos(blind)


def test_returns_that_stop_varying_are_degenerate_and_say_what_the_policy_settled_on():
    half = T < 0.3
    diagnosis = judge(
        episode_return_mean=np.where(half, -100.0 * T, 0.02 * WAVE),
        value_loss=np.where(half, 0.5, 0.001),
        explained_variance=np.where(half, 0.8, -0.5),
    )
    assert "doing nothing" in finding(diagnosis, "returns-degenerate").evidence
    assert ids(diagnosis) == []


def test_a_few_updates_are_not_judged_by_their_last_fifth():
    rising = judge(n=7, episode_return_mean=25.0 + 20.0 * np.arange(U))
    assert ids(rising) == [] and infos(rising) == set()
    why = {one.id: one.why for one in rising.unjudged}
    assert why["returns-degenerate"] == why["plateau"] == "7 updates are on record, 10 are needed"


def test_a_critic_that_is_bad_at_each_of_a_few_updates_is_named_and_one_that_catches_up_is_not():
    bad = judge(n=7, episode_return_mean=50.0, explained_variance=-1.2 + 0.1 * WAVE)
    assert ids(bad) == ["critic-worse-than-mean"] and bad.has_error
    assert "at each of 7 updates" in finding(bad, "critic-worse-than-mean").evidence
    assert ids(judge(n=7, episode_return_mean=50.0, explained_variance=-3.0 + 0.45 * np.arange(U))) == []
    assert ids(judge(n=4, explained_variance=-1.2)) == []


def test_a_dip_from_which_the_return_recovers_is_a_plateau():
    dip = 200.0 * (1.0 - np.exp(-9.0 * T)) + 4.0 * WAVE
    dip[46:56] -= np.linspace(120.0, 20.0, 10)
    assert infos(judge(episode_return_mean=dip)) == {"plateau"}
    assert ids(judge(episode_return_mean=dip)) == []


def test_a_quiet_fall_says_that_nothing_else_moved():
    fallen = np.where(T < 0.55, 500.0 * (1.0 - np.exp(-8.0 * T)), 80.0) + 8.0 * WAVE
    diagnosis = judge(episode_return_mean=fallen)
    assert ids(diagnosis) == ["return-collapse"] and diagnosis.has_error
    seen = finding(diagnosis, "return-collapse").evidence
    assert "from update 34 on, 57% of the way" in seen and "nothing else moved" in seen
    assert "Look at the environment" in finding(diagnosis, "return-collapse").advice


def test_a_fall_with_a_jump_of_the_kl_names_it_first():
    late = np.arange(U) >= 36
    diagnosis = judge(
        episode_return_mean=np.where(late, 0.02, np.minimum(0.95, 2.0 * T)),
        approx_kl=np.where(late, 3.7, 0.01),
        clip_fraction=np.where(late, 0.6, 0.1),
        explained_variance=np.where(late, -0.4, 0.8),
        value_loss=0.05,
    )
    assert ids(diagnosis)[0] == "lr-too-high"
    fall = finding(diagnosis, "return-collapse")
    assert fall.because_of == ("lr-too-high",) and fall.severity == "error"
    assert "KL 0.01 → 3.7 from update 37" in fall.evidence
    assert "return-collapse" in finding(diagnosis, "critic-worse-than-mean").because_of


def test_a_late_jump_of_the_learning_rate_is_what_moved_first():
    late = np.arange(U) >= 36
    diagnosis = judge(
        episode_return_mean=np.where(np.arange(U) >= 38, 30.0, LEARNT),
        learning_rate=np.where(late, 1e-2, 3e-4),
        settings={"learning_rate": {"init": 3e-4, "final": 1e-2}},
        approx_kl=np.where(late, 0.3, 0.01),
    )
    assert "first moved there: learning rate 0.0003 → 0.01" in finding(diagnosis, "return-collapse").evidence


def test_an_entropy_that_is_gone_after_large_steps_says_that_the_return_fell():
    early = np.arange(U) < 12
    diagnosis = judge(
        episode_return_mean=np.clip(36000.0 - 500.0 * np.arange(U), 25000.0, None) + 30.0 * WAVE,
        entropy=np.where(early, 2.0, 0.02),
        approx_kl=np.where(early, 0.05, 2e-4),
        clip_fraction=np.where(early, 0.55, 0.005),
        explained_variance=np.where(early, 0.6, 0.0),
        value_loss=1800.0,
    )
    assert ids(diagnosis)[:2] == ["lr-too-high", "entropy-collapse"]
    assert finding(diagnosis, "entropy-collapse").because_of == ("lr-too-high",)
    assert "the return FELL by 3" in finding(diagnosis, "entropy-collapse").evidence
    assert "55% of the ratios clipped" in finding(diagnosis, "lr-too-high").evidence


def test_steps_that_explode_late_are_named_with_when_and_from_what():
    late = T > 0.7
    diagnosis = judge(
        approx_kl=np.where(late, 3.5, 0.015),
        clip_fraction=np.where(late, 0.7, 0.1),
        explained_variance=0.1,
        value_loss=2500.0,
    )
    assert {"lr-too-high", "reward-scale"} <= set(ids(diagnosis))
    assert ids(diagnosis)[0] == "lr-too-high"
    seen = finding(diagnosis, "lr-too-high").evidence
    assert "KL 3.5" in seen and "0.015 before" in seen and "from 70% of the way on" in seen


@pytest.mark.parametrize("rate", [1e-5, 3e-4, 1e-3])
def test_a_lower_rate_is_lower_than_the_present_one(rate):
    diagnosis = judge(settings={"learning_rate": rate}, learning_rate=rate, approx_kl=0.3, clip_fraction=0.5)
    found = finding(diagnosis, "lr-too-high")
    assert found.changes["learning_rate"]["init"] < rate
    assert "3e-4" not in found.advice and "target_kl=0.03" in found.advice and "n_epochs} " not in found.advice


def test_large_steps_in_passing_are_a_warning_where_the_run_learns():
    kl, clipped = np.full(U, 0.01), np.full(U, 0.1)
    kl[3:7], clipped[3:7] = 0.15, 0.4
    diagnosis = judge(approx_kl=kl, clip_fraction=clipped)
    assert ids(diagnosis) == ["lr-too-high"] and not diagnosis.has_error


@pytest.mark.parametrize(
    ("std", "first", "words"),
    [
        (np.exp(np.log(9.0) * T), "std-grows", "ent_coef"),
        (1.0 + 0.02 * T, "entropy-stuck", "1.02"),
        (np.maximum(np.exp(-25.0 * T), 0.004), "entropy-collapse", "0.004"),
    ],
)
def test_what_the_std_of_the_actions_tells(std, first, words):
    diagnosis = judge(episode_return_mean=FLAT, action_std=std, entropy=1.42 + np.log(std), explained_variance=0.5)
    assert ids(diagnosis)[0] == first
    found = finding(diagnosis, first)
    assert words in found.evidence + found.advice
    assert ids(judge(action_std=1.0 - 0.5 * T, entropy=1.42 + np.log(1.0 - 0.5 * T))) == []


def test_a_std_that_is_not_logged_follows_from_the_entropy_of_gaussian_actions():
    entropy = 3.0 * (1.419 + np.log(1.0 + 4.0 * T))  # of three actions
    columns = {key: x for key, x in log(entropy=entropy).columns.items() if key != "entropy_normalized"}
    for kind in ("ppo_jax", "cleanrl"):
        found = diagnose(RunLog("run", kind, SETTINGS, columns, trainer=kind)).findings
        assert [f.id for f in found if f.severity != "info"] == ["std-grows"]
    assert "from 1.07 to 4.63" in next(f.evidence for f in found if f.id == "std-grows")


def test_a_std_that_nothing_trains_is_named():
    frozen = {"action_std": 1.0, "entropy": 1.419}
    assert "nothing trains it" in finding(judge(**frozen), "entropy-stuck").evidence
    assert finding(judge(**frozen), "entropy-stuck").severity == "info"  # it learns all the same
    flat = judge(episode_return_mean=FLAT, **frozen)
    assert ids(flat) == ["entropy-stuck"] and "log_std_init" in finding(flat, "entropy-stuck").advice
    still = judge(approx_kl=1e-9, clip_fraction=0.0, episode_return_mean=FLAT, **frozen)
    assert "nothing trains it" not in finding(still, "entropy-stuck").evidence  # nothing moves at all


def test_a_growing_std_explains_a_fall_of_the_returns():
    std = np.exp(2.0 * T)
    fall = judge(episode_return_mean=np.where(T < 0.4, LEARNT, 20.0 + WAVE), action_std=std, entropy=1.42 + np.log(std))
    assert ids(fall)[:2] == ["std-grows", "return-collapse"]
    assert finding(fall, "return-collapse").because_of == ("std-grows",)


def test_a_return_that_falls_to_the_very_end_is_a_collapse():
    assert ids(judge(episode_return_mean=300.0 - 100.0 * T + 2.0 * WAVE)) == ["return-collapse"]
    assert ids(judge(episode_return_mean=300.0 - 160.0 * np.minimum(T, 1.0 - T) + 2.0 * WAVE)) == []  # it came back


def test_a_std_that_is_not_finite_is_named_with_its_first_update():
    std = np.where(np.arange(U) >= 15, np.nan, 1.0)
    assert "action_std is not finite at 45 of 60 updates, the first is update 16" in [
        f.evidence for f in judge(action_std=std).findings
    ]


def test_a_line_that_lacks_everything_is_no_loss_of_the_run():
    cut = {
        name: np.where(np.arange(U) >= U - 2, np.nan, SIGNATURE[name])
        for name in SIGNATURE
        if name != "episode_return_mean"
    }
    assert ids(judge(**cut)) == []


def test_no_reward_at_all_is_named_and_no_explained_variance():
    silent = judge(episode_return_mean=0.0, explained_variance=np.nan, value_loss=1e-5, entropy=1.38)
    assert ids(silent)[0] == "advantages-degenerate"
    assert "no episode got any reward" in finding(silent, "advantages-degenerate").evidence
    constant = judge(episode_return_mean=5.0, explained_variance=np.nan, entropy=1.38)
    assert "undefined at each of 60 updates" in finding(constant, "advantages-degenerate").evidence


def test_an_evaluation_far_below_training_is_named():
    evaluated = np.where(np.arange(U) % 5 == 4, 0.3 * LEARNT, np.nan)
    diagnosis = judge(**{"eval/episode_return_mean": evaluated})
    assert ids(diagnosis) == ["evaluation-below-training"]
    found = finding(diagnosis, "evaluation-below-training")
    assert "beside" in found.evidence and "VecNormalize" in found.advice and "deterministic" in found.advice
    assert ids(judge(**{"eval/episode_return_mean": np.where(np.arange(U) % 5 == 4, LEARNT + 9.0, np.nan)})) == []


def test_a_rollout_of_two_transitions_comes_before_what_it_causes():
    diagnosis = judge(
        rollout=2,
        **{"episode_return_mean": FLAT, "episode_length_mean": 1.1, "approx_kl": 1e-8, "clip_fraction": 0.0},
        **{"explained_variance": np.where(T > 0.1, np.nan, -1e-6), "value_loss": 6000.0, "entropy": 7.49},
    )
    assert ids(diagnosis)[0] == "rollout-too-small"
    assert "2 transitions" in finding(diagnosis, "rollout-too-small").evidence
    assert "lr-too-low" not in ids(diagnosis)


def test_the_size_of_a_rollout_is_taken_from_the_settings_first():
    assert "rollout-too-small" in ids(judge(settings={"rollout_size": 5}, rollout=2048))
    assert "rollout-too-small" not in ids(judge(settings={"n_envs": 8, "n_steps": 128}, rollout=2))


def test_a_tiny_learning_rate_is_the_cause_of_a_critic_that_does_not_learn():
    slow = {"approx_kl": 6e-4, "clip_fraction": 0.0, "entropy": 1.38 - 0.02 * T, "learning_rate": 1e-5}
    diagnosis = judge(
        settings={"learning_rate": 1e-5}, episode_return_mean=FLAT, explained_variance=0.05, value_loss=4000.0, **slow
    )
    assert ids(diagnosis)[0] == "lr-too-low"
    assert finding(diagnosis, "critic-uninformative").because_of == ("lr-too-low",)
    assert "reward-scale" not in ids(diagnosis)
    assert "from 1e-05 to 0.0003" in finding(diagnosis, "lr-too-low").advice
    fine = judge(settings={"learning_rate": 1e-5}, **slow)
    assert ids(fine) == ["lr-too-low"] and not fine.has_error


def test_a_policy_that_stands_still_at_an_ordinary_rate_is_told_where_to_look():
    diagnosis = judge(
        episode_return_mean=3.0 + 0.4 * WAVE, approx_kl=1e-9, clip_fraction=0.0, entropy=1.419, value_loss=5e-4
    )
    assert ids(diagnosis)[0] == "lr-too-low"
    assert "is no small rate" in finding(diagnosis, "lr-too-low").advice


def test_without_returns_no_rule_that_needs_them_fires_and_the_way_to_them_is_said():
    """A policy that has settled early, as one that solved its task has."""
    diagnosis = judge(episode_return_mean=None, episode_length_mean=None, entropy=1.43 * np.exp(-20.0 * T) + 0.05)
    assert ids(diagnosis) == []
    assert "Monitor" in {one.id: one.why for one in diagnosis.unjudged}["entropy-collapse"]
    cleanrl = judge(episode_return_mean=None, trainer="cleanrl")
    assert "RecordEpisodeStatistics" in {one.id: one.why for one in cleanrl.unjudged}["plateau"]


def test_an_entropy_that_vanishes_early_without_a_gain_is_a_collapse():
    gone = 1.38 * np.exp(-30.0 * T) + 0.001
    assert ids(judge(episode_return_mean=FLAT, entropy=gone))[0] == "entropy-collapse"
    assert ids(judge(entropy=gone)) == []  # it learnt all the same
    assert ids(judge(episode_return_mean=FLAT, entropy=0.03)) == []  # a log that begins there


def test_a_task_that_hides_its_state_is_given_a_memory_as_a_hypothesis():
    columns = {"episode_return_mean": FLAT, "explained_variance": 0.2}
    diagnosis = judge(settings={"env_id": "MiniGrid-MemoryS13-v0"}, **columns)
    found = finding(diagnosis, "memory-needed")
    assert "RecurrentPPO" in found.advice and "hypothesis" in found.cause
    assert finding(diagnosis, "critic-uninformative").because_of == ("memory-needed",)
    assert "memory-needed" not in infos(judge(settings={"env_id": "CartPole-v1"}, **columns))
    assert "memory-needed" not in infos(judge(**columns))
    assert "memory-needed" not in infos(judge(settings={"env_id": "MemoryChain", "core": "gru"}, **columns))


def test_a_value_clip_far_below_the_errors_freezes_the_critic():
    columns = {"explained_variance": 0.05, "value_loss": 9e4, "episode_return_mean": FLAT}
    diagnosis = judge(trainer="cleanrl", kind="tensorboard", settings={"clip_range_vf": 0.2}, **columns)
    found = finding(diagnosis, "value-clip-saturated")
    assert found.severity == "error" and "--no-clip-vloss" in found.advice
    assert "stands still" in found.evidence
    assert "value-clip-saturated" in finding(diagnosis, "critic-uninformative").because_of
    assert "value-clip-saturated" not in ids(judge(settings={"clip_range_vf": None}, **columns))


def test_what_is_not_judged_could_have_applied_to_the_log():
    unjudged = {one.id for one in judge().unjudged}
    ours = {"data-leak", "critic-memorises", "successors-overflow", "action-space-forced", "beaten-by-baseline"}
    assert not unjudged & (ours | {"seed-outlier", "evaluation-below-training", "std-grows", "truncation-dominates"})
    assert "batch-exceeds-rollout" in unjudged  # --set can tell
    monitor = RunLog("m", "monitor", {}, {"update": np.arange(1.0, U + 1), "env_steps": 45.0 * np.arange(1, U + 1)})
    assert diagnose(monitor).unjudged == ()


@pytest.mark.parametrize("trainer", ["ppo_jax", "sb3", "cleanrl", "baselines", "rllib", "something else"])
def test_no_advice_keeps_a_name_in_braces(trainer):
    columns = {
        "approx_kl": 0.3,
        "clip_fraction": 0.5,
        "explained_variance": -2.0,
        "value_loss": 1e5,
        "action_std": 1.0 + 9.0 * T,
    }
    for f in judge(trainer=trainer, kind="sb3", episode_return_mean=FLAT, **columns).findings:
        assert "{" not in f.advice.replace("{ init", "")


VALUES = st.one_of(st.floats(-1e6, 1e6), st.floats(0, 1), st.just(0.0), st.just(float("nan")), st.floats())
NAMES = [*sorted(SIGNATURE), "action_std", "eval/episode_return_mean", "early_stopped", "epochs_completed"]


@given(
    st.integers(0, 24),
    st.dictionaries(st.sampled_from(NAMES), st.lists(VALUES, min_size=24, max_size=24)),
    st.sampled_from([np.float64, np.float32, np.float16]),
    st.sampled_from(["sb3", "cleanrl", "rllib"]),
)
def test_any_columns_give_no_crash_and_no_contradiction(n, columns, dtype, trainer):
    with np.errstate(all="ignore"):
        series = {name: np.array(values, dtype)[:n].astype(float) for name, values in columns.items()}
    at = np.arange(1.0, n + 1)
    one = RunLog("run", trainer, SETTINGS, {"update": at, "env_steps": 128.0 * at} | series, trainer=trainer)
    diagnosis = diagnose(one)
    found = {f.id for f in diagnosis.findings}
    assert not [(a, b) for a, others in EXCLUDES.items() for b in others if {a, b} <= found]
    for f in diagnosis.findings:
        assert "nan" not in f.evidence.split()
    measured = {name for name, values in series.items() if np.isfinite(values).sum() > 1}
    for f in diagnosis.findings:
        assert f.id in ("no-lr-schedule", "too-many-epochs") or measured or f.id == "rollout-too-small"
