"""Write what the tests of the analyst read of Stable-Baselines3: the logs of real runs, and PPO's defaults.

It needs an environment apart from the project's, for torch is no dependency of ppo_jax::

    python -m venv sb3 && sb3/bin/pip install torch==2.13.0 stable-baselines3==2.9.2 sb3-contrib==2.9.2
    sb3/bin/python scripts/golden_sb3_logs.py tests/golden

sb3_healthy.csv and sb3_tight_kl.csv are the progress.csv of CartPole-v1, once healthy and once with 20 epochs under a
tight KL limit; sb3_defaults.json holds the default arguments of PPO. sb3_logs/ has short runs of small networks in the
forms that people keep: with evaluations, continued, with gSDE, and of other algorithms. Times in them differ from one
writing to the next.
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
from pathlib import Path

import gymnasium
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

RUNS = {
    "sb3_healthy": {"n_epochs": 4, "learning_rate": lambda left: 1e-3 * left},
    "sb3_tight_kl": {"n_epochs": 20, "target_kl": 0.003, "learning_rate": 1e-3},
}
SMALL = {"seed": 0, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
ON_POLICY = {**SMALL, "n_steps": 128, "batch_size": 64, "n_epochs": 3}


def main() -> None:
    """Train all, or those named, and keep what they log."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="of the runs; all without")
    arguments = parser.parse_args()
    defaults = {name: argument.default for name, argument in inspect.signature(PPO).parameters.items()}
    known = {name: x for name, x in defaults.items() if isinstance(x, bool | int | float | None)}
    (arguments.folder / "sb3_defaults.json").write_text(json.dumps(known, indent=2) + "\n")
    for name, settings in RUNS.items():
        if not arguments.names or name in arguments.names:
            env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
            model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, seed=0, device="cpu", **settings)
            keep(model, arguments.folder / f"{name}.csv", [61_440])
    (arguments.folder / "sb3_logs").mkdir(exist_ok=True)
    for name, run in SHORT_RUNS.items():
        if not arguments.names or name in arguments.names:
            run(arguments.folder / "sb3_logs" / name)


def keep(model, file: Path, steps: list[int], forms=("csv",), **learning) -> None:
    """Learn, as often as `steps` are given, and keep the log in each form beside each other."""
    with tempfile.TemporaryDirectory() as folder:
        model.set_logger(configure(folder, list(forms)))
        for n in steps:
            model.learn(n, **learning)
        for written in Path(folder).glob("*.*"):
            file.with_suffix(written.suffix).write_text(written.read_text().replace(folder, "logs"))


def evaluations(every: int) -> EvalCallback:
    """An EvalCallback on CartPole-v1."""
    return EvalCallback(Monitor(gymnasium.make("CartPole-v1")), eval_freq=every, n_eval_episodes=1, verbose=0)


def masked() -> gymnasium.Env:
    """CartPole-v1 with masks, all actions valid."""
    return ActionMasker(gymnasium.make("CartPole-v1"), lambda env: [True, True])


def ppo() -> PPO:
    """A small PPO on CartPole-v1."""
    return PPO("MlpPolicy", "CartPole-v1", **ON_POLICY)


FORMS = ("csv", "json", "log")
CONTINUED = {"reset_num_timesteps": False}
OFF_POLICY = {**SMALL, "learning_starts": 100}
RECURRENT = {**ON_POLICY, "policy_kwargs": {"lstm_hidden_size": 8, "net_arch": [8]}}
SHORT_RUNS = {
    "ppo": lambda file: keep(ppo(), file, [2560], FORMS),
    "ppo_evaluated_each_rollout": lambda file: keep(ppo(), file, [2560], callback=evaluations(128)),
    "ppo_evaluated_each_100_steps": lambda file: keep(ppo(), file, [2560], FORMS, callback=evaluations(100)),
    "ppo_continued": lambda file: keep(ppo(), file, [1280, 1280], **CONTINUED),
    "ppo_continued_steps_from_0": lambda file: keep(ppo(), file, [1280, 1280]),
    "ppo_gsde": lambda file: keep(PPO("MlpPolicy", "Pendulum-v1", use_sde=True, **ON_POLICY), file, [2560]),
    "ppo_recurrent": lambda file: keep(RecurrentPPO("MlpLstmPolicy", "CartPole-v1", **RECURRENT), file, [1280]),
    "ppo_maskable": lambda file: keep(MaskablePPO("MlpPolicy", masked(), **ON_POLICY), file, [2560]),
    "a2c": lambda file: keep(A2C("MlpPolicy", "CartPole-v1", **SMALL), file, [1000], log_interval=10),
    "dqn": lambda file: keep(DQN("MlpPolicy", "CartPole-v1", **OFF_POLICY), file, [2000]),
    "sac": lambda file: keep(
        SAC("MlpPolicy", "Pendulum-v1", train_freq=20, **OFF_POLICY), file, [3000], log_interval=1
    ),
}

if __name__ == "__main__":
    main()
