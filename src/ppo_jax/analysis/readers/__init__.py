"""Readers of logs: run folders of ppo_jax, and the logs of Stable-Baselines3 and CleanRL.

A crashed or truncated run is read as far as it goes; what was missing is said in `RunLog.notes`.
"""

from __future__ import annotations

from pathlib import Path

from ppo_jax.analysis.readers.run_folder import read_run
from ppo_jax.analysis.readers.run_log import RunLog, check_settings, legible
from ppo_jax.analysis.readers.sb3 import read_sb3
from ppo_jax.analysis.readers.sweep_file import read_sweep
from ppo_jax.analysis.readers.tensorboard import EVENT_FILES, read_tensorboard

__all__ = ["RunLog", "check_settings", "legible", "read", "read_run", "read_sb3", "read_sweep", "read_tensorboard"]


def read(path: str | Path) -> RunLog:
    """Read what lies at `path`: a run folder of ppo_jax, a progress.csv or its folder, a folder of TensorBoard files.

    Raises:
        PPOJaxError: it is none of these.
    """
    path = Path(path)
    if path.suffix == ".csv" or (path / "progress.csv").exists():
        return read_sb3(path)
    ours = any((path / name).exists() for name in ("metrics.jsonl", "summary.json", "config.toml"))
    return read_tensorboard(path) if not ours and path.is_dir() and any(path.rglob(EVENT_FILES)) else read_run(path)
