"""Beam search for answers, many queries side by side in one compiled program.

The score of an answer is the probability that the policy arrives there, summed over the derivations that the beam
holds. What the beam left is the unexplored mass: no answer is more probable than its score by more than that.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.proving.answers.environment import SALT, AnswerEnv, AnswerParams, AnswerState
from ppo_jax.proving.derivations import Policy

__all__ = ["Answers", "Trail", "search"]

PyTree = Any
NEGLIGIBLE = 1e-6  # probability under which a derivation is not followed


class Trail(NamedTuple):
    """How the beams came about, step by step: D steps, n queries, W derivations a query."""

    parent: jax.Array  # [D, n, W] int32 place in the beam before
    kind: jax.Array  # [D, n, W] int32 of the action taken
    constants: jax.Array  # [D, n, W, 2] int32 it bound
    log_prob: jax.Array  # [D, n, W] of the action
    answer: jax.Array  # [D, n, W] int32, 0 where the derivation goes on
    log_mass: jax.Array  # [D, n, W] of the derivation so far; -inf where the place is empty


class Answers(NamedTuple):
    """Of n queries."""

    probability: jax.Array  # [n, C + 1] of each constant, a lower bound
    unexplored: jax.Array  # [n] probability of derivations that were not followed
    looked_at: jax.Array  # [n] int32 resolvents whose actions the policy was asked for
    proofs: Trail | None  # the W most probable derivations that end at each step
    onward: Trail | None  # those that go on
    value: jax.Array | None  # [D, n, W] what the critic gives the resolvents that each step begins with


@partial(jax.jit, static_argnames=("env", "policy", "beam_width", "keep_trail"))
def search(
    env: AnswerEnv,
    params: AnswerParams,
    policy: Policy,
    policy_params: PyTree,
    queries: jax.Array,
    hidden: jax.Array,
    *,
    beam_width: int,
    sharpness: jax.Array | float = 1.0,
    keep_trail: bool = False,
) -> Answers:
    """Answers to `queries` [n, 3], 0 for the variable.

    Args:
        env: the environment, whose depth limit holds.
        params: its knowledge base.
        policy: asked at each resolvent.
        policy_params: its parameters.
        queries: [n, 3] int32.
        hidden: [n, 3] int32, a fact for each query that may not be used; zeros for none.
        beam_width: derivations of a query that go on, W.
        sharpness: [] multiplies the policy's logits: 0 makes any policy the uniform one.
        keep_trail: whether to keep the derivations.
    """
    n, width, n_actions = len(queries), beam_width, env.sizes.max_successors
    derive = jax.vmap(partial(env.advance, params))

    def ask(states: AnswerState) -> tuple[jax.Array, jax.Array]:
        distribution, value, *_ = policy(policy_params, jax.vmap(env.observe)(states), (), states.depth == 0)
        logs = distribution._replace(logits=sharpness * distribution.logits).log_probs()
        return jnp.where(states.action_mask, logs, -jnp.inf), value.reshape(n, -1)

    def expand(states: AnswerState, log_mass: jax.Array) -> tuple[jax.Array, ...]:
        """Mass of each successor of n * w states [n, w * G], and of those that are answers."""
        logs, value = ask(states)
        logs = logs[:, :-1].reshape(n, -1, n_actions)
        mass = (log_mass[..., None] + logs).reshape(n, -1)
        complete = states.complete.reshape(n, -1)
        return logs.reshape(n, -1), jnp.where(complete, -jnp.inf, mass), jnp.where(complete, mass, -jnp.inf), value

    def best(mass: jax.Array, logs: jax.Array, states: AnswerState) -> tuple[jax.Array, Trail, jax.Array]:
        """The W largest of mass [n, w * G]: the resolvents [n, W, A, 3] they lead to, and how they came about."""
        k = min(width, mass.shape[1])
        log_mass, chosen = jax.lax.top_k(mass, k)
        if k < width:
            log_mass = jnp.pad(log_mass, ((0, 0), (0, width - k)), constant_values=-jnp.inf)
            chosen = jnp.pad(chosen, ((0, 0), (0, width - k)))
        parent, action = chosen // n_actions, chosen % n_actions
        row = jnp.arange(n)[:, None] * (len(states.depth) // n) + parent
        resolvent = jnp.moveaxis(states.successors[row, :, :, action], -2, -1)
        trail = Trail(
            parent=parent,
            kind=states.action_kind[row, action],
            constants=states.action_constants[row, action],
            log_prob=jnp.take_along_axis(logs, chosen, axis=1),
            answer=jnp.where(
                log_mass > -jnp.inf, resolvent[..., 0, 1] * (resolvent[..., 0, 0] == env.answer_predicate), 0
            ),
            log_mass=log_mass,
        )
        return resolvent, trail, row

    def gather_answers(total: jax.Array, states: AnswerState, proofs: jax.Array) -> jax.Array:
        answers = states.successors[:, 1, 0].reshape(n, -1)
        places = jnp.arange(n)[:, None], jnp.where(proofs > -jnp.inf, answers, 0)
        return total.at[places].add(jnp.exp(proofs))

    def step(carry: Any, depth: jax.Array) -> tuple[Any, Any]:
        states, log_mass, total, unexplored, looked_at = carry
        looked_at += jnp.sum(log_mass > -jnp.inf, axis=1)
        logs, open_mass, proofs, value = expand(states, log_mass)
        value = jnp.pad(value, ((0, 0), (0, width - value.shape[1])))
        total = gather_answers(total, states, proofs)
        resolvent, onward, row = best(open_mass, logs, states)
        kept = onward.log_mass > np.log(NEGLIGIBLE)
        followed = jnp.where(kept, onward.log_mass, -jnp.inf)
        unexplored += jnp.maximum(jnp.exp(open_mass).sum(axis=1) - jnp.exp(followed).sum(axis=1), 0.0)
        onward = onward._replace(log_mass=followed)
        parents = jax.tree.map(lambda x: x[row.reshape(-1)], states)
        after = derive(parents, jnp.where(kept[..., None, None], resolvent, 0).reshape(-1, *resolvent.shape[2:]))
        trails = (best(proofs, logs, states)[1], onward, value) if keep_trail else None
        return (after, followed, total, unexplored, looked_at), trails

    start = jax.vmap(env.start, in_axes=(None, 0, 0, None))(params, queries, hidden, jnp.uint32(SALT))
    zero, total = jnp.zeros(n), jnp.zeros((n, env.sizes.n_constants + 1))
    carry = (start, jnp.zeros((n, 1)), total, zero, jnp.zeros(n, jnp.int32))
    # The first step is apart: a query has one root.
    carry, first = step(carry, jnp.int32(0))
    carry, rest = jax.lax.scan(step, carry, jnp.arange(1, env.max_depth))
    _, _, total, unexplored, looked_at = carry
    proofs, onward, value = None, None, None
    if keep_trail:
        proofs, onward, value = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)
    return Answers(total.at[:, 0].set(0.0), unexplored, looked_at, proofs, onward, value)
