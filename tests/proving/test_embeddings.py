"""Embeddings: scores against the formulas of the papers, learning on a graph with one right answer to each query."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving.open_queries import HEAD, TAIL, answer_ranks, known_answers, open_queries
from ppo_jax.proving.priors import embeddings
from ppo_jax.proving.priors.embeddings import ComplEx, EuclideanRotatE, RotatE, Settings
from ppo_jax.proving.ranking import expected_reciprocal_rank
from ppo_jax.types import PPOJaxError

N = 12  # constants in a ring


def ring(held_out: str = "test") -> dict[str, str]:
    """Neighbours in a ring, their inverse, steps of two, and a symmetric relation; a few atoms of each are held out."""
    atoms = [f"{name}(c{i},c{(i + step) % N})." for name, step in STEPS.items() for i in range(N)]
    atoms = atoms[: len(atoms) - 2 * N] + atoms[-N:] + atoms[-2 * N : -N]
    valid, test = ("back(c3,c2).", "two(c5,c7)."), ("back(c9,c8).", "opposite(c1,c7).", "two(c10,c0).")
    parts = {"valid": valid, held_out: test}
    train = [atom for atom in atoms if atom not in valid + test]
    rules = "\n".join(f"{name}(X,Y) :- next(X,Y)." for name in STEPS)
    return {
        "train.txt": "\n".join(train),
        **{f"{name}.txt": "\n".join(part) for name, part in parts.items()},
        "rules.txt": rules,
    }


STEPS = {"next": 1, "back": -1, "two": 2, "opposite": N // 2}
loss_of_complex = jax.jit(embeddings._complex_loss, static_argnums=4)
loss_of_rotate = jax.jit(embeddings._rotate_loss, static_argnums=4)
QUICK = {
    "complex": Settings(dim=8, epochs=200, batch_size=32, eval_every=20, n3=0.02),
    "rotate": Settings("rotate", dim=8, epochs=400, batch_size=32, eval_every=40, learning_rate=0.02, margin=3.0),
}


@pytest.fixture(scope="module")
def dataset() -> datasets.Dataset:
    return datasets.from_files("ring", ring())


@pytest.fixture(scope="module")
def trained(dataset) -> dict[str, embeddings.Trained]:
    return {model: embeddings.train(dataset, settings) for model, settings in QUICK.items()}


def draw(model: str, n_constants: int = 5, n_predicates: int = 3, dim: int = 4):
    random = np.random.default_rng(0)
    entities = random.normal(size=(n_constants + 1, 2 * dim)).astype(np.float32)
    if model == "complex":
        return ComplEx(entities, random.normal(size=(2, n_predicates + 1, 2 * dim)).astype(np.float32))
    phases = random.uniform(-3, 3, (n_predicates + 1, dim)).astype(np.float32)
    return (RotatE if model == "rotate" else EuclideanRotatE)(entities, phases)


def as_complex(vectors) -> np.ndarray:
    re, im = np.split(np.asarray(vectors), 2, axis=-1)
    return re + 1j * im


@pytest.mark.parametrize("model", ["complex", "rotate", "rotate_l2"])
def test_scores_are_those_of_the_papers(model) -> None:
    params = draw(model)
    entities = as_complex(params.entities)
    predicate, known, side = np.array([1, 3, 2]), np.array([2, 5, 5]), np.array([TAIL, HEAD, TAIL])
    scores = np.asarray(embeddings.score_all(params, predicate, known, side))
    assert scores.shape == (3, 6) and (scores[:, 0] == -np.inf).all()
    for i, (p, k, s) in enumerate(zip(predicate, known, side, strict=True)):
        for constant in range(1, 6):
            if model == "complex":  # each side has a relation of its own, as if the query were p⁻¹(known, X)
                expected = (entities[k] * as_complex(params.relations)[s, p] * entities[constant].conj()).sum().real
            else:
                head, tail = (k, constant) if s == TAIL else (constant, k)
                difference = entities[head] * np.exp(1j * params.phases[p]) - entities[tail]
                expected = -np.abs(difference).sum() if model == "rotate" else -np.linalg.norm(difference)
            np.testing.assert_allclose(scores[i, constant], expected, rtol=1e-5)


def test_complex_with_one_relation_scores_both_sides_alike() -> None:
    entities, relations = draw("complex").entities, draw("complex").relations[0]
    params = ComplEx.from_one_relation(entities, relations)
    h, r, t = as_complex(entities)[2], as_complex(relations)[1], as_complex(entities)[4]
    expected = (h * r * t.conj()).sum().real
    scores = np.asarray(embeddings.score_all(params, np.array([1, 1]), np.array([2, 4]), np.array([TAIL, HEAD])))
    np.testing.assert_allclose([scores[0, 4], scores[1, 2]], [expected] * 2, rtol=1e-5)


def test_members_are_combined_into_one_whose_scores_are_their_sums() -> None:
    first = draw("complex")
    members = [first, ComplEx(first.entities[:, ::-1], first.relations[:, :, ::-1])]
    queries = np.array([1, 3]), np.array([2, 5]), np.array([TAIL, HEAD])
    expected = sum(np.asarray(embeddings.score_all(member, *queries)) for member in members)
    np.testing.assert_allclose(embeddings.score_all(embeddings.combine(members), *queries), expected, rtol=1e-4)


@pytest.mark.parametrize("relation_weight", [0.0, 0.5])
def test_the_loss_of_complex_is_what_numpy_says(dataset, relation_weight) -> None:
    n, p = len(dataset.kb.constants), len(dataset.kb.predicates)
    params = draw("complex", n, p)
    settings = Settings(dim=4, n3=0.3, relation_weight=relation_weight)
    batch = jax.tree.map(lambda column: column[np.array([0, 7, 60, 80])], embeddings._training_queries(dataset))
    found = loss_of_complex(params, batch, None, jax.random.key(0), settings)
    entities, relations = as_complex(params.entities), as_complex(params.relations)
    losses = []
    for predicate, known, side, answer, _ in zip(*map(np.asarray, batch), strict=True):
        k, r, a = entities[known], relations[side, predicate], entities[answer]
        others = (entities[1:].conj() @ (k * r)).real
        loss = np.log(np.exp(others).sum()) - (k * r * a.conj()).sum().real
        logits = (relations[side, 1:] @ (k * a.conj())).real
        loss += relation_weight * (np.log(np.exp(logits).sum()) - logits[predicate - 1])
        losses.append(loss + 0.3 * sum((np.abs(factor) ** 3).sum() for factor in (k, r, a)))
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-4)


def test_the_loss_of_rotate_is_what_numpy_says(dataset) -> None:
    params = draw("rotate", len(dataset.kb.constants), len(dataset.kb.predicates))
    settings = Settings("rotate", dim=4, margin=5.0, temperature=0.7)
    queries = embeddings._training_queries(dataset)
    batch = jax.tree.map(lambda column: column[np.array([0, 7, 60, 80])], queries)
    answers = embeddings._known_to_facts(dataset, queries)
    found = loss_of_rotate(params, batch, answers, jax.random.key(0), settings)
    facts = {tuple(fact) for fact in dataset.kb.facts.tolist()}
    scores = np.asarray(embeddings.score_all(params, batch.predicate, batch.known, batch.side), np.float64)
    losses = []
    for row, predicate, known, side, answer in zip(scores, *map(np.asarray, batch[:4]), strict=True):
        wrong = [
            c
            for c in range(1, len(row))
            if ((predicate, known, c) if side == TAIL else (predicate, c, known)) not in facts
        ]
        weights = np.exp(0.7 * row[wrong]) / np.exp(0.7 * row[wrong]).sum()
        negative = (weights * np.log1p(np.exp(5.0 + row[wrong]))).sum()
        losses.append((np.log1p(np.exp(-5.0 - row[answer])) + negative) / 2)
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-4)


def test_a_sample_of_all_constants_estimates_the_softmax(dataset) -> None:
    params = draw("complex", len(dataset.kb.constants), len(dataset.kb.predicates))
    batch = jax.tree.map(lambda column: column[:16], embeddings._training_queries(dataset))
    exact, sampled = (Settings(dim=4, n3=0.0, negatives=negatives) for negatives in (0, 11))
    keys = jax.random.split(jax.random.key(0), 200)
    estimates = jax.vmap(lambda key: loss_of_complex(params, batch, None, key, sampled))(keys)
    np.testing.assert_allclose(estimates.mean(), loss_of_complex(params, batch, None, keys[0], exact), rtol=0.1)


@pytest.mark.parametrize("model", QUICK)
def test_a_ring_is_learnt(dataset, trained, model) -> None:
    """Inverse, composition and symmetry follow from the facts; nothing else does."""
    losses = [progress.loss for progress in trained[model].history]
    assert losses[-1] < losses[0]
    assert embeddings.rank_answers(trained[model].params, dataset, "valid")["mrr"] == 1.0
    assert embeddings.rank_answers(trained[model].params, dataset, "test") == dict.fromkeys(embeddings.METRICS, 1.0)


def test_the_test_queries_change_nothing(trained) -> None:
    without = embeddings.train(datasets.from_files("ring", ring("unused")), QUICK["complex"])
    assert "test.txt" not in ring("unused")
    jax.tree.map(np.testing.assert_array_equal, without.params, trained["complex"].params)
    assert [p._replace(seconds=0) for p in without.history] == [
        p._replace(seconds=0) for p in trained["complex"].history
    ]


def test_the_seed_decides(dataset, trained) -> None:
    short = replace(QUICK["complex"], epochs=20)
    first, again, other = (embeddings.train(dataset, short, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.params.entities, again.params.entities)
    assert not np.array_equal(first.params.entities, other.params.entities)


def test_the_best_parameters_are_kept_and_a_report_stops(dataset) -> None:
    seen = []
    found = embeddings.train(dataset, QUICK["complex"], report=lambda progress: seen.append(progress) or len(seen) == 2)
    assert (found.stopped, [p.epoch for p in found.history]) == ("interrupted", [20, 40])
    best = max(p.valid["mrr"] for p in seen)
    assert embeddings.rank_answers(found.params, dataset, "valid")["mrr"] == pytest.approx(best) == seen[-1].best_mrr


def test_training_stops_at_a_plateau(dataset) -> None:
    found = embeddings.train(dataset, replace(QUICK["complex"], patience=2))
    assert found.stopped == "plateau"
    assert found.history[-1].epoch == found.history[-1].best_epoch + 40


def test_chunks_change_nothing(dataset, trained, monkeypatch) -> None:
    params, queries = trained["rotate"].params, open_queries(dataset, "test")
    whole, ranked = embeddings.log_scores(params, queries), embeddings.rank_answers(params, dataset, "test")
    monkeypatch.setattr(embeddings, "SCORES_AT_ONCE", 4 * params.entities.size)
    np.testing.assert_allclose(embeddings.log_scores(params, queries), whole, rtol=1e-6)
    assert embeddings.rank_answers(params, dataset, "test") == ranked
    np.testing.assert_allclose(np.exp(whole).sum(axis=1), 1.0, rtol=1e-5)
    better, tied, _ = answer_ranks(whole, queries, known_answers(dataset, "test"))
    assert expected_reciprocal_rank(better, tied).mean() == ranked["mrr"]


def test_what_cannot_be_trained_is_refused(dataset) -> None:
    with pytest.raises(PPOJaxError, match="needs training facts and valid queries"):
        none = dataset.queries | {"valid": dataset.queries["valid"][:0]}
        embeddings.train(replace(dataset, queries=none), QUICK["complex"])
    with pytest.raises(PPOJaxError, match="no embeddings 'transe'"):
        embeddings.default_settings(dataset, "transe")
    with pytest.raises(PPOJaxError, match="not finite"):
        embeddings.train(dataset, replace(QUICK["complex"], learning_rate=float("nan")))
