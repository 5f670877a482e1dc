"""Mined rules against every path tried in plain Python, and what a data set's queries must not change."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import ppo_jax
from ppo_jax.cli import main
from ppo_jax.proving import datasets, unfinished
from ppo_jax.proving.knowledge_base import KnowledgeBase, parse
from ppo_jax.proving.rules import mining
from ppo_jax.proving.rules.bodies import relation_matrices
from ppo_jax.proving.rules.confidence import count_rule
from ppo_jax.proving.rules.files import format_rules
from ppo_jax.proving.rules.mining import Limits, mine, state_of
from ppo_jax.types import PPOJaxError

EVERYTHING = Limits(min_support=1, min_confidence=0.0, max_rules_per_head=10**6)


def graph(seed: int, n_facts: int = 40, n_constants: int = 9, n_predicates: int = 3) -> KnowledgeBase:
    rng = np.random.default_rng(seed)
    facts = {
        (int(p), int(a), int(b)) for p, a, b in rng.integers(0, (n_predicates, n_constants, n_constants), (n_facts, 3))
    }
    return parse("\n".join(f"p{p}(c{a},c{b})." for p, a, b in sorted(facts)))


def paths_by_trying(kb: KnowledgeBase) -> dict[tuple[int, tuple[int, ...]], tuple[int, int]]:
    """Hits and pairs of every head and body that has a hit: all sequences of up to four different constants."""
    edges: dict[tuple[int, int], list[int]] = {}
    for p, a, b in kb.facts.tolist():
        edges.setdefault((a, b), []).append(p)
        edges.setdefault((b, a), []).append(-p)
    pairs: dict[tuple[int, ...], set[tuple[int, int]]] = {}
    for length in (2, 3, 4):
        for places in itertools.permutations(range(1, len(kb.constants) + 1), length):
            for body in itertools.product(*(edges.get(pair, []) for pair in itertools.pairwise(places))):
                pairs.setdefault(body, set()).add((places[0], places[-1]))
    found = {}
    for head in range(1, len(kb.predicates) + 1):
        facts = {(a, b) for p, a, b in kb.facts.tolist() if p == head and a != b}
        for body, derived in pairs.items():
            if body != (head,) and derived & facts:
                found[head, body] = len(derived & facts), len(derived)
    return found


def steps(rule: object) -> tuple[int, tuple[int, ...]]:
    body, here = [], -1
    for p, left, right in rule.body:
        body.append(p if left == here else -p)
        here = right if left == here else left
    return rule.head[0], tuple(body)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_path_is_found_and_counted(seed: int) -> None:
    kb = graph(seed)
    mined = mine(kb, Limits(min_support=1, min_confidence=0.0, max_rules_per_head=10**6, constants=False))
    assert {steps(one.rule): (one.counted.hits, one.counted.pairs) for one in mined.rules} == paths_by_trying(kb)
    assert mined.sampled == (0, 0, 0)


def test_the_counts_are_those_of_the_rules_as_they_stand() -> None:
    kb = graph(2, n_facts=30)
    relations = relation_matrices(kb)
    mined = mine(kb, EVERYTHING).rules
    assert any(one.rule.head[2] > 0 for one in mined) and any(one.rule.head[1] > 0 for one in mined)
    for one in mined:
        count = count_rule(one.rule, relations)
        assert (one.counted.hits, one.counted.pairs) == count
        assert one.rule.confidence == pytest.approx(one.counted.confidence)


def test_rules_with_constants() -> None:
    facts = (
        "".join(f"lives(p{i},paris).\nspeaks(p{i},french).\n" for i in range(6)) + "lives(q,rome).\nspeaks(q,french).\n"
    )
    kb = parse(facts)
    written = {kb.format_rule(one.rule): one.counted for one in mine(kb, EVERYTHING).rules}
    assert written["speaks(X,french) :- lives(X,paris)"] == (6, 6)
    assert written["lives(X,paris) :- speaks(X,french)"] == (6, 7)
    assert written["speaks(X,french) :- lives(X,Y)"] == (7, 7)
    assert "speaks(X,french) :- speaks(X,french)" not in written and "speaks(X,french) :- speaks(X,Y)" not in written


def test_limits() -> None:
    kb = graph(3)
    mined = mine(kb, Limits(min_support=2, min_confidence=0.1, max_rules_per_head=4, max_rules=9, max_length=2))
    assert len(mined.rules) == 9
    assert all(one.counted.hits >= 2 and one.rule.confidence >= 0.1 and len(one.rule.body) <= 2 for one in mined.rules)
    with pytest.raises(PPOJaxError, match="1 to 3"):
        Limits(max_length=4)
    with pytest.raises(PPOJaxError, match="at least 1"):
        Limits(max_rules=0)


def test_samples_are_stated_and_the_same_each_time() -> None:
    kb = graph(4, n_facts=120)
    limits = Limits(facts_per_head=10, neighbours=5, max_products=20, min_support=1)
    first, again = mine(kb, limits), mine(kb, limits)
    assert first == again
    assert min(first.sampled) > 0
    assert mine(kb, Limits(**{**vars(limits), "seed": 1})).rules != first.rules


def test_progress_can_end_it() -> None:
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mine(graph(0), progress=stop)


class Stop:
    """Progress that ends a mining when it is called for the n-th time."""

    def __init__(self, n: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.left, self.error = n, error
        self.seen: list[tuple[str, int]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.seen.append((stage, done))
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_mining_goes_on_where_it_stopped(tmp_path: Path, monkeypatch, error) -> None:
    """Ctrl-C keeps all that is done, a kill what was kept last: at any place, again and again."""
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    kb, limits = graph(4, n_facts=120), Limits(facts_per_head=10, neighbours=5, max_products=20, min_support=1)
    every = Stop(0)
    whole = mine(kb, limits, every)
    said: list[str] = []
    seen = []
    while True:
        assert len(seen) <= len(every.seen)
        kept = state_of(tmp_path / "rules.txt", kb, limits, said.append)
        progress = Stop(2, error)
        try:
            mined = mine(kb, limits, progress, kept)
        except error:
            seen.append(progress.seen[0])
            continue
        break
    assert mined == whole
    assert seen == every.seen[: len(seen)] and len(seen) > 5  # a part each time, none twice
    assert set(said) == {f"going on from {tmp_path / 'rules.txt.unfinished'}"}
    kept.remove()
    assert not any(tmp_path.iterdir())


def test_what_was_mined_of_something_else_is_set_aside(tmp_path: Path) -> None:
    output, limits = tmp_path / "rules.txt", Limits(max_length=2)
    for change, (kb, now) in {"settings": (graph(0), Limits(max_length=1)), "data": (graph(1), limits)}.items():
        with pytest.raises(KeyboardInterrupt):
            mine(graph(0), limits, Stop(4), state_of(output, graph(0), limits, print))
        said: list[str] = []
        assert mine(kb, now, unfinished=state_of(output, kb, now, said.append)) == mine(kb, now), change
        (line,) = said
        assert "is of other data, settings or versions: set aside as rules.txt.unfinished.old, beginning anew" in line
        assert [file.name for file in tmp_path.iterdir()] == ["rules.txt.unfinished.old"]
    (tmp_path / "rules.txt.unfinished").write_bytes(b"PK half a file")
    assert not state_of(output, kb, limits, said.append).found()
    assert "cannot be read: set aside" in said[-1]


def test_valid_and_test_change_nothing() -> None:
    kb = graph(6)
    files = {
        "train.txt": "".join(f"{kb.format_atom(fact)}.\n" for fact in kb.facts),
        "rules.txt": "r:1:p0(X,Y) -> p1(X,Y)",
    }
    facts = {tuple(fact) for fact in kb.facts.tolist()}
    new = [atom for atom in itertools.product((1, 2, 3), range(1, 9), range(1, 9)) if atom not in facts]
    atoms = [f"{kb.format_atom(atom)}.\n" for atom in new]
    one = datasets.from_files("one", {**files, "valid.txt": "".join(atoms[:20]), "test.txt": "".join(atoms[20:40])})
    other = datasets.from_files("other", {**files, "valid.txt": "".join(atoms[40:50]), "test.txt": ""})
    assert mine(one.kb) == mine(other.kb)
    assert mine(one.kb).rules


def test_written_rules_read_back(tmp_path: Path) -> None:
    kb = graph(5)
    mined = mine(kb, Limits(max_length=1, min_support=1))
    text = format_rules([one.rule for one in mined.rules], kb)
    facts = "".join(f"{kb.format_atom(fact)}.\n" for fact in kb.facts)
    read = parse(facts + "\n".join(line for line in text.splitlines() if "!=" not in line))
    kept = [one.rule for one in mined.rules if not one.rule.different]
    assert kept and [(rule.name, rule.head, rule.body) for rule in read.rules] == [
        (r.name, r.head, r.body) for r in kept
    ]


def test_odd_names_are_quoted() -> None:
    kb = parse("b c\tis a\tX\nX\tis a\tb c\nd'e\tis a\tX\nX\tis a\td'e\n")
    mined = mine(kb, Limits(min_support=1))
    text = format_rules([one.rule for one in mined.rules], kb)
    assert "'is a'(Y,X_) -> 'is a'(X_,Y)" in text


def test_the_same_command_goes_on_after_a_signal(tmp_path: Path, monkeypatch, capsys) -> None:
    def command(name: str) -> int:
        return main(["rules", "mine", "countries_s3", "--max-length", "2", "--out", str(tmp_path / name)])

    assert command("whole.txt") == 0
    rules, calls = mining._Features.rules, itertools.count(1)

    def interrupt(features: mining._Features, head: int) -> object:
        found = rules(features, head)
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(mining._Features, "rules", interrupt)
    capsys.readouterr()
    assert command("rules.txt") == 143
    state = tmp_path / "rules.txt.unfinished"
    assert capsys.readouterr().err == f"interrupted; the same command goes on from {state}\n"
    assert state.is_file() and not (tmp_path / "rules.txt").exists()
    assert command("rules.txt") == 0
    assert f"going on from {state}\n" in capsys.readouterr().err
    heads = np.unique(datasets.load("countries_s3").kb.facts[:, 0])
    assert next(calls) - 1 == len(heads) + 1  # the one that was interrupted was done again
    assert (tmp_path / "rules.txt").read_bytes() == (tmp_path / "whole.txt").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rules.txt", "whole.txt"]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mined.txt"
    assert main(["rules", "mine", "countries_s3", "--out", str(file), "--max-length", "2"]) == 0
    assert "paths of 2 atoms" in capsys.readouterr().out
    limits, first = file.read_text().splitlines()[:2]
    assert limits.startswith("# mined by ppo-jax: {") and first.startswith("m1:")
    mined = datasets.load("countries_s3", str(file)).mined_by
    assert mined == dataclasses.asdict(Limits(max_length=2))
    edited = tmp_path / "edited.txt"  # by hand: no longer what was mined
    edited.write_text(f"{limits}\n{first}\n")
    assert datasets.load("countries_s3", str(edited)).mined_by is None
    for arguments in (
        ["countries_s3", "--out", str(file)],
        ["nowhere"],
        ["countries_s3", "--max-length", "0"],
        ["countries_s3", "--seed", "-1"],
        ["countries_s3", "--out", "no/x.txt"],
    ):
        assert main(["rules", "mine", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_rules_mined_from_python_are_lines_of_a_rule_file(tmp_path):
    kb, file = graph(3), tmp_path / "rules.txt"
    names = [(kb.constants[a - 1], kb.predicates[p - 1], kb.constants[b - 1]) for p, a, b in kb.facts.tolist()]
    (tmp_path / "train.txt").write_text("".join("\t".join(triple) + "\n" for triple in names))
    lines = ppo_jax.mine_rules(tmp_path, file, max_length=2, constants=False)
    mined = mine(datasets.load(tmp_path, require_rules=False).kb, Limits(max_length=2, constants=False))
    assert len(lines) == len(mined.rules) > 0
    assert file.read_text().splitlines()[1:] == lines
    with pytest.raises(PPOJaxError, match=r"rules.txt is there already"):
        ppo_jax.mine_rules(tmp_path, file)
    with pytest.raises(PPOJaxError, match="unknown limit 'max_lenght'; did you mean max_length"):
        ppo_jax.mine_rules(tmp_path, max_lenght=2)
