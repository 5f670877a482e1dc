"""Reading rules and graphs in the notations of other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_jax.proving.datasets import Dataset, from_files, load
from ppo_jax.proving.knowledge_base import KnowledgeBase, Rule, parse
from ppo_jax.proving.rules.files import format_rules
from ppo_jax.types import PPOJaxError

GRAPH = "p(a,b).\np(b,c).\np(c,d).\ng(a,c).\ng(b,d).\n"
CHAIN = "g(X,Y) :- p(X,Z), p(Z,Y)"
TRIPLES = [("a", "p", "b"), ("b", "p", "c"), ("c", "p", "d"), ("a", "g", "c"), ("b", "g", "d")]


def read(rules: str | None = f"{CHAIN}.", graph: str = GRAPH, columns: str | None = None, **others: str) -> Dataset:
    """A data set of a graph and rules; `test_txt="..."` adds a file."""
    files = {"train.txt": graph, **{name.replace("_", "."): text for name, text in others.items()}}
    return from_files("d", files if rules is None else {**files, "rules.txt": rules}, "rules.txt", columns, False)


def rules_of(text: str, graph: str = GRAPH) -> list[str]:
    kb = read(text, graph).kb
    return [kb.format_rule(rule) for rule in kb.rules]


def confidences(text: str) -> list[float | None]:
    return [rule.confidence for rule in read(text).kb.rules]


def table(separator: str, order: str = "hrt", end: str = "") -> str:
    places = ["hrt".index(part) for part in order]
    return "".join(separator.join(row[place] for place in places) + end + "\n" for row in TRIPLES)


def all_facts(dataset: Dataset) -> set[str]:
    atoms = np.concatenate([dataset.kb.facts, dataset.queries["valid"], dataset.queries["test"]])
    return {dataset.kb.format_atom(atom) for atom in atoms}


FACTS = {f"{r}({h},{t})" for h, r, t in TRIPLES}


def complaint(rules: str | None = f"{CHAIN}.", **others: str) -> str:
    with pytest.raises(PPOJaxError) as error:
        read(rules, **others)
    assert "\n" not in str(error.value)
    return str(error.value)


# Rules


@pytest.mark.parametrize(
    "text",
    [
        "p(X,Z), p(Z,Y) -> g(X,Y)",
        "r:1:p(X,Z), p(Z,Y) -> g(X,Y)",
        "r:0.5:p(x,z), p(z,y) -> g(x,y)",
        "r: g(X,Y) :- p(X,Z), p(Z,Y)",
        "g(X,Y)\n    :- p(X,Z), p(Z,Y).",
        "g(X,Y) :- p(X,Z)\n  , p(Z,\n Y)",
        "g(X,Y) <- p(X,Z), p(Z,Y).",
        "g(X,Y) <= p(X,Z) and p(Z,Y)",
        "g(X,Y) ← p(X,Z) ∧ p(Z,Y)",
        "p(X,Z) & p(Z,Y) => g(X,Y)",
        "p(?x,?z) && p(?z,?y) → g(?x,?y)",
        "(p(X,Z), p(Z,Y)) -> g(X,Y).",
        "g(x,y) :- p(x,z), p(z,y).",
        ".decl p(x:symbol, y:symbol)\n.input p(IO=file)\n// comment\ng(x,y) :- p(x,z), p(z,y).\n.output g",
        "/* two\nlines */ g(X,Y) :- p(X,Z), % why\n p(Z,Y). # because",
        "'g'(X,Y) :- \"p\"(X,Z), 'p'(Z,Y).",
        "0.5::g(X,Y) :- p(X,Z), p(Z,Y).",
        "g(X,Y) :- p(X,Z), p(Z,Y) <20>",
        "1.5: p(X,Z) & p(Z,Y) -> g(X,Y) ^2",
        "5\t4\t0.8\tg(X,Y) <= p(X,A), p(A,Y)",
        "0.8\tg(A,B) <-- p(A,C), p(C,B)",
        "0.80 (4/5) g <-- p, p",
        "Log\nRule\tStd Confidence\tPCA Confidence\n?a  p  ?c  ?c  p  ?b   => ?a  g  ?b\t0.5\t0.7\t4\nEnd",
    ],
)
def test_every_notation_of_a_rule_means_the_same(text):
    assert rules_of(text) == [CHAIN]


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("0.5::g(X,Y) :- p(X,Y).", [0.5]),
        ("g(X,Y) :- p(X,Y) <0.3>", [0.3]),
        ("g(X,Y) :- p(X,Y) <20>", [None]),
        ("g(X,Y) :- p(X,Y)\t0.25", [0.25]),
        ("r\t0.5\tp(X,Y) -> g(X,Y)", [0.5]),
        ("r1:0.7:p(X,Y) -> g(X,Y)\nr2:1:p(Y,X) -> g(X,Y)", [0.7, 1.0]),
        ("r1:1:p(X,Y) -> g(X,Y)\nr2:1:p(Y,X) -> g(X,Y)", [None, None]),
        ("r1:0.7:p(X,Y) -> g(X,Y)\nr2:20:p(Y,X) -> g(X,Y)", [None, None]),
        ("10\t8\t0.8\tg(X,Y) <= p(Y,X)\n10\t9\t0.9\tg(X,Y) <= ", [0.8]),
        ("0.9 (0.1)\tg(C, A) <-- p(B, A), p(C, B)", [0.9]),
        ("?a  p  ?b   => ?a  g  ?b\t0.9\t0.8\t0.75\t4\t5\t5\t?a", [0.75]),
        ("Rule\tPCA Confidence\n?a  p  ?b   => ?a  g  ?b\t0.6", [0.6]),
    ],
)
def test_confidences_are_those_the_file_states_in_0_1(text, stated):
    assert confidences(text) == stated


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("g(X,Y) :- p(X,Y). g(X,Y) :- p(Y,X).", ["g(X,Y) :- p(X,Y)", "g(X,Y) :- p(Y,X)"]),
        ("g(X,Y) :- p(X,Y) ; p(Y,X).", ["g(X,Y) :- p(X,Y)", "g(X,Y) :- p(Y,X)"]),
        ("p(X,Y) -> g(X,Y), g(Y,X)", ["g(X,Y) :- p(X,Y)", "g(X,Y) :- p(Y,X)"]),
        ("g(a,Y) :- p('b',Y).", ["g(a,X) :- p(b,X)"]),
        ("9\t8\t0.8\tg(X,b) <= p(X,A)", ["g(X,b) :- p(X,Y)"]),
        ("9\t8\t0.8\tg(X,me_myself_i) <= p(X,A)", ["g(X,X) :- p(X,Y)"]),
        ("0.8\tg(A,B) <-- p(A,C), inv_p(B,C)", [CHAIN]),
        ("0.8 g <-- p, inv_p", ["g(X,Y) :- p(X,Z), p(Y,Z)"]),
        ("?a  p  a   => ?a  g  b\t0.9\t0.8\t0.7", ["g(X,b) :- p(X,a)"]),
    ],
)
def test_what_a_rule_file_holds(text, rules):
    assert rules_of(text) == rules


def test_names_may_hold_any_sign_in_quotes_and_several_words_as_predicates():
    graph = "New York\tpart of\tUSA (country)\nUSA (country)\thas, or had\tNew York\n"
    rules = "'has, or had'(X,'New York') :- 'part of'('New York',X).\npart of(X,Y) :- 'has, or had'(Y,X)."
    assert rules_of(rules, graph) == [
        "has, or had(X,New York) :- part of(New York,X)",
        "part of(X,Y) :- has, or had(Y,X)",
    ]
    assert all_facts(read(None, "p('O\\'Brien',\"it's\").\np('a,b','(c)').")) == {"p(O'Brien,it's)", "p(a,b,(c))"}


def test_a_line_of_anyburl_may_hold_names_with_commas_and_parentheses():
    graph = "Paris (Texas), US\tin\tUSA\nUSA\thas\tParis (Texas), US\n"
    assert rules_of("9\t8\t0.8\thas(X,Paris (Texas), US) <= in(Paris (Texas), US,X)", graph) == [
        "has(X,Paris (Texas), US) :- in(Paris (Texas), US,X)"
    ]


@pytest.mark.parametrize("sign", ["X != Y", "X \\= Y", "X \\== Y", "dif(X,Y)", "X ≠ Y"])
def test_inequalities_are_kept(sign):
    dataset = read(f"g(X,Y) :- p(Z,X), p(Z,Y), {sign}.")
    assert dataset.kb.rules[0].different == ((-1, -2),)
    assert dataset.kb.format_rule(dataset.kb.rules[0]) == "g(X,Y) :- p(Z,X), p(Z,Y), X != Y"
    with_constant = read(f"g(X,Y) :- p(Z,X), p(Z,Y), {sign.replace('Y', 'b')}.")
    assert with_constant.kb.rules[0].different == ((-1, 2),)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("g(X,Y) :- p(X,Y), \\+ g(Y,X).", "negation"),
        ("g(X,Y) :- p(X,Y), not(g(Y,X)).", "negation"),
        ("g(X,Y) :- p(X,Y), not g(Y,X).", "negation"),
        ("g(X,Y) :- p(X,Y), !g(Y,X).", "negation"),
        ("g(X,Y) :- p(X,Z), !, p(Z,Y).", "cut"),
        ("g(X,Y) :- p(X,[Y|T]).", "list"),
        ("g(X,Y) :- p(f(X),Y).", "function symbol f"),
        ("g(X,Y) :- p(X,Z, q(Z,Y).", "a bracket before q is not closed"),
        ("g(X,Y) :- p(X,Y), X < Y.", "arithmetic or comparison by '<'"),
        ("g(X,Y) :- p(X,Y), X>Y.", "arithmetic or comparison by '>'"),
        ("g(X,Y) :- p(X,Z), Y is Z+1.", "arithmetic"),
        ("g(X,Y) :- p(X,Z-1), p(Z,Y).", "arithmetic Z-1"),
        ("g(X,Y) :- p(X,Z), (p(Z,Y) ; p(Y,Z)).", "alternatives"),
        ("g(X,Y) <-> p(X,Y).", "equivalence"),
        ("g(X,Y), g(Y,X) :- p(X,Y).", "more than one head"),
        ("g(X,Y) :- p(X,Y,Z).", "split it into binary"),
        ("g(X,Y) :- p(New York,Y), p(X,Y).", "in quotes"),
        ("g(X,b2) :- p(X,Y), X != W.", "variable W of an inequality"),
        ("/* open", "close it"),
        ("9\t8\tx\tg(X,Y) <= p(X,Y)", "cannot read"),
        ("9\t8\t0.5\tg(X) <= p(X,Y)", "cannot read the atom"),
        ("?a  p  ?b  ?c   => ?a  g  ?b\t1\t1\t1", "triples"),
        ("?a  p  ?b   => ?a  g  ?b\t1\t1\tx", "PCA"),
    ],
)
def test_what_rules_cannot_express_is_named(rule, reason):
    message = complaint(rule)
    assert message.startswith("rules.txt:1: ")
    assert reason in message


@pytest.mark.parametrize(
    ("rules", "warning"),
    [
        (f"{CHAIN}. {CHAIN}.", "rules that repeat others: 1"),
        ("g(X,b) :- p(X,bbb).", "the constant 'bbb' of a rule is in no fact"),
        ("p(X,bbb) -> g(X,b)", "'bbb' is in no fact, so the rule reads it as a variable"),
        ("r:1:p(a,z), p(z,y) -> g(a,y)", "a is a constant of the facts"),
        ("g(x,y) :- p(x,y).", "no name starts with a capital, so x, y"),
        ("g(X,Y) :- p(X,Y), q(X).", "predicates of one argument are read as p(a,a): q"),
        ("g(X,Y) :- p(X,Y), q(X).", "the predicate q has no facts"),
    ],
)
def test_what_is_odd_about_rules_is_a_warning(rules, warning):
    assert any(warning in one for one in read(rules).warnings)


def test_of_many_odd_names_a_few_are_told():
    rules = "\n".join(f"g(X,unknown{k}) :- p(X,unknown{k})." for k in range(9)) + "\ng(X,unknown0) :- p(unknown0,X)."
    told = [one for one in read(rules).warnings if "in no fact" in one]
    assert [one.partition(":")[2][:2] for one in told[:-1]] == [f"{k + 1}:" for k in range(5)]
    assert told[-1] == "constants of rules that are in no fact: 9 in all"


def test_a_capital_constant_needs_quotes_or_a_declaration():
    graph = "p(Rome,Italy).\ng(Rome,Rome).\n"
    assert any("write 'Rome' in single quotes" in one for one in read("g(Rome,Rome) :- p(Rome,X).", graph).warnings)
    assert "write 'Rome' in single quotes" in complaint("g(X,Rome) :- p(X,Y).", graph=graph)
    assert rules_of("g(X,'Rome') :- p(X,'Italy').", graph) == ["g(X,Rome) :- p(X,Italy)"]
    declared = read("g(X,Rome) :- p(X,Italy).", graph, domain2constants_txt="all Rome Italy")
    assert declared.kb.format_rule(declared.kb.rules[0]) == "g(X,Rome) :- p(X,Italy)"


def test_ids_of_rnnlogic_with_inverses():
    files = {"train.txt": table("\t"), "relations.dict": "0\tp\n1\tg\n", "mined_rules.txt": "1 0 0\n3 2 2 0.5\n"}
    kb = from_files("d", files).kb
    assert [kb.format_rule(rule) for rule in kb.rules] == [CHAIN, "g(X,Y) :- p(Z,Y), p(X,Z)"]
    assert [rule.confidence for rule in kb.rules] == [None, 0.5]
    with pytest.raises(PPOJaxError, match=r"mined_rules\.txt:1: .*'9' is no id"):
        from_files("d", {**files, "mined_rules.txt": "1 0 9\n"})


NAMES = st.text("abX Y(),.'\"\\:->=!?%#<&;[]~/_0", min_size=1, max_size=5).filter(lambda name: name == name.strip())


@settings(max_examples=150)
@given(st.lists(NAMES, min_size=2, max_size=2, unique=True), st.lists(NAMES, min_size=3, max_size=3, unique=True))
def test_rules_that_were_written_are_read_back(predicates, constants):
    p, q = predicates
    facts = np.array([[1, 1, 2], [2, 2, 3]], np.int32)
    bodies = [((1, -1, 1), (2, 1, -2)), ((1, -1, -3), (2, -3, -2)), ((1, -1, 2), (2, 3, -2))]
    rules = tuple(Rule(f"r{i}", (2, -1, -2), body, "", 0.5, ((-1, -2), (-1, 3))) for i, body in enumerate(bodies))
    kb = KnowledgeBase((p, q), tuple(constants), facts, rules)

    def quoted(name: str) -> str:
        return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"

    known = "".join(
        f"{quoted(kb.predicates[f[0] - 1])}({quoted(constants[f[1] - 1])},{quoted(constants[f[2] - 1])}).\n"
        for f in facts.tolist()
    )
    again = parse(known + format_rules(rules, kb))
    assert [(r.name, r.head, r.body, r.confidence, r.different) for r in again.rules] == [
        (r.name, r.head, r.body, r.confidence, r.different) for r in rules
    ]


# Graphs


@pytest.mark.parametrize(
    "graph",
    [
        GRAPH,
        GRAPH.replace("\n", " "),
        GRAPH.replace("\n", "\r"),
        GRAPH.replace(".\n", "\r\n"),
        GRAPH.replace("a,", "'a',").replace("c)", '"c")'),
        table("\t"),
        table("\t", end="\t."),
        table("\t", end="\t"),
        table("\t", end="\t1"),
        table("\t", end="\t0.5") + "",
        table(" "),
        table(" ", "rht"),
        table(" ", "htr"),
        table(","),
        table(";"),
        "head\trelation\ttail\n" + table("\t"),
        "s,p,o\n" + table(","),
        "Relation,Head,Tail\n" + table(",", "rht"),
        "subject,predicate,object,weight\n" + table(",", end=",0.5"),
        ",head,relation,tail\n" + "".join(f"{i},{','.join(row)}\n" for i, row in enumerate(TRIPLES)),
        "".join(f'"{h}", "{r}", "{t}"\n' for h, r, t in TRIPLES),
        table("\t", end="\t1") + "a\tg\td\t0\n",
        table("\t", end="\t1") + "a\tg\td\t-1\n",
        "".join(f"0.{i + 1}::{r}({h},{t}).\n" for i, (h, r, t) in enumerate(TRIPLES)),
        "/* graph */\n// of letters\n" + GRAPH,
    ],
)
def test_every_notation_of_a_graph_means_the_same(graph):
    dataset = read(graph=graph)
    assert all_facts(dataset) == FACTS
    assert [dataset.kb.format_rule(rule) for rule in dataset.kb.rules] == [CHAIN]


@pytest.mark.parametrize(
    ("graph", "warning"),
    [
        ("head\trelation\ttail\n" + table("\t"), "train.txt:1: the line is taken for a header"),
        (table("\t", end="\t0.5"), "read as a weight"),
        (table("\t", end="\t1") + "a\tg\td\t0\n", "read as a label; triples that do not hold, left out: 1"),
        (table("\t") + "#x\tp\ta\n", "train.txt:6: lines of three columns that start with % or #"),
        (table(" ", "rht"), "look like relation first and are read so"),
        ("0.5::p(a,b).\n" + GRAPH, "facts with a weight"),
        (GRAPH + "q(a).\n", "predicates of one argument"),
        (":- set(i,2).\n:- modeh(1,g(+x,-y)).\nload(a,b,3).\n" + GRAPH, "more than two arguments (load), left out: 1"),
        ("a :- Pos = [g(a,b)], learn(Pos,[]).\nmetarule([P,Q],[P,A],[[Q,A]]).\n" + GRAPH, "tasks of a learner"),
        ("pos(g(a,d)).\nneg(g(d,a)).\n" + GRAPH, "examples that do not hold, left out: 1"),
    ],
)
def test_what_was_read_otherwise_is_said(graph, warning):
    assert any(warning in one for one in read(graph=graph).warnings)


@pytest.mark.parametrize(
    ("graph", "parts"),
    [
        (table("\t") + "a\tp\t\n", ["train.txt:6", "tail is empty"]),
        (table("\t") + "a\t\tb\n", ["train.txt:6", "relation is empty"]),
        (table("\t") + "a\tb\n", ["train.txt:6", "2 columns"]),
        (table("\t", end="\t2014-01-01"), ["train.txt:1", "fourth", "remove it"]),
        (table("\t", end="\t1\t2"), ["train.txt:1", "5 columns"]),
        (",head,relation,tail\na,p,b\n", ["train.txt:1"]),
        (table("\t", "rht"), ["train.txt:1", "relation first", 'columns = "rht"']),
        (table(",", "htr"), ["train.txt:1", "relation last", 'columns = "htr"']),
        (GRAPH + "q(a,b,c).\n", ["train.txt:6", "q has 3 arguments", "binary"]),
        (GRAPH + "q(a,[b,c]).\n", ["train.txt:6", "list"]),
        (GRAPH + "q(a,f(b)).\n", ["train.txt:6", "function symbol"]),
        ('{"head": "a", "relation": "p", "tail": "b"}\n', ["train.txt:1", "cannot read"]),
        ("", ["train.txt:1", "no facts"]),
    ],
)
def test_a_line_of_a_graph_that_cannot_be_read_is_named(graph, parts):
    message = complaint(graph=graph)
    assert all(part in message for part in parts)


@pytest.mark.parametrize("order", ["rht", "htr", "hrt"])
def test_the_order_of_columns_can_be_named(order):
    assert all_facts(read(graph=table("\t", order), columns=order)) == FACTS
    with pytest.raises(PPOJaxError, match="take one of hrt, rht, htr"):
        read(columns="thr")


@pytest.mark.parametrize(
    ("order", "graph", "remedy"),
    [
        ("htr", table("\t"), "column 3 there; write the columns of both files in one order (that of train.txt is hrt)"),
        ("rht", "relation\thead\ttail\n" + table("\t", "rht"), 'column 1 there; say so with columns = "rht"'),
    ],
)
def test_queries_whose_columns_are_in_another_order_are_refused(order, graph, remedy):
    message = complaint(graph=graph, test_txt=table("\t", order))
    assert message == f"test.txt:1: no relation of test.txt occurs in train.txt, whose relations stand in {remedy}"


def test_queries_of_relations_that_nothing_knows_are_said():
    assert "no relation of test.txt occurs in train.txt" in read(test_txt="a\tlikes\td\n").warnings
    assert not any("no relation" in one for one in read(test_txt="a\tlikes\td\na\tp\td\n").warnings)


def test_n_triples_and_turtle():
    start = "http://e.org/"
    lines = "".join(f"<{start}{h}> <{start}{r}> <{start}{t}> .\n" for h, r, t in TRIPLES)
    turtle = "@prefix e: <http://e.org/> .\ne:a e:p e:b ; e:g e:c .\ne:b e:p e:c ; e:g e:d . e:c e:p e:d .\n"
    rule = f"{start}g(X,Y) :- {start}p(X,Z), {start}p(Z,Y)"
    for graph in (
        lines,
        turtle,
        lines.replace(" .", " <http://e.org/graph> ."),
        lines.replace(" <", "\t<").replace(" .", ""),
    ):
        for rules in (CHAIN, "<http://e.org/g>(X,Y) :- <http://e.org/p>(X,Z), <http://e.org/p>(Z,Y)."):
            dataset = read(rules, graph)
            assert len(all_facts(dataset)) == 5
            assert dataset.kb.format_rule(dataset.kb.rules[0]) == rule
    literal = read(None, f'<{start}a> <{start}p> "b. c"@en .\n_:x <{start}p> <{start}a> .\n')
    assert set(literal.kb.constants) == {f"{start}a", '"b. c"@en', "_:x"}
    for bad in ("e:a e:p [ e:q e:b ] .", "e:a f:p e:b .", "e:a e:p .", "e:a e:p e:b"):
        message = complaint(None, graph=f"@prefix e: <http://e.org/> .\n{bad}\n")
        assert message.startswith("train.txt:2: ")
        assert "riot" in message


def test_ids_of_openke():
    names = {"entity2id.txt": "4\na\t0\nb\t1\nc\t2\nd\t3\n", "relation2id.txt": "2\np\t0\ng\t1\n"}
    last = "5\n0 1 0\n1 2 0\n2 3 0\n0 2 1\n1 3 1\n"
    middle = "5\n0 0 1\n1 0 2\n2 0 3\n0 1 2\n1 1 3\n"
    for triples in (last, middle):
        dataset = from_files("d", {**names, "train2id.txt": triples}, require_rules=False)
        assert all_facts(dataset) == FACTS
    with pytest.raises(PPOJaxError, match=r"train2id\.txt:2: .*the id 9 is not in entity2id\.txt"):
        from_files("d", {**names, "train2id.txt": "1\n9 0 0\n"}, require_rules=False)
    with pytest.raises(PPOJaxError, match=r"train2id\.txt:1: .*put entity2id\.txt"):
        from_files("d", {"train2id.txt": last, "relation2id.txt": names["relation2id.txt"]}, require_rules=False)


# What is missing


def test_queries_to_select_by_are_split_off_always_the_same():
    graph = "".join(f"p(a{i},b{i}).\ng(a{i},b{i}).\n" for i in range(40))
    dataset, again = read("g(X,Y) :- p(X,Y).", graph), read("g(X,Y) :- p(X,Y).", graph)
    assert {split: len(rows) for split, rows in dataset.queries.items()} == {"train": 36, "valid": 4, "test": 0}
    np.testing.assert_array_equal(dataset.queries["valid"], again.queries["valid"])
    assert len(dataset.kb.facts) == 76
    assert any("4 of 40 training queries are split off" in one for one in dataset.warnings)
    assert any("`ppo-jax train` does not begin: move some lines of train.txt" in one for one in dataset.warnings)


def test_without_rules_all_training_facts_are_queries():
    for rules in (None, "", "% none\n"):
        dataset = read(rules, valid_txt="g(a,c).", test_txt="g(b,d).")
        assert dataset.kb.rules == ()
        assert len(dataset.queries["train"]) == 3
        assert "no rules: they will be mined from the training facts" in dataset.warnings
        assert dataset.corrupt == "both"


def test_queries_are_derived_where_no_fact_has_the_predicate_of_a_head():
    dataset = read("h(X,Y) :- p(X,Y).\nh(X,Y) :- p(X,Z), h(Z,Y).", test_txt="h(a,c).")
    derived = {dataset.kb.format_atom(atom) for split in ("train", "valid") for atom in dataset.queries[split]}
    assert derived == {"h(a,b)", "h(b,c)", "h(c,d)", "h(b,d)", "h(a,d)"}
    assert any("what the rules derive: 5" in one for one in dataset.warnings)
    only_test = read("h(X,Y) :- p(X,Z), p(Z,W), p(W,Y).", test_txt="h(a,d).")
    assert any("those of test: 1" in one for one in only_test.warnings)


def test_examples_of_learners_are_queries():
    files = {"bk.pl": GRAPH, "exs.pl": "pos(h(a,c)).\nneg(h(a,b)).\n"}
    with_rules = from_files("d", {**files, "rules.txt": "h(X,Y) :- p(X,Z), p(Z,Y)."})
    assert len(with_rules.queries["test"]) == 1
    without = from_files("d", files, require_rules=False)
    assert "h(a,c)" in all_facts(without)
    for test in ("pos(g(a,c)).", "query(g(a,c)).", "?- g(a,c).", "g(a,c) 2", "g(a,c).\n:- g(c,a)."):
        assert len(read(test_txt=test).queries["test"]) == 1


def test_constants_that_only_queries_name_are_a_warning():
    dataset = read(test_txt="g(a,zed).")
    assert dataset.kb.constants[-1] == "zed"
    assert any("test.txt:1: 'g(a,zed)' names the constant 'zed'" in one for one in dataset.warnings)


def test_files_may_end_otherwise(tmp_path):
    (tmp_path / "train.csv").write_text("head,relation,tail\n" + table(","))
    (tmp_path / "test.tsv").write_text("a\tg\td\n")
    dataset = load(tmp_path, require_rules=False)
    assert all_facts(dataset) == FACTS | {"g(a,d)"}


# Folders as people have them

REFUSED = [
    "dpl_clutrr",
    "m_compound",
    "m_cut",
    "m_empty_train",
    "m_latin1",
    "m_list",
    "m_neg",
    "m_not",
    "m_rule_fact",
    "m_rule_head_only",
    "m_ternary",
    "m_tsv_empty_field",
    "m_tsv_relfirst",
    "m_upper_all_in_train",
    "m_upper_const_in_rule",
    "m_utf16",
    "popper_amine",
]


def test_folders_as_people_have_them(shared_data: Path):
    cases = shared_data.parent / "cases" / "graphs"
    if not cases.is_dir():
        pytest.skip(f"no folders at {cases}")
    refused = []
    for folder in sorted(cases.iterdir()):
        if folder.is_dir():
            try:
                load(folder, require_rules=False)
            except PPOJaxError as error:
                refused.append(folder.name)
                assert "\n" not in str(error)
    assert refused == REFUSED


def test_a_quote_that_nothing_closes_before_megabytes_is_one_line():
    graph = 'head,relation,tail\na,p,b\n"' + "x" * 200_000 + ",p,c\n"
    assert "train.txt:3: '\"xxxx" in (said := complaint(None, graph=graph)) and len(said) < 400
