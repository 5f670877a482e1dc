"""Proving as an environment: an episode is one attempt at a proof, an action one resolution step or giving up.

Pure functions with gymnax's signatures. docs/concepts/proving.md is the specification.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.proving import datasets
from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.index import HASH_FACTORS, Index, QueryTable, Sizes, build_index, build_queries
from ppo_jax.proving.resolution import dropped_out, successors
from ppo_jax.proving.sampling import Corruption, sample_query
from ppo_jax.types import Discrete, EnvStep, PPOJaxError

__all__ = ["ProofEnv", "ProofParams", "ProofState", "make"]

# Reward at the end of an episode: (TP, FN, FP, TN). docs/concepts/proving.md has the table.
REWARDS = {
    "prove": (1.0, 0.0, 0.0, 0.0),
    "sound": (1.0, 0.0, -1.0, 0.0),
    "decide": (1.0, 0.0, 0.0, 1.0),
    "strict": (1.0, -0.5, -1.5, 1.0),
    "verify": (1.0, -1.0, -1.0, None),  # TN: 1 / negative_ratio, so that both classes weigh the same
    "refuse": (1.0, -1.0, -1.0, None),  # as "verify"; giving up on a negative by choice earns END_BONUS more
}
END_BONUS = 0.3
MAX_DEPTH, MAX_ATOMS = 20, 6  # by default


class ProofParams(NamedTuple):
    """The knowledge base and the training queries, as arrays."""

    facts: Index
    queries: QueryTable


class ProofState(NamedTuple):
    """An episode under way, and the actions open in it."""

    resolvent: jax.Array  # [A, 3] int32
    root: jax.Array  # [3] int32, the query
    label: jax.Array  # [] bool, whether the query is true
    depth: jax.Array  # [] int32, steps taken
    visited: jax.Array  # [max_depth + 1, 2] uint32, hashes of the states of this episode
    counter: jax.Array  # [] int32, queries drawn
    salt: jax.Array  # [] uint32, decides which facts this episode is without; 0: it has all
    successors: jax.Array  # [3, A, G] int32, without `end`
    action_kind: jax.Array  # [G + 1] int32
    action_constants: jax.Array  # [G + 1, 2] int32
    action_mask: jax.Array  # [G + 1] bool
    dropped: jax.Array  # [2] int32, as of `Successors`


@dataclass(frozen=True)
class ProofEnv:
    """The proof MDP over one knowledge base; equal settings and sizes share compiled programs."""

    sizes: Sizes
    max_depth: int = MAX_DEPTH
    negative_ratio: int = 1
    reward: str = "verify"  # name in REWARDS
    corrupt: Corruption = "both"
    end_action: bool = True
    collapse_proved: bool = True
    prune_visited: bool = True
    fact_dropout: float = 0.0
    observe_successors: bool = False
    default_params: ProofParams | None = field(default=None, compare=False, repr=False)
    dataset: Dataset | None = field(default=None, compare=False, repr=False)
    widest_cut: int = field(default=0, compare=False)  # facts the widest row loses to a cap on the successors

    can_truncate = False  # the depth limit is part of the task: it terminates

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.sizes.n_actions)

    @property
    def max_episode_length(self) -> int:
        return self.max_depth

    def reset(self, key: jax.Array, params: ProofParams) -> tuple[dict[str, jax.Array], ProofState]:
        """A fresh query at a random phase between positives and negatives."""
        phase_key, query_key = jax.random.split(key)
        counter = jax.random.randint(phase_key, (), 0, 1 + self.negative_ratio)
        query, label = self._sample(query_key, params, counter)
        state = self.start(params, query, label, self._salt(query_key))._replace(counter=counter + 1)
        return self.observe(state), state

    def start(
        self, params: ProofParams, query: jax.Array, label: jax.Array, salt: jax.Array | None = None
    ) -> ProofState:
        """The first state of the proof of `query` [3]; `label` [] bool decides only the reward.

        Without `salt` no fact is hidden: that is how a policy is judged.
        """
        resolvent, zero = jnp.zeros((self.sizes.max_atoms, 3), jnp.int32).at[0].set(query), jnp.zeros((), jnp.int32)
        visited = jnp.zeros((self.max_depth + 1, 2), jnp.uint32)
        salt = jnp.zeros((), jnp.uint32) if salt is None else salt
        return self._derive(params, resolvent, jnp.asarray(query, jnp.int32), label, zero, visited, zero, salt)

    def step(self, key: jax.Array, state: ProofState, action: jax.Array, params: ProofParams) -> EnvStep:
        """Move to a successor or give up; a finished episode is followed by a fresh query."""
        moved, _ = self._move(state, action)
        reward, done, proved = self._outcome(state, action)
        depth = state.depth + 1

        # The next resolvent is chosen first, so that successors are derived once a step and not again for a reset.
        query, label = self._sample(key, params, state.counter)
        fresh = jnp.zeros_like(moved).at[0].set(query)
        next_state = self._derive(
            params,
            jnp.where(done, fresh, moved),
            jnp.where(done, query, state.root),
            jnp.where(done, label, state.label),
            jnp.where(done, 0, depth),
            jnp.where(done, jnp.zeros_like(state.visited), state.visited),
            jnp.where(done, state.counter + 1, state.counter),
            jnp.where(done, self._salt(key), state.salt),
        )
        n_valid = jnp.sum(state.action_mask)
        info = {
            "final_observation": self.observe(_without_actions(state, moved, depth)),
            "metrics": {
                "proved_positive": (proved, done & state.label),
                "proved_negative": (proved, done & ~state.label),
                "proof_length_mean": (depth, proved),
                "candidates_mean": (n_valid, jnp.ones((), bool)),
                "forced_fraction": (n_valid == 1, jnp.ones((), bool)),
                **overflow(state),
            },
        }
        return EnvStep(self.observe(next_state), next_state, reward, done, jnp.zeros((), bool), info)

    def advance(self, params: ProofParams, state: ProofState, action: jax.Array) -> tuple[ProofState, jax.Array]:
        """One step without rewards or restarts: the state it leads to and whether that is a proof.

        After `end`, and where nothing is left to do, the state has no valid action.
        """
        moved, _ = self._move(state, action)
        _, over, proved = self._outcome(state, action)
        kept = (state.root, state.label, state.depth + 1, state.visited, state.counter, state.salt)
        state_after = self._derive(params, moved, *kept)
        return state_after._replace(action_mask=state_after.action_mask & ~over), proved

    def final_reward(self, label: Any, proved: Any, chose_end: Any, xp: Any = jnp) -> Any:
        """Reward float32 [...] at the end of episodes, by the arrays [...] bool.

        Args:
            label: whether the query is true.
            proved: whether the episode ended in a proof.
            chose_end: whether it ended by `end` where another action was open.
            xp: the arrays' module, jnp or numpy.
        """
        tp, fn, fp, tn = REWARDS[self.reward]
        refused = xp.asarray(1.0 / max(self.negative_ratio, 1) if tn is None else tn, xp.float32)
        if self.reward == "refuse":
            refused = refused + xp.where(chose_end, xp.float32(END_BONUS), xp.float32(0.0))
        return xp.where(proved, xp.where(label, tp, fp), xp.where(label, fn, refused)).astype(xp.float32)

    def observe(self, state: ProofState) -> dict[str, jax.Array]:
        """What the network sees: resolvent, query, depth, and each action's compact description."""
        return observation(state, state.root, self.observe_successors)

    def choices(self, valid: Any, proof: Any, xp: Any = jnp) -> tuple[Any, Any]:
        """Which of the successors are open, [..., G] bool, and whether `end` is, [...] bool.

        Args:
            valid: [..., G] bool successors, none visited before.
            proof: [..., G] bool those of them that are empty.
            xp: the arrays' module, jnp or numpy.
        """
        provable = xp.any(proof, axis=-1)
        if self.collapse_proved:
            first_proof = xp.arange(valid.shape[-1]) == xp.argmax(proof, axis=-1)[..., None]
            valid = xp.where(provable[..., None], first_proof, valid)
        if not self.end_action:
            return valid, ~xp.any(valid, axis=-1)
        return valid, ~provable if self.collapse_proved else xp.ones_like(provable)

    def _sample(self, key: jax.Array, params: ProofParams, counter: jax.Array) -> tuple[jax.Array, jax.Array]:
        return sample_query(key, params.facts, self.sizes, params.queries, counter, self.negative_ratio, self.corrupt)

    def _salt(self, key: jax.Array) -> jax.Array:
        if not self.fact_dropout:
            return jnp.zeros((), jnp.uint32)
        return jax.random.bits(jax.random.fold_in(key, 1), (), jnp.uint32) | 1  # not 0, which hides nothing

    def _move(self, state: ProofState, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        # An action that is not open gives up too: its slot is empty, and an empty resolvent would be a proof.
        end = (action == self.sizes.max_successors) | ~state.action_mask[action]
        chosen = state.successors[:, :, jnp.minimum(action, self.sizes.max_successors - 1)].T
        return jnp.where(end, state.resolvent, chosen), end

    def _outcome(self, state: ProofState, action: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Reward [] float32 of `action`, whether the episode is over with it [] and whether by a proof []."""
        moved, end = self._move(state, action)
        proved = _is_empty(moved) & ~end
        done = proved | end | (state.depth + 1 >= self.max_depth)
        reward = self.final_reward(state.label, proved, end & jnp.any(state.action_mask[:-1]))
        return jnp.where(done, reward, 0.0), done, proved

    # Jitted, so that a reset and a step share one trace.
    @partial(jax.jit, static_argnums=0)
    def _derive(
        self,
        params: ProofParams,
        resolvent: jax.Array,
        root: jax.Array,
        label: jax.Array,
        depth: jax.Array,
        visited: jax.Array,
        counter: jax.Array,
        salt: jax.Array,
    ) -> ProofState:
        """The state at `resolvent` with the actions open there; `visited` gains it."""
        visited = jax.lax.dynamic_update_index_in_dim(visited, state_hash(resolvent.T), depth, 0)
        hidden = partial(dropped_out, params.facts, self.sizes, salt=salt, share=self.fact_dropout)
        derived = successors(params.facts, self.sizes, resolvent, root, hidden if self.fact_dropout else None)
        valid = derived.valid
        if self.prune_visited:
            hashes = state_hash(derived.resolvents)  # [2, G]
            again = (hashes[0][None] == visited[:, :1]) & (hashes[1][None] == visited[:, 1:])  # [max_depth + 1, G]
            valid &= ~jnp.any(again, axis=0)
        valid, may_end = self.choices(valid, valid & (derived.length == 0))

        def hide(x: jax.Array) -> jax.Array:
            """0 where an action [..., G] is not open."""
            return jnp.where(valid.reshape((1,) * (x.ndim - 1) + (-1,)), x, 0)

        end_kind = jnp.where(may_end, self.sizes.end_kind, 0)
        return ProofState(
            resolvent=resolvent,
            root=root,
            label=label,
            depth=depth,
            visited=visited,
            counter=counter,
            salt=salt,
            successors=hide(derived.resolvents),
            action_kind=jnp.append(hide(derived.kind), end_kind),
            action_constants=jnp.pad(hide(derived.constants), ((0, 0), (0, 1))).T,
            action_mask=jnp.append(valid, may_end),
            dropped=derived.dropped,
        )


def make(
    dataset: Dataset | str,
    *,
    rules: str = "rules.txt",
    max_atoms: int = MAX_ATOMS,
    max_successors: int | None = None,
    corrupt: Corruption | None = None,
    **options: object,
) -> ProofEnv:
    """A proof environment over a dataset, a built-in name or a folder.

    Args:
        dataset: a `Dataset`, a built-in name such as ``"countries_s3"``, or the path of a folder.
        rules: name of the rule file in a folder.
        max_atoms: atoms a resolvent can hold.
        max_successors: cap on a state's successors; None: none.
        corrupt: the argument corruptions replace; None: the dataset's default.
        **options: the remaining fields of `ProofEnv`.

    Raises:
        PPOJaxError: the data cannot be read or holds no training query.
    """
    if isinstance(dataset, str):
        dataset = datasets.load(dataset, rules=rules)
    train = dataset.queries["train"]
    if len(train) == 0:
        raise PPOJaxError(f"{dataset.name}: no training queries")
    predicates = {int(q[0]) for split in dataset.queries.values() for q in split}
    predicates |= {rule.head[0] for rule in dataset.kb.rules}  # any provable query can be asked of a trained agent
    index, sizes, cut = build_index(dataset.kb, predicates, max_atoms, max_successors)
    params = ProofParams(index, build_queries(dataset, train))
    return ProofEnv(
        sizes=sizes,
        corrupt=corrupt or cast(Corruption, dataset.corrupt),
        default_params=params,
        dataset=dataset,
        widest_cut=cut,
        **options,  # type: ignore[arg-type]
    )


def observation(state: Any, query: jax.Array, with_successors: bool) -> dict[str, jax.Array]:
    """What a network sees of a state in the search for a proof of `query` [3]."""
    seen: dict[str, jax.Array] = {
        "goals": state.resolvent,
        "query": query,
        "depth": state.depth,
        "action_kind": state.action_kind,
        "action_constants": state.action_constants,
        "action_mask": state.action_mask,
    }
    if with_successors:
        seen["successors"] = state.successors.T  # [G, A, 3]
    return seen


def overflow(state: Any) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a state, with their weight: which share of its successors found no room, in all and by `max_atoms`."""
    dropped, too_long = jnp.sum(state.dropped), state.dropped[0]
    n_found = jnp.sum(state.action_mask[:-1]) + dropped
    lost = {"overflow_fraction": dropped, "too_long_fraction": too_long}
    return {name: (n / jnp.maximum(n_found, 1), n_found) for name, n in lost.items()}


def state_hash(resolvents: jax.Array) -> jax.Array:
    """Two independent 32-bit hashes of canonical resolvents [3, A, ...]: [2, ...] uint32; (0, 0) is none."""
    n_atoms = resolvents.shape[1]
    codes = (resolvents.astype(jnp.uint32) + 1).reshape(3 * n_atoms, *resolvents.shape[2:])
    powers = np.arange(1, 2 * 3 * n_atoms + 1, dtype=np.uint32)
    weights = (powers * np.uint32(HASH_FACTORS[0]) ^ (powers * np.uint32(HASH_FACTORS[1]) >> np.uint32(7))) | 1
    weights = weights.reshape(2, n_atoms, 3).swapaxes(1, 2).reshape(2, -1, *(1,) * (codes.ndim - 1))
    mixed = jnp.stack([jnp.sum(codes * w, axis=0, dtype=jnp.uint32) for w in weights])
    mixed = mixed ^ (mixed >> 15)
    return mixed * jnp.uint32(HASH_FACTORS[1]) | 1


def _is_empty(resolvent: jax.Array) -> jax.Array:
    return resolvent[0, 0] == 0


def _without_actions(state: ProofState, resolvent: jax.Array, depth: jax.Array) -> ProofState:
    """A last state: its resolvent and depth, no actions."""
    nothing = jax.tree.map(jnp.zeros_like, state)
    return nothing._replace(resolvent=resolvent, root=state.root, depth=depth)
