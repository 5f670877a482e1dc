"""Answering as an environment: an episode is one attempt to find a constant X for ``p(a, X)`` or ``p(X, b)``.

The state is a resolvent that ends in ``answer(X)`` (Green 1969): once that alone is left, its argument is the answer.
The first atom with a bound argument is resolved, so that a search begins at what is known.
docs/concepts/proving.md is the specification.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.proving.answers.shaping import Shaping, make_shaping, probability
from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.environment import MAX_ATOMS, observation, overflow, state_hash
from ppo_jax.proving.index import Index, Sizes, build_index
from ppo_jax.proving.open_queries import TAIL, asked_sides
from ppo_jax.proving.priors.prior import Prior
from ppo_jax.proving.resolution import Successors, is_fact, matching_row, renumber, successors
from ppo_jax.types import Discrete, EnvStep, PPOJaxError

__all__ = ["SALT", "AnswerEnv", "AnswerParams", "AnswerState", "make"]

MAX_DEPTH = 5  # by default: a rule, a rule for what it asks, and three facts
MAX_SUCCESSORS = 256  # by default; of more facts that match, so many are drawn
SALT = 1  # of all searches: they draw the same facts


class AnswerParams(NamedTuple):
    """The knowledge base and the training queries, as arrays."""

    facts: Index
    queries: jax.Array  # [N, 3] int32, training facts of predicates that head a rule
    reflexive: jax.Array  # [P + 1] bool, whether some training fact relates a constant to itself
    shaping: Shaping | None = None  # where rewards are shaped


class AnswerState(NamedTuple):
    """An episode under way, and the actions open in it."""

    resolvent: jax.Array  # [A, 3] int32, the atom to resolve first
    query: jax.Array  # [3] int32, 0 for the variable
    hidden: jax.Array  # [3] int32, the training fact asked for, which may not be used; zeros where nothing is hidden
    depth: jax.Array  # [] int32, steps taken
    visited: jax.Array  # [max_depth + 1, 2] uint32, hashes of the resolvents of this episode
    salt: jax.Array  # [] uint32, draws from the facts that match, where they are too many
    successors: jax.Array  # [3, A, G] int32
    action_kind: jax.Array  # [G + 1] int32
    action_constants: jax.Array  # [G + 1, 2] int32
    action_mask: jax.Array  # [G + 1] bool; the last, giving up, is open where nothing else is
    complete: jax.Array  # [G] bool, actions that end in an answer
    dropped: jax.Array  # [2] int32, as of `Successors`
    log_normalizer: Any = ()  # [] float32 of the query's shaping; () without


@dataclass(frozen=True)
class AnswerEnv:
    """The MDP of answering over one knowledge base; equal settings and sizes share compiled programs."""

    sizes: Sizes
    max_depth: int = MAX_DEPTH
    wrong_answer: float = 0.0  # what an answer costs that no training fact knows
    tail_open: float = 0.5  # how often a training query asks for the tail
    shaping: float = 0.0  # what a certain answer is worth as soon as it is bound
    gamma: float = 1.0  # discount of a step, by which shaping is paid back
    prune_visited: bool = True
    observe_successors: bool = False
    default_params: AnswerParams | None = field(default=None, compare=False, repr=False)
    dataset: Dataset | None = field(default=None, compare=False, repr=False)
    widest_cut: int = 0  # facts of the widest row that find no slot

    can_truncate = False  # the depth limit is part of the task: it terminates

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.sizes.n_actions)

    @property
    def max_episode_length(self) -> int:
        return self.max_depth

    @property
    def answer_predicate(self) -> int:
        """The id of `answer`, which no fact and no rule has."""
        return self.sizes.n_predicates

    def reset(self, key: jax.Array, params: AnswerParams) -> tuple[dict[str, jax.Array], AnswerState]:
        """A training fact, one side of it open by a coin."""
        *asked, log_normalizer = self._sample(key, params)
        state = self.start(params, *asked)._replace(log_normalizer=log_normalizer)
        return self.observe(state), state

    def start(self, params: AnswerParams, query: jax.Array, hidden: jax.Array, salt: jax.Array) -> AnswerState:
        """The first state of the search for answers to `query` [3], 0 for its variable.

        `hidden` [3] is a fact that may not be used, zeros for none.
        """
        zero, visited = jnp.zeros((), jnp.int32), jnp.zeros((self.max_depth + 1, 2), jnp.uint32)
        return self._derive(params, self.root(query), query, hidden, zero, visited, salt)

    def step(self, key: jax.Array, state: AnswerState, action: jax.Array, params: AnswerParams) -> EnvStep:
        """Move to a successor; a finished episode is followed by a fresh query."""
        moved = state.successors[:, :, jnp.minimum(action, self.sizes.max_successors - 1)].T
        stuck = (action == self.sizes.max_successors) | ~state.action_mask[action]
        answered = ~stuck & self._is_answer(moved)
        depth = state.depth + 1
        done = answered | stuck | (depth >= self.max_depth)

        answer, wanted = moved[0, 1], jnp.where(state.query[1] == 0, state.hidden[1], state.hidden[2])
        right = answered & (answer == wanted)
        first, second = jnp.where(state.query[1:] == 0, answer, state.query[1:])
        known = answered & is_fact(params.facts, self.sizes, state.query[0], first, second)
        reward = jnp.where(right, 1.0, jnp.where(answered & ~known, -self.wrong_answer, 0.0)).astype(jnp.float32)
        if self.shaping:
            after = jnp.where(done, 0.0, self.potential(params, state, moved))
            reward += self.gamma * after - self.potential(params, state, state.resolvent)

        # The next resolvent is chosen first, so that successors are derived once a step and not again for a reset.
        fresh_query, fresh_hidden, fresh_salt, fresh_log_normalizer = self._sample(key, params)
        next_state = self._derive(
            params,
            jnp.where(done, self.root(fresh_query), moved),
            jnp.where(done, fresh_query, state.query),
            jnp.where(done, fresh_hidden, state.hidden),
            jnp.where(done, 0, depth),
            jnp.where(done, jnp.zeros_like(state.visited), state.visited),
            jnp.where(done, fresh_salt, state.salt),
        )
        if self.shaping:
            log_normalizer = jnp.where(done, fresh_log_normalizer, state.log_normalizer)
            next_state = next_state._replace(log_normalizer=log_normalizer)
        n_open = jnp.sum(state.action_mask)
        always = jnp.ones((), bool)
        info = {
            "final_observation": self.observe(_without_actions(state, moved, depth)),
            "metrics": {
                "answered_right": (right, done),
                "answered_known": (known & ~right, done),
                "answered_wrong": (answered & ~known & ~right, done),
                "proof_length_mean": (depth, answered),
                "candidates_mean": (n_open, always),
                "forced_fraction": (n_open == 1, always),
                **overflow(state),
            },
        }
        return EnvStep(self.observe(next_state), next_state, reward, done, jnp.zeros((), bool), info)

    def observe(self, state: AnswerState) -> dict[str, jax.Array]:
        """What the network sees: resolvent, query, depth, and each action's compact description."""
        return observation(state, state.query, self.observe_successors)

    def advance(self, params: AnswerParams, state: AnswerState, moved: jax.Array) -> AnswerState:
        """The state at the successor `moved` [A, 3] of `state`, one step deeper."""
        return self._derive(params, moved, state.query, state.hidden, state.depth + 1, state.visited, state.salt)

    def potential(self, params: AnswerParams, state: AnswerState, resolvent: jax.Array) -> jax.Array:
        """What rewards are shaped by [] where the episode of `state` stands at `resolvent` [A, 3].

        `shaping` times the prior's probability of the answer that is bound there; 0 while it is open.
        """
        assert params.shaping is not None
        answer = jnp.max(jnp.where(resolvent[:, 0] == self.answer_predicate, resolvent[:, 1], 0))
        bound = (answer > 0) & (answer <= self.sizes.n_constants)
        given = probability(params.shaping, state.query, state.log_normalizer, jnp.where(bound, answer, 0))
        return jnp.where(bound, self.shaping * given, 0.0)

    def at(self, params: AnswerParams, resolvent: jax.Array, query: jax.Array, depth: jax.Array) -> AnswerState:
        """The state at a resolvent [A, 3] in a depth, whatever way led there; nothing is hidden."""
        nothing, visited = jnp.zeros(3, jnp.int32), jnp.zeros((self.max_depth + 1, 2), jnp.uint32)
        return self._derive(params, resolvent, query, nothing, depth, visited, jnp.uint32(SALT))

    def _sample(self, key: jax.Array, params: AnswerParams) -> tuple[jax.Array, jax.Array, jax.Array, Any]:
        """A query, the fact that it hides, a salt, and the logarithm that makes a prior's scores probabilities."""
        fact_key, side_key, salt_key = jax.random.split(key, 3)
        row = jax.random.randint(fact_key, (), 0, params.queries.shape[0])
        hidden = params.queries[row]
        side = jax.random.bernoulli(side_key, self.tail_open).astype(jnp.int32)
        log_normalizer = params.shaping.log_normalizers[row, side] if params.shaping is not None else ()
        return hidden.at[1 + side].set(0), hidden, jax.random.bits(salt_key, (), jnp.uint32), log_normalizer

    def root(self, query: jax.Array) -> jax.Array:
        """The resolvent ``p(a, X), answer(X)``, [A, 3]."""
        variable = self.sizes.n_constants + 1
        goal = jnp.where(query == 0, variable, query)
        answer = jnp.array([self.answer_predicate, variable, 0], jnp.int32)
        return jnp.zeros((self.sizes.max_atoms, 3), jnp.int32).at[0].set(goal).at[1].set(answer)

    def _is_answer(self, resolvent: jax.Array) -> jax.Array:
        return resolvent[0, 0] == self.answer_predicate

    def _selected(self, resolvents: jax.Array) -> jax.Array:
        """The place [...] of the atom to resolve in resolvents [3, A, ...]: the first with a bound argument.

        Where none has one, the first of all. `answer` is never selected while another atom is left.
        """
        predicate, first, second = resolvents
        goal = (predicate > 0) & (predicate != self.answer_predicate) & (predicate != self.sizes.different)
        bound = goal & ((first <= self.sizes.n_constants) | (second <= self.sizes.n_constants))
        return jnp.where(jnp.any(bound, axis=0), jnp.argmax(bound, axis=0), jnp.argmax(goal, axis=0))

    def _select(self, resolvent: jax.Array) -> jax.Array:
        """The resolvent [A, 3] with the atom to resolve in front, canonical."""
        places = jnp.arange(self.sizes.max_atoms)
        selected = self._selected(resolvent.T)
        order = jnp.where(places == 0, selected, jnp.where(places <= selected, places - 1, places))
        return renumber(self.sizes, resolvent[order].T).T

    def _can_go_on(self, params: AnswerParams, hidden: jax.Array, derived: Successors) -> jax.Array:
        """Whether the atom to resolve next matches a fact or heads a rule, [G] bool."""
        chosen = jnp.arange(self.sizes.max_atoms)[:, None] == self._selected(derived.resolvents)[None]
        predicate, *terms = jnp.sum(jnp.where(chosen[None], derived.resolvents, 0), axis=1)
        free = [term > self.sizes.n_constants for term in terms]
        bound = [jnp.where(is_free, 0, term) for is_free, term in zip(free, terms, strict=True)]
        begin, end = matching_row(params.facts, self.sizes, predicate, *bound)
        takes_hidden = predicate == hidden[0]
        for is_free, term, taken in zip(free, terms, hidden[1:], strict=True):
            takes_hidden &= is_free | (term == taken)
        # A ground atom that is left is no fact.
        facts = jnp.where(free[0] | free[1], end - begin - takes_hidden, 0)
        return (facts > 0) | (params.facts.rules_of[predicate, 0] > 0)

    # Jitted, so that a reset and a step share one trace.
    @partial(jax.jit, static_argnums=0)
    def _derive(
        self,
        params: AnswerParams,
        resolvent: jax.Array,
        query: jax.Array,
        hidden: jax.Array,
        depth: jax.Array,
        visited: jax.Array,
        salt: jax.Array,
    ) -> AnswerState:
        """The state at `resolvent` with the actions open there; `visited` gains it."""
        visited = jax.lax.dynamic_update_index_in_dim(visited, state_hash(resolvent.T), depth, 0)
        resolvent = self._select(resolvent)
        derived = successors(params.facts, self.sizes, resolvent, hidden, salt=salt if self.widest_cut else None)
        # Facts of the query's own kind would answer it with what is known already.
        valid = derived.valid & ((depth > 0) | (derived.kind > 1))
        answers = derived.resolvents[0] == self.answer_predicate  # [A, G]
        answer = jnp.sum(jnp.where(answers, derived.resolvents[1], 0), axis=0)
        complete = valid & (derived.length == 1)
        # A predicate that relates no constant to itself in the facts does not in an answer.
        itself = (answer == jnp.max(query[1:])) & ~params.reflexive[query[0]]
        variables = jnp.max(derived.resolvents[1:], axis=(0, 1)) - self.sizes.n_constants
        steps_left = self.max_depth - (depth + 1)  # each binds one variable, or what `max_bound` says
        in_reach = (steps_left > 0) & (variables <= self.sizes.max_bound * steps_left)
        valid &= ~itself & (complete | (in_reach & self._can_go_on(params, hidden, derived)))
        if self.prune_visited:
            hashes = state_hash(derived.resolvents)  # [2, G]
            again = (hashes[0][None] == visited[:, :1]) & (hashes[1][None] == visited[:, 1:])  # [max_depth + 1, G]
            valid &= ~jnp.any(again, axis=0)

        def hide(x: jax.Array) -> jax.Array:
            """0 where an action [..., G] is not open."""
            return jnp.where(valid.reshape((1,) * (x.ndim - 1) + (-1,)), x, 0)

        stuck = ~jnp.any(valid)
        return AnswerState(
            resolvent=resolvent,
            query=query,
            hidden=hidden,
            depth=depth,
            visited=visited,
            salt=salt,
            successors=hide(derived.resolvents),
            action_kind=jnp.append(hide(derived.kind), jnp.where(stuck, self.sizes.end_kind, 0)),
            action_constants=jnp.pad(hide(derived.constants), ((0, 0), (0, 1))).T,
            action_mask=jnp.append(valid, stuck),
            complete=complete & valid,
            dropped=derived.dropped,
        )


