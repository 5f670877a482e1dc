"""Every rule with a run that fires it and a near miss that does not."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.analysis.diagnose import RULES
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.rules.evidence import Evidence

U = 50
AT = np.arange(1.0, U + 1)
RISE = np.linspace(0.0, 100.0, U)
FALL = np.r_[np.linspace(0.0, 100.0, 25), np.full(25, 20.0)]
BY_ID = {rule.id: rule for rule in RULES}
SETTINGS = {
    "n_envs": 8,
    "n_steps": 128,
    "batch_size": 256,
    "n_epochs": 4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "learning_rate": 3e-4,
    "ent_coef": 0.01,
    "clip_range_vf": None,
    "vf_coef": 0.5,
    "critic_learning_rate": None,
    "separate_critic": True,
    "max_grad_norm": 0.5,
    "target_kl": 0.02,
    "max_atoms": 4,
    "normalize_rewards": False,
    "normalize_values": False,
    "bootstrap_truncation": False,
    "core": None,
}
HEALTHY = {
    "policy_loss": 0.01,
    "value_loss": 0.1,
    "entropy": np.linspace(0.69, 0.3, U),
    "entropy_normalized": np.linspace(1.0, 0.45, U),
    "approx_kl": 0.005,
    "clip_fraction": 0.05,
    "value_clip_fraction": 0.0,
    "explained_variance": np.linspace(0.0, 0.9, U),
    "returns_degenerate": 0.0,
    "returns_std": 1.0,
    "advantage_std": 0.5,
    "grad_norm": 0.4,
    "grad_clip_fraction": 0.3,
    "learning_rate": 3e-4,
    "ent_coef": 0.01,
    "early_stopped": 0.0,
    "epochs_completed": 4.0,
    "episode_return_mean": RISE,
    "episode_length_mean": 60.0,
    "truncated_fraction": 0.0,
    "forced_fraction": 0.3,
    "overflow_fraction": 0.0,
}


def run(settings=(), summary=(), scores=(), value_errors=None, **columns) -> RunLog:
    """A healthy run but for what is given."""
    series = {"update": AT, "env_steps": 1024 * AT} | HEALTHY | columns
    series = {name: np.broadcast_to(np.asarray(x, float), U) for name, x in series.items()}
    evaluations = [{"greedy": {"mrr": score}} for score in scores]
    if value_errors:
        evaluations = [{"value_error_valid": value_errors[0], "value_error_train": value_errors[1]}]
    return RunLog("run", "ppo_jax", SETTINGS | dict(settings), series, tuple(evaluations), dict(summary))


def others(*finals) -> list[RunLog]:
    return [run(summary={"test": {"return_mean": final}}) for final in finals]


def last_fifth(early, late) -> np.ndarray:
    return np.r_[np.full(U - U // 5, early), np.full(U // 5, late)]


def some(share, value, otherwise=0.0) -> np.ndarray:
    """`value` in this share of the updates, from the first on."""
    return np.where(share * U >= AT, value, otherwise)


BASELINES = {"untrained": {"greedy": {"mrr": 0.5}}, "shortest_proof": {"greedy": {"mrr": 0.94}}}
CASES = {  # id -> (a run that fires it, a near miss)
    "critic-worse-than-mean": (
        run(explained_variance=last_fifth(0.9, -0.02)),
        run(explained_variance=last_fifth(-5.0, -0.005)),  # as good as the mean
    ),
    "critic-uninformative": (
        run(explained_variance=last_fifth(0.9, 0.29)),
        run(explained_variance=last_fifth(-5.0, 0.31)),
    ),
    "returns-degenerate": (run(returns_std=last_fifth(1.0, 0.09)), run(returns_std=last_fifth(1.0, 0.11))),
    "value-loss-high": (run(value_loss=1.01), run(value_loss=0.99)),
    "value-clip-saturated": (run(value_clip_fraction=0.51), run(value_clip_fraction=0.49)),
    "kl-early-stops": (
        run(early_stopped=some(0.12, 1), epochs_completed=3.9),
        run(early_stopped=some(0.1, 1), epochs_completed=3.9),
    ),
    "kl-target-unreachable": (
        run(early_stopped=some(0.4, 1), epochs_completed=some(0.32, 0, 1)),
        run(early_stopped=1, epochs_completed=some(0.3, 0, 1)),
    ),
    "too-many-epochs": (run({"n_epochs": 11}), run({"n_epochs": 10})),
    "batch-exceeds-rollout": (run({"batch_size": 1025}), run({"batch_size": 1024})),
    "rollout-shorter-than-episode": (
        run({"n_steps": 13, "n_envs": 80}),  # 1 / (1 - 0.99 * 0.95) = 16.8 steps ahead
        run({"n_steps": 14, "n_envs": 80}),
    ),
    "entropy-collapse": (
        run(entropy_normalized=some(0.3, 0.5, 0.05), episode_return_mean=10 + np.sin(AT)),
        run(entropy_normalized=some(0.3, 0.5, 0.05)),  # it collapsed, but it had learnt
    ),
    "entropy-stuck": (
        run(entropy_normalized=0.95, episode_return_mean=10 + np.sin(AT)),
        run(entropy_normalized=0.95),  # returns rise
    ),
    "entropy-bonus-dominates": (
        run(ent_coef=0.2, entropy=0.6, entropy_normalized=0.85),
        run(ent_coef=0.2, entropy=0.6, entropy_normalized=0.75),
    ),
    "no-entropy-schedule": (
        run({"ent_coef": 0.05}),
        run({"ent_coef": {"init": 0.05, "final": 0.0, "shape": "linear"}}),
    ),
    "no-lr-schedule": (run(), run({"learning_rate": {"init": 3e-4, "final": 0.0, "shape": "linear"}})),
    "lr-too-high": (
        run({"learning_rate": 0.01}, approx_kl=some(0.06, 0.3)),
        run({"learning_rate": 0.01}, approx_kl=some(0.04, 0.3)),
    ),
    "lr-too-low": (
        run(approx_kl=1e-5, clip_fraction=0.0, entropy_normalized=0.99),
        run(approx_kl=1e-5, clip_fraction=0.0),  # it has settled: entropy fell
    ),
    "clip-fraction-high": (run(clip_fraction=last_fifth(0.0, 0.31)), run(clip_fraction=last_fifth(0.9, 0.29))),
    "gradient-always-clipped": (
        run(grad_clip_fraction=last_fifth(0.1, 0.96), grad_norm=last_fifth(0.1, 2.6)),
        run(grad_clip_fraction=0.96, grad_norm=last_fifth(9.0, 2.4)),
    ),
    "advantages-degenerate": (run(advantage_std=1e-7), run(advantage_std=1e-5)),
    "rollout-too-small": (
        run({"n_envs": 1, "n_steps": 127}),
        run({"n_envs": 1, "n_steps": 128}),
    ),
    "return-collapse": (
        run(episode_return_mean=FALL),
        run(episode_return_mean=np.r_[FALL[:40], RISE[40:]]),  # it recovered
    ),
    "std-grows": (
        run(action_std=np.linspace(1.0, 3.0, U)),
        run(action_std=np.r_[np.linspace(1.0, 4.0, U // 2), np.linspace(4.0, 2.1, U // 2)]),
    ),
    "evaluation-below-training": (
        run(**{"eval/episode_return_mean": np.where(AT % 10 == 0, 0.3 * RISE, np.nan)}),
        run(**{"eval/episode_return_mean": np.where(AT % 10 == 0, 0.8 * RISE, np.nan)}),
    ),
    "memory-missing": (
        run({"env_id": "mine:Walk"}, {"needs_memory": True}),
        run({"env_id": "mine:Walk", "core": "gru"}, {"needs_memory": True}),
    ),
    "memory-needed": (
        run({"env_id": "MemoryChain-bsuite"}, episode_return_mean=10 + np.sin(AT), explained_variance=0.0),
        run({"env_id": "CartPole-v1"}, episode_return_mean=10 + np.sin(AT), explained_variance=0.0),
    ),
    "reward-scale": (run(returns_std=101.0), run({"normalize_rewards": True}, returns_std=101.0)),
    "non-finite": (run(value_loss=some(0.5, 0.1, np.nan)), run(episode_return_mean=some(0.5, 0.1, np.nan))),
    "still-improving": (run(), run(episode_return_mean=np.minimum(RISE, 80.0))),
    "plateau": (run(episode_return_mean=np.minimum(RISE, 40.0)), run(episode_return_mean=np.minimum(RISE, 60.0))),
    "overfitting": (
        run(scores=[0.5, 0.95, 0.95, 0.86, 0.86, 0.86]),
        run(scores=[0.5, 0.99, 0.9, 0.86, 0.86, 0.86]),
    ),
    "truncation-dominates": (
        run(truncated_fraction=0.6),
        run({"bootstrap_truncation": True}, truncated_fraction=0.6),
    ),
    "action-space-forced": (run(forced_fraction=0.81), run(forced_fraction=0.79)),
    "successors-overflow": (run(overflow_fraction=0.06), run(overflow_fraction=0.04)),
    "seed-outlier": (run(summary={"test": {"return_mean": 80.0}}), run(summary={"test": {"return_mean": 95.0}})),
    "beaten-by-baseline": (
        run(summary={"test": {"greedy": {"mrr": 0.93}}, "baselines": BASELINES}),
        run(summary={"test": {"greedy": {"mrr": 0.95}}, "baselines": BASELINES}),
    ),
    "horizon-too-short": (run({"gamma": 0.5}), run({"gamma": 0.7})),
    "data-leak": (
        run(summary={"data": {"overlaps": {"train/valid": 0, "train/test": 1}}}),
        run(summary={"data": {"overlaps": {"train/valid": 0, "train/test": 0}}}),
    ),
    "episodes-not-restarted": (
        run(summary={"test": {"length_mean": 25.0}}, episode_length_mean=np.r_[25.0, np.ones(U - 1)]),
        run(summary={"test": {"length_mean": 1.0}}, episode_length_mean=1.0),  # a bandit
    ),
    "critic-memorises": (run(value_errors=(0.5, 0.2)), run(value_errors=(0.5, 0.3))),
}


def test_each_rule_has_its_case():
    assert set(CASES) == set(BY_ID)
    assert len(BY_ID) == len(RULES)


@pytest.mark.parametrize("id", CASES)
def test_a_rule_fires_on_its_fault_and_not_on_a_near_miss(id):
    seeds = others(100.0, 101.0, 99.0, 100.0)
    fault, near_miss = (Evidence(log, seeds) for log in CASES[id])
    assert BY_ID[id].lacks(fault) is None
    assert BY_ID[id].lacks(near_miss) is None
    hit = BY_ID[id].check(fault)
    assert hit is not None
    assert hit.evidence
    assert set(hit.changes) <= set(SETTINGS)
    assert BY_ID[id].check(near_miss) is None


@pytest.mark.parametrize(
    ("id", "log", "severity"),
    [
        ("critic-uninformative", run(explained_variance=0.2), None),
        ("critic-uninformative", run(explained_variance=0.05), None),  # returns rise all the same
        ("critic-uninformative", run(explained_variance=0.05, episode_return_mean=10 + np.sin(AT)), "error"),
        ("critic-uninformative", run({"vf_coef": 0.0}, explained_variance=0.2), "error"),
        ("critic-uninformative", run({"critic_learning_rate": 0.0}, explained_variance=0.2), "error"),
        ("kl-early-stops", run(early_stopped=some(0.5, 1), epochs_completed=2.0), "error"),
        ("kl-early-stops", run(early_stopped=some(0.5, 1), epochs_completed=3.0), None),
        ("too-many-epochs", run({"n_epochs": 20}, early_stopped=some(0.5, 1)), "error"),
        ("too-many-epochs", run({"n_epochs": 20}), None),
        ("reward-scale", run(returns_std=400.0), "error"),
        ("horizon-too-short", run({"gamma": 0.0}), "error"),
        ("horizon-too-short", run({"gamma": 0.9}, episode_length_mean=500.0), None),
        (
            "beaten-by-baseline",
            run(summary={"test": {"greedy": {"mrr": 0.5}}, "baselines": BASELINES}),
            "error",
        ),
    ],
)
def test_how_severe_a_finding_is_depends_on_what_it_did(id, log, severity):
    assert BY_ID[id].check(Evidence(log)).severity == severity


def test_a_change_answers_what_was_seen():
    def changes(id, log):
        return BY_ID[id].check(Evidence(log)).changes

    assert changes("critic-worse-than-mean", run({"vf_coef": 0.0}, explained_variance=-1)) == {"vf_coef": 0.5}
    assert changes("critic-worse-than-mean", run({"separate_critic": False}, explained_variance=-1)) == {
        "separate_critic": True
    }
    assert changes("critic-worse-than-mean", run(explained_variance=-1)) == {"vf_coef": 1.0}
    assert changes("batch-exceeds-rollout", run({"batch_size": 4096})) == {"batch_size": 256}
    assert changes("rollout-shorter-than-episode", run({"n_steps": 4})) == {"n_steps": 64}
    assert changes("kl-target-unreachable", run(early_stopped=1, epochs_completed=0)) == {"target_kl": 0.04}
    assert changes("horizon-too-short", run({"gamma": 0.0})) == {"gamma": 0.99}
    forgetful = {"fact_dropout": 0.0}
    assert changes("critic-memorises", run(forgetful, value_errors=(0.5, 0.2))) == {"fact_dropout": 0.15}
    assert changes("critic-memorises", run({"fact_dropout": 0.1}, value_errors=(0.5, 0.2))) == {}
    assert changes("no-lr-schedule", run({"learning_rate": 5e-5}))["learning_rate"]["init"] == 3e-4


def test_successors_without_room_name_the_cap_that_cut_them():
    def hit(overflow, too_long, **data):
        lost = {"overflow_fraction": overflow, "too_long_fraction": too_long}
        return BY_ID["successors-overflow"].check(Evidence(run(summary={"data": data} if data else {}, **lost)))

    sizes = {"max_atoms": 6, "max_successors": 100, "widest_row_cut": 30}
    long, wide, both = hit(0.2, 0.2, **sizes), hit(0.2, 0.01, **sizes), hit(0.2, 0.1, **sizes | {"widest_row_cut": 900})
    assert long.evidence == "20.0% of the successors had no room: 20.0% by max_atoms = 6"
    assert (long.changes, "max_successors" in long.advice) == ({"max_atoms": 8}, False)
    assert wide.evidence.endswith("room: 1.0% by max_atoms = 6, 19.0% by max_successors = 100")
    assert (wide.changes, "max_atoms" in wide.advice) == ({"max_successors": 130}, False)
    assert both.changes == {"max_atoms": 8, "max_successors": 200}
    running = hit(0.2, 0.1)  # what is known before the end is the configuration
    assert running.evidence.endswith("10.0% by max_atoms = 4, 10.0% by max_successors")
    assert running.changes == {"max_atoms": 6}
    assert hit(0.04, 0.04, **sizes) is None


def test_of_a_policy_that_learnt_nothing_only_what_is_the_same_is_said():
    uniform, untrained = ({"answers": {"mrr": mrr, "hits@1": 0.8}} for mrr in (0.85, 0.95))
    baselines = {"uniform_policy": uniform, "untrained (×3)": untrained, "rules": {"answers": {"mrr": 0.9}}}
    results = {"test": {"answers": {"mrr": 0.9, "hits@1": 0.8}}, "baselines": baselines}
    advice = BY_ID["beaten-by-baseline"].check(Evidence(run(summary=results))).advice
    same = "Hits@1 is 0.8 with the trained policy as with uniform policy and untrained (×3)"
    assert advice.endswith(f"(`ppo-jax data describe`). {same}: what was learnt adds nothing there.")
    for mrr, severity in ((0.9, None), (0.96, "info")):  # by Hits@1 alone a rank or two decide
        results["test"]["answers"]["mrr"] = mrr
        assert BY_ID["beaten-by-baseline"].check(Evidence(run(summary=results))).severity == severity


def test_a_rate_that_follows_kl_is_told_by_its_desired_kl():
    rate = {"learning_rate": {"shape": "kl_adaptive", "init": 1e-2, "desired_kl": 0.3}}
    assert BY_ID["no-lr-schedule"].check(Evidence(run(rate))) is None
    high = BY_ID["lr-too-high"].check(Evidence(run(rate, approx_kl=0.2, clip_fraction=0.5)))
    low = BY_ID["lr-too-low"].check(Evidence(run(rate, approx_kl=1e-5, clip_fraction=0.0, entropy_normalized=0.95)))
    assert "Lower desired_kl" in high.advice and "Raise desired_kl" in low.advice
    assert high.changes == low.changes == {}
    assert "learning_rate =" not in high.evidence + low.evidence


def test_a_rule_names_what_it_lacks():
    bare = Evidence(RunLog("bare", "sb3", {}, {"update": AT, "env_steps": AT, "approx_kl": np.full(U, np.nan)}))
    assert BY_ID["lr-too-high"].lacks(bare) == "the log has no approx_kl; the log has no clip_fraction"
    assert BY_ID["batch-exceeds-rollout"].lacks(bare) == "not known: batch_size, n_envs, n_steps (give it with --set)"
    assert "three other runs" in BY_ID["seed-outlier"].lacks(bare)
    for n, why in ((9, "too few episodes to compare (test 9, random 30): 10 of each are needed"), (10, None)):
        results = {"test": {"return_mean": 1.0, "episodes": n}, "baselines": {"random": {"episodes": 30}}}
        assert str(why) in str(BY_ID["beaten-by-baseline"].lacks(Evidence(run(summary=results))))
    empty = Evidence(RunLog("empty", "ppo_jax", SETTINGS, {"update": np.zeros(0), "env_steps": np.zeros(0)}))
    assert BY_ID["lr-too-high"].lacks(empty) == "no update is on record"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (run(explained_variance=0.05, forced_fraction=np.nan), True),
        (run({"core": "gru"}, explained_variance=0.05, forced_fraction=np.nan), False),
        (run(explained_variance=0.05, forced_fraction=0.1), False),  # a proof, whose state is whole
    ],
)
def test_a_critic_that_says_nothing_may_lack_a_memory(log, said):
    advice = BY_ID["critic-uninformative"].check(Evidence(log)).advice
    assert ("{recurrent}" in (advice or "")) == said
