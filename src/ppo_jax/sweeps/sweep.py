"""A sweep: many members trained side by side by one compiled program, each into a run folder of its own.

A member's folder is that of an ordinary run, checkpoints included, so everything that reads or resumes a run works on
it; ``sweep.json`` beside them says what was trained and how it ended.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import ppo
from ppo_jax.analysis.readers import read_sweep
from ppo_jax.config.suggestions import nearest
from ppo_jax.devices import cpu, mesh
from ppo_jax.runs import files, loggers, loop, manifest, run_folder, runner, trust
from ppo_jax.runs.experiment import Experiment
from ppo_jax.runs.recorder import Hopeless, Recorder, Standing, restore
from ppo_jax.runs.signals import Signals, sigterm_interrupts
from ppo_jax.sweeps.plan import Member, Plan, by_program, shared_part, traced, without_infinity
from ppo_jax.sweeps.side_by_side import (
    NotBuilt,
    Shared,
    building,
    chunk_width,
    describe_failure,
    pick,
    run_members,
    share,
)
from ppo_jax.types import PPOJaxError

__all__ = ["holds_sweep", "member_folder", "read_plan", "recorded_devices", "run", "run_members"]

PyTree = Any
ENDED = ("completed", "failed")
# Called after each evaluation with the update and the best score so far of every member that goes on.
Watch = Callable[[int, dict[str, float]], None]


def holds_sweep(folder: Path) -> bool:
    """Whether a sweep was written to `folder`."""
    return (folder / "sweep.json").is_file()


def read_plan(folder: Path) -> Plan:
    """What the sweep in `folder` trains.

    Raises:
        PPOJaxError: there is none, or it cannot be read.
    """
    with files.as_written(folder / "sweep.json"):
        plan = Plan.from_dict(read_sweep(folder), place=str(folder / "sweep.json"))
        _ = plan.members  # every setting is checked
        return plan


def recorded_devices(folder: Path) -> int:
    """Devices that the sweep in `folder` spreads its members over."""
    with files.as_written(folder / "sweep.json"):
        programs = read_sweep(folder)["programs"]
        return max((int(program["devices"]) for program in programs), default=1)


def member_folder(folder: Path, name: str) -> Path:
    """The run folder of a member.

    Raises:
        PPOJaxError: no such member; names the nearest.
    """
    names = [member["name"] for member in read_sweep(folder)["members"]]
    found = folder / "members" / name
    if name not in names or not manifest.holds_run(found):
        hint = "it was not trained yet" if name in names else nearest(name, names)
        raise PPOJaxError(f"{folder}: no member {name!r}; {hint}")
    return found


def run(
    plan: Plan,
    folder: Path,
    *,
    chunk: int | None = None,
    devices: int = 1,
    side_by_side: bool | None = None,
    progress: bool = True,
    warn: Callable[[str], None] = lambda text: None,
    watch: Watch | None = None,
    test: bool = True,
) -> dict[str, Any]:
    """Train and test what `folder` does not hold yet of a plan; returns the content of ``sweep.json``.

    Members whose program cannot be built fail, with its error; the others are trained.

    Args:
        plan: what to train.
        folder: new, empty, or of the same plan, which then goes on.
        chunk: members in the program at a time; by default as many as memory allows.
        devices: spread the members of a chunk over so many devices, side by side.
        side_by_side: train the members of a chunk in one vmapped program, or one after another; by default side by
            side on an accelerator or several devices, one after another on a CPU.
        progress: show a progress bar.
        warn: receives a line on each damaged checkpoint, and on what is odd about configuration, data and network.
        watch: called after each evaluation.
        test: judge the members on test at the end.

    Raises:
        PPOJaxError: the folder holds something else, or no program can be built.
        KeyboardInterrupt: after everything needed to go on was written.
    """
    mesh.require_devices(devices)
    loggers.check_extras(plan.config.run.tensorboard, plan.config.run.wandb)
    if chunk is not None and chunk < 1:
        raise PPOJaxError(f"--chunk {chunk}: at least one member is trained at a time")
    if devices > 1 and side_by_side is False:
        raise PPOJaxError("--devices spreads members that train side by side; leave out --order one-by-one")
    if not holds_sweep(folder):
        manifest.check_folder(folder, overwrite=False)
    with manifest.claimed(folder):
        record = _claim(plan, folder, chunk, devices, side_by_side)
        return _run(plan, folder, record, progress, warn, watch, test)


def _run(
    plan: Plan,
    folder: Path,
    record: dict[str, Any],
    progress: bool,
    warn: Callable[[str], None],
    watch: Watch | None,
    test: bool,
) -> dict[str, Any]:
    """Train what `record`, the content of ``sweep.json``, says is missing; returns it, kept up to date."""
    began, before = time.perf_counter(), record["seconds"]
    programs = list(zip(by_program(plan.members), record["programs"], strict=True))
    for _, program in programs:
        program.pop("error", None)  # of an earlier start

    def write(status: str) -> None:
        record.update(status=status, seconds=before + time.perf_counter() - began)
        record["compiles"] = sum("compile_seconds" in program for program in record["programs"])
        errors = {m.name: program["error"] for members, program in programs for m in members if "error" in program}
        record["members"] = [_describe(member, folder, errors.get(member.name)) for member in plan.members]
        text = json.dumps(files.to_json(record), indent=2) + "\n"
        files.write_atomically(folder / "sweep.json", text)

    told: set[str] = set()

    def warn_once(text: str) -> None:  # programs have much in common
        if text not in told:
            told.add(text)
            warn(text)

    write("running")
    trust.remember(
        record.get("run_id"), {path for member in plan.members for path in trust.import_paths(member.config).values()}
    )
    total = sum(m.config.settings.n_updates * m.config.settings.rollout_size for m in plan.members)
    try:
        with sigterm_interrupts(), loggers.Progress(total, runner.LIVE, enabled=progress) as bar:
            for members, program in programs:
                try:
                    _SharedProgram(members, folder, program, bar, warn_once, watch, test).run()
                except NotBuilt as error:
                    cause = error.__cause__ or error
                    program["error"] = describe_failure(cause)
                    if all("error" in program for program in record["programs"]):
                        raise cause from None
                write("running")
    except BaseException as error:
        write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    write("completed")
    return record


def _claim(plan: Plan, folder: Path, chunk: int | None, devices: int, side_by_side: bool | None) -> dict[str, Any]:
    """Make sure that `folder` is of this plan or free; returns what ``sweep.json`` records so far."""
    parts = by_program(plan.members)
    if holds_sweep(folder):
        if read_plan(folder) != plan:
            raise PPOJaxError(f"{folder}: holds another sweep; choose another --run-dir")
        record = read_sweep(folder)
        if [program["members"] for program in record["programs"]] != [len(members) for members in parts]:
            raise PPOJaxError(f"{folder / 'sweep.json'}: is damaged: its programs have other members; sweep anew")
        return record
    manifest.check_folder(folder, overwrite=False)
    if side_by_side is None:
        # A CPU has nothing to gain from wider arrays, and a member that stops early waits for the others under vmap.
        side_by_side = devices > 1 or jax.default_backend() != "cpu"
    how = {"chunk": chunk, "devices": devices, "side_by_side": side_by_side}
    programs = [{"members": len(members), **how} for members in parts]
    return {"status": "running", "run_id": uuid.uuid4().hex, **plan.to_dict(), "seconds": 0.0, "programs": programs}


def _describe(member: Member, folder: Path, error: str | None) -> dict[str, Any]:
    """A member in ``sweep.json``; `error` says why its program could not be built."""
    summary = files.read_summary(folder / "members" / member.name)
    if error is not None and summary.get("status") not in ENDED:
        summary |= {"status": "failed", "error": error}
    results = ("valid", "test", "test_last", "baselines")
    kept = ("status", "error", "updates", "env_steps", "updates_skipped", "final", *results)
    return {
        "name": member.name,
        "seed": member.config.run.seed,
        "setting": without_infinity(member.setting),
        "hyperparameters": without_infinity(traced(member.config)),
        **{key: summary[key] for key in kept if key in summary},
    }


class _SharedProgram:
    """Members that share a program, a chunk of them at a time."""

    def __init__(
        self,
        members: Sequence[Member],
        folder: Path,
        program: dict[str, Any],
        bar: loggers.Progress,
        warn: Callable[[str], None],
        watch: Watch | None,
        test: bool,
    ) -> None:
        """`program` is their part of ``sweep.json`` and is kept up to date."""
        self.members, self.folder, self.program, self.bar = members, folder, program, bar
        self.warn, self.watch, self.test, self.config = warn, watch, test, members[0].config

    @property
    def experiment(self) -> Experiment:
        """What the members share."""
        return self._shared.experiment

    @cached_property
    def _shared(self) -> Shared:
        with building():
            return share(shared_part(self.config.with_absolute_dataset()))

    def run(self) -> None:
        """Train and test the members that have not ended."""
        if all(self._ended(member) for member in self.members):
            self._pass(len(self.members))
            return
        changed = run_folder.other_code(self._folder(self.members[0]), self.experiment)  # it began first
        for text in (*changed, *self.experiment.warnings):
            self.warn(text)
        if "width" not in self.program:
            experiment, n = self.experiment, len(self.members)
            with building():
                self.program["width"] = chunk_width(experiment, n, self.program["chunk"], self.program["devices"])
        width = self.program["width"]
        for begin in range(0, len(self.members), width):
            chunk = self.members[begin : begin + width]
            going = [member for member in chunk if not self._ended(member)]
            self._pass(len(chunk) - len(going))
            if going:
                self._run_chunk(going)

    def _pass(self, n: int) -> None:
        settings = self.config.settings
        self.bar.advance(n * settings.n_updates * settings.rollout_size)

    def _ended(self, member: Member) -> bool:
        return files.read_summary(self._folder(member)).get("status") in ENDED

    def _folder(self, member: Member) -> Path:
        return self.folder / "members" / member.name

    def _run_chunk(self, members: Sequence[Member]) -> None:
        with ExitStack() as stack:
            for member in members:
                stack.enter_context(manifest.claimed(self._folder(member)))
            self._run_claimed(members, stack)

    def _run_claimed(self, members: Sequence[Member], stack: ExitStack) -> None:
        recorders = self._recorders(members, stack)
        try:
            self._train(recorders)
            for recorder in recorders:
                self._test(recorder)
        except BaseException:
            for recorder in recorders:
                if recorder.summary["status"] == "running":
                    recorder.summary["status"] = "interrupted"
            raise
        finally:
            for recorder in recorders:
                recorder.close()
                run_folder.write_summary(recorder.folder, recorder.summary)

    def _recorders(self, members: Sequence[Member], stack: ExitStack) -> list[Recorder]:
        """Where each member stands: all at one update, the newest of which every one has a checkpoint.

        What they log to is closed with `stack`.
        """
        experiments = [self.experiment.variant(member.config.with_absolute_dataset()) for member in members]
        folders = [self._folder(member) for member in members]
        found = [restore(*pair) for pair in zip(experiments, folders, strict=True)]
        for folder, (standing, _, problems) in zip(folders, found, strict=True):
            if standing is None:
                run_folder.check_may_start_again(folder, problems)
        for problem in (problem for *_, problems in found for problem in problems):
            self.warn(f"{problem}; trying the one before it")
        until = min(0 if standing is None else standing.update for standing, *_ in found)
        found = [
            restore(experiment, folder, until=until) if standing and standing.update > until else one
            for experiment, folder, (standing, *_), one in zip(experiments, folders, found, found, strict=True)
        ]
        fresh = until == 0
        if not fresh and any(standing is None or standing.update != until for standing, *_ in found):
            raise PPOJaxError(
                f"{self.folder}: its members have no checkpoint of one update in common, nothing was changed; `ppo-jax "
                "resume` goes on with each member by itself"
            )
        recorders = []
        for experiment, folder, (standing, record, _) in zip(experiments, folders, found, strict=True):
            summary = runner.beginning(experiment)
            if fresh or standing is None:
                with manifest.staged(folder) as stage:
                    run_folder.begin(stage, experiment, summary, experiment.given)
                standing, record = Standing(experiment.initial_state(experiment.config.run.seed)), {}
            run_folder.cut_back(folder, standing.update)
            summary |= record.get("summary", {})
            run_folder.write_summary(folder, summary)
            run_id = run_folder.read_environment(folder).get("run_id")
            env_steps = until * experiment.config.settings.rollout_size
            writers = loggers.open_writers(folder, experiment.config, run_id, env_steps, sweep=self.folder.name)
            for writer in writers:
                stack.callback(writer.close)
            recorders.append(Recorder(experiment, standing, folder, summary, writers).__enter__())
        return recorders

    def _train(self, recorders: Sequence[Recorder]) -> None:
        """Train the members from where they stand, all at the same update, to their end."""
        if recorders[0].finished:
            return self._pass(len(recorders))
        rollout = self.config.settings.rollout_size
        self.bar.advance(len(recorders) * recorders[0].standing.update * rollout)
        padding = [recorders[-1]] * (self.program["width"] - len(recorders))
        states = jax.tree.map(lambda *x: jnp.stack(x), *(j.standing.state for j in (*recorders, *padding)))
        if self.program["devices"] > 1:
            states = mesh.shard_seeds(states, self.program["devices"])
        for recorder in recorders:
            recorder.summary["compile_seconds"] = self._compile(states)
        active, n = list(enumerate(recorders)), 1
        with Signals() as signals:
            while active and not active[0][1].finished:
                n = min(n, active[0][1].updates_to_evaluation)
                states, rows, seconds = self._advance(states, n)
                each = [{name: column[i] for name, column in rows.items()} for i in range(len(recorders))]
                active = [(i, j) for i, j in active if _record(j, each[i], n, seconds / len(recorders))]
                shown = {name: _mean(column[[i for i, _ in active], n - 1]) for name, column in rows.items()}
                scores = self._write(active, states, stop=signals.received > 0)
                shown |= {"valid": _mean(np.array(list(scores.values())))}
                self.bar.advance(len(recorders) * n * rollout, shown)
                signals.check()
                if scores and self.watch is not None:
                    self.watch(active[0][1].standing.update, scores)
                n = loop.chunk_length(seconds / n)
        for i, recorder in active:
            recorder.standing.state = pick(states, i)
            recorder.save_last(recorder.standing.state)
        return None

    def _write(self, active: list[tuple[int, Recorder]], states: ppo.TrainState, stop: bool) -> dict[str, float]:
        """Evaluations and checkpoints of the members where they are due; returns the scores by member."""
        scores: dict[str, float] = {}
        if not active:
            return scores
        evaluate, keep = active[0][1].evaluation_due, active[0][1].checkpoint_due or stop
        for i, recorder in active if evaluate or keep else ():
            state = pick(states, i)
            if evaluate:
                scores[recorder.folder.name] = recorder.evaluate(state)["valid"]
            if keep:
                recorder.save_checkpoint(state)
        return scores

    def _compile(self, states: ppo.TrainState) -> float:
        """Seconds it took; a program is compiled once."""
        width, devices = self.program["width"], self.program["devices"]
        side_by_side = self.program.get("side_by_side", True)
        kind = (width, devices, side_by_side)
        if kind not in self._shared.compiled:
            begin, skip = time.perf_counter(), self.config.run.on_nan == "skip"
            trainer = self.experiment.trainer
            with building():
                lowered = run_members.lower(trainer, states, jnp.int32(1), side_by_side=side_by_side, skip=skip)
                self._shared.compiled[kind] = lowered.compile(cpu.compiler_options())
            self.program |= {"compile_seconds": time.perf_counter() - begin}
        self._compiled = self._shared.compiled[kind]
        return float(self.program.get("compile_seconds", 0.0))

    def _advance(self, states: ppo.TrainState, n: int) -> tuple[ppo.TrainState, dict[str, np.ndarray], float]:
        """`n` updates of every member, their metrics [M, BUFFER] and the seconds they took."""
        begin = time.perf_counter()
        states, rows = self._compiled(self.experiment.trainer, states, jnp.int32(n))
        rows = jax.device_get(rows)
        return states, rows, time.perf_counter() - begin

    def _test(self, recorder: Recorder) -> None:
        if recorder.summary["status"] in ENDED:
            return
        self.bar.say(f"testing {recorder.folder.name} …")
        recorder.summary |= {"best_update": recorder.standing.best.update, "valid": recorder.standing.best.result}
        if self.test:
            recorder.summary |= self._shared.context
            runner.test(recorder.experiment, recorder.folder, recorder.summary, recorder.standing)
        recorder.summary["status"] = "completed"
        run_folder.write_summary(recorder.folder, recorder.summary)


def _record(recorder: Recorder, rows: dict[str, np.ndarray], n: int, seconds: float) -> bool:
    """Write a member's metrics; false where it cannot go on, for a loss that is not finite say."""
    try:
        recorder.record(rows, n, seconds)
    except Hopeless as error:
        recorder.summary |= {"status": "failed", "error": str(error)}
        return False
    return True


def _mean(values: np.ndarray) -> float:
    """Of those that are known."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan
