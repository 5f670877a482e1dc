"""How the cost of training grows: the tables of docs/scaling.md.

    python scripts/scaling.py processes
    python scripts/scaling.py envs seeds network data atoms successors devices --data PATH/family PATH/wn18rr

Each row is a process of its own that compiles a chunk of updates, runs it once to warm up and three times for the
clock; the fastest counts. Bytes are those of the rollout's arrays, and of what the compiled program asks for. Below a
table stands how the time of an environment step grows with what grows: the slope of their logarithms.
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
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
CARTPOLE, COUNTRIES = EXPERIMENTS / "cartpole.toml", EXPERIMENTS / "countries_s3.toml"


class Row(NamedTuple):
    """One measurement."""

    label: str
    size: float  # what grows along the table
    experiment: Path
    settings: dict[str, Any]
    devices: int = 1  # of a process
    processes: int = 1
    seeds: int = 1  # side by side under vmap


SHORT = {"n_envs": 64, "n_steps": 32, "batch_size": 512}
SPREAD = SHORT | {"shuffle_groups": 8}
WIDE = SPREAD | {"n_envs": 1024, "batch_size": 8192}


def tables(folders: list[str]) -> dict[str, list[Row]]:
    """The rows of each table; `folders` are further data sets."""
    capped = {"max_successors": 64}  # a row of thousands of facts would fill memory with empty slots
    return {
        "envs": [
            Row(f"{n} environments", n, CARTPOLE, SHORT | {"n_envs": n, "batch_size": n * 8})
            for n in (4, 16, 64, 256, 1024, 4096)
        ],
        "seeds": [
            Row(f"{n} seed{'s' if n > 1 else ''} side by side", n, CARTPOLE, SHORT, seeds=n) for n in (1, 4, 16, 64)
        ],
        "network": [
            Row(f"two layers of {n}", n, CARTPOLE, SHORT | {"hidden_sizes": [n, n]}) for n in (16, 64, 256, 1024)
        ],
        "data": [
            *(Row(name, 1, COUNTRIES, {"env_id": f"Proof-{name}"}) for name in ("countries_s3", "countries_s3_full")),
            *(
                Row(Path(f).name, 1, COUNTRIES, {"env_id": None, "dataset": str(Path(f).resolve())} | capped)
                for f in folders
            ),
        ],
        "atoms": [Row(f"{n} atoms", n, COUNTRIES, {"max_atoms": n}) for n in (4, 6, 8, 12)],
        "successors": [Row(f"{n} successors", n, COUNTRIES, {"max_successors": n}) for n in (6, 10, 18)],
        "devices": [
            Row(f"{settings['n_envs']} environments on {n} virtual CPU devices", n, CARTPOLE, settings, n)
            for settings in (SPREAD, WIDE)
            for n in (1, 2, 4)
        ],
        "processes": [
            Row(f"{s['n_envs']} environments in {n} process{'es' if n > 1 else ''}", n, CARTPOLE, s, 1, n)
            for s in (SPREAD, WIDE)
            for n in (1, 2)
        ],
    }


def main() -> None:
    """Print the tables asked for, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", choices=tables([]))
    parser.add_argument("--updates", type=int, default=10, help="updates of a chunk, at most 64")
    parser.add_argument("--data", nargs="*", default=[], help="folders of further data sets for the table of that name")
    arguments = parser.parse_args()
    for table in arguments.tables:
        print(
            f"\n| {table} | env-steps/s | ms an update | compiled in | rollout, bytes a step | program, MB | peak, MB |"
        )
        print("|---|---|---|---|---|---|---|")
        points = []
        for row in tables(arguments.data)[table]:
            found = run(row, arguments.updates)
            speed, compiled = f"{found['steps_per_second']:,.0f}", f"{found['compiled']:.1f} s"
            sizes = f"{found['rollout_bytes']:.0f} | {found['program_bytes'] / 1e6:.1f} | {found['peak_mb']:,.0f}"
            print(f"| {row.label} | {speed} | {found['milliseconds']:.3g} | {compiled} | {sizes} |", flush=True)
            points.append((row.size, 1.0 / found["steps_per_second"]))
        if len({size for size, _ in points}) == len(points) > 2:
            print(f"\nTime of a step grows with the power {slope(points):.2f}.", flush=True)


def slope(points: list[tuple[float, float]]) -> float:
    """Least-squares slope of log y over log x."""
    xs, ys = zip(*((math.log(x), math.log(y)) for x, y in points), strict=True)
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - mean_x) ** 2 for x in xs)


def run(row: Row, updates: int) -> dict[str, float]:
    """Measure a row in as many processes as it takes; what process 0 found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    settings = row.settings | {"devices": row.devices * row.processes}
    given = {"experiment": str(row.experiment), "settings": settings, "updates": updates, "seeds": row.seeds}
    given |= {"coordinator": coordinator, "processes": row.processes}
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(row.devices)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(given | {"index": index})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(row.processes)
    ]
    results = [process.communicate() for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(results[0][1])
    found: dict[str, float] = json.loads(results[0][0])
    return found


def measure(experiment: str, settings: dict[str, Any], updates: int, seeds: int, **processes: Any) -> dict[str, float]:
    """Speed and size of one chunk, in this process and those that it trains with."""
    import jax
    import jax.numpy as jnp

    from ppo_jax import bench, distributed, ppo, training
    from ppo_jax.config import load_config
    from ppo_jax.experiment import build
    from ppo_jax.runner import use_compilation_cache

    use_compilation_cache()
    distributed.join(processes["coordinator"], processes["processes"], processes["index"])
    config = distributed.resolve(load_config(experiment, settings))
    built, placement = build(config), distributed.placement(config)
    trainer, rollout_size = built.trainer, config.settings.rollout_size
    transitions = jax.eval_shape(lambda state: ppo.rollout(trainer, state)[1], built.initial_state(0))
    if seeds == 1:
        state, _ = placement.put(built.initial_state(0), 0)
        program = partial(training.run_chunk.lower, trainer, state, 1, False, placement)
    else:
        keys = jax.random.split(jax.random.key(0), seeds)
        state = jax.jit(jax.vmap(ppo.init, (None, 0, None)))(trainer, keys, config.hyperparams)
        chunk = jax.jit(jax.vmap(training.run_chunk, (None, 0, None)), donate_argnums=1)
        program = partial(chunk.lower, trainer, state, jnp.int32(1))
    begin = time.perf_counter()
    compiled = program().compile()
    compile_seconds, seconds = time.perf_counter() - begin, math.inf
    for repetition in range(4):
        begin = time.perf_counter()
        state, rows = compiled(trainer, state, jnp.int32(updates))
        jax.block_until_ready(rows)
        seconds = min(seconds, time.perf_counter() - begin) if repetition else math.inf
    memory = compiled.memory_analysis()
    return {
        "steps_per_second": seeds * updates * rollout_size / seconds,
        "milliseconds": 1000 * seconds / updates,
        "compiled": compile_seconds,
        "rollout_bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(transitions)) / rollout_size,
        "program_bytes": memory.temp_size_in_bytes + memory.argument_size_in_bytes,
        "peak_mb": bench.peak_rss_mib() * 2**20 / 1e6,
    }


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps(measure(**json.loads(sys.argv[1]))))
    else:
        main()
