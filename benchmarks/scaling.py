"""How the cost of training grows: the tables of docs/performance.md and benchmarks/log.md.

    python benchmarks/scaling.py processes
    python benchmarks/scaling.py envs seeds network data atoms successors devices --data PATH/family PATH/wn18rr

Each row is a process of its own. All rows of a table run at once and take turns (A B C A B C …), so that what else the
machine does hits all of them; a figure is the median of five turns, its spread stands beside it. Bytes are those of the
rollout's arrays, and of what the compiled program asks for. Below a table stands how the time of an environment step
grows with what grows: the slope of their logarithms.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

CARTPOLE, COUNTRIES = "cartpole", "countries_s3"
TURNS = 5
TURN_SECONDS = 1.0  # that a turn takes at least


class Row(NamedTuple):
    """One measurement."""

    label: str
    size: float  # what grows along the table
    experiment: str
    settings: dict[str, Any]
    devices: int | None = None  # of a process; None: as a run takes them
    processes: int = 1
    seeds: int = 1  # side by side under vmap, on one device


GRAPH = {"env_id": None, "mode": "verify"}  # of a folder
SHORT = {"n_envs": 64, "n_steps": 32, "batch_size": 512}
WIDE = SHORT | {"n_envs": 1024, "batch_size": 8192}


def long(n_envs: int) -> dict[str, Any]:
    """The setting in which trainers are compared, in a run long enough to take the cores of a processor as devices."""
    return {"n_envs": n_envs, "n_steps": 128, "n_epochs": 4, "batch_size": 32 * n_envs, "total_timesteps": 10**8}


def tables(folders: Sequence[str] = ()) -> dict[str, list[Row]]:
    """The rows of each table; `folders` are further data sets."""
    capped = {"max_successors": 64}  # a row of thousands of facts would fill memory with empty slots
    return {
        "envs": [Row(f"{n} environments", n, CARTPOLE, long(n)) for n in (4, 16, 64, 256, 1024, 4096)],
        "seeds": [
            Row(f"{n} seed{'s' if n > 1 else ''} side by side", n, CARTPOLE, SHORT, seeds=n) for n in (1, 4, 16, 64)
        ],
        "network": [
            Row(f"two layers of {n}", n, CARTPOLE, SHORT | {"hidden_sizes": [n, n]}) for n in (16, 64, 256, 1024)
        ],
        "data": [
            *(Row(name, 1, COUNTRIES, {"env_id": f"Proof-{name}"}) for name in ("countries_s3", "countries_s3_full")),
            *(
                Row(
                    Path(f).name,
                    1,
                    COUNTRIES,
                    GRAPH | {"dataset": str(Path(f).resolve())} | capped,
                )
                for f in folders
            ),
        ],
        "atoms": [Row(f"{n} atoms", n, COUNTRIES, {"max_atoms": n}) for n in (4, 6, 8, 12)],
        "successors": [Row(f"{n} successors", n, COUNTRIES, {"max_successors": n}) for n in (6, 10, 18)],
        "devices": [
            *(
                Row(f"{n} environments on {d} device{'s' if d > 1 else ''}", 1, CARTPOLE, long(n), d)
                for n in (4, 16, 64, 1024)
                for d in (1, 2)
            ),
            *(Row(f"countries_s3 on {d} device{'s' if d > 1 else ''}", 1, COUNTRIES, {}, d) for d in (1, 2)),
        ],
        "processes": [
            Row(f"{s['n_envs']} environments in {n} process{'es' if n > 1 else ''}", n, CARTPOLE, s, 1, n)
            for s in (SHORT, WIDE)
            for n in (1, 2)
        ],
    }


def main() -> None:
    """Print the tables asked for, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", choices=tables())
    parser.add_argument("--data", nargs="*", default=[], help="folders of further data sets for the table of that name")
    arguments = parser.parse_args()
    for name in arguments.tables:
        show(name, measure_table(tables(arguments.data)[name]))