def make(
    dataset: Dataset,
    *,
    max_atoms: int | None = None,
    max_successors: int | None = MAX_SUCCESSORS,
    prior: Prior | None = None,
    **options: Any,
) -> AnswerEnv:
    """The environment of answering over a data set.

    Args:
        dataset: facts, rules and training queries.
        max_atoms: atoms a resolvent can hold; None: 6, or what the longest rule and two more atoms need.
        max_successors: cap on a state's successors, of which a sample is drawn where there are more; None: none.
        prior: whose probabilities shape the rewards, where `shaping` says so.
        **options: the remaining fields of `AnswerEnv`.

    Raises:
        PPOJaxError: the data set holds no training query, or there is `shaping` and no prior.
    """
    train = dataset.queries["train"]
    if len(train) == 0:
        raise PPOJaxError(f"{dataset.name}: no training queries")
    shaped = options.get("shaping", 0.0) > 0.0
    if shaped and prior is None:
        raise PPOJaxError(f"{dataset.name}: shaping = {options['shaping']:g} needs a prior")
    predicates = {int(query[0]) for split in dataset.queries.values() for query in split}
    predicates |= {rule.head[0] for rule in dataset.kb.rules}
    longest = max((len(rule.body) + len(rule.different) for rule in dataset.kb.rules), default=1)
    max_atoms = max_atoms or max(MAX_ATOMS, longest + 2)
    index, sizes, cut = build_index(dataset.kb, predicates, max_atoms, max_successors, answering=True)
    reflexive = np.zeros(sizes.n_predicates + 1, bool)
    reflexive[dataset.kb.facts[dataset.kb.facts[:, 1] == dataset.kb.facts[:, 2], 0]] = True
    shaping = make_shaping(prior, train) if shaped and prior is not None else None
    params = AnswerParams(index, jnp.asarray(train, jnp.int32), jnp.asarray(reflexive), shaping)
    sides = asked_sides(dataset)
    return AnswerEnv(
        sizes=sizes,
        tail_open=sides.count(TAIL) / len(sides),
        default_params=params,
        dataset=dataset,
        widest_cut=cut,
        **options,
    )


def _without_actions(state: AnswerState, resolvent: jax.Array, depth: jax.Array) -> AnswerState:
    """A last state: its resolvent and depth, no actions."""
    nothing = jax.tree.map(jnp.zeros_like, state)
    return nothing._replace(resolvent=resolvent, query=state.query, depth=depth)
