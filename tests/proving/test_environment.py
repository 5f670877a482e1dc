"""The proof environment: what every state offers and every step earns, and what the agent never sees."""

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

from ppo_jax.proving import datasets
from ppo_jax.proving import environment as proof
from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.environment import ProofEnv, ProofParams, ProofState
from ppo_jax.proving.index import build_queries
from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from ppo_jax.proving.resolution import is_fact
from ppo_jax.types import Environment, EnvStep
from tests.proving import reference
from tests.proving.logic_programs import as_program, random_kb
from tests.proving.reference import FACT, PROVED, Action, Atom, Options, Program, Resolvent
from tests.proving.test_resolution import SIZES, padded_index

MAX_DEPTH = 5
RATIO = 2  # corruptions for each true query
N_WALKERS, N_STEPS, N_QUERIES = 12, 14, 6
REWARD_OF_EACH = ("refuse", "prove", "sound", "decide", "strict", "verify", "refuse", "verify")
# end_action, collapse_proved, prune_visited, and with each combination one of the rewards
COMBINATIONS = list(zip(product((True, False), repeat=3), REWARD_OF_EACH, strict=True))
REWARDS = {  # of a true query proved, a true one not, a false one proved, a false one not
    "prove": (1.0, 0.0, 0.0, 0.0),
    "sound": (1.0, 0.0, -1.0, 0.0),
    "decide": (1.0, 0.0, 0.0, 1.0),
    "strict": (1.0, -0.5, -1.5, 1.0),
    "verify": (1.0, -1.0, -1.0, 1 / RATIO),
    "refuse": (1.0, -1.0, -1.0, 1 / RATIO),
}
OUTCOMES = ("true proved", "true not proved", "false proved", "false not proved")

# Programs that run for milliseconds: compile them quickly rather than well.
quick_jit = partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
step_once, reset_once, advance_once, start_once = map(
    quick_jit, (ProofEnv.step, ProofEnv.reset, ProofEnv.advance, ProofEnv.start)
)


@quick_jit
def reset_all(env: ProofEnv, keys: jax.Array, params: ProofParams) -> tuple[Any, ProofState]:
    return jax.vmap(env.reset, in_axes=(0, None))(keys, params)


@quick_jit
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
    facts = [(1, 1, 2), (1, 3, 4), (2, 1, 2), (2, 2, 1), (2, 2, 3), (2, 3, 2)] + [(3, i, i) for i in range(1, 7)]
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
    reward: str
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
        paid = REWARDS[self.reward][2 * (not self.label) + (not proved)] if over else 0.0
        by_choice = action is None and n_open > 0
        return paid + 0.3 * (self.reward == "refuse" and not self.label and by_choice), over, proved


def assert_offers(state: ProofState, env: ProofEnv, expected: list[Action], end: bool) -> None:
    """The state's actions, in order, are the expected ones; all other slots hold zeros."""
    mask = state.action_mask
    kinds, constants, resolvents = (
        field[np.flatnonzero(mask[:-1])].tolist()
        for field in (state.action_kind, state.action_constants, state.successors.T)
    )
    found = [
        Action(kind, tuple(bound), atoms(np.array(resolvent)))
        for kind, bound, resolvent in zip(kinds, constants, resolvents, strict=True)
    ]
    assert found == expected
    assert mask[-1] == end
    assert state.action_kind[-1] == (env.sizes.end_kind if end else 0)
    assert not any(field[:-1][~mask[:-1]].any() for field in (state.action_kind, state.action_constants))
    assert not state.successors.T[~mask[:-1]].any()


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
    return Walker(program, options, env.reward, query, label, (query,), frozenset({(query,)}))