def show(name: str, table: dict[str, Any]) -> None:
    """Print what `measure_table` found, as Markdown."""
    heads = ("run on", "env-steps/s", "spread", "ms an update", "compiled in", "bytes a step", "program MB", "peak MB")
    print(f"\n| {name} | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    for row in table["rows"]:
        low, high = (f"{x:,.0f}" for x in row["steps_per_second_range"])
        run_on = f"{row['devices']} device{'s' * (row['devices'] > 1)}"
        speed = f"{run_on} | {row['steps_per_second']:,.0f} | {low}–{high} | {row['milliseconds']:.3g}"
        sizes = f"{row['rollout_bytes']:.0f} | {row['program_bytes'] / 1e6:.1f} | {row['peak_mb']:,.0f}"
        print(f"| {row['label']} | {speed} | {row['compile_seconds']:.1f} s | {sizes} |", flush=True)
    if table["slope"] is not None:
        print(f"\nTime of a step grows with the power {table['slope']:.2f}.", flush=True)


def measure_table(rows: list[Row]) -> dict[str, Any]:
    """`rows`: speed and size of each; `slope`: that of log time a step over log size, None where nothing grows."""
    running: list[list[subprocess.Popen[str]]] = []
    found: list[dict[str, Any]] = []
    try:
        for row in rows:  # one after another: compiling is not what is measured here
            running.append(start(row))
            found.append({"label": row.label, "size": row.size} | first_answer(running[-1], row.label))
        speeds: list[list[float]] = [[] for _ in rows]
        for _ in range(TURNS):
            for row, processes, values in zip(rows, running, speeds, strict=True):
                for process in processes:
                    take_turn(process)
                values.append(first_answer(processes, row.label)["steps_per_second"])
    finally:
        for process in (p for processes in running for p in processes):
            process.kill()
            process.communicate()
    for row, values in zip(found, speeds, strict=True):
        row["steps_per_second"] = statistics.median(values)
        row["steps_per_second_range"] = [min(values), max(values)]
        row["milliseconds"] = 1000 * row["update_steps"] / row["steps_per_second"]
    grows = len({row.size for row in rows}) == len(rows) > 2
    return {"rows": found, "slope": slope([(r["size"], 1 / r["steps_per_second"]) for r in found]) if grows else None}


def slope(points: list[tuple[float, float]]) -> float:
    """Least-squares slope of log y over log x."""
    xs, ys = zip(*((math.log(x), math.log(y)) for x, y in points), strict=True)
    return statistics.linear_regression(xs, ys).slope


def start(row: Row) -> list[subprocess.Popen[str]]:
    """The processes of a row, which compile, print a line of JSON, and measure a turn for each line they read."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    settings = row.settings | ({} if row.devices is None else {"devices": row.devices * row.processes})
    given = {"experiment": str(row.experiment), "settings": settings, "seeds": row.seeds}
    given |= {"coordinator": coordinator, "n_processes": row.processes}
    return [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(given | {"index": index})],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True},
        )
        for index in range(row.processes)
    ]


def take_turn(process: subprocess.Popen[str]) -> None:
    """Ask a process that waits for its turn to measure."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended; `answer` says so
        process.stdin.write("\n")
        process.stdin.flush()


def first_answer(processes: list[subprocess.Popen[str]], name: str) -> dict[str, Any]:
    """What process 0 answers, once all have answered."""
    first, *_ = [answer(process, name) for process in processes]
    return first


def answer(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """The next JSON object a process prints; what else it prints is passed over."""
    for line in process.stdout or ():
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    said = process.stderr.read().strip().splitlines() if process.stderr else []
    raise SystemExit(f"{name}: the process ended with code {process.wait()}{f': {said[-1]}' if said else ''}")


def measure(
    experiment: str, settings: dict[str, Any], seeds: int, coordinator: str, n_processes: int, index: int
) -> None:
    """Print the size of one chunk, then its speed for each line read, in this process and those it trains with."""
    import jax
    import jax.numpy as jnp

    from ppo_jax import bench, ppo
    from ppo_jax.config import load_config
    from ppo_jax.devices import cpu, mesh, processes
    from ppo_jax.runs import loop
    from ppo_jax.runs.compiled_programs import use_compilation_cache
    from ppo_jax.runs.experiment import build

    use_compilation_cache()
    config = load_config(experiment, settings)
    cpu.prepare(config, 1 if seeds > 1 else None)
    processes.join(coordinator, n_processes, index)
    config = mesh.resolve(config)
    built, placement = build(config), mesh.placement(config)
    trainer, rollout_size = built.trainer, config.settings.rollout_size
    transitions = jax.eval_shape(lambda state: ppo.rollout(trainer, state)[1], built.shapes()[0])
    if seeds == 1:
        state, _ = placement.put(built.initial_state(0), 0)
        program = partial(loop.run_chunk.lower, trainer, state, jnp.int32(1), False, placement)
    else:
        keys = jax.random.split(jax.random.key(0), seeds)
        state = jax.jit(jax.vmap(ppo.init, (None, 0, None)))(trainer, keys, config.hyperparams)
        chunk = jax.jit(jax.vmap(loop.run_chunk, (None, 0, None)), donate_argnums=1)
        program = partial(chunk.lower, trainer, state, jnp.int32(1))
    begin = time.perf_counter()
    compiled = program().compile(cpu.compiler_options())
    compile_seconds, memory = time.perf_counter() - begin, compiled.memory_analysis()

    def seconds(updates: int) -> float:
        nonlocal state
        begin = time.perf_counter()
        state, rows = compiled(trainer, state, jnp.int32(updates))
        jax.block_until_ready(rows)
        return time.perf_counter() - begin

    seconds(1)
    once = seconds(1)
    updates = max(1, min(loop.BUFFER, round(TURN_SECONDS / once)))
    if n_processes > 1:  # all of them do the same number, whatever each has measured
        updates = processes.agree(updates, False, 0)[0]
    update_steps = seeds * rollout_size
    sizes = {
        "update_steps": update_steps,
        "devices": placement.size,
        "compile_seconds": compile_seconds,
        "rollout_bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(transitions)) / rollout_size,
        "program_bytes": memory.temp_size_in_bytes + memory.argument_size_in_bytes,
        "peak_mb": bench.peak_rss_mib() * 2**20 / 1e6,
    }
    print(json.dumps(sizes), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"steps_per_second": updates * update_steps / seconds(updates)}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        measure(**json.loads(sys.argv[1]))
    else:
        main()
