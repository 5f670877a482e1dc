"""What there is to train on: environments by suite, what each observes and does, and what it needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ppo_jax.config.experiments import NEEDS_MEMORY
from ppo_jax.config.task_id import PREFIX, is_import_path, path_of_code
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.tasks import gymnax
from ppo_jax.tasks.make import make_env
from ppo_jax.tasks.suites import registry
from ppo_jax.types import PPOJaxError, describe_action_space

__all__ = ["SUITES", "Suite", "describe", "describe_all", "environment_ids", "suite_of"]


class Suite(NamedTuple):
    """Environments that belong together."""

    name: str
    mark: str  # that ids of it begin or end with
    extra: str | None  # of ppo_jax, that it needs to be installed


SUITES = (
    *(Suite(suite.title, f"{prefix}/", suite.extra) for prefix, suite in registry.SUITES.items()),
    Suite("knowledge graphs", PREFIX, None),
    Suite("MinAtar", "-MinAtar", None),
    Suite("bsuite", "-bsuite", None),
    Suite("others of gymnax", "-misc", None),
    Suite("classic control", "", None),
)
_NEVER_TERMINATES = "never terminates, only truncates"
_NOTES = {
    "BernoulliBandit-misc": _NEVER_TERMINATES,
    "DiscountingChain-bsuite": _NEVER_TERMINATES,
    "Freeway-MinAtar": _NEVER_TERMINATES,
    "FrozenLake-misc": "the position is observed as a one-hot vector",
    "GaussianBandit-misc": _NEVER_TERMINATES,
    "Pendulum-v1": _NEVER_TERMINATES,
    "PointRobot-misc": _NEVER_TERMINATES,
    "Reacher-misc": _NEVER_TERMINATES,
    "SimpleBandit-bsuite": "the arms are permuted anew at every step: there is nothing to learn",
    "Swimmer-misc": _NEVER_TERMINATES,
}


def environment_ids(pattern: str) -> list[str]:
    """The ids that hold `pattern`, in any case: gymnax's, proof tasks, and those of the suite whose prefix begins it.

    The import path of an environment of your own is one id.

    Raises:
        PPOJaxError: that suite is not installed; says how.
    """
    if path_of_code(pattern):
        return [pattern]
    suite = registry.SUITES.get(pattern.partition("/")[0].lower())
    known = suite.ids() if suite else gymnax.environment_ids()
    return [env_id for env_id in known if pattern.lower() in env_id.lower()]


def suite_of(env_id: str) -> Suite:
    """The suite that an id is of."""
    if is_import_path(env_id):
        return Suite("your own", "", None)
    return next(suite for suite in SUITES if env_id.startswith(suite.mark) or env_id.endswith(suite.mark))


def describe(env_id: str) -> dict[str, Any]:
    """Say what an environment observes and does, as plain values; it is traced, never run.

    Returns:
        ``env_id``, ``suite``, ``extra`` (to install for it, or None), ``observation_shape`` (a list, or a dictionary or
        tuple of lists), ``action_space`` (``type`` with ``n``, or with ``low`` and ``high``), ``needs_memory``,
        ``can_truncate``, ``max_episode_length`` and ``note`` (a peculiarity, or None).

    Raises:
        PPOJaxError: as `ppo_jax.tasks.make.make_env`.
    """
    env: Any
    if is_import_path(env_id):
        env, params = make_env(env_id)
    else:
        env = registry.make(env_id) if registry.is_named(env_id) else gymnax.make(env_id)
        params = env.default_params
    observation, _ = jax.eval_shape(env.reset, jax.random.key(0), params)
    suite = suite_of(env_id)
    return {
        "env_id": env_id,
        "suite": suite.name,
        "extra": suite.extra,
        "observation_shape": jax.tree.map(lambda x: list(x.shape), observation),
        "action_space": describe_action_space(env.action_space),
        "needs_memory": env_id in NEEDS_MEMORY or getattr(env, "needs_memory", None) is True,
        "can_truncate": env.can_truncate,
        "max_episode_length": getattr(env, "max_episode_length", None),
        "note": _describe_proof_task(env) if isinstance(env, ProofEnv) else _NOTES.get(env_id),
    }


def describe_all(env_ids: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Describe what can be made here, and name the others: they need libraries or data of their own.

    Raises:
        PPOJaxError: nothing can be made.
    """
    rows, lacking = [], []
    for env_id in env_ids:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Gymnasium's, of every version that is not the newest
                rows.append(describe(env_id))
        except PPOJaxError:
            if env_id == env_ids[-1] and not rows:
                raise
            lacking.append(env_id)
    return rows, lacking


def _describe_proof_task(env: ProofEnv) -> str:
    assert env.dataset is not None
    kb, queries = env.dataset.kb, env.dataset.queries["train"]
    asked, known = (", ".join(kb.predicates[i - 1] for i in np.unique(atoms[:, 0])) for atoms in (queries, kb.facts))
    return (
        f"prove {asked} from {len(kb.facts)} facts of {known} and {len(kb.rules)} rules; an action is a fact "
        f"({env.sizes.max_facts} slots), a rule ({env.sizes.max_rules}) or `end`, masked"
    )
