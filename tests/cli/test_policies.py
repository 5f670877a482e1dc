"""A trained policy in use: judged again, asked for a proof."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stdout

from ppo_jax.cli.tables.policies import show_proof
from tests.cli.console import call, fail, read_summary, succeed


def test_eval_gives_the_results_of_the_run(places, cartpole):
    summary = read_summary(places)
    found = json.loads(succeed("eval", places, "--split", "test", "--json"))
    assert {name: found[name] for name in ("greedy", "marginal")} == summary["test"]
    last = json.loads(succeed("eval", places, "--split", "test", "--last", "--protocol", "greedy", "--json"))
    assert (last["greedy"], "marginal" in last) == (summary["test_last"]["greedy"], False)
    table = succeed("eval", places, "--protocol", "marginal")
    assert f"{summary['valid']['marginal']['auc_pr']:.3f}" in table
    assert summary["valid"]["marginal"]["protocol"] in table
    shown = succeed("eval", cartpole)
    assert shown.startswith("Judged on valid episodes:\n")
    assert f"{read_summary(cartpole)['valid']['return_mean']:.2f}" in shown


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
        show_proof(proof)
    text = " ".join(out.getvalue().split())
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "2 fact near(z,y) p 1.000 known: in(y,s)" in text
    assert "to prove: near(z,X), in(X,s)" in text
    assert f"proved in 2 steps; this derivation has probability {proof['steps'][0]['probability']:.3g}" in text


def test_prove_says_what_stopped_it(places):
    code, out, _ = call("prove", places, "in(n,s)", "--mask-end")  # n lies near nothing
    assert code == 1
    assert "not proved after" in out
    assert "no action but `end` was left; max_atoms = 3 may have cut others" in " ".join(out.split())


def test_a_query_that_cannot_be_asked(places, cartpole):
    assert "names the unknown constant 'zz'" in fail("prove", places, "in(zz,s)")
    assert "is not a ground atom" in fail("prove", places, "in z s")
    assert "no proof task" in fail("prove", cartpole, "in(z,s)")


def test_a_run_that_is_not_there(tmp_path):
    assert "no run there" in fail("eval", tmp_path)
    assert "no run there" in fail("prove", tmp_path, "in(z,s)")


def test_a_checkpoint_that_does_not_fit(places):
    assert "does not fit the configuration" in fail("eval", places, "--set", "hidden_sizes=[9]")


def test_facts_in_another_order_are_other_data(places, workplace, tmp_path):
    run, data = shutil.copytree(places, tmp_path / "run"), shutil.copytree(workplace / "data", tmp_path / "data")
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace(str(workplace / "data"), str(data)))
    assert succeed("eval", run) == succeed("eval", places)
    facts = (data / "train.txt").read_text().splitlines()
    (data / "train.txt").write_text("\n".join(reversed(facts)))
    (run / "summary.json").write_text('{"status": "running"}')
    for command in (["eval"], ["prove", "in(z,s)"], ["ask", "in(z,X)"], ["play"], ["export"], ["resume"]):
        told = fail(command[0], run, *command[1:])
        assert f"its data set {data} is another than the run began with: sha256 " in told
