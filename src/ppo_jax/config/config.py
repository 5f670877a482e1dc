"""The configuration: TOML in, frozen data classes, TOML out.

A `Config` is what the user writes. Two views are derived from it: `Settings`, the static part of the training program
(shapes, counts, switches), and `Hyperparams`, the traced part (changing one never recompiles).
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from ppo_jax.config.checks import check_argument, convert
from ppo_jax.config.experiments import experiment_file, read_experiment
from ppo_jax.config.hyperparams import Hyperparams, KLAdaptive, Schedule, Settings
from ppo_jax.config.legible import shorten
from ppo_jax.config.retired import rename_retired
from ppo_jax.config.schema import (
    ENVIRONMENT_KEYS,
    PROOF_KEYS,
    EvaluationConfig,
    NetworkConfig,
    PPOConfig,
    RunConfig,
    ScheduleConfig,
    TaskConfig,
)
from ppo_jax.config.suggestions import nearest, nearest_divisors, nearest_key
from ppo_jax.config.task_id import names_data_set
from ppo_jax.config.toml import parse_assignment, write_toml
from ppo_jax.types import PPOJaxError

__all__ = [
    "KEYS",
    "OPEN_TABLES",
    "SCHEDULED",
    "SEARCH",
    "SECTIONS",
    "Config",
    "check_once",
    "from_dict",
    "load_config",
]

SEARCH = "search"  # a table of an experiment that `ppo-jax tune` reads
MOST_UPDATES = 2**31 - 1  # an int32 counts them
EVALUATIONS = 10  # about as many has a run by default settings that is too short for them by their interval
LONGEST_DEFAULT_SEQUENCE = 16  # steps: gradients through a recurrent core reach no further back unless asked to


@dataclass(frozen=True)
class Config:
    """One experiment; every key is unique across the sections."""

    task: TaskConfig = field(default_factory=TaskConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if (self.task.env_id is None) == (self.task.dataset is None):
            raise PPOJaxError("task: give env_id or dataset, one of the two (`--set env_id=none` drops one)")
        ppo = self.ppo
        rollout = ppo.n_envs * ppo.n_steps
        if ppo.batch_size < rollout and rollout % ppo.batch_size:
            near = ", ".join(map(str, nearest_divisors((ppo.n_envs, ppo.n_steps), ppo.batch_size)))
            raise PPOJaxError(
                f"ppo.batch_size = {ppo.batch_size} does not divide the rollout of n_envs * n_steps = "
                f"{ppo.n_envs} * {ppo.n_steps} = {rollout}; the nearest sizes that do: {near}"
            )
        if (updates := -(-ppo.total_timesteps // rollout)) > MOST_UPDATES:
            raise PPOJaxError(
                f"ppo.total_timesteps = {ppo.total_timesteps} is {updates:,} updates, at most {MOST_UPDATES:,} can be "
                "counted; raise n_envs or n_steps"
            )
        _check_sequences(ppo, self.sequence_length)
        for name, coef in (ppo.loss_coefs or {}).items():
            if not math.isfinite(coef):
                raise PPOJaxError(f"ppo.loss_coefs.{name} = {coef}: must be a finite number")
        uses = {"task.shaping": self.task.shaping, "network.initial_embeddings": self.network.initial_embeddings}
        for name, value in uses.items():
            if value and not (self.task.prior and self.answers):
                raise PPOJaxError(
                    f"{name} = {value!r} needs embeddings and queries to answer: name a prior (`ppo-jax embed` writes "
                    'one, `--set prior=FILE` names it) with mode = "answer"'
                )
        for name in SCHEDULED:
            schedule = getattr(ppo, name)
            if not isinstance(schedule, ScheduleConfig):
                continue
            if schedule.end <= schedule.start:
                raise PPOJaxError(f"ppo.{name}: end = {schedule.end} must lie after start = {schedule.start}")
            if schedule.shape == "kl_adaptive" and name not in RATES:
                raise PPOJaxError(f'ppo.{name}: shape = "kl_adaptive" is for learning rates alone')

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is legal but probably not meant, a line each."""
        ppo, rollout, found = self.ppo, self.ppo.n_envs * self.ppo.n_steps, []
        if ppo.batch_size > rollout:
            found.append(
                f"ppo.batch_size = {ppo.batch_size} is larger than the rollout of {rollout}: "
                "each epoch is one minibatch of the whole rollout"
            )
        updates, interval = self.settings.n_updates, self.evaluation.eval_interval
        if interval > updates:
            more = f"; eval_interval = {max(updates // EVALUATIONS, 1)} gives more" if updates > 1 else ""
            found.append(
                f"evaluation.eval_interval = {interval} exceeds the {updates} update{'s' * (updates > 1)}: "
                f"one evaluation, at the end{more}"
            )
        for name in RATES:
            kl = getattr(getattr(ppo, name), "desired_kl", None)
            if kl and ppo.target_kl and 1.5 * ppo.target_kl <= 2 * kl:
                found.append(
                    f"ppo.{name} never falls: the epochs end where KL is over 1.5 target_kl = {1.5 * ppo.target_kl:g}, "
                    f"and it falls over 2 desired_kl = {2 * kl:g}; raise target_kl or leave it out"
                )
            if kl and self.settings.n_minibatches * ppo.n_epochs == 1:
                found.append(f"ppo.{name} never moves: with one minibatch in an update its KL is 0; raise n_epochs")
        proofs = names_data_set(self.task.env_id, self.task.dataset)
        for section, name in self._of_other_tasks():
            if getattr(getattr(self, section), name) != getattr(SECTIONS[section](), name):
                reader = "a run in an environment reads" if proofs else "a proof task reads"
                found.append(f"{section}.{name} is set, but only {reader} it; leave it out")
        if self.network.core is None and self.network.core_size != NetworkConfig().core_size:
            found.append('network.core_size is set, but there is no core; core = "gru" gives one')
        return tuple(found)

    def _of_other_tasks(self) -> list[tuple[str, str]]:
        """Section and name of each key that only the other kind of task reads."""
        others = ENVIRONMENT_KEYS if names_data_set(self.task.env_id, self.task.dataset) else PROOF_KEYS
        return [(section, name) for section, types in _FIELD_TYPES.items() for name in types if name in others]

    @property
    def sequence_length(self) -> int:
        """Steps of the sequences that minibatches are made of: as set, or as fits the network."""
        ppo = self.ppo
        if ppo.sequence_length is not None:
            return ppo.sequence_length
        if self.network.core is None:
            return 1
        common = math.gcd(ppo.n_steps, _batch_size(ppo))
        return max(length for length in range(1, LONGEST_DEFAULT_SEQUENCE + 1) if common % length == 0)

    @property
    def settings(self) -> Settings:
        """The static settings of the training program."""
        ppo = self.ppo
        rollout = ppo.n_envs * ppo.n_steps
        names = {f.name for f in dataclasses.fields(Settings)} & {f.name for f in dataclasses.fields(PPOConfig)}
        values = {name: getattr(ppo, name) for name in names}
        values["batch_size"] = _batch_size(ppo)
        values["sequence_length"] = self.sequence_length
        return Settings(**values, n_updates=-(-ppo.total_timesteps // rollout))

    @property
    def hyperparams(self) -> Hyperparams:
        """The traced settings, as Python numbers."""
        ppo, critic = self.ppo, self.ppo.critic_learning_rate
        return Hyperparams(
            learning_rate=_schedule(ppo.learning_rate),
            critic_learning_rate=None if critic is None else _schedule(critic),
            ent_coef=_schedule(ppo.ent_coef),
            clip_range=_schedule(ppo.clip_range),
            clip_range_vf=math.inf if ppo.clip_range_vf is None else ppo.clip_range_vf,
            gamma=ppo.gamma,
            gae_lambda=ppo.gae_lambda,
            vf_coef=ppo.vf_coef,
            max_grad_norm=ppo.max_grad_norm,
            target_kl=math.inf if ppo.target_kl is None else ppo.target_kl,
            total_timesteps=float(self.settings.n_updates * self.settings.rollout_size),
            loss_coefs=ppo.loss_coefs,
        )

    def override(self, assignments: str | Iterable[str] | Mapping[str, Any], place: str | None = None) -> Config:
        """Return a config with settings replaced.

        Args:
            assignments: one or several of ``"n_envs=32"``, ``"learning_rate.final=1e-6"`` or ``"target_kl=none"``
                (values in TOML, a bare word is a string), or a mapping from keys to values.
            place: begins every error; by default ``--set``, and of a mapping ``settings``.

        Raises:
            PPOJaxError: unknown key (names the nearest), a value of the wrong type or range, or a key that is given
                twice, be it under two names; a part of a schedule may follow the whole.
        """
        if isinstance(assignments, str):
            assignments = [assignments]
        place = place or ("settings" if isinstance(assignments, Mapping) else "--set")
        if isinstance(assignments, Mapping):
            pairs = list(assignments.items())
        else:
            pairs = [parse_assignment(text, place) for text in assignments]
        check_once(pairs, place)
        tables = self.to_dict()
        own_loss = self.ppo.loss is not None or any(_without_section(key) == "loss" for key, _ in pairs)
        for key, new in pairs:
            bare = _without_section(key)
            name, *inner = bare.split(".")
            if key != bare and (owner := _OWNER.get(name)) and key != f"{owner}.{bare}":
                raise PPOJaxError(f"{place} {key}: {name} belongs under [{owner}]; {bare} alone is enough")
            if name in SECTIONS and isinstance(new, Mapping):
                raise PPOJaxError(f"{place} {key}: is a section; give its keys without it, such as {{'n_envs': 8}}")
            if not inner:
                for current, value in rename_retired({name: new}, place).items():
                    of_loss = own_loss and isinstance(value, int | float)
                    tables[_section_of(current, f"{place} {key}", of_loss)][current] = value
                continue
            table = tables[_section_of(name, f"{place} {key}")]
            if name in OPEN_TABLES and len(inner) == 1:
                table[name] = {**table.get(name, {}), inner[0]: new}
            elif name in SCHEDULED and len(inner) == 1:
                old = table.get(name, {})
                constant = {"init": old} if new == "kl_adaptive" else {"init": old, "final": old}
                table[name] = (old if isinstance(old, dict) else constant) | {inner[0]: new}
            else:
                raise PPOJaxError(f"{place} {key}: {name} has no such part; write {name}=value")
        return from_dict(tables, place=place)

    @property
    def answers(self) -> bool:
        """Whether queries with a variable are answered: as `mode` says, by default those of a folder."""
        return (self.task.mode or ("answer" if self.task.dataset else "verify")) == "answer"

    def with_absolute_dataset(self) -> Config:
        """The same, saying where its data lie and what is done with them, so that a run can be read elsewhere."""
        task = self.task
        if not (task.dataset and Path(task.dataset).is_dir()):
            return self
        paths = {"dataset": task.dataset} | ({"prior": task.prior} if task.prior else {})
        if Path(task.rules).is_file() and not Path(task.dataset, task.rules).is_file():
            paths["rules"] = task.rules
        mode = "answer" if self.answers else "verify"
        return self.override({key: str(Path(path).absolute()) for key, path in paths.items()} | {"mode": mode})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain dicts without unset (None) values."""
        return {section: _without_none(values) for section, values in dataclasses.asdict(self).items()}

    def differences(self, other: Config) -> list[str]:
        """The keys in which two configurations differ, as ``section.key``."""
        ours, theirs = self.to_dict(), other.to_dict()
        keys = [(section, key) for section in ours for key in sorted(ours[section].keys() | theirs[section].keys())]
        return [f"{section}.{key}" for section, key in keys if ours[section].get(key) != theirs[section].get(key)]

    def to_toml(self) -> str:
        """The configuration as TOML that `load_config` reads back to an equal `Config`; holds what `to_tables` does."""
        return write_toml(self.to_tables())

    def to_tables(self) -> dict[str, dict[str, Any]]:
        """As `to_dict`, for people to read.

        What only the other kind of task reads is left out where it is as by default: keys of proofs of a run in an
        environment, and the other way round.
        """
        tables = self.to_dict()
        for section, name in self._of_other_tasks():
            if name in tables[section] and getattr(getattr(self, section), name) == getattr(SECTIONS[section](), name):
                del tables[section][name]
        return tables


SECTIONS: dict[str, type] = {
    "task": TaskConfig,
    "ppo": PPOConfig,
    "network": NetworkConfig,
    "evaluation": EvaluationConfig,
    "run": RunConfig,
}
RATES = ("learning_rate", "critic_learning_rate")
SCHEDULED = (*RATES, "clip_range", "ent_coef")
OPEN_TABLES = {"env_params": "a table", "loss_coefs": "a table of numbers"}  # whose keys are the user's
_FIELD_TYPES = {section: typing.get_type_hints(cls, include_extras=True) for section, cls in SECTIONS.items()}
_OWNER = {name: section for section, types in _FIELD_TYPES.items() for name in types}
KEYS = frozenset(_OWNER)  # of every section


def load_config(path: str | Path, assignments: str | Iterable[str] | Mapping[str, Any] = ()) -> Config:
    """Read an experiment and apply ``key=value`` overrides.

    Args:
        path: a TOML file; or the name of an experiment that comes with ppo_jax, ``"cartpole"``, or an environment,
            ``"CartPole-v1"``, which has the settings of its experiment, or such as most environments learn
            with; with these, a shorter run, with less than ten evaluations by their ``eval_interval``, has about ten.
        assignments: as for `Config.override`.

    Raises:
        PPOJaxError: there is no such experiment, a file is no TOML, a key is unknown, a value has the wrong type or
            range.
    """
    check_argument(path, str | PurePath, "an experiment must be a name or a file", "name it by its import path, PATH")
    tables = {name: table for name, table in read_experiment(path).items() if name != SEARCH}
    default = from_dict(tables, place=str(path))
    given = assignments if isinstance(assignments, Mapping | str) else list(assignments)
    config = default.override(given) if given else default
    updates = config.settings.n_updates
    enough = min(default.settings.n_updates, (EVALUATIONS - 1) * config.evaluation.eval_interval + 1)
    if experiment_file(path) or updates >= enough:
        return config
    return default.override({"eval_interval": -(-updates // EVALUATIONS)}).override(given)  # a given one stays


def from_dict(tables: Mapping[str, Any], place: str = "config") -> Config:
    """Build a `Config` from nested dicts, checking names, types and ranges; `place` begins every error."""
    sections: dict[str, Any] = {}
    for section, values in tables.items():
        if section not in SECTIONS:
            hint = f"write it under [{_OWNER[section]}]" if section in _OWNER else nearest(section, SECTIONS)
            raise PPOJaxError(f"{place}: unknown section [{section}]; {hint}")
        if not isinstance(values, Mapping):
            raise PPOJaxError(f"{place}: {section} must be a table: [{section}]")
        values = rename_retired(values, f"{place}: [{section}]")
        types = _FIELD_TYPES[section]
        for name in values:
            of_loss = "loss" in values and isinstance(values[name], int | float)
            if (owner := _section_of(name, f"{place}: [{section}]", of_loss)) != section:
                raise PPOJaxError(f"{place}: [{section}] has no key {name!r}; it belongs under [{owner}]")
            if name in OPEN_TABLES and not isinstance(values[name], Mapping | None):
                expected = f"{OPEN_TABLES[name]}, {name}.name=…"
                raise PPOJaxError(f"{place}: {section}.{name}: Expected {expected}, got {shorten(values[name])}")
        converted = {name: convert(value, types[name], f"{place}: {section}.{name}") for name, value in values.items()}
        sections[section] = SECTIONS[section](**converted)
    return Config(**sections)


def check_once(pairs: Iterable[tuple[str, Any]], place: str) -> None:
    """Make sure that of keys and values each key is given once, under whatever name; `place` begins the error."""
    given: dict[str, str] = {}  # key by today's name and without its section -> as it was written
    for key, value in pairs:
        bare = _without_section(key)
        for current in [bare] if "." in bare else rename_retired({bare: value}, place):
            if before := [other for one, other in given.items() if one == current or one.startswith(f"{current}.")]:
                raise PPOJaxError(f"{place} {key}: {current} is given twice, before as {before[0]}")
            given[current] = key


def _without_section(key: str) -> str:
    section, dot, rest = key.partition(".")
    return rest if dot and section in SECTIONS else key


def _section_of(name: str, place: str, of_loss: bool = False) -> str:
    """The section of a key; one that is unknown may be meant as a number of the user's loss."""
    if name not in _OWNER:
        hint = nearest_key(name, _OWNER)
        meant = f"; a number of your loss is loss_coefs.{name}" if of_loss else ""
        raise PPOJaxError(f"{place}: unknown key {name!r}; {hint}{meant}")
    return _OWNER[name]


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table and the tables in it, without what is unset."""
    given = {name: value for name, value in table.items() if value is not None}
    return {name: _without_none(value) if isinstance(value, dict) else value for name, value in given.items()}


def _batch_size(ppo: PPOConfig) -> int:
    """Transitions of a minibatch; a batch larger than the rollout is the rollout."""
    return min(ppo.batch_size, ppo.n_envs * ppo.n_steps)


def _check_sequences(ppo: PPOConfig, length: int) -> None:
    if ppo.n_steps % length:
        near = ", ".join(map(str, nearest_divisors((ppo.n_steps,), length)))
        raise PPOJaxError(
            f"ppo.sequence_length = {length} does not divide n_steps = {ppo.n_steps}; the nearest that do: {near}"
        )
    if (batch_size := _batch_size(ppo)) % length:
        sequences = nearest_divisors((ppo.n_envs, ppo.n_steps // length), round(batch_size / length))
        near = ", ".join(str(length * n) for n in sequences)
        raise PPOJaxError(
            f"ppo.batch_size = {batch_size} is no multiple of sequence_length = {length}; "
            f"the nearest sizes that are: {near}"
        )


def _schedule(value: float | ScheduleConfig) -> Schedule | KLAdaptive:
    if isinstance(value, ScheduleConfig) and value.shape == "kl_adaptive":
        return KLAdaptive(value.init, value.desired_kl)
    if isinstance(value, ScheduleConfig):
        return Schedule(
            init=value.init,
            final=value.final,
            shape=value.shape,
            start=value.start,
            end=value.end,
            warmup=value.warmup,
        )
    return Schedule(init=value, final=value)
