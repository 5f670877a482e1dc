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
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from ppo_jax.parsing import convert, nearest, nearest_divisors, parse_assignment, read_toml, write_toml
from ppo_jax.types import PPOJaxError

__all__ = [
    "SCHEDULED",
    "SCHEDULE_SHAPES",
    "SECTIONS",
    "Config",
    "EvaluationConfig",
    "Hyperparams",
    "NetworkConfig",
    "PPOConfig",
    "RunConfig",
    "Schedule",
    "ScheduleConfig",
    "Settings",
    "TaskConfig",
    "from_dict",
    "load_config",
]

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e30)]

SCHEDULE_SHAPES = ("constant", "linear", "cosine", "exponential", "logarithmic")


class Schedule(NamedTuple):
    """A schedule as traced numbers; `ppo_jax.schedules.value` reads it. Each field is a number or an array [...]."""

    init: Any
    final: Any
    shape: Any = 0  # index into SCHEDULE_SHAPES
    start: Any = 0.0
    end: Any = 1.0
    warmup: Any = 0.0


class Hyperparams(NamedTuple):
    """The traced settings: any may be an array under `jax.vmap`. Infinity switches a limit off."""

    learning_rate: Schedule
    critic_learning_rate: Schedule
    ent_coef: Schedule
    clip_range: Schedule
    clip_range_vf: Any
    gamma: Any
    gae_lambda: Any
    vf_coef: Any
    max_grad_norm: Any
    target_kl: Any
    total_timesteps: Any  # environment steps over which the schedules run


@dataclass(frozen=True)
class Settings:
    """The static settings of the training program; another value means another compilation."""

    n_envs: int
    n_steps: int
    n_epochs: int
    batch_size: int
    n_updates: int
    normalize_advantage: bool = True
    bootstrap_truncation: bool = True
    normalize_observations: bool = False
    normalize_rewards: bool = False
    normalize_values: bool = False

    @property
    def rollout_size(self) -> int:
        """Environment steps of one update."""
        return self.n_envs * self.n_steps

    @property
    def n_minibatches(self) -> int:
        return self.rollout_size // self.batch_size


@dataclass(frozen=True)
class ScheduleConfig:
    """A setting that changes over training: from `init` at fraction `start` to `final` at `end`."""

    init: NonNegative
    final: NonNegative
    shape: Literal["constant", "linear", "cosine", "exponential", "logarithmic"] = "linear"
    start: Fraction = 0.0
    end: Fraction = 1.0
    warmup: Fraction = 0.0


Scheduled = NonNegative | ScheduleConfig


@dataclass(frozen=True)
class TaskConfig:
    """What is to be learnt: an environment id, or a folder with a knowledge graph."""

    env_id: str | None = None
    """gymnax id, `Proof-<dataset>`, or the import path `package.module:factory` of an environment of your own."""
    dataset: str | None = None
    """Folder of a knowledge graph (facts, rules, queries); instead of `env_id`."""
    rules: str = "rules.txt"
    """Name of the rule file in the dataset folder."""
    reward_type: Annotated[int, msgspec.Meta(ge=0, le=5)] = 4
    """Reward table of the proof task, 0 to 5 (docs/proof_mdp.md)."""
    max_depth: Count = 20
    """Proof steps before an episode ends as not proved."""
    max_atoms: Annotated[int, msgspec.Meta(ge=2)] = 6
    """Atoms a resolvent can hold; longer successors are dropped and counted."""
    max_successors: Count | None = None
    """Cap on the actions of a state besides `end`; by default what the knowledge base needs."""
    negative_ratio: Natural = 1
    """Corrupted queries for each true one."""
    corrupt: Literal["tail", "head", "both"] | None = None
    """Which argument corruptions replace; by default the data set's own."""
    end_action: bool = True
    """Offer `end`, to give up."""
    collapse_proved: bool = True
    """Where some successor is a proof, it is the one valid action."""
    prune_visited: bool = True
    """Leave out successors visited before in the episode."""
    fact_dropout: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    """Share of the facts of predicates with rules that a training episode does without; evaluation has all."""


