"""Parsing of facts, rules and queries."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_jax.proving.knowledge_base import KnowledgeBase, build, parse, parse_statements, underivable_predicates
from ppo_jax.types import PPOJaxError

FACTS = "neighborOf(bulgaria,greece).\nlocatedInCR(greece,europe).\n"
NAMES = st.text("abcXYZ_019-.:'é", min_size=1, max_size=6).filter(lambda name: name[0] != "'" and "::" not in name)


def fact_texts(kb: KnowledgeBase) -> list[str]:
    return [kb.format_atom(fact) for fact in kb.facts]


def test_ids_go_by_first_appearance_in_facts_then_constants_then_rules_then_predicates():
    statements = parse_statements("q(b,a).\np(a,c).\nr(X,y1) :- p(X,Z).\n", "kb.pl")
    kb = build([statements], constants=["d", "a"], predicates=["s", "p"])
    assert kb.predicates == ("q", "p", "r", "s")
    assert kb.constants == ("b", "a", "c", "d", "y1")
    assert kb.facts.tolist() == [[1, 1, 2], [2, 2, 3]]
    assert kb.facts.dtype.name == "int32"
    rule = kb.rules[0]
    assert (rule.head, rule.body, rule.source) == ((3, -1, 5), ((2, -1, -2),), "kb.pl:3")


@pytest.mark.parametrize(
    "rule",
    [
        "locatedInCR(X,Z) :- neighborOf(X,Y), locatedInCR(Y,Z).",
        "locatedInCR(X,Z):-neighborOf(X,Y),locatedInCR(Y,Z)",
        "locatedInCR( X , Z ) :-  % a comment\n   neighborOf(X,_Y),\n\n   # another\n   locatedInCR(_Y,Z).",
        "r1:0.5:neighborOf(X,Y), locatedInCR(Y,Z) -> locatedInCR(X,Z)",
        "r1:1:neighborOf(x,y) , locatedInCR(y,z)->locatedInCR(x,z).",
    ],
)
def test_every_notation_of_a_rule_means_the_same(rule):
    kb = parse(f"{FACTS}\n{rule}")
    assert [(r.head, r.body) for r in kb.rules] == [((2, -1, -2), ((1, -1, -3), (2, -3, -2)))]
    assert kb.rules[0].source == "text:4"
    assert kb.format_rule(kb.rules[0]) == "locatedInCR(X,Y) :- neighborOf(X,Z), locatedInCR(Z,Y)"


@pytest.mark.parametrize(
    "text",
    [
        "p(a,b).\nq(b,c).",
        "\ufeffp(a,b)\r\nq(b,c)\r\n",
        "% facts\n  p ( a , b ) .  \n\n# more\nq(b,c). % the second\np(a,b).",
        "a\tp\tb\nb\tq\tc\n",
        "p(a,b)\nb\tq\tc",
    ],
)
def test_every_notation_of_a_fact_means_the_same_and_repetitions_are_dropped(text):
    assert fact_texts(parse(text)) == ["p(a,b)", "q(b,c)"]


def test_names_keep_digits_hyphens_and_capitals():
    text = "hypernym(00260881,00260622).\nco-occurs_with(Amino_Acid,b.c/d).\n1369\taunt\t1287"
    assert fact_texts(parse(text)) == [
        "hypernym(00260881,00260622)",
        "co-occurs_with(Amino_Acid,b.c/d)",
        "aunt(1369,1287)",
    ]


def test_triples_may_hold_commas_blanks_and_parentheses():
    kb = parse("Riverside,_California\tlocatedIn\tNew York (state)")
    text = fact_texts(kb)[0]
    assert kb.parse_atom(text) == tuple(kb.facts[0])


def test_a_name_in_an_arrow_rule_is_a_constant_exactly_if_a_fact_knows_it():
    kb = parse("n:1:p(x,a), p(x,B) -> q(x,a)\np(a,B).")
    assert kb.rules[0].head[1:] == (-1, 1)
    assert [atom[1:] for atom in kb.rules[0].body] == [(-1, 1), (-1, 2)]


def test_a_constant_of_a_clause_joins_the_vocabulary_and_each_underscore_is_its_own_variable():
    kb = parse("p(a,b).\nq(X,new) :- p(X,_), p(_,X).")
    assert kb.constants == ("a", "b", "new")
    assert kb.rules[0].head[1:] == (-1, 3)
    assert [atom[1:] for atom in kb.rules[0].body] == [(-1, -2), (-3, -1)]


def test_variables_print_as_letters_then_numbers_also_those_of_a_resolvent():
    kb = parse("p(a,b).")
    assert [kb.format_atom((1, -i, 1)) for i in range(1, 7)] == [f"p({v},a)" for v in ("X", "Y", "Z", "W", "V5", "V6")]
    assert kb.format_atom((1, 2, 2 + 5)) == "p(b,V5)"


@pytest.mark.parametrize("text", ["neighborOf(bulgaria,greece)", " neighborOf( bulgaria , greece ) . "])
def test_parse_atom(text):
    assert parse(FACTS).parse_atom(text) == (1, 1, 2)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("neighbourOf(bulgaria,greece)", ["unknown predicate 'neighbourOf'", "nearest known is 'neighborOf'"]),
        ("neighborOf(bulgaria,grece)", ["unknown constant 'grece'", "nearest known is 'greece'"]),
        ("neighborOf(bulgaria)", ["1 argument"]),
        ("neighborOf(bulgaria,greece,europe)", ["3 arguments"]),
        ("bulgaria", ["is not a ground atom"]),
        ("", ["is not a ground atom"]),
    ],
)
def test_parse_atom_says_what_is_wrong_with_a_query(text, parts):
    with pytest.raises(PPOJaxError) as error:
        parse(FACTS).parse_atom(text, "test.txt:7")
    assert all(part in str(error.value) for part in ["test.txt:7: ", f"'{text}'", *parts])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("p(a,b", "cannot read"),
        ("nonsense", "cannot read"),
        ("p(a,b) q(c,d).", "cannot read"),
        ("a\tb", "cannot read"),
        ("a\tb\tc\td", "cannot read"),
        ("p(a,b,c).", "p has 3 arguments;"),
        ("p(X,Y) :- .", "cannot read"),
        (":- p(X,Y).", "cannot read"),
        ("p(X,Y) :- q(X,Y), not r(X,Y).", "negation is not supported"),
        ("p(X,Y) :-", "breaks off"),
        ("p(X,Y) :- q(X,Y),", "breaks off"),
        ("r1:heavy:q(X,Y) -> p(X,Y)", "a number as weight"),
        ("r1:1: -> p(X,Y)", "cannot read"),
        ("p(X,Z) :- q(X,Y).", "head variable Z"),
        ("r1:1:q(x,y) -> p(x,c)", "head variable c"),
        ("p(X,X2) :- q(X,a).", "head variable X2"),
    ],
)
def test_a_malformed_line_is_named_with_its_place_and_text(line, reason):
    with pytest.raises(PPOJaxError) as error:
        parse(f"q(a,b).\n% comment\n{line}", "folder/rules.txt")
    message = str(error.value)
    assert message.startswith("folder/rules.txt:3: ")
    assert " ".join(line.split()) in message
    assert reason in message
    assert "\n" not in message


def test_beside_clauses_a_fact_with_a_capital_is_refused_because_it_would_be_a_variable():
    assert fact_texts(parse("p(A,_b).")) == ["p(A,_b)"]
    with pytest.raises(PPOJaxError, match=r"^kb\.pl:1: 'p\(A,b\)\.' is a fact with a variable"):
        parse("p(A,b).\nq(X,Y) :- p(X,Y).", "kb.pl")


def test_a_long_line_is_shortened_in_the_message():
    with pytest.raises(PPOJaxError) as error:
        parse("x" * 10_000)
    assert len(str(error.value)) < 300


def test_underivable_predicates_are_those_no_facts_and_no_grounded_rule_can_reach():
    kb = parse(
        "p(a,b).\n"
        "derived(X,Y) :- p(X,Y).\n"
        "loop(X,Y) :- loop(Y,X).\n"  # heads a rule, but only from itself
        "q(X,Y) :- derived(X,Y), missing(X,Y).\n"
        "r(X,Y) :- q(X,Y), missing(X,Y)."
    )
    found = {kb.predicates[predicate - 1]: rule.source for predicate, rule in underivable_predicates(kb).items()}
    assert found == {"loop": "text:3", "missing": "text:4", "q": "text:5"}


@settings(max_examples=60)
@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=6))
def test_formatted_facts_parse_back_to_themselves(triples):
    kb = parse("\n".join(f"{predicate}({a},{b})." for predicate, a, b in triples))
    assert fact_texts(kb) == [f"{predicate}({a},{b})" for predicate, a, b in dict.fromkeys(triples)]
    assert all(kb.parse_atom(text) == tuple(fact) for text, fact in zip(fact_texts(kb), kb.facts, strict=True))
    again = parse("\n".join(fact_texts(kb)))
    assert (again.predicates, again.constants) == (kb.predicates, kb.constants)


PIECES = st.sampled_from(
    ["p", "q(", "X", "a", ",", ")", "(", ".", " ", "\t", "\n", ":-", "->", "r:1:", "%", "p(a,b)", "_", "p(X,Y)"]
)


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=15).map("".join)))
def test_arbitrary_text_parses_or_raises_one_clear_line(text):
    try:
        kb = parse(text)
    except PPOJaxError as error:
        assert str(error).startswith("text:")
        assert "\n" not in str(error)
    else:
        assert all(kb.format_rule(rule) for rule in kb.rules)
    try:
        parse(FACTS).parse_atom(text)
    except PPOJaxError as error:
        assert str(error).startswith("query: ")
