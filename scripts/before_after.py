"""The analysis this project began from, measured again: before, its automatic fix, after, and our recommendation.

    python scripts/before_after.py [--runs runs/before_after] [--seeds 3] [--fix-seeds 5] [--out docs/report]

Trains `experiments/report_before.toml` and what `ppo-jax diagnose --fix` makes of its first seed over `--fix-seeds`
seeds, `experiments/report_after.toml` and `experiments/countries_s3.toml` over `--seeds`, and writes report.html and
report.md. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax

from ppo_jax.analysis import report
from ppo_jax.analysis.diagnose import diagnose, fix
from ppo_jax.analysis.readers import RunLog, read_run
from ppo_jax.config import load_config
from ppo_jax.runs import runner
from ppo_jax.sweeps import sweep
from ppo_jax.sweeps.plan import make_plan

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def trained(config_file: Path, folder: Path, seeds: int) -> list[RunLog]:
    """Train the runs of a configuration unless they are there, and read them."""
    plan = make_plan(load_config(config_file), seeds)
    sweep.run(plan, folder, chunk=1)
    jax.clear_caches()
    return [read_run(folder / "members" / member.name) for member in plan.members]


def main() -> None:
    """Train what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/before_after"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fix-seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/report"))
    arguments = parser.parse_args()
    runner.use_compilation_cache()

    runs, n, n_fix = arguments.runs, arguments.seeds, arguments.fix_seeds
    before = trained(EXPERIMENTS / "report_before.toml", runs / "before", n_fix)
    fixed = runs / "fixed.toml"
    if not fixed.exists():
        fixed.write_text(fix(before[0], diagnose(before[0])))
    logs = [
        *before,
        *trained(fixed, runs / "fixed", n_fix),
        *trained(EXPERIMENTS / "report_after.toml", runs / "after", n),
        *trained(EXPERIMENTS / "countries_s3.toml", runs / "recommended", n),
    ]
    for path in report.write(logs, arguments.out)[:2]:
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
