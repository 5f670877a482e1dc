"""Which suites there are, by the prefix of their ids: ``brax/ant`` is `ant` of Brax, and needs ppo-jax[brax]."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax

from ppo_jax.config.suggestions import nearest
from ppo_jax.config.task_id import named_outside
from ppo_jax.tasks.suites.common import SuiteEnvironment
from ppo_jax.types import PPOJaxError

__all__ = ["SUITES", "Suite", "is_named", "make", "other_name"]


@dataclass(frozen=True)
class Suite:
    """A library of environments. Its prefix is also the name of its extra and of its module beside this one."""

    prefix: str
    library: str  # that is imported
    title: str

    @property
    def extra(self) -> str:
        """Of ppo-jax, which installs the library."""
        return self.prefix

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.library) is not None

    def module(self) -> ModuleType:
        """Its adapter: `names()`, `make(name, **options)` and, where some cannot be had, `NOT_OFFERED` with why.

        Raises:
            PPOJaxError: the library is not installed, or cannot be imported.
        """
        if not self.installed:
            raise PPOJaxError(
                f"{self.prefix}/ needs {self.title}, which is not installed: pip install 'ppo-jax[{self.extra}]'"
            )
        try:
            importlib.import_module(self.library)
        except Exception as error:  # whatever a library does when imported beside others
            raise PPOJaxError(f"{self.title} cannot be imported: {type(error).__name__}: {error}") from error
        return importlib.import_module(f"ppo_jax.tasks.suites.{self.prefix}")

    def ids(self) -> list[str]:
        """Every id that `make` accepts of this suite, sorted.

        Raises:
            PPOJaxError: as `module`.
        """
        return sorted(f"{self.prefix}/{name}" for name in self.module().names())


SUITES = {
    suite.prefix: suite
    for suite in (
        Suite("brax", "brax", "Brax"),
        Suite("craftax", "craftax", "Craftax"),
        Suite("gymnasium", "gymnasium", "Gymnasium"),
        Suite("jumanji", "jumanji", "Jumanji"),
        Suite("navix", "navix", "NAVIX"),
        Suite("pgx", "pgx", "Pgx"),
        Suite("playground", "mujoco_playground", "MuJoCo Playground"),
        Suite("xminigrid", "xminigrid", "XLand-MiniGrid"),
    )
}

# Ids that people know from Gymnasium, or without the prefix: a pattern and what is meant by a match.
_OTHER_NAMES = (
    (r"(ant|halfcheetah|hopper|humanoid|humanoidstandup|pusher|reacher|walker2d)(-v\d+)?", r"brax/\1"),
    (r"swimmer(-v\d+)?", "playground/SwimmerSwimmer6"),  # Brax's is not offered
    (r"inverted_?pendulum(-v\d+)?", "brax/inverted_pendulum"),
    (r"inverted_?double_?pendulum(-v\d+)?", "brax/inverted_double_pendulum"),
    (r"(?-i:(Craftax-.+))", r"craftax/\1"),
    (r"(?-i:(Navix-.+))", r"navix/\1"),
    (r"(?-i:((BipedalWalker|Blackjack|CarRacing|CliffWalking|LunarLander|Taxi).*-v\d+))", r"gymnasium/\1"),
    (r"(?-i:(?:gymnasium/)?(ALE/\w+-v\d+))", r"gymnasium/ale_py:\1"),
    (r"(?-i:(\w+)NoFrameskip-v\d+)", r"gymnasium/ale_py:ALE/\1-v5"),
    (r"(?-i:((XLand-)?MiniGrid-.+?))(-v\d+)?", r"xminigrid/\1"),
)


def is_named(env_id: str) -> bool:
    """Whether an id is of a suite: it has a prefix."""
    return "/" in env_id


@functools.cache
def make(env_id: str, **options: Any) -> SuiteEnvironment:
    """Make an environment of a suite; the same arguments give the same instance, so nothing compiles twice.

    Args:
        env_id: ``prefix/name``.
        **options: (hashable) arguments of the environment, which the suite knows.

    Raises:
        PPOJaxError: no such suite, or it is not installed (says how), no such id in it (names the nearest), or it
            refuses the arguments.
    """
    prefix, _, name = env_id.partition("/")
    other = other_name(env_id)
    if prefix not in SUITES:
        hint = f"did you mean {other}?" if other else f"there is no suite {prefix!r}; {nearest(prefix, SUITES)}"
        raise PPOJaxError(f"unknown env_id {env_id!r}{';' if other else ':'} {hint}")
    module = SUITES[prefix].module()
    imports, _, registered = name.rpartition(":")  # of Gymnasium, whose make imports the module first
    if registered in (left_out := getattr(module, "NOT_OFFERED", {})):
        raise PPOJaxError(f"env_id {env_id!r} {left_out[registered]} and is not offered")
    if name not in module.names() and not (imports and named_outside(env_id)):
        hint = f"did you mean {other}?" if other else nearest(env_id, SUITES[prefix].ids())
        raise PPOJaxError(f"unknown env_id {env_id!r}; {hint}")
    try:
        # Concrete even when called under a trace: the instance outlives it, in the cache.
        with jax.ensure_compile_time_eval(), jax.numpy_rank_promotion("allow"):
            made: SuiteEnvironment = module.make(name, **options)
    except PPOJaxError:
        raise
    except Exception as error:  # whatever a suite makes of the arguments
        given = f" with the arguments {options}" if options else ""
        raise PPOJaxError(f"env_id {env_id!r} cannot be made{given}: {type(error).__name__}: {error}") from error
    return made


def other_name(env_id: str) -> str | None:
    """The id of a suite that is meant by one without a prefix, such as Gymnasium's ``Ant-v4``; or None."""
    for pattern, meant in _OTHER_NAMES:
        if match := re.fullmatch(pattern, env_id, re.IGNORECASE):
            found = match.expand(meant)
            return found.lower() if found.startswith("brax/") else _newest(found)
    return None


def _newest(env_id: str) -> str:
    """An id of Gymnasium in the version that there is: ``LunarLander-v2`` is now ``LunarLander-v3``."""
    suite, (stem, version, _) = SUITES["gymnasium"], env_id.rpartition("-v")
    if not (version and env_id.startswith("gymnasium/") and ":" not in env_id and suite.installed):
        return env_id
    known = [one for one in suite.ids() if one.rpartition("-v")[0] == stem]
    return env_id if env_id in known or not known else max(known, key=lambda one: int(one.rpartition("-v")[2]))
