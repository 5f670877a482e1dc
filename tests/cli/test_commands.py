"""The command line: results as tables and as JSON, and one line, exit code 2 and no harm for each mistake."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from ppo_jax.cli import main, tables
from ppo_jax.config import load_config
from ppo_jax.runs import loggers, loop, metric_table, runner
from ppo_jax.types import PPOJaxError

SETTINGS = """
[ppo]
total_timesteps = 96
n_envs = 4
n_steps = 8
n_epochs = 2
batch_size = 16
[network]
hidden_sizes = [8]
embedding_size = 8
[evaluation]
eval_interval = 2
eval_episodes = 4
beam_width = 4
untrained_networks = 2
"""
# Two islands of places that lie near each other; one of the queries of train is also one of valid.
PLACES = {
    "train.txt": "\n".join(
        [f"near({a},{b}).\nnear({b},{a})." for a, b in ("ab", "bc", "cd", "de", "xy", "yz")]
        + [f"in({place},{island})." for place, island in ("an", "bn", "dn", "en", "xs", "ys")]
    ),
    "valid.txt": "in(c,n).\nin(e,n).\n",
    "test.txt": "in(c,n).\nin(z,s).\n",
    "rules.txt": "r1:1:near(X,Y), in(Y,Z) -> in(X,Z)\n",
    "domain2constants.txt": "places a b c d e x y z\nislands n s\n",
}
SUMMARY = {
    *("status", "env_id", "seed", "env_steps", "updates", "compile_seconds", "train_seconds", "steps_per_second"),
    *("final", "data", "best_update", "valid", "test", "test_last", "baselines"),
}
RANKING = {"mrr", "hits@1", "hits@3", "hits@10", "proved_positive", "proved_negative", "n_queries", "protocol"}


class Result(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def succeed(*arguments) -> str:
    result = call(*arguments)
    assert result.code == 0, result
    return result.out


def fail(*arguments) -> str:
    """The one line that a mistake gets."""
    result = call(*arguments)
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    return result.err


def write_data(folder: Path, **changes: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in (PLACES | {f"{name}.txt": text for name, text in changes.items()}).items():
        (folder / name).write_text(text)
    return folder


def read_summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with two experiments, ``cartpole.toml`` and ``places.toml``, and the data of the latter."""
    folder = tmp_path_factory.mktemp("workplace")
    data = write_data(folder / "data")
    (folder / "cartpole.toml").write_text(f'[task]\nenv_id = "CartPole-v1"\n{SETTINGS}')
    task = f"[task]\ndataset = '{data}'\nmax_depth = 3\nmax_atoms = 3\ncorrupt = 'tail'\n"
    (folder / "places.toml").write_text(task + SETTINGS)
    return folder