@dataclass(frozen=True)
class PPOConfig:
    """The algorithm; names and meanings are Stable-Baselines3's where it has them."""

    total_timesteps: Count = 100_000
    """Environment steps of the whole run, rounded up to whole updates."""
    n_envs: Count = 64
    """Environments stepped side by side."""
    n_steps: Count = 128
    """Steps of each environment in a rollout."""
    n_epochs: Count = 4
    """Passes over a rollout."""
    batch_size: Count = 2048
    """Transitions in a minibatch; must divide n_envs * n_steps."""
    learning_rate: Scheduled = 3e-4
    """Of Adam. Any scheduled setting is a number or a table { init, final, shape, start, end, warmup }."""
    critic_learning_rate: Scheduled | None = None
    """For the parameters of modules named `critic…`; by default `learning_rate`."""
    gamma: Fraction = 0.99
    """Discount of a step."""
    gae_lambda: Fraction = 0.95
    """Of generalised advantage estimation: 0 trusts the critic, 1 the returns."""
    clip_range: Scheduled = 0.2
    """How far an action's probability may move from the rollout's, as a ratio; scheduled."""
    clip_range_vf: Positive | None = None
    """Clip of the value's change from the rollout's; in the units of the value network's output."""
    ent_coef: Scheduled = 0.0
    """Weight of the entropy in the loss; scheduled."""
    vf_coef: NonNegative = 0.5
    """Weight of the value loss."""
    max_grad_norm: Positive = 0.5
    """Largest global norm of the gradient; inf switches the clip off."""
    target_kl: Positive | None = None
    """Stop the update's epochs where the approximate KL exceeds 1.5 times this."""
    normalize_advantage: bool = True
    """Standardise the advantages of each minibatch."""
    bootstrap_truncation: bool = True
    """Add the value of the final observation where a time limit cut the episode."""
    normalize_observations: bool = False
    """Standardise observations by their running mean and variance."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    normalize_values: bool = False
    """Let the critic predict standardised returns."""


@dataclass(frozen=True)
class NetworkConfig:
    """The actor-critic."""

    network: str = "auto"
    """`mlp`, `proof_actions`, `proof_successors`, or the import path `package.module:Network` of your own."""
    hidden_sizes: tuple[Count, ...] = (64, 64)
    """Widths of the hidden layers."""
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    """Between the layers."""
    residual_layers: Natural = 0
    """Residual blocks after the hidden layers, each as wide as the last of them."""
    separate_critic: bool = True
    """Give the critic a trunk of its own."""
    embedding_size: Count = 64
    """Width of the embeddings of constants, predicates and actions (proof networks)."""
    fact_layers: Natural = 0
    """Layers in which the embedding of a constant to be bound takes in its background facts (`proof_actions`)."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How a policy is judged (docs/evaluation.md)."""

    eval_interval: Natural = 0
    """Updates between evaluations during training; 0 evaluates at the end alone."""
    eval_episodes: Count = 128
    """Episodes of an evaluation (tasks other than proving)."""
    beam_width: Count = 64
    """States kept at each depth by the marginal protocol."""
    n_corruptions: Count | None = None
    """Corruptions sampled per query and argument; by default all."""
    mask_end: bool = False
    """Never choose `end` in greedy proofs while another action is open."""
    n_queries: Count | None = None
    """Queries of a split used, from its beginning; by default all."""
    untrained_networks: Natural = 3
    """Seeds of the untrained baseline."""


