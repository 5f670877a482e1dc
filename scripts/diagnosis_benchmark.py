"""How often does the diagnosis name a fault that was built into a run, and how often does it accuse a healthy one?

    python scripts/diagnosis_benchmark.py [--runs runs/diagnosis] [--seeds 5] [--only NAME …] [--shard 1/2] [--json]

Every fault is trained on one to three tasks and `--seeds` seeds, beside healthy runs of the same tasks; the logs of two
real runs of Stable-Baselines3, one healthy and one broken, are read as they are (tests/golden). The seeds of a fault on
a task are a sweep; what is there is not repeated, so the script can be stopped and started again. `--only` takes names
of faults, "healthy" or tasks, or parts of them; `--shard 1/2` and `--shard 2/2` share the work between two processes,
after which a call without it prints the table. benchmarks/log.md has the table.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from rich.console import Console
from rich.table import Table

from ppo_jax import ppo
from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import RunLog, read_run, read_sb3
from ppo_jax.analysis.readers.names import VOCABULARIES
from ppo_jax.config import Config, load_config
from ppo_jax.files import write_atomically
from ppo_jax.networks.mlp import MLPActorCritic
from ppo_jax.ops.distributions import DiagonalGaussian
from ppo_jax.proving import datasets
from ppo_jax.runs.compiled_programs import use_compilation_cache
from ppo_jax.runs.experiment import build, policy_params
from ppo_jax.sweeps import sweep
from ppo_jax.sweeps.plan import make_plan
from ppo_jax.tasks import gymnax
from ppo_jax.types import ActionSpace, Environment, EnvStep, PPOJaxError

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
# Short versions of the experiments: an evaluation costs more than the training it judges.
QUICK = {
    "cartpole": {"total_timesteps": 102_400, "eval_interval": 0, "eval_episodes": 16},
    "acrobot": {"total_timesteps": 204_800, "eval_interval": 0, "eval_episodes": 16},
    "pendulum": {"total_timesteps": 204_800, "eval_interval": 0, "eval_episodes": 16},
    "countries_s3": {"eval_interval": 10, "n_queries": 12, "beam_width": 8, "untrained_networks": 1},
}
HEALTHY = {"cartpole": 12, "acrobot": 10, "pendulum": 6, "countries_s3": 12}  # seeds of each, from 100 on


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


def quiet_cartpole() -> Environment:
    """Rewards of 0.001."""
    return Altered(gymnax.make("CartPole-v1"), scale=0.001)


def quiet_acrobot() -> Environment:
    """Rewards of −0.001."""
    return Altered(gymnax.make("Acrobot-v1"), scale=0.001)


def poisoned_cartpole() -> Environment:
    """NaN after the 1,500th step of an environment."""
    return Altered(gymnax.make("CartPole-v1"), poison_after=1500)


def poisoned_acrobot() -> Environment:
    """NaN after the 1,500th step of an environment."""
    return Altered(gymnax.make("Acrobot-v1"), poison_after=1500)


def memory_chain() -> Environment:
    """What is shown at first is asked for ten steps later."""
    environment = gymnax.make("MemoryChain-bsuite").environment
    return gymnax.from_environment(environment, environment.default_params.replace(memory_length=10))


class FrozenStd(nn.Module):
    """The network of Pendulum with a std of 1 that nothing trains."""

    action_space: ActionSpace

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[DiagonalGaussian, jax.Array]:
        """Distribution [n] and value [n] of observations [n, …]."""
        distribution, value = MLPActorCritic(self.action_space)(observation)
        return DiagonalGaussian(distribution.mean, jax.lax.stop_gradient(distribution.log_std)), value


@dataclass(frozen=True)
class Fault:
    """One way to break a run."""

    name: str
    named_by: tuple[str, ...]  # findings that name it
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)  # task -> settings that break it
    fresh_statistics: bool = False  # evaluated with observations normalised by statistics of no data


def on(*tasks: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """The same settings on several tasks."""
    return dict.fromkeys(tasks, settings)


def scaled_rates(factor: float) -> dict[str, dict[str, Any]]:
    """The learning rates of the three experiments, schedules and all, times a factor."""
    found: dict[str, dict[str, Any]] = {}
    for task in ALL:
        ppo = load_config(task).to_dict()["ppo"]
        rates = {key: ppo[key] for key in ("learning_rate", "critic_learning_rate") if key in ppo}
        found[task] = {
            key: rate | {end: factor * rate[end] for end in ("init", "final")} for key, rate in rates.items()
        }
    return found


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
        scaled_rates(100.0),
    ),
    Fault(
        "learning rate 100 times too low",
        ("lr-too-low",),
        scaled_rates(0.01),
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
    Fault(
        "rewards divided by 1000",
        ("reward-scale",),
        {
            "cartpole": {"env_id": "diagnosis_benchmark:quiet_cartpole"},
            "acrobot": {"env_id": "diagnosis_benchmark:quiet_acrobot"},
        },
    ),
    Fault("learning rate of 1e-5", ("lr-too-low",), on("cartpole", "acrobot", learning_rate=1e-5)),
    Fault(
        "rollouts of 2 steps",
        ("rollout-too-small",),
        on("cartpole", "acrobot", n_envs=1, n_steps=2, batch_size=2, total_timesteps=2000),
    ),
    Fault(
        "late jump of the learning rate",
        ("return-collapse", "lr-too-high"),
        on("cartpole", learning_rate={"init": 1e-3, "final": 0.1, "start": 0.6, "end": 0.62}),
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
    Fault(
        "training set overlaps test",
        ("data-leak",),
        {"countries_s3": {"env_id": None, "dataset": "leaky", "mode": "verify"}},
    ),
    Fault(
        "entropy bonus lets the std grow",
        ("std-grows", "entropy-bonus-dominates"),
        on("pendulum", ent_coef=1.0, learning_rate=1e-3),
    ),
    Fault(
        "std is not trained",
        ("entropy-stuck",),
        on("pendulum", network="diagnosis_benchmark:FrozenStd"),
    ),
    Fault(
        "evaluated with other statistics",
        ("evaluation-below-training",),
        on("cartpole", "pendulum", normalize_observations=True),
        fresh_statistics=True,
    ),
    Fault(
        "memory needed",
        ("memory-needed",),
        on("cartpole", env_id="diagnosis_benchmark:memory_chain", n_envs=64, n_steps=64, batch_size=1024),
    ),
    Fault("value clip far below the returns", ("value-clip-saturated",), on("cartpole", "acrobot", clip_range_vf=0.02)),
)


def leaky_dataset(folder: Path) -> Path:
    """Countries S3 with the test queries among the training facts."""
    files = datasets.build_countries("countries_s3", None)
    files["train.txt"] += files["test.txt"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as apart:  # another shard may be writing it too
            datasets.write_folder(files, Path(apart) / "leaky")
            with contextlib.suppress(OSError):
                (Path(apart) / "leaky").rename(folder)
    return folder


def trained(runs: Path, name: str, task: str, settings: dict[str, Any], seeds: range) -> list[RunLog]:
    """Train the runs of a fault on a task unless they are there, and read them."""
    folder = runs / f"{task}-{re.sub('[^a-z0-9]+', '-', name.lower())}"
    if settings.get("dataset") == "leaky":
        settings = settings | {"dataset": str(leaky_dataset(runs / "leaky"))}
    config = load_config(task, QUICK[task] | settings | {"seed": seeds.start})
    plan = make_plan(config.with_absolute_dataset(), len(seeds))
    try:
        sweep.run(plan, folder, chunk=1, progress=False)
    except PPOJaxError as error:  # one fault that cannot be trained must not end the rest; it is read as far as it goes
        print(f"{folder.name}: {error}", file=sys.stderr, flush=True)
    jax.clear_caches()  # dozens of programs would not fit into the process
    return [read_run(folder / "members" / member.name) for member in plan.members]


def evaluated_afresh(runs: Path, name: str, task: str, settings: dict[str, Any], seeds: range) -> list[RunLog]:
    """Train the seeds, evaluating them with fresh statistics, and read them as logs of Stable-Baselines3.

    Its EvalCallback does so with an environment of its own; runs of ours are evaluated with those of training.
    """
    config = load_config(task, QUICK[task] | settings)
    folder = runs / f"{task}-{re.sub('[^a-z0-9]+', '-', name.lower())}"
    paths = {seed: folder / f"{seed}.csv" for seed in seeds}
    if missing := {seed: path for seed, path in paths.items() if not path.exists()}:
        folder.mkdir(parents=True, exist_ok=True)
        _train_evaluated_afresh(config, missing)
        jax.clear_caches()
    return [read_sb3(path, config.to_dict()["ppo"]) for path in paths.values()]


def _train_evaluated_afresh(config: Config, paths: dict[int, Path]) -> None:
    """Train each seed, and write its log where `paths` says."""
    experiment, update = build(config), jax.jit(ppo.update)
    theirs = {ours: name for name, ours in VOCABULARIES["sb3"].items()}
    for seed, path in paths.items():
        lines, state = [], experiment.initial_state(seed)
        fresh = policy_params(experiment.trainer, state).observation_moments
        for i in range(1, config.settings.n_updates + 1):
            state, metrics = update(experiment.trainer, state)
            line = {key: float(value) for key, value in metrics.items()}
            line |= {"env_steps": i * config.settings.rollout_size, "-entropy": -line["entropy"]}
            if i % 10 == 0:
                policy = policy_params(experiment.trainer, state)._replace(observation_moments=fresh)
                line["eval/episode_return_mean"] = experiment.evaluate(policy, "valid")["return_mean"]
            lines.append({theirs[key]: x for key, x in line.items() if key in theirs and x == x})
        write_atomically(path, _as_csv(lines))


def _as_csv(lines: list[dict[str, float]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)))
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


@dataclass(frozen=True)
class Case:
    """Runs to judge: the seeds of one fault on one task."""

    fault: Fault | None  # None: healthy
    task: str
    seeds: range
    settings: dict[str, Any] = field(default_factory=dict)
    sb3: str = ""  # name of a log of Stable-Baselines3 in tests/golden, in place of runs of ours

    @property
    def name(self) -> str:
        return self.fault.name if self.fault else "healthy"

    def read(self, runs: Path) -> list[RunLog]:
        if self.sb3:
            return [read_sb3(GOLDEN / f"{self.sb3}.csv", SB3_SETTINGS)]
        if self.fault and self.fault.fresh_statistics:
            return evaluated_afresh(runs, self.name, self.task, self.settings, self.seeds)
        return trained(runs, self.name, self.task, self.settings, self.seeds)


# What scripts/golden_sb3_logs.py set, and the defaults of Stable-Baselines3; its log lacks these.
SB3_SETTINGS = {
    **{"n_envs": 8, "n_steps": 128, "batch_size": 256, "gamma": 0.99, "gae_lambda": 0.95},
    **{"ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5},
}


def cases(seeds: int) -> list[Case]:
    """Healthy runs, faults, and the two logs of Stable-Baselines3."""
    return [
        *(Case(None, task, range(100, 100 + n)) for task, n in HEALTHY.items()),
        *(Case(fault, task, range(seeds), settings) for fault in FAULTS for task, settings in fault.tasks.items()),
        Case(None, "cartpole of SB3", range(1), sb3="sb3_healthy"),
        Case(FAULTS[0], "cartpole of SB3", range(1), sb3="sb3_tight_kl"),
    ]


def judge(case: Case, runs: Path) -> list[dict[str, Any]]:
    """What is found in each run, and whether it names the fault."""
    named_by = case.fault.named_by if case.fault else ()
    rows = []
    for seed, log in zip(case.seeds, case.read(runs), strict=True):
        found = diagnose(log).findings
        ids = [finding.id for finding in found]
        rows.append(
            {
                "fault": case.fault and case.fault.name,
                "task": case.task,
                "seed": seed,
                "named_first": bool(ids) and ids[0] in named_by,
                "named": bool(set(ids) & set(named_by)),
                "errors": [finding.id for finding in found if finding.severity == "error"],
                "found": ids,
            }
        )
    return rows


def chosen(all_cases: list[Case], only: list[str], shard: str) -> list[Case]:
    """The cases whose fault or task one of `only` names, of these every n-th, from the k-th on, for ``k/n``."""
    k, n = map(int, shard.split("/"))
    if not 1 <= k <= n:
        raise SystemExit(f"--shard {shard}: expected k/n with 1 <= k <= n")
    asked = [one for one in all_cases if not only or any(text in one.name or text in one.task for text in only)]
    if not asked:
        raise SystemExit(
            f"--only {' '.join(only)}: no such fault or task; faults: " + ", ".join(f.name for f in FAULTS)
        )
    return asked[k - 1 :: n]


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/diagnosis"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="parts of names of faults or tasks")
    parser.add_argument("--shard", default="1/1", metavar="K/N", help="every N-th fault and task, from the K-th on")
    parser.add_argument("--json", action="store_true", help="print every run as a line of JSON instead of the table")
    arguments = parser.parse_args()
    use_compilation_cache()
    rows, asked = [], chosen(cases(arguments.seeds), arguments.only, arguments.shard)
    for number, case in enumerate(asked, start=1):
        found = judge(case, arguments.runs)
        rows += found
        if arguments.json:
            print("\n".join(map(json.dumps, found)), flush=True)
        else:
            print(f"{number}/{len(asked)} {case.name}, {case.task}", file=sys.stderr, flush=True)
    if not arguments.json:
        show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table, and the shares over all runs."""
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
    if broken:
        print(
            f"named first {sum(row['named_first'] for row in broken) / len(broken):.1%}, "
            f"named at all {sum(row['named'] for row in broken) / len(broken):.1%} of {len(broken)} broken runs"
        )
    if healthy:
        accused = sum(bool(row["errors"]) for row in healthy)
        print(f"an error in {accused / len(healthy):.1%} of {len(healthy)} healthy runs")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
