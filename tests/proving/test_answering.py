"""Answering: the environment and its beam search against plain-Python twins, and against forward chaining."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.ops.distributions import Categorical
from ppo_jax.proving import datasets
from ppo_jax.proving.answers import environment as answering
from ppo_jax.proving.answers import shortest_proofs
from ppo_jax.proving.answers.environment import AnswerEnv, AnswerParams
from ppo_jax.proving.answers.search import Answers
from ppo_jax.proving.answers.search import search as jitted_search
from ppo_jax.proving.index import Sizes, build_index
from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule
from ppo_jax.proving.open_queries import TAIL, OpenQueries, known_answers, open_queries
from tests.conftest import WELL
from tests.proving import reference
from tests.proving.logic_programs import N_CONSTANTS, N_PREDICATES, N_RULES, as_program, random_kb
from tests.proving.reference import Atom, Program, Resolvent

SIZES = Sizes(
    n_predicates=N_PREDICATES + 1,
    n_constants=N_CONSTANTS,
    n_rules=N_RULES,
    max_atoms=6,
    max_facts=N_CONSTANTS**2,
    max_rules=N_RULES,
    max_body=3,
    max_rule_variables=6,
    max_row=N_CONSTANTS,
)
ANSWER = SIZES.n_predicates
VARIABLE = N_CONSTANTS + 1
N_QUERIES = 6  # asked together
NOTHING = (0, 0, 0)
# What is asked many times is compiled well, which gains more than it takes.
_static = ("env", "policy", "beam_width", "keep_trail")
search = partial(jax.jit, static_argnames=_static, compiler_options=WELL)(jitted_search.__wrapped__)


# ------------------------------------------------------------------------------------------------------- the twin


def select(resolvent: Resolvent) -> Resolvent:
    """The resolvent with the atom in front that is to be resolved."""
    goals = [i for i, atom in enumerate(resolvent) if atom[0] != ANSWER]
    bound = [i for i in goals if min(resolvent[i][1:]) <= N_CONSTANTS]
    if not goals:
        return resolvent
    first = (bound or goals)[0]
    return reference.canonical((resolvent[first], *resolvent[:first], *resolvent[first + 1 :]), N_CONSTANTS)


def root_of(query: Atom) -> Resolvent:
    return (query[0], query[1] or VARIABLE, query[2] or VARIABLE), (ANSWER, VARIABLE, VARIABLE)


def answer_of(resolvent: Resolvent) -> int:
    return resolvent[-1][1]


class Twin:
    """The MDP of answering in plain Python, one query at a time."""

    def __init__(self, kb: KnowledgeBase, max_depth: int) -> None:
        self.program: Program = as_program(kb)
        self.max_depth = max_depth
        self.reflexive = {p for p, s, t in self.program.known if s == t}

    def matches(self, atom: Atom, hidden: Atom) -> bool:
        if any(head[0] == atom[0] for head, _ in self.program.rules):
            return True
        free = [term > N_CONSTANTS for term in atom[1:]]
        return any(free) and any(
            fact != hidden
            and fact[0] == atom[0]
            and all(is_free or fact[i + 1] == atom[i + 1] for i, is_free in enumerate(free))
            for fact in self.program.known
        )

    def open(
        self, resolvent: Resolvent, query: Atom, hidden: Atom, depth: int, visited: frozenset[Resolvent]
    ) -> Iterator[reference.Action]:
        for action in reference.derive(self.program, select(resolvent), hidden):
            after = action.resolvent
            variables = max((term for atom in after for term in atom[1:]), default=0) - N_CONSTANTS
            left = self.max_depth - depth - 1
            if len(after) > SIZES.max_atoms or (depth == 0 and action.kind == reference.FACT) or after in visited:
                continue
            if answer_of(after) == max(query[1:]) and query[0] not in self.reflexive:
                continue
            if len(after) > 1 and (left == 0 or variables > 2 * left or not self.matches(select(after)[0], hidden)):
                continue
            yield action

    def answers(self, query: Atom, hidden: Atom = NOTHING) -> dict[int, float]:
        """The probability with which the uniform policy comes to each answer."""
        found: dict[int, float] = {}

        def follow(resolvent: Resolvent, mass: float, depth: int, visited: frozenset[Resolvent]) -> None:
            visited = visited | {resolvent}
            actions = list(self.open(resolvent, query, hidden, depth, visited))
            for action in actions:
                if len(action.resolvent) == 1:
                    answer = answer_of(action.resolvent)
                    found[answer] = found.get(answer, 0.0) + mass / len(actions)
                else:
                    follow(action.resolvent, mass / len(actions), depth + 1, visited)

        follow(root_of(query), 1.0, 0, frozenset())
        return found

    def steps(self, query: Atom) -> dict[int, int]:
        """The steps of the shortest derivation of each answer, of all that there are."""
        found: dict[int, int] = {}

        def follow(resolvent: Resolvent, depth: int, visited: frozenset[Resolvent]) -> None:
            visited = visited | {resolvent}
            for action in self.open(resolvent, query, NOTHING, depth, visited):
                if len(action.resolvent) == 1:
                    answer = answer_of(action.resolvent)
                    found[answer] = min(found.get(answer, self.max_depth), depth + 1)
                else:
                    follow(action.resolvent, depth + 1, visited)

        follow(root_of(query), 0, frozenset())
        return found

    def breadth_first(self, query: Atom, budget: int, until: int = 0) -> tuple[dict[int, int], int, bool]:
        """Steps by answer, resolvents looked at and whether the budget ran out, level by level."""
        found: dict[int, int] = {}
        level, seen, looked_at = {root_of(query)}, {root_of(query)}, 0
        for depth in range(self.max_depth):
            if looked_at + len(level) > budget:
                return found, looked_at, True
            looked_at += len(level)
            after = set()
            for resolvent in level:
                for action in self.open(resolvent, query, NOTHING, depth, frozenset({resolvent})):
                    if len(action.resolvent) == 1:
                        found.setdefault(answer_of(action.resolvent), depth + 1)
                    else:
                        after.add(action.resolvent)
            level = after - seen
            seen |= level
            if until in found:
                break
        return found, looked_at, False


def least_model(kb: KnowledgeBase, hidden: Atom) -> set[Atom]:
    """All that follows from the facts without `hidden`, by naive forward chaining."""
    known = {tuple(map(int, fact)) for fact in kb.facts} - {hidden}
    while new := {atom for rule in kb.rules for atom in consequences(rule, known)} - known:
        known |= new
    return known


def consequences(rule, known: set[Atom]) -> Iterator[Atom]:
    def extend(body, binding: dict[int, int]) -> Iterator[dict[int, int]]:
        if not body:
            yield binding
            return
        for fact in known:
            extended = dict(binding)
            if fact[0] == body[0][0] and all(
                term == value if term > 0 else extended.setdefault(term, value) == value
                for term, value in zip(body[0][1:], fact[1:], strict=True)
            ):
                yield from extend(body[1:], extended)

    for binding in extend(rule.body, {}):
        if any(binding.get(s, s) == binding.get(t, t) for s, t in rule.different):
            continue
        yield rule.head[0], *(term if term > 0 else binding[term] for term in rule.head[1:])


def derived_answers(kb: KnowledgeBase, query: Atom, hidden: Atom) -> set[int]:
    """What the rules answer: constants of heads whose bodies hold."""
    known = least_model(kb, hidden)
    reflexive = any(p == query[0] and s == t for p, s, t in kb.facts)
    heads = {atom for rule in kb.rules for atom in consequences(rule, known) if atom[0] == query[0]}
    side = 1 if query[1] == 0 else 2
    answers = {atom[side] for atom in heads if atom[3 - side] == query[3 - side]}
    return answers if reflexive else answers - {max(query[1:])}


# --------------------------------------------------------------------------------------------------------- helpers


def any_policy(params, observation, carry, start):
    """Logits that look random and depend on the whole action."""
    kind, constants = observation["action_kind"], observation["action_constants"]
    logits = jnp.sin(3.7 * kind + 1.3 * constants[..., 0] + 2.1 * constants[..., 1] + observation["depth"][:, None])
    return Categorical(logits, observation["action_mask"]), 1.0 * observation["depth"], carry


def environment(kb: KnowledgeBase, max_depth: int, sizes: Sizes = SIZES) -> tuple[AnswerEnv, AnswerParams]:
    index, _, _ = build_index(kb, {rule.head[0] for rule in kb.rules}, sizes=sizes, answering=True)
    reflexive = np.zeros(sizes.n_predicates + 1, bool)
    reflexive[kb.facts[kb.facts[:, 1] == kb.facts[:, 2], 0]] = True
    queries = kb.facts[np.isin(kb.facts[:, 0], [rule.head[0] for rule in kb.rules])]
    queries = queries if len(queries) else kb.facts
    params = AnswerParams(index, jnp.asarray(np.resize(queries, (16, 3))), jnp.asarray(reflexive))
    return AnswerEnv(sizes=sizes, max_depth=max_depth), params


def questions(kb: KnowledgeBase, seed: int) -> list[tuple[Atom, Atom]]:
    """Open queries, each with the fact that it hides; half of them hide none."""
    heads, rng = sorted({rule.head[0] for rule in kb.rules}), np.random.default_rng(seed)
    facts = [tuple(map(int, fact)) for fact in kb.facts if fact[0] in heads]
    asked: list[tuple[Atom, Atom]] = []
    for i in range(N_QUERIES):
        if facts and i % 2:
            p, s, t = hidden = facts[rng.integers(len(facts))]
        else:
            p, s, t = int(rng.choice(heads)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
            hidden = NOTHING
        asked.append(((p, 0, t) if rng.random() < 0.5 else (p, s, 0), hidden))
    return asked


def ask(
    env: AnswerEnv, params: AnswerParams, asked: list[tuple[Atom, Atom]], beam_width: int = 256, sharpness: float = 0.0
) -> Answers:
    queries, hidden = (jnp.array(x, jnp.int32) for x in zip(*asked, strict=True))
    return search(
        env, params, any_policy, (), queries, hidden, beam_width=beam_width, sharpness=sharpness, keep_trail=True
    )


# ----------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("seed", range(12))
def test_a_wide_beam_holds_every_derivation_with_its_probability(seed: int) -> None:
    kb = random_kb(seed, n_facts=9)
    (env, params), twin, asked = environment(kb, 4), Twin(kb, 4), questions(kb, seed)
    found = jax.device_get(ask(env, params, asked, beam_width=512))
    assert found.unexplored.max() < 1e-3  # what is negligible is not followed
    for i, (query, hidden) in enumerate(asked):
        expected = np.zeros(N_CONSTANTS + 1)
        for answer, probability in twin.answers(query, hidden).items():
            expected[answer] = probability
        np.testing.assert_allclose(found.probability[i], expected, atol=1e-4 + found.unexplored[i])


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_answers_are_those_that_forward_chaining_derives(seed: int, unequal: bool) -> None:
    """For programs without recursion, whose derivations all fit the limits; also with inequalities in every rule."""
    kb = random_kb(seed + 100, n_facts=9)

    def without_recursion(rule: Rule) -> Rule:
        """The predicates of its body stand above that of its head."""
        p, *terms = rule.head
        head = 1 + p % 2
        body = tuple((max(head + 1, q), *arguments) for q, *arguments in rule.body[:2])
        kept = sorted({term for _, *arguments in body for term in arguments}, key=abs)
        terms = [t if t > 0 or t in kept else body[0][1] for t in terms]
        variables = [t for t in kept if t < 0]
        different = ((variables[0], (variables[1:] or [2])[-1]),) if unequal and variables else ()
        return replace(rule, head=(head, *terms), body=body, different=different)

    kb = replace(kb, rules=tuple(map(without_recursion, kb.rules)))
    sizes = replace(SIZES, max_atoms=9, max_body=4, n_predicates=N_PREDICATES + 2, different=N_PREDICATES + 1)
    (env, params), asked = environment(kb, 9, sizes if unequal else replace(SIZES, max_atoms=8)), questions(kb, seed)
    found = jax.device_get(ask(env, params, asked))
    for i, (query, hidden) in enumerate(asked):
        answers = set(np.flatnonzero(found.probability[i]).tolist())
        expected = derived_answers(kb, query, hidden)
        assert answers <= expected
        if found.unexplored[i] == 0.0:
            assert answers == expected


def test_a_narrow_beam_is_a_lower_bound_and_says_what_it_left() -> None:
    left = 0.0
    for seed in range(4):
        kb = random_kb(seed, n_facts=9)
        (env, params), asked = environment(kb, 4), questions(kb, seed)
        wide, narrow = (jax.device_get(ask(env, params, asked, width, 1.0)) for width in (512, 2))
        assert (narrow.probability <= wide.probability + 1e-5).all()
        lost = wide.probability.sum(axis=1) - narrow.probability.sum(axis=1)
        assert (lost <= narrow.unexplored + 1e-4).all()
        left = max(left, float(narrow.unexplored.max()))
    assert left > 0.1


def test_the_trail_of_an_answer_leads_back_to_the_query() -> None:
    """The masses of all derivations that are kept, summed by answer, are the answers' probabilities."""
    n_found = 0
    for seed in range(6):
        kb = random_kb(seed, n_facts=9)
        (env, params), asked = environment(kb, 4), questions(kb, seed)
        found = jax.device_get(ask(env, params, asked, 512, 1.0))
        total = np.zeros_like(found.probability)
        for i in range(len(asked)):
            answers, masses = found.proofs.answer[:, i], found.proofs.log_mass[:, i]
            np.add.at(total[i], answers.reshape(-1), np.exp(masses.reshape(-1)))
            for d, place in zip(*np.nonzero(answers), strict=True):
                log_mass, trail, at = 0.0, found.proofs, place
                for depth in range(d, -1, -1):
                    log_mass += trail.log_prob[depth, i, at]
                    at, trail = trail.parent[depth, i, at], found.onward
                np.testing.assert_allclose(log_mass, masses[d, place], atol=1e-4)
                n_found += 1
        np.testing.assert_allclose(total[:, 1:], found.probability[:, 1:], atol=1e-5)
        for step in range(1, env.max_depth):  # the critic is asked for what the step before left open
            reached = found.onward.log_mass[step - 1] > -np.inf
            assert (found.value[step][reached] == step).all()
    assert n_found > 20


