"""The settings of a run: what they are, how they are read and written, and what is said of mistakes.

`Config` is one experiment, `load_config` reads it from TOML. `Settings` and `Hyperparams` are what the algorithm gets.
"""

from ppo_jax.config.config import OPEN_TABLES, SCHEDULED, SEARCH, SECTIONS, Config, check_once, from_dict, load_config
from ppo_jax.config.hyperparams import SCHEDULE_SHAPES, Hyperparams, KLAdaptive, Schedule, Settings
from ppo_jax.config.schema import EvaluationConfig, NetworkConfig, PPOConfig, RunConfig, ScheduleConfig, TaskConfig

__all__ = [
    "OPEN_TABLES",
    "SCHEDULED",
    "SCHEDULE_SHAPES",
    "SEARCH",
    "SECTIONS",
    "Config",
    "EvaluationConfig",
    "Hyperparams",
    "KLAdaptive",
    "NetworkConfig",
    "PPOConfig",
    "RunConfig",
    "Schedule",
    "ScheduleConfig",
    "Settings",
    "TaskConfig",
    "check_once",
    "from_dict",
    "load_config",
]
