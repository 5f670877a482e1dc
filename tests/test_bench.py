"""The benchmark measures what it says: the bound's passes, turns, parts, and what counts as slower."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import bench
from ppo_jax.cli.tables.bench import show_peers, show_runs
from ppo_jax.config import from_dict
from tests.cli.console import call, fail

REPOSITORY = Path(__file__).parents[1]
RESULT = {
    "machine": {"device": "cpu cpu", "cores": 2},
    "versions": {"python": "3", "jax": "0"},
    "cases": [
        {
            **{"name": "cartpole_4", "steps_per_second": 1.0, "bound_steps_per_second": 2.0, "share_of_bound": 0.5},
            **{"share_of_bound_range": [0.4, 0.6], "compile_seconds": 1.0, "peak_rss_mib": 1.0},
            "devices": 1,
            "milliseconds": {"train": 3.0, "environment": 1.0, "optimizer": 1.0},
        }
    ],
    "proof_environment_steps_per_second": 5.0,
    "import_seconds": {"jax": 1.0, "ppo_jax": 1.25, "help": 0.5},
}


def test_the_reference_does_the_passes_of_an_update_and_nothing_more():
    sizes = {"n_envs": 4, "n_steps": 8, "batch_size": 16, "n_epochs": 3}
    settings = from_dict({"task": {"env_id": "CartPole-v1"}, "ppo": sizes | {"total_timesteps": 32}}).settings
    program = bench.reference(settings, 5, 2)
    x, action = jnp.ones((32, 5)), jnp.zeros(32, jnp.int32)
    total, outputs, last = jax.device_get(program(x, action))
    assert [layer[0].shape for layer in total["actor"]] == [(5, 64), (64, 64), (64, 2)]
    assert [layer[0].shape for layer in total["critic"]] == [(5, 64), (64, 64), (64, 1)]
    assert outputs[0].shape == (8, 4, 2) and last[1].shape == (4, 1)
    # All inputs are alike, so each of the 3 x 2 gradients is the same and their sum is six times the first.
    once = bench.reference(dataclasses.replace(settings, n_epochs=1, batch_size=32), 5, 2)
    single = jax.device_get(once(x, action)[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 6 * b, rtol=1e-4, atol=1e-5), total, single)


def test_programs_take_turns(monkeypatch):
    monkeypatch.setattr(bench, "REPEATS", 3)
    monkeypatch.setattr(bench, "SECONDS", 0.0)
    called = []
    seconds = bench.interleaved({name: lambda name=name: called.append(name) or jnp.zeros(()) for name in "ab"})
    assert called == [*"aabb", *"ababab"]
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_case_is_measured_whole_and_in_parts(monkeypatch):
    monkeypatch.setattr(bench, "REPEATS", 2)
    monkeypatch.setattr(bench, "SECONDS", 0.01)
    case = bench.measure("cartpole_4")
    assert json.loads(json.dumps(case)) == case
    assert all(math.isfinite(x) and x > 0 for x in case["milliseconds"].values())
    assert case["steps_per_second"] == pytest.approx(512e3 / case["milliseconds"]["train"])
    assert case["share_of_bound_range"][0] <= case["share_of_bound"] <= case["share_of_bound_range"][1] < 3
    parts = sum(case["milliseconds"][stage] for stage in ("rollout", "make_batch", "update_epochs"))
    assert 0.3 < parts / case["milliseconds"]["train"] < 3


def test_a_ratio_that_fell_by_more_than_15_percent_is_named():
    assert bench.worse(RESULT, RESULT) == []
    slower = copy.deepcopy(RESULT)
    slower["cases"][0]["share_of_bound"] = 0.5 * 0.86
    slower["import_seconds"]["help"] = 0.5 / 0.86
    assert bench.worse(slower, RESULT) == []
    slower["cases"][0]["share_of_bound"] = 0.5 * 0.84
    slower["import_seconds"]["help"] = 0.5 / 0.84
    assert [line.partition(":")[0] for line in bench.worse(slower, RESULT)] == [
        "cartpole_4, devices 1",
        "import help",
    ]
    assert bench.worse(RESULT, slower) == []
    elsewhere = copy.deepcopy(slower)
    elsewhere["cases"][0]["devices"] = 2
    assert [line.partition(":")[0] for line in bench.worse(elsewhere, RESULT)] == ["import help"]


def test_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "run", lambda names, say: RESULT | {"asked": names})
    recorded = tmp_path / "performance.json"
    code, out, _ = call("bench", "cartpole_4", "--json")
    assert code == 0 and json.loads(out)["asked"] == ["cartpole_4"]
    recorded.write_text(out)
    code, _, err = call("bench", "--check", "--recorded", recorded)
    assert code == 0 and "no ratio is more than 15% worse than recorded" in err
    faster = copy.deepcopy(RESULT)
    faster["cases"][0]["share_of_bound"] = 0.9
    recorded.write_text(json.dumps(faster))
    code, out, err = call("bench", "--check", "--recorded", recorded)
    assert code == 1 and "slower than recorded: cartpole_4, devices 1: share of the bound: 0.500, recorded 0.900" in err
    assert "50% (40% to 60%)" in out and "1.25× import jax" in out
    assert "did you mean cartpole_4" in fail("bench", "cartpole4")
    recorded.write_text("{}")
    assert "not the output of" in fail("bench", "--check", "--recorded", recorded)
    assert "write it with: ppo-jax bench --json" in fail("bench", "--check", "--recorded", tmp_path / "nothing.json")


def test_trainers_take_turns_and_a_ratio_is_their_median(monkeypatch, tmp_path, capsys):
    """A stand-in for benchmarks/peer.py: this project does 300, 100, 200 steps a second, the other always 50."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    benchmark = importlib.import_module("benchmark")
    (tmp_path / "peer.py").write_text(
        "import json, sys\n"
        "speeds = {'ppo_jax': [300, 100, 200], 'other': [50, 50, 50]}[sys.argv[1]]\n"
        "print('a line of its own')\nprint(json.dumps({'ready': True}), flush=True)\n"
        "for speed, _ in zip(speeds, sys.stdin):\n"
        "    print(json.dumps({'steps': speed, 'seconds': 1.0}), flush=True)\n"
    )
    monkeypatch.setattr(benchmark, "HERE", tmp_path)
    monkeypatch.setattr(benchmark, "TURNS", 3)
    monkeypatch.setattr(benchmark, "interpreter", lambda name: sys.executable)
    (row,) = benchmark.measure("cartpole_4", ["other"])
    assert (row["name"], row["case"], row["ratio"], row["ratio_range"]) == ("other", "cartpole_4", 4.0, [2.0, 6.0])
    monkeypatch.setattr(benchmark, "TURNS", 4)  # the stand-in ends after three
    with pytest.raises(SystemExit, match="ppo_jax: the process ended with code 0"):
        benchmark.measure("cartpole_4", ["other"])
    show_peers([row])
    assert "4.00 (2.00 to 6.00)" in capsys.readouterr().out


