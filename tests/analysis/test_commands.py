"""The analyst's commands: exit codes, JSON, what they write, and one line for each mistake."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ppo_jax.config import Config, PPOConfig, RunConfig, TaskConfig, from_dict
from ppo_jax.runs import runner
from tests.cli.console import call, fail

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
N = 30


def write_run(folder: Path, config: Config, explained: float = 0.9, mrr: float = 0.9) -> Path:
    """A proof run of a few updates, as training leaves it."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config.to_toml())
    entropy = np.linspace(0.9, 0.4, N)
    rows = [
        {
            "update": i + 1,
            "env_steps": 1000 * (i + 1),
            "policy_loss": -0.01,
            "value_loss": 0.01,
            "entropy": entropy[i],
            "entropy_normalized": entropy[i],
            "approx_kl": 0.005,
            "clip_fraction": 0.05,
            "explained_variance": explained,
            "returns_std": 0.3,
            "early_stopped": 0.0,
            "epochs_completed": 4.0,
            "episode_return_mean": i / N,
            "episode_length_mean": 3.0,
            "proved_positive": i / N,
            "proved_negative": 0.0,
        }
        for i in range(N)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = {"greedy": {"mrr": mrr}, "marginal": {"mrr": 0.9, "auc_pr": 0.9}}
    untrained = {"greedy": {"mrr": 0.5}, "marginal": {"mrr": 0.8, "auc_pr": 0.8}}
    summary = {"status": "completed", "test": result, "baselines": {"untrained": untrained}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "eval.jsonl").write_text(json.dumps({"update": N, "env_steps": 1000 * N, **result}) + "\n")
    return folder


def config(seed: int = 0, **settings) -> Config:
    return Config(TaskConfig("Proof-countries_s3"), PPOConfig(**settings), run=RunConfig(seed=seed))


@pytest.fixture
def healthy(tmp_path) -> Path:
    return write_run(tmp_path / "healthy", config())


@pytest.fixture
def broken(tmp_path) -> Path:
    return write_run(tmp_path / "broken", config(n_epochs=20), explained=-5.0, mrr=0.8)


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_diagnose_names_the_fault_and_its_exit_code_says_whether_to_trust_the_run(healthy, broken):
    assert call("diagnose", healthy)[0] == 0
    code, out, _ = call("diagnose", broken)
    assert code == 1
    assert out.index("too-many-epochs") < out.index("critic-worse-than-mean")
    assert "n_epochs=5" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = call("diagnose", broken, "--json")
    diagnosis = json.loads(out)
    assert code == 1
    assert diagnosis["findings"][1]["because_of"] == ["too-many-epochs"]


def test_diagnose_writes_the_changed_configuration_and_loses_none(broken, tmp_path):
    better = tmp_path / "better.toml"
    _, _, err = call("diagnose", broken, "--fix", better)
    assert f"ppo-jax train {better}" in err
    assert from_dict(tomllib.loads(better.read_text())).ppo.n_epochs == 5
    text = better.read_text()
    assert "exists" in fail("diagnose", broken, "--fix", better)
    assert better.read_text() == text


def test_diagnose_reads_the_log_of_stable_baselines3():
    code, out, _ = call("diagnose", "--sb3", GOLDEN / "sb3_tight_kl.csv", "--set", "n_steps=128", "n_envs=8")
    assert code == 1
    assert "kl-early-stops" in out
    assert "not known: batch_size" in " ".join(out.split())
    assert call("diagnose", "--sb3", GOLDEN / "sb3_healthy.csv")[0] == 0


def test_diagnose_compares_with_other_seeds(healthy, tmp_path):
    others = [write_run(tmp_path / f"s{i}", config(i), mrr=0.5 + 0.01 * i) for i in range(1, 4)]
    _, out, err = call("diagnose", healthy, "--others", *others)
    assert "seed-outlier" in out and "--others" not in err
    other = write_run(tmp_path / "b", config(4, gamma=0.5))
    _, _, err = call("diagnose", healthy, "--others", *others, other)
    assert f"warning: diagnose: --others: b and {healthy.name} differ in gamma; give seeds of" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["diagnose"], "give one of RUN"),
        (["diagnose", "RUN", "--sb3", "x.csv"], "give one of RUN"),
        (["diagnose", "RUN", "--set", "gamma=0.9"], "config.toml says it"),
        (["diagnose", "nothing"], "no run there"),
        (["diagnose", "--sb3", "nothing.csv"], "nothing.csv"),
        (["diagnose", "--sb3", str(GOLDEN / "sb3_healthy.csv"), "--set", "n_step=3"], "did you mean n_steps"),
        (["diagnose", "--sb3", str(GOLDEN / "sb3_healthy.csv"), "--set", "gamma=high"], "gamma"),
        (["diagnose", "--sb3", str(GOLDEN / "sb3_healthy.csv"), "--fix", "new.toml"], "--fix needs"),
        (["diagnose", "--tensorboard", "nothing"], "no TensorBoard event file"),
        (["compare", "nothing"], "no run there"),
        (["report", "nothing"], "no run there"),
        (["report", "RUN", "--limit", "mr=3"], "did you mean mrr"),
        (["validate", "nothing.toml"], "nothing.toml"),
        (["validate", "--seeds", "0"], "at least 1"),
        (["validate", "family"], "the plan's limits come from Countries S3"),
        (["validate", "--limit", "mrr=high"], "mrr"),
    ],
)
def test_a_mistake_is_one_line(healthy, monkeypatch, tmp_path, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    assert complaint in fail(*(healthy if one == "RUN" else one for one in arguments))
    assert not (tmp_path / "new.toml").exists()


def test_what_could_not_be_read_is_said(healthy):
    (healthy / "summary.json").unlink()
    _, _, err = call("diagnose", healthy)
    assert "note: healthy: summary.json: missing" in err


def test_a_run_without_its_configuration_is_told_its_settings(healthy):
    (healthy / "config.toml").unlink()
    assert "not known: batch_size" in " ".join(call("diagnose", healthy)[1].split())
    code, out, _ = call("diagnose", healthy, "--set", "n_envs=8", "n_steps=32", "batch_size=512")
    assert code == 0
    assert "batch-exceeds-rollout" in out and "not known: batch_size" not in " ".join(out.split())


def test_compare_shows_the_configuration_of_one_run_beside_the_references(healthy):
    out = call("compare", healthy)[1]
    line = next(line for line in out.splitlines() if line.startswith("n_steps"))
    assert line.split() == ["n_steps", "128", "2,048", "16"]


def test_a_run_without_any_update_is_not_called_sound(healthy):
    (healthy / "metrics.jsonl").write_text("")
    (healthy / "summary.json").unlink()
    code, out, err = call("diagnose", healthy)
    assert code == 0
    assert "nothing could be judged" in out and "nothing found" not in out
    assert "holds no complete line" in err and "summary.json: missing" in err
    code, out, _ = call("compare", healthy)
    assert code == 0
    assert "no metric on record" in out
    assert next(line for line in out.splitlines() if line.startswith("n_steps")).split()[-1] == "16"
    assert call("report", healthy)[0] == 0


def test_compare_puts_seeds_together_and_shows_where_configurations_differ(healthy, broken, tmp_path):
    again = write_run(tmp_path / "again", config(1))
    code, out, _ = call("compare", broken, healthy, again)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    lines = out.splitlines()
    assert any(line.startswith("n_epochs") and line.split()[1:3] == ["20", "4"] for line in lines)
    assert "2 seeds" in out
    assert "worse than the mean" in out
    comparison = json.loads(call("compare", broken, healthy, again, "--json")[1])
    assert [one["runs"] for one in comparison["groups"]] == [["broken"], ["healthy", "again"]]
    assert next(row for row in comparison["configuration"] if row["key"] == "n_epochs")["values"] == ["20", "4"]
    assert next(row for row in comparison["scores"] if row["name"] == "test MRR (greedy)")["iqm"][0]["value"] == 0.8


def test_compare_warns_of_runs_judged_on_different_queries(healthy, broken):
    assert "warning" not in call("compare", broken, healthy)[2]
    for folder, queries in ((broken, "ab"), (healthy, "a")):
        (folder / "queries.jsonl").write_text("".join(json.dumps({"query": f"p({q})"}) + "\n" for q in queries))
    code, out, err = call("compare", broken, healthy)
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("warning")] == [
        "warning: compare: judged on different queries, so their scores on test do not compare: "
        "broken on 2, healthy on 1, 1 of them the same"
    ]
    assert "different queries" not in out
    assert (
        "judged on different queries" in json.loads(call("compare", broken, healthy, "--json")[1])["different_queries"]
    )


