"""What a run tells of single answers: which are listed, their ranks, and what each source adds to their scores."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.proving.answers import listing
from ppo_jax.proving.answers.search import Answers, Trail
from ppo_jax.proving.knowledge_base import KnowledgeBase, parse

N = 12
RIGHT = 9
WEIGHTS = {"proofs": 0.5, "rules": 2.0, "prior": 1.0}


@pytest.fixture(scope="module")
def kb() -> KnowledgeBase:
    return parse("".join(f"p(c{i},c{i + 1}).\n" for i in range(1, N)))


def said(seed: int, prior: bool = True) -> listing.Said:
    rng = np.random.default_rng(seed)
    probability, rules = (np.where(rng.random(N + 1) < 0.4, rng.random(N + 1), 0.0) for _ in range(2))
    sources = {"rules": rules} | ({"prior": np.log(rng.dirichlet(np.ones(N + 1)))} if prior else {})
    return listing.weigh(probability, sources, WEIGHTS)


def found(proved: int = 0) -> Answers:
    """A search whose only derivation is of the constant `proved`, by a fact; 0: none."""
    answer, mass = np.zeros((1, 1, 1), np.int32), np.full((1, 1, 1), -np.inf)
    if proved:
        answer[:], mass[:] = proved, 0.0
    bound = np.array([0, proved], np.int32).reshape(1, 1, 1, 2)
    trail = Trail(np.zeros((1, 1, 1), np.int32), np.ones((1, 1, 1), np.int32), bound, np.zeros((1, 1, 1)), answer, mass)
    nothing = np.zeros(1)
    return Answers(nothing, nothing, nothing, trail, trail, None)


def listed(kb: KnowledgeBase, one: listing.Said, out: np.ndarray, proved: int = 0) -> dict:
    return listing.answers(kb, np.array([1, 1, 0]), RIGHT, out, one, found(proved), 0)


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_the_best_answers_are_listed_with_the_right_and_the_best_wrong_one(kb, seed: int, prior: bool) -> None:
    one, rng = said(seed, prior), np.random.default_rng(seed + 100)
    out = np.append(False, rng.random(N) < 0.5)
    out[RIGHT] = False
    line = listed(kb, one, out)
    heard = [c for c in range(1, N + 1) if prior or one.probability[c] > 0 or one.sources["rules"][c] > 0]
    assert line["answers"]["of"] == len(heard)
    best = sorted(heard, key=lambda c: (-one.score[c], c))
    wrong = [c for c in best if not out[c] and c != RIGHT][:1]
    expected = {*best[: listing.TOP], RIGHT, *wrong}
    assert {answer["answer"] for answer in line["answers"]["listed"]} == {kb.constants[c - 1] for c in expected}
    for answer in line["answers"]["listed"]:
        c = kb.constant_ids[answer["answer"]]
        others = [one.score[k] for k in range(1, N + 1) if not out[k] and k != c]
        rank = sum(x > one.score[c] for x in others) + 1 + sum(x == one.score[c] for x in others) / 2
        assert answer["rank"] == (None if out[c] else rank)
        assert (answer["known"], answer["right"]) == (out[c], c == RIGHT)
    scores = [answer["score"] for answer in line["answers"]["listed"]]
    assert scores == sorted(scores, reverse=True)


def test_contributions_add_up_to_the_score(kb) -> None:
    one = said(0)
    for answer in listed(kb, one, np.zeros(N + 1, bool))["answers"]["listed"]:
        assert answer["contributions"].keys() == WEIGHTS.keys()
        assert sum(answer["contributions"].values()) == pytest.approx(answer["score"], abs=1e-5)
        assert answer["contributions"]["prior"] == pytest.approx(answer["parts"]["prior"])
        assert answer["contributions"]["proofs"] == pytest.approx(0.5 * np.log(answer["probability"] + 1e-5), abs=1e-5)


def test_a_source_without_weight_adds_nothing_without_a_sign(kb) -> None:
    nothing = listing.weigh(np.full(N + 1, 0.5), {"rules": np.full(N + 1, 0.5)}, {"proofs": 0.0, "rules": 1.0})
    assert np.signbit(nothing.contributions["proofs"]).all()  # 0 times the logarithm of a probability
    assert str(nothing.answer(kb, RIGHT, known=False)["contributions"]["proofs"]) == "0.0"


def test_without_weights_the_proofs_rank_alone() -> None:
    probability = np.array([0.9, 0.0, 0.2, 0.5])  # column 0 is padding
    one = listing.weigh(probability, {}, None)
    assert one.order(10).tolist() == [3, 2]
    assert one.order(1).tolist() == [3]


def test_of_equal_scores_the_more_probable_answer_comes_first() -> None:
    probability, rules = np.array([0.0, 0.1, 0.3, 0.2]), np.array([0.0, 0.5, 0.5, 0.5])
    one = listing.weigh(probability, {"rules": rules}, {"proofs": 0.0, "rules": 1.0})
    assert one.order(10).tolist() == [2, 3, 1]


def test_proofs_are_of_the_right_answer_and_of_a_wrong_one_that_has_one(kb) -> None:
    one = listing.weigh(np.append([0.0, 0.3, 0.9], np.zeros(N - 2)), {}, None)
    (right,) = listed(kb, one, np.zeros(N + 1, bool))["candidates"]
    assert (right["query"], right["label"], right["proved"], right["steps"]) == ("p(c1,c9)", True, False, [])
    right, wrong = listed(kb, one, np.zeros(N + 1, bool), proved=2)["candidates"]
    assert (wrong["query"], wrong["label"], wrong["proved"], wrong["probability"]) == ("p(c1,c2)", False, True, 0.9)
    assert [step["action"] for step in wrong["steps"]] == ["fact p(c1,c2)"]
    assert not right["proved"]


@pytest.mark.parametrize("n", [0, 2, 4, 198, 200, 202, 1000, 40_001])
def test_lines_with_answers_are_spread_over_all(n: int) -> None:
    rows = listing.spread(n)
    assert len(rows) == min(n - n % 2, listing.LISTED)
    assert len(set(rows.tolist())) == len(rows)
    if n >= listing.LISTED:
        assert (rows[0], rows[-1]) == (0, n - n % 2 - 1)
        assert np.diff(rows[::2]).max() - np.diff(rows[::2]).min() <= 2