def as_steps(found: shortest_proofs.Found, i: int) -> tuple[dict[int, int], int, bool]:
    steps = {int(c): int(found.steps[i, c]) for c in np.flatnonzero(found.steps[i])}
    return steps, int(found.looked_at[i]), bool(found.given_up[i])


@pytest.mark.parametrize("seed", range(12))
def test_shortest_proofs_are_those_of_a_search_in_plain_python(seed: int) -> None:
    kb = random_kb(seed, n_facts=9)
    (env, params), twin = environment(kb, 4), Twin(kb, 4)
    queries = sorted({query for query, _ in questions(kb, seed)})
    asked = np.array(queries, np.int32)
    found = shortest_proofs.search(env, params, asked, 10**6)
    small = shortest_proofs.search(env, params, asked, 12)
    until = np.array([max(twin.steps(query), default=1) for query in queries])
    early = shortest_proofs.search(env, params, asked, 10**6, until)
    for i, query in enumerate(queries):
        assert as_steps(found, i)[0] == twin.steps(query)
        assert as_steps(found, i) == twin.breadth_first(query, 10**6)
        assert as_steps(small, i) == twin.breadth_first(query, 12)
        assert as_steps(early, i) == twin.breadth_first(query, 10**6, until[i])


def test_answers_are_ranked_by_their_shortest_proofs() -> None:
    """An answer is found in two steps (a rule, a fact), another in three, and a third only beyond the budget."""
    files = {
        "train.txt": "near(a,b). near(b,c). near(c,d). in(a,x). in(b,y). in(d,z).",
        "valid.txt": "in(d,y).",
        "test.txt": "at(a,x). at(a,y). at(a,z).",
        "rules.txt": "at(X,Y) :- in(X,Y).\nat(X,Y) :- near(X,Z), at(Z,Y).\n",
    }
    dataset = datasets.from_files("steps", files)
    env = answering.make(dataset, max_depth=9)
    queries, known = open_queries(dataset, "test"), known_answers(dataset, "test")
    queries = OpenQueries(*(x[queries.side == TAIL] for x in queries))
    ranked, given_up = shortest_proofs.rank(env, env.default_params, queries, known, 1_000)
    assert given_up == 0
    assert ranked.score.tolist() == [1 / 2, 1 / 4, 1 / 8]
    assert ranked.better.tolist() == [0, 0, 0] and ranked.tied.tolist() == [0, 0, 0]  # the known ones are filtered
    assert ranked.looked_at[0] < ranked.looked_at[1] < ranked.looked_at[2]
    budget = int(ranked.looked_at[1])
    fewer, given_up = shortest_proofs.rank(env, env.default_params, queries, known, budget)
    assert given_up == 1
    assert fewer.score.tolist() == [1 / 2, 1 / 4, 0.0]
    assert fewer.tied[2] == fewer.candidates[2] - 1 - fewer.better[2] > 0


