"""Tuning with Optuna: a trial is a sweep over seeds with one setting, scored on valid; test is never looked at.

Optuna owns the search: its storage is shared by as many processes and machines as are started, its samplers choose the
settings and its pruners stop those that fall behind.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import math
import socket
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo_jax.analysis.statistics import interquartile_mean
from ppo_jax.config import SEARCH, Config, check_once
from ppo_jax.config.experiments import read_experiment
from ppo_jax.sweeps.plan import make_plan, without_infinity
from ppo_jax.tasks import results
from ppo_jax.types import PPOJaxError

if TYPE_CHECKING:
    import optuna

__all__ = ["PRUNERS", "SAMPLERS", "Choice", "Range", "conclude", "read_search_space", "tune"]

SAMPLERS = {"tpe": "TPESampler", "gp": "GPSampler", "random": "RandomSampler", "cmaes": "CmaEsSampler"}
PRUNERS = {"none": "NopPruner", "median": "MedianPruner", "halving": "SuccessiveHalvingPruner"}
ERROR = "error"  # attribute of a trial that raised: why
HEARTBEAT = 30  # seconds; a worker that is silent for three of them counts as killed and its trial is tried again


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, whole ones where both are; `log`: uniform in their logarithm."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, log=self.log)
        return trial.suggest_float(key, float(self.low), float(self.high), log=self.log)

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    choices: tuple[Any, ...]

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        # Optuna stores numbers and words alone; a list is chosen by how it is written.
        written: dict[Any, Any] = {x if isinstance(x, int | float | str) else json.dumps(x): x for x in self.choices}
        return written[trial.suggest_categorical(key, tuple(written))]

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.choices


Space = dict[str, Range | Choice]


class _Failed(Exception):
    """A trial raised; the study goes on."""


def read_search_space(path: Path, config: Config) -> Space:
    """The table ``[search]`` of an experiment: a key is ``{ low, high, log }`` or ``{ choices }``.

    Raises:
        PPOJaxError: there is none, a key is unknown, or a value that could be tried is not one it can have.
    """
    place = f"{path}: [{SEARCH}]"
    found = _flatten(read_experiment(path).get(SEARCH, {}))
    if not found:
        example = "learning_rate = { low = 1e-4, high = 1e-2, log = true }"
        raise PPOJaxError(f"{place}: nothing to search; write for example {example}")
    space: Space = {key: _parse(f"{place} {key}", table) for key, table in found.items()}
    check_once([(key, one.ends[0]) for key, one in space.items()], place)
    for key, one in space.items():
        for value in one.ends:
            config.override({key: value}, place=place)
    return space


def _parse(place: str, table: Mapping[str, Any]) -> Range | Choice:
    keys = set(table)
    if keys == {"choices"} and isinstance(table["choices"], list):
        choices = table["choices"]
        if not choices:
            raise PPOJaxError(f"{place}: choices is empty")
        if any(choice in choices[:i] for i, choice in enumerate(choices)):
            raise PPOJaxError(f"{place}: a choice is given twice")
        return Choice(tuple(choices))
    numbers = [float(x) for key, x in table.items() if key != "log" and type(x) in (int, float)]
    of_range = {"low", "high"} <= keys <= {"low", "high", "log"} and isinstance(table.get("log", True), bool)
    if not of_range or len(numbers) < 2:
        raise PPOJaxError(f"{place}: expected {{ low, high, log }} or {{ choices }}")
    one = Range(**table)
    if not all(map(math.isfinite, numbers)) or one.low >= one.high or (one.log and one.low <= 0):
        raise PPOJaxError(f"{place}: low must be under high, both finite, and above 0 where log is set")
    return one


def tune(
    config: Config,
    space: Space,
    *,
    n_trials: int,
    n_seeds: int,
    storage: str | None,
    study_name: str,
    sampler: str = "tpe",
    pruner: str = "median",
    report: Callable[[str], None] = lambda text: None,
) -> optuna.Study:
    """Run trials until the study holds `n_trials` that ended, whoever ran them.

    A trial that raises fails alone, is kept with its reason, and counts; one whose worker was killed does not.

    Args:
        config: the base; a trial overrides what `space` names.
        space: what is searched.
        n_trials: of the study, over all of its workers.
        n_seeds: of a trial; its score is their interquartile mean of the best evaluation on valid.
        storage: Optuna's URL, such as ``sqlite:///tune.db``; None: in memory, for this process alone.
        study_name: workers of one name share the study.
        sampler: name in `SAMPLERS`.
        pruner: name in `PRUNERS`; needs ``eval_interval`` to see anything before the end.
        report: receives a line on each trial that ended.

    Raises:
        PPOJaxError: Optuna is missing, the storage cannot be reached, or the study is of another experiment.
    """
    if importlib.util.find_spec("optuna") is None:
        raise PPOJaxError("tuning needs the library optuna: pip install 'ppo-jax[tune]'")
    import optuna

    from ppo_jax.sweeps import sweep
    from ppo_jax.sweeps.side_by_side import describe_failure

    logging.getLogger("optuna").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are old, and marked so
    study = _open(storage, study_name, sampler, pruner, config.run.seed)
    experiment = _identity(config, space, n_seeds)
    _require_same(study, experiment)

    def objective(trial: optuna.Trial) -> float:
        _require_same(study, experiment)  # another worker may have begun at the same moment
        setting = {key: one.suggest(trial, key) for key, one in space.items()}
        trial.set_user_attr("setting", setting)
        trial.set_user_attr("worker", socket.gethostname())
        try:
            return score(trial, setting)
        except optuna.TrialPruned:
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, describe_failure(error))
            raise _Failed from error

    def score(trial: optuna.Trial, setting: Mapping[str, Any]) -> float:
        files_alone = {"tensorboard": False, "wandb": False}
        plan = make_plan(config.override(files_alone).override(setting, place=SEARCH), n_seeds)

        def watch(update: int, scores: Mapping[str, float]) -> None:
            trial.report(interquartile_mean(list(scores.values())), update)
            if trial.should_prune():
                raise optuna.TrialPruned

        with tempfile.TemporaryDirectory(prefix="ppo_jax-trial-") as folder:
            record = sweep.run(plan, Path(folder) / "sweep", progress=False, watch=watch, test=False)
        valid = [member["valid"] for member in record["members"] if member["status"] == "completed"]
        scores = [results.of(result).score(result)[0] for result in valid]
        if len(scores) < n_seeds:
            raise optuna.TrialPruned  # a seed diverged: no setting to recommend
        return interquartile_mean(scores)

    def say(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        value = "" if trial.value is None else f" {trial.value:.4f}"
        setting = " ".join(f"{key}={_short(value)}" for key, value in _setting(trial).items())
        reason = f"  ({trial.user_attrs[ERROR]})" if ERROR in trial.user_attrs else ""
        report(f"trial {trial.number} {trial.state.name.lower()}{value}  {setting}{reason}")

    def stop(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        if _n_ended(study) >= n_trials:
            study.stop()

    if _n_ended(study) < n_trials:
        study.optimize(objective, callbacks=[stop, say], catch=(_Failed,))
    return study


def _n_ended(study: optuna.Study) -> int:
    """Trials that were completed, pruned, or raised; those of killed workers are tried again."""
    from optuna.trial import TrialState

    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return sum(
        trial.state in ended or (trial.state == TrialState.FAIL and ERROR in trial.user_attrs)
        for trial in study.get_trials(deepcopy=False)
    )


def _setting(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return dict(trial.user_attrs.get("setting", trial.params))


def _identity(config: Config, space: Space, n_seeds: int) -> dict[str, Any]:
    """What makes the trials of a study comparable, by the name of what may differ.

    Data count by their content and not by their path, which differs from machine to machine.
    """
    from ppo_jax.tasks.make import make_task

    tables = config.to_dict()
    settings = {f"{section}.{key}": value for section, table in tables.items() for key, value in table.items()}
    kept = {k: v for k, v in settings.items() if not k.startswith("run.") or k in ("run.seed", "run.on_nan")}
    for key in ("task.dataset", "task.prior"):
        if key in kept:
            kept[key] = Path(kept[key]).name
    if config.task.dataset:
        kept["task.dataset"] = make_task(config).sha256
    searched = {f"[{SEARCH}] {key}": dataclasses.asdict(one) for key, one in space.items()}
    return json.loads(json.dumps(without_infinity(kept | searched | {"--seeds": n_seeds})))


def _require_same(study: optuna.Study, experiment: dict[str, Any]) -> None:
    """Make sure that the trials of a study are of this experiment; a new study is marked with it."""
    recorded = study.user_attrs.get("experiment")
    if recorded is None:
        if study.get_trials(deepcopy=False):
            raise PPOJaxError(
                f"--study {study.study_name}: does not say which experiment its trials are of; choose another --study"
            )
        study.set_user_attr("experiment", experiment)
        return
    differing = [key for key in {**recorded, **experiment} if recorded.get(key) != experiment.get(key)]
    if differing:
        raise PPOJaxError(
            f"--study {study.study_name}: its trials are of another experiment: {', '.join(differing)} "
            f"{'differs' if len(differing) == 1 else 'differ'}; choose another --study"
        )


def conclude(study: optuna.Study) -> dict[str, Any]:
    """The study as JSON data: trials by score, the best first, and how much each setting mattered (PED-ANOVA)."""
    import optuna
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    done = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: -(t.value or 0.0))
    rows = [
        {
            "number": trial.number,
            "score": trial.value,
            "setting": _setting(trial),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            "worker": trial.user_attrs.get("worker"),
        }
        for trial in done
    ]
    importance: dict[str, float] = {}
    if len({trial.value for trial in done}) > 1:
        importance = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    states = Counter(trial.state.name.lower() for trial in trials)
    failed = [
        {"number": trial.number, "setting": _setting(trial), "error": trial.user_attrs[ERROR]}
        for trial in trials
        if ERROR in trial.user_attrs
    ]
    return {
        "study": study.study_name,
        "states": dict(states),
        "best": rows[0] if rows else None,
        "importance": importance,
        "trials": rows,
        "failed": failed,
    }


def _open(storage: str | None, name: str, sampler: str, pruner: str, seed: int) -> optuna.Study:
    import optuna
    import sqlalchemy
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    if storage in ("sqlite://", "sqlite:///:memory:"):
        storage = None  # Optuna's own memory; one of SQLite's is a connection's alone
    own_seed = {} if sampler == "gp" else {"seed": None if storage else seed}  # shared: each worker draws its own
    try:
        return optuna.create_study(
            storage=storage
            and RDBStorage(
                storage,
                engine_kwargs={"poolclass": sqlalchemy.NullPool},  # no connection is held while a trial trains
                heartbeat_interval=HEARTBEAT,
                grace_period=3 * HEARTBEAT,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            ),
            study_name=name,
            sampler=getattr(optuna.samplers, SAMPLERS[sampler])(**own_seed),
            pruner=getattr(optuna.pruners, PRUNERS[pruner])(),
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy and its drivers raise many kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise PPOJaxError(f"--storage {storage}: cannot be reached: {reason[0]}") from None


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """``learning_rate.init = { low, … }`` as one key; a leaf is a table of plain values."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in table.items():
        if not isinstance(value, Mapping):
            raise PPOJaxError(f"[{SEARCH}] {prefix}{key}: expected {{ low, high, log }} or {{ choices }}")
        if {"low", "high", "choices"} & value.keys() or not any(isinstance(x, Mapping) for x in value.values()):
            found[prefix + key] = dict(value)
        else:
            found |= _flatten(value, f"{prefix}{key}.")
    return found


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
