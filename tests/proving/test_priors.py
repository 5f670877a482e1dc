"""Priors: a round trip by names, and the formats of other programs against their own formulas."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving.open_queries import HEAD, TAIL, open_queries
from ppo_jax.proving.priors.embeddings import ComplEx, RotatE, log_scores, score_all
from ppo_jax.proving.priors.prior import Prior, load_prior, save_prior
from ppo_jax.proving.priors.projection import initial_embeddings, principal_components
from ppo_jax.types import PPOJaxError

FILES = {
    "train.txt": "p(a,b).\np(a,c).\np(b,c).\nq(a,b).\nq(d,b).\n",
    "valid.txt": "p(a,d).\n",
    "test.txt": "q(b,d).\n",
    "rules.txt": "p(X,Y) :- q(X,Y).\nunused(X,Y) :- q(X,Y).\n",
}
REORDERED = FILES | {"train.txt": "q(d,b).\nq(a,b).\np(b,c).\np(a,c).\np(a,b).\n"}
ENTITIES, RELATIONS = ["d", "a", "e", "c", "b"], ["q", "p"]  # the order of the other program
DIM = 3


@pytest.fixture(scope="module")
def dataset() -> datasets.Dataset:
    return datasets.from_files("toy", FILES)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write_repository(folder: Path, model: str, gamma: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    entities = random(len(ENTITIES), 2 * DIM)
    relations = random(len(RELATIONS), DIM if model == "RotatE" else 2 * DIM, seed=1)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model": model, "gamma": gamma, "hidden_dim": DIM}))
    np.save(folder / "entity_embedding.npy", entities)
    np.save(folder / "relation_embedding.npy", relations)
    for name, names in {"entities": ENTITIES, "relations": RELATIONS}.items():
        (folder / f"{name}.dict").write_text("".join(f"{i}\t{one}\n" for i, one in enumerate(names)))
    return entities, relations


def write_pykeen(folder: Path, relations: np.ndarray) -> np.ndarray:
    entities = random(len(ENTITIES), DIM) + 1j * random(len(ENTITIES), DIM, seed=1)
    folder.mkdir(exist_ok=True)
    np.save(folder / "entity_representations.npy", entities.astype(np.complex64))
    np.save(folder / "relation_representations.npy", relations)
    table = "id\tlabel\n" + "".join(f"{i}\t{one}\n" for i, one in enumerate(ENTITIES))
    (folder / "entity_to_id.tsv.gz").write_bytes(gzip.compress(table.encode()))
    table = "label\tid\n" + "".join(f"{one}\t{i}\n" for i, one in enumerate(RELATIONS))
    (folder / "relation_to_id.tsv").write_text(table)
    return entities


def score(prior: Prior, dataset: datasets.Dataset, predicate: str, head: str, tail: str) -> tuple[float, float]:
    """What the prior gives a triple, asked for its tail and for its head."""
    kb = dataset.kb
    p, h, t = kb.predicate_ids[predicate], kb.constant_ids[head], kb.constant_ids[tail]
    sides, known = np.array([TAIL, HEAD]), np.array([h, t])
    scores = np.asarray(score_all(prior.params, np.array([p, p]), known, sides))
    return float(scores[0, t]), float(scores[1, h])


def split(vector: np.ndarray) -> np.ndarray:
    return vector[:DIM] + 1j * vector[DIM:]


@pytest.mark.parametrize("model", ["complex", "rotate"])
def test_a_saved_prior_goes_by_names(tmp_path, dataset, model) -> None:
    kb = dataset.kb
    entities = random(len(kb.constants) + 1, 2 * DIM)
    if model == "complex":
        params = ComplEx(entities, random(2, len(kb.predicates) + 1, 2 * DIM))
    else:
        params = RotatE(entities, random(len(kb.predicates) + 1, DIM))
    save_prior(tmp_path / "prior.npz", params, dataset)
    other = datasets.from_files("toy", REORDERED)
    assert other.kb.constants != kb.constants and other.kb.predicates != kb.predicates
    for target in (dataset, other):
        prior = load_prior(tmp_path / "prior.npz", target)
        assert type(prior.params) is type(params)
        for atom in [("p", "a", "d"), ("q", "c", "b"), ("unused", "b", "a")]:
            np.testing.assert_allclose(score(prior, target, *atom), score(Prior(params), dataset, *atom), rtol=1e-5)


def test_the_scores_of_a_prior_are_log_probabilities(dataset) -> None:
    params = ComplEx(random(len(dataset.kb.constants) + 1, 6), random(2, len(dataset.kb.predicates) + 1, 6))
    queries = open_queries(dataset, "valid")
    scores = Prior(params).scores(queries)
    assert scores.shape == (2, len(dataset.kb.constants) + 1) and (scores[:, 0] == -np.inf).all()
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(scores, log_scores(params, queries))


def test_rotate_of_the_repository(tmp_path, dataset) -> None:
    entities, relations = write_repository(tmp_path, "RotatE")
    prior = load_prior(tmp_path, dataset)
    reach = (6.0 + 2.0) / DIM
    h, t = split(entities[ENTITIES.index("a")]), split(entities[ENTITIES.index("c")])
    expected = -np.abs(h * np.exp(1j * relations[RELATIONS.index("p")] / (reach / np.pi)) - t).sum()
    np.testing.assert_allclose(score(prior, dataset, "p", "a", "c"), [expected] * 2, rtol=1e-4)


def test_complex_of_the_repository(tmp_path, dataset) -> None:
    entities, relations = write_repository(tmp_path, "ComplEx")
    prior = load_prior(tmp_path, dataset)
    h, r, t = (
        split(rows[names.index(name)])
        for rows, names, name in [(entities, ENTITIES, "d"), (relations, RELATIONS, "q"), (entities, ENTITIES, "b")]
    )
    np.testing.assert_allclose(score(prior, dataset, "q", "d", "b"), [(h * r * t.conj()).sum().real] * 2, rtol=1e-4)


def test_rotate_of_pykeen_has_the_euclidean_norm(tmp_path, dataset) -> None:
    relations = np.exp(1j * random(len(RELATIONS), DIM)).astype(np.complex64)
    entities = write_pykeen(tmp_path, relations)
    prior = load_prior(tmp_path, dataset)
    h, t = entities[ENTITIES.index("a")], entities[ENTITIES.index("c")]
    expected = -np.linalg.norm(h * relations[RELATIONS.index("p")] - t)
    np.testing.assert_allclose(score(prior, dataset, "p", "a", "c"), [expected] * 2, rtol=1e-4)
    save_prior(tmp_path / "again.npz", prior.params, dataset)
    again = load_prior(tmp_path / "again.npz", dataset)
    np.testing.assert_allclose(score(again, dataset, "p", "a", "c"), [expected] * 2, rtol=1e-4)


@pytest.mark.parametrize("layout", ["complex", "pairs", "interleaved"])
def test_complex_of_pykeen(tmp_path, dataset, layout) -> None:
    relations = random(len(RELATIONS), DIM) + 1j * random(len(RELATIONS), DIM, seed=2)
    pairs = np.stack([relations.real, relations.imag], axis=-1)
    written = {"complex": relations, "pairs": pairs, "interleaved": pairs.reshape(len(RELATIONS), -1)}[layout]
    entities = write_pykeen(tmp_path, written)
    h, t = entities[ENTITIES.index("d")], entities[ENTITIES.index("b")]
    expected = (h * relations[RELATIONS.index("q")] * t.conj()).sum().real
    np.testing.assert_allclose(score(load_prior(tmp_path, dataset), dataset, "q", "d", "b"), [expected] * 2, rtol=1e-4)


def test_complex_of_pykeen_with_inverses(tmp_path, dataset) -> None:
    """Relation i is row 2 i, its inverse the row behind; the head is then the tail of the inverse."""
    relations = random(2 * len(RELATIONS), DIM) + 1j * random(2 * len(RELATIONS), DIM, seed=2)
    entities = write_pykeen(tmp_path, relations)
    h, t = entities[ENTITIES.index("d")], entities[ENTITIES.index("b")]
    forward, backward = relations[2 * RELATIONS.index("q") :][:2]
    expected = [(h * forward * t.conj()).sum().real, (t * backward * h.conj()).sum().real]
    np.testing.assert_allclose(score(load_prior(tmp_path, dataset), dataset, "q", "d", "b"), expected, rtol=1e-4)


def fails(path: Path, dataset: datasets.Dataset, message: str) -> None:
    with pytest.raises(PPOJaxError, match=message) as error:
        load_prior(path, dataset)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_is_said_in_one_line(tmp_path, dataset) -> None:
    folder = tmp_path / "rotate"
    write_repository(folder, "RotatE")
    fails(tmp_path / "nothing", dataset, "no prior .*nothing: there is no such file or folder")
    fails(tmp_path, dataset, "is no prior: neither")
    (folder / "entities.dict").write_text("0\td\n1\ta\n2\te\n3\tc\n4\tbb\n")
    fails(folder, dataset, "has no embedding of the constant 'b'; the nearest known is 'bb'")
    (folder / "entities.dict").write_text("0\td\n1\ta\n2\tb\n3\tc\n")
    fails(folder, dataset, r"the entities of rotate have the shape \(5, 6\); their names want \(4, 6\)")
    (folder / "entities.dict").write_text("d\t0\n")
    fails(folder, dataset, "entities.dict: its lines are not `id<TAB>name`")
    (folder / "entities.dict").unlink()
    fails(folder, dataset, "entities.dict: no such file")
    write_repository(folder, "RotatE")
    (folder / "relations.dict").write_text("0\tp\n1\tr\n")
    fails(folder, dataset, "has no embedding of the predicate 'q'")
    write_repository(folder, "TransE")
    fails(folder, dataset, "the model is 'TransE'; those that can be read are RotatE and ComplEx")
    (folder / "config.json").write_text("{")
    fails(folder, dataset, "config.json is no JSON")
    (folder / "config.json").write_text('{"model": "RotatE"}')
    fails(folder, dataset, "has no gamma")
    (folder / "entity_embedding.npy").write_text("text")
    fails(folder, dataset, "entity_embedding.npy is no array that numpy reads")
    write_repository(folder, "RotatE")
    np.save(folder / "relation_embedding.npy", random(2, 4))
    fails(folder, dataset, r"the relations of rotate have the shape \(2, 4\); their names want \(2, 3\)")
    np.save(folder / "relation_embedding.npy", np.full((2, 3), np.nan, np.float32))
    fails(folder, dataset, "not finite")


def test_files_that_are_no_prior_of_ours(tmp_path, dataset) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    fails(tmp_path / "array.npy", dataset, "is no .npz file of `ppo-jax embed`")
    np.savez(tmp_path / "other.npz", model="complex")
    fails(tmp_path / "other.npz", dataset, "has no entities")
    (tmp_path / "text.npz").write_text("nothing")
    fails(tmp_path / "text.npz", dataset, "text.npz is no .npz file of `ppo-jax embed`")
    with pytest.raises(PPOJaxError, match="cannot write"):
        save_prior(tmp_path / "no" / "folder.npz", ComplEx(np.zeros((5, 2)), np.zeros((2, 4, 2))), dataset)


def test_rotate_of_pykeen_with_inverses_is_refused(tmp_path, dataset) -> None:
    write_pykeen(tmp_path, np.exp(1j * random(2 * len(RELATIONS), DIM)))
    fails(tmp_path, dataset, "RotatE with inverse relations cannot be read")


@pytest.mark.parametrize("shape, size", [((9, 4), 3), ((5, 8), 12), ((40, 6), 6)])
def test_principal_components_are_those_of_the_svd(shape, size) -> None:
    vectors = random(*shape)
    vectors[2] = 0.0  # stands for nothing
    found, rest = principal_components(vectors, size), np.delete(vectors, 2, axis=0)
    assert np.isnan(found[2]).all()
    found = np.delete(found, 2, axis=0)
    np.testing.assert_allclose((found**2).mean(), 1.0, rtol=1e-5)
    u, s, _ = np.linalg.svd(rest - rest.mean(axis=0), full_matrices=False)
    kept = (u * s)[:, :size]
    # Up to the sign of a component and one scale for all: the inner products are those of the leading components.
    expected = kept @ kept.T
    np.testing.assert_allclose(found @ found.T, expected * (rest.shape[0] * size / np.trace(expected)), atol=1e-4)


def test_a_lone_vector_differs_from_nothing_and_says_nothing() -> None:
    found = principal_components(np.array([[0.0, 0.0], [3.0, 4.0]], np.float32), 2)
    np.testing.assert_array_equal(found, [[np.nan, np.nan], [0.0, 0.0]])


@pytest.mark.parametrize("model", ["complex", "rotate"])
def test_embeddings_begin_from_what_a_prior_has(model) -> None:
    """A predicate without an embedding is drawn; what a predicate does on both sides counts, or where it turns to."""
    entities, phases = random(6, 2 * DIM), random(4, DIM, seed=1)
    both_sides = random(2, 4, 2 * DIM, seed=1)
    phases[3], both_sides[:, 3] = 0.0, 0.0
    prior = Prior(ComplEx(entities, both_sides) if model == "complex" else RotatE(entities, phases))
    found = initial_embeddings(prior, 4, constants=True)
    assert (found.predicates.shape, found.constants.shape) == ((4, 4), (6, 4))
    assert np.isnan(found.predicates[3]).all() and np.isfinite(found.predicates[:3]).all()
    vectors = np.hstack([*both_sides]) if model == "complex" else np.hstack([np.cos(phases), np.sin(phases)])
    np.testing.assert_allclose(found.predicates[:3], principal_components(vectors[:3], 4), atol=1e-5)
    np.testing.assert_array_equal(found.constants, principal_components(entities, 4))
    same, other = (initial_embeddings(prior, 4, constants=constants) for constants in (True, False))
    assert found == same != other
    assert hash(found) == hash(same)
    assert other.constants is None
