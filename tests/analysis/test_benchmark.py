"""The benchmark of the diagnosis: what it trains, and that it can be stopped, continued and shared."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from ppo_jax.analysis.diagnose import RULES
from ppo_jax.config import load_config
from ppo_jax.types import PPOJaxError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "diagnosis_benchmark.py"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("diagnosis_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "diagnosis_benchmark", module)
        spec.loader.exec_module(module)
        yield module


def test_at_least_14_faults_on_5_seeds_over_three_tasks_and_30_healthy_runs(benchmark):
    cases = benchmark.cases(5)
    kinds = {one.name for one in cases if one.fault}
    assert len(kinds) >= 14
    assert all(sum(len(one.seeds) for one in cases if one.name == kind and not one.sb3) >= 5 for kind in kinds)
    assert {one.task for one in cases if one.fault} >= {"cartpole", "acrobot", "countries_s3"}
    assert sum(len(one.seeds) for one in cases if one.fault is None) >= 30
    assert len({(one.name, one.task) for one in cases}) == len(cases)


def test_every_fault_is_a_configuration_and_is_named_by_rules(benchmark):
    for fault in benchmark.FAULTS:
        assert fault.named_by and set(fault.named_by) <= {rule.id for rule in RULES}
        for task, settings in fault.tasks.items():
            load_config(task, benchmark.QUICK[task] | settings)


def test_rates_are_scaled_with_their_schedules(benchmark):
    rates = benchmark.scaled_rates(100.0)
    before = load_config("countries_s3")
    after = before.override(rates["countries_s3"])
    for key in ("learning_rate", "critic_learning_rate"):
        low, high = getattr(before.ppo, key), getattr(after.ppo, key)
        assert (high.init, high.final) == pytest.approx((100 * low.init, 100 * low.final))
        assert high.warmup == low.warmup


def test_both_logs_of_stable_baselines3_are_read_right(benchmark, tmp_path):
    (healthy,), (broken,) = (benchmark.judge(one, tmp_path) for one in benchmark.cases(0) if one.sb3)
    assert healthy["fault"] is None and healthy["errors"] == []
    assert broken["named_first"] and broken["named"]
    assert not list(tmp_path.iterdir())  # nothing is trained


def test_shards_share_the_work_and_only_chooses(benchmark):
    cases = benchmark.cases(5)
    shards = [benchmark.chosen(cases, [], f"{k}/3") for k in (1, 2, 3)]
    assert sorted(id(one) for shard in shards for one in shard) == sorted(map(id, cases))
    assert {one.name for one in benchmark.chosen(cases, ["gamma", "frozen"], "1/1")} == {"gamma of 0", "frozen critic"}
    assert {one.task for one in benchmark.chosen(cases, ["SB3"], "1/1")} == {"cartpole of SB3"}
    with pytest.raises(SystemExit, match="no such fault"):
        benchmark.chosen(cases, ["nothing"], "1/1")
    with pytest.raises(SystemExit, match="k/n"):
        benchmark.chosen(cases, [], "3/2")


def test_the_leaky_data_set_shares_its_test_queries_with_training(benchmark, tmp_path):
    folder = benchmark.leaky_dataset(tmp_path / "leaky")
    assert set((folder / "test.txt").read_text().split()) <= set((folder / "train.txt").read_text().split())
    assert benchmark.leaky_dataset(folder) == folder
    assert [one.name for one in tmp_path.iterdir()] == ["leaky"]


def test_the_seeds_of_a_fault_are_a_sweep_and_one_that_fails_does_not_end_the_rest(benchmark, tmp_path, monkeypatch):
    def run(plan, folder, **_):
        for i, member in enumerate(plan.members):
            (folder / "members" / member.name).mkdir(parents=True)
            (folder / "members" / member.name / "config.toml").write_text(member.config.to_toml())
            (folder / "members" / member.name / "metrics.jsonl").write_text('{"update": 1}\n')
            status = ("completed", "failed")[i % 2]
            (folder / "members" / member.name / "summary.json").write_text(json.dumps({"status": status}))
        raise PPOJaxError("the last could not be trained")

    monkeypatch.setattr(benchmark.sweep, "run", run)
    monkeypatch.setattr(benchmark.jax, "clear_caches", lambda: None)
    case = next(one for one in benchmark.cases(3) if one.name == "gamma of 0")
    logs = case.read(tmp_path)
    assert [log.summary["status"] for log in logs] == ["completed", "failed", "completed"]
    assert [log.settings["seed"] for log in logs] == [0, 1, 2]
    assert {log.settings["gamma"] for log in logs} == {0.0}


def test_what_was_evaluated_with_other_statistics_is_not_trained_again(benchmark, tmp_path, monkeypatch):
    case = next(one for one in benchmark.cases(2) if one.fault and one.fault.fresh_statistics)
    folder = tmp_path / f"{case.task}-evaluated-with-other-statistics"
    folder.mkdir()
    for seed in case.seeds:
        (folder / f"{seed}.csv").write_text("time/total_timesteps,train/approx_kl,eval/mean_reward\n512,0.01,9\n")
    monkeypatch.setattr(benchmark, "build", None)
    logs = case.read(tmp_path)
    assert [log.columns["eval/episode_return_mean"].tolist() for log in logs] == [[9.0], [9.0]]
    assert logs[0].settings["normalize_observations"] is True