@dataclass(frozen=True)
class RunConfig:
    """The run itself: seed and what is written."""

    seed: Natural = 0
    """Decides everything random in the run."""
    tensorboard: bool = False
    """Also write TensorBoard files (needs the extra `tensorboard`)."""
    wandb: bool = False
    """Also log to Weights & Biases (needs the extra `wandb`)."""


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
        for name in SCHEDULED:
            schedule = getattr(ppo, name)
            if isinstance(schedule, ScheduleConfig) and schedule.end <= schedule.start:
                raise PPOJaxError(f"ppo.{name}: end = {schedule.end} must lie after start = {schedule.start}")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is legal but probably not meant, a line each."""
        rollout = self.ppo.n_envs * self.ppo.n_steps
        if self.ppo.batch_size > rollout:
            return (
                f"ppo.batch_size = {self.ppo.batch_size} is larger than the rollout of {rollout}: "
                "each epoch is one minibatch of the whole rollout",
            )
        return ()

    @property
    def settings(self) -> Settings:
        """The static settings of the training program."""
        ppo = self.ppo
        rollout = ppo.n_envs * ppo.n_steps
        names = {f.name for f in dataclasses.fields(Settings)} & {f.name for f in dataclasses.fields(PPOConfig)}
        values = {name: getattr(ppo, name) for name in names}
        values["batch_size"] = min(ppo.batch_size, rollout)
        return Settings(**values, n_updates=math.ceil(ppo.total_timesteps / rollout))

    @property
    def hyperparams(self) -> Hyperparams:
        """The traced settings, as Python numbers."""
        ppo = self.ppo
        critic = ppo.learning_rate if ppo.critic_learning_rate is None else ppo.critic_learning_rate
        return Hyperparams(
            learning_rate=_schedule(ppo.learning_rate),
            critic_learning_rate=_schedule(critic),
            ent_coef=_schedule(ppo.ent_coef),
            clip_range=_schedule(ppo.clip_range),
            clip_range_vf=math.inf if ppo.clip_range_vf is None else ppo.clip_range_vf,
            gamma=ppo.gamma,
            gae_lambda=ppo.gae_lambda,
            vf_coef=ppo.vf_coef,
            max_grad_norm=ppo.max_grad_norm,
            target_kl=math.inf if ppo.target_kl is None else ppo.target_kl,
            total_timesteps=float(self.settings.n_updates * self.settings.rollout_size),
        )

    def override(self, assignments: Iterable[str] | Mapping[str, Any]) -> Config:
        """Return a config with settings replaced.

        Args:
            assignments: strings such as ``"n_envs=32"``, ``"learning_rate.final=1e-6"`` or ``"target_kl=none"``
                (values in TOML, a bare word is a string), or a mapping from keys to values.

        Raises:
            PPOJaxError: unknown key (names the nearest), or a value of the wrong type or range.
        """
        pairs = assignments.items() if isinstance(assignments, Mapping) else map(parse_assignment, assignments)
        tables = self.to_dict()
        for key, new in pairs:
            section, dot, rest = key.partition(".")
            name, *inner = (rest if dot and section in SECTIONS else key).split(".")
            table = tables[_section_of(name, f"--set {key}")]
            if not inner:
                table[name] = new
            elif name in SCHEDULED and len(inner) == 1:
                old = table.get(name, {})
                table[name] = (old if isinstance(old, dict) else {"init": old, "final": old}) | {inner[0]: new}
            else:
                raise PPOJaxError(f"--set {key}: {name} has no such part; write {name}=value")
        return from_dict(tables, place="--set")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain dicts without unset (None) values."""
        return {
            section: {name: value for name, value in values.items() if value is not None}
            for section, values in dataclasses.asdict(self).items()
        }

    def to_toml(self) -> str:
        """The whole configuration as TOML that `load_config` reads back to an equal `Config`."""
        return write_toml(self.to_dict())


SECTIONS: dict[str, type] = {
    "task": TaskConfig,
    "ppo": PPOConfig,
    "network": NetworkConfig,
    "evaluation": EvaluationConfig,
    "run": RunConfig,
}
SCHEDULED = ("learning_rate", "critic_learning_rate", "clip_range", "ent_coef")
_FIELD_TYPES = {section: typing.get_type_hints(cls, include_extras=True) for section, cls in SECTIONS.items()}
_OWNER = {name: section for section, types in _FIELD_TYPES.items() for name in types}


def load_config(path: str | Path, assignments: Iterable[str] | Mapping[str, Any] = ()) -> Config:
    """Read a TOML experiment and apply ``key=value`` overrides.

    Raises:
        PPOJaxError: the file is missing or no TOML, a key is unknown, a value has the wrong type or range.
    """
    config = from_dict(read_toml(Path(path)), place=str(path))
    return config.override(assignments) if assignments else config


def from_dict(tables: Mapping[str, Any], place: str = "config") -> Config:
    """Build a `Config` from nested dicts, checking names, types and ranges; `place` begins every error."""
    sections: dict[str, Any] = {}
    for section, values in tables.items():
        if section not in SECTIONS:
            hint = f"write it under [{_OWNER[section]}]" if section in _OWNER else nearest(section, SECTIONS)
            raise PPOJaxError(f"{place}: unknown section [{section}]; {hint}")
        if not isinstance(values, Mapping):
            raise PPOJaxError(f"{place}: {section} must be a table: [{section}]")
        types = _FIELD_TYPES[section]
        for name in values:
            if (owner := _section_of(name, f"{place}: [{section}]")) != section:
                raise PPOJaxError(f"{place}: [{section}] has no key {name!r}; it belongs under [{owner}]")
        converted = {name: convert(value, types[name], f"{place}: {section}.{name}") for name, value in values.items()}
        sections[section] = SECTIONS[section](**converted)
    return Config(**sections)


def _section_of(name: str, place: str) -> str:
    if name not in _OWNER:
        raise PPOJaxError(f"{place}: unknown key {name!r}; {nearest(name, _OWNER)}")
    return _OWNER[name]


def _schedule(value: float | ScheduleConfig) -> Schedule:
    if isinstance(value, ScheduleConfig):
        shape = SCHEDULE_SHAPES.index(value.shape)
        return Schedule(value.init, value.final, shape, value.start, value.end, value.warmup)
    return Schedule(init=value, final=value)
