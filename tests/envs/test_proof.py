"""The proof environment against the reference interpreter: what every state offers, what every step earns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.envs import gymnax as gymnax_envs
from ppo_jax.envs import proof
from ppo_jax.envs.proof import ProofEnv, ProofParams, ProofState
from ppo_jax.logic import datasets, sampling
from ppo_jax.logic.datasets import Dataset
from ppo_jax.logic.index import build_queries
from ppo_jax.logic.kb import KnowledgeBase, Rule
from ppo_jax.logic.resolution import is_fact
from ppo_jax.types import Environment, EnvStep, PPOJaxError
from tests.logic import reference
from tests.logic.programs import as_program, random_kb
from tests.logic.reference import FACT, PROVED, Action, Atom, Options, Program, Resolvent
from tests.logic.test_resolution import SIZES, padded_index

MAX_DEPTH = 5
RATIO = 2  # corruptions for each true query
N_WALKERS, N_STEPS, N_QUERIES = 12, 14, 6
# end_action, collapse_proved, prune_visited, and with each combination one of the reward types
COMBINATIONS = list(zip(product((True, False), repeat=3), (5, 0, 1, 2, 3, 4, 5, 4), strict=True))
REWARDS = {  # of a true query proved, a true one not, a false one proved, a false one not
    0: (1.0, 0.0, 0.0, 0.0),
    1: (1.0, 0.0, -1.0, 0.0),
    2: (1.0, 0.0, 0.0, 1.0),
    3: (1.0, -0.5, -1.5, 1.0),
    4: (1.0, -1.0, -1.0, 1 / RATIO),
    5: (1.0, -1.0, -1.0, 1 / RATIO),
}
OUTCOMES = ("true proved", "true not proved", "false proved", "false not proved")

step_once = jax.jit(ProofEnv.step, static_argnums=0)
reset_once = jax.jit(ProofEnv.reset, static_argnums=0)
advance_once = jax.jit(ProofEnv.advance, static_argnums=0)
start_once = jax.jit(ProofEnv.start, static_argnums=0)


# Eight programs that each run for milliseconds: compile them quickly rather than well.
@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def step_all(env: ProofEnv, keys: jax.Array, states: ProofState, actions: jax.Array, params: ProofParams) -> EnvStep:
    return jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, states, actions, params)


def ended_states(env: ProofEnv, params: ProofParams) -> ProofState:
    """States in which only `end` is left, after different numbers of queries: the next step restarts."""
    shapes = jax.eval_shape(env.reset, jax.random.key(0), params)[1]
    states = jax.tree.map(lambda x: jnp.zeros((N_WALKERS, *x.shape), x.dtype), shapes)
    return states._replace(
        action_mask=states.action_mask.at[:, -1].set(True), counter=jnp.arange(N_WALKERS, dtype=jnp.int32)
    )


def params_of(kb: KnowledgeBase) -> ProofParams:
    """The arrays of a random knowledge base: of one shape for all, so that they share a program."""
    heads = [rule.head[0] for rule in kb.rules]
    train = np.resize(kb.facts[np.isin(kb.facts[:, 0], heads)], (N_QUERIES, 3))
    dataset = Dataset("random", kb, {"train": train}, {}, {}, (), "", "both")
    return ProofParams(padded_index(kb, SIZES), build_queries(dataset, train))


def cyclic_kb() -> KnowledgeBase:
    """p1 is symmetric and, through p2, goes in circles: without pruning no proof search comes to an end."""
    facts = [(1, 1, 2), (1, 3, 4), (2, 1, 2), (2, 2, 1), (2, 2, 3), (2, 3, 2)]
    rules = (Rule("r0", (1, -1, -2), ((1, -2, -1),), ""), Rule("r1", (1, -1, -2), ((2, -1, -3), (1, -3, -2)), ""))
    return replace(random_kb(0, 12), facts=np.array(facts, np.int32), rules=rules)


def unstack(batch: Any) -> list[Any]:
    """A batched pytree as one of numpy arrays for each walker."""
    leaves, structure = jax.tree.flatten(jax.device_get(batch))
    return [jax.tree.unflatten(structure, [leaf[i] for leaf in leaves]) for i in range(len(leaves[0]))]


def atoms(resolvent: np.ndarray) -> Resolvent:
    return tuple((p, s, t) for p, s, t in resolvent.tolist() if p)


@dataclass
class Walker:
    """One episode in the reference's terms."""

    program: Program
    options: Options
    reward_type: int
    query: Atom
    label: bool
    resolvent: Resolvent
    visited: frozenset[Resolvent]
    depth: int = 0

    def offers(self) -> tuple[list[Action], bool, int]:
        """Valid successors, whether `end` is valid, and how many successors there was no room for."""
        found, valid, end = reference.actions(self.program, self.resolvent, self.query, self.visited, self.options)
        dropped = reference.successors(self.program, self.resolvent, self.query, self.options.max_atoms)[1]
        return [action for action, is_valid in zip(found, valid, strict=True) if is_valid], end, dropped

    def move(self, action: Action | None, n_open: int) -> tuple[float, bool, bool]:
        """Take an action, None for `end`; returns the reward, whether the episode is over and by a proof."""
        self.depth += 1
        if action is not None:
            self.resolvent = action.resolvent
            self.visited |= {self.resolvent}
        proved = self.resolvent == PROVED
        over = proved or action is None or self.depth == MAX_DEPTH
        reward = REWARDS[self.reward_type][2 * (not self.label) + (not proved)] if over else 0.0
        by_choice = action is None and n_open > 0
        return reward + 0.3 * (self.reward_type == 5 and not self.label and by_choice), over, proved