@pytest.mark.parametrize(("options", "reward"), COMBINATIONS)
def test_random_walks_follow_the_reference(options: tuple[bool, bool, bool], reward: str) -> None:
    end_action, collapse_proved, prune_visited = options
    env = ProofEnv(SIZES, MAX_DEPTH, RATIO, reward, "both", end_action, collapse_proved, prune_visited)
    seen: Counter[str] = Counter()
    n_traced = step_all._cache_size()
    kbs = [cyclic_kb(), *(random_kb(seed, 12) for seed in range(5))]
    ended, end = ended_states(env, params_of(kbs[0])), jnp.full(N_WALKERS, SIZES.max_successors, jnp.int32)
    for number, kb in enumerate(kbs):
        program, params, rng = as_program(kb), params_of(kb), np.random.default_rng(number)
        training = {tuple(query) for query in np.asarray(params.queries.queries).tolist()}
        keys = jax.random.split(jax.random.key(number), (1 + N_STEPS, N_WALKERS))
        states = step_all(env, keys[0], ended, end, params).state
        each = unstack(states)
        walkers = [fresh_walker(state, env, program, training) for state in each]
        for step_keys in keys[1:]:
            actions, expected = [], []
            for state, walker in zip(each, walkers, strict=True):
                offered, may_end, dropped = walker.offers()
                assert_offers(state, env, offered, may_end)
                assert sum(state.dropped) == dropped
                slots = np.flatnonzero(state.action_mask)
                choice = rng.integers(len(slots) - (may_end and len(offered) > 0 and rng.random() < 0.7))
                taken = offered[choice] if choice < len(offered) else None
                actions.append(slots[choice])
                expected.append((len(offered), may_end, dropped, state.counter, *walker.move(taken, len(offered))))
                seen["states"] += 1
                seen["nothing left"] += not offered
                seen["dropped"] += dropped
                seen["end on offer at a proof"] += may_end and any(a.resolvent == PROVED for a in offered)
                seen["a proof left out for another"] += collapse_proved and len(offered) == 1 and not may_end
            step = step_all(env, step_keys, states, jnp.array(actions, jnp.int32), params)
            states, taken_steps = step.state, unstack(step)
            each = [taken_step.state for taken_step in taken_steps]
            for i, (n_open, may_end, dropped, counter, reward, over, proved) in enumerate(expected):
                walker, taken_step, state = walkers[i], taken_steps[i], each[i]
                np.testing.assert_allclose(taken_step.reward, reward, rtol=1e-6)
                assert taken_step.terminated == over and not taken_step.truncated
                final, metrics = taken_step.info["final_observation"], taken_step.info["metrics"]
                assert atoms(final["goals"]) == walker.resolvent and final["depth"] == walker.depth
                assert not final["action_mask"].any()
                assert metrics["proved_positive"] == (proved, over and walker.label)
                assert metrics["proved_negative"] == (proved, over and not walker.label)
                assert metrics["proof_length_mean"] == (walker.depth, proved)
                assert metrics["candidates_mean"] == (n_open + may_end, 1)
                assert metrics["forced_fraction"] == (n_open + may_end == 1, 1)
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
    assert step_all._cache_size() == n_traced + 1  # one program serves every knowledge base of these sizes


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


@pytest.fixture(scope="module")
def countries() -> ProofEnv:
    return proof.make("countries_s3", max_atoms=4)


def query_of(dataset: Dataset, *names: str) -> Atom:
    kb = dataset.kb
    return kb.predicate_ids[names[0]], kb.constant_ids[names[1]], kb.constant_ids[names[2]]


def slot_of(state: ProofState, resolvent: Resolvent) -> jax.Array:
    return jnp.int32([atoms(successor) for successor in np.asarray(state.successors.T)].index(resolvent))


def test_a_proof_completed_by_the_last_step_counts(countries: ProofEnv) -> None:
    """In Countries S3 the deepest of all shortest proofs, of something false, has exactly the 20 steps allowed."""
    params = countries.default_params
    query = query_of(countries.dataset, "locatedInCR", "timor_leste", "africa")
    path = shortest_path(as_program(countries.dataset.kb), query, 4)
    assert len(path) == countries.max_depth == 20
    state = start_once(countries, params, jnp.array(query), jnp.array(False))
    for depth, resolvent in enumerate(path, start=1):
        advanced, proved = advance_once(countries, params, state, slot_of(state, resolvent))
        step = step_once(countries, jax.random.key(0), state, slot_of(state, resolvent), params)
        assert step.terminated == proved == (depth == 20)
        if not proved:
            jax.tree.map(np.testing.assert_array_equal, advanced, step.state)
        state = step.state
    assert step.reward == -1  # a false query proved
    assert step.info["metrics"]["proved_negative"] == (True, True)
    assert step.info["metrics"]["proof_length_mean"] == (20, True)
    assert not advanced.action_mask.any()


