"""The command that trains embeddings of a knowledge graph: embed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ppo_jax.cli.arguments import DataName, Switch, check_new
from ppo_jax.cli.console import output, say
from ppo_jax.cli.errors import goes_on_again
from ppo_jax.cli.experiments import use_caches
from ppo_jax.cli.tables.embed import show_embeddings
from ppo_jax.types import PPOJaxError

__all__ = ["Embed"]

MOST_DIM = 65_536  # as many as a layer of a network may have


@dataclass(frozen=True)
class Embed:
    """Train embeddings on the facts of a data set: a prior over the answers of its queries.

    The best parameters on the valid queries are kept, also after Ctrl-C; the same command then goes on.
    """

    name: DataName
    """A folder with train.txt, valid.txt, test.txt and rules, or the name of a built-in data set."""
    model: Literal["complex", "rotate"] = "complex"
    """ComplEx, or RotatE, which takes many times as long."""
    dim: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: by size)")] = None
    """Complex components of a vector."""
    epochs: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: by size)")] = None
    """Passes over the facts at most; training stops before where the valid queries rank no better."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Of the first parameters and the order of the facts."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: <name>-<model>.npz)")] = None
    """Where the embeddings are written. A finished file that is there is not replaced."""
    rules: Annotated[str, arg(metavar="FILE")] = "rules.txt"
    """Name of the rule file in the data set, or path of another; rules are not learnt from."""
    test: Switch = False
    """Rank the test queries too, once, at the end."""
    json: Switch = False
    """Print JSON, and no progress."""

    def run(self) -> int:
        for option, value in {"--dim": self.dim, "--epochs": self.epochs}.items():
            if value is not None and value < 1:
                raise PPOJaxError(f"{option} must be at least 1, not {value}")
        if (self.dim or 0) > MOST_DIM:
            raise PPOJaxError(f"--dim must be at most {MOST_DIM}, not {self.dim}")
        if self.seed < 0:
            raise PPOJaxError(f"--seed must be at least 0, not {self.seed}")
        path = self.out or Path(f"{Path(self.name).name}-{self.model}.npz")
        if not path.absolute().parent.is_dir():
            raise PPOJaxError(f"cannot write {path}: there is no folder {path.parent}")
        use_caches()
        from ppo_jax.proving import datasets
        from ppo_jax.proving.priors import embeddings, prior
        from ppo_jax.proving.results import TIES
        from ppo_jax.proving.unfinished import UNFINISHED
        from ppo_jax.runs.signals import Signals

        if not path.with_name(path.name + UNFINISHED).exists():  # else the file has the best so far
            check_new(path)
        dataset = datasets.load(self.name, self.rules, require_rules=False)
        settings = embeddings.default_settings(dataset, self.model)
        settings = replace(settings, dim=self.dim or settings.dim, epochs=self.epochs or settings.epochs)
        unfinished = embeddings.state_of(path, dataset, settings, self.seed, say)
        with goes_on_again(unfinished), Signals() as signals:

            def report(progress: embeddings.Progress) -> bool:
                if not self.json:
                    say(_line(progress))
                return bool(signals.received)

            trained = embeddings.train(dataset, settings, self.seed, report, unfinished)
        prior.save_prior(path, trained.params, dataset, self.seed)
        if trained.stopped != "interrupted":
            unfinished.remove()
        splits = {"valid": embeddings.rank_answers(trained.params, dataset, "valid")}
        if self.test and len(dataset.queries["test"]):
            splits["test"] = embeddings.rank_answers(trained.params, dataset, "test")
        last = trained.history[-1]
        found: dict[str, Any] = {
            "file": str(path),
            "data": dataset.name,
            "data_sha256": dataset.sha256,
            "model": self.model,
            "dim": settings.dim,
            "seed": self.seed,
            "epoch": last.best_epoch,
            "epochs": last.epoch,
            "stopped": trained.stopped,
            "seconds": last.seconds,
            "protocol": f"answers: head and tail, all constants, filtered, ties: {TIES}",
            "splits": splits,
        }
        output(found, self.json, show_embeddings)
        with goes_on_again(unfinished):
            signals.check()  # the exit code tells that it was interrupted
        return 0


def _line(progress: Any) -> str:
    mrr = progress.valid["mrr"]
    best = (
        "" if progress.epoch == progress.best_epoch else f", best {progress.best_mrr:.3f} (epoch {progress.best_epoch})"
    )
    return f"epoch {progress.epoch}: loss {progress.loss:.3f}, valid MRR {mrr:.3f}{best}, {progress.seconds:.0f} s"
