"""Actor-critics over a resolvent and its successors.

Both score an action as the product of an encoded state and an encoded action. They differ in what an action is:
`ProofActions` reads its compact description (which rule, or which constants a fact binds), `ProofSuccessors` the
whole state it leads to, as DeepProofLog does.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from ppo_jax.distributions import Categorical
from ppo_jax.networks.mlp import MLP, dense

__all__ = ["ProofActions", "ProofSuccessors"]

Observation = dict[str, jax.Array]


class Atoms(nn.Module):
    """Embeds atoms: predicate and both arguments side by side."""

    n_predicates: int
    n_terms: int
    embedding_size: int

    def setup(self) -> None:
        init = nn.initializers.normal(1.0)
        self.predicates = nn.Embed(self.n_predicates + 1, self.embedding_size, embedding_init=init)
        self.terms = nn.Embed(self.n_terms, self.embedding_size, embedding_init=init)

    def __call__(self, atoms: jax.Array) -> jax.Array:
        """Map [..., 3] to [..., 3 * embedding_size]; padding atoms to zero."""
        parts = [self.predicates(atoms[..., 0]), self.terms(atoms[..., 1]), self.terms(atoms[..., 2])]
        return jnp.where(atoms[..., :1] > 0, jnp.concatenate(parts, axis=-1), 0.0)


class StateEncoder(nn.Module):
    """Resolvent, query and depth to one vector."""

    n_predicates: int
    n_terms: int
    embedding_size: int
    hidden_sizes: Sequence[int]
    activation: str
    residual_layers: int

    def setup(self) -> None:
        self.atoms = Atoms(self.n_predicates, self.n_terms, self.embedding_size)
        self.trunk = MLP(self.hidden_sizes, self.activation, self.residual_layers)

    def __call__(self, observation: Observation) -> jax.Array:
        """Map an observation of n states to [n, hidden_sizes[-1]]."""
        goals = self.atoms(observation["goals"])
        query = self.atoms(observation["query"])
        depth = observation["depth"][:, None].astype(jnp.float32) / 20.0
        x = jnp.concatenate([goals[:, 0], jnp.sum(goals[:, 1:], axis=1), query, depth], axis=-1)
        return self.trunk(x)


class ProofActions(nn.Module):
    """Scores each action by its kind (a fact, a rule, `end`) and the constants it binds."""

    n_predicates: int
    n_terms: int
    n_kinds: int
    embedding_size: int = 64
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Categorical, jax.Array]:
        """Return the policy over the actions of n states and their values [n]."""
        encoder = (self.n_predicates, self.n_terms, self.embedding_size)
        trunk = (self.hidden_sizes, self.activation, self.residual_layers)
        actor = StateEncoder(*encoder, *trunk, name="actor")
        state = actor(observation)
        critic = StateEncoder(*encoder, *trunk, name="critic")(observation) if self.separate_critic else state
        value = dense(1, 1.0, name="critic_head")(critic)[:, 0]

        kind = nn.Embed(self.n_kinds, self.embedding_size, name="kind")(observation["action_kind"])
        bound = actor.atoms.terms(observation["action_constants"])  # [n, G, 2, d]
        bound = jnp.where(observation["action_constants"][..., None] > 0, bound, 0.0)
        bound = bound.reshape(*bound.shape[:2], -1)
        action = nn.tanh(dense(self.embedding_size, 1.0, name="action")(jnp.concatenate([kind, bound], axis=-1)))
        wanted = dense(self.embedding_size, 0.01, name="actor_head")(state)
        logits = jnp.einsum("nd,ngd->ng", wanted, action)
        return Categorical(logits, observation["action_mask"]), value


class ProofSuccessors(nn.Module):
    """Scores each action by embedding the whole state it leads to."""

    n_predicates: int
    n_terms: int
    n_kinds: int
    embedding_size: int = 64
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Categorical, jax.Array]:
        """Return the policy over the actions of n states and their values [n]."""
        encoder = (self.n_predicates, self.n_terms, self.embedding_size)
        trunk = (self.hidden_sizes, self.activation, self.residual_layers)
        actor = StateEncoder(*encoder, *trunk, name="actor")
        state = actor(observation)
        critic = StateEncoder(*encoder, *trunk, name="critic")(observation) if self.separate_critic else state
        value = dense(1, 1.0, name="critic_head")(critic)[:, 0]

        atoms = actor.atoms(observation["successors"])  # [n, G, A, 3d]
        successor = jnp.concatenate([atoms[:, :, 0], jnp.sum(atoms[:, :, 1:], axis=2)], axis=-1)
        # `end` leads to no state; a zero row, told apart by its kind.
        successor = jnp.pad(successor, ((0, 0), (0, 1), (0, 0)))
        special = jnp.where(observation["action_kind"] == self.n_kinds - 1, 1, 0)
        special = nn.Embed(2, self.embedding_size, name="end")(special)
        action = jnp.concatenate([successor, special], axis=-1)
        action = nn.tanh(dense(self.embedding_size, 1.0, name="action")(action))
        wanted = dense(self.embedding_size, 0.01, name="actor_head")(state)
        logits = jnp.einsum("nd,ngd->ng", wanted, action)
        return Categorical(logits, observation["action_mask"]), value