@pytest.mark.parametrize("prune_visited", [True, False])
def test_pruning_leaves_a_circle_by_end_alone(prune_visited: bool) -> None:
    """p1(5,6) leads to p1(6,5) alone, and that back: pruned, it leaves only `end`, though that is switched off."""
    kb = replace(cyclic_kb(), rules=cyclic_kb().rules[:1])
    env = ProofEnv(SIZES, max_depth=4, end_action=False, prune_visited=prune_visited)
    params = params_of(kb)
    state = start_once(env, params, jnp.array([1, 5, 6]), jnp.array(False))
    offered = []
    for _ in range(4):
        slots = np.flatnonzero(state.action_mask).tolist()
        offered += [atoms(np.asarray(state.successors.T[i])) if i < SIZES.max_successors else "end" for i in slots]
        state, proved = advance_once(env, params, state, jnp.int32(slots[0]) if slots else jnp.int32(0))
        assert not proved
    forth, back = ((1, 6, 5),), ((1, 5, 6),)
    assert offered == ([forth, "end"] if prune_visited else [forth, back, forth, back])


def random_actions(rng: np.random.Generator, masks: jax.Array) -> jax.Array:
    """A valid action for each mask [..., G], `end` only where it must be."""
    preference = 1 + rng.random(masks.shape)
    preference[..., -1] = 0.5
    return jnp.argmax(masks * jnp.asarray(preference), axis=-1).astype(jnp.int32)


def test_vmap_equals_a_loop_to_the_bit(countries: ProofEnv) -> None:
    params, rng, n_traced = countries.default_params, np.random.default_rng(0), step_all._cache_size()
    keys = jax.random.split(jax.random.key(5), (51, 4))
    states = [reset_once(countries, key, params)[1] for key in keys[0]]
    phases = [int(state.counter) for state in states]
    n_episodes = 0
    for step_keys in keys[1:]:
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        actions = random_actions(rng, batch.action_mask)
        together = unstack(step_all(countries, step_keys, batch, actions, params))
        for i, (key, action) in enumerate(zip(step_keys, actions, strict=True)):
            alone = step_once(countries, key, states[i], action, params)
            jax.tree.map(np.testing.assert_array_equal, together[i], alone)
            states[i] = alone.state
            n_episodes += int(alone.terminated)
    assert 10 < n_episodes == sum(int(state.counter) for state in states) - sum(phases)
    assert step_all._cache_size() == n_traced + 1


def test_an_action_that_is_not_open_gives_up(countries: ProofEnv) -> None:
    """Its slot holds zeros, which must not pass for a proof."""
    key, params = jax.random.key(3), countries.default_params
    _, state = reset_once(countries, key, params)
    closed = jnp.int32(np.flatnonzero(~state.action_mask)[0])
    wrong, end = (
        step_once(countries, key, state, action, params) for action in (closed, jnp.int32(countries.action_space.n - 1))
    )
    jax.tree.map(np.testing.assert_array_equal, wrong, end)
    assert wrong.terminated and wrong.reward == (-1 if state.label else 1)


def test_the_phase_of_a_first_episode_is_random(countries: ProofEnv) -> None:
    env, params = replace(countries, negative_ratio=3), countries.default_params

    @jax.jit
    def first(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        states = jax.vmap(env.reset, in_axes=(0, None))(keys, params)[1]
        return states.counter, states.label

    counter, label = jax.device_get(first(jax.random.split(jax.random.key(0), 400)))
    counts = np.bincount(counter)
    np.testing.assert_allclose(counts, [0, 100, 100, 100, 100], atol=5 * (400 * 3 / 16) ** 0.5)
    assert counts[0] == 0
    np.testing.assert_array_equal(label, counter == 1)


def test_an_episode_keeps_its_hidden_facts_and_judging_hides_none(countries: ProofEnv) -> None:
    env, params, n = replace(countries, fact_dropout=0.4), countries.default_params, 16
    _, states = reset_all(env, jax.random.split(jax.random.key(0), n), params)
    assert len(set(states.salt.tolist())) == n and (states.salt > 0).all()
    rng, salts = np.random.default_rng(0), [states.salt]
    ends = []
    for step in range(12):
        actions = random_actions(rng, states.action_mask)
        found = step_all(env, jax.random.split(jax.random.key(step + 1), n), states, actions, params)
        states = found.state
        salts.append(states.salt)
        ends.append(found.terminated)
    changed = np.diff(np.array(salts, np.int64), axis=0) != 0
    np.testing.assert_array_equal(changed, np.array(ends))
    assert changed.any() and not changed.all()
    for query in countries.dataset.queries["train"][:5]:
        judged, plain = (start_once(e, params, jnp.asarray(query), jnp.asarray(True)) for e in (env, countries))
        jax.tree.map(np.testing.assert_array_equal, judged, plain)


def test_what_a_step_returns_has_the_types_of_a_reset(countries: ProofEnv) -> None:
    key, params = jax.random.key(0), countries.default_params
    typed = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)  # noqa: E731
    observation, state = jax.eval_shape(countries.reset, key, params)
    step = jax.eval_shape(countries.step, key, state, jax.ShapeDtypeStruct((), jnp.int32), params)
    assert typed((step.observation, step.state)) == typed((observation, state))
    assert typed(step.info["final_observation"]) == typed(observation)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((state, step)))
    assert isinstance(countries, Environment) and not countries.can_truncate


