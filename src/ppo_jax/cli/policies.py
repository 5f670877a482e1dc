"""The commands that use a trained policy: judge it again, prove a query, watch it play, export it."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ppo_jax.cli.arguments import Assignments, RunFolder, Switch, Trust, flat
from ppo_jax.cli.console import output, print_json, say
from ppo_jax.cli.experiments import use_caches
from ppo_jax.cli.tables.policies import show_export, show_onnx, show_played, show_proof
from ppo_jax.cli.tables.train import show_results
from ppo_jax.runs import files, manifest
from ppo_jax.types import PPOJaxError

__all__ = ["Evaluate", "Export", "Play", "Prove", "check_writable"]


@dataclass(frozen=True)
class Evaluate:
    """Judge the policy of a run again."""

    folder: RunFolder
    """Folder of the run."""
    split: Literal["valid", "test"] = "valid"
    """Queries to judge on; tasks other than proving differ in their random numbers alone."""
    protocol: Literal["greedy", "marginal", "both"] = "both"
    """Proof tasks: follow the most likely action, or sum the probability of all proofs."""
    last: Switch = False
    """Judge the last parameters; otherwise those best on valid."""
    assignments: Assignments = ()
    """Settings of the evaluation other than the run's, such as beam_width=256 or mask_end=true."""
    trust: Trust = False
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        use_caches()
        from ppo_jax.runs import runner

        which = "last" if self.last else "best"
        experiment, params = runner.load(self.folder, which, flat(self.assignments), trust=self.trust)
        protocols = None if self.protocol == "both" else (self.protocol,)
        result = experiment.evaluate(params, self.split, protocols)
        if self.json:
            print_json({"run": str(self.folder), "parameters": which, "split": self.split, **result})
        else:
            show_results({f"trained ({which})": result}, self.split)
        return 0


@dataclass(frozen=True)
class Prove:
    """Let the agent of a run prove a query, step by step. Exits with 1 where it does not."""

    folder: RunFolder
    """Folder of the run."""
    query: Positional[Annotated[str, arg(metavar="QUERY", help_behavior_hint="")]]
    """A ground atom, quoted: "locatedInCR(bulgaria,europe)"."""
    mask_end: Switch = False
    """Never give up while another action is open."""
    trust: Trust = False
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        use_caches()
        from ppo_jax.policies.prover import load_prover

        settings = {"mask_end": True} if self.mask_end else {}
        prover = load_prover(self.folder, assignments=settings, trust=self.trust)
        proof = prover.prove(self.query)
        output(proof, self.json, show_proof)
        return 0 if proof["proved"] else 1


@dataclass(frozen=True)
class Play:
    """Watch the policy of a run, acting as it is evaluated: a GIF, or the proofs of test queries."""

    folder: RunFolder
    """Folder of the run."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: RUN/play.gif; proofs: none)")] = None
    """Where the GIF, or the text of the proofs, is written."""
    episodes: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 1; proofs: of so many queries)")] = 1
    """Episodes to play, or queries to prove."""
    seed: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 0)")] = 0
    """Of the episodes; decides which queries."""
    max_steps: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 500)")] = 500
    """Steps after which an episode is cut, one frame each."""
    trust: Trust = False
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        for name, value, least in (
            ("episodes", self.episodes, 1),
            ("seed", self.seed, 0),
            ("max-steps", self.max_steps, 1),
        ):
            if value < least:
                raise PPOJaxError(f"--{name} = {value}: expected at least {least}")
        if self.out is not None:
            check_writable(self.out)
        use_caches()
        from ppo_jax.runs import runner

        experiment, params = runner.load(self.folder, trust=self.trust)
        limits: dict[str, int] = {"seed": self.seed, "n": self.episodes, "max_steps": self.max_steps}
        record, gif = experiment.task.play(experiment.policy, params, **limits)
        out = self.out or (None if gif is None else self.folder / "play.gif")
        if out is not None:
            if gif is None:
                with redirect_stdout(io.StringIO()) as text:
                    show_played(record)
            files.write_atomically(out, text.getvalue() if gif is None else gif)
        written = {} if out is None else {"out": str(out)}
        output({"run": str(self.folder), **written, **record}, self.json, show_played)
        if gif is not None and not self.json:
            say(f"wrote {out}", sys.stdout)
        return 0


@dataclass(frozen=True)
class Export:
    """Write the policy of a run as a program that plain JAX runs on CPU, CUDA or TPU, without ppo_jax."""

    folder: RunFolder
    """Folder of the run."""
    out: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: RUN/policy.jaxexport; RUN/policy.onnx)")
    ] = None
    """Where it is written; a JSON file of that name beside it says how to call it."""
    onnx: Switch = False
    """Write an ONNX graph of the most likely action instead, for runtimes without JAX; needs the extra `onnx`."""
    deterministic: Switch = False
    """Always the most likely action; otherwise the program takes a random key and draws one."""
    last: Switch = False
    """Export the last parameters; otherwise those best on valid."""
    trust: Trust = False
    json: Switch = False
    """Print JSON."""

    def run(self) -> int:
        out = self.out or self.folder / ("policy.onnx" if self.onnx else "policy.jaxexport")
        if self.out is not None:
            check_writable(out, *([] if self.onnx else [out.with_suffix(".json")]))
        from ppo_jax.policies.export import export_policy
        from ppo_jax.policies.onnx import export_onnx
        from ppo_jax.policies.policy import load_policy

        which: Literal["last", "best"] = "last" if self.last else "best"
        policy = load_policy(self.folder, which, deterministic=self.deterministic or self.onnx, trust=self.trust)
        described = export_onnx(policy, out) if self.onnx else export_policy(policy, out)
        found: dict[str, Any] = {"run": str(self.folder), "out": str(out), **described}
        output(found, self.json, show_onnx if self.onnx else show_export)
        return 0


def check_writable(file: Path, *others: Path) -> None:
    """Find out before the work is done; `others` are written beside `file`."""
    if not file.parent.is_dir():
        raise PPOJaxError(f"{file}: cannot be written: there is no folder {file.parent}; make it first")
    if file.is_dir():
        raise PPOJaxError(f"{file}: is a folder; name a file in it")
    for written in (file, *others):
        if manifest.is_of_run(written):
            raise PPOJaxError(f"{written}: is a file of a run, which is not replaced; choose another --out")
