"""The section of a report about answers: what each part gave, what is chosen, escaping, and older runs."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppo_jax.analysis import report
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.report import to_html, to_markdown
from ppo_jax.analysis.report.blocks import Question, Questions, Table, Title
from tests.analysis.report.attempts import PROOF, attempt
from tests.analysis.report.test_report import CHROMIUM

HOSTILE = "<script>alert(1)</script>|`*x*`](javascript:alert(2))"
N = 9


def answer(name: str, proofs: float, prior: float, **more: Any) -> dict[str, Any]:
    """Rules say nothing."""
    added = {"proofs": 0.5 * float(np.log(proofs + 1e-5)), "rules": -6.0, "prior": prior}
    known = more.get("known", False)
    return {
        "answer": name,
        "probability": proofs,
        "known": known,
        "score": sum(added.values()),
        "parts": {"rules": 0.0, "prior": prior},
        "contributions": added,
        "right": more.get("right", False),
        "rank": None if known else more.get("rank", 1.0),
    }


def line(i: int, name: str) -> dict[str, Any]:
    """Query `i` of N: the combination ranks its answer at place i + 1, the policy alone at 3."""
    return {
        "query": f"loc(q{i},X)",
        "predicate": "loc" if i % 3 else name,
        "side": "tail" if i % 2 else "head",
        "answer": name,
        "rank": 3.0,
        "ranked": 40,
        "reciprocal_rank": 1 / 3,
        "combined_rank": i + 1.0,
        "combined_reciprocal_rank": 1 / (i + 1),
        "rank_without": {"proofs": 2.0, "rules": i + 1.0, "prior": 8.0},
        "answers": {
            "of": 12,
            "listed": [
                answer("old", 0.4, -1.0, known=True),
                answer(name, 0.2, -1.5, right=True, rank=i + 1.0),
                answer("no", 0.0, -2.0, rank=2.0),
            ],
        },
        "candidates": [attempt(f"loc({name},e)", True, True, PROOF) | {"probability": 0.2}],
    }


def run(name: str = "run", constant: str = "a", seed: int = 0, **changes: Any) -> RunLog:
    def result(mrr: float, **more: Any) -> dict[str, Any]:
        return {"mrr": mrr, "hits@1": 0.1, "hits@10": 0.9, "mrr_interval": [mrr - 0.1, mrr + 0.1]} | more

    weights = {"proofs": 0.5, "rules": 2.0, "prior": 1.0}
    asked = {"protocol": "answers, filtered", "n_queries": 50, "of_queries": 5626, "candidates": 40.0}
    summary = {
        "status": "completed",
        "test": {"answers": result(0.4 + seed / 10, **asked), "combined": result(0.6, weights=weights)},
        "baselines": {
            "uniform_policy": {"answers": result(0.2)},
            "prior": {"answers": result(0.5)},
            "rules and prior": {"answers": result(0.55)},
            constant: {"answers": result(0.3)},
        },
    }
    columns = {"update": np.arange(1.0, 4), "env_steps": np.arange(1.0, 4)}
    lines = tuple(line(i, constant) for i in range(N))
    settings = {"dataset": "x", "mode": "answer", "seed": seed} | changes
    return RunLog(name, "ppo_jax", settings, columns, (), summary, lines)


def blocks(*logs: RunLog) -> list[Any]:
    (section,) = [one for one in report.build(logs).sections if one.title == "Answers"]
    return list(section.blocks)


def tables(*logs: RunLog) -> list[dict[str, list[str]]]:
    """By the name of their row the cells of each table."""
    found = [one for one in blocks(*logs) if isinstance(one, Table)]
    return [{row[0].text: [cell.text for cell in row[1:]] for row in table.rows} for table in found]


def questions(*logs: RunLog) -> tuple[Question, ...]:
    return next(one for one in blocks(*logs) if isinstance(one, Questions)).questions


def test_the_mrr_of_each_part_alone_and_together():
    worth, *_ = tables(run())
    assert {name: cells[0] for name, cells in worth.items()} == {
        "uniform policy": "0.200",
        "prior": "0.500",
        "a": "0.300",
        "policy": "0.400",
        "rules and prior": "0.550",
        "combined": "0.600",
    }
    text = to_markdown(report.build([run()]))
    assert "with weights chosen on valid: 0.5 proofs + 2 rules + 1 prior." in text
    assert "50 of 5,626 triples, each with head and tail open, among 40 candidates" in text
    assert "0.400 (0.30 to 0.50)" in text
    assert "figures/answers.svg" in text


def test_seeds_are_averaged_and_counted_together():
    logs = [run(f"run-s{seed}", seed=seed) for seed in range(2)]
    worth, moves, predicates = tables(*logs)
    assert worth["policy"][0] == "0.450"
    assert sum(int(cells[0]) for cells in predicates.values()) == N
    assert f"Of {N} queries × 2 seeds, head and tail each counted." in to_markdown(report.build(logs))
    assert f"Of {N} queries, head and tail each counted." in to_markdown(report.build(logs[:1]))
    assert moves["combined, against the policy alone"] == ["4", "12", "2"]
    assert "± 0.071" in to_markdown(report.build(logs))


def test_configurations_stand_side_by_side():
    logs = [run("a-s0"), run("b-s0", "b", seed=1, n_epochs=3)]
    found = blocks(*logs)
    assert [one.text for one in found if isinstance(one, Title) and one.text != "Questions"] == ["a-s0", "b-s0"]
    (figure,) = found[0].drawings
    assert {"a-s0", "b-s0", "0.400", "0.500"} <= set(re.findall(r">([^<>]+)</text>", figure.svg))
    assert len([one for one in found if isinstance(one, Questions)]) == 2
    assert "<svg" in to_html(report.build(logs))


def test_where_the_combination_and_each_part_changed_the_rank():
    """Combined ranks are 1 to 9: alone the policy ranks at 3, without proofs it is 2, without rules the same."""
    _, moves, predicates = tables(run())
    assert moves == {
        "combined, against the policy alone": ["2", "6", "1"],
        "with proofs, against without": ["1", "7", "1"],
        "with rules, against without": ["0", "0", "9"],
        "with prior, against without": ["7", "1", "1"],
    }
    tail, head = np.mean([1 / 2, 1 / 6, 1 / 8]), np.mean([1 / 3, 1 / 5, 1 / 9])
    assert predicates["loc"] == ["6", "0.333", "0.333", f"{tail:.3f}", f"{head:.3f}"]
    assert sum(int(cells[0]) for cells in predicates.values()) == N


def test_predicates_that_are_left_out_are_counted():
    many = tuple(line(0, "a") | {"predicate": f"p{i}"} for i in range(25))
    text = to_markdown(report.build([dataclasses.replace(run(), queries=many)]))
    assert "The 20 predicates with the most queries, 5 are left out." in text


def test_the_best_the_middle_the_worst_and_the_most_moved_are_shown():
    chosen = {one.why: one.query for one in questions(run())}
    assert chosen == {
        "ranked best": "loc(q0,X)",
        "ranked in the middle": "loc(q4,X)",
        "ranked worst": "loc(q8,X)",
        "moved up most": "loc(q1,X)",  # the first is shown already
        "moved down most": "loc(q7,X)",
    }


def test_bars_differ_as_the_scores_do():
    first = questions(run())[0]
    assert [one.mark for one in first.answers] == ["known", "right", ""]
    assert [one.rank for one in first.answers] == ["–", "1", "2"]
    assert first.answers[0].score == f"{line(0, 'a')['answers']['listed'][0]['score']:.2f}".replace("-", "−")
    widths = [sum(part.width for part in one.parts) for one in first.answers]
    scores = [one["score"] for one in line(0, "a")["answers"]["listed"]]
    assert max(widths) == pytest.approx(100)
    assert min(part.width for one in first.answers for part in one.parts) == 0
    np.testing.assert_allclose(np.diff(widths), 100 * np.diff(scores) / (scores[0] - scores[2]))
    assert [part.said for part in first.answers[1].parts] == ["0.2000", "0.0000", f"{np.exp(-1.5):.4f}"]
    assert "3 answers, of 12 of which anything is said" in first.remark
    assert "rank 1 of 40; 3 by the policy alone, 2 without proofs, 1 without rules, 8 without prior" in first.remark


def test_a_right_answer_without_a_proof_is_said_to_have_none():
    log = run()
    log.queries[0]["candidates"] = [attempt("loc(a,e)", True, False, []) | {"probability": 0.0}]
    first = questions(log)[0]
    assert first.proofs == ()
    assert "No proof of the right one was found." in first.remark


def test_names_are_escaped():
    document = report.build([run(HOSTILE, HOSTILE)])
    page, markdown = to_html(document), to_markdown(document)
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    assert "<script" not in outside and not re.search(r"(?<!\\)\]\(javascript", outside)
    for block in re.findall(r"(?:^\|.*\n)+", outside, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1, block


def test_older_runs_show_what_they_hold():
    """Lines of before had no answers, and still older ones no combined rank; their proofs are examples."""
    log = run()
    for one in log.queries:
        for key in ("answers", "predicate", "rank_without", "combined_reciprocal_rank"):
            del one[key]
    document = report.build([log])
    assert [one.title for one in document.sections][-2:] == ["Answers", "Example proofs"]
    _, moves, predicates = tables(log)
    assert list(moves) == ["combined, against the policy alone"]
    assert predicates["loc"][0] == "9"
    for one in log.queries:
        del one["combined_rank"]
    del log.summary["test"]["combined"], log.summary["baselines"]
    assert len(tables(log)) == 2
    to_html(report.build([log]))


def test_a_report_of_other_runs_has_no_such_section():
    log = run()
    del log.summary["test"]["answers"]
    assert "Answers" not in [one.title for one in report.build([log]).sections]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
def test_bars_are_seen_in_a_browser(tmp_path):
    page: Path = report.write([run()], tmp_path / "report")[0]
    measure = "<script>document.title=[...document.querySelectorAll('.bar')].map(b=>Math.round([...b.children].reduce("
    measure += "(w,i)=>w+i.getBoundingClientRect().width,0)/b.getBoundingClientRect().width*100)).join()</script>"
    text = page.read_text(encoding="utf-8").replace(
        "default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'"
    )
    page.write_text(text.replace("</body>", f"{measure}</body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    if not dom:
        pytest.skip(f"{CHROMIUM} does not start")
    shown = re.search(r"<title>([\d,]*)</title>", dom)
    assert shown and shown[1].startswith("100,")
    assert len(shown[1].split(",")) == 15
