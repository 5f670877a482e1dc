"""What a task is: what a run trains on, how a policy is judged, and what the verdict stands beside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol, runtime_checkable

from flax import linen as nn

from ppo_jax.config.schema import NetworkConfig
from ppo_jax.results import Judged, Played, Results
from ppo_jax.types import Environment, PyTree

__all__ = ["Policy", "Task"]


class Policy(Hashable, Protocol):
    """What is judged: a function of its parameters and of observations. Equal policies share what is compiled."""

    def initial_carry(self, n: int) -> PyTree:
        """Memory [n, ...] at the beginning of n episodes; () without."""
        ...

    def __call__(self, params: PyTree, observation: PyTree, carry: PyTree, start: Any) -> tuple[Any, Any, PyTree]:
        """Distribution over actions [n], value [n] in raw return units and next memory, for raw observations [n, ...].

        `start` [n] bool says where an episode begins.
        """
        ...


@runtime_checkable
class Task(Protocol):
    """A task knows its environment and how a policy is judged on it; nothing else asks which task it is.

    `ppo_jax.proving.task.ProofTask` and `ppo_jax.tasks.episodes.EpisodeTask` are the two that there are.
    Arguments called `seed` are the run's.
    """

    @property
    def env(self) -> Environment:
        """What is trained on, without episode statistics."""
        ...

    @property
    def env_params(self) -> PyTree:
        """Parameters of the environment."""
        ...

    @property
    def takes_memory(self) -> bool:
        """Whether a policy with memory can be judged."""
        ...

    @property
    def results(self) -> Results:
        """How results are read: scores, tables, verdict."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the data, a line each."""
        ...

    @property
    def sha256(self) -> str | None:
        """Of the data that were read; None where there are none."""
        ...

    @property
    def prior_sha256(self) -> str | None:
        """Of the embeddings that were read beside the data; None where there are none."""
        ...

    @property
    def action_meaning(self) -> str | None:
        """What an action means, for the description of an exported policy; None where its space says it all."""
        ...

    def default_network(self, config: NetworkConfig) -> nn.Module:
        """The network that `config` names, for this task.

        Raises:
            PPOJaxError: the named network does not fit the task; says which do.
        """
        ...

    def check(self) -> None:
        """Make sure that a policy can be judged, before anything is written.

        Raises:
            PPOJaxError: there is nothing to judge on.
        """
        ...

    def evaluate(
        self, policy: Policy, params: PyTree, split: str, *, seed: int, protocols: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Judge a policy on ``"valid"`` or ``"test"``: a result, JSON data that `results` reads.

        `protocols` are ways of judging, where the task has several; None: all of them.
        """
        ...

    def value_errors(self, policy: Policy, params: PyTree, *, gamma: float, seed: int) -> dict[str, float]:
        """Errors of the critic, which stand in ``eval.jsonl`` beside a result; {} where the task measures none."""
        ...

    def test(self, policy: Policy, params: PyTree, *, seed: int) -> Judged:
        """Judge a policy on test, and what else of it a run keeps."""
        ...

    def data_summary(self) -> dict[str, Any]:
        """What the data holds and allows, ``data`` in ``summary.json``; {} where there are none."""
        ...

    def baselines(self, policy: Policy, untrained: Callable[[int], PyTree]) -> dict[str, Any]:
        """Results on test that no learning reaches, by the name of the baseline; the same for every seed of a run.

        `untrained` gives fresh parameters of `policy` by a seed.
        """
        ...

    def play(self, policy: Policy, params: PyTree, *, seed: int, n: int, max_steps: int) -> Played:
        """Watch a policy act `n` times, for at most `max_steps` steps where it has no limit.

        Raises:
            PPOJaxError: there is nothing to watch, or it cannot be drawn.
        """
        ...
