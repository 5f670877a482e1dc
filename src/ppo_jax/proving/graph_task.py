"""What the tasks over a knowledge graph share: the data set, and the networks that read resolvents."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from ppo_jax.config.schema import NetworkConfig
from ppo_jax.proving.datasets import Dataset, split_off
from ppo_jax.proving.networks import ProofActions, ProofSuccessors, background_facts
from ppo_jax.proving.priors.prior import Prior
from ppo_jax.proving.priors.projection import initial_embeddings
from ppo_jax.types import PPOJaxError

__all__ = ["DEFAULT_NETWORK", "NETWORKS", "GraphTask", "check_judged"]

NETWORKS = {"proof_actions": ProofActions, "proof_successors": ProofSuccessors}
DEFAULT_NETWORK = "proof_actions"


class GraphTask:
    """A task over the data set of its environment."""

    names_constants = True  # whether a policy sees by default which constants it deals with
    confidences: tuple[float, ...] | None = None  # of the rules, where a policy begins with them
    prior: Prior | None = None  # embeddings that know the data set
    takes_memory = False  # a search asks for one state at many places, not along one episode

    def __init__(self, env: Any) -> None:
        """`env` gives the data set.

        Raises:
            PPOJaxError: it has none, so that there is nothing to judge on.
        """
        if env.dataset is None or env.default_params is None:
            name = type(env).__name__
            raise PPOJaxError(f"this {name} has no data set; make it with the function `make` beside its class")
        self.env = env
        self.dataset: Dataset = env.dataset

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the data set."""
        return self.dataset.warnings

    @property
    def sha256(self) -> str:
        """Of the files of the data set."""
        return self.dataset.sha256

    @property
    def prior_sha256(self) -> str | None:
        """Of the prior; None where there is none."""
        return None if self.prior is None else self.prior.sha256

    def default_network(self, config: NetworkConfig) -> nn.Module:
        """One of `NETWORKS`.

        Raises:
            PPOJaxError: the name is of another network.
        """
        name = DEFAULT_NETWORK if config.network == "auto" else config.network
        if name not in NETWORKS:
            raise PPOJaxError(
                f"network.network = {name!r} does not fit this task; use {', '.join(NETWORKS)} or an import path "
                "module:Class"
            )
        if config.core is not None:
            raise PPOJaxError(f"network.core = {config.core!r}: a proof network has no memory; leave out core")
        sizes = self.env.sizes
        named = self.names_constants if config.constants is None else config.constants
        if not named and config.fact_layers:
            raise PPOJaxError("network.fact_layers describes constants, which network.constants = false leaves out")
        initial = None
        if config.initial_embeddings == "prior":
            if self.prior is None:
                raise PPOJaxError("network.initial_embeddings = 'prior' needs a prior, and this task has none")
            initial = initial_embeddings(self.prior, config.embedding_size, constants=named)
        return NETWORKS[name](
            n_predicates=sizes.n_predicates,
            n_terms=sizes.n_terms if named else sizes.n_terms - sizes.n_constants + 1,
            n_alike=0 if named else sizes.n_constants,
            n_kinds=sizes.n_kinds,
            embedding_size=config.embedding_size,
            background=background_facts(self.dataset.kb) if config.fact_layers else None,
            fact_layers=config.fact_layers,
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            residual_layers=config.residual_layers,
            separate_critic=config.separate_critic,
            confidences=self.confidences,
            initial=initial,
        )

    def check(self) -> None:
        """Raise `PPOJaxError` where a split that the task is judged on is empty."""
        check_judged(self.dataset)


def check_judged(dataset: Dataset) -> None:
    """Raise `PPOJaxError` where a split that a run is judged on is empty."""
    for split in ("valid", "test"):
        if not len(dataset.queries[split]):
            raise PPOJaxError(f"data set {dataset.name!r} has no {split} queries; {split_off(split)}")
