"""Run folders that version 0.1.0 wrote stay readable by diagnose, compare and report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppo_jax.analysis.readers import read, read_run
from ppo_jax.analysis.report import to_html, to_markdown
from ppo_jax.analysis.report.content import build
from ppo_jax.analysis.validate import NOT_JUDGED, validate
from tests.cli.console import call

OLD_RUNS = Path(__file__).resolve().parents[1] / "fixtures" / "old_runs"
CARTPOLE, COUNTRIES = OLD_RUNS / "cartpole", OLD_RUNS / "countries"


@pytest.mark.parametrize(
    ("folder", "n_updates", "metric", "n_queries"),
    [(CARTPOLE, 8, "episode_return_mean", 0), (COUNTRIES, 16, "proved_positive", 6)],
)
def test_what_an_old_run_measured_is_read(folder, n_updates, metric, n_queries):
    log = read(folder)
    assert (log.kind, log.n_updates, len(log.queries)) == ("ppo_jax", n_updates, n_queries)
    assert np.isfinite(log.columns[metric]).any()
    assert len(log.evaluations) == 2
    assert log.summary["status"] == "completed"
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert log.columns["value_loss"][-1] == json.loads(lines[-1])["value_loss"]
    assert log.settings["n_epochs"] == {CARTPOLE: 4, COUNTRIES: 2}[folder]


@pytest.mark.parametrize(
    ("folder", "findings", "unjudged"),
    [
        (CARTPOLE, ["gradient-always-clipped"], 18),  # its 8 updates are too few for a last fifth
        (COUNTRIES, ["lr-too-low", "critic-uninformative", "entropy-stuck", "beaten-by-baseline"], 2),
    ],
)
def test_diagnose_reads_old_runs(folder, findings, unjudged):
    code, out, _ = call("diagnose", folder, "--json")
    diagnosis = json.loads(out)
    assert code == int(len(findings) > 1)
    assert [one["id"] for one in diagnosis["findings"]] == findings
    assert len(diagnosis["unjudged"]) == unjudged


def test_compare_reads_old_runs():
    code, out, _ = call("compare", CARTPOLE, COUNTRIES, "--json")
    comparison = json.loads(out)
    assert code == 0
    assert [one["runs"] for one in comparison["groups"]] == [["cartpole"], ["countries"]]
    rows = {row["name"]: row for row in comparison["scores"]}
    summary = json.loads((COUNTRIES / "summary.json").read_text(encoding="utf-8"))
    assert rows["test MRR (greedy)"]["values"] == [[], [summary["test"]["greedy"]["mrr"]]]


def test_report_reads_old_runs(tmp_path):
    code, out, _ = call("report", COUNTRIES, CARTPOLE, "--out", tmp_path, "--json")
    assert code == 0
    files = [Path(name) for name in json.loads(out)["files"]]
    assert all(file.stat().st_size > 1000 for file in files)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## 9. Example proofs" in markdown
    # Steps of that version do not say which goal they treated: the attempt is a chain of resolvents.
    assert "nothing left to prove" in markdown and "r1: locatedInCR(X,Y) :- neighborOf(X,Z)" in markdown


def test_the_validation_plan_judges_an_old_run():
    checks = validate([read_run(COUNTRIES)])
    assert NOT_JUDGED not in {check.verdict for check in checks}
    document = build([read_run(COUNTRIES)])
    assert to_html(document).count("<svg") >= 8 and to_markdown(document).count("![") >= 8
