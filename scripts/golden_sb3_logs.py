"""Write what the tests of the analyst read of Stable-Baselines3: the logs of two real runs, and PPO's defaults.

It needs an environment apart from the project's, for torch is no dependency of ppo_jax::

    python -m venv sb3 && sb3/bin/pip install torch==2.13.0 stable-baselines3==2.9.2
    sb3/bin/python scripts/golden_sb3_logs.py tests/golden

sb3_healthy.csv and sb3_tight_kl.csv are the progress.csv of CartPole-v1, once healthy and once with 20 epochs under a
tight KL limit; sb3_defaults.json holds the default arguments of PPO.
"""

from __future__ import annotations

import argparse
import inspect
import json
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
    defaults = {name: argument.default for name, argument in inspect.signature(PPO).parameters.items()}
    known = {name: x for name, x in defaults.items() if isinstance(x, bool | int | float | None)}
    (arguments.folder / "sb3_defaults.json").write_text(json.dumps(known, indent=2) + "\n")
    for name, settings in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
            model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, seed=0, device="cpu", **settings)
            model.set_logger(configure(folder, ["csv"]))
            model.learn(61_440)
            shutil.copy(Path(folder) / "progress.csv", arguments.folder / f"{name}.csv")


if __name__ == "__main__":
    main()
