"""How often does the diagnosis name a fault that was built into a run, and how often does it accuse a healthy one?

    python scripts/diagnosis_benchmark.py [--runs runs/diagnosis] [--seeds 5] [--json]

Every fault is trained on one or two tasks and `--seeds` seeds, beside healthy runs of the same tasks. Runs are ordinary
run folders; finished ones are not repeated. docs/diagnosis.md reports the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from ppo_jax import runner
from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.logs import RunLog, read_run
from ppo_jax.config import load_config
from ppo_jax.envs import gymnax
from ppo_jax.logic import datasets
from ppo_jax.types import Environment, EnvStep

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
# Short versions of the experiments: an evaluation costs more than the training it judges.
QUICK = {
    "cartpole": {"total_timesteps": 102_400, "eval_interval": 0, "eval_episodes": 16},
    "acrobot": {"total_timesteps": 204_800, "eval_interval": 0, "eval_episodes": 16},
    "countries_s3": {"eval_interval": 10, "n_queries": 12, "beam_width": 8, "untrained_networks": 1},
}
HEALTHY = {"cartpole": 12, "acrobot": 10, "countries_s3": 12}  # seeds of each, from 100 on


@dataclass(frozen=True)
class Altered:
    """CartPole or Acrobot with each reward multiplied, and from some step of an episode on not a number."""

    env: Environment
    scale: float = 1.0
    poison_after: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "env"), name)

    def reset(self, key: Any, params: Any) -> tuple[Any, Any]:
        """Reset, counting steps from 0."""
        observation, state = self.env.reset(key, params)
        return observation, (state, jnp.zeros((), jnp.int32))

    def step(self, key: Any, state: Any, action: Any, params: Any) -> EnvStep:
        """Step with the altered reward."""
        inner, count = state
        step = self.env.step(key, inner, action, params)
        reward = step.reward * self.scale
        if self.poison_after is not None:
            reward = jnp.where(count >= self.poison_after, jnp.nan, reward)
        return step._replace(state=(step.state, count + 1), reward=reward)


def silent_cartpole() -> Environment:
    """No reward at all."""
    return Altered(gymnax.make("CartPole-v1"), scale=0.0)


def silent_acrobot() -> Environment:
    """No reward at all."""
    return Altered(gymnax.make("Acrobot-v1"), scale=0.0)


def loud_cartpole() -> Environment:
    """Rewards of 1000."""
    return Altered(gymnax.make("CartPole-v1"), scale=1000.0)


def loud_acrobot() -> Environment:
    """Rewards of −1000."""
    return Altered(gymnax.make("Acrobot-v1"), scale=1000.0)


def poisoned_cartpole() -> Environment:
    """NaN after the 1,500th step of an environment."""
    return Altered(gymnax.make("CartPole-v1"), poison_after=1500)


def poisoned_acrobot() -> Environment:
    """NaN after the 1,500th step of an environment."""
    return Altered(gymnax.make("Acrobot-v1"), poison_after=1500)


@dataclass(frozen=True)
class Fault:
    """One way to break a run."""

    name: str
    named_by: tuple[str, ...]  # findings that name it
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)  # task -> settings that break it


def on(*tasks: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """The same settings on several tasks."""
    return dict.fromkeys(tasks, settings)


ALL = ("cartpole", "acrobot", "countries_s3")
CRITIC = ("critic-worse-than-mean", "critic-uninformative")
EPOCHS = ("too-many-epochs", "kl-early-stops", "kl-target-unreachable")
FAULTS = (
    Fault("20 epochs, tight KL limit", EPOCHS, on(*ALL, n_epochs=20, target_kl=0.003)),
    Fault(
        "batch larger than rollout",
        ("batch-exceeds-rollout",),
        {
            "cartpole": {"batch_size": 4096},
            "acrobot": {"batch_size": 8192},
            "countries_s3": {"batch_size": 8192},
        },
    ),
    Fault(
        "learning rate 100 times too high",
        ("lr-too-high", "non-finite"),
        on("cartpole", "acrobot", learning_rate=0.2) | on("countries_s3", learning_rate=0.1),
    ),
    Fault(
        "learning rate 100 times too low",
        ("lr-too-low",),
        on("cartpole", "acrobot", "countries_s3", learning_rate=1e-5 / 2),
    ),
    Fault(
        "no entropy bonus, high learning rate",
        ("entropy-collapse", "lr-too-high"),
        on("cartpole", "acrobot", "countries_s3", ent_coef=0.0, learning_rate=0.05),
    ),
    Fault(
        "entropy bonus too big",
        ("entropy-bonus-dominates", "entropy-stuck"),
        {"cartpole": {"ent_coef": 5.0}, "acrobot": {"ent_coef": 5.0}, "countries_s3": {"ent_coef": 5.0}},
    ),
    Fault(
        "rewards times 1000",
        ("reward-scale",),
        {
            "cartpole": {"env_id": "diagnosis_benchmark:loud_cartpole"},
            "acrobot": {"env_id": "diagnosis_benchmark:loud_acrobot"},
        },
    ),
    Fault("value coefficient 0", CRITIC, on("cartpole", "acrobot", "countries_s3", vf_coef=0.0)),
    Fault("frozen critic", CRITIC, on("cartpole", "acrobot", "countries_s3", critic_learning_rate=0.0)),
    Fault("gamma of 0", ("horizon-too-short",), on("cartpole", "acrobot", "countries_s3", gamma=0.0)),
    Fault(
        "n_steps of 4",
        ("rollout-shorter-than-episode",),
        on("cartpole", n_steps=4, n_envs=32, batch_size=32) | on("acrobot", n_steps=4, n_envs=128, batch_size=128),
    ),
    Fault(
        "NaN injected",
        ("non-finite",),
        {
            "cartpole": {"env_id": "diagnosis_benchmark:poisoned_cartpole"},
            "acrobot": {"env_id": "diagnosis_benchmark:poisoned_acrobot"},
        },
    ),
    Fault(
        "advantages of zero",
        ("advantages-degenerate",),
        {
            "cartpole": {"env_id": "diagnosis_benchmark:silent_cartpole"},
            "acrobot": {"env_id": "diagnosis_benchmark:silent_acrobot"},
        },
    ),
    Fault("training set overlaps test", ("data-leak",), {"countries_s3": {"env_id": None, "dataset": "leaky"}}),
    Fault("value clip far below the returns", ("value-clip-saturated",), on("cartpole", "acrobot", clip_range_vf=0.02)),
)


def leaky_dataset(folder: Path) -> Path:
    """Countries S3 with the test queries among the training facts."""
    files = datasets.build_countries("countries_s3", None)
    files["train.txt"] += files["test.txt"]
    if not folder.exists():
        datasets.write_folder(files, folder)
    return folder


def trained(runs: Path, name: str, task: str, settings: dict[str, Any], seed: int) -> RunLog:
    """Train one run unless it is there, and read it."""
    folder = runs / f"{task}-{re.sub('[^a-z0-9]+', '-', name.lower())}-s{seed}"
    summary = folder / "summary.json"
    if not summary.exists() or json.loads(summary.read_text())["status"] == "running":
        if settings.get("dataset") == "leaky":
            settings = settings | {"dataset": str(leaky_dataset(runs / "leaky"))}
        config = load_config(EXPERIMENTS / f"{task}.toml", QUICK[task] | settings | {"seed": seed})
        runner.train(config, folder, overwrite=True, progress=False, warn=lambda text: None)
        jax.clear_caches()  # hundreds of programs would not fit into the process
    return read_run(folder)


def judge(runs: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """One row a run: fault (None: healthy), task, seed, what was found."""
    kinds = [(None, task, {}, range(100, 100 + n)) for task, n in HEALTHY.items()]
    kinds += [(fault, task, settings, range(seeds)) for fault in FAULTS for task, settings in fault.tasks.items()]
    for fault, task, settings, range_of_seeds in kinds:
        for seed in range_of_seeds:
            log = trained(runs, fault.name if fault else "healthy", task, settings, seed)
            found = diagnose(log).findings
            ids = [finding.id for finding in found]
            yield {
                "fault": fault.name if fault else None,
                "task": task,
                "seed": seed,
                "named_first": bool(fault and ids and ids[0] in fault.named_by),
                "named": bool(fault and set(ids) & set(fault.named_by)),
                "errors": [finding.id for finding in found if finding.severity == "error"],
                "found": ids,
            }


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/diagnosis"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print every run as a line of JSON instead of the table")
    arguments = parser.parse_args()
    runner.use_compilation_cache()
    rows = []
    for row in judge(arguments.runs, arguments.seeds):
        rows.append(row)
        if arguments.json:
            print(json.dumps(row), flush=True)
    if arguments.json:
        return
    table = Table("fault", "task", "runs", "named first", "named", "else first", box=None, header_style="bold")
    for fault, task in dict.fromkeys((row["fault"], row["task"]) for row in rows):
        part = [row for row in rows if (row["fault"], row["task"]) == (fault, task)]
        if fault is None:
            accused = sum(bool(row["errors"]) for row in part)
            table.add_row("healthy", task, str(len(part)), "", "", f"{accused} with an error")
            continue
        else_first = sorted({(row["found"] or ["nothing"])[0] for row in part if not row["named_first"]})
        first, named = (sum(row[key] for row in part) for key in ("named_first", "named"))
        table.add_row(fault, task, str(len(part)), str(first), str(named), ", ".join(else_first))
    Console(width=120).print(table)
    broken = [row for row in rows if row["fault"]]
    healthy = [row for row in rows if not row["fault"]]
    print(
        f"named first {sum(row['named_first'] for row in broken) / len(broken):.1%}, "
        f"named at all {sum(row['named'] for row in broken) / len(broken):.1%} of {len(broken)} broken runs; "
        f"an error in {sum(bool(row['errors']) for row in healthy) / len(healthy):.1%} of {len(healthy)} healthy ones"
    )


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
