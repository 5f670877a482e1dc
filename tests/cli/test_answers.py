"""A run that answers open queries: trained, asked, and its scores taken elsewhere."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import ppo_jax
from ppo_jax.analysis import protocol
from ppo_jax.analysis.readers import read_run
from ppo_jax.analysis.scores import read_seeds
from ppo_jax.cli.tables.answers import show_answers
from ppo_jax.config import load_config
from ppo_jax.proving import datasets, task
from ppo_jax.proving.priors.embeddings import ComplEx
from ppo_jax.proving.priors.prior import save_prior
from ppo_jax.proving.results import AnswerResults
from ppo_jax.proving.rules import mining
from ppo_jax.runs import loop
from tests.cli.console import Result, call, fail, fields_of, read_summary, succeed, write_data


@pytest.fixture(scope="module")
def trained(workplace) -> tuple[Path, Result]:
    """A completed run, and what it printed."""
    folder, settings = workplace / "runs" / "answers", ("mode=answer", "max_depth=4", "eval_interval=3")
    return folder, call("train", workplace / "places.toml", "--run-dir", folder, "--set", *settings)


@pytest.fixture(scope="module")
def run(trained) -> Path:
    folder, result = trained
    assert result.code == 0, result
    return folder


def test_the_table_names_every_baseline_and_what_was_asked(trained):
    out = trained[1].out
    for row in ("trained (best)", "combined", "uniform policy", "shortest proof", "untrained (×4)", "rules"):
        assert any(line.startswith(row) for line in out.splitlines()), row
    assert "all 2 triples, each with head and tail open, among " in " ".join(out.split())
    searched = "fewest steps, 1,000 resolvents a query, ties: expected over their order; "
    assert searched + "all 2 triples; 0 of 4 searches given up" in " ".join(out.split())
    queries = r"\d of 4 queries, not for \d"
    by = ("proved by the policy for", "derived by rules for", "found by breadth-first search for")
    found = f"found: the right answer is {'; '.join(f'{how} {queries}' for how in by)} resolvents: states"
    assert re.search(found, " ".join(out.split()))
    assert "weights were chosen on valid, so on test a part may rank higher than the sum" in " ".join(out.split())
    assert re.search(r"^ +resolvents\n +MRR .* a query$", out, flags=re.MULTILINE)
    assert "resolvents: states, the atoms left to prove" in out
    assert re.search(r"among \d+ candidates on average", " ".join(out.split()))
    assert "The policy alone:" in out
    assert "Combined:" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_results_of_a_run(run):
    summary = read_summary(run)
    assert set(summary["test"]) == {"answers", "combined"}
    assert set(summary["baselines"]) == {"uniform_policy", "untrained (×4)", "shortest_proof", "rules"}
    assert {one["answers"]["n_queries"] for one in summary["baselines"].values()} == {2}
    searched = summary["baselines"]["shortest_proof"]["answers"]
    assert (searched["searches"], searched["given_up"]) == (4, 0)
    assert searched["mrr"] > 0.5 and searched["looked_at"] > 1
    assert summary["test"]["combined"]["weights"].keys() == {"proofs", "rules"}
    assert load_config(run / "config.toml").task.mode == "answer"
    told = {path: {metric.name for metric in metrics} for path, metrics in AnswerResults.metrics.items()}
    assert {path: set(summary["test"][path]) for path in told} == told


def test_every_field_of_a_query_is_told(run):
    lines = [json.loads(line) for line in (run / "queries.jsonl").read_text().splitlines()]
    told = AnswerResults.files["queries.jsonl"]
    assert set().union(*(fields_of(line, told) for line in lines)) == set(told)


def test_a_line_for_every_query_of_both_sides(run):
    lines = [json.loads(line) for line in (run / "queries.jsonl").read_text().splitlines()]
    assert [(line["query"], line["side"], line["answer"]) for line in lines] == [
        ("in(c,X)", "tail", "n"),
        ("in(X,n)", "head", "c"),
        ("in(z,X)", "tail", "s"),
        ("in(X,s)", "head", "z"),
    ]
    kb = datasets.load(load_config(run / "config.toml").task.dataset).kb
    known = {"in(X,n)": 4, "in(X,s)": 2}  # of the facts and queries, the one asked for apart
    for line in lines:
        assert line["ranked"] == len(kb.constants) - known.get(line["query"], 0)
        assert line["rank"] == line["better"] + 1 + line["tied"] / 2
        assert 1 <= line["combined_rank"] <= line["ranked"]
        assert line["baseline_ranks"].keys() == {"uniform_policy", "untrained", "shortest_proof", "rules"}
        assert all(1 <= rank <= line["ranked"] for rank in line["baseline_ranks"].values())
        assert (line["probability"] > 0.0) == line["candidates"][0]["proved"]
    # One rule gives c its n and z its s; what it does not derive is tied below.
    assert [line["baseline_ranks"]["rules"] for line in lines if line["side"] == "tail"] == [1.0, 1.0]
    for name in ("uniform_policy", "shortest_proof", "rules"):
        inverse = sum(1 / line["baseline_ranks"][name] for line in lines) / len(lines)
        mrr = read_summary(run)["baselines"][name]["answers"]["mrr"]
        assert inverse <= mrr + 1e-9  # of ties it is the expected one: Jensen's inequality
    rows = list(csv.DictReader(io.StringIO(succeed("scores", run))))
    for name in ("uniform_policy", "untrained", "shortest_proof", "rules"):
        column = [float(row[f"{name}_reciprocal_rank"]) for row in rows]
        key = "untrained (×4)" if name == "untrained" else name
        assert np.mean(column) == pytest.approx(read_summary(run)["baselines"][key]["answers"]["mrr"])
    for key, part in (("reciprocal_rank", "answers"), ("combined_reciprocal_rank", "combined")):
        mrr = sum(line[key] for line in lines) / len(lines)
        assert mrr == pytest.approx(read_summary(run)["test"][part]["mrr"])


def test_lines_hold_answers_with_what_each_part_gave_as_ask_does(run):
    lines = [json.loads(line) for line in (run / "queries.jsonl").read_text().splitlines()]
    for line in lines:
        listed = line["answers"]["listed"]
        (right,) = [answer for answer in listed if answer["right"]]
        assert (right["answer"], right["rank"], right["known"]) == (line["answer"], line["combined_rank"], False)
        assert line["rank_without"].keys() == right["contributions"].keys() == {"proofs", "rules"}
        (asked,) = json.loads(succeed("ask", run, line["query"], "--json"))
        told = {answer["answer"]: answer for answer in listed}
        for answer in asked["answers"][:5]:
            for key in ("probability", "score", "parts", "contributions"):
                assert told[answer["answer"]][key] == pytest.approx(answer[key], abs=1e-5)
        assert len(listed) == line["answers"]["of"]
    known = {answer["answer"] for answer in lines[3]["answers"]["listed"] if answer["known"]}
    assert known == {"x", "y"}


def test_the_report_and_ask_show_the_same_numbers(run, tmp_path):
    succeed("report", run, "--out", tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    table = succeed("ask", run, "in(z, X)")
    (row,) = [line.split() for line in table.splitlines() if line.split()[:2] == ["1", "s"]]
    for number in row[2:5]:  # proofs, rules, score
        assert f"<td>{number.replace('-', '−')}</td>" in page
    assert "in(z,X)" in page and "Proof of the right answer" in page


def test_ask_ranks_answers_and_shows_their_proofs(run):
    (one,) = json.loads(succeed("ask", run, "in(z, X)", "--json"))
    assert one["query"] == "in(z,X)"
    first = one["answers"][0]
    assert (first["answer"], first["known"]) == ("s", False)
    assert [step["action"] for step in first["steps"]] == [
        "r1: in(X,Y) :- near(X,Z), in(Z,Y)",
        "fact near(z,y)",
        "fact in(y,s)",
    ]
    assert first["steps"][-1]["resolvent"] == []
    table = " ".join(succeed("ask", run, "in(z, X)", "in(X, s)").split())
    assert "near(z,y), in(y,s) by r1" in table
    assert table.count("r1: in(X,Y) :- near(X,Z), in(Z,Y)") == 2  # once for each query
    assert "in(X,s)" in table
    known = {
        answer["answer"]
        for answer in json.loads(succeed("ask", run, "in(X, s)", "--json"))[0]["answers"]
        if answer["known"]
    }
    assert known <= {"x", "y"}


def test_ask_says_how_answers_are_ranked_and_where_none_has_a_proof(run, capsys):
    weights = read_summary(run)["test"]["combined"]["weights"]
    score = f"score: {weights['proofs']:g} proofs + {weights['rules']:g} rules; --proofs ranks by proofs"
    text = succeed("ask", run, "in(z, X)", "in(X, s)")
    assert text.count(score) == 1 and "a proof within" not in text and "max_rules" not in text
    assert "score:" not in succeed("ask", run, "in(z, X)", "--proofs")
    (one,) = json.loads(succeed("ask", run, "in(z, X)", "--json"))
    assert (one["weights"], one["rules_known"]) == (weights, {"rules": 1, "proofs": 1})
    unproved = [answer | {"steps": []} for answer in one["answers"]]
    show_answers([one | {"answers": unproved, "rules_known": {"rules": 2325, "proofs": 96}}])
    text = " ".join(capsys.readouterr().out.split())
    assert "none of these has a proof within the depth limit and the beam" in text
    assert "all 2,325 rules count; a proof may take 96, for a predicate the max_rules surest" in text


def test_ask_takes_a_file_and_writes_csv(run, tmp_path):
    file = tmp_path / "queries.txt"
    file.write_text("% two of them\nin(z, X).\nin(?who, n)\n")
    rows = list(csv.DictReader(io.StringIO(succeed("ask", run, "--file", file, "--csv", "--top", "1"))))
    assert [row["query"] for row in rows] == ["in(z,X)", "in(X,n)"]
    assert {row["rank"] for row in rows} == {"1"}
    file.write_text("in(z, X)\n\nin z\n")
    assert f"error: {file}:3: 'in z' is no atom; write one such as" in fail("ask", run, "--file", file)
    parts = {"rules", "proofs_contribution", "rules_contribution"}
    assert rows[0].keys() == {"query", "rank", "answer", "known", "score", "probability"} | parts
    for row in rows:
        added = sum(float(row[f"{name}_contribution"]) for name in ("proofs", "rules"))
        assert added == pytest.approx(float(row["score"]), abs=1e-5)


def test_the_prover_of_a_run_in_python(run):
    prover = ppo_jax.load_prover(run)
    assert prover.sharpness == read_summary(run)["test"]["answers"]["sharpness"]
    answers = prover.ask("in(X, s)")["answers"]
    assert sum(answer["probability"] for answer in answers) <= 1.0 + 1e-5
    assert prover.ask("in(X, s)", top=1)["answers"] == answers[:1]
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    for answer in answers:
        assert answer["parts"].keys() == {"rules"}
        assert sum(answer["contributions"].values()) == pytest.approx(answer["score"], abs=1e-5)
    alone = prover.ask("in(X, s)", proofs_alone=True)["answers"]
    assert [a["probability"] for a in alone] == sorted((a["probability"] for a in alone), reverse=True)
    assert "score" not in alone[0]
    assert not str(prover.ask("in(z, X)")["unexplored"]).startswith("-")  # 1 less a sum of probabilities may be -6e-8


def test_a_ground_query_is_given_its_rank_among_all_answers(run, monkeypatch):
    prover = ppo_jax.load_prover(run)
    monkeypatch.setattr(prover.experiment.task, "prior", Mock(scores=lambda queries: -np.arange(20.0)[None, :size]))
    size = prover.experiment.task.env.sizes.n_constants + 1
    combined = prover.combined | {"weights": {"proofs": 0.0, "rules": 1.0, "prior": 1.0}}
    prover = replace(prover, combined=combined)
    answers = prover.ask("in(z, X)", top=size)["answers"]
    assert [answer["rank"] for answer in answers] == [*range(1, size)]
    assert prover.ask("in(z, X)", top=size)["answers"][:3] == prover.ask("in(z, X)", top=3)["answers"]
    (third,) = prover.ask(f"in(z, {answers[2]['answer']})")["answers"]
    assert third == answers[2]
    assert "z" in {answer["answer"] for answer in answers}  # as in an evaluation, though no proof gives it
    assert prover.ask("in(z, n)", proofs_alone=True)["answers"][0]["rank"] is None
    assert next(csv.DictReader(io.StringIO(succeed("ask", run, "in(z, n)", "--csv"))))["rank"] == ""
    assert re.search(r"^ *– +n ", succeed("ask", run, "in(z, n)"), flags=re.MULTILINE)


def test_the_python_of_the_page_on_graphs(run, monkeypatch):
    text = (Path(__file__).resolve().parents[2] / "docs" / "how_to" / "graphs.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    prover, names = ppo_jax.load_prover(run), {}
    monkeypatch.setattr(ppo_jax, "load_prover", lambda folder: prover)
    exec(block.replace("aunt(X, zoe)", "in(X, s)").replace("aunt(ann, zoe)", "in(z, s)"), names)
    assert names["answer"].keys() >= {"answer", "probability", "known", "steps"}
    assert names["proof"]["proved"]


def test_prove_finds_the_proof_of_a_ground_query(run):
    proof = json.loads(call("prove", run, "in(z,s)", "--json").out)
    assert proof["proved"]
    assert [step["action"] for step in proof["steps"]][1:] == ["fact near(z,y)", "fact in(y,s)"]
    (answer,) = [a for a in json.loads(succeed("ask", run, "in(z,X)", "--json"))[0]["answers"] if a["answer"] == "s"]
    assert proof["probability"] == pytest.approx(answer["probability"])
    alone = math.prod(step["probability"] for step in proof["steps"])
    assert alone <= proof["probability"] + 1e-6
    text = " ".join(succeed("prove", run, "in(z,s)").split())
    assert f"this derivation has probability {alone:.3g} all its derivations in the beam" in text
    assert "as `ask` says of in(z,X): " in text
    assert "has a variable; `ppo-jax ask` gives its answers" in fail("prove", run, "in(z,X)")
    code, out, _ = call("prove", run, "in(z,n)")
    assert code == 1
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines == ["in(z,n)", "asked as in(z,X)", "not proved: no proof within max_depth = 4, max_atoms = 3"]
    assert proof["asked_as"] == "in(z,X)" and "asked as in(z,X)" in text


def test_play_shows_proofs(run):
    played = json.loads(succeed("play", run, "--episodes", "2", "--json"))
    assert {proof["query"] for proof in played["proofs"]} == {"in(c,n)", "in(z,s)"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("in(X, Y)", "has two variables; write a constant for one of them"),
        ("in(zz, X)", "names the unknown constant 'zz'"),
        ("near_to(z, X)", "names the unknown predicate 'near_to'; the nearest known is 'near'"),
        ("in z X", "'in z X' is no atom; write one such as 'in(z, X)'"),
        ("near", "'near' is no atom; write one such as 'near(a,X)'"),
        (".", ". is a folder, no query; one run is asked at a time"),
        ("in(z, X", "'in(z, X' has no closing bracket"),
        ("in(z, who)", "names the unknown constant 'who'; a variable begins with a capital"),
    ],
)
def test_a_question_that_cannot_be_asked(run, query, message):
    assert message in fail("ask", run, query)


def test_a_run_whose_data_grew_or_whose_prior_is_gone_says_that_first(run, workplace, tmp_path):
    data, copied = shutil.copytree(workplace / "data", tmp_path / "data"), shutil.copytree(run, tmp_path / "run")
    prior, names = tmp_path / "prior.npz", datasets.load(data)
    vectors = np.zeros((len(names.kb.constants) + 1, 4)), np.zeros((2, len(names.kb.predicates) + 1, 4))
    save_prior(prior, ComplEx(*vectors), names)
    config = (copied / "config.toml").read_text().replace(str(workplace / "data"), str(data))
    (copied / "config.toml").write_text(config.replace("[task]", f"[task]\nprior = '{prior}'"))
    facts = (data / "train.txt").read_text()
    (data / "train.txt").write_text(f"{facts}\nnear(p77,a).\n")
    assert f"its data set {data} is another than the run began with: sha256 " in fail("ask", copied, "in(z, X)")
    (data / "train.txt").write_text(facts)
    prior.unlink()
    gone = f"its prior {prior} is gone; restore the file, another one is refused"
    assert gone in fail("ask", copied, "in(z, X)")


def test_who_cannot_be_asked(places, cartpole, run, tmp_path):
    assert "learned to verify ground queries" in fail("ask", places, "in(z, X)")
    assert "no proof task" in fail("ask", cartpole, "in(z, X)")
    assert "ask: no query" in fail("ask", run)
    assert "nothing.txt: No such file" in fail("ask", run, "--file", tmp_path / "nothing.txt")
    assert "--top = 0" in fail("ask", run, "in(z, X)", "--top", "0")


def test_scores_for_a_paper(run, cartpole, tmp_path):
    rows = list(csv.DictReader(io.StringIO(succeed("scores", run))))
    assert [row["answer"] for row in rows] == ["n", "c", "s", "z"]
    assert not {"answers", "candidates", "rank_without", "baseline_ranks"} & rows[0].keys()
    names = {"uniform_policy_rank", "untrained_rank", "shortest_proof_rank", "rules_rank", "rank_without_proofs"}
    assert names <= rows[0].keys()
    assert "None" not in succeed("scores", "--help")
    latex = succeed("scores", run, "--format", "latex")
    assert latex.count(r"\\") == 1 + 7
    assert r"untrained ($\times$4)" in latex
    assert "}\n\\label{tab:data}\n" in latex
    for said in (
        r"\caption{data (17 facts, 2 relations, 10 constants), all 2 test triples (0 with their like in train), ",
        "in train), head and tail open, ranked among all constants",
        "other answers that train, valid or test know: ",
        ", ties: expected over their order; at most 4 proof steps, 3 atoms of a resolvent, ",
        " successors (no state of the graph can have more). PPO of",
        rf"PPO of ppo\_jax {version('ppo-jax')}, 96 environment steps, seed 0; the best parameters are the last, which "
        "alone were judged on valid (all 2 triples). Beam of 4",
        r"1 rule, of rules.txt, put together by ",
        "Shortest proof: breadth first, at most 1,000 resolvents a query.",
        r"No prior. Combined: ",
        r"95\% interval of a percentile bootstrap over triples, 10,000 resamples.}",
    ):
        assert said in latex
    told = succeed("scores", run, "--out", tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text() == succeed("scores", run)
    assert "scores.csv: 4 lines; " in told
    assert "x.json: its ending tells no format; choose" in fail("scores", run, "--out", tmp_path / "x.json")
    assert f"{tmp_path / 'scores.protocol.json'} says how they were measured" in told
    measured = json.loads((tmp_path / "scores.protocol.json").read_text())
    assert (measured["test_triples"], measured["beam_width"], measured["rules"], measured["prior"]) == (2, 4, 1, None)
    sizes = {name: measured[name] for name in ("max_depth", "max_rules", "max_atoms")}
    assert sizes == {"max_depth": 4, "max_rules": 64, "max_atoms": 3} and measured["max_successors"] > 1
    assert (measured["runs"][0]["ppo_jax"], measured["runs"][0]["evaluations"]) == (version("ppo-jax"), 1)
    assert (measured["facts"], measured["relations"], measured["constants"]) == (17, 2, 10)
    assert (measured["test_triples_like_train"], measured["test_triples_reversed_in_train"]) == (0, 0)
    assert measured["rules_mined_by"] is None
    assert (measured["shortest_proof_resolvents"], measured["ties"]) == (1_000, "expected over their order")
    assert (measured["valid_triples"], measured["valid_of"]) == (2, 2)
    assert measured["runs"][0]["untrained_networks"] == {"answers": 4}
    assert measured["runs"][0]["weights"] == {"combined": read_summary(run)["test"]["combined"]["weights"]}
    assert "scores.csv: exists; choose another file with --out" in fail("scores", run, "--out", tmp_path / "scores.csv")
    crossed = fail("scores", run, "--format", "latex", "--out", tmp_path / "tt.csv")
    assert "tt.csv: ends as a file of csv does, and --format is latex" in crossed
    assert "is a file of a run" in fail("scores", run, "--out", run / "queries.jsonl")
    assert "which runs over a knowledge graph write at their end" in fail("scores", cartpole)
    assert "parquet needs a file" in fail("scores", run, "--format", "parquet")


@pytest.fixture
def seeds(run, tmp_path) -> list[Path]:
    """Two runs that differ in their seed, and in the MRR of the policy by 0.2."""
    for seed in (0, 1):
        folder = tmp_path / f"s{seed}"
        folder.mkdir()
        summary = read_summary(run)
        summary["seed"], summary["test"]["answers"]["mrr"] = seed, 0.5 + 0.2 * seed
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "queries.jsonl").write_text((run / "queries.jsonl").read_text())
        config = (run / "config.toml").read_text()
        (folder / "config.toml").write_text(config.replace("\nseed = 0\n", f"\nseed = {seed}\n"))
    return [tmp_path / "s0", tmp_path / "s1"]


def test_scores_of_several_seeds_are_mean_and_deviation(run, seeds, tmp_path):
    for folder in seeds:
        summary = read_summary(folder)
        summary["baselines"]["shortest_proof"]["answers"]["n_queries"] = 1
        (folder / "summary.json").write_text(json.dumps(summary))
    lines = succeed("scores", *seeds).splitlines()
    (row,) = [i for i, line in enumerate(lines) if line.startswith("trained (best)")]
    assert lines[row].split()[2] == "0.600" and lines[row + 1].split()[0] == "±0.141"
    (rules,) = [i for i, line in enumerate(lines) if line.startswith("rules")]
    assert f"{read_summary(run)['baselines']['rules']['answers']['mrr']:.3f}" in lines[rules]
    assert "±" not in lines[rules] + lines[rules + 1]  # they do not depend on the seed
    text = " ".join(" ".join(lines).split())
    assert "seeds 0, 1;" in text and "Shortest proof: on 1 of the triples." in text
    low, high = read_summary(run)["test"]["answers"]["mrr_interval"]
    interval = f"the 95% bootstrap interval of the first row's MRR is {low:.2f}–{high:.2f} with seed 0."
    assert text.endswith(f"over 2 seeds (n − 1), not over triples: over these {interval}")
    (combined,) = [i for i, line in enumerate(lines) if line.startswith("combined")]
    assert lines[combined + 1].split()[0] == "±0.000"  # it was trained, though these two are alike
    assert max(map(len, lines)) <= 80
    latex = succeed("scores", *seeds, "--format", "latex")
    assert r"trained (best) & 0.600 $\pm$ 0.141 &" in latex and "resamples" not in latex
    succeed("scores", *seeds, "--out", tmp_path / "table.tex")
    assert (tmp_path / "table.tex").read_text() == latex and latex.isascii()
    rows = list(csv.DictReader(io.StringIO(succeed("scores", *seeds, "--format", "csv"))))
    assert [(row["run"], row["seed"]) for row in rows] == [("s0", "0")] * 4 + [("s1", "1")] * 4


def test_a_caption_of_proofs_says_how_far_the_search_went(places):
    log = read_run(places)
    assert protocol.shared(log)["shortest_proof_resolvents"] == 500
    assert protocol.own(log)["untrained_networks"] == {"greedy": 4, "marginal": 4}
    told = protocol.caption([log])
    assert "corruptions, ties: expected over their order; at most 3 proof steps" in told
    assert "Shortest proof: breadth first, at most 500 resolvents a query." in told


def test_a_caption_names_priors_of_their_own_rules_left_out_and_what_was_chosen(seeds):
    for number, folder in enumerate(seeds):
        summary = read_summary(folder)
        summary["data"] |= {"rules": 2325, "prior": {"model": "complex", "dim": 100}}
        summary["data"]["mined_by"] = {"max_length": 2, "min_confidence": 0.01, "constants": False}
        summary["test"]["answers"]["sharpness"] = 0.5
        (folder / "summary.json").write_text(json.dumps(summary))
        config = (folder / "config.toml").read_text().replace("[task]", f"[task]\nprior = '{number}.npz'")
        (folder / "config.toml").write_text(config)
    logs = [read_run(folder) for folder in seeds]
    told = protocol.caption(logs)
    assert "Prior: ComplEx of dimension 100, one of its own each." in told
    mined = "(mined: at most 2 atoms, none with constants, confidence from 0.01)"
    assert (
        f"2,325 rules, of rules.txt {mined}, put together by" in told
        and "proofs take the surest 64 of a predicate." in told
    )
    logs[0].summary["data"]["rules_in_proofs"] = 2325  # none is left out, however many there are in all
    assert "surest" not in protocol.caption(logs)
    for number, log in enumerate(logs):
        log.summary["data"]["prior"] |= {"seed": number, "sha256": f"{number}" * 64}
    assert "Prior: ComplEx of dimension 100, one of its own each, seeds 0, 1." in protocol.caption(logs)
    assert [protocol.own(log)["prior_seed"] for log in logs] == [0, 1]
    for log in logs:  # files of two names, with the same embeddings
        log.summary["data"]["prior"] |= {"seed": 0, "sha256": "a" * 64}
    assert "Prior: ComplEx of dimension 100, seed 0." in protocol.caption(logs)
    assert "Prior: ComplEx of dimension 100, seed 0." in protocol.caption(logs[:1])
    assert (
        "the parameters best on valid (all 2 triples), of update 3 of 3. " in told
        and "logits × 0.5 (chosen on valid)." in told
    )
    alone = [replace(log, settings=log.settings | {"sharpness": [0.5]}) for log in logs]
    assert "logits × 0.5." in protocol.caption(alone)
    older = read_summary(seeds[1])
    del older["data"]["max_atoms"]  # which older runs do not tell
    (seeds[1] / "summary.json").write_text(json.dumps(older))
    assert len(read_seeds(seeds)) == 2


def test_a_label_is_ascii_whatever_the_data_are_called(seeds):
    for name, label in (("Café_v2 (2024)", "tab:cafe-v2-2024"), ("家族", "tab:results")):
        summary = read_summary(seeds[0])
        summary["data"]["name"] = name
        (seeds[0] / "summary.json").write_text(json.dumps(summary))
        assert f"\\label{{{label}}}" in succeed("scores", seeds[0], "--format", "latex")


def test_scores_of_runs_that_do_not_belong_together(run, seeds, places, tmp_path):
    assert "seed 0 is there twice" in fail("scores", seeds[0], seeds[0])
    config = seeds[1] / "config.toml"
    config.write_text(config.read_text().replace("beam_width = 4", "beam_width = 8"))
    assert "s1: differs from" in (message := fail("scores", *seeds)) and "in beam_width;" in message
    assert "differ in their seed alone" in fail("scores", seeds[0], places, "--format", "latex")
    (seeds[1] / "summary.json").write_text('{"status": "running"}')
    assert "s1: has no results on test yet" in fail("scores", *seeds)
    assert "a table is printed" in fail("scores", seeds[0], "--format", "table", "--out", tmp_path / "x.txt")
    assert "give one run folder or more" in fail("scores")


def test_scores_as_parquet_are_those_of_the_csv(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "scores.parquet"
    assert f"wrote {file}: 4 lines" in succeed("scores", run, "--format", "parquet", "--out", file)
    rows = parquet.read_table(file).to_pylist()
    assert [{name: str(value) for name, value in row.items()} for row in rows] == list(
        csv.DictReader(io.StringIO(succeed("scores", run)))
    )
    assert isinstance(rows[0]["rank"], float) and isinstance(rows[0]["better"], int)
    missing = tmp_path / "no" / "scores.parquet"
    assert f"{missing}: cannot be written" in fail("scores", run, "--format", "parquet", "--out", missing)


def test_parquet_without_its_library_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = fail("scores", run, "--format", "parquet", "--out", tmp_path / "scores.parquet")
    assert "parquet needs the library pyarrow: pip install 'ppo-jax[parquet]'" in message


def test_a_run_of_before_answers_goes_on_verifying(places):
    text = (places / "config.toml").read_text()
    assert 'mode = "verify"' in text
    older = places.parent / "older"
    older.mkdir()
    (older / "config.toml").write_text(text.replace('mode = "verify"\n', ""))
    from ppo_jax.runs import run_folder

    assert run_folder.read_config(older).task.mode == "verify"


def test_a_run_without_rules_mines_some_into_its_folder(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr(task, "MINED_PER_HEAD", 2)  # a search is as wide as a head has rules
    data = write_data(tmp_path / "bare")
    (data / "rules.txt").unlink()
    settings = ("mode=answer", "max_depth=3", "max_atoms=3")
    settings += (f"dataset={data}", "total_timesteps=32", "untrained_networks=0", "beam_width=2", "sharpness=[1.0]")
    result = call("train", workplace / "places.toml", "--run-dir", tmp_path / "run", "--set", *settings)
    assert result.code == 0, result
    assert "no rules; mined" in result.err
    rules = (tmp_path / "run" / "rules.txt").read_text()
    assert any("near(X,Z), in(Z,Y)" in line and line.endswith("-> in(X,Y)") for line in rules.splitlines())
    assert load_config(tmp_path / "run" / "config.toml").task.rules == str(tmp_path / "run" / "rules.txt")
    (one,) = json.loads(succeed("ask", tmp_path / "run", "in(z, X)", "--json"))
    assert "s" in [answer["answer"] for answer in one["answers"]]


def test_mining_before_a_run_goes_on_where_it_was_interrupted(workplace, tmp_path, monkeypatch):
    data = write_data(tmp_path / "bare")
    (data / "rules.txt").unlink()
    command = ("train", workplace / "places.toml", "--quiet", "--set", "mode=answer", "max_depth=3", "max_atoms=6")
    command += (f"dataset={data}", "total_timesteps=32", "untrained_networks=0", "beam_width=4", "--run-dir")
    count = mining._count_bodies

    def interrupt(*arguments):
        monkeypatch.setattr(mining, "_count_bodies", count)
        raise KeyboardInterrupt

    monkeypatch.setattr(mining, "_count_bodies", interrupt)
    run = tmp_path / "run"
    result = call(*command, run)
    assert result.code == 130
    assert result.err.endswith(f"interrupted; the same command goes on, with --run-dir {run}\n")
    assert [file.name for file in run.iterdir()] == ["rules-1.txt.unfinished"]
    monkeypatch.setattr(loop, "fit", Mock(side_effect=KeyboardInterrupt))  # the mining is done by then
    result = call(*command, run)
    assert result.code == 130, result
    assert "going on from" in result.err
    assert not list(run.glob("*.unfinished*"))
    mined = mining.mine(datasets.load(data, require_rules=False).kb, mining.Limits(max_rules_per_head=150))
    assert (run / "rules.txt").read_text().count("\n") == 1 + len(mined.rules)


def test_a_run_that_cannot_begin_leaves_nothing(workplace, tmp_path):
    data = write_data(tmp_path / "bare", train="in(a,n).\nnear(b,c).\n", valid="in(c,n).", test="in(e,n).")
    (data / "rules.txt").unlink()
    run = tmp_path / "run"
    message = fail("train", workplace / "places.toml", "--run-dir", run, "--set", "mode=answer", f"dataset={data}")
    assert "none could be mined" in message
    settings = ("mode=answer", f"dataset={data}", f"prior={data / 'rules.npz'}")  # said before anything is mined
    assert "rules.npz: there is no such" in fail(
        "train", workplace / "places.toml", "--run-dir", run, "--set", *settings
    )
    (data / "test.txt").unlink()
    assert "has no test queries" in fail("train", workplace / "places.toml", "--run-dir", run, "--set", *settings[:2])
    assert not run.exists()
