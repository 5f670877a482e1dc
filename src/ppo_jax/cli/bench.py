"""The command that measures speed: bench."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ppo_jax.cli.arguments import Switch
from ppo_jax.cli.console import output, say
from ppo_jax.cli.tables.bench import show_bench
from ppo_jax.config.suggestions import nearest
from ppo_jax.types import PPOJaxError

__all__ = ["Bench"]


@dataclass(frozen=True)
class Bench:
    """Measure how fast this machine trains, beside what it could do at most. Minutes; leave the machine alone."""

    cases: Positional[Annotated[tuple[str, ...], arg(metavar="CASE …", help_behavior_hint="(default: all)")]] = ()
    """cartpole_4, cartpole_64, cartpole_1024 (environments), countries_s3."""
    check: Switch = False
    """Compare ratios with the recorded ones and exit with 1 where one is more than 15% worse."""
    recorded: Annotated[Path, arg(metavar="FILE", help_behavior_hint="(default: docs/performance.json)")] = Path(
        "docs/performance.json"
    )
    """What --check compares with: the output of an earlier --json."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        recorded = self._recorded() if self.check else None
        from ppo_jax import bench

        if unknown := [name for name in self.cases if name not in bench.CASES]:
            raise PPOJaxError(f"bench: no case {unknown[0]!r}; {nearest(unknown[0], bench.CASES)}")
        result = bench.run(list(self.cases or bench.CASES), lambda name: say(f"measuring {name} …"))
        output(result, self.json, show_bench)
        worse = bench.worse(result, recorded) if recorded else []
        for line in worse:
            say(f"slower than recorded: {line}")
        if recorded and not worse:
            say("no ratio is more than 15% worse than recorded")
        return int(bool(worse))

    def _recorded(self) -> dict:
        how = "write it with: ppo-jax bench --json > FILE"
        if not self.recorded.is_file():
            raise PPOJaxError(f"{self.recorded}: no such file to compare with; {how}")
        try:
            found = json.loads(self.recorded.read_text(encoding="utf-8"))
            found["cases"], found["import_seconds"]["jax"]
        except (ValueError, KeyError, TypeError):
            raise PPOJaxError(f"{self.recorded}: not the output of `ppo-jax bench --json`; {how}") from None
        return found
