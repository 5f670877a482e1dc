"""The built-in Countries benchmarks, and data sets in folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ppo_jax.proving.datasets import BUILTIN, Dataset, build_countries, describe, from_files, load, write_folder
from ppo_jax.types import PPOJaxError

RULES = "r1:1:n(X,Y), l(Y,Z) -> l(X,Z)\n"
FILES = {
    "train.txt": "n(a,b).\nl(a,e).\nl(b,e).\nl(c,f).\n",
    "valid.txt": "l(d,e).\n",
    "test.txt": "l(d,f).\n",
    "rules.txt": RULES,
    "domain2constants.txt": "place a b c d\nregion e f g\n",
}
BY_SPLIT = ("train", "valid", "test")


def atoms(dataset: Dataset, split: str | None = None) -> set[str]:
    """The facts, or the queries of a split, as text."""
    rows = dataset.kb.facts if split is None else dataset.queries[split]
    return {dataset.kb.format_atom(row) for row in rows}


def of(predicate: str, facts: set[str]) -> set[str]:
    return {fact for fact in facts if fact.startswith(f"{predicate}(")}


def countries(facts: set[str]) -> set[str]:
    return {fact.partition("(")[2].partition(",")[0] for fact in facts}


def domain(dataset: Dataset, predicate: str, argument: int) -> list[str]:
    ids = dataset.domains[dataset.kb.predicate_ids[predicate], argument]
    return [dataset.kb.constants[i - 1] for i in ids]


def assert_same(a: Dataset, b: Dataset) -> None:
    assert (a.kb.predicates, a.kb.constants, a.kb.rules) == (b.kb.predicates, b.kb.constants, b.kb.rules)
    np.testing.assert_array_equal(a.kb.facts, b.kb.facts)
    for split in BY_SPLIT:
        np.testing.assert_array_equal(a.queries[split], b.queries[split])
    assert a.domains.keys() == b.domains.keys()
    for argument, constants in a.domains.items():
        np.testing.assert_array_equal(constants, b.domains[argument])
    assert (a.overlaps, a.warnings, a.sha256, a.corrupt) == (b.overlaps, b.warnings, b.sha256, b.corrupt)


# Countries


@pytest.mark.parametrize(
    ("name", "n_facts", "n_region", "n_subregion", "rules"),
    [
        # 654 + 23 facts are in every variant; of 243 + 243 others S1 hides 48, S2 96, S3 the regions of 84 neighbours
        # as well, of which the published version kept one.
        ("countries_s1", 1115, 195, 243, ["r0"]),
        ("countries_s2", 1067, 195, 195, ["r0", "r1"]),
        ("countries_s3", 983, 111, 195, ["r1", "r2"]),
        ("countries_s3_full", 983, 111, 195, ["r0", "r1", "r2"]),
        ("countries_s3_clean", 982, 110, 195, ["r1", "r2"]),
    ],
)
def test_counts_of_the_builtin_benchmarks(name, n_facts, n_region, n_subregion, rules):
    dataset = load(name)
    facts = atoms(dataset)
    assert len(facts) == len(dataset.kb.facts) == n_facts
    assert len(of("neighborOf", facts)) == 654
    assert len(of("locatedInSR", facts)) == 23
    assert len(of("locatedInCR", facts)) == n_region
    assert len(of("locatedInCS", facts)) == n_subregion
    assert [rule.name for rule in dataset.kb.rules] == rules
    assert {split: len(rows) for split, rows in dataset.queries.items()} == {"train": n_region, "valid": 24, "test": 24}
    assert (len(domain(dataset, "locatedInCR", 0)), len(domain(dataset, "locatedInCR", 1))) == (243, 5)
    assert len(dataset.kb.constants) == 243 + 23 + 5
    assert dataset.corrupt == "tail"
    assert dataset.warnings == ()


def test_rules_of_countries_s3():
    kb = load("countries_s3_full").kb
    assert [kb.format_rule(rule) for rule in kb.rules] == [
        "locatedInCR(X,Y) :- locatedInCS(X,Z), locatedInSR(Z,Y)",
        "locatedInCR(X,Y) :- neighborOf(X,Z), locatedInCR(Z,Y)",
        "locatedInCR(X,Y) :- neighborOf(X,Z), neighborOf(Z,W), locatedInCR(W,Y)",
    ]


def test_the_full_rules_are_also_a_rule_file_of_countries_s3():
    assert load("countries_s3", rules="rules_full.txt").kb.rules[0].name == "r0"


@pytest.mark.parametrize("name", [*BUILTIN, "countries_s1@0", "countries_s2@1", "countries_s3@2"])
def test_splits_are_disjoint_and_what_is_hidden_is_hidden(name):
    dataset = load(name)
    facts, train, valid, test = atoms(dataset), *(atoms(dataset, split) for split in BY_SPLIT)
    assert train == of("locatedInCR", facts)
    assert not (valid & test or valid & facts or test & facts)
    assert set(dataset.overlaps.values()) == {0}
    held_out = countries(valid | test)
    assert len(held_out) == 48
    assert countries(train).isdisjoint(held_out)
    neighbors = {fact.rpartition(",")[2][:-1] for fact in of("neighborOf", facts) if countries({fact}) <= held_out}
    if name.startswith("countries_s1"):
        assert held_out <= countries(of("locatedInCS", facts))
    else:
        assert countries(of("locatedInCS", facts)).isdisjoint(held_out)
    if name.startswith("countries_s3"):
        published = {"countries_s3", "countries_s3_full"}
        assert countries(train) & neighbors == ({"palestine"} if name in published else set())
    else:
        assert neighbors - held_out <= countries(train)


@pytest.mark.parametrize("seed", [0, 1, 7, 12345])
def test_a_resampled_split_holds_out_other_countries_each_with_a_neighbour_outside(seed):
    dataset, published = load(f"countries_s3@{seed}"), load("countries_s3")
    held_out = countries(atoms(dataset, "valid") | atoms(dataset, "test"))
    assert held_out != countries(atoms(published, "valid") | atoms(published, "test"))
    pairs = [fact[len("neighborOf(") : -1].split(",") for fact in of("neighborOf", atoms(dataset))]
    assert {country for country, neighbor in pairs if neighbor not in held_out} >= held_out
    assert_same(dataset, load(f"countries_s3_clean@{seed}"))


def test_split_seeds_always_find_enough_countries_and_differ():
    splits = [build_countries("countries_s3", seed) for seed in range(50)]
    assert all(files[file].count("\n") == 24 for files in splits for file in ("valid.txt", "test.txt"))
    assert len({files["test.txt"] for files in splits}) == 50


def test_resampling_is_stable():
    test = sorted(countries(atoms(load("countries_s3@7"), "test")))
    assert test[:6] == ["angola", "bangladesh", "bulgaria", "burkina_faso", "cambodia", "djibouti"]


def test_countries_s3_equals_the_published_files(shared_data):
    published, built = load(shared_data / "countries_s3"), load("countries_s3")
    lines = set((shared_data / "countries_s3/train.txt").read_text().replace(").", ")").split())
    assert len(lines) == 983
    assert atoms(built) == lines
    assert atoms(built, "test") == atoms(published, "test")
    assert built.kb.format_rule(built.kb.rules[1]) == published.kb.format_rule(published.kb.rules[1])
    assert published.overlaps == {"train/valid": 6, "train/test": 0, "valid/test": 7}
    assert len(published.warnings) == 2
    assert len(published.kb.facts) == 983 - 6
    assert len(published.queries["train"]) == 111 - 6
    assert len(published.queries["valid"]) == 24
    assert published.corrupt == "tail"
    for argument in (0, 1):
        assert set(domain(published, "locatedInCR", argument)) == set(domain(built, "locatedInCR", argument))


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_folder_loads_as_the_builtin(name, tmp_path):
    write_folder(build_countries(name), tmp_path / name)
    assert_same(load(tmp_path / name), load(name))
    assert "Open Database License" in (tmp_path / name / "LICENSE-ODbL.txt").read_text()
    assert (tmp_path / name / "train.txt").read_text().startswith("% Derived from world-countries 1.8.1")


# Folders


@pytest.mark.parametrize(
    ("name", "n_facts", "n_rules", "n_constants", "n_warnings"),
    [("family", 19_845, 87, 2_968, 0), ("umls", 1_959, 104, 134, 5), ("wn18rr", 86_835, 32, 40_559, 0)],
)
def test_reference_data_sets_load(shared_data, name, n_facts, n_rules, n_constants, n_warnings):
    dataset = load(shared_data / name)
    assert (len(dataset.kb.facts), len(dataset.kb.rules), len(dataset.kb.constants)) == (n_facts, n_rules, n_constants)
    assert len(dataset.warnings) == n_warnings
    assert dataset.corrupt == "both"
    assert all(len(constants) == n_constants for constants in dataset.domains.values())


@pytest.mark.parametrize(("variant", "n_facts", "n_queries"), [(1, 1110 - 13, 462 - 13), (3, 978 - 6, 34 - 6)])
def test_triples_load_with_rules_from_elsewhere(shared_data, tmp_path, variant, n_facts, n_queries):
    folder = shared_data / f"countries_s{variant}_triples"
    with pytest.raises(PPOJaxError, match=r"no rule file 'rules\.txt'.*set `rules`"):
        load(folder)
    (tmp_path / "my_rules.txt").write_text("locatedIn(X,Z) :- neighborOf(X,Y), locatedIn(Y,Z).")
    dataset = load(folder, rules=str(tmp_path / "my_rules.txt"))
    assert (len(dataset.kb.facts), len(dataset.queries["train"])) == (n_facts, n_queries)
    assert (len(dataset.queries["valid"]), len(dataset.queries["test"])) == (24, 24)
    assert dataset.overlaps["valid/test"] == 7
    assert dataset.corrupt == "tail"


def test_where_a_graph_exists_only_the_lines_of_train_are_queries():
    files = {"graph.txt": "a\tl\te\na\tn\tb\nb\tn\ta\n", "train.txt": "b\tl\te\na\tn\tb\n", "rules.txt": RULES}
    dataset = from_files("triples", files)
    assert atoms(dataset) == {"l(a,e)", "n(a,b)", "n(b,a)", "l(b,e)"}
    assert atoms(dataset, "train") == {"l(b,e)"}
    assert [len(dataset.queries[split]) for split in ("valid", "test")] == [0, 0]
    assert dataset.queries["valid"].shape == (0, 3)


def test_overlapping_training_facts_are_left_out_and_counted_once():
    files = {**FILES, "valid.txt": "l(a,e).\nl(a,e).\nl(c,e).\n", "test.txt": "l(c,e).\nl(b,e).\nn(a,b).\n"}
    dataset = from_files("d", files)
    assert dataset.overlaps == {"train/valid": 1, "train/test": 2, "valid/test": 1}
    assert atoms(dataset) == atoms(dataset, "train") == {"l(c,f)"}
    assert len(dataset.queries["valid"]) == 3
    assert [warning.split(" and ")[0] for warning in dataset.warnings] == [
        "training facts that are also valid queries: 1, left out of the training data",
        "training facts that are also test queries: 2, left out of the training data",
        "valid queries that are also test queries: 1, in both: valid is not independent of test",
        "rules.txt:1: the predicate n has no facts",
        "test queries whose predicate heads no rule, so that none can be proved: 1 (n)",
    ]


def test_slips_in_facts_queries_and_rules_are_told_with_the_nearest_name():
    roads = "".join(f"c{i}\troad_to\tc{i + 1}\n" for i in range(12))
    found = from_files(
        "mine",
        {
            "train.txt": f"{roads}c0\troad_to\tc1\nc0\traod_to\tc2\nnear\tc3\tc4\nc0\tin\tc9\n",
            "test.txt": "c1\troad_to\tc3\nc1\tinn\tc3\n",
            "rules.txt": "rode_to(X,Y) :- road_to(Y,X).\nroad_to(X,Y) :- roads_to(Y,X).\nsome(X,Y) :- in(X,Y).\n",
        },
    )
    for told in (
        "train.txt:14: the relation 'raod_to' is in this fact alone; the nearest known is 'road_to'",
        "train.txt:15: the relation 'c3' is in this fact alone, and a constant elsewhere: the columns may be in "
        "another order here",
        "train.txt: facts that repeat others: 1, counted once",
        "test.txt:2: the relation 'inn' of a query is in no training fact and no rule; the nearest known is 'in'",
        "rules.txt:1: the predicate rode_to of a conclusion is in no fact, query or body; the nearest known is "
        "'road_to'",
    ):
        assert told in found.warnings
    text = "\n".join(found.warnings)
    assert "the relation 'in' " not in text and "predicate some" not in text
    assert "predicate roads_to has no facts and no rule that could derive one" in text
    assert "can be applied; the nearest known is 'road_to'" in text


def test_domains_are_unions_over_the_constants_that_facts_have_there():
    files = {
        **FILES,
        "train.txt": "n(a,e).\nl(a,e).\nm(a,z).\n",
        "domain2constants.txt": "A a b\nB b c\nC e f\nC g\n% x\n",
    }
    dataset = from_files("d", {**files, "valid.txt": "", "test.txt": "u(c,a)."})
    assert dataset.kb.constants == ("a", "e", "z", "b", "c", "f", "g")
    assert domain(dataset, "n", 0) == ["a", "b"]
    assert domain(dataset, "l", 1) == ["e", "f", "g"]
    assert domain(dataset, "m", 1) == list(dataset.kb.constants), "z is in no domain"
    assert domain(dataset, "u", 0) == list(dataset.kb.constants), "no fact has u"
    without = from_files("d", {file: text for file, text in FILES.items() if file in ("train.txt", "rules.txt")})
    assert domain(without, "l", 1) == list(without.kb.constants)


def test_one_file_may_hold_facts_and_clauses():
    dataset = from_files("d", {"train.txt": "n(a,b).\nl(b,e).\nl(X,Z) :- n(X,Y), l(Y,Z).\n"})
    assert (len(dataset.kb.rules), atoms(dataset, "train")) == (1, {"l(b,e)"})


def test_the_digest_depends_on_names_and_bytes_of_what_is_read():
    digest = from_files("d", FILES).sha256
    assert from_files("other", {**FILES, "notes.txt": "ignored"}).sha256 == digest
    assert from_files("d", {**FILES, "train.txt": FILES["train.txt"] + "\n"}).sha256 != digest
    swapped = {**FILES, "valid.txt": FILES["test.txt"], "test.txt": FILES["valid.txt"]}
    assert from_files("d", swapped).sha256 != digest


def test_describe_is_plain_json():
    described = describe(from_files("d", FILES))
    assert json.loads(json.dumps(described)) == described
    assert described["facts_by_predicate"] == {"n": 1, "l": 3}
    assert described["queries"] == {"train": 3, "valid": 1, "test": 1}
    assert described["rules"] == {"r1 (rules.txt:1)": "l(X,Y) :- n(X,Z), l(Z,Y)"}
    assert described["constants"] == 7


def test_arrays_cannot_be_changed_by_accident():
    dataset = from_files("d", FILES)
    for array in [dataset.kb.facts, *dataset.queries.values(), *dataset.domains.values()]:
        assert array.dtype == np.int32
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.txt": None}, r"no train\.txt"),
        ({"rules.txt": None}, r"no rule file 'rules\.txt'"),
        ({"train.txt": "n(a,b).\nl(a,\n"}, r"train\.txt:2: cannot read 'l\(a,'"),
        ({"rules.txt": "r1:1:n(X,Y) -> l(X,Z)"}, r"rules\.txt:1: .*head variable Z"),
        ({"rules.txt": "r1:1:m(X,Y) -> k(X,Y)"}, "no rule head matches.*conclude k, the training facts are about n, l"),
        ({"rules.txt": ""}, "the rules conclude nothing"),
        ({"valid.txt": "l(a,b,c)."}, r"valid\.txt:1: .*3 arguments"),
        ({"valid.txt": "l(X,Y) :- n(X,Y)."}, r"valid\.txt:1: .* is a rule"),
        ({"domain2constants.txt": "place a\n\nregion\n"}, r"domain2constants\.txt:3: 'region'"),
    ],
)
def test_bad_input_gets_one_clear_line(changes, message):
    files = {file: text for file, text in {**FILES, **changes}.items() if text is not None}
    with pytest.raises(PPOJaxError, match=message) as error:
        from_files("mine", files)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["countries_s4", "countries_s3@x", "countries_s3@-1", "nowhere/at/all"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(PPOJaxError, match=r"neither a folder nor a built-in name \(countries_s1, "):
        load(name)


def test_an_unknown_name_is_answered_with_the_data_set_that_lies_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(FILES, "deep/company")
    (tmp_path / "deep" / "compn").mkdir()  # no data set
    with pytest.raises(PPOJaxError, match=r"the nearest known is 'deep/company'$"):
        load("deep/compny")
    monkeypatch.chdir("deep")
    with pytest.raises(PPOJaxError, match=r"the nearest known is 'company'$"):
        load("compny")


def test_unknown_variants_seeds_and_rule_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(PPOJaxError, match="nearest known is 'countries_s3'"):
        build_countries("countriess3")
    with pytest.raises(PPOJaxError, match="negative"):
        build_countries("countries_s3", -1)
    with pytest.raises(PPOJaxError, match=r"no rule file 'mine\.txt'"):
        load("countries_s3", rules="mine.txt")
    # A rule file that happens to lie where the program runs is not taken for that of the data set.
    write_folder({"train.txt": FILES["train.txt"]}, tmp_path / "data")
    write_folder({"rules.txt": RULES}, tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PPOJaxError, match="no rule file"):
        load(tmp_path / "data")
    assert len(load(tmp_path / "data", rules="./rules.txt").kb.rules) == 1


def test_files_that_are_not_text_or_exist_already_are_refused(tmp_path):
    write_folder(FILES, tmp_path)
    with pytest.raises(PPOJaxError, match=r"already holds train\.txt, valid\.txt"):
        write_folder(FILES, tmp_path)
    (tmp_path / "test.txt").write_bytes(b"l(a,\xff).")
    with pytest.raises(PPOJaxError, match=r"test\.txt is not UTF-8 text"):
        load(tmp_path)
    with pytest.raises(PPOJaxError, match="cannot write the data set"):
        write_folder(FILES, tmp_path / "test.txt" / "below")
    with pytest.raises(PPOJaxError, match="cannot write the data set"):
        write_folder({"new.txt": "", "missing/file.txt": ""}, tmp_path)
    assert not (tmp_path / "new.txt").exists()


CONSTANTS = st.sampled_from(["a", "b", "00c", "d-e", "F"])
FACTS = st.lists(st.tuples(st.sampled_from(["l", "n"]), CONSTANTS, CONSTANTS), max_size=8)


@settings(max_examples=30)
@given(train=FACTS, valid=FACTS, test=FACTS, domains=st.lists(st.lists(CONSTANTS, min_size=1), max_size=3))
def test_a_written_folder_loads_as_the_same_data_set(tmp_path_factory, train, valid, test, domains):
    known = ["l(a,b)", "n(b,00c)", "l(d-e,F)", "l(q,q)"]
    lines = {
        split: ["{}({},{})".format(*fact) for fact in facts]
        for split, facts in zip(BY_SPLIT, (train, valid, test), strict=True)
    }
    lines["train"] = known + lines["train"]
    files = {f"{split}.txt": "\n".join(f"{line}." for line in texts) for split, texts in lines.items()}
    files |= {
        "rules.txt": RULES,
        "domain2constants.txt": "".join(f"d{i} {' '.join(d)}\n" for i, d in enumerate(domains)),
    }
    remaining = set(lines["train"]) - set(lines["valid"]) - set(lines["test"])
    assume(len(of("l", remaining)) > 1 and valid)
    dataset = from_files("d", files)
    folder = tmp_path_factory.mktemp("data")
    write_folder(files, folder)
    assert_same(load(folder), dataset)
    assert atoms(dataset) == remaining
    assert atoms(dataset, "train") == of("l", remaining)
    assert [dataset.kb.format_atom(row) for row in dataset.queries["valid"]] == lines["valid"]
    for overlap, count in dataset.overlaps.items():
        first, second = overlap.split("/")
        assert count == len(set(lines[first]) & set(lines[second]))