def test_the_observation_is_the_state_and_successors_only_where_asked(countries: ProofEnv) -> None:
    params = countries.default_params
    _, state = reset_once(countries, jax.random.key(1), params)
    observation = countries.observe(state)
    same = {"goals": "resolvent", "query": "root", **{name: name for name in observation if hasattr(state, name)}}
    assert (
        set(observation)
        == set(same)
        == {*("goals", "query", "depth", "action_kind", "action_constants", "action_mask")}
    )
    for name, field in same.items():
        np.testing.assert_array_equal(observation[name], getattr(state, field))
    n_actions = countries.action_space.n
    assert observation["action_mask"].shape == observation["action_kind"].shape == (n_actions,)
    with_successors = replace(countries, observe_successors=True).observe(state)
    np.testing.assert_array_equal(with_successors.pop("successors"), state.successors.T)
    assert state.successors.T.shape == (n_actions - 1, 4, 3)
    assert with_successors.keys() == observation.keys()


def test_what_caps_cut_is_counted() -> None:
    """Room for two atoms, where the second rule's body has three, and for four facts of the sixteen neighbours."""
    env = proof.make("countries_s3", max_atoms=2, max_successors=6)
    assert (env.sizes.max_facts, env.sizes.max_rules, env.widest_cut) == (4, 2, 12)
    program = as_program(env.dataset.kb)
    params, rng = env.default_params, np.random.default_rng(0)
    end = jnp.full(N_WALKERS, env.sizes.max_successors, jnp.int32)
    step = step_all(env, jax.random.split(jax.random.key(0), N_WALKERS), ended_states(env, params), end, params)
    seen: Counter[str] = Counter()
    for t in range(12):
        before, actions = unstack(step.state), random_actions(rng, step.state.action_mask)
        step = step_all(env, jax.random.split(jax.random.key(t), N_WALKERS), step.state, actions, params)
        for state, metrics in zip(before, unstack(step.info["metrics"]), strict=True):
            query = tuple(state.root.tolist())
            found, too_long = reference.successors(program, atoms(state.resolvent), query, max_atoms=2)
            cut = max(sum(action.kind == FACT for action in found) - 4, 0)
            assert list(state.dropped) == [too_long, cut]
            for name, lost in {"overflow_fraction": too_long + cut, "too_long_fraction": too_long}.items():
                value, weight = metrics[name]
                assert round(float(value * weight)) == lost
            seen += Counter({"too long": too_long, "cut": cut})
    assert min(seen["too long"], seen["cut"]) > 10


def test_nothing_of_valid_or_test_is_in_the_parameters() -> None:
    files = datasets.build_countries("countries_s3")
    leaking = files | {"train.txt": files["train.txt"] + files["valid.txt"] + files["test.txt"]}
    other_test = files | {file: files[file].replace("africa", "europe") for file in ("valid.txt", "test.txt")}
    env = proof.make(datasets.from_files("countries", files))
    for changed in (leaking, other_test):
        other = proof.make(datasets.from_files("countries", changed))
        assert other == env
        jax.tree.map(np.testing.assert_array_equal, other.default_params, env.default_params)
    held_out = np.concatenate([env.dataset.queries[split] for split in ("valid", "test")])
    known = jax.jit(lambda atoms: is_fact(env.default_params.facts, env.sizes, *atoms.T))
    assert not known(held_out).any()
    assert known(env.dataset.queries["train"]).all()
