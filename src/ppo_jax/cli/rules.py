"""The commands about rules: mining them from the facts of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ppo_jax.cli.arguments import DataName, Switch, check_new
from ppo_jax.cli.console import output, say
from ppo_jax.cli.errors import goes_on_again
from ppo_jax.cli.policies import check_writable
from ppo_jax.cli.tables.rules import show_mined
from ppo_jax.files import write_atomically

__all__ = ["Mine"]


@dataclass(frozen=True)
class Mine:
    """Mine rules from the training facts of a data set; valid and test are not looked at.

    With --out the same command goes on where it was interrupted.
    """

    name: DataName
    """A folder with train.txt, or the name of a built-in data set."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Where the rules are written; a file that is there is not replaced."""
    max_length: int = 3
    """Most atoms of a path, 1 to 3."""
    min_support: int = 2
    """Fewest facts that a rule derives."""
    min_confidence: float = 0.01
    """Least confidence: facts derived / (atoms derived + 5)."""
    max_rules: int = 100_000
    """Most rules in all."""
    max_rules_per_head: int = 500
    """Most rules of a head, of paths and of rules with constants each."""
    constants: Annotated[bool, arg(name="with-constants", help_behavior_hint="(default: both kinds)")] = True
    """Mine only rules of variables, none with constants."""
    seed: int = 0
    """Of the samples that are taken of what is too much."""
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        from ppo_jax.proving import datasets
        from ppo_jax.proving.rules import mining
        from ppo_jax.proving.rules.files import format_mined
        from ppo_jax.runs.loggers import show_stage
        from ppo_jax.runs.signals import sigterm_interrupts

        limits = mining.Limits(
            max_length=self.max_length,
            constants=self.constants,
            min_support=self.min_support,
            min_confidence=self.min_confidence,
            max_rules=self.max_rules,
            max_rules_per_head=self.max_rules_per_head,
            seed=self.seed,
        )
        if self.out is not None:
            check_writable(self.out)
            check_new(self.out)
        kb = datasets.load(self.name, require_rules=False).kb
        unfinished = None if self.out is None else mining.state_of(self.out, kb, limits, say)
        with sigterm_interrupts(), goes_on_again(unfinished):
            mined = mining.mine(kb, limits, show_stage, unfinished)
        if self.out is not None and unfinished is not None:
            write_atomically(self.out, format_mined(mined.added_to(kb).rules, kb, limits))
            unfinished.remove()
        found = mining.describe(mined, kb)
        output({**found, "file": None if self.out is None else str(self.out)}, self.json, show_mined)
        return 0
