"""The few types every part of ppo_jax shares: action spaces, environments, transitions, the state of training.

This module imports nothing of ppo_jax, so everything may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = [
    "ActionSpace",
    "Batch",
    "Box",
    "Discrete",
    "EnvStep",
    "Environment",
    "Learner",
    "MultiDiscrete",
    "Normalizers",
    "PPOJaxError",
    "Rollout",
    "TrainState",
    "Transition",
    "describe_action_space",
]

PyTree = Any


class PPOJaxError(Exception):
    """A mistake of the user's that one line can explain; the command line prints it and exits with code 2."""


@dataclass(frozen=True)
class Discrete:
    """Actions ``0 .. n-1``. An observation dict may carry ``action_mask`` [n], true where the action is valid."""

    n: int

    def __post_init__(self) -> None:
        n: Any = self.n
        if not isinstance(n, Integral) or self.n < 1:
            raise PPOJaxError(f"Discrete(n): n must be a whole number of actions, got {n!r}")

    @property
    def n_outputs(self) -> int:
        """Numbers that a policy gives out."""
        return self.n

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an action, int32."""
        return ()


@dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once, the i-th of them among ``0 .. sizes[i]-1``; of two each they are switches.

    An ``action_mask`` [sum(sizes)] in the observation holds those of the choices one after the other.
    """

    sizes: tuple[int, ...]

    @property
    def n_outputs(self) -> int:
        """Numbers that a policy gives out, those of each choice one after the other."""
        return sum(self.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an action, int32."""
        return (len(self.sizes),)


@dataclass(frozen=True)
class Box:
    """Real vectors of length ``len(low)``, brought into ``[low, high]`` where the environment receives them.

    They are clipped, or squashed by tanh.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    squashed: bool = False

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if not (isinstance(low, tuple) and isinstance(high, tuple) and len(low) == len(high)):
            raise PPOJaxError(
                f"Box(low, high): a tuple each with a bound for each number, as (-1.0,), (1.0,); got {low!r}, {high!r}"
            )

    @property
    def size(self) -> int:
        return len(self.low)

    @property
    def n_outputs(self) -> int:
        """Numbers that a policy gives out: the means."""
        return self.size

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an action, float32."""
        return (self.size,)


ActionSpace = Discrete | MultiDiscrete | Box  # what a policy may choose from


def describe_action_space(space: ActionSpace) -> dict[str, Any]:
    """As plain values: `type`, and `n`, `sizes`, or `low` and `high`."""
    match space:
        case Discrete():
            return {"type": "discrete", "n": space.n}
        case MultiDiscrete():
            return {"type": "multi_discrete", "sizes": list(space.sizes)}
        case Box():
            return {"type": "box", "low": list(space.low), "high": list(space.high)}


class EnvStep(NamedTuple):
    """What one environment step returns, in gymnax 1.x's order.

    ``observation`` and ``state`` are those to act on next: after the end of an episode they belong to a new one.
    ``info["final_observation"]`` is the observation the action led to, whether or not the episode ended there.
    """

    observation: PyTree  # an array, or a dictionary or tuple of them
    state: PyTree  # whatever the environment needs to go on
    reward: Any  # [] float32
    terminated: Any  # [] bool: the task itself ended
    truncated: Any  # [] bool: a time limit cut the episode; where both are set, `terminated` wins
    info: dict[str, Any]  # what else there is to say of the step, arrays by name


@runtime_checkable
class Environment(Protocol):
    """One unbatched environment of pure functions; ppo_jax adds the batch with ``jax.vmap``.

    ``params`` is a pytree handed through to every call. Instances must be hashable: a compiled program is kept
    for each. Episodes restart by themselves inside ``step``.
    """

    @property
    def action_space(self) -> ActionSpace:
        """What the policy chooses from."""
        ...

    @property
    def can_truncate(self) -> bool:
        """Whether ``truncated`` can ever be true; only then is the value of the final observation computed."""
        ...

    @property
    def default_params(self) -> PyTree:
        """The `params` of a run, unless its configuration sets others."""
        ...

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, PyTree]:
        """Return ``(observation, state)`` of a fresh episode."""
        ...

    def step(self, key: Any, state: PyTree, action: Any, params: PyTree) -> EnvStep:
        """Take one step, and begin a new episode where it ends."""
        ...


class Transition(NamedTuple):
    """One step of every environment, stacked over time by the rollout: T steps, B environments."""

    observation: PyTree  # [T, B, ...] as the network saw it (normalised where that is on)
    action: Any  # [T, B, ...] int32 or float32, of the action space's shape
    log_prob: Any  # [T, B] of `action` under the policy that took it
    value: Any  # [T, B] network output (normalised units where values are normalised)
    final_value: Any  # [T, B] value of the final observation; zeros where the environment cannot truncate
    reward: Any  # [T, B] as the environment gave it
    terminated: Any  # [T, B] bool
    truncated: Any  # [T, B] bool
    start: Any  # [T, B] bool, whether the observation begins an episode
    carry: PyTree  # [T, B, ...] memory of the network before the step; () without
    raw_observation: PyTree  # [T, B, ...] as the environment gave it where the network sees it normalised, else ()
    info: dict[str, Any]  # [T, B, ...] what the environment reports of the step, without `final_observation`


class Learner(NamedTuple):
    """What the gradient moves."""

    params: PyTree  # of the network
    opt_state: PyTree  # of the optimizer


class Rollout(NamedTuple):
    """Where the environments stand."""

    env_state: PyTree  # [B, ...]
    observation: PyTree  # [B, ...] raw, to act on next
    carry: PyTree  # [B, ...] memory of the network; () without
    start: Any  # [B] bool, whether `observation` begins an episode
    discounted_return: Any  # [B] running sum of rewards


class Normalizers(NamedTuple):
    """Running statistics, which evaluation leaves as they are."""

    observation: PyTree  # RunningMoments for each leaf of an observation; () where not normalised
    reward: Any  # RunningMoments of the discounted sums of rewards []
    value: Any  # RunningMoments of the returns []


class TrainState(NamedTuple):
    """Everything a run is: saving it saves the run."""

    learner: Learner  # parameters and optimizer
    rollout: Rollout  # where the environments stand
    normalizers: Normalizers  # running statistics
    key: Any  # that all later random numbers come from
    step: Any  # [] int32, updates done
    hyperparams: Any  # ppo_jax.config.Hyperparams


class Batch(NamedTuple):
    """What the loss needs of N transitions, sequence after sequence."""

    observation: PyTree  # [N, ...]
    action: Any  # [N, ...]
    log_prob: Any  # [N] under the policy of the rollout
    value: Any  # [N] of the rollout, network output
    advantages: Any  # [N]
    returns: Any  # [N] in the units of the network output
    start: Any  # [N] bool, where an episode begins
    carry: PyTree  # [N / L, ...] memory before the first step of each sequence
