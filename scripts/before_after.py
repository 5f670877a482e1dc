"""The analysis this project began from, measured again: before, its automatic fix, after, and our recommendation.

    python scripts/before_after.py [--runs runs/before_after] [--seeds 3] [--fix-seeds 5] [--out docs/report]

Trains `experiments/report_before.toml` and what `ppo-jax diagnose --fix` makes of its first seed over `--fix-seeds`
seeds, `experiments/report_after.toml` and `experiments/countries_s3.toml` over `--seeds`, and writes report.html and
report.md. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ppo_jax import runner
from ppo_jax.analysis import report
from ppo_jax.analysis.diagnose import diagnose, fix
from ppo_jax.analysis.logs import RunLog, read_run
from ppo_jax.config import load_config

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def trained(config_file: Path, folder: Path, seed: int) -> RunLog:
    """Train one run unless it is there, completed and of the same configuration, and read it."""
    config = load_config(config_file, {"seed": seed})
    summary = folder / "summary.json"
    completed = summary.exists() and json.loads(summary.read_text())["status"] == "completed"
    if not completed or load_config(folder / "config.toml") != config:
        runner.train(config, folder, overwrite=True)
    return read_run(folder)


def main() -> None:
    """Train what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/before_after"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fix-seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/report"))
    arguments = parser.parse_args()
    runner.use_compilation_cache()

    def seeds(name: str, config_file: Path, n: int) -> list[RunLog]:
        return [trained(config_file, arguments.runs / f"{name}-s{seed}", seed) for seed in range(n)]

    before = seeds("before", EXPERIMENTS / "report_before.toml", arguments.fix_seeds)
    fixed_config = arguments.runs / "fixed.toml"
    fixed_config.write_text(fix(before[0], diagnose(before[0])))
    logs = [
        *before,
        *seeds("fixed", fixed_config, arguments.fix_seeds),
        *seeds("after", EXPERIMENTS / "report_after.toml", arguments.seeds),
        *seeds("recommended", EXPERIMENTS / "countries_s3.toml", arguments.seeds),
    ]
    for path in report.write(logs, arguments.out)[:2]:
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
