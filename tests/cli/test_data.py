"""What there is to train on: environments, the keys of a configuration, data sets."""

from __future__ import annotations

import json

from ppo_jax.cli.tables.data import show_data
from tests.cli.console import fail, succeed


def test_envs_lists_ids_with_what_they_observe_and_do():
    rows = {row["env_id"]: row for row in json.loads(succeed("envs", "CART", "--json"))}
    assert set(rows) == {"CartPole-v1"}
    assert rows["CartPole-v1"]["observation_shape"] == [4]
    table = succeed("envs", "pendulum")
    assert table.splitlines()[2] == "classic control"
    assert table.splitlines()[3].split() == ["Pendulum-v1", "3", "1", "in", "[-2,", "2]", "200"]
    assert "needs a memory: core=gru" in succeed("envs", "memorychain")
    proof = succeed("envs", "proof-countries_s3_clean")
    assert "Proof-countries_s3_clean" in proof
    assert "observes action_constants" in proof
    assert max(len(line.rstrip()) for line in proof.splitlines()) <= 80
    assert "no environment id holds 'nothing'" in fail("envs", "nothing")
    assert "no environment id holds 'Ant-v4'; did you mean brax/ant?" in fail("envs", "Ant-v4")
    assert "tests.toys has no Prob; did you mean Probe or ProbeState?" in fail("envs", "tests.toys:Prob")


def test_config_explains_the_keys():
    rows = json.loads(succeed("config", "--json"))
    assert {"section": "ppo", "key": "gamma", "default": 0.99, "meaning": "Discount of a step."} in rows
    assert [row["key"] for row in json.loads(succeed("config", "target", "--json"))] == ["target_kl"]
    assert max(map(len, succeed("config").splitlines())) <= 80
    assert [row["key"] for row in json.loads(succeed("config", "Entropy", "--json"))] == ["ent_coef"]
    assert "no key and no explanation holds 'zebra'" in fail("config", "zebra")


def test_data_is_built_checked_and_described(tmp_path):
    folder = tmp_path / "s3"
    written = json.loads(succeed("data", "build", "countries_s3", "--split-seed", "7", "--out", folder, "--json"))
    assert written["folder"] == str(folder)
    assert set(written["files"]) == {path.name for path in folder.iterdir()} >= {"train.txt", "rules_full.txt"}
    from_folder = json.loads(succeed("data", "check", folder, "--json"))
    built_in = json.loads(succeed("data", "check", "countries_s3@7", "--json"))
    assert from_folder | {"name": "countries_s3@7"} == built_in
    full = succeed("data", "check", folder, "--rules", "rules_full.txt")
    assert "3 rules" in full and "nothing odd" in full
    assert "already holds" in fail("data", "build", "countries_s3", "--out", folder)
    assert "no Countries variant 'countries_s9'" in fail("data", "build", "countries_s9", "--out", tmp_path / "s9")
    assert not (tmp_path / "s9").exists()


def test_data_that_is_odd_says_so_and_how_much_can_be_proved(workplace, capsys):
    assert "warning: valid queries that are also test queries: 1" in succeed("data", "check", workplace / "data")
    message = fail("data", "check", workplace / "data" / "train.txt")
    assert f"train.txt: is a file; a data set is its folder, {workplace / 'data'}" in message
    found = json.loads(succeed("data", "describe", workplace / "data", "--json"))
    assert (found["facts"], found["train_positives_searched"]) == (17, 5)
    # All but none: each of a, b, d, x, y has a neighbour whose island is known without it.
    assert found["train_positives_provable"] == 5
    table = succeed("data", "describe", workplace / "data")
    assert "of 5 training positives 5 can be proved, 0 cannot; " in table
    assert "r1 (rules.txt:1): in(X,Y) :- near(X,Z), in(Z,Y)" in table
    assert "given up" not in table and "less sure" not in table
    rules = {f"r{i} (rules.txt:{i})": f"p(X,Y) :- q{i}(X,Y)" for i in range(1, 26)}
    show_data(found | {"rules": rules, "confidences": {name: i / 100 for i, name in enumerate(rules)}})
    out = " ".join(capsys.readouterr().out.split())
    assert "rules 0.24 r25 (rules.txt:25): p(X,Y) :- q25(X,Y) 0.23 r24" in out
    assert "q16(X,Y) and 15 more" in out and "r15 (" not in out
    show_data(found | {"searches_given_up": 3, "train_positives_provable": 2, "train_positives_given_up": 3})
    out = " ".join(capsys.readouterr().out.split())
    assert "of 5 training positives 2 can be proved, 0 cannot, the search for 3 was given up; " in out


def test_data_of_other_programs_is_checked(tmp_path):
    (tmp_path / "train.txt").write_text("p\ta\tb\np\tb\tc\np\tc\td\ng\ta\tc\ng\tb\td\n")
    assert 'look like relation first; say so with columns = "rht"' in fail("data", "check", tmp_path)
    found = json.loads(succeed("data", "check", tmp_path, "--columns", "rht", "--json"))
    assert (found["facts"], found["rules"], found["queries"]) == (4, {}, {"train": 4, "valid": 1, "test": 0})
    assert "no rules: they will be mined from the training facts" in found["warnings"]
    assert "facts 4:" in " ".join(succeed("data", "describe", tmp_path, "--columns", "rht").split())
    (tmp_path / "train.txt").write_text("p(a,b).\np(b,c).\np(c,d).\n")
    described = json.loads(succeed("data", "describe", tmp_path, "--json"))
    assert (described["facts"], described["rules"]) == (2, {})
    table = " ".join(succeed("data", "describe", tmp_path).split())
    assert "facts 2: 2 p" in table and "rules none: `ppo-jax train` mines some by itself" in table


def test_what_of_test_has_its_like_in_train(tmp_path):
    train = ["p(a,b)", "p(c,d)", "p(e,f)", "back(b,a)", "back(d,c)", "back(f,e)", "back(h,g)", "like(a,b)"]
    train += ["like(c,d)", "like(e,f)", "like(g,h)", "s(a,b)", "s(b,a)", "s(c,d)", "other(g,h)", "other(a,d)"]
    (tmp_path / "train.txt").write_text("".join(f"{fact}.\n" for fact in train))
    (tmp_path / "valid.txt").write_text("other(a,h).\n")
    (tmp_path / "test.txt").write_text("p(g,h).\ns(d,c).\nother(b,a).\n")
    found = json.loads(succeed("data", "check", tmp_path, "--json"))["leakage"]
    assert (found["test_triples"], found["of"], found["reversed"]) == (2, 3, 3)
    # s(b,a) and p(a,b) share a pair, other(g,h) and like(g,h) too, but few of their relations' pairs.
    assert {(pair["relation"], pair["other"], pair["how"]) for pair in found["pairs"]} == {
        ("p", "back", "reverse"),
        ("p", "like", "duplicate"),
        ("s", "s", "symmetric"),
    }
    assert all((pair["overlap"], pair["test_triples"]) == (1.0, 1) for pair in found["pairs"])
    told = succeed("data", "check", tmp_path)
    assert "note: 2 of 3 test triples (66.7%) have their like in train" in told
    assert "s is symmetric (100% of pairs; 1)" in told and "nothing odd" not in told
    assert "; 3 have their two constants there with head and tail swapped, under some relation" in told
