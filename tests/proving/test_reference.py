"""The reference interpreter against examples worked by hand, and against the cheapest proof tree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from tests.proving.logic_programs import as_program, random_kb, random_queries
from tests.proving.reference import (
    FACT,
    PROVED,
    Action,
    Atom,
    Options,
    Program,
    actions,
    canonical,
    make_program,
    reachable_states,
    shortest_proof_depth,
    successors,
    unify,
)

# Countries in small: constants 1 a, 2 b, 3 c, 4 europe; predicates 1 neighbour, 2 located.
A, B, C, EUROPE = 1, 2, 3, 4
NEIGHBOUR, LOCATED = 1, 2
V1, V2, V3 = 5, 6, 7  # variables of a resolvent
X, Y, Z = -1, -2, -3  # variables of a rule
THROUGH_NEIGHBOUR = ((LOCATED, X, Y), ((NEIGHBOUR, X, Z), (LOCATED, Z, Y)))
COUNTRIES = make_program(
    4, [(NEIGHBOUR, B, C), (NEIGHBOUR, A, C), (NEIGHBOUR, A, B), (LOCATED, C, EUROPE)], [THROUGH_NEIGHBOUR]
)
QUERY = (LOCATED, A, EUROPE)


def test_a_rule_puts_its_body_in_front_under_the_substitution() -> None:
    kept, dropped = successors(COUNTRIES, (QUERY,), QUERY, 6)
    assert kept == [Action(2, (0, 0), ((NEIGHBOUR, A, V1), (LOCATED, V1, EUROPE)))]
    assert dropped == 0


def test_facts_come_in_index_order_bind_the_rest_and_delete_what_is_known() -> None:
    state = ((NEIGHBOUR, A, V1), (LOCATED, V1, EUROPE))
    kept, _ = successors(COUNTRIES, state, QUERY, 6)
    # b is not known to be in Europe and stays to be proved; c is, so nothing is left
    assert kept == [Action(FACT, (0, B), ((LOCATED, B, EUROPE),)), Action(FACT, (0, C), PROVED)]


def test_facts_matched_by_the_second_argument_are_ordered_by_the_first() -> None:
    kept, _ = successors(COUNTRIES, ((NEIGHBOUR, V1, C),), QUERY, 6)
    assert [action.constants for action in kept] == [(A, 0), (B, 0)]


def test_facts_come_before_rules() -> None:
    kept, _ = successors(COUNTRIES, ((LOCATED, V1, EUROPE),), QUERY, 6)
    assert kept == [
        Action(FACT, (C, 0), PROVED),
        Action(2, (0, 0), ((NEIGHBOUR, V1, V2), (LOCATED, V2, EUROPE))),
    ]


def test_the_root_query_is_no_fact_anywhere() -> None:
    root = (LOCATED, C, EUROPE)
    state = ((NEIGHBOUR, A, V1), (LOCATED, V1, EUROPE))
    assert [a.resolvent for a in successors(COUNTRIES, state, root, 6)[0]] == [
        ((LOCATED, B, EUROPE),),
        ((LOCATED, C, EUROPE),),  # not deleted
    ]
    assert [a.kind for a in successors(COUNTRIES, ((LOCATED, V1, EUROPE),), root, 6)[0]] == [2]  # not matched
    assert [a.kind for a in successors(COUNTRIES, (root,), root, 6)[0]] == [2]  # but a rule may prove it
    assert shortest_proof_depth(COUNTRIES, root, 20, 6) is None


def test_known_facts_are_deleted_from_a_rule_body_too() -> None:
    program = make_program(2, [(1, 1, 2)], [((2, X, Y), ((1, X, Y), (1, Y, X)))])
    assert successors(program, ((2, 1, 2),), (2, 1, 2), 6)[0] == [Action(2, (0, 0), ((1, 2, 1),))]


def test_successors_that_are_too_long_after_deletion_are_dropped_and_counted() -> None:
    state = (QUERY, (LOCATED, B, EUROPE))
    assert successors(COUNTRIES, state, QUERY, 2) == ([], 1)
    assert len(successors(COUNTRIES, state, QUERY, 3)[0][0].resolvent) == 3


def test_nothing_follows_a_proof() -> None:
    assert successors(COUNTRIES, PROVED, QUERY, 6) == ([], 0)


@pytest.mark.parametrize(
    ("head", "goal", "rest", "expected"),
    [
        # p(X,X) with p(v1,v2): the goal's two variables become one
        ((1, X, X), (1, V1, V2), (2, V1, V2), ((3, V1, V1), (2, V1, V1))),
        # p(X,X) with p(v1,b): the goal's variable becomes b, in the rest as well
        ((1, X, X), (1, V1, B), (2, V1, V2), ((3, B, B), (2, B, V1))),
        ((1, X, X), (1, B, V1), (2, V1, V2), ((3, B, B), (2, B, V1))),
        # p(X,X) with p(a,b) does not unify
        ((1, X, X), (1, A, B), (2, V1, V2), None),
        # p(a,X) with p(v1,v1): both the head's and the goal's variable become a
        ((1, A, X), (1, V1, V1), (2, V1, V2), ((3, A, A), (2, A, V1))),
        # p(X,a) with p(v1,v1): X and v1 meet first, then both become a
        ((1, X, A), (1, V1, V1), (2, V1, V2), ((3, A, A), (2, A, V1))),
        # p(a,X) with p(b,v1) does not unify
        ((1, A, X), (1, B, V1), (2, V1, V2), None),
        # p(a,b) with p(v1,v1) does not unify
        ((1, A, B), (1, V1, V1), (2, V1, V2), None),
        # p(X,Y) with p(v1,v1): the rule's two variables become one
        ((1, X, Y), (1, V1, V1), (2, V1, V2), ((3, V1, V1), (2, V1, V2))),
    ],
)
def test_head_unification(head: Atom, goal: Atom, rest: Atom, expected: tuple[Atom, ...] | None) -> None:
    body = (3, X, Y if head[2] == Y else X)
    program = make_program(4, [], [(head, (body,))])
    kept, _ = successors(program, (goal, rest), QUERY, 6)
    assert [action.resolvent for action in kept] == ([] if expected is None else [expected])


def test_a_goal_with_one_variable_twice_matches_facts_with_one_constant_twice() -> None:
    program = make_program(3, [(1, 1, 2), (1, 2, 2), (1, 3, 3)], [])
    kept, _ = successors(program, ((1, 4, 4), (2, 4, 5)), (2, 1, 1), 6)
    assert kept == [Action(FACT, (2, 2), ((2, 2, 4),)), Action(FACT, (3, 3), ((2, 3, 4),))]


def test_unify_returns_a_substitution_or_none() -> None:
    assert unify((1, X, A), (1, B, V1), 4) == {X: B, V1: A}
    assert unify((1, X, A), (2, B, V1), 4) is None


def test_canonical_numbers_variables_by_first_occurrence() -> None:
    assert canonical(((1, 9, 2), (1, -3, 9), (2, -3, 7)), 4) == ((1, 5, 2), (1, 6, 5), (2, 6, 7))


# A query with two proofs and a way back: b and c border each other, and c is in Europe and borders Europe's d (= b's
# own neighbour). From ((neighbour b V1)(located V1 europe)) the facts lead to a, to c (proved) and to d (proved).
LOOP = make_program(
    5,
    [(1, 1, 2), (1, 2, 1), (1, 2, 3), (1, 2, 4), (2, 3, 5), (2, 4, 5)],
    [((2, X, Y), ((1, X, Z), (2, Z, Y)))],
)
LOOP_QUERY = (2, 1, 5)
AT_B = ((1, 2, 6), (2, 6, 5))
LOOP_PATH = frozenset({(LOOP_QUERY,), ((1, 1, 6), (2, 6, 5)), ((2, 2, 5),), AT_B})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), ([False, True, False], False)),  # the first proof alone
        (Options(end_action=False), ([False, True, False], False)),
        (Options(collapse_proved=False), ([False, True, True], True)),  # back to a is pruned
        (Options(collapse_proved=False, end_action=False), ([False, True, True], False)),
        (Options(collapse_proved=False, prune_visited=False), ([True, True, True], True)),
    ],
)
def test_actions_where_a_proof_is_one_step_away(options: Options, expected: tuple[list[bool], bool]) -> None:
    candidates, valid, end = actions(LOOP, AT_B, LOOP_QUERY, LOOP_PATH, options)
    assert [action.resolvent for action in candidates] == [(LOOP_QUERY,), PROVED, PROVED]
    assert (valid, end) == expected


def test_end_is_always_there_where_nothing_else_is() -> None:
    dead_end = ((1, 3, 6), (2, 6, 5))
    assert actions(LOOP, dead_end, LOOP_QUERY, frozenset({dead_end}), Options(end_action=False)) == ([], [], True)
    # the one successor has been visited
    away = ((1, 1, 6), (2, 6, 5))
    visited = frozenset({away, ((2, 2, 5),)})
    _, valid, end = actions(LOOP, away, LOOP_QUERY, visited, Options(end_action=False))
    assert (valid, end) == ([False], True)


def test_shortest_proof_depth_counts_actions_up_to_the_limit() -> None:
    # the rule, then neighbour c; and around the loop: rule, neighbour b, rule, neighbour c
    assert shortest_proof_depth(COUNTRIES, QUERY, 20, 6) == 2
    assert shortest_proof_depth(LOOP, LOOP_QUERY, 20, 6) == 4
    assert shortest_proof_depth(LOOP, LOOP_QUERY, 4, 6) == 4
    assert shortest_proof_depth(LOOP, LOOP_QUERY, 3, 6) is None
    assert shortest_proof_depth(LOOP, LOOP_QUERY, 20, 1) is None


def test_reachable_states_are_distinct_unproved_and_nearest_first() -> None:
    states = reachable_states(LOOP, LOOP_QUERY, 20, 6)
    assert states[:3] == [(LOOP_QUERY,), ((1, 1, 6), (2, 6, 5)), ((2, 2, 5),)]
    assert states[3:] == [AT_B]
    assert reachable_states(LOOP, LOOP_QUERY, 20, 6, limit=2) == states[:2]


def ground_rules(program: Program) -> Iterator[tuple[tuple[Atom, tuple[Atom, ...]], ...]]:
    """Every rule with every assignment of constants to its variables: (clause, ground clause)."""
    for head, body in program.rules:
        variables = sorted({term for _, *terms in (head, *body) for term in terms if term < 0})
        for values in product(range(1, program.n_constants + 1), repeat=len(variables)):
            value = dict(zip(variables, values, strict=True))
            ground = [(p, value.get(s, s), value.get(t, t)) for p, s, t in (head, *body)]
            yield (head, body), (ground[0], tuple(ground[1:]))


def cheapest_proof(program: Program, query: Atom) -> float:
    """Actions of the shortest proof, from proof trees instead of resolvents: nothing is searched, only costs relaxed.

    A rule costs one action. A fact costs one where the goal had a variable left to bind when its turn came, and
    nothing where it was ground, for then it was deleted. What is bound when its turn comes is bound by the goal that
    called the rule or by the body atoms before, since a proved atom is ground. So a proof's cost is that of a tree
    whose nodes are ground atoms, each with the pattern of what its caller had bound.
    """
    patterns = [(True, True), (True, False), (False, True), (False, False)]
    cost: dict[tuple[Atom, tuple[bool, bool], bool], float] = {}
    for fact in program.known - {query}:
        for bound in patterns:
            for shared in (False, True):
                cost[fact, bound, shared] = 0 if all(bound) else 1
    instances = list(ground_rules(program))
    changed = True
    while changed:
        changed = False
        for ((head_clause, body_clause), (head, body)), bound, shared in product(instances, patterns, (False, True)):
            if shared and (any(bound) or head[1] != head[2]):
                continue
            known = {term for term, is_bound in zip(head_clause[1:], bound, strict=True) if is_bound or term > 0}
            # a goal p(V,V) makes the head's two terms one, so that binding either binds both
            same = set(head_clause[1:]) if shared else set()
            total = 1.0
            for clause_atom, atom in zip(body_clause, body, strict=True):
                if known & same or any(term > 0 for term in same):
                    known |= same
                first, second = (term > 0 or term in known for term in clause_atom[1:])
                one_variable = (
                    not first and not second and (clause_atom[1] == clause_atom[2] or set(clause_atom[1:]) <= same)
                )
                total += cost.get((atom, (first, second), one_variable), float("inf"))
                known |= set(clause_atom[1:])
            if total < cost.get((head, bound, shared), float("inf")):
                cost[head, bound, shared] = total
                changed = True
    return cost.get((query, (True, True), False), float("inf"))


def test_shortest_proof_depth_is_the_cost_of_the_cheapest_proof_tree() -> None:
    max_depth = 4
    depths = []
    for seed in range(25):
        kb = random_kb(seed, n_facts=10, max_variables=3)
        program = as_program(kb)
        for query in random_queries(kb, seed, 6):
            cheapest = cheapest_proof(program, query)
            depth = shortest_proof_depth(program, query, max_depth, max_atoms=1 + 2 * max_depth)  # nothing is dropped
            assert depth == (cheapest if cheapest <= max_depth else None), (seed, query)
            depths.append(depth)
    assert set(depths) >= {None, 1, 2, 3}
