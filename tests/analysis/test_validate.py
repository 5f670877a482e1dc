"""The validation plan: each check on either side of its limit, and what cannot be judged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.validate import (
    BENCHMARK,
    FAIL,
    INFORMATION,
    NOT_JUDGED,
    PASS,
    Thresholds,
    passed,
    read_limits,
    to_dict,
    validate,
)
from ppo_jax.types import PPOJaxError

U = 20


def run(status="completed", kind="ppo_jax", mrr=0.9, untrained=0.5, **columns) -> RunLog:
    series = {
        "update": np.arange(1.0, U + 1),
        "env_steps": 100.0 * np.arange(1.0, U + 1),
        "explained_variance": 1.0 - np.geomspace(4.0, 0.1, U),
        "value_loss": np.geomspace(2.0, 0.001, U),
        "entropy_normalized": np.linspace(1.0, 0.4, U),
        "early_stopped": np.zeros(U),
    }
    series = {name: np.asarray(x, float) for name, x in (series | columns).items() if x is not None}
    summary = {
        "status": status,
        "test": {"greedy": {"mrr": mrr}, "marginal": {"mrr": 0.95, "auc_pr": 0.9}},
        "baselines": {"untrained": {"greedy": {"mrr": untrained}}, "shortest_proof": {"greedy": {"mrr": 0.93}}},
    }
    return RunLog("run", kind, {}, series, summary=summary)


def verdicts(*logs, **limits) -> dict[str, str]:
    checks = validate(logs, Thresholds(**limits))
    return {f"{check.name} {check.limit}": check.verdict for check in checks if check.verdict != INFORMATION}


def test_a_healthy_run_passes_every_check():
    assert set(verdicts(run()).values()) == {PASS}
    assert passed(validate([run(), run()]))


def series(value, last) -> np.ndarray:
    """`value`, and `last` over the last fifth."""
    return np.r_[np.full(U - U // 5, value), np.full(U // 5, last)]


@pytest.mark.parametrize(
    ("name", "fails", "keeps"),
    [
        (
            "explained variance > 0.7",
            {"explained_variance": series(0.9, 0.69)},
            {"explained_variance": series(0, 0.71)},
        ),
        ("value loss < 0.05", {"value_loss": series(0.01, 0.051)}, {"value_loss": series(9, 0.049)}),
        (
            "entropy, end / start < 1",
            {"entropy_normalized": series(0.5, 0.5)},
            {"entropy_normalized": series(0.5, 0.49)},
        ),
        (
            "entropy, largest rise ≤ 0.1",
            {"entropy_normalized": [0.8, 0.5, 0.581] + (U - 3) * [0.3]},
            {"entropy_normalized": [0.8, 0.5, 0.579] + (U - 3) * [0.3]},
        ),
        ("KL stops ≤ 0", {"early_stopped": np.eye(1, U, 3)[0]}, {"early_stopped": np.zeros(U)}),
        ("test MRR > 0.85", {"mrr": 0.85}, {"mrr": 0.851}),
        ("test MRR > untrained", {"untrained": 0.9}, {"untrained": 0.899}),
    ],
)
def test_each_check_on_either_side_of_its_limit(name, fails, keeps):
    assert verdicts(run(**fails))[name] == FAIL
    assert verdicts(run(**keeps))[name] == PASS
    assert verdicts(run(), run(**fails))[name] == FAIL  # one seed is enough
    assert not passed(validate([run(), run(**fails)]))


def test_values_are_those_of_each_seed():
    checks = {check.name: check for check in validate([run(early_stopped=np.eye(1, U, 3)[0]), run()])}
    assert checks["KL stops"].values == (pytest.approx(1 / U), 0.0)
    assert checks["shortest proof: MRR"].values == (0.93, 0.93)
    assert checks["shortest proof: MRR"].verdict == INFORMATION


def test_a_run_that_did_not_complete_is_not_judged():
    assert set(verdicts(run(status="interrupted")).values()) == {NOT_JUDGED}
    assert not passed(validate([run(), run(status="interrupted")]))
    assert not passed(validate([]))


def test_a_missing_column_leaves_its_check_open_and_gaps_are_passed_over():
    verdict_of = verdicts(run(entropy_normalized=None, explained_variance=np.full(U, np.nan)))
    assert [name for name, verdict in verdict_of.items() if verdict == NOT_JUDGED] == [
        "explained variance > 0.7",
        "entropy, end / start < 1",
        "entropy, largest rise ≤ 0.1",
    ]
    gaps = np.where(np.arange(U) % 2, np.nan, np.linspace(0.0, 0.9, U))
    assert verdicts(run(explained_variance=gaps))["explained variance > 0.7"] == PASS


def test_another_trainers_log_is_judged_by_what_it_has():
    log = RunLog("sb3", "sb3", {}, dict(run().columns))
    assert verdicts(log)["value loss < 0.05"] == PASS
    assert verdicts(log)["test MRR > 0.85"] == NOT_JUDGED


def test_limits_are_configuration():
    assert read_limits(["mrr=0.9", "early_stopped=1"]) == {"mrr": 0.9, "early_stopped": 1.0}
    assert read_limits([]) == {}
    assert verdicts(run(mrr=0.86), mrr=0.9)["test MRR > 0.9"] == FAIL


def test_the_plan_holds_for_its_benchmark_alone_and_other_tasks_for_what_is_given():
    assert Thresholds.of_task(BENCHMARK) == Thresholds()
    assert Thresholds.of_task(BENCHMARK, {"mrr": 0.5}) == Thresholds(mrr=0.5)
    for other in (None, "Proof-countries_s1", "CartPole-v1"):
        assert not Thresholds.of_task(other)
        checks = validate([run(mrr=0.1, value_loss=np.ones(U))], Thresholds.of_task(other))
        assert {check.verdict for check in checks} == {INFORMATION}
        assert {check.name: check.values for check in checks}["value loss"] == (1.0,)  # the number is still shown
    checks = validate([run(mrr=0.4, value_loss=np.ones(U))], Thresholds.of_task("Proof-family", {"mrr": 0.5}))
    judged = {f"{check.name} {check.limit}": check.verdict for check in checks if check.limit}
    assert judged == {"test MRR > 0.5": FAIL, "test MRR > untrained": FAIL}


def test_a_limit_of_the_mrr_is_held_against_answers_where_queries_are_open():
    log = run()
    log.summary["test"] = {"answers": {"mrr": 0.4}}
    log.summary["baselines"] = {"untrained": {"answers": {"mrr": 0.2}}}
    assert verdicts(log, mrr=0.3)["test MRR > 0.3"] == verdicts(log, mrr=0.3)["test MRR > untrained"] == PASS
    assert verdicts(log, mrr=0.5)["test MRR > 0.5"] == FAIL


def test_limits_from_a_file_and_later_ones_win(tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text("mrr = 0.9\nvalue_loss = 0.1\n")
    assert read_limits([str(file), "mrr=0.8"]) == {"mrr": 0.8, "value_loss": 0.1}
    assert read_limits(["mrr=0.8", str(file)]) == {"mrr": 0.9, "value_loss": 0.1}
    file.write_text("mr = 0.9\n")
    with pytest.raises(PPOJaxError, match=r"limits\.toml: unknown key 'mr'; did you mean mrr"):
        read_limits([str(file)])


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["value_los=1"], "unknown key 'value_los'; did you mean value_loss"),
        (["mrr"], "expected key=value"),
        (["nothing.toml"], "nothing.toml"),
        (["mrr=high"], "mrr: Expected `float`"),
    ],
)
def test_wrong_limits_are_explained(assignments, message):
    with pytest.raises(PPOJaxError, match=message):
        read_limits(assignments)


def test_the_table_as_json():
    table = json.loads(json.dumps(to_dict(validate([run(), run(mrr=None)])), allow_nan=False))
    assert table["passed"] is False
    assert {check["name"]: check["values"] for check in table["checks"]}["test marginal MRR"] == [0.95, 0.95]
