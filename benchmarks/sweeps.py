"""What a sweep saves: the same seeds as separate processes, one after another in one process, and side by side.

    python benchmarks/sweeps.py [CONFIG] [--seeds 16] [--set key=value …]

Every way trains, evaluates and tests the same runs; seconds are of the whole command, compilation included. A first run
fills the compilation cache for the separate processes; the sweeps compile their own programs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPERIMENT = "countries_s3"


def seconds(*arguments: str) -> float:
    """Wall time of a command of ppo-jax."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ppo_jax", *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Time each way once, after a run that fills the compilation cache, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", nargs="?", default=EXPERIMENT)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--set", nargs="*", default=[])
    arguments = parser.parse_args()
    settings = ["--set", *arguments.set] if arguments.set else []
    with tempfile.TemporaryDirectory() as folder:
        sweep = ["sweep", arguments.config, "--seeds", str(arguments.seeds), *settings]
        orders = {"one after another": "one-by-one", "side by side": "side-by-side"}
        train = ["train", arguments.config, *settings]
        seconds(*train, "--run-dir", f"{folder}/first")  # fills the cache
        took = {
            "separate processes": sum(
                seconds(*train, "--seed", str(seed), "--run-dir", f"{folder}/{seed}") for seed in range(arguments.seeds)
            )
        }
        for name, order in orders.items():
            took[name] = seconds(*sweep, "--order", order, "--run-dir", f"{folder}/{order}")
    title = f"{arguments.seeds} seeds of {Path(arguments.config).stem}"
    print(f"\n| {title} | seconds | separate processes take |\n|---|---|---|")
    for name, total in took.items():
        print(f"| {name} | {total:.0f} | {took['separate processes'] / total:.2f}× |")


if __name__ == "__main__":
    main()