def test_compare_says_how_sure_the_seeds_are(healthy, tmp_path):
    better = [write_run(tmp_path / f"b{i}", config(i, n_epochs=5), mrr=0.95 + 0.01 * i) for i in range(3)]
    others = [write_run(tmp_path / f"a{i}", config(i), mrr=0.9 + 0.01 * i) for i in range(1, 3)]
    out = call("compare", healthy, *others, *better)[1]
    assert "exploratory: better" in out and "(Holm)" in out
    assert max(map(len, out.splitlines())) <= 80
    single = " ".join(call("compare", healthy, better[0])[1].split())
    assert "Too few seeds to conclude" in single and "seeds each would suffice" in single


def test_report_is_written_where_asked(healthy, broken, tmp_path):
    code, _, err = call("report", broken, healthy, "--out", tmp_path / "out")
    assert code == 0
    assert "report.html" in err
    page = (tmp_path / "out" / "report.html").read_text()
    assert "too-many-epochs" in page
    assert "too-many-epochs" in (tmp_path / "out" / "report.md").read_text()
    files = json.loads(call("report", healthy, "--json")[1])["files"]
    assert str(healthy / "report.html") in files


def test_validate_trains_what_is_missing_and_says_pass_or_fail(tmp_path, monkeypatch):
    trained = []

    def train(config, folder, **_):
        trained.append(config.run.seed)
        write_run(folder, config, mrr=0.9 if config.ppo.n_epochs == 4 else 0.8)

    monkeypatch.setattr(runner, "train", train)
    (tmp_path / "a.toml").write_text(config().to_toml())
    arguments = ["validate", tmp_path / "a.toml", "--seeds", "2", "--run-dir", tmp_path / "runs"]
    code, out, _ = call(*arguments)
    assert (code, trained) == (0, [0, 1])
    assert "FAIL" not in out
    assert call(*arguments, "--limit", "mrr=0.95")[0] == 1
    assert trained == [0, 1]  # completed runs are not repeated
    validation = json.loads(call(*arguments, "--json")[1])
    assert validation["passed"] is True
    assert {"name", "limit", "values", "verdict"} <= set(validation["checks"][0])
    assert "another configuration" in fail(*arguments, "--set", "n_epochs=5")
    code, out, _ = call("validate", tmp_path / "a.toml", "--run-dir", tmp_path / "other", "--set", "n_epochs=5")
    assert code == 1
    assert "FAIL" in out
