"""Write the logs of two real Stable-Baselines3 runs that the tests and the diagnosis benchmark read.

It needs an environment apart from the project's, for torch is no dependency of ppo_jax::

    python -m venv sb3 && sb3/bin/pip install torch==2.13.0 stable-baselines3==2.9.2
    sb3/bin/python scripts/golden_sb3_logs.py tests/golden

CartPole-v1, once healthy and once with 20 epochs under a tight KL limit.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure

RUNS = {
    "sb3_healthy": {"n_epochs": 4, "learning_rate": lambda left: 1e-3 * left},
    "sb3_tight_kl": {"n_epochs": 20, "target_kl": 0.003, "learning_rate": 1e-3},
}


def main() -> None:
    """Train both and keep their progress.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for name, settings in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
            model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, seed=0, device="cpu", **settings)
            model.set_logger(configure(folder, ["csv"]))
            model.learn(61_440)
            shutil.copy(Path(folder) / "progress.csv", arguments.folder / f"{name}.csv")


if __name__ == "__main__":
    main()
