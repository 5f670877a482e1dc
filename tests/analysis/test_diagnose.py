"""Weighing findings against each other, the changed configuration, and logs of any shape."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_jax.analysis.compare import to_dict
from ppo_jax.analysis.diagnose import CAUSES, EXCLUDES, RULES, SEVERITIES, diagnose, fix
from ppo_jax.analysis.readers import RunLog, read_run, read_sb3
from ppo_jax.analysis.rules.evidence import Evidence
from ppo_jax.analysis.run_sets import gather_run_sets
from ppo_jax.analysis.validate import validate
from ppo_jax.analysis.vocabulary import NOTHING_LEFT, advise
from ppo_jax.config import Config, NetworkConfig, PPOConfig, ScheduleConfig, TaskConfig, from_dict
from ppo_jax.types import PPOJaxError

REPOSITORY = Path(__file__).resolve().parents[2]
IDS = [rule.id for rule in RULES]
BY_ID = {rule.id: rule for rule in RULES}
COLUMNS = sorted({name for rule in RULES for names in rule.columns for name in names.split("|")} - {"update"})


def flat(config: Config) -> dict:
    tables = config.to_dict()
    unset = {"clip_range_vf": None, "critic_learning_rate": None, "target_kl": None}
    return unset | {key: value for table in tables.values() for key, value in table.items()}


def run(config: Config | None = None, n=50, **columns) -> RunLog:
    config = config or Config(TaskConfig("CartPole-v1"), PPOConfig(n_envs=8, n_steps=128, batch_size=256))
    series = {"update": np.arange(1.0, n + 1), "env_steps": 1024.0 * np.arange(1, n + 1)}
    series |= {name: np.broadcast_to(np.asarray(x, float), n) for name, x in columns.items()}
    return RunLog("run", "ppo_jax", flat(config), series)


def ids(log: RunLog) -> list[str]:
    return [finding.id for finding in diagnose(log).findings]


def broken(**changes) -> RunLog:
    """20 epochs, most of them lost to the KL limit, and a critic that follows neither."""
    settings = {"n_envs": 8, "n_steps": 128, "batch_size": 256, "n_epochs": 20, "target_kl": 0.01, **changes}
    return run(
        Config(TaskConfig("CartPole-v1"), PPOConfig(**settings)),
        explained_variance=-5.0,
        early_stopped=1.0,
        epochs_completed=4.0,
        approx_kl=0.01,
        clip_fraction=0.1,
    )


def test_the_tables_name_known_rules_and_causes_have_no_cycle():
    assert {*CAUSES, *(c for causes in CAUSES.values() for c in causes)} <= set(IDS)
    assert {*EXCLUDES, *(x for losers in EXCLUDES.values() for x in losers)} <= set(IDS)

    def reaches(effect, goal):
        return any(cause == goal or reaches(cause, goal) for cause in CAUSES.get(effect, ()))

    assert not [id for id in IDS if reaches(id, id)]


def test_root_causes_come_first_and_are_as_severe_as_what_they_explain():
    findings = {finding.id: finding for finding in diagnose(broken()).findings}
    assert list(findings)[:3] == ["too-many-epochs", "kl-early-stops", "critic-worse-than-mean"]
    assert findings["critic-worse-than-mean"].because_of == ("too-many-epochs", "kl-early-stops")
    assert findings["kl-early-stops"].because_of == ("too-many-epochs",)
    assert findings["too-many-epochs"].because_of == ()
    mild = {f.id: f for f in diagnose(run(Config(TaskConfig("A"), PPOConfig(n_epochs=11)))).findings}
    assert mild["too-many-epochs"].severity == "warning"


def test_degenerate_returns_acquit_the_critic():
    columns = {"explained_variance": -5.0, "value_loss": 2.0, "returns_std": 1.0}
    assert {"critic-worse-than-mean", "value-loss-high"} <= set(ids(run(**columns)))
    solved = ids(run(**columns, returns_degenerate=1.0))
    assert "returns-degenerate" in solved
    assert not {"critic-worse-than-mean", "critic-uninformative", "value-loss-high"} & set(solved)


SOLVED = np.minimum(np.linspace(20.0, 1000.0, 50), 500.0)


@pytest.mark.parametrize(
    ("settings", "columns", "judged"),
    [
        ({}, {}, ["returns-degenerate"]),
        ({}, {"episode_return_mean": np.minimum(SOLVED, 490.0 + np.arange(50.0) % 7)}, ["critic-uninformative"]),
        ({"vf_coef": 0.0}, {}, ["critic-uninformative"]),  # such a critic is no accident
        ({}, {"explained_variance": 0.9}, []),
    ],
)
def test_explained_variance_says_nothing_of_a_solved_task(settings, columns, judged):
    config = Config(TaskConfig("CartPole-v1"), PPOConfig(n_envs=8, n_steps=128, batch_size=256, **settings))
    log = run(config, **{"explained_variance": 0.05, "returns_std": 3.0, "episode_return_mean": SOLVED, **columns})
    found = {finding.id: finding for finding in diagnose(log).findings}
    assert [id for id in found if id.startswith(("critic", "returns"))] == judged
    if judged == ["returns-degenerate"]:
        assert found["returns-degenerate"].severity == "info"
        assert "stays at 500, the highest of the run" in found["returns-degenerate"].evidence


def test_advice_names_what_the_run_has_not_set_yet():
    def advice(id, network=(), **settings):
        sizes = {"n_envs": 8, "n_steps": 128, "batch_size": 256, **settings}
        config = Config(TaskConfig("CartPole-v1"), PPOConfig(**sizes), NetworkConfig(**dict(network)))
        log = run(config, explained_variance=0.2, grad_clip_fraction=1.0, grad_norm=9.0, approx_kl=0.01)
        return next(finding for finding in diagnose(log).findings if finding.id == id).advice

    few = advice("critic-uninformative", {"separate_critic": False}, n_epochs=2)
    assert all(part in few for part in ("separate_critic = true", "raise vf_coef", "16 gradient steps", 'core = "gru"'))
    some = advice("critic-uninformative", {"core": "gru"}, n_epochs=2)
    assert not any(part in some for part in ("separate_critic", "core", "Mend", "because of"))
    none = advice("critic-uninformative", {"core": "gru"}, vf_coef=1.0, n_epochs=4)
    assert none.startswith("Of the settings that help a critic none is left to change")
    many = advice("critic-uninformative", n_epochs=20)
    assert many.startswith("Mend too-many-epochs first")
    assert advice("gradient-always-clipped").startswith("Scale the rewards: normalize_rewards = true. Or raise")
    assert advice("gradient-always-clipped", normalize_rewards=True) == "Raise max_grad_norm."


@pytest.mark.parametrize(
    ("setting", "told", "name"),
    [("mine:drift", {}, "mine:drift"), (None, {"loss": "mine.drift#aa82eadf(c=1)"}, "mine.drift"), (None, {}, None)],
)
def test_advice_begins_with_a_loss_of_ones_own(setting, told, name):
    still = {"approx_kl": 1e-5, "clip_fraction": 0.0, "entropy_normalized": 0.99}
    cases = (
        (
            "lr-too-low",
            still,
            f"Your loss {name} may hold the policy: look at the weights of its terms. learning_rate",
        ),
        (
            "non-finite",
            {"loss": [0.0] * 49 + [np.nan]},
            f"Look first at your loss {name}: its value and its gradient (sqrt, log and norms at 0). Lower learning",
        ),
        (
            "non-finite",
            {"update_skipped": [0.0] * 49 + [1.0]},
            f"Look first at your loss {name}: its value and its gradient (sqrt, log and norms at 0). Lower learning",
        ),
    )
    for id, columns, first in cases:
        log = run(Config(TaskConfig("A"), PPOConfig(loss=setting)), **columns)
        findings = diagnose(dataclasses.replace(log, given=told)).findings
        advice = next(finding for finding in findings if finding.id == id).advice
        assert advice.startswith(first if name else first.split(". ", 1)[1])
        assert ("your loss" in advice.lower()) == (name is not None)


def test_updates_that_were_skipped_are_counted_and_the_parameters_kept():
    gap = {"policy_loss": [0.0] * 20 + [np.nan] * 30, "update_skipped": [0.0] * 17 + [1.0] * 33}
    (finding,) = (one for one in diagnose(run(Config(TaskConfig("A")), **gap)).findings if one.id == "non-finite")
    assert finding.evidence.startswith("33 of 50 updates were skipped, the first is update 18")
    assert "the parameters are those before" in finding.cause and "lost" not in finding.cause
    assert finding.severity == "error"


@pytest.mark.parametrize(("skipped", "returns", "severity"), [(5, SOLVED, "warning"), (5, 20.0, "error")])
def test_a_run_that_learns_in_spite_of_skipped_updates_is_warned(skipped, returns, severity):
    gap = {"update_skipped": [1.0] * skipped + [0.0] * (50 - skipped), "episode_return_mean": returns}
    (finding,) = (one for one in diagnose(run(Config(TaskConfig("A")), **gap)).findings if one.id == "non-finite")
    assert finding.severity == severity


def test_advice_that_was_followed_already_says_so():
    text = "Give it a memory: {recurrent}. It helped if it remembers."
    assert advise(text, "sb3", {}).startswith("Give it a memory: RecurrentPPO")
    assert advise(text, "ppo_jax", {"core": "gru"}) == NOTHING_LEFT


def test_what_is_not_judged_could_have_applied_to_the_task():
    of_graphs = {"data-leak", "critic-memorises", "successors-overflow", "action-space-forced"}
    for task, apply in (
        (TaskConfig("CartPole-v1"), set()),
        (TaskConfig("Proof-countries_s3"), of_graphs),
        (TaskConfig(dataset="graph", mode="answer"), of_graphs - {"critic-memorises"}),
    ):
        unjudged = {one.id for one in diagnose(run(Config(task), n=5)).unjudged}
        assert unjudged & of_graphs == apply
        assert ("memory-needed" in unjudged) == (not apply)


@pytest.mark.parametrize(
    ("env_id", "summary", "said"),
    [
        ("CartPole-v1", {}, None),
        ("MemoryChain-bsuite", {}, "finding"),
        ("PointRobot-misc", {}, "finding"),
        ("mine:Walk", {}, "not judged"),  # of an older version
        ("CartPole-v1", {"needs_memory": None}, "not judged"),  # an environment given from Python
        ("mine:Walk", {"needs_memory": True}, None),  # memory-missing says it
        ("mine:Walk", {"needs_memory": False}, None),
    ],
)
def test_whether_an_environment_of_ones_own_needs_a_memory_is_for_it_to_say(env_id, summary, said):
    flat_returns = 10.0 + np.arange(50.0) % 3
    log = run(Config(TaskConfig(env_id)), episode_return_mean=flat_returns, explained_variance=0.0)
    log = dataclasses.replace(log, summary=summary)
    diagnosis = diagnose(log)
    why = {one.id: one.why for one in diagnosis.unjudged}.get("memory-needed", "")
    assert ("memory-needed" in ids(log)) == (said == "finding")
    assert bool(why) == (said == "not judged")
    assert not why or ("needs_memory = True" in why and 'core = "gru"' in why)
    recurrent = dataclasses.replace(log, settings={**log.settings, "core": "gru"})
    assert "memory-needed" not in {*ids(recurrent), *(one.id for one in diagnose(recurrent).unjudged)}


@pytest.mark.parametrize("returns", [10.0 + np.arange(50.0) % 3, np.arange(50.0)], ids=["flat", "rising"])
def test_a_memory_that_the_class_asks_for_is_missing_whatever_else_is_found(returns):
    log = run(Config(TaskConfig("mine:Walk")), episode_return_mean=returns, explained_variance=0.0)
    log = dataclasses.replace(log, summary={"needs_memory": True})
    idle = {"approx_kl": np.full(50, 1e-5), "clip_fraction": np.zeros(50), "entropy_normalized": np.full(50, 0.95)}
    found = {one.id: one for one in diagnose(dataclasses.replace(log, columns=log.columns | idle)).findings}
    missing = found["memory-missing"]
    assert (missing.confidence, missing.changes) == (0.9, {"core": "gru"})
    assert found["lr-too-low"].because_of == found["critic-uninformative"].because_of[-1:] == ("memory-missing",)
    for settings in ({"frame_stack": 4}, {"core": "gru"}):
        assert "memory-missing" not in ids(dataclasses.replace(log, settings={**log.settings, **settings}))


@pytest.mark.parametrize(
    ("updates", "settings", "said"),
    [
        (50, {}, "no evaluations on record, five are needed: eval_interval = 10 gives them"),
        (30, {}, "no evaluations on record, five are needed: eval_interval = 10 gives them"),  # it was interrupted
        (50, {"eval_interval": 10}, "no evaluations on record, five are needed"),
        (50, {"total_timesteps": 3 * 1024}, "eval_interval = 10"),
        (3, {"total_timesteps": 3 * 1024}, "the run has 3 updates, so raise total_timesteps and set eval_interval"),
    ],
)
def test_too_few_evaluations_come_with_the_interval_that_gives_enough(updates, settings, said):
    log = run(n=updates, episode_return_mean=1.0)
    log = dataclasses.replace(log, settings={**log.settings, "total_timesteps": 50 * 1024, **settings})
    why = BY_ID["overfitting"].lacks(Evidence(log))
    assert said in why


def test_the_most_important_finding_decides_on_a_setting_that_two_want_changed():
    log = run(
        Config(TaskConfig("CartPole-v1"), PPOConfig(learning_rate=0.1)), approx_kl=0.5, clip_fraction=0.5
    )  # lr-too-high and no-lr-schedule both change learning_rate
    changed = [finding for finding in diagnose(log).findings if "learning_rate" in finding.changes]
    assert [finding.id for finding in changed] == ["lr-too-high"]
    assert changed[0].changes["learning_rate"]["init"] == 3e-4


def test_json_has_the_documented_keys():
    data = json.loads(json.dumps(diagnose(broken()).to_dict(), allow_nan=False))
    assert set(data) == {"findings", "unjudged", "own_metrics"}
    keys = {"id", "severity", "evidence", "cause", "advice", "confidence", "because_of", "source"}
    assert all(set(finding) == keys for finding in data["findings"])
    assert all(set(one) == {"id", "why"} for one in data["unjudged"])
    assert len(data["findings"]) + len(data["unjudged"]) <= len(RULES)
    assert data["own_metrics"] == {}  # every column of this run is in the metric table


def test_fix_changes_what_the_findings_ask_for_and_says_so_at_each_line():
    log = broken(batch_size=4096)
    diagnosis = diagnose(log)
    text = fix(log, diagnosis)
    config = from_dict(tomllib.loads(text))
    wanted = {key: value for finding in diagnosis.findings for key, value in finding.changes.items()}
    assert config.ppo.n_epochs == wanted["n_epochs"] == 5
    assert config.ppo.batch_size == wanted["batch_size"] == 256
    assert config.ppo.learning_rate.init == 3e-4
    assert re.search(r"n_epochs = 5 +# was 20: too-many-epochs", text)
    assert re.search(r"batch_size = 256 +# was 4096: batch-exceeds-rollout", text)
    unchanged = from_dict({"task": {"env_id": "CartPole-v1"}}).ppo
    assert config.ppo.gamma == unchanged.gamma
    again = RunLog("again", "ppo_jax", flat(config), {"update": np.zeros(0), "env_steps": np.zeros(0)})
    assert "batch-exceeds-rollout" not in ids(again)
    assert "too-many-epochs" not in ids(again)


def test_fix_doubles_what_is_to_be_raised_and_names_what_it_leaves():
    config = Config(TaskConfig("A"), PPOConfig(n_envs=8, n_steps=128, batch_size=256, normalize_rewards=True))
    columns = dict(grad_clip_fraction=1.0, grad_norm=9.0, approx_kl=0.01)
    log = run(config, episode_return_mean=np.arange(50.0), **columns)
    beaten = {"test": {"return_mean": 0.0}, "baselines": {"random": {"return_mean": 1.0}}}
    log = dataclasses.replace(log, summary=beaten)
    text = fix(log, diagnose(log))
    changed = from_dict(tomllib.loads(text)).ppo
    assert changed.total_timesteps == 2 * config.ppo.total_timesteps and "total_timesteps = 200000  # was" in text
    assert changed.max_grad_norm == 1.0 and "# was 0.5: gradient-always-clipped" in text
    assert "# nothing changed for beaten-by-baseline: Do not report the score without that baseline.\n" in text
    scaled = config.override({"normalize_rewards": False})
    clipped = diagnose(run(scaled, grad_clip_fraction=1.0, grad_norm=9.0)).findings
    assert [one.changes for one in clipped if one.id == "gradient-always-clipped"] == [{"normalize_rewards": True}]


def test_fix_keeps_the_batch_a_divisor_of_the_rollout_and_mentions_what_it_unsets():
    settings = PPOConfig(n_envs=6, n_steps=4, batch_size=24, clip_range_vf=0.1)
    log = run(Config(TaskConfig("A"), settings), episode_length_mean=100.0, value_clip_fraction=0.9)
    text = fix(log, diagnose(log))
    config = from_dict(tomllib.loads(text))
    assert config.ppo.n_steps == 64
    assert (config.ppo.n_envs * config.ppo.n_steps) % config.ppo.batch_size == 0
    assert config.ppo.clip_range_vf is None
    assert "# clip_range_vf is unset, was 0.1: value-clip-saturated" in text


def test_fix_without_a_change_says_so_and_keeps_every_setting():
    config = Config(TaskConfig("A\n[ppo]"), PPOConfig(learning_rate=ScheduleConfig(3e-4, 0.0)))
    log = dataclasses.replace(run(config), name="a\nn_epochs = 3")
    text = fix(log, diagnose(log))
    assert text.startswith("# a n_epochs = 3, unchanged: no finding asks for another setting\n")
    assert from_dict(tomllib.loads(text)) == config


def test_fix_writes_the_whole_schedule_it_replaces():
    rate = ScheduleConfig(0.1, 0.01, warmup=0.1)
    log = run(Config(TaskConfig("A"), PPOConfig(learning_rate=rate)), approx_kl=0.5, clip_fraction=0.5)
    line = next(line for line in fix(log, diagnose(log)).splitlines() if line.startswith("learning_rate"))
    assert "# was { init = 0.1, final = 0.01," in line and "warmup = 0.1" in line and "lr-too-high" in line


def test_fix_needs_a_whole_configuration(tmp_path):
    (tmp_path / "config.toml").write_text("[task]\nenv_id = 'A'\n[ppo]\nn_epoch = 3\n")
    (tmp_path / "metrics.jsonl").write_text('{"update": 1}\n')
    log = read_run(tmp_path)
    with pytest.raises(PPOJaxError, match="--fix needs"):
        fix(log, diagnose(log))


def test_fix_needs_a_configuration():
    log = read_sb3(REPOSITORY / "tests" / "golden" / "sb3_tight_kl.csv")
    with pytest.raises(PPOJaxError, match=r"--fix needs the config\.toml of a ppo_jax run"):
        fix(log, diagnose(log))


SERIES = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.floats(0, 1), st.just(0.0), st.just(float("nan")), st.floats()),
    min_size=16,
    max_size=16,
)
# Both sides of these would be advice to raise and to lower the same setting, or two readings of one number.
OPPOSED = [
    ("lr-too-high", "lr-too-low"),
    ("entropy-collapse", "entropy-stuck"),
    ("entropy-collapse", "entropy-bonus-dominates"),
    ("plateau", "still-improving"),
    ("critic-worse-than-mean", "critic-uninformative"),
    ("returns-degenerate", "critic-worse-than-mean"),
    ("returns-degenerate", "critic-uninformative"),
    ("kl-target-unreachable", "lr-too-low"),
    ("kl-early-stops", "lr-too-low"),
    ("non-finite", "lr-too-low"),
    ("overfitting", "still-improving"),
    ("critic-memorises", "still-improving"),
    ("returns-degenerate", "still-improving"),
    ("critic-worse-than-mean", "critic-memorises"),
    ("critic-uninformative", "critic-memorises"),
    ("rollout-too-small", "lr-too-low"),
    ("return-collapse", "plateau"),
    ("return-collapse", "still-improving"),
    ("std-grows", "entropy-stuck"),
    ("std-grows", "entropy-collapse"),
    ("advantages-degenerate", "reward-scale"),
]
# What the advice of a rule says to raise (+1) or to lower (-1), in words or as a change.
DIRECTIONS = {
    "learning_rate": {
        "lr-too-high": -1,
        "non-finite": -1,
        "kl-early-stops": -1,
        "clip-fraction-high": -1,
        "lr-too-low": 1,
    }
    | {"kl-target-unreachable": -1, "return-collapse": -1},
    "n_epochs": {"too-many-epochs": -1, "kl-early-stops": -1, "clip-fraction-high": -1, "critic-memorises": -1},
    "ent_coef": {"entropy-bonus-dominates": -1, "entropy-stuck": -1, "std-grows": -1, "entropy-collapse": 1},
    "vf_coef": {"critic-worse-than-mean": 1, "critic-uninformative": 1, "value-loss-high": 1},
    "batch_size": {"batch-exceeds-rollout": -1, "value-loss-high": -1, "critic-worse-than-mean": -1}
    | {"critic-uninformative": -1},
    "gamma": {"horizon-too-short": 1},
    "n_steps": {"rollout-shorter-than-episode": 1, "rollout-too-small": 1, "batch-exceeds-rollout": 1},
    "total_timesteps": {"still-improving": 1, "plateau": -1, "overfitting": -1, "returns-degenerate": -1},
}


def test_no_two_findings_that_can_stand_together_pull_a_setting_both_ways():
    apart = {frozenset((winner, loser)) for winner, losers in EXCLUDES.items() for loser in losers}
    for pulls in DIRECTIONS.values():
        assert set(pulls) <= set(IDS)
        both = {frozenset((a, b)) for a, up in pulls.items() for b, down in pulls.items() if up > 0 > down}
        # Clip fractions of two rules that are on either side of each other need no entry.
        assert both - apart <= {frozenset(("lr-too-low", "clip-fraction-high"))}


@pytest.mark.parametrize(
    ("winner", "loser", "columns"),
    [
        ("kl-early-stops", "lr-too-low", {"early_stopped": 1.0, "epochs_completed": 2.0}),
        ("non-finite", "lr-too-low", {"policy_loss": [0.0] * 49 + [np.nan]}),
    ],
)
def test_a_policy_that_hardly_moves_is_not_told_to_move_faster_where_something_else_stops_it(winner, loser, columns):
    still = {"approx_kl": 1e-5, "clip_fraction": 0.0, "entropy_normalized": 0.99}
    assert loser in ids(run(**still))
    assert winner in (now := ids(run(**still, **columns)))
    assert loser not in now


@given(
    st.integers(0, 16),
    st.dictionaries(st.sampled_from(COLUMNS), SERIES),
    st.sets(st.sampled_from(PPOConfig.__match_args__)),
)
def test_any_series_and_any_subset_of_columns_is_read_without_contradiction(n, columns, unknown):
    log = run(None, n, **{name: np.array(values)[:n] for name, values in columns.items()})
    settings = {key: value for key, value in log.settings.items() if key not in unknown}
    diagnosis = diagnose(RunLog("run", "ppo_jax", settings, log.columns))
    order = [finding.id for finding in diagnosis.findings]
    assert not [pair for pair in OPPOSED if set(pair) <= set(order)]
    changed = [key for finding in diagnosis.findings for key in finding.changes]
    assert len(changed) == len(set(changed))
    ranks = [SEVERITIES.index(finding.severity) for finding in diagnosis.findings]
    assert ranks == sorted(ranks, reverse=True)
    for finding in diagnosis.findings:
        assert all(order.index(cause) < order.index(finding.id) for cause in finding.because_of)
        assert not re.search(r"\bnan\b", finding.evidence)
    assert not {finding.id for finding in diagnosis.findings} & {one.id for one in diagnosis.unjudged}
    if not unknown:
        from_dict(tomllib.loads(fix(log, diagnosis)))
    validate([log])
    json.dumps(to_dict(gather_run_sets([log])), allow_nan=False)
