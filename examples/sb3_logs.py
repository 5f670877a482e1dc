"""The analyst from Python: what is wrong with a run of Stable-Baselines3, why, and what to change.

Reads a `progress.csv` and the settings that such a log does not hold, and prints what the rules find, root causes first.
By default it reads a run whose KL limit was far too small. Takes a second, and imports neither JAX nor
Stable-Baselines3.

    python examples/sb3_logs.py logs/progress.csv n_envs=8 n_steps=128 batch_size=256
"""

import argparse
from pathlib import Path

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import check_settings, read

EXAMPLE = Path(__file__).parents[1] / "tests" / "golden" / "sb3_tight_kl.csv"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("log", nargs="?", type=Path, default=EXAMPLE)
parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="what the log does not say")
args = parser.parse_args()

log = read(args.log, check_settings(dict(one.split("=", 1) for one in args.settings)))
diagnosis = diagnose(log)

print(f"{args.log.name}: {log.n_updates} updates, last return {log.last('episode_return_mean')}")
for finding in diagnosis.findings:
    print(f"\n{finding.severity}: {finding.id} (confidence {finding.confidence:.2f})")
    print(f"  seen    {finding.evidence}\n  cause   {finding.cause}\n  advice  {finding.advice}")
    if finding.changes:
        print("  set    ", ", ".join(f"{key}={value}" for key, value in finding.changes.items()))
print(f"\nnot judged, for want of a column or a setting: {', '.join(one.id for one in diagnosis.unjudged)}")
