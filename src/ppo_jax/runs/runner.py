"""A run from configuration to folder: train or resume, test beside the baselines, and read it again."""

from __future__ import annotations

import inspect
import json
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ppo_jax import ppo
from ppo_jax.config import Config, Hyperparams, load_config
from ppo_jax.config.own_code import original
from ppo_jax.config.task_id import is_import_path
from ppo_jax.devices import mesh, processes
from ppo_jax.ops import schedules
from ppo_jax.runs import checkpoint, files, loggers, loop, manifest, run_folder, signals
from ppo_jax.runs import trust as consent
from ppo_jax.runs.experiment import Experiment, PolicyParams, build, check_config, policy_params
from ppo_jax.runs.given import describe_given
from ppo_jax.runs.recorder import Follower, Recorder, Standing, restore
from ppo_jax.tasks.make import prepare
from ppo_jax.tasks.wrappers import steps_outside
from ppo_jax.types import PPOJaxError

__all__ = [
    "beginning",
    "load",
    "resume",
    "test",
    "test_context",
    "train",
]

LIVE = (
    ("episode_return_mean", "return", ".4g"),
    ("explained_variance", "expl.var", ".2f"),
    ("entropy_normalized", "entropy", ".2f"),
    ("valid", "valid", ".3g"),
)
GIVEN = ("env", "network", "loss", "optimizer", "hook")  # what Python may give beside a configuration
RESULTS = ("best_update", "valid", "test", "test_last", "data", "baselines")
Build = Callable[[Config], Experiment]


