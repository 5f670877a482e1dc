"""Comparing runs: first and last, status words, configurations beside their references, seeds."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from ppo_jax.analysis.compare import (
    compared_seeds,
    configuration,
    left_out,
    movements,
    scores,
    status,
    status_of_score,
    to_dict,
)
from ppo_jax.analysis.conclusions import explain_intervals, explain_p
from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.queries import different_queries
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.run_sets import gather_run_sets
from ppo_jax.analysis.statistics import improvement_p_value, iqm_interval, least_p_value
from ppo_jax.cli.tables.analyse import show_comparison

U = 10


def run(name="run-s0", mrr=0.9, kind="ppo_jax", settings=None, **columns) -> RunLog:
    series = {"update": np.arange(1.0, U + 1), "env_steps": np.arange(1.0, U + 1), "proved_positive": np.full(U, 0.5)}
    series |= {key: np.asarray(value, float) for key, value in columns.items()}
    summary = {
        "status": "completed",
        "test": {"greedy": {"mrr": mrr, "proved_negative": 1.0 - mrr}},
        "baselines": {"untrained": {"greedy": {"mrr": 0.5}}, "shortest_proof": {"greedy": {"mrr": 0.8}}},
    }
    return RunLog(name, kind, {"n_epochs": 10} if settings is None else settings, series, summary=summary)


def test_movement_is_first_value_to_mean_of_the_last_fifth_over_the_seeds():
    gap = [math.nan, -5.0, *np.zeros(5), 0.2, 0.4, 0.3]
    logs = [run(explained_variance=gap), run(explained_variance=[-1.0, *np.zeros(6), 0.5, 0.7, 0.6])]
    rows = {row.name: row for row in movements(gather_run_sets(logs)[0])}
    row = rows["explained_variance"]
    assert (row.first, row.last) == (pytest.approx(-3.0), pytest.approx(0.45))
    assert row.spread == pytest.approx(np.std([0.3, 0.6], ddof=1))
    assert (row.status, row.level) == ("fair", "fair")
    assert "value_loss" not in rows


def test_stops_and_epochs_are_those_of_the_whole_run():
    rows = {
        row.name: row
        for row in movements(gather_run_sets([run(early_stopped=np.eye(1, U)[0], epochs_completed=[5] * U)])[0])
    }
    assert (rows["early_stopped"].first, rows["early_stopped"].last) == (None, pytest.approx(0.1))
    assert rows["epochs_completed"].status == "wasted epochs"  # 5 of 10


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("explained_variance", -0.02, "bad"),
        ("explained_variance", 0.0, "bad"),
        ("explained_variance", 0.69, "fair"),
        ("explained_variance", 0.7, "good"),
        ("value_loss", 0.29 * 4.0, "good"),  # over a variance of the returns of 4
        ("value_loss", 4.1, "bad"),
        ("approx_kl", 0.2, "bad"),
        ("early_stopped", 0.0, "good"),
        ("early_stopped", 0.41, "bad"),
        ("clip_fraction", 0.31, "fair"),
        ("episode_return_mean", 7.0, ""),
        ("explained_variance", math.nan, ""),
    ],
)
def test_status_words(name, value, level):
    assert status(name, value, run(returns_std=np.full(U, 2.0)))[1] == level


def test_the_critic_is_not_judged_where_returns_hardly_vary():
    solved = run(explained_variance=np.full(U, -0.5), value_loss=np.full(U, 9.0), returns_degenerate=np.ones(U))
    rows = {row.name: (row.status, row.level) for row in movements(gather_run_sets([solved])[0])}
    assert rows["explained_variance"] == rows["value_loss"] == ("returns hardly vary", "")


@pytest.mark.parametrize("sets", [1, 2])
def test_of_how_many_seeds_a_number_is_and_why_of_no_more(capsys, sets):
    flat = {"returns_degenerate": np.ones(U), "settings": {"gamma": 1}}
    logs = [run("a-s0", explained_variance=[0.5] * U, settings={"gamma": 1}), run("a-s1", **flat), run("a-s2", **flat)]
    logs += [run("b-s0", explained_variance=[0.7] * U, settings={"gamma": 2})] * (sets - 1)
    show_comparison(gather_run_sets(logs))
    out = " ".join(capsys.readouterr().out.split())
    named = "explained variance at the end: " if sets == 1 else "[2] 0.700 "
    assert f"{named}a 1 of 3 seeds: the returns of the others hardly vary, there is nothing to explain" in out
    assert out.count("of 3 seeds") == 1


def test_a_run_set_without_any_seed_of_a_number_says_so():
    flat = {"returns_degenerate": np.ones(U), "explained_variance": [0.5] * U, "settings": {"gamma": 1}}
    logs = [run("a-s0", **flat), run("a-s1", **flat), run("b-s0", settings={"gamma": 2}, explained_variance=[0.7] * U)]
    logs += [run("c", settings={"gamma": 3}, angle=np.ones(U))]
    told = {row.name: left_out(row, run_sets) for run_sets in [gather_run_sets(logs)] for row in scores(run_sets)}
    flat_returns = "in the 2 seeds of a the returns hardly vary, there is nothing to explain"
    assert told["explained variance at the end"] == f"{flat_returns}; c has none"
    assert told["angle at the end"] == "a has none, b-s0 has none" and told["test MRR (greedy)"] == ""


@pytest.mark.parametrize(
    ("columns", "word", "finding"),
    [
        ({"explained_variance": np.full(U, -0.02)}, "worse than the mean", "critic-worse-than-mean"),
        ({"explained_variance": np.full(U, -0.005)}, "uninformative", "critic-uninformative"),
        ({"explained_variance": np.r_[np.full(U - 1, 0.9), -1e9]}, "OK", None),  # one update decides nothing
        ({"value_loss": np.full(U, 4.1), "returns_std": np.full(U, 2.0)}, "high", "value-loss-high"),
        ({"value_loss": np.full(U, 3.9), "returns_std": np.full(U, 2.0)}, "fair", None),
    ],
)
def test_words_are_those_of_the_diagnosis(columns, word, finding):
    log = run(**columns)
    assert movements(gather_run_sets([log])[0])[0].status == word
    assert [one.id for one in diagnose(log).findings if one.id.startswith(("critic", "value"))] == [finding] * bool(
        finding
    )


def test_what_has_no_good_direction_is_compared_without_a_verdict():
    def seeds(name, angle, **settings):
        return [
            run(f"{name}-s{i}", settings=settings, angle=np.full(U, angle + 0.1 * i), value_loss=np.full(U, angle))
            for i in range(3)
        ]

    rows = {
        row.name: row for row in scores(gather_run_sets([*seeds("a", 1.0, n_epochs=2), *seeds("b", 3.0, n_epochs=5)]))
    }
    angle = rows["angle at the end"]
    assert [one.value for one in angle.iqm] == pytest.approx([1.1, 3.1])
    assert angle.difference[0] is None and angle.difference[1].value == pytest.approx(2.0)
    assert 1.8 <= angle.difference[1].low < 2.0 < angle.difference[1].high <= 2.2
    assert rows["value loss at the end"].difference[1].value == pytest.approx(2.0)
    for row in (angle, rows["value loss at the end"]):
        assert (row.verdict(1), row.p_values, row.improvement) == ("", (None, None), (None, None))
    assert compared_seeds(list(rows.values())) == [(3, 3)] * 2  # the two scores on test


def test_the_word_is_that_of_most_seeds():
    logs = [run(explained_variance=np.full(U, x)) for x in (0.9, 0.8, -5.0)]
    row = next(row for row in movements(gather_run_sets(logs)[0]) if row.name == "explained_variance")
    assert (row.last, row.status) == (pytest.approx(-1.1), "OK")


def test_value_loss_has_no_status_without_the_spread_of_the_returns():
    assert status("value_loss", 1.0, run()) == ("", "")


@pytest.mark.parametrize(("mrr", "level"), [(0.5, "bad"), (0.8, "fair"), (0.81, "good")])
def test_a_score_is_judged_by_the_baselines(mrr, level):
    assert status_of_score(gather_run_sets([run(mrr=mrr)])[0])[1] == level


def test_scores_of_seeds():
    before = [run("a", m, settings={"n_epochs": 20}) for m in (0.1, 0.2, 0.3)]
    after = [run("b", m) for m in (0.25, 0.4, 0.9)]
    rows = {row.name: row for row in scores(gather_run_sets([*before, *after]))}
    mrr, false = rows["test MRR (greedy)"], rows["false test queries proved"]
    assert mrr.values == ((0.1, 0.2, 0.3), (0.25, 0.4, 0.9))
    assert [one.value for one in mrr.iqm] == pytest.approx([0.2, 1.55 / 3])
    assert mrr.improvement[0] is None
    assert mrr.improvement[1].value == false.improvement[1].value == pytest.approx(8 / 9)  # fewer false proofs: better
    assert mrr.iqm[0].low <= 0.2 <= mrr.iqm[0].high


def many(name: str, values, **settings) -> list[RunLog]:
    return [run(f"{name}-s{i}", mrr, settings=settings) for i, mrr in enumerate(values)]


@pytest.mark.parametrize(
    ("n", "verdict", "p_value"),
    [
        (2, "", None),
        (3, "exploratory: better", 2 * 2 / 20),  # 2 in 20 ways to deal six seeds out; two scores are compared
        (5, "better", 2 * 2 / 252),
    ],
)
def test_a_difference_is_sure_where_the_number_of_comparisons_allows_it(n, verdict, p_value):
    logs = many("a", 0.1 + 0.01 * np.arange(n), n_epochs=20) + many("b", 0.5 + 0.01 * np.arange(n), n_epochs=5)
    first, *_ = rows = scores(gather_run_sets(logs))
    assert len(rows) == 2
    assert first.verdict(1) == verdict
    assert first.p_values[0] is None
    assert p_value is None or first.p_values[1] == pytest.approx(p_value)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_where_an_interval_is_the_range_of_the_seeds_it_is_said(n):
    seeds = np.arange(n) ** 2.0
    interval = iqm_interval([seeds])
    assert ((interval.low, interval.high) == (seeds[0], seeds[-1])) == bool(explain_intervals([9, n]))


@pytest.mark.parametrize(
    ("compared", "told"),
    [
        ([(3, 3)], "it is 0.1 at best, and no difference could pass: 4 seeds each would suffice."),  # 2 in 20 ways
        ([(4, 4)] * 2, "it is 0.057 at best, and no difference could pass: 5 seeds each would suffice."),
        ([(4, 4)], ""),
        ([(3, 3), (9, 3)], ""),  # one of them could: 2 * 2 in 220
        ([(9, 9)] * 300, "it is 0.06 at best, and no difference could pass: compare less at a time."),  # of 9,999 drawn
    ],
)
def test_seeds_too_few_for_any_difference_are_said_and_how_many_would_do(compared, told):
    assert explain_p(compared).partition("With the seeds here ")[2] == told
    n, m = compared[0]
    assert least_p_value(n, m) == pytest.approx(improvement_p_value(np.arange(n) + 10.0, np.arange(m)))


def test_more_comparisons_make_the_same_seeds_less_sure():
    values = 0.01 * np.arange(4)
    two = many("a", values, n_epochs=20) + many("b", 0.5 + values, n_epochs=5)
    four = [*two, *many("c", values, n_epochs=1)]
    assert [scores(gather_run_sets(logs))[0].p_values[1] for logs in (two, four)] == pytest.approx([4 / 70, 8 / 70])
    assert scores(gather_run_sets(four))[0].verdict(2) == "not told apart"


def asked(name: str, *queries: str, n: int = 0, seed: int = 0) -> RunLog:
    log = run(name, settings={"seed": seed})
    if n:
        log.summary["test"]["greedy"]["n_queries"] = n
    return dataclasses.replace(log, queries=tuple({"query": query, "answer": "e"} for query in queries))


def test_runs_judged_on_different_queries_are_named_in_one_line():
    line = different_queries(gather_run_sets([asked("a", "p(a)", "p(b)"), asked("b", "p(b)", "p(c)", "p(d)")]))
    assert "a on 2, b on 3, 1 of them the same" in line and "\n" not in line
    assert different_queries(gather_run_sets([asked("a", "p(a)", "p(b)"), asked("b", "p(b)", "p(a)")])) is None
    assert "a on 24, b on 6; 1 more differ from a too" in different_queries(
        gather_run_sets([asked("a", n=24), asked("b", n=6), asked("c", n=6)])
    )
    assert different_queries(gather_run_sets([asked("a", "p(a)"), asked("b", n=1), asked("c")])) is None
    assert different_queries(gather_run_sets([run("a"), run("b")])) is None


def test_runs_in_different_environments_are_named_in_one_line():
    settings = {"CartPole-v1": "a", "Acrobot-v1": "b"}
    runs = [run(name, settings={"env_id": env_id}) for env_id, name in settings.items()]
    assert different_queries(gather_run_sets(runs)) == (
        "trained in different environments, a in CartPole-v1 and b in Acrobot-v1: scores compare only where these are "
        "the same task"
    )


def test_one_seed_shows_no_improvement_and_no_interval():
    row = scores(gather_run_sets([run("a", settings={"n_epochs": 20}), run("b")]))[0]
    assert row.improvement == (None, None)
    assert math.isnan(row.iqm[0].low)


def test_the_tables_of_scores_have_columns_with_values_alone_and_fold_long_names(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    name = "_".join(["own"] * 25)  # longer than a line
    runs = [run(one, settings={"n_epochs": n}, **{name: np.full(U, 2.0 * n)}) for one, n in (("a", 1), ("b", 2))]
    show_comparison(gather_run_sets(runs))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and not any("better than" in line for line in lines)
    assert "test MRR (greedy)" in (line.strip() for line in lines)
    (head,) = (i for i, line in enumerate(lines) if "difference from [1]" in line)
    assert "".join(line.replace("difference from [1]", "").strip() for line in lines[head - 1 : head + 1]) == (
        f"{name} at the end"
    )
    assert [line.split() for line in lines[head + 1 : head + 3]] == [["[1]", "2"], ["[2]", "4", "+2"]]


def test_configurations_side_by_side():
    rows = {
        row.key: row
        for row in configuration(
            gather_run_sets(
                [
                    run(settings={"n_epochs": 20, "ent_coef": 0.2, "fact_layers": 0}),
                    run(
                        settings={"n_epochs": 5, "ent_coef": {"init": 0.2, "final": 0.01}, "fact_layers": 2, "seed": 1}
                    ),
                ]
            )
        )
    }
    assert rows["n_epochs"].values == ("20", "5") and rows["n_epochs"].differs
    assert (rows["n_epochs"].sb3, rows["n_epochs"].recommended) == ("10", "2")
    assert rows["ent_coef"].values == ("0.2", "0.2 → 0.01")
    assert rows["fact_layers"].sb3 is None
    assert not rows["target_kl"].differs and rows["target_kl"].values == ("none", "none")
    assert rows["separate_critic"].recommended == "yes"
    assert "seed" not in rows


@pytest.mark.parametrize(("env_id", "references"), [("CartPole-v1", ["SB3"]), ("Proof-x", ["SB3", "ours"])])
def test_a_reference_that_says_nothing_of_a_task_has_no_column(env_id, references, capsys):
    logs = [run(name, settings={"env_id": env_id, "n_epochs": n}) for name, n in (("a", 2), ("b", 5))]
    logs = [dataclasses.replace(log, summary={}, columns={"update": log.columns["update"]}) for log in logs]
    show_comparison(gather_run_sets(logs))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["[1]", "[2]", *references] and lines[-1].split()[0] == "n_epochs"


def test_what_a_foreign_log_does_not_tell_is_unknown_and_has_no_recommendation():
    log = RunLog("sb3", "sb3", {"n_steps": 2048}, {"update": np.arange(3.0), "env_steps": np.arange(3.0)})
    rows = {row.key: row for row in configuration(gather_run_sets([log]))}
    assert list(rows) == ["n_steps"]
    assert rows["n_steps"].recommended is None
    assert movements(gather_run_sets([log])[0]) == () == scores(gather_run_sets([log]))
    assert status_of_score(gather_run_sets([log])[0]) == ("", "")


def test_a_comparison_as_json():
    logs = [run("a", settings={"n_epochs": 20}, approx_kl=np.full(U, 0.01)), run("b")]
    comparison = json.loads(json.dumps(to_dict(gather_run_sets(logs)), allow_nan=False))
    assert [one["runs"] for one in comparison["groups"]] == [["a"], ["b"]]
    assert comparison["groups"][0]["metrics"][0]["name"] == "approx_kl"
    score = comparison["scores"][0]
    assert (score["iqm"][0]["value"], score["iqm"][0]["low"], score["improvement"]) == (0.9, None, [None, None])
    assert score["p_values"] == [None, None]
    assert comparison["different_queries"] is None
    assert next(row for row in comparison["configuration"] if row["key"] == "n_epochs")["values"] == ["20", "10"]
