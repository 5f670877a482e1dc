"""Rules and graphs as other tools write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving.knowledge_base import KnowledgeBase, build, parse, parse_statements
from ppo_jax.proving.rules.files import format_rules
from ppo_jax.types import PPOJaxError

GRAND = "gp(X,Y) :- parent(X,Z), parent(Z,Y)"
FACTS = "parent(ann,bob).\nparent(bob,cid).\nparent(cid,dan).\ngp(ann,cid).\ngp(bob,dan).\n"


def facts(kb: KnowledgeBase) -> list[str]:
    return [kb.format_atom(fact) for fact in kb.facts]


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("gp(X,Y) :- parent(X,Z), parent(Z,Y).", None),
        ("gp(X,Y) <- parent(X,Z), parent(Z,Y).", None),
        ("gp(X,Y)\n   :- parent(X,\n Z)\n  , parent(Z,Y).", None),
        ("gp(X,Y) :- parent(X,Z), parent(Z,Y) <20>", None),
        ("0.7::gp(X,Y) :- parent(X,Z), parent(Z,Y).", 0.7),
        ("parent(X,Z) & parent(Z,Y) => gp(X,Y)", None),
        ("parent(X,Z), parent(Z,Y) -> gp(X,Y)", None),
        ("r1:0.25:parent(X,Z), parent(Z,Y) -> gp(X,Y)", 0.25),
        ("r1:1:parent(x,z), parent(z,y) -> gp(x,y)", None),
        (".decl gp(x:symbol,y:symbol)\n.input parent\ngp(x,y) :- parent(x,z), parent(z,y).", None),
        ("5\t4\t0.8\tgp(X,Y) <= parent(X,A), parent(A,Y)", 0.8),
        ("0.80 (4/5)\tgp(X,Y) <-- parent(X,A), parent(A,Y)", 0.8),
        ("0.80 (4/5) gp <-- parent, parent", 0.8),
        ("?a  parent  ?c  ?c  parent  ?b   => ?a  gp  ?b\t0.9\t0.7\t0.8\t4\t5\t5\t?a", 0.8),
        ("/* mined */ gp(X,Y) :- parent(X,Z), % one\n // two\n parent(Z,Y).", None),
    ],
)
def test_a_rule_in_every_notation(text, confidence):
    kb = build([parse_statements(FACTS, "train.txt"), parse_statements(text, "rules.txt")])
    assert [kb.format_rule(rule) for rule in kb.rules] == [GRAND]
    assert kb.rules[0].confidence == confidence


def test_constants_in_rules_of_anyburl():
    kb = build([parse_statements(FACTS, "train.txt"), parse_statements("9\t3\t0.3\tgp(X,cid) <= parent(X,Bob)", "r")])
    assert kb.format_rule(kb.rules[0]) == "gp(X,cid) :- parent(X,Bob)"
    assert "Bob" in kb.constants


@pytest.mark.parametrize("unequal", ["X != Y", "X \\= Y", "X \\== Y", "dif(X,Y)"])
def test_inequalities(unequal):
    kb = parse(f"parent(a,b).\nsib(X,Y) :- parent(Z,X), parent(Z,Y), {unequal}.")
    assert kb.rules[0].different == ((-1, -2),)
    assert kb.format_rule(kb.rules[0]) == "sib(X,Y) :- parent(Z,X), parent(Z,Y), X != Y"


def test_mined_rules_read_back():
    text = "r1:0.5:'likes (much)'(X,'O\\'Hara, Ann'), near(X,Y), X != Y -> near(X,Y)\n"
    known = "Bob\tlikes (much)\tO'Hara, Ann\nBob\tnear\tCid"
    kb = build([parse_statements(known, "train.txt"), parse_statements(text, "rules.txt")])
    again = build([parse_statements(known, "train.txt"), parse_statements(format_rules(kb.rules, kb), "rules.txt")])
    assert [(r.head, r.body, r.different, r.confidence) for r in again.rules] == [
        (r.head, r.body, r.different, r.confidence) for r in kb.rules
    ]
    assert again.constants == kb.constants


@pytest.mark.parametrize(
    "text",
    [
        "ann\tparent\tbob\nbob\tgp\tcid",
        "ann,parent,bob\nbob,gp,cid",
        "head\trelation\ttail\nann\tparent\tbob\nbob\tgp\tcid",
        "relation,subject,object\nparent,ann,bob\ngp,bob,cid",
        "ann\tparent\tbob\t0.9\nbob\tgp\tcid\t1",
        "ann\tparent\tbob\t.\nbob\tgp\tcid\t.",
        "parent('ann',bob). gp(\"bob\",cid).",
        "parent(ann,bob).% first\r\n\r\ngp(bob,cid)\r\n",
        "parent(ann,bob).\rgp(bob,cid).\r",
        "/* a\nb */ parent(ann,bob).\n0.3::gp(bob,cid).",
    ],
)
def test_facts_in_every_notation(text):
    assert facts(build([parse_statements(text, "train.txt")])) == ["parent(ann,bob)", "gp(bob,cid)"]


def test_names_with_blanks_commas_and_capitals():
    kb = build(
        [
            parse_statements("in('Ann, Lee','New York').\nin(<http://a.b/c>,/m/02_7).", "train.txt"),
            parse_statements("'is at'(X,'New York') :- in(X,Y).\nparent of(X,Y) :- in(X,Y).", "rules.txt"),
        ]
    )
    assert kb.constants[:4] == ("Ann, Lee", "New York", "<http://a.b/c>", "/m/02_7")
    assert kb.rules[0].head[2] == 2
    assert kb.predicates == ("in", "is at", "parent of")


def test_n_triples_and_what_is_not_said_aloud():
    statements = parse_statements('<a:x> <a:p> <a:y> .\n_:b <a:q> "two words"@en .\n', "train.txt")
    assert statements.facts == [("<a:p>", "<a:x>", "<a:y>"), ("<a:q>", "_:b", '"two words"@en')]
    header = parse_statements("subject\tpredicate\tobject\na\tp\tb\t2\n", "train.txt")
    assert header.warnings == (
        "train.txt: read as a header: 'subject predicate object'",
        "train.txt: the fourth column of the triples is not used",
    )


def test_unary_atoms_have_their_argument_twice():
    kb = parse("person(ann).\nold(X,Y) :- person(X), near(X,Y).")
    assert facts(kb) == ["person(ann,ann)"]
    assert kb.format_rule(kb.rules[0]) == "old(X,Y) :- person(X,X), near(X,Y)"


def test_ids_of_openke_and_rnnlogic(tmp_path):
    (tmp_path / "entity2id.txt").write_text("3\nann\t0\nbob\t1\ncid\t2\n")
    (tmp_path / "relation2id.txt").write_text("2\nparent\t0\ngp\t1\n")
    (tmp_path / "train2id.txt").write_text("3\n0 1 0\n1 2 0\n0 2 1\n")
    (tmp_path / "relations.dict").write_text("0\tparent\n1\tgp\n")
    (tmp_path / "rules.txt").write_text("1 0 0\n0 2 1\n")
    (tmp_path / "valid2id.txt").write_text("1\n0 2 1\n")
    dataset = datasets.load(tmp_path)
    kb = dataset.kb
    assert facts(kb) == ["parent(ann,bob)", "parent(bob,cid)"]
    assert [kb.format_atom(atom) for atom in dataset.queries["valid"]] == ["gp(ann,cid)"]
    assert [kb.format_rule(rule) for rule in kb.rules] == [GRAND, "parent(X,Y) :- parent(Z,X), gp(Z,Y)"]


def test_a_graph_without_rules_or_valid_queries():
    files = {"train.txt": "".join(f"p(c{i},c{i + 1}).\n" for i in range(40)), "test.txt": "p(c0,zed)."}
    with pytest.raises(PPOJaxError, match=r"no rule file 'rules.txt'.*ppo-jax rules mine"):
        datasets.from_files("chain", files)
    dataset = datasets.from_files("chain", files, require_rules=False)
    assert [len(rows) for rows in dataset.queries.values()] == [36, 4, 1]
    assert len(dataset.kb.facts) == 36
    assert dataset.warnings == (
        "test.txt:1: 'zed' is in no fact, so no proof can reach it",
        "no valid queries; 4 of 40 training queries were drawn for it, with seed 0",
        "no rules; a run that answers mines some from the training facts",
    )


def test_training_queries_may_be_what_the_rules_derive():
    files = {"train.txt": "".join(f"p(c{i},c{i + 1}).\n" for i in range(12)), "rules.txt": "q(X,Y) :- p(X,Z), p(Z,Y)."}
    dataset = datasets.from_files("derived", files)
    assert len(dataset.queries["train"]) + len(dataset.queries["valid"]) == 11
    assert "training queries are 11 atoms that the rules derive" in " ".join(dataset.warnings)


def test_columns_in_another_order():
    files = {
        "train.txt": "p\ta\tb\np\tb\tc\nq\ta\tc\n",
        "rules.txt": "q(X,Y) :- p(X,Z), p(Z,Y).",
        "valid.txt": "q\tb\tc",
    }
    with pytest.raises(PPOJaxError, match="look like relation first; say so by a header"):
        datasets.from_files("other", files, require_rules=False)
    assert facts(datasets.from_files("other", files, columns="rht").kb) == ["p(a,b)", "p(b,c)", "q(a,c)"]


def test_odd_names_in_rules_are_said():
    files = {
        "train.txt": "in(Lyon,France).\nat(Lyon,Nice).\nat(Nice,Lyon).\n",
        "rules.txt": "at(X,Y) :- in(X,France), at(Y,X).",
    }
    assert "France is a variable here and a constant of the facts" in " ".join(
        datasets.from_files("odd", files).warnings
    )
    files["rules.txt"] = "r:1:in(x,Francs), at(y,x) -> at(x,y)"
    assert "'Francs' is in no fact and thus a variable; the nearest known is 'France'" in " ".join(
        datasets.from_files("odd", files).warnings
    )
    files["rules.txt"] = "at(X,'Lyons') :- in(X,Y)."
    assert "the constant 'Lyons' is in no fact; the nearest known is 'Lyon'" in " ".join(
        datasets.from_files("odd", files).warnings
    )


REFUSED = {
    *("aleph_trains", "dpl_clutrr", "m_compound", "m_cut", "m_latin1", "m_list", "m_neg", "m_neg_examples", "m_not"),
    *("m_rule_fact", "m_rule_head_only", "m_ternary", "m_tsv_empty_field", "m_tsv_relfirst", "m_turtle", "m_utf16"),
    *("m_upper_all_in_train", "m_upper_const_in_rule", "metagol_kinship_whole", "popper_amine", "popper_ancestor_asis"),
    "problog_smokers",
}


def test_small_graphs_as_people_have_them():
    """Each folder of a collection that is not part of the repository is read, or gets one line."""
    folder = Path(
        os.environ.get("PPO_JAX_SHARED_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases" / "graphs")
    )
    if not folder.is_dir():
        pytest.skip(f"no collection of graphs at {folder}")
    refused = set()
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            datasets.load(one, require_rules=False)
        except PPOJaxError as error:
            assert "\n" not in str(error)
            refused.add(one.name)
    assert refused <= REFUSED