def _warn(text: str) -> None:
    """Warn where code from outside called."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("ppo_jax."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level + 1)


def train(
    config: Config,
    folder: str | Path,
    *,
    overwrite: bool = False,
    progress: bool = True,
    warn: Callable[[str], None] = _warn,
    build: Build = build,
    hook: loop.Hook | None = None,
    hook_interval: int = 1,
) -> dict[str, Any]:
    """Train, evaluate and write a complete run folder; returns its summary, {} in a process that follows another.

    Args:
        config: what to train.
        folder: where the run is written: new or empty, or with `overwrite` an earlier run.
        overwrite: replace the run that `folder` holds.
        progress: show a progress bar.
        warn: receives what is odd about configuration and data, a line each, before training.
        build: makes the experiment of a configuration, such as ``partial(ppo_jax.build, loss=my_loss)``.
        hook: ``(trainer, state) -> (trainer, state)``, called before the first update and then every `hook_interval`
            updates: for self-play, curricula, logging of your own. Both keep their shapes. What it changes in the
            trainer is not saved and should follow from the state.
        hook_interval: updates.

    Raises:
        PPOJaxError: the folder holds a run already, cannot be written, or the configuration cannot be built.
        KeyboardInterrupt: after the summary was written with status ``interrupted``.
    """
    check_config(config)
    folder = Path(folder)
    if not processes.leads():
        _follow(build(mesh.resolve(config)), hook, hook_interval)
        return {}
    manifest.check_folder(folder, overwrite)
    loggers.check_extras(config.run.tensorboard, config.run.wandb)
    with manifest.claimed(folder):
        manifest.check_folder(folder, overwrite)
        with manifest.staged(folder) as stage:
            config = mesh.resolve(config).with_absolute_dataset()

            def say(text: str) -> None:
                warn(text.replace(str(stage), str(folder)))  # where it will be

            with signals.sigterm_interrupts():
                show = loggers.show_stage if progress else None
                experiment = build(prepare(config, stage, say, show, kept_in=folder))
            experiment.task.check()
            for text in experiment.warnings:
                warn(text)
            if manifest.holds_run(folder):
                loop.check(experiment)  # what cannot be traced should not cost the run that is there
            if experiment.config.task.rules != config.task.rules:  # mined
                rules = str(folder.absolute() / Path(experiment.config.task.rules).name)
                experiment = experiment.variant(experiment.config.override({"rules": rules}))
            summary = beginning(experiment)
            run_folder.begin(stage, experiment, summary, _given(experiment, hook))
        return _run(experiment, folder, None, summary, progress, hook, hook_interval)


def resume(
    folder: str | Path,
    assignments: Iterable[str] | Mapping[str, Any] = (),
    *,
    progress: bool = True,
    warn: Callable[[str], None] = _warn,
    build: Build = build,
    hook: loop.Hook | None = None,
    hook_interval: int = 1,
    trust: bool = False,
) -> dict[str, Any]:
    """Go on with a run that was stopped, as if it had not been; returns its summary.

    Metrics, evaluations and parameters become those of a run that was never stopped, bit for bit on the same machine
    with the same versions: lines written after the checkpoint are replayed.

    Args:
        folder: the run.
        assignments: ``total_timesteps`` to make it longer (schedules then run over the new total from here on), and
            settings of ``[run]``.
        progress: show a progress bar.
        warn: receives a line on a damaged checkpoint, other library versions, and what else is odd.
        build: as for `train`, and the same as there; so are `hook` and `hook_interval`.
        hook: as for `train`.
        hook_interval: updates.
        trust: the user consents to the code that the run names, where it was not made here.

    Raises:
        PPOJaxError: no run there, it is complete, another process writes to it, its checkpoint is of another
            configuration or cannot be read, its data are others, or it names code without consent.
    """
    folder = Path(folder)
    if not processes.leads() or not folder.is_dir():
        return _resume(folder, assignments, progress, warn, build, hook, hook_interval, trust)
    with manifest.claimed(folder):
        return _resume(folder, assignments, progress, warn, build, hook, hook_interval, trust)


def _resume(
    folder: Path,
    assignments: Iterable[str] | Mapping[str, Any],
    progress: bool,
    warn: Callable[[str], None],
    build: Build,
    hook: loop.Hook | None,
    hook_interval: int,
    trust: bool,
) -> dict[str, Any]:
    run_folder.check_alone(folder)
    recorded = run_folder.read_config(folder)
    wanted = recorded.override(assignments, place="resume") if assignments else recorded
    config = mesh.resolve(wanted, begins=False)
    run_folder.check_resumable(recorded, config)
    consent.check(folder, recorded, config, trust)
    summary = files.read_summary(folder)
    if summary.get("status") == "completed" and config.settings.n_updates == recorded.settings.n_updates:
        raise PPOJaxError(f"{folder}: this run is complete; a larger total_timesteps makes it longer")
    if not processes.leads():
        _follow(build(config), hook, hook_interval)
        return {}
    loggers.check_extras(config.run.tensorboard, config.run.wandb)
    for text in run_folder.other_versions(folder):
        warn(text)
    again = "resume it from Python with the same `build` and `hook`"
    if (known := _known(build)) is not None:  # before what lacks is said in other words
        run_folder.check_given(folder, known | _hook(hook), GIVEN, again)
    experiment = _built_again(folder, config, build)
    changed = run_folder.check_given(folder, _given(experiment, hook), GIVEN, again)
    for text in (*changed, *run_folder.other_code(folder, experiment)):
        warn(text)
    run_folder.check_data(folder, experiment)
    standing, record, problems = restore(
        experiment, folder, lambda record: run_folder.check_same(folder, record["config"], config)
    )
    if standing is None:
        run_folder.check_may_start_again(folder, problems)
        warn(f"{folder}: no checkpoint to go on from; starting from the beginning")
    else:
        for text in problems:
            warn(f"{text}; trying the one before it")
        if steps_outside(experiment.env):
            warn(f"{config.task.env_id} is no part of a checkpoint: episodes that ran are cut, and others begin")
        if missing := run_folder.holes(folder, standing.update):
            warn(f"{folder}/{missing}; the run will not count as completed")
        if standing.state.hyperparams.total_timesteps < np.float32(config.hyperparams.total_timesteps):
            longer = jnp.asarray(config.hyperparams.total_timesteps, jnp.float32)
            before = standing.state.hyperparams
            standing.state = standing.state._replace(hyperparams=before._replace(total_timesteps=longer))
            if moved := _moved_schedules(before, standing.state, config.settings.rollout_size):
                steps = f"{config.ppo.total_timesteps:,} steps from update {standing.update} on"
                warn(f"schedules run over {steps}: {', '.join(moved)}")
    run_folder.cut_back(folder, standing.update if standing else 0)
    summary = beginning(experiment) | _results_so_far(summary) | record.get("summary", {})
    run_folder.write_summary(folder, summary)  # first: a longer run must not count as the complete one that it was
    if config != recorded:
        files.write_atomically(folder / "config.toml", config.to_toml())
    return _run(experiment, folder, standing, summary, progress, hook, hook_interval)


def _built_again(folder: Path, config: Config, build: Build) -> Experiment:
    """The experiment of a run that began; where it cannot be built since its files are others, that is the error."""
    try:
        return build(config)
    except PPOJaxError:
        run_folder.check_files(folder, config.task)
        raise


def _results_so_far(summary: dict[str, Any]) -> dict[str, Any]:
    """Of a run that was complete and is made longer: results stay, as those of the update they were measured at."""
    measured = summary.get("updates") if summary.get("status") == "completed" else summary.get("tested_update")
    if measured is None:
        return {}
    return {"tested_update": measured} | {name: summary[name] for name in RESULTS if name in summary}


def _moved_schedules(before: Hyperparams, state: ppo.TrainState, rollout_size: int) -> list[str]:
    """Of each setting that a longer run changes: its value in the last update, and in the next."""
    last = schedules.scheduled(before, state.step - 1, rollout_size)
    now = schedules.scheduled(state.hyperparams, state.step, rollout_size)
    moved = [name for name in last if getattr(before, name) is not None and last[name] != now[name]]
    return [f"{name} was {last[name]:.3g} and goes on at {now[name]:.3g}" for name in moved]


def _known(builder: Build) -> dict[str, str] | None:
    """What is given by `ppo_jax.build`, or by a partial of it; None of another builder: what it builds will tell."""
    if getattr(builder, "func", builder) is not build:
        return None
    keywords = getattr(builder, "keywords", {})
    return {name: describe_given(argument) for name, argument in keywords.items() if argument is not None}


def _given(experiment: Experiment, hook: loop.Hook | None) -> dict[str, str]:
    """What came from Python beside the configuration, by name."""
    return dict(experiment.given) | _hook(hook)


def _hook(hook: loop.Hook | None) -> dict[str, str]:
    return {} if hook is None else {"hook": describe_given(hook)}


def beginning(experiment: Experiment) -> dict[str, Any]:
    """The summary of a run that begins; of an environment of the user's own also whether it says to need a memory."""
    task, seed = experiment.config.task, experiment.config.run.seed
    summary = {
        "status": "running",
        "env_id": task.env_id or task.dataset,
        "seed": seed,
        "env_steps": 0,
        "updates": 0,
    }
    if "env" in experiment.given or is_import_path(task.env_id):
        declared = getattr(experiment.env, "needs_memory", None)
        summary["needs_memory"] = None if declared is None else bool(declared)
    return summary