@pytest.fixture(scope="module")
def cartpole(workplace) -> Path:
    """A completed run."""
    folder = workplace / "runs" / "cartpole"
    assert json.loads(succeed("train", workplace / "cartpole.toml", "--run-dir", folder, "--json"))["run"] == str(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def trained_places(workplace) -> tuple[Path, Result]:
    """A completed run of a proof task, and what it printed."""
    folder = workplace / "runs" / "places"
    return folder, call("train", workplace / "places.toml", "--run-dir", folder, "--quiet", "--seed", "3")


@pytest.fixture(scope="module")
def places(trained_places) -> Path:
    return trained_places[0]


def test_help_and_mistakes_do_not_wait_for_jax():
    program = """
import sys
import ppo_jax
assert "ppo_jax.config" not in sys.modules
from ppo_jax.cli import main
assert main(["--help"]) == main(["train", "--help"]) == main(["data", "build", "--help"]) == main(["config"]) == 0
assert main(["train", "nothing.toml"]) == main(["nothing"]) == 2
assert not {"jax", "flax", "gymnax", "numpy"} & set(sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    for word in (
        "train",
        "eval",
        "prove",
        "play",
        "export",
        "envs",
        "data",
        "config",
        "--run-dir",
        "--split-seed",
        "batch_size",
    ):
        assert word in found.stdout
    assert "error: nothing.toml: no such file" in found.stderr


def test_the_module_is_the_command():
    found = subprocess.run(
        [sys.executable, "-m", "ppo_jax", "config", "gamma"], capture_output=True, text=True, check=True
    )
    assert "Discount of a step." in found.stdout


def test_a_reader_that_has_enough_ends_it_quietly():
    with subprocess.Popen(
        [sys.executable, "-m", "ppo_jax", "config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 1)


def test_results_stand_beside_their_baselines_in_eighty_columns(places, trained_places):
    code, out, err = trained_places[1]
    assert code == 0
    assert [line.split(",")[0] for line in err.splitlines()] == [
        "warning: training facts that are also valid queries: 1",
        "warning: valid queries that are also test queries: 1",
    ]
    assert max(map(len, out.splitlines())) <= 80
    summary = read_summary(places)
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
    assert words["untrained (×2)"][0] == f"{summary['baselines']['untrained']['greedy']['mrr']:.3f}"
    assert words["uniform policy"][:5] == ["–"] * 5
    assert words["shortest proof"][-2:] == ["–"] * 2
    text = " ".join(out.split())
    for line in (greedy["protocol"], marginal["protocol"], f"run {places}", "environment steps/s", "compiling"):
        assert line in text
    data = summary["data"]
    assert (
        f"What the data allows: {data['train_positives_provable']} of {data['train_positives_searched']} training "
        f"positives and {data['train_negatives_provable']} of {data['train_negatives_searched']} training negatives "
        "have a proof within 3 steps."
    ) in text
    assert "than without learning" in text or "Better than every baseline." in text


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
            tables.show_run(summary, places)
        return " ".join(out.getvalue().split())

    assert "Better than every baseline." in verdict(greedy_mrr=0.6, marginal_mrr=0.6, marginal_auc_pr=0.6)
    assert (
        "Not better than without learning: greedy MRR 0.500 (untrained 0.500, shortest proof 0.500); "
        "AUC-PR 0.400 (untrained 0.500, uniform 0.500)."
    ) in verdict(greedy_mrr=0.5, marginal_mrr=0.6, marginal_auc_pr=0.4)


def test_the_summary_of_a_proof_task(places):
    summary = read_summary(places)
    assert set(summary) == SUMMARY
    assert (summary["status"], summary["seed"], summary["env_steps"], summary["updates"]) == ("completed", 3, 96, 3)
    for name in ("valid", "test", "test_last"):
        assert set(summary[name]) == {"greedy", "marginal"}
        assert set(summary[name]["greedy"]) == RANKING | {"mrr_interval"}
        assert set(summary[name]["marginal"]) == RANKING | {"mrr_interval", "auc_pr", "unexplored_mass"}
    untrained, uniform, shortest = (summary["baselines"][name] for name in ("untrained", "uniform", "shortest_proof"))
    assert len(untrained["greedy"]["mrr_each"]) == len(untrained["marginal"]["mrr_each"]) == 2
    assert (set(untrained), set(uniform), set(shortest)) == ({"greedy", "marginal"}, {"marginal"}, {"greedy"})
    assert summary["data"]["overlaps"] == {"train/valid": 1, "train/test": 0, "valid/test": 1}
    assert summary["data"]["queries"] == {"train": 5, "valid": 2, "test": 2}
    proof_metrics = {metric.name for metric in metric_table.METRICS if metric.meaning.startswith("proof tasks")}
    assert proof_metrics <= set(summary["final"])
    last = json.loads((places / "eval.jsonl").read_text().splitlines()[-1])
    assert {"value_error_valid", "value_error_train", "greedy", "marginal"} <= set(last)


def test_each_test_query_is_kept_with_its_candidates_and_proofs(places):
    rows = [json.loads(line) for line in (places / "queries.jsonl").read_text().splitlines()]
    assert [row["query"] for row in rows] == ["in(c,n)", "in(z,s)"]
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


def test_eval_gives_the_results_of_the_run(places, cartpole):
    summary = read_summary(places)
    found = json.loads(succeed("eval", places, "--split", "test", "--json"))
    assert {name: found[name] for name in ("greedy", "marginal")} == summary["test"]
    last = json.loads(succeed("eval", places, "--split", "test", "--last", "--protocol", "greedy", "--json"))
    assert (last["greedy"], "marginal" in last) == (summary["test_last"]["greedy"], False)
    table = succeed("eval", places, "--protocol", "marginal")
    assert f"{summary['valid']['marginal']['auc_pr']:.3f}" in table
    assert summary["valid"]["marginal"]["protocol"] in table
    assert f"{read_summary(cartpole)['valid']['return_mean']:.2f}" in succeed("eval", cartpole)


def test_prove_shows_each_step(places):
    result = call("prove", places, "in(z, s).", "--mask-end", "--json")
    proof = json.loads(result.out)
    # z has one neighbour, y, which is in s: where nothing gives up, the first step is the rule and the second ends it.
    assert (result.code, proof["proved"], proof["stopped_by"]) == (0, True, None)
    assert [step["action"] for step in proof["steps"]] == ["r1: in(X,Y) :- near(X,Z), in(Z,Y)", "fact near(z,y)"]
    assert proof["steps"][0]["resolvent"] == ["near(z,X)", "in(X,s)"]
    assert proof["steps"][1]["facts"] == ["near(z,y)", "in(y,s)"]
    out = io.StringIO()
    with redirect_stdout(out):
        tables.show_proof(proof)
    text = " ".join(out.getvalue().split())
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "2 fact near(z,y) p 1.000 known: in(y,s)" in text
    assert "to prove: near(z,X), in(X,s)" in text
    assert f"proved in 2 steps, with probability {proof['steps'][0]['probability']:.3g}" in text


def test_prove_says_what_stopped_it(places):
    code, out, _ = call("prove", places, "in(n,s)", "--mask-end")  # n lies near nothing
    assert code == 1
    assert "not proved after" in out
    assert "no action but `end` was left" in out


def test_a_query_that_cannot_be_asked(places, cartpole):
    assert "names the unknown constant 'zz'" in fail("prove", places, "in(zz,s)")
    assert "is not a ground atom" in fail("prove", places, "in z s")
    assert "no proof task" in fail("prove", cartpole, "in(z,s)")


def test_envs_lists_ids_with_what_they_observe_and_do():
    rows = {row["env_id"]: row for row in json.loads(succeed("envs", "CART", "--json"))}
    assert set(rows) == {"CartPole-v1"}
    assert rows["CartPole-v1"]["observation_shape"] == [4]
    table = succeed("envs", "pendulum")
    assert table.splitlines()[1].split() == ["Pendulum-v1", "3", "1", "in", "[-2,", "2]", "200"]
    proof = succeed("envs", "proof-countries_s3_clean")
    assert "Proof-countries_s3_clean" in proof
    assert "observes action_constants" in proof
    assert max(len(line.rstrip()) for line in proof.splitlines()) <= 80
    assert "no environment id holds 'nothing'" in fail("envs", "nothing")


def test_config_explains_the_keys():
    rows = json.loads(succeed("config", "--json"))
    assert {"section": "ppo", "key": "gamma", "default": 0.99, "meaning": "Discount of a step."} in rows
    assert [row["key"] for row in json.loads(succeed("config", "target", "--json"))] == ["target_kl"]
    assert max(map(len, succeed("config").splitlines())) <= 80
    assert "no key holds 'nothing'" in fail("config", "nothing")


def test_data_is_built_checked_and_described(tmp_path):
    folder = tmp_path / "s3"
    written = json.loads(succeed("data", "build", "countries_s3", "--split-seed", "7", "--out", folder, "--json"))
    assert written["folder"] == str(folder)
    assert set(written["files"]) == {path.name for path in folder.iterdir()} >= {"train.txt", "rules_full.txt"}
    from_folder = json.loads(succeed("data", "check", folder, "--json"))
    built_in = json.loads(succeed("data", "check", "countries_s3@7", "--json"))
    assert from_folder | {"name": "countries_s3@7"} == built_in
    full = succeed("data", "check", folder, "--rules", "rules_full.txt")
    assert "3 rules" in full and "nothing odd" in full
    assert "already holds" in fail("data", "build", "countries_s3", "--out", folder)
    assert "no Countries variant 'countries_s9'" in fail("data", "build", "countries_s9", "--out", tmp_path / "s9")
    assert not (tmp_path / "s9").exists()


def test_data_that_is_odd_says_so_and_how_much_can_be_proved(workplace, capsys):
    assert "warning: valid queries that are also test queries: 1" in succeed("data", "check", workplace / "data")
    found = json.loads(succeed("data", "describe", workplace / "data", "--json"))
    assert (found["facts"], found["train_positives_searched"]) == (17, 5)
    # All but none: each of a, b, d, x, y has a neighbour whose island is known without it.
    assert found["train_positives_provable"] == 5
    table = succeed("data", "describe", workplace / "data")
    assert "5 of 5 training positives" in table
    assert "r1 (rules.txt:1): in(X,Y) :- near(X,Z), in(Z,Y)" in table
    assert "given up" not in table
    tables.show_data(found | {"searches_given_up": 3, "train_positives_provable": 2})
    out = " ".join(capsys.readouterr().out.split())
    assert "2 of 5 training positives" in out
    assert "of 3 it is not known, the search was given up" in out


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["n_env=3"], "unknown key 'n_env'; did you mean n_envs"),
        (["n_envs=many"], "ppo.n_envs = 'many': expected int, got str"),
        (["gamma=2"], "ppo.gamma = 2: expected float <= 1.0"),
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
        ({"rules": "r1:1:near(X,Y), in(Y,Z) => in(X,Z)\n"}, "rules.txt:1: cannot read"),
        ({"rules": "r1:1:near(X,Y), in(Y,Z) -> far(X,Z)\n"}, "no rule head matches a training fact"),
        ({"test": "in(z,s).\nin(q,s).\n"}, "test.txt:2: 'in(q,s)' names the constant 'q', which no fact"),
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
    data = write_data(tmp_path / "data", valid="% none yet\n")
    run = ("train", workplace / "places.toml", "--run-dir", tmp_path / "run", "--set", f"dataset={data}")
    assert "data set 'data' has no valid queries; put some in valid.txt" in fail(*run)
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
    kb, queries = seen[0].task.dataset.kb, seen[0].task.dataset.queries["train"]
    assert {kb.format_atom(query) for query in queries} == {"in(d,n)", "in(e,n)", "in(x,s)", "in(y,s)"}


def interrupt(*_arguments, **_options):
    raise KeyboardInterrupt


def test_an_existing_run_is_refused_reused_or_replaced(workplace, cartpole, tmp_path):
    run = shutil.copytree(cartpole, tmp_path / "run")
    before = snapshot(run)
    command = ("train", workplace / "cartpole.toml", "--run-dir", run, "--quiet")
    assert "already holds a run" in fail(*command)

    shown = call(*command, "--reuse")
    assert shown.code == 0
    assert f"{read_summary(run)['test']['return_mean']:.2f}" in shown.out
    assert f"To train anew, remove {run} or pass --overwrite." in shown.err
    other = call(*command, "--reuse", "--json", "--set", "gamma=0.5", "n_envs=8")
    assert json.loads(other.out) == {"run": str(run), **read_summary(run)}
    assert "with other settings than now asked for (ppo.gamma, ppo.n_envs)" in other.err
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
    ("error", "complaint"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "runs/x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PPOJaxError("one\nand two"), "error: one and two"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "out of memory; lower n_envs"),
    ],
)
def test_what_goes_wrong_around_a_run_is_one_line(workplace, tmp_path, monkeypatch, error, complaint):
    def raise_it(*_arguments, **_options):
        raise error

    monkeypatch.setattr(runner, "train", raise_it)
    assert complaint in fail("train", workplace / "cartpole.toml", "--run-dir", tmp_path / "run")


def test_a_defect_of_the_program_is_not_hidden(workplace, tmp_path, monkeypatch):
    def broken(*_arguments, **_options):
        raise RuntimeError("a defect")

    monkeypatch.setattr(runner, "train", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["train", str(workplace / "cartpole.toml"), "--run-dir", str(tmp_path / "run")])


def test_a_run_that_is_not_there(tmp_path):
    assert "no run there" in fail("eval", tmp_path)
    assert "no run there" in fail("prove", tmp_path, "in(z,s)")


def test_a_checkpoint_that_does_not_fit(places):
    assert "does not fit the configuration" in fail("eval", places, "--set", "hidden_sizes=[9]")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("train",), "Missing from ppo-jax train: CONFIG; `ppo-jax train --help` explains"),
        (("train", "x.toml", "--sed", "1"), "Unrecognized options: --sed, 1; did you mean --seed?"),
        (("train", "x.toml", "--zzz"), "Unrecognized options: --zzz; `ppo-jax train --help` explains"),
        (("train", "x.toml", "--out", "y"), "ppo-jax train has no option --out; `ppo-jax train --help` explains"),
        (("--seed", "1", "train", "x.toml"), "--seed: options follow the command; `ppo-jax --help` explains"),
        (("--zzz", "train", "x.toml"), "Unrecognized options: --zzz; `ppo-jax --help` explains"),
        (("train", "x.toml", "--seed", "one"), "Error parsing --seed"),
        (
            ("eval", "x", "--split", "train"),
            "invalid choice 'train' for argument '--split'. Expected one of ('valid', ",
        ),
        (("trian", "x.toml"), "Unrecognized options: trian, x.toml; did you mean train?"),
        (("data", "bild"), "Unrecognized options: bild; did you mean build?"),
        (("sweep", "extract", "x"), "Missing from ppo-jax sweep extract: MEMBER --out FOLDER"),
        ((), "Expected one of {train, resume, "),
    ],
)
def test_arguments_that_do_not_exist(arguments, line):
    assert fail(*arguments).startswith(f"error: {line}")


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
        shutil.copytree(cartpole, run_dir)
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