def assert_offers(state: ProofState, env: ProofEnv, expected: list[Action], end: bool) -> None:
    """The state's actions, in order, are the expected ones; all other slots hold zeros."""
    mask = state.action_mask
    kinds, constants, resolvents = (
        field[np.flatnonzero(mask[:-1])].tolist()
        for field in (state.action_kind, state.action_constants, state.successors)
    )
    found = [
        Action(kind, tuple(bound), atoms(np.array(resolvent)))
        for kind, bound, resolvent in zip(kinds, constants, resolvents, strict=True)
    ]
    assert found == expected
    assert mask[-1] == end
    assert state.action_kind[-1] == (env.sizes.end_kind if end else 0)
    assert not any(field[:-1][~mask[:-1]].any() for field in (state.action_kind, state.action_constants))
    assert not state.successors[~mask[:-1]].any()


def fresh_walker(state: ProofState, env: ProofEnv, program: Program, training: set[Atom]) -> Walker:
    """The episode that a restart began, having checked that its query is one."""
    query, label = tuple(state.root.tolist()), bool(state.label)
    assert (query in program.known) == label and (not label or query in training)
    if (int(state.counter) - 1) % (1 + RATIO) == 0:
        assert label
    elif label:  # drawn as a corruption, of which there are none for one of the arguments
        every = range(1, program.n_constants + 1)
        assert any(
            all((query[0], *(swap if i == j else query[1 + j] for j in (0, 1))) in program.known for swap in every)
            for i in (0, 1)
        )
    assert atoms(state.resolvent) == (query,) and state.depth == 0
    assert not state.visited[1:].any()
    options = Options(env.end_action, env.collapse_proved, env.prune_visited, env.sizes.max_atoms)
    return Walker(program, options, env.reward_type, query, label, (query,), frozenset({(query,)}))


