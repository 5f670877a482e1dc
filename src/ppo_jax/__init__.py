"""PPO in JAX whose environment step, rollout, GAE and epochs are one XLA program.

Names are imported when first used, so ``import ppo_jax`` is instant. Train in a notebook, with metrics as arrays::

    import jax, ppo_jax
    from ppo_jax import ppo

    experiment = ppo_jax.build(ppo_jax.load_config("cartpole"))
    hp = experiment.config.hyperparams
    state, metrics = jax.jit(ppo.train)(experiment.trainer, jax.random.key(0), hp)
    metrics["episode_return_mean"]  # [n_updates]

``jax.vmap`` over it trains seeds, or hyperparameters, side by side. `train` writes a run folder, as the command line
does, and `resume` goes on with one. `load_policy` makes a pure function of what it trained, `make_env` gives the
environment to step it in.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo_jax.config import Config, Hyperparams, KLAdaptive, Schedule, load_config
    from ppo_jax.ops.distributions import Categorical, DiagonalGaussian, MultiCategorical
    from ppo_jax.ops.schedules import constant
    from ppo_jax.policies.export import export_policy
    from ppo_jax.policies.policy import Policy, load_policy
    from ppo_jax.policies.prover import Prover, load_prover
    from ppo_jax.ppo import Trainer
    from ppo_jax.proving.mined_rules import mine_rules
    from ppo_jax.runs.experiment import build
    from ppo_jax.runs.runner import resume, train
    from ppo_jax.tasks.make import make_env
    from ppo_jax.tasks.wrappers import Wrapper
    from ppo_jax.types import Box, Discrete, Environment, EnvStep, MultiDiscrete, PPOJaxError

    __version__: str

__all__ = [
    "Box",
    "Categorical",
    "Config",
    "DiagonalGaussian",
    "Discrete",
    "EnvStep",
    "Environment",
    "Hyperparams",
    "KLAdaptive",
    "MultiCategorical",
    "MultiDiscrete",
    "PPOJaxError",
    "Policy",
    "Prover",
    "Schedule",
    "Trainer",
    "Wrapper",
    "__version__",
    "build",
    "constant",
    "export_policy",
    "load_config",
    "load_policy",
    "load_prover",
    "make_env",
    "mine_rules",
    "resume",
    "train",
]

_NAMES_OF = {
    "config": ("Config", "Hyperparams", "KLAdaptive", "Schedule", "load_config"),
    "ops.distributions": ("Categorical", "DiagonalGaussian", "MultiCategorical"),
    "runs.experiment": ("build",),
    "policies.export": ("export_policy",),
    "policies.policy": ("Policy", "load_policy"),
    "policies.prover": ("Prover", "load_prover"),
    "ppo": ("Trainer",),
    "runs.runner": ("resume", "train"),
    "ops.schedules": ("constant",),
    "proving.mined_rules": ("mine_rules",),
    "tasks.make": ("make_env",),
    "tasks.wrappers": ("Wrapper",),
    "types": ("Box", "Discrete", "EnvStep", "Environment", "MultiDiscrete", "PPOJaxError"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("ppo-jax")
        except PackageNotFoundError:
            return "0+unknown"  # used from a source tree that is not installed
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'ppo_jax' has no attribute {name!r}")
    value = getattr(import_module(f"ppo_jax.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
