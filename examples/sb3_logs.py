"""The analyst from Python: what is wrong with a run of Stable-Baselines3, why, and what to change.

Reads a `progress.csv`, with the settings that such a log does not hold, and prints what the rules find, root causes
first. Without an argument it reads a run whose KL limit was far too small. Takes a second, and imports neither JAX nor
Stable-Baselines3.

    python examples/sb3_logs.py logs/progress.csv
"""

import argparse
from pathlib import Path

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import read

EXAMPLE = Path(__file__).parents[1] / "tests" / "golden" / "sb3_tight_kl.csv"
# What a progress.csv does not say: the arguments of PPO.
SETTINGS = {"n_envs": 8, "n_steps": 128, "batch_size": 256, "target_kl": 0.003}
SETTINGS |= {"gamma": 0.99, "gae_lambda": 0.95, "ent_coef": 0.0}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("log", nargs="?", type=Path, default=EXAMPLE)
path = parser.parse_args().log

log = read(path, SETTINGS)
diagnosis = diagnose(log)

print(f"{log.name}: {log.n_updates} updates, last return {log.columns['episode_return_mean'][-1]:.0f}")
for finding in diagnosis.findings:
    print(f"\n{finding.severity}: {finding.id} (confidence {finding.confidence:.2f})")
    print(f"  seen    {finding.evidence}\n  cause   {finding.cause}\n  advice  {finding.advice}")
    if finding.changes:
        print("  set    ", ", ".join(f"{key}={value}" for key, value in finding.changes.items()))
for rule in diagnosis.unjudged:
    print(f"\nnot judged: {rule.id}, {rule.why}")