@pytest.mark.parametrize(("options", "reward_type"), COMBINATIONS)
def test_random_walks_follow_the_reference(options: tuple[bool, bool, bool], reward_type: int) -> None:
    end_action, collapse_proved, prune_visited = options
    env = ProofEnv(SIZES, MAX_DEPTH, RATIO, reward_type, "both", end_action, collapse_proved, prune_visited)
    seen: Counter[str] = Counter()
    for number, kb in enumerate([cyclic_kb(), *(random_kb(seed, 12) for seed in range(5))]):
        program, params, rng = as_program(kb), params_of(kb), np.random.default_rng(number)
        training = {tuple(query) for query in np.asarray(params.queries.queries).tolist()}
        keys = jax.random.split(jax.random.key(number), (1 + N_STEPS, N_WALKERS))
        end = jnp.full(N_WALKERS, SIZES.max_successors)
        states = step_all(env, keys[0], ended_states(env, params), end, params).state
        each = unstack(states)
        walkers = [fresh_walker(state, env, program, training) for state in each]
        for step_keys in keys[1:]:
            actions, expected = [], []
            for state, walker in zip(each, walkers, strict=True):
                offered, end, dropped = walker.offers()
                assert_offers(state, env, offered, end)
                assert state.dropped == dropped
                slots = np.flatnonzero(state.action_mask)
                choice = rng.integers(len(slots) - (end and len(offered) > 0 and rng.random() < 0.7))
                taken = offered[choice] if choice < len(offered) else None
                actions.append(slots[choice])
                expected.append((len(offered), end, dropped, state.counter, *walker.move(taken, len(offered))))
                seen["states"] += 1
                seen["nothing left"] += not offered
                seen["dropped"] += dropped
                seen["end on offer at a proof"] += end and any(a.resolvent == PROVED for a in offered)
                seen["a proof left out for another"] += collapse_proved and len(offered) == 1 and not end
            step = step_all(env, step_keys, states, jnp.array(actions, jnp.int32), params)
            states, taken_steps = step.state, unstack(step)
            each = [taken_step.state for taken_step in taken_steps]
            for i, (n_open, end, dropped, counter, reward, over, proved) in enumerate(expected):
                walker, taken_step, state = walkers[i], taken_steps[i], each[i]
                np.testing.assert_allclose(taken_step.reward, reward, rtol=1e-6)
                assert taken_step.terminated == over and not taken_step.truncated
                final, metrics = taken_step.info["final_observation"], taken_step.info["metrics"]
                assert atoms(final["goals"]) == walker.resolvent and final["depth"] == walker.depth
                assert not final["action_mask"].any()
                assert metrics["proved_positive"] == (proved, over and walker.label)
                assert metrics["proved_negative"] == (proved, over and not walker.label)
                assert metrics["proof_length_mean"] == (walker.depth, proved)
                assert metrics["candidates_mean"] == (n_open + end, 1)
                assert metrics["forced_fraction"] == (n_open + end == 1, 1)
                value, weight = metrics["overflow_fraction"]
                assert (round(value * weight, 3), weight) == (dropped, n_open + dropped)
                assert state.counter == counter + over
                if over:
                    seen[OUTCOMES[2 * (not walker.label) + (not proved)]] += 1
                    seen["depth limit"] += walker.depth == MAX_DEPTH and not proved
                    seen["proved by the last step"] += walker.depth == MAX_DEPTH and proved
                    walkers[i] = fresh_walker(state, env, program, training)
                else:
                    assert (state.depth, tuple(state.root), state.label) == (walker.depth, walker.query, walker.label)
                    assert atoms(state.resolvent) == walker.resolvent
    required = {*OUTCOMES, "states", "dropped", "nothing left", "depth limit"}
    assert not [what for what in required if seen[what] < 5], seen
    assert (seen["end on offer at a proof"] > 0) == (end_action and not collapse_proved)
    print(options, seen)


def walk_to(env: ProofEnv, params: ProofParams, state: ProofState, path: list[Resolvent]) -> tuple[ProofState, EnvStep]:
    """Step along the given resolvents; the last but one state and the last step."""
    for resolvent in path:
        slots = [atoms(s) for s in np.asarray(state.successors)]
        last = state
        step = step_once(env, jax.random.key(0), state, jnp.int32(slots.index(resolvent)), params)
        state = step.state
    return last, step


def shortest_path(program: Program, query: Atom, max_atoms: int) -> list[Resolvent]:
    """The resolvents of a shortest proof, the query's own left out."""
    origin: dict[Resolvent, Resolvent] = {(query,): PROVED}
    frontier: list[Resolvent] = [(query,)]
    while PROVED not in origin or not frontier:
        state = frontier.pop(0)
        for action in reference.successors(program, state, query, max_atoms)[0]:
            if action.resolvent == PROVED:
                path = [PROVED, state]
                while origin[path[-1]]:
                    path.append(origin[path[-1]])
                return path[-2::-1]
            if action.resolvent not in origin:
                origin[action.resolvent] = state
                frontier.append(action.resolvent)
    raise AssertionError("no proof")
