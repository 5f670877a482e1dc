"""How the cost of training grows: the tables of docs/scaling.md.

    python scripts/scaling.py processes
    python scripts/scaling.py envs network data devices --updates 20

Each row is a process of its own that compiles a chunk of updates, runs it once to warm up and three times for the
clock; the fastest counts. Bytes are those of the rollout's arrays, and of what the compiled program asks for.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
CARTPOLE, COUNTRIES = EXPERIMENTS / "cartpole.toml", EXPERIMENTS / "countries_s3.toml"
SPREAD = {"n_envs": 64, "n_steps": 32, "batch_size": 512, "shuffle_groups": 8}
WIDE = SPREAD | {"n_envs": 1024, "batch_size": 8192}
# Table -> rows of (label, experiment, settings, devices of a process, processes).
TABLES: dict[str, list[tuple[str, Path, dict[str, Any], int, int]]] = {
    "envs": [
        (f"{n} environments", CARTPOLE, {"n_envs": n, "n_steps": 32, "batch_size": n * 8}, 1, 1)
        for n in (16, 64, 256, 1024, 4096)
    ],
    "network": [
        (f"two layers of {n}", CARTPOLE, {"n_envs": 64, "n_steps": 32, "batch_size": 512, "hidden_sizes": [n, n]}, 1, 1)
        for n in (16, 64, 256, 1024)
    ],
    "data": [
        (name, COUNTRIES, {"env_id": f"Proof-{name}"}, 1, 1)
        for name in ("countries_s3", "countries_s1", "countries_s3_full")
    ],
    "devices": [
        (f"{settings['n_envs']} environments on {n} virtual CPU devices", CARTPOLE, settings, n, 1)
        for settings in (SPREAD, WIDE)
        for n in (1, 2, 4)
    ],
    "processes": [
        (f"{settings['n_envs']} environments in {n} process{'es' if n > 1 else ''}", CARTPOLE, settings, 1, n)
        for settings in (SPREAD, WIDE)
        for n in (1, 2)
    ],
}


def main() -> None:
    """Print the tables asked for, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--updates", type=int, default=10, help="updates of a chunk, at most 64")
    arguments = parser.parse_args()
    for table in arguments.tables:
        print(f"\n| {table} | env-steps/s | ms an update | compiled in | rollout, bytes a step | program, MB |")
        print("|---|---|---|---|---|---|")
        for label, *row in TABLES[table]:
            found = run(*row, arguments.updates)
            speed, compiled = f"{found['steps_per_second']:,.0f}", f"{found['compiled']:.1f} s"
            sizes = f"{found['rollout_bytes']:.0f} | {found['program_bytes'] / 1e6:.1f}"
            print(f"| {label} | {speed} | {found['milliseconds']:.3g} | {compiled} | {sizes} |", flush=True)


def run(experiment: Path, settings: dict[str, Any], devices: int, processes: int, updates: int) -> dict[str, float]:
    """Measure a row in as many processes as it takes; what process 0 found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    settings = settings | {"devices": devices * processes}
    given = {"experiment": str(experiment), "settings": settings, "updates": updates, "coordinator": coordinator}
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(given | {"processes": processes, "index": index})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]
    results = [process.communicate() for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(results[0][1])
    found: dict[str, float] = json.loads(results[0][0])
    return found


def measure(experiment: str, settings: dict[str, Any], updates: int, **processes: Any) -> dict[str, float]:
    """Speed and size of one chunk, in this process and those that it trains with."""
    import jax
    import jax.numpy as jnp

    from ppo_jax import distributed, ppo, training
    from ppo_jax.config import load_config
    from ppo_jax.experiment import build
    from ppo_jax.runner import use_compilation_cache

    use_compilation_cache()
    distributed.join(processes["coordinator"], processes["processes"], processes["index"])
    config = distributed.resolve(load_config(experiment, settings))
    built, placement = build(config), distributed.placement(config)
    trainer, rollout_size = built.trainer, config.settings.rollout_size
    transitions = jax.eval_shape(lambda state: ppo.rollout(trainer, state)[1], built.initial_state(0))
    state, _ = placement.put(built.initial_state(0), 0)
    begin = time.perf_counter()
    chunk = training.run_chunk.lower(trainer, state, 1, False, placement).compile()
    compiled, seconds = time.perf_counter() - begin, math.inf
    for repetition in range(4):
        begin = time.perf_counter()
        state, rows = chunk(trainer, state, jnp.int32(updates))
        jax.block_until_ready(rows)
        seconds = min(seconds, time.perf_counter() - begin) if repetition else math.inf
    memory = chunk.memory_analysis()
    return {
        "steps_per_second": updates * rollout_size / seconds,
        "milliseconds": 1000 * seconds / updates,
        "compiled": compiled,
        "rollout_bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(transitions)) / rollout_size,
        "program_bytes": memory.temp_size_in_bytes + memory.argument_size_in_bytes,
    }


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps(measure(**json.loads(sys.argv[1]))))
    else:
        main()
