"""``python -m ppo_jax.analysis``: the diagnosis of a log by light libraries alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.console import call

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
OLD_RUN = Path(__file__).resolve().parents[1] / "fixtures" / "old_runs" / "countries"
# Each line of the input is the arguments of one call; modules imported by all of them are the last line of the output.
SCRIPT = """
import runpy, sys
for line in sys.stdin.read().splitlines():
    sys.argv = ["analysis", *line.split("|")]
    try:
        runpy.run_module("ppo_jax.analysis", run_name="__main__")
    except SystemExit as end:
        print("exit", end.code, flush=True)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_a_log_is_diagnosed_without_jax_and_as_the_command_does():
    tight = [str(GOLDEN / "sb3_tight_kl.csv"), "--set", "n_steps=128", "n_envs=8"]
    calls = [
        [str(OLD_RUN)],
        [*tight, "--json"],
        ["nothing.csv"],
        [str(OLD_RUN), "--set", "gamma=0.9"],
        [str(GOLDEN / "sb3_healthy.csv")],
    ]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input="\n".join(map("|".join, calls)),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    shown, found, missing, known, healthy, loaded = run.stdout.replace("exit", "\0exit").split("\0")
    assert "lr-too-low" in shown and "beaten-by-baseline" in shown
    assert found.startswith("exit 1")
    assert json.loads(found.partition("\n")[2]) == json.loads(call("diagnose", *tight, "--json")[1])
    assert missing.startswith("exit 1") and known.startswith("exit 2") and healthy.startswith("exit 2")
    assert loaded.startswith("exit 0")
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert "nothing.csv: no run there" in errors[0] and "gamma: the run's config.toml says it" in errors[1]
    assert len(errors) == 2 and "Traceback" not in run.stderr
    heavy = {"jax", "jaxlib", "flax", "optax", "orbax", "chex", "gymnax", "matplotlib", "scipy", "jinja2", "tyro"}
    assert heavy & set(loaded.split()) == set()
