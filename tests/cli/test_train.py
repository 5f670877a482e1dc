"""Training: results beside their baselines; mistakes in settings and data, which write nothing; runs that exist."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from ppo_jax.cli.tables.train import show_run
from ppo_jax.config import load_config
from ppo_jax.proving.results import ProofResults
from ppo_jax.runs import contents, loggers, loop, metric_table, runner
from tests.cli.console import call, fail, fields_of, read_summary, succeed, write_data

SUMMARY = {
    *("status", "env_id", "seed", "env_steps", "updates", "compile_seconds", "train_seconds", "steps_per_second"),
    *("valid_seconds", "test_seconds"),
    *("final", "data", "best_update", "valid", "test", "test_last", "baselines"),
}
RANKING = {
    "mrr",
    "hits@1",
    "hits@3",
    "hits@10",
    "proved_positive",
    "proved_negative",
    "n_queries",
    "of_queries",
    "protocol",
}


def test_results_stand_beside_their_baselines_in_eighty_columns(places, trained_places):
    code, out, err = trained_places[1]
    assert code == 0
    assert [line.split(",")[0] for line in err.splitlines()] == [
        "warning: training facts that are also valid queries: 1",
        "warning: valid queries that are also test queries: 1",
    ]
    assert max(map(len, out.splitlines())) <= 80
    summary = read_summary(places)
    head = " ".join(out.split("\n\n")[0].split())
    assert f", proof_actions, seed {summary['seed']}, " in head and head.endswith("steps Judged on test queries:")
    words = {line[:15].strip(): line[15:].split() for line in out.splitlines()}
    greedy, marginal = summary["test"]["greedy"], summary["test"]["marginal"]
    assert words["trained (best)"][0] == f"{greedy['mrr']:.3f}"
    assert words["trained (best)"][2:] == [
        f"{x:.3f}"
        for x in (
            *(greedy[key] for key in ("hits@1", "hits@3", "proved_positive", "proved_negative")),
            *(marginal[key] for key in ("mrr", "auc_pr")),
        )
    ]
    assert words["trained (last)"][-1] == f"{summary['test_last']['marginal']['auc_pr']:.3f}"
    assert words["untrained (×4)"][0] == f"{summary['baselines']['untrained']['greedy']['mrr']:.3f}"
    assert words["uniform policy"][:5] == ["–"] * 5
    assert words["shortest proof"][-2:] == ["–"] * 2
    text = " ".join(out.split())
    for line in (greedy["protocol"], marginal["protocol"], f"run {places}", "environment steps/s", "compiling"):
        assert line in text
    data = summary["data"]
    positives = data["train_positives_searched"]
    assert (
        f"What the data allows within 3 steps: of {positives} training positives {data['train_positives_provable']} "
        f"can be proved, {positives - data['train_positives_provable']} cannot; of {data['train_negatives_searched']} "
        f"training negatives {data['train_negatives_provable']} can be proved, "
    ) in text
    assert re.search(r"judging on valid \d+\.\d s and on test, with baselines, \d+\.\d s", text)
    assert "without learning" in text or "Better than every baseline." in text


def test_a_result_that_does_not_beat_a_baseline_says_so(places):
    def verdict(**own):
        summary = read_summary(places)
        for protocol, keys in (("greedy", ("mrr",)), ("marginal", ("mrr", "auc_pr"))):
            for key in keys:
                summary["test"][protocol][key] = own[f"{protocol}_{key}"]
                for baseline in summary["baselines"].values():
                    if protocol in baseline:
                        baseline[protocol][key] = 0.5
        out = io.StringIO()
        with redirect_stdout(out):
            show_run(summary, places)
        return " ".join(out.getvalue().split())

    assert "Better than every baseline." in verdict(greedy_mrr=0.6, marginal_mrr=0.6, marginal_auc_pr=0.6)
    assert (
        "Better than every baseline by marginal MRR; not better than without learning: "
        "greedy MRR 0.500 (untrained 0.500, shortest proof 0.500); "
        "AUC-PR 0.400 (untrained 0.500, uniform policy 0.500)."
    ) in verdict(greedy_mrr=0.5, marginal_mrr=0.6, marginal_auc_pr=0.4)


def test_the_table_says_of_an_environment_that_it_does_not_restart(cartpole, tmp_path, capsys):
    shutil.copytree(cartpole, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    rows = [json.dumps({"update": i, "env_steps": 32 * i, "episode_length_mean": 1.0}) for i in range(1, 6)]
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    show_run(read_summary(cartpole), tmp_path / "run")
    told = " ".join(capsys.readouterr().out.split())
    assert "Episodes of training are 1 step long at the end, those of an evaluation" in told
    assert "Let step return the observation and the state of a fresh episode where terminated or truncated" in told
    show_run(read_summary(cartpole), cartpole)
    assert "Let step return" not in capsys.readouterr().out


def test_the_table_says_what_had_no_room_and_that_only_the_last_parameters_were_judged(places, tmp_path, capsys):
    shutil.copytree(places, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    row = {"overflow_fraction": 0.25, "too_long_fraction": 0.25}
    for lines, n in (("metrics.jsonl", 5), ("eval.jsonl", 1)):
        rows = [json.dumps({"update": i, "env_steps": 32 * i, **row}) for i in range(1, n + 1)]
        (tmp_path / "run" / lines).write_text("\n".join(rows) + "\n")
    show_run(read_summary(tmp_path / "run"), tmp_path / "run")
    out = " ".join(capsys.readouterr().out.split())
    assert "25.0% of the successors had no room: 25.0% by max_atoms = 3; proofs that pass through them" in out
    assert "best the last update, which alone was judged on valid queries: greedy MRR" in out
    show_run(read_summary(places), places)
    out = " ".join(capsys.readouterr().out.split())
    assert "no room" not in out and "best update" in out


def test_the_summary_of_a_proof_task(places):
    summary = read_summary(places)
    assert set(summary) == SUMMARY <= set(contents.SUMMARY)
    assert (summary["status"], summary["seed"], summary["env_steps"], summary["updates"]) == ("completed", 3, 96, 3)
    for name in ("valid", "test", "test_last"):
        assert set(summary[name]) == {"greedy", "marginal"}
        assert set(summary[name]["greedy"]) == RANKING | {"mrr_interval"}
        assert set(summary[name]["marginal"]) == RANKING | {"mrr_interval", "auc_pr", "unexplored_mass", "sharpness"}
    untrained, uniform, shortest = (summary["baselines"][name] for name in ("untrained", "uniform", "shortest_proof"))
    assert [len(untrained[name]["mrr_each"]) for name in ("greedy", "marginal")] == [4, 4]  # as asked
    assert (set(untrained), set(uniform), set(shortest)) == ({"greedy", "marginal"}, {"marginal"}, {"greedy"})
    assert summary["data"]["overlaps"] == {"train/valid": 1, "train/test": 0, "valid/test": 1}
    assert summary["data"]["queries"] == {"train": 5, "valid": 2, "test": 2}
    proof_metrics = {metric.name for metric in metric_table.METRICS if metric.meaning.startswith("proof tasks")}
    assert proof_metrics <= set(summary["final"])
    last = json.loads((places / "eval.jsonl").read_text().splitlines()[-1])
    assert {"value_error_valid", "value_error_train", "greedy", "marginal"} <= set(last)
    told = {path: {metric.name for metric in metrics} for path, metrics in ProofResults.metrics.items()}
    assert set(last) == {"update", "env_steps"} | (told.keys() | told[""]) - {""}
    assert {name: set(last[name]) for name in last.keys() & told.keys()} == {k: v for k, v in told.items() if k}


def test_each_test_query_is_kept_with_its_candidates_and_proofs(places):
    rows = [json.loads(line) for line in (places / "queries.jsonl").read_text().splitlines()]
    assert [row["query"] for row in rows] == ["in(c,n)", "in(z,s)"]
    told = ProofResults.files["queries.jsonl"]
    assert set().union(*(fields_of(row, told) for row in rows)) == set(told)
    for row in rows:
        assert 0.0 < row["reciprocal_rank"] <= 1.0
        assert [candidate["label"] for candidate in row["candidates"]].count(True) == 1
        for candidate in row["candidates"]:
            product = math.prod(step["probability"] for step in candidate["steps"])
            if candidate["proved"]:
                assert candidate["greedy_log_prob"] == pytest.approx(math.log(product), abs=1e-5)
                assert candidate["steps"][-1]["resolvent"] == []
            else:
                assert candidate["greedy_log_prob"] is None
            assert 0.0 <= candidate["marginal_probability"] <= 1.0 + 1e-6


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["n_env=3"], "unknown key 'n_env'; did you mean n_envs"),
        (["n_envs=many"], "ppo.n_envs: Expected `int`, got `str`"),
        (["gamma=2"], "ppo.gamma: Expected `float` <= 1.0"),
        (["batch_size=15"], "the nearest sizes that do: 4, 8, 16"),
        (["env_id=CartPol-v1"], "unknown env_id 'CartPol-v1'; nearest: CartPole-v1"),
        (["env_id=Proof-countries_s4"], "no data set 'countries_s4'"),
        (["env_id=MNISTBandit-bsuite"], "downloads its images"),
        (["env_id=no_such_module:make"], "cannot import no_such_module"),
        (["network=transformer"], "'transformer' does not fit this task; use mlp"),
        (["env_id=none", "dataset=nowhere"], "no data set 'nowhere': neither a folder nor a built-in name"),
    ],
)
def test_a_mistake_in_the_settings_writes_nothing(workplace, tmp_path, settings, complaint):
    assert complaint in fail("train", workplace / "cartpole.toml", "--run-dir", tmp_path / "run", "--set", *settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"train": "near(a,b).\nin(b,n\n"}, "train.txt:2: cannot read 'in(b,n'"),
        ({"rules": "\nr1:1:near(X,Y) -> in(X,Z)\n"}, "rules.txt:2: 'r1:1:near(X,Y) -> in(X,Z)': the head variable Z"),
        ({"rules": "in(X,Z) :- near(X,Y), \\+ in(Y,Z).\n"}, "negation is not supported"),
        ({"valid": "in(z,s,n).\n"}, "valid.txt:1: 'in(z,s,n).': in has 3 arguments"),
    ],
)
def test_a_mistake_in_the_data_writes_nothing(workplace, tmp_path, changes, complaint):
    data = write_data(tmp_path / "data", **changes)
    run = ("train", workplace / "places.toml", "--run-dir", tmp_path / "run", "--set", f"dataset={data}")
    assert complaint in fail(*run)
    assert not (tmp_path / "run").exists()
    assert complaint in fail("data", "check", data)


def test_a_split_without_queries_is_refused_before_training(workplace, tmp_path):
    data = write_data(tmp_path / "data", test="% none yet\n")
    run = ("train", workplace / "places.toml", "--run-dir", tmp_path / "run", "--set", f"dataset={data}")
    assert "no test queries; move some lines of train.txt, such as every tenth, to test.txt" in fail(*run)
    assert not (tmp_path / "run").exists()


def test_overlapping_splits_are_counted_and_training_goes_on_without_them(workplace, tmp_path, monkeypatch):
    data = write_data(tmp_path / "data", valid="in(a,n).\nin(b,n).\nin(c,n).\n", test="in(b,n).\nin(z,s).\n")
    seen = []
    monkeypatch.setattr(loop, "fit", lambda experiment, *_: seen.append(experiment) or interrupt())
    result = call("train", workplace / "places.toml", "--run-dir", tmp_path / "run", "--set", f"dataset={data}")
    assert result.code == 130
    warnings = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert [warning.split(",")[0] for warning in warnings] == [
        "warning: training facts that are also valid queries: 2",
        "warning: training facts that are also test queries: 1",
        "warning: valid queries that are also test queries: 1",
    ]
    kb, queries = seen[0].env.dataset.kb, seen[0].env.dataset.queries["train"]
    assert {kb.format_atom(query) for query in queries} == {"in(d,n)", "in(e,n)", "in(x,s)", "in(y,s)"}


def test_an_existing_run_is_refused_reused_or_replaced(workplace, cartpole, tmp_path):
    run = shutil.copytree(cartpole, tmp_path / "run")
    before = snapshot(run)
    command = ("train", workplace / "cartpole.toml", "--run-dir", run, "--quiet")
    assert "already holds a run" in fail(*command)

    shown = call(*command, "--reuse")
    assert shown.code == 0
    assert f"{read_summary(run)['test']['return_mean']:.2f}" in shown.out
    assert f"To train anew, remove {run} or pass --overwrite." in shown.err
    assert json.loads(succeed(*command, "--reuse", "--json")) == {"run": str(run), **read_summary(run)}
    other = fail(*command, "--reuse", "--set", "gamma=0.5", "n_envs=8")
    assert "holds a run of another configuration (ppo.gamma, ppo.n_envs)" in other
    assert snapshot(run) == before
    assert "--reuse needs --run-dir" in fail("train", workplace / "cartpole.toml", "--reuse")

    (run / "eval.jsonl").write_text("stale")
    assert call(*command, "--overwrite").code == 0
    assert (run / "eval.jsonl").read_bytes() == (cartpole / "eval.jsonl").read_bytes()


def test_ctrl_c_keeps_what_was_measured_and_reuse_goes_on(workplace, cartpole, tmp_path, monkeypatch):
    command = ("train", workplace / "cartpole.toml", "--run-dir", tmp_path / "run", "--quiet")
    write = loggers.JSONLines.write
    with monkeypatch.context() as patch:
        patch.setattr(
            loggers.JSONLines, "write", lambda self, row: interrupt() if row["update"] == 3 else write(self, row)
        )
        result = call(*command)
    assert (result.code, result.out) == (130, "")
    assert result.err == f"interrupted; go on with: ppo-jax resume {tmp_path / 'run'}\n"
    assert read_summary(tmp_path / "run")["status"] == "interrupted"
    measured = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert measured.count("\n") == 2
    assert (cartpole / "metrics.jsonl").read_text().startswith(measured)
    assert call(*command, "--reuse").code == 0
    assert read_summary(tmp_path / "run")["status"] == "completed"
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (cartpole / "metrics.jsonl").read_bytes()


def test_a_full_disk_is_one_line_and_the_old_summary_stays(workplace, tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if Path(target).name == "summary.json" and Path(target).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(loop, "fit", interrupt)
    complaint = fail("train", workplace / "cartpole.toml", "--run-dir", tmp_path / "run", "--quiet")
    assert "summary.json: cannot be written: No space left on device" in complaint
    assert read_summary(tmp_path / "run")["status"] == "running"


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        ("cartpole.toml", r"runs/cartpole-s5-\d{8}-\d{6}"),
        ("runs/cartpole-s0-20250102-030405/config.toml", r"runs/cartpole-s5-\d{8}-\d{6}"),
    ],
)
def test_where_a_run_goes_by_default(workplace, cartpole, tmp_path, monkeypatch, config, folder):
    (tmp_path / config).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(workplace / "cartpole.toml", tmp_path / config)
    monkeypatch.chdir(tmp_path)
    calls = []

    def record(config, run_dir, **options):
        calls.append((config, run_dir, options))
        shutil.copytree(cartpole, run_dir, dirs_exist_ok=True)
        return read_summary(run_dir)

    monkeypatch.setattr(runner, "train", record)
    succeed("train", config, "--seed", "5", "--set", "n_steps=16", "gamma=0.5", "--set", "batch_size=32")
    [(settings, run_dir, options)] = calls
    assert re.fullmatch(folder, str(run_dir))
    assert settings == load_config(config, ["seed=5", "n_steps=16", "gamma=0.5", "batch_size=32"])
    assert (options["overwrite"], options["progress"]) == (False, True)


def test_import_paths_begin_where_the_user_stands(workplace, tmp_path, monkeypatch):
    (tmp_path / "environment_of_mine.py").write_text(
        "from ppo_jax import PPOJaxError\n\ndef make():\n    raise PPOJaxError('made')\n"
    )
    monkeypatch.chdir(tmp_path)
    assert "error: made" in fail("train", workplace / "cartpole.toml", "--set", "env_id=environment_of_mine:make")
    assert not (tmp_path / "runs").exists()


def interrupt(*_arguments, **_options):
    raise KeyboardInterrupt


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ({"status": "completed"}, "lacks 'env_id'"),
        ({"env_steps": "many"}, "damaged, or not written by ppo_jax: "),
        ({"test": [3]}, "damaged, or not written by ppo_jax: "),
        ({"baselines": 3}, "damaged, or not written by ppo_jax: "),
    ],
)
def test_a_summary_of_another_build_is_one_line(cartpole, tmp_path, summary, said):
    (tmp_path / "config.toml").write_bytes((cartpole / "config.toml").read_bytes())
    whole = {} if "status" in summary else read_summary(cartpole)
    (tmp_path / "summary.json").write_text(json.dumps(whole | summary))
    code, _, err = call("resume", tmp_path)
    assert code == 2 and err.startswith(f"error: {tmp_path}/summary.json: damaged, or not written by ppo_jax: ")
    assert said in err and err.count("\n") == 1