def _run(
    experiment: Experiment,
    folder: Path,
    standing: Standing | None,
    summary: dict[str, Any],
    progress: bool,
    hook: loop.Hook | None,
    hook_interval: int,
) -> dict[str, Any]:
    """Train from `standing`, by default the beginning, and judge; the summary is written whatever happens."""
    config, settings = experiment.config, experiment.config.settings
    writers: list[loggers.Writer] = []
    try:
        env_steps = standing.update * settings.rollout_size if standing else 0
        writers = loggers.open_writers(folder, config, run_folder.read_environment(folder).get("run_id"), env_steps)
        total = settings.n_updates * settings.rollout_size
        with signals.sigterm_interrupts(), loggers.Progress(total, LIVE, enabled=progress) as bar:
            standing = standing or Standing(experiment.initial_state(config.run.seed))
            recorder = Recorder(experiment, standing, folder, summary, writers)
            loop.fit(experiment, recorder, bar.update, hook, hook_interval)
            bar.say("testing …")
            begin = time.perf_counter()
            summary |= test_context(experiment)
            test(experiment, folder, summary, standing)
            summary["test_seconds"] = time.perf_counter() - begin
        summary["status"] = "completed"
        if missing := run_folder.holes(folder, standing.update):
            summary |= {"status": "failed", "error": missing}
    except BaseException as raised:
        error = original(raised)
        summary["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        if summary["status"] == "failed":
            summary["error"] = str(error) or type(error).__name__
        # An error is the one to tell; of an interrupted run that its summary could not be written.
        with suppress(PPOJaxError) if summary["status"] == "failed" else nullcontext():
            run_folder.write_summary(folder, summary)
        if error is raised:
            raise
        raise error from None
    finally:
        for writer in writers:
            writer.close()
    run_folder.write_summary(folder, summary)
    return summary


def _follow(experiment: Experiment, hook: loop.Hook | None, hook_interval: int) -> None:
    """Train along with process 0, which writes."""
    standing = Standing(experiment.initial_state(experiment.config.run.seed))
    loop.fit(experiment, Follower(experiment, standing), hook=hook, hook_interval=hook_interval)


def test_context(experiment: Experiment) -> dict[str, Any]:
    """What the results on test stand beside: what the data allows, and what no learning reaches."""
    data = experiment.task.data_summary()
    return ({"data": data} if data else {}) | {"baselines": experiment.baselines()}


def test(experiment: Experiment, folder: Path, summary: dict[str, Any], standing: Standing) -> None:
    """Test, once: results of the parameters best on valid and of the last ones go into `summary`.

    What else the task keeps of the best ones goes into files of `folder`.
    """
    best, last = standing.best, policy_params(experiment.trainer, standing.state)
    assert best.params is not None
    summary.pop("tested_update", None)
    summary["best_update"] = best.update
    summary["valid"] = best.result
    summary["test"], extra = experiment.test(best.params)
    for name, rows in extra.items():
        text = "".join(json.dumps(files.to_json(row)) + "\n" for row in rows)
        files.write_atomically(folder / name, text)
    # The best parameters are often the last ones; they need no second test.
    summary["test_last"] = summary["test"] if best.update == standing.update else experiment.evaluate(last, "test")


def load(
    folder: str | Path,
    which: str = "best",
    assignments: Iterable[str] | Mapping[str, Any] = (),
    *,
    trust: bool = False,
) -> tuple[Experiment, PolicyParams]:
    """The experiment of a run and its parameters, ``"best"`` on valid or ``"last"``.

    Args:
        folder: the run.
        which: name of the checkpoint.
        assignments: settings other than the run's, as for `Config.override`; those of the evaluation make sense.
        trust: the user consents to the code that the run names, where it was not made here.

    Raises:
        PPOJaxError: no run there, one of other data, code without consent, or a checkpoint that does not fit the
            configuration.
    """
    folder = manifest.settled(Path(folder))
    run_folder.check_there(folder)
    recorded = load_config(folder / "config.toml")
    config = recorded.override(assignments) if assignments else recorded
    # Who uses a policy needs neither loss nor optimizer, which may not be there any more.
    used = config.override({"loss": None, "loss_coefs": None, "optimizer": None})
    consent.check(folder, recorded, used, trust)
    experiment = _built_again(folder, used, build).variant(config)
    named = "name its import path in the configuration to load what it learnt"
    run_folder.check_given(folder, experiment.given, ("env", "network"), named)
    run_folder.check_data(folder, experiment)
    _, like = experiment.shapes()
    return experiment, checkpoint.restore(folder / "checkpoints" / which, like)
