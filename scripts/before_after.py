"""The analysis this project began from, measured again: before, its automatic fix, after, and our recommendation.

    python scripts/before_after.py [--runs runs/before_after] [--seeds 3] [--fix-seeds 5] [--out …/report]

Trains `scripts/before_after/before.toml` and what `ppo-jax diagnose --fix` makes of its first seed over `--fix-seeds`
seeds, `scripts/before_after/after.toml` and the experiment `countries_s3` over `--seeds`, and writes report.html and
report.md into the folder `report` of the runs, or into `--out`. Finished runs are not repeated.

docs/before_after.md says what came of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax

from ppo_jax.analysis import report
from ppo_jax.analysis.diagnose import diagnose, fix
from ppo_jax.analysis.readers import RunLog, read_run
from ppo_jax.config import load_config
from ppo_jax.runs.compiled_programs import use_compilation_cache
from ppo_jax.sweeps import sweep
from ppo_jax.sweeps.plan import make_plan

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGURATIONS = REPOSITORY / "scripts" / "before_after"


def trained(experiment: Path | str, folder: Path, seeds: int) -> list[RunLog]:
    """Train the runs of a configuration unless they are there, and read them."""
    plan = make_plan(load_config(experiment), seeds)
    sweep.run(plan, folder, chunk=1)
    jax.clear_caches()
    return [read_run(folder / "members" / member.name) for member in plan.members]


def main() -> None:
    """Train what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/before_after"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fix-seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="default: the folder report of --runs")
    arguments = parser.parse_args()
    use_compilation_cache()

    runs, n, n_fix = arguments.runs, arguments.seeds, arguments.fix_seeds
    before = trained(CONFIGURATIONS / "before.toml", runs / "before", n_fix)
    fixed = runs / "fixed.toml"
    if not fixed.exists():
        fixed.write_text(fix(before[0], diagnose(before[0])))
    logs = [
        *before,
        *trained(fixed, runs / "fixed", n_fix),
        *trained(CONFIGURATIONS / "after.toml", runs / "after", n),
        *trained("countries_s3", runs / "recommended", n),
    ]
    for path in report.write(logs, arguments.out or runs / "report")[:2]:
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