def test_an_episode_ends_with_an_answer_and_pays_for_the_hidden_one_alone() -> None:
    kb = random_kb(1, n_facts=9)
    env, params = environment(kb, 4)
    env, known = replace(env, wrong_answer=0.5), {tuple(map(int, fact)) for fact in kb.facts}

    @jax.jit
    def run(key):
        def step(carry, key):
            observation, state = carry
            action_key, step_key = jax.random.split(key)
            action = jax.random.categorical(action_key, jnp.where(observation["action_mask"], 0.0, -jnp.inf))
            after = env.step(step_key, state, action, params)
            return (after.observation, after.state), (state, action, after)

        return jax.lax.scan(step, env.reset(key, params), jax.random.split(key, 400))[1]

    states, actions, steps = jax.device_get(run(jax.random.key(0)))
    seen = set()
    for state, action, reward, done in zip(
        [jax.tree.map(lambda x, t=t: x[t], states) for t in range(400)],
        actions,
        steps.reward,
        steps.terminated,
        strict=True,
    ):
        assert tuple(state.hidden.tolist()) in known
        open_side = 1 if state.query[1] == 0 else 2
        assert state.query[open_side] == 0 and state.query[3 - open_side] == state.hidden[3 - open_side]
        stuck = action == SIZES.max_successors
        answered = not stuck and state.complete[action]
        assert done == (stuck or answered or state.depth == 3)
        if answered:
            query = state.query.copy()
            query[open_side] = state.successors[1, 0, action]
            right, true = (query == state.hidden).all(), tuple(query.tolist()) in known
            assert reward == (1.0 if right else 0.0 if true else -0.5)
            seen.add((bool(right), true))
        else:
            assert reward == 0.0
    assert {(True, True), (False, False)} <= seen