def test_whole_runs_start_with_empty_caches_and_then_with_full_ones(monkeypatch, capsys):
    """A stand-in for training, which compiles for 8, 9, 10 s where it finds no cache, else for 1 s."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    benchmark = importlib.import_module("benchmark")
    cold = iter((8.0, 10.0, 9.0))

    def train(command, env, **_):
        assert command[3:5] == ["train", "cartpole"]
        assert "JAX_COMPILATION_CACHE_DIR" not in env
        cache, run = Path(env["XDG_CACHE_HOME"]), Path(command[-1])
        seconds = 1.0 if cache.exists() else next(cold)
        cache.mkdir(exist_ok=True), run.mkdir()
        (run / "summary.json").write_text(json.dumps({"compile_seconds": seconds}))

    monkeypatch.setattr(benchmark.subprocess, "run", train)
    monkeypatch.setattr(benchmark, "RUN_TURNS", 3)
    row = benchmark.time_runs("cartpole")
    assert (row["cold"]["compile_seconds"], row["warm"]["compile_seconds"]) == (9.0, 1.0)
    assert next(cold, None) is None  # every turn began with an empty one
    low, high = row["cold"]["seconds_range"]
    assert low <= row["cold"]["seconds"] <= high
    show_runs([row])
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["run", "empty", "full"]
