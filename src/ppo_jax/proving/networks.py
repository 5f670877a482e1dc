"""Actor-critics over a resolvent and its successors.

Both score an action as the product of an encoded state and an encoded action. They differ in what an action is:
`ProofActions` reads its compact description (which rule, or which constants a fact binds), `ProofSuccessors` the
whole state it leads to, as DeepProofLog does.

The actor sees the resolvent; the critic also the root query. A policy that knows the query's subject learns which
training queries have a proof; one that does not has to learn how to look for it (benchmarks/log.md has the numbers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ppo_jax.networks.mlp import ACTIVATIONS, MLP, dense
from ppo_jax.ops.distributions import Categorical
from ppo_jax.proving.knowledge_base import KnowledgeBase

__all__ = ["Background", "InitialEmbeddings", "ProofActions", "ProofSuccessors", "background_facts"]

Observation = dict[str, jax.Array]
# Small, so that a constant never seen in training says nothing, rather than something random.
ACTOR_TERM_SCALE = 0.1
CRITIC_TERM_SCALE = 1.0


@dataclass(frozen=True)
class Background:
    """Facts that no rule can derive, as edges between constants: what a network may know of a constant beforehand.

    Facts of predicates that head a rule are left out: a training query is one of them, and would tell its own answer.
    """

    digest: str  # of the edges; equal digests compare equal, so that trainers do
    n_relations: int
    senders: np.ndarray = field(compare=False)  # [E] int32 terms
    receivers: np.ndarray = field(compare=False)  # [E] int32 terms
    relations: np.ndarray = field(compare=False)  # [E] int32, one for each predicate and direction
    weights: np.ndarray = field(compare=False)  # [E] float32, 1 / edges of the receiver in the relation


def background_facts(kb: KnowledgeBase) -> Background | None:
    """The facts of predicates that head no rule, both ways round, as edges; None where there are none."""
    facts = kb.facts[~np.isin(kb.facts[:, 0], [rule.head[0] for rule in kb.rules])]
    if len(facts) == 0:
        return None
    predicate, first, second = facts.T
    senders, receivers = np.concatenate([second, first]), np.concatenate([first, second])
    _, relations = np.unique(np.concatenate([2 * predicate, 2 * predicate + 1]), return_inverse=True)
    key = relations.astype(np.int64) * (len(kb.constants) + 1) + receivers
    _, row, row_sizes = np.unique(key, return_inverse=True, return_counts=True)
    order = np.argsort(receivers, kind="stable")
    edges = [x[order].astype(np.int32) for x in (senders, receivers, relations)]
    return Background(
        digest=hashlib.sha256(b"".join(x.tobytes() for x in edges)).hexdigest(),
        n_relations=int(relations.max()) + 1,
        senders=edges[0],
        receivers=edges[1],
        relations=edges[2],
        weights=(1.0 / row_sizes[row])[order].astype(np.float32),
    )


@dataclass(frozen=True)
class InitialEmbeddings:
    """What embeddings begin as: rows by id with a mean square of 1, nan for those that are drawn."""

    digest: str  # of the rows; equal digests compare equal, so that trainers do
    predicates: np.ndarray = field(compare=False)  # [at most n_predicates + 1, embedding_size] float32
    constants: np.ndarray | None = field(compare=False)  # [n_constants + 1, embedding_size]; None: all are drawn


def _beginning(scale: float, rows: np.ndarray | None) -> nn.initializers.Initializer:
    """Normal draws of standard deviation `scale`, but for the `rows` that are not nan: those, brought to that scale."""
    draw = nn.initializers.normal(scale)
    if rows is None:
        return draw

    def initial(key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        drawn = draw(key, shape, dtype)
        return drawn.at[: len(rows)].set(jnp.where(np.isnan(rows), drawn[: len(rows)], scale * rows))

    return initial


class AtomLayer(nn.Module):
    """A linear layer over embedded atoms, each role (first goal, other goals, query) with weights of its own."""

    n_predicates: int
    n_terms: int
    embedding_size: int
    features: int
    term_scale: float
    n_roles: int
    initial: InitialEmbeddings | None = None

    def setup(self) -> None:
        size, initial = self.embedding_size, self.initial
        predicates, constants = (initial.predicates, initial.constants) if initial is not None else (None, None)
        self.predicates = self.param("predicates", _beginning(1.0, predicates), (self.n_predicates + 1, size))
        self.terms = self.param("terms", _beginning(self.term_scale, constants), (self.n_terms, size))
        self.kernel = self.param("kernel", nn.initializers.orthogonal(2**0.5), (self.n_roles * 3 * size, self.features))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def __call__(self, *roles: jax.Array) -> jax.Array:
        """Map one array [..., k, 3] of atoms a role to their sum [..., features]; id 0 is padding and adds nothing."""
        predicates, terms = (x * (jnp.arange(len(x)) > 0)[:, None] for x in (self.predicates, self.terms))
        kernel = self.kernel.reshape(self.n_roles, 3, self.embedding_size, self.features)
        bias = self.bias.reshape((1,) * (roles[0].ndim - 2) + (-1,))
        if self.n_terms > roles[0][..., 0, 0].size:  # fewer states than terms: the product on the rows gathered
            tables = (predicates, terms, terms)
            sums = [jnp.sum(table[atoms[..., i]], axis=-2) for atoms in roles for i, table in enumerate(tables)]
            return jnp.concatenate(sums, axis=-1) @ self.kernel + bias
        # The product on the whole vocabulary: a row for each id in each role and place, and all of them in one gather.
        table = jnp.concatenate(
            [
                jnp.einsum("vd,rdf->vrf", predicates, kernel[:, 0]).reshape(-1, self.features),
                jnp.einsum("vd,rpdf->vrpf", terms, kernel[:, 1:]).reshape(-1, self.features),
            ]
        )
        predicate, *arguments = jnp.moveaxis(jnp.concatenate(roles, axis=-2), -1, 0)
        role = np.repeat(np.arange(self.n_roles), [atoms.shape[-2] for atoms in roles])
        role = np.broadcast_to(role, predicate.shape)
        first = self.n_roles * len(predicates)
        rows = jnp.concatenate(
            [
                predicate * self.n_roles + role,
                *(first + 2 * (argument * self.n_roles + role) + i for i, argument in enumerate(arguments)),
            ],
            axis=-1,
        )
        return jnp.sum(table[rows], axis=-2) + bias


class StateEncoder(nn.Module):
    """Resolvent and depth to one vector; for a critic also the root query and how many actions of each kind are open.

    A lone fact without `end` beside it is a proof at hand, which the resolvent alone does not show.
    """

    n_predicates: int
    n_terms: int
    n_kinds: int
    embedding_size: int
    hidden_sizes: Sequence[int]
    activation: str
    residual_layers: int
    term_scale: float
    for_critic: bool
    initial: InitialEmbeddings | None = None

    def setup(self) -> None:
        self.atoms = AtomLayer(
            self.n_predicates,
            self.n_terms,
            self.embedding_size,
            self.hidden_sizes[0],
            self.term_scale,
            n_roles=3 if self.for_critic else 2,
            initial=self.initial,
        )
        self.depth = dense(self.hidden_sizes[0], 1.0, use_bias=False)
        if self.for_critic:
            self.open_actions = dense(self.hidden_sizes[0], use_bias=False)
        self.trunk = MLP(self.hidden_sizes[1:], self.activation, self.residual_layers)

    def __call__(self, observation: Observation) -> jax.Array:
        """Map an observation of n states to [n, hidden_sizes[-1]]."""
        goals = observation["goals"]
        roles = [goals[:, :1], goals[:, 1:]]
        features = self.depth(observation["depth"][:, None].astype(jnp.float32) / 20.0)
        if self.for_critic:
            roles.append(observation["query"][:, None])
            kinds = jax.nn.one_hot(observation["action_kind"] - 1, self.n_kinds - 1)  # padding is -1: all zero
            features = features + self.open_actions(jnp.log1p(jnp.sum(kinds, axis=1)))
        return self.trunk(ACTIVATIONS[self.activation](self.atoms(*roles) + features))


def _without_constants(observation: Observation, n_constants: int) -> Observation:
    """The observation with 1 for every constant; variables begin at 2."""

    def alike(terms: jax.Array) -> jax.Array:
        return jnp.where(terms > n_constants, terms - n_constants + 1, jnp.minimum(terms, 1))

    atoms = {
        name: jnp.concatenate([observation[name][..., :1], alike(observation[name][..., 1:])], axis=-1)
        for name in ("goals", "query", "successors")
        if name in observation
    }
    return observation | atoms | {"action_constants": alike(observation["action_constants"])}


class _ProofActorCritic(nn.Module):
    """What both networks share: the encoders, the value, and the vector an action is compared with."""

    n_predicates: int
    n_terms: int
    n_kinds: int
    embedding_size: int = 64
    hidden_sizes: Sequence[int] = (64, 64)
    activation: str = "tanh"
    residual_layers: int = 0
    separate_critic: bool = True
    background: Background | None = None
    fact_layers: int = 0
    confidences: tuple[float, ...] | None = None  # of the rules, in their order
    n_alike: int = 0  # so many constants look the same; `n_terms` then counts them as one
    initial: InitialEmbeddings | None = None  # what embeddings begin as; None: all are drawn

    def setup(self) -> None:
        sizes = (self.n_predicates, self.n_terms, self.n_kinds, self.embedding_size)
        trunk = (self.hidden_sizes, self.activation, self.residual_layers)
        encoder = partial(StateEncoder, *sizes, *trunk, initial=self.initial)
        self.actor = encoder(ACTOR_TERM_SCALE, for_critic=not self.separate_critic)
        if self.separate_critic:
            self.critic = encoder(CRITIC_TERM_SCALE, for_critic=True)
        self.critic_head = dense(1, 1.0)
        self.actor_head = dense(self.embedding_size, 0.01)
        self.action = dense(self.embedding_size, 1.0)
        if self.confidences is not None:
            self.confidence_weight = self.param("confidence_weight", nn.initializers.ones, ())
        self.kinds = self.param(
            "kinds", nn.initializers.normal(self.embedding_size**-0.5), (self.n_kinds, self.embedding_size)
        )

    def __call__(self, observation: Observation) -> tuple[Categorical, jax.Array]:
        """Return the policy over the actions of n states and their values [n]."""
        if self.n_alike:
            observation = _without_constants(observation, self.n_alike)
        state = self.actor(observation)
        value = self.critic_head(self.critic(observation) if self.separate_critic else state)[:, 0]
        logits = self.score(self.actor_head(state), observation)
        if self.confidences is not None:
            # Before it has learnt anything, the policy takes a rule as often as it holds.
            logs = np.log(np.clip([1.0, 1.0, *self.confidences, 1.0], 1e-3, 1.0)).astype(np.float32)
            logits = logits + self.confidence_weight * jnp.asarray(logs)[observation["action_kind"]]
        return Categorical(logits, observation["action_mask"]), value

    def score(self, wanted: jax.Array, observation: Observation) -> jax.Array:
        """Logits [n, G] of the actions, given what the state wants [n, embedding_size]."""
        raise NotImplementedError


class ProofActions(_ProofActorCritic):
    """Scores each action by its kind (a fact, a rule, `end`) and the constants it binds.

    With `fact_layers`, what is known of a constant to be bound gains, layer by layer, the embeddings of the constants
    its background facts relate it to: ``e_c <- e_c + sum_r mean_{r(c, b)} w_r * e_b``, a linear, diagonal relational
    graph convolution after Schlichtkrull et al. (2018). The goals keep their own embeddings: what the background says
    of a query's subject tells training queries from others.
    """

    def setup(self) -> None:
        super().setup()
        if self.background is not None:
            shape = (self.fact_layers, self.background.n_relations, self.embedding_size)
            self.relations = self.param("relations", nn.initializers.ones, shape)

    def described_terms(self) -> jax.Array:
        """Embeddings of all terms with their background facts, [n_terms, embedding_size]."""
        terms, edges = self.actor.atoms.terms, self.background
        if edges is not None:
            for relations in self.relations:
                messages = terms[edges.senders] * relations[edges.relations] * edges.weights[:, None]
                terms = terms + jax.ops.segment_sum(messages, edges.receivers, self.n_terms)
        return terms

    def score(self, wanted: jax.Array, observation: Observation) -> jax.Array:
        kind, constants = observation["action_kind"], observation["action_constants"]
        known = (jnp.arange(self.n_terms) > 0)[:, None]
        keys = jnp.concatenate([nn.tanh(self.action(self.described_terms())) * known, self.kinds])
        ids = jnp.concatenate([constants, self.n_terms + kind[..., None]], axis=-1)  # [n, G, 3]
        if self.n_terms <= 64 * kind.shape[1]:
            # Scores of the whole vocabulary, then scalars gathered: many times cheaper than gathering rows, and with
            # 46 terms an action (family) still 1.3 times in training and 7 in evaluation; with 624 (WN18RR) dearer.
            scores = jnp.take_along_axis(wanted @ keys.T, ids.reshape(len(ids), -1), axis=1)
            return jnp.sum(scores.reshape(ids.shape), axis=-1)
        return jnp.einsum("nd,ngd->ng", wanted, jnp.sum(keys[ids], axis=2))


class ProofSuccessors(_ProofActorCritic):
    """Scores each action by embedding the whole state it leads to; of `end`, which leads nowhere, the kind."""

    def setup(self) -> None:
        super().setup()
        self.successor = AtomLayer(
            self.n_predicates,
            self.n_terms,
            self.embedding_size,
            self.embedding_size,
            ACTOR_TERM_SCALE,
            n_roles=2,
            initial=self.initial,
        )

    def score(self, wanted: jax.Array, observation: Observation) -> jax.Array:
        successors = observation["successors"]  # [n, G, A, 3]
        encoded = nn.tanh(self.action(nn.tanh(self.successor(successors[:, :, :1], successors[:, :, 1:]))))
        scores = jnp.einsum("nd,ngd->ng", wanted, encoded)
        end = wanted @ self.kinds[-1][:, None]
        return jnp.concatenate([scores, end], axis=1)