def test_facts_of_a_hub_are_drawn_and_every_one_has_its_turn() -> None:
    facts = [("p", "a", f"c{i}") for i in range(40)] + [("q", f"c{i}", "z") for i in range(40)]
    files = {
        "train.txt": "".join(f"{p}({s},{t}).\n" for p, s, t in facts) + "r(a,z).\n",
        "valid.txt": "r(c0,z).\n",
        "test.txt": "r(c1,z).\n",
        "rules.txt": "r(X,Y) :- p(X,Z), q(Z,Y).\n",
    }
    env = answering.make(datasets.from_files("hub", files), max_successors=9)
    assert env.sizes.max_facts == 8
    assert env.widest_cut == 32
    query, hidden = jnp.array(env.dataset.queries["train"][0]).at[2].set(0), jnp.zeros(3, jnp.int32)
    begin = jax.jit(lambda salt: env.start(env.default_params, query, hidden, salt))
    onward = jax.jit(
        lambda state: env.advance(env.default_params, state, state.successors[:, :, env.sizes.max_facts].T)
    )
    bound = [onward(begin(jnp.uint32(salt))) for salt in range(60)]
    assert {tuple(state.dropped.tolist()) for state in bound} == {(0, 32)}
    assert {int(state.action_mask.sum()) for state in bound} == {8}
    assert len({int(c) for state in bound for c in state.action_constants[:8, 1]}) == 40
