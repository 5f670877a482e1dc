"""What runs were judged on: scores in different environments, or on different queries, do not compare."""

from __future__ import annotations

from collections.abc import Sequence

from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.rules.evidence import number_at
from ppo_jax.analysis.run_sets import RunSet
from ppo_jax.proving.results import ANSWERS, PROTOCOLS

__all__ = ["different_queries"]

Asked = set[tuple[str, str]] | int  # queries, each with its answer where that is open; or how many


def different_queries(run_sets: Sequence[RunSet]) -> str | None:
    """A line that names runs of another environment, or judged on other queries, than the first; None if none is."""
    every = [(log.name, log.settings.get("env_id")) for run_set in run_sets for log in run_set.logs]
    trained = [(name, env_id) for name, env_id in every if env_id]
    if other := next(((name, env_id) for name, env_id in trained if env_id != trained[0][1]), None):
        (first, theirs), (name, own) = trained[0], other
        return (
            f"trained in different environments, {first} in {theirs} and {name} in {own}: scores compare only where "
            "these are the same task"
        )
    known = [(log.name, asked) for run_set in run_sets for log in run_set.logs if (asked := _asked(log))]
    others = [(name, asked) for name, asked in known[1:] if _differ(asked, known[0][1])]
    if not others:
        return None
    (first, theirs), (name, own) = known[0], others[0]
    shared = f", {len(theirs & own):,} of them the same" if isinstance(theirs, set) and isinstance(own, set) else ""
    more = f"; {len(others) - 1} more differ from {first} too" if others[1:] else ""
    return (
        f"judged on different queries, so their scores on test do not compare: {first} on {_count(theirs):,}, "
        f"{name} on {_count(own):,}{shared}{more}"
    )


def _asked(log: RunLog) -> Asked | None:
    """The test queries of a run, each with its answer where that is open; how many, where no more is on record."""
    if asked := {(str(line.get("query")), str(line.get("answer", ""))) for line in log.queries if "query" in line}:
        return asked
    counts = (number_at(log.summary, "test", protocol, "n_queries") for protocol in (*PROTOCOLS, ANSWERS))
    return next((int(count) for count in counts if count), None)


def _differ(a: Asked, b: Asked) -> bool:
    return a != b if type(a) is type(b) else _count(a) != _count(b)


def _count(asked: Asked) -> int:
    return asked if isinstance(asked, int) else len(asked)
