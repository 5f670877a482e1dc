"""The few types every part of ppo_jax shares: action spaces, environment and network protocols, transitions.

This module imports nothing of ppo_jax, so everything may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = [
    "ActionSpace",
    "Box",
    "Discrete",
    "EnvStep",
    "Environment",
    "PPOJaxError",
    "Transition",
]

PyTree = Any


class PPOJaxError(Exception):
    """A mistake of the user's that one line can explain; the command line prints it and exits with code 2."""


@dataclass(frozen=True)
class Discrete:
    """Actions ``0 .. n-1``. An observation dict may carry ``action_mask`` [n], true where the action is valid."""

    n: int


@dataclass(frozen=True)
class Box:
    """Real vectors of length ``len(low)``, clipped to ``[low, high]`` where the environment receives them."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.low)


ActionSpace = Discrete | Box


class EnvStep(NamedTuple):
    """What one environment step returns, in gymnax 1.x's order.

    ``observation`` and ``state`` are those to act on next: after the end of an episode they belong to a new one.
    ``info["final_observation"]`` is the observation the action led to, whether or not the episode ended there.
    """

    observation: PyTree
    state: PyTree
    reward: Any  # [] float32
    terminated: Any  # [] bool: the task itself ended
    truncated: Any  # [] bool: a time limit cut the episode; where both are set, `terminated` wins
    info: dict[str, Any]


@runtime_checkable
class Environment(Protocol):
    """One unbatched environment of pure functions; ppo_jax adds the batch with ``jax.vmap``.

    ``params`` is a pytree handed through to every call. Instances must be hashable: a compiled program is kept
    for each. Episodes restart by themselves inside ``step``.
    """

    @property
    def action_space(self) -> ActionSpace: ...

    @property
    def can_truncate(self) -> bool:
        """Whether ``truncated`` can ever be true; only then is the value of the final observation computed."""
        ...

    @property
    def default_params(self) -> PyTree: ...

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, PyTree]:
        """Return ``(observation, state)`` of a fresh episode."""
        ...

    def step(self, key: Any, state: PyTree, action: Any, params: PyTree) -> EnvStep: ...


class Transition(NamedTuple):
    """One step of every environment, stacked over time by the rollout: T steps, B environments."""

    observation: PyTree  # [T, B, ...] as the network saw it (normalised where that is on)
    action: Any  # [T, B] int32 or [T, B, size] float32
    log_prob: Any  # [T, B] of `action` under the policy that took it
    value: Any  # [T, B] network output (normalised units where values are normalised)
    final_value: Any  # [T, B] value of the final observation; zeros where the environment cannot truncate
    reward: Any  # [T, B] as the environment gave it
    terminated: Any  # [T, B] bool
    truncated: Any  # [T, B] bool
    info: dict[str, Any]  # [T, B, ...] what the environment reports of the step
