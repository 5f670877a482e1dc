"""The full benchmark: `ppo-jax bench`, whole runs, how time grows with each size, other trainers on the same tasks.

    python benchmarks/benchmark.py                   # docs/performance.json
    python benchmarks/benchmark.py --data PATH/family PATH/wn18rr
    python benchmarks/benchmark.py --only peers --out FILE

A whole run is `ppo-jax train` as one starts it, evaluations and test included: first with empty caches, then with what
that left there, in turns.

Each other trainer gets a virtual environment of its own under .cache/peers, made on first use. In a case all trainers
are running processes that take turns (A B C A B C …), so that what else the machine does hits all of them; a ratio is
the median over turns of this project's speed divided by the other's. All of them have 2 x 64 tanh, a separate critic,
128 steps, 4 epochs and 4 minibatches.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import scaling
from scaling import answer, take_turn

from ppo_jax import bench
from ppo_jax.cli.tables.bench import show_bench, show_peers, show_runs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = ROOT / ".cache" / "peers"
TURNS = 15  # of each trainer: on a shared machine a turn can be half as fast as the next
RUN_TURNS = 5  # of each whole run, cold and warm
RUNS = ("cartpole", "countries_s3")  # experiments that are timed whole
GROWTH = ("envs", "seeds", "network", "data", "atoms", "successors")
# Trainer -> what pip installs, in this order.
PACKAGES: dict[str, list[list[str]]] = {
    "rejax": [["rejax==0.1.3", "gymnax<1", "jax==0.10.2"]],
    "sb3": [["torch==2.13.0"], ["stable-baselines3==2.9.2", "sbx-rl==0.28.0", "jax==0.10.2"]],
}
ENVIRONMENT = {"rejax": "rejax", "sb3": "sb3", "sbx": "sb3"}
CASES = {
    "cartpole_4": ["rejax", "sbx", "sb3"],
    "cartpole_64": ["rejax", "sbx", "sb3"],
    "cartpole_1024": ["rejax"],
    "breakout_64": ["rejax"],
}
THREADS = {"cartpole_4": "1"}  # for every trainer: so small a program gains nothing from more


def interpreter(peer: str) -> Path:
    """Python of the environment that holds a trainer, made where it is missing."""
    name = ENVIRONMENT[peer]
    python = PEERS / name / "bin" / "python"
    if not (PEERS / name / ".installed").exists():
        say(f"installing {name} …")
        venv.create(PEERS / name, with_pip=True, clear=True)
        for packages in PACKAGES[name]:
            found = subprocess.run([python, "-m", "pip", "install", "-qq", *packages], capture_output=True, text=True)
            if found.returncode:
                raise SystemExit(f"{name} cannot be installed: {found.stderr.strip().splitlines()[-1]}")
        (PEERS / name / ".installed").touch()
    return python


def measure(case: str, peers: list[str]) -> list[dict[str, Any]]:
    """This project against each of `peers` on one case."""
    pythons = {"ppo_jax": Path(sys.executable)} | {peer: interpreter(peer) for peer in peers}
    environment = os.environ | ({"NPROC": THREADS[case]} if case in THREADS else {})  # XLA reads it
    running = {}
    try:
        for name, python in pythons.items():  # one after another: compiling is not what is measured here
            say(f"{case}: {name} …")
            running[name] = subprocess.Popen(
                [python, HERE / "peer.py", name, case],
                **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True},
                env=environment,
            )
            answer(running[name], name)
        speeds: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(TURNS):
            for name, process in running.items():
                take_turn(process)
                turn = answer(process, name)
                speeds[name].append(turn["steps"] / turn["seconds"])
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    rows = []
    for peer in peers:
        ratios = [a / b for a, b in zip(speeds["ppo_jax"], speeds[peer], strict=True)]
        rows.append(
            {
                "name": peer,
                "case": case,
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "steps_per_second": statistics.median(speeds[peer]),
                "ppo_jax_steps_per_second": statistics.median(speeds["ppo_jax"]),
            }
        )
    return rows


def time_runs(name: str) -> dict[str, Any]:
    """Whole runs of an experiment, `RUN_TURNS` times with empty caches and as often with what that left there."""
    found: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": []}
    for _ in range(RUN_TURNS):
        with tempfile.TemporaryDirectory(prefix="ppo_jax-bench-") as folder:
            environment = os.environ | {"XDG_CACHE_HOME": str(Path(folder) / "cache")}
            environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # it would be used in place of that
            for state, turns in found.items():
                run = Path(folder) / state
                command = [sys.executable, "-m", "ppo_jax", "train", name, "--run-dir", run]
                begin = time.perf_counter()
                subprocess.run(command, check=True, env=environment, capture_output=True)
                seconds = time.perf_counter() - begin
                turns.append((seconds, json.loads((run / "summary.json").read_text())["compile_seconds"]))
    row: dict[str, Any] = {"name": name}
    for state, turns in found.items():
        seconds, compiling = zip(*turns, strict=True)
        row[state] = {
            "seconds": statistics.median(seconds),
            "seconds_range": [min(seconds), max(seconds)],
            "compile_seconds": statistics.median(compiling),
        }
    return row


def say(text: str) -> None:
    """A line on what is being done."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "performance.json")
    parser.add_argument(
        "--only", choices=("cases", "runs", "growth", "peers"), help="keep the rest of what --out holds"
    )
    parser.add_argument("--data", nargs="*", default=[], help="folders of further data sets, to see how time grows")
    arguments = parser.parse_args()
    wanted = (arguments.only,) if arguments.only else ("cases", "runs", "growth", "peers")
    result = json.loads(arguments.out.read_text()) if arguments.only and arguments.out.exists() else {}
    if "cases" in wanted:
        result |= bench.run(list(bench.CASES), lambda name: say(f"measuring {name} …"))
        show_bench(result)
    if "runs" in wanted:
        result["runs"] = []
        for name in RUNS:
            say(f"measuring whole runs: {name} …")
            result["runs"].append(time_runs(name))
        show_runs(result["runs"])
    if "growth" in wanted:
        result["growth"] = {}
        for name in GROWTH:
            say(f"measuring growth: {name} …")
            result["growth"][name] = scaling.measure_table(scaling.tables(arguments.data)[name])
            scaling.show(name, result["growth"][name])
    if "peers" in wanted:
        result["peers"] = [row for case, peers in CASES.items() for row in measure(case, peers)]
        show_peers(result["peers"])
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
