"""A prior over answers from embeddings: of our own, or read from what other programs write.

=====================  =============================================================================================
file or folder         what is read
=====================  =============================================================================================
``NAME.npz``           what `save_prior` wrote
folder of RotatE       ``config.json``, ``entity_embedding.npy``, ``relation_embedding.npy``, ``entities.dict`` and
                       ``relations.dict`` (``id<TAB>name``), the output of the code of Sun et al. (2019); the model is
                       RotatE or ComplEx
folder of PyKEEN       ``entity_representations.npy``, ``relation_representations.npy``, ``entity_to_id.tsv`` and
                       ``relation_to_id.tsv`` (either also as ``.tsv.gz``); the model is RotatE where every number of
                       the relations has modulus 1, else ComplEx; twice as many relations as names are the relations
                       and, behind each, its inverse
=====================  =============================================================================================
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.knowledge_base import nearest
from ppo_jax.proving.open_queries import OpenQueries
from ppo_jax.proving.priors.embeddings import MODELS, ComplEx, Embeddings, EuclideanRotatE, RotatE, log_scores
from ppo_jax.types import PPOJaxError

__all__ = ["Prior", "load_prior", "save_prior"]

REPOSITORY_EPSILON = 2.0  # the code of Sun et al. writes phases in units of (gamma + 2) / (dimension π)


@dataclass(frozen=True, eq=False)
class Prior:
    """Embeddings in the ids of a data set."""

    params: Embeddings
    seed: int | None = None  # of the training; None: the file does not tell

    @cached_property
    def sha256(self) -> str:
        """Of the embeddings."""
        return hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in self.params)).hexdigest()

    def describe(self) -> dict[str, Any]:
        """``model``, ``dim``, the complex components of a vector, the ``seed``, and ``sha256`` of the embeddings."""
        model, dim = _name_of(type(self.params)), self.params.entities.shape[-1] // 2
        return {"model": model, "dim": dim, "seed": self.seed, "sha256": self.sha256}

    def scores(self, queries: OpenQueries) -> np.ndarray:
        """Log-softmax of the scores over all constants, [Q, n_constants + 1] float32; column 0, padding, is -inf.

        The order within a query is that of the scores themselves, and values compare across queries: each is the log of
        a probability. The whole array is held, but computed in chunks; ask in parts where Q is large.
        """
        return log_scores(self.params, queries)


@dataclass(frozen=True)
class _Named:
    """Embeddings as a file has them, in an order of its own."""

    model: str
    entities: np.ndarray  # [E, 2 D]
    relations: np.ndarray  # [2, R, 2 D] by the side that is open (ComplEx), or phases [R, D]
    entity_names: Sequence[str]
    relation_names: Sequence[str]
    seed: int | None = None


def save_prior(path: str | Path, params: Embeddings, dataset: Dataset, seed: int | None = None) -> None:
    """Write embeddings in the ids of `dataset` with the names of its constants and predicates, so that ids may change.

    `seed` is what they were trained by.

    Raises:
        PPOJaxError: the file cannot be written.
    """
    entities, relations = (np.asarray(array, np.float32) for array in params)
    trained: dict[str, Any] = {} if seed is None else {"seed": np.array(seed)}
    try:
        with Path(path).open("wb") as file:
            np.savez(
                file,
                model=np.array(_name_of(type(params))),
                entities=entities[1:],
                relations=relations[..., 1:, :],
                entity_names=np.array(dataset.kb.constants),
                relation_names=np.array(dataset.kb.predicates),
                **trained,
            )
    except OSError as error:
        raise PPOJaxError(f"cannot write {path}: {error.strerror}") from error


def load_prior(path: str | Path, dataset: Dataset) -> Prior:
    """Read embeddings and bring them into the ids of a data set.

    Args:
        path: a file or folder as the table at the top of this module lists them.
        dataset: its constants, and the predicates of its facts and queries, must all have embeddings.

    Raises:
        PPOJaxError: a file is missing or malformed, shapes do not fit, or a name has no embedding.
    """
    path = Path(path)
    if not path.exists():
        raise PPOJaxError(f"no prior {path}: there is no such file or folder; `ppo-jax embed` makes one")
    if path.is_file():
        named = _read_own(path)
    elif (path / "entity_embedding.npy").is_file():
        named = _read_repository(path)
    elif (path / "entity_representations.npy").is_file():
        named = _read_pykeen(path)
    else:
        raise PPOJaxError(
            f"{path} is no prior: neither a .npz file of `ppo-jax embed` nor a folder with entity_embedding.npy "
            "(RotatE) or entity_representations.npy (PyKEEN)"
        )
    _check(named, path)
    kb = dataset.kb
    atoms = np.concatenate([kb.facts, *dataset.queries.values()])
    used = [kb.predicates[predicate - 1] for predicate in np.unique(atoms[:, 0])]
    entity_rows = _rows(kb.constants, named.entity_names, kb.constants, "constant", path)
    relation_rows = _rows(kb.predicates, named.relation_names, used, "predicate", path)
    entities = np.zeros((len(entity_rows) + 1, named.entities.shape[1]), np.float32)
    entities[1:] = named.entities[entity_rows]
    relations = np.zeros((*named.relations.shape[:-2], len(relation_rows) + 1, named.relations.shape[-1]), np.float32)
    relations[..., 1:, :] = np.where(relation_rows[:, None] >= 0, named.relations[..., relation_rows, :], 0.0)
    return Prior(MODELS[named.model](entities, relations), named.seed)


def _check(named: _Named, path: Path) -> None:
    """Raise `PPOJaxError` where shapes and names do not belong together."""
    entities, relations = named.entities, named.relations
    if named.model not in MODELS:
        raise PPOJaxError(f"{path} holds the model {named.model!r}; those that can be read are {', '.join(MODELS)}")
    leading, width = ((2,), entities.shape[-1]) if named.model == "complex" else ((), entities.shape[-1] // 2)
    wanted = {
        "entities": (entities.shape, (len(named.entity_names), entities.shape[-1] // 2 * 2)),
        "relations": (relations.shape, (*leading, len(named.relation_names), width)),
    }
    for what, (shape, expected) in wanted.items():
        if shape != expected:
            raise PPOJaxError(
                f"{path}: the {what} of {named.model} have the shape {shape}; their names want {expected}"
            )
    if not (np.isfinite(entities).all() and np.isfinite(relations).all()):
        raise PPOJaxError(f"{path} holds numbers that are not finite")


def _rows(names: Sequence[str], known: Sequence[str], used: Sequence[str], kind: str, path: Path) -> np.ndarray:
    """Row of each name among the `known`, -1 where it has none; those `used` must have one."""
    rows = {name: row for row, name in enumerate(known)}
    missing = [name for name in used if name not in rows]
    if missing:
        more = f", nor of {len(missing) - 1} more of {len(used)}" if missing[1:] else ""
        raise PPOJaxError(f"{path} has no embedding of the {kind} {missing[0]!r}{more}{nearest(missing[0], rows)}")
    return np.array([rows.get(name, -1) for name in names], np.int64)


def _read_own(path: Path) -> _Named:
    if not zipfile.is_zipfile(path):
        raise PPOJaxError(f"{path} is no .npz file of `ppo-jax embed`")
    arrays = _load(path)
    wanted = ("model", "entities", "relations", "entity_names", "relation_names")
    with arrays:
        if missing := [name for name in wanted if name not in arrays.files]:
            raise PPOJaxError(f"{path} is no .npz file of `ppo-jax embed`: it has no {missing[0]}")
        model, entities, relations, entity_names, relation_names = (arrays[name] for name in wanted)
        seed = int(arrays["seed"]) if "seed" in arrays.files else None
    return _Named(str(model), entities, relations, entity_names.tolist(), relation_names.tolist(), seed)


def _read_repository(folder: Path) -> _Named:
    """The code of Sun et al. stores real parts, then imaginary ones; phases in units of a range that gamma gives."""
    try:
        config = dict(json.loads(_text(folder / "config.json")))
    except (ValueError, TypeError):
        raise PPOJaxError(f"{folder / 'config.json'} is no JSON of settings") from None
    model = str(config.get("model"))
    entities, relations = _load(folder / "entity_embedding.npy"), _load(folder / "relation_embedding.npy")
    entity_names, relation_names = (_dictionary(folder / f"{kind}.dict") for kind in ("entities", "relations"))
    if model == "RotatE":
        if "gamma" not in config:
            raise PPOJaxError(f"{folder / 'config.json'} has no gamma, which the phases of RotatE are in units of")
        reach = (float(config["gamma"]) + REPOSITORY_EPSILON) / relations.shape[-1]
        return _Named("rotate", entities, relations * (np.pi / reach), entity_names, relation_names)
    if model == "ComplEx":
        both_sides = np.asarray(ComplEx.from_one_relation(entities, relations).relations)
        return _Named("complex", entities, both_sides, entity_names, relation_names)
    raise PPOJaxError(
        f"{folder / 'config.json'}: the model is {model!r}; those that can be read are RotatE and ComplEx"
    )


def _read_pykeen(folder: Path) -> _Named:
    """PyKEEN has complex arrays, or real ones whose last axis is the real and the imaginary part."""
    entities, relations = (_complex(_load(folder / f"{kind}_representations.npy")) for kind in ("entity", "relation"))
    entity_names, relation_names = (_dictionary(_tsv(folder, f"{kind}_to_id")) for kind in ("entity", "relation"))
    n = len(relation_names)
    inverses = len(relations) == 2 * n
    if np.allclose(np.abs(relations), 1.0, atol=1e-4):
        if inverses:
            raise PPOJaxError(f"{folder}: RotatE with inverse relations cannot be read; train it without them")
        phases = np.angle(relations)
        return _Named(_name_of(EuclideanRotatE), _split(entities), phases, entity_names, relation_names)
    forward, backward = (relations[0::2], relations[1::2]) if inverses else (relations, relations.conj())
    both_sides = np.stack([_split(backward), _split(forward)])
    return _Named(_name_of(ComplEx), _split(entities), both_sides, entity_names, relation_names)


def _name_of(cls: type[ComplEx] | type[RotatE]) -> str:
    return next(name for name, known in MODELS.items() if known is cls)


def _complex(array: np.ndarray) -> np.ndarray:
    """[N, D] complex."""
    if np.iscomplexobj(array):
        return array
    if array.ndim == 3 and array.shape[-1] == 2:
        return array[..., 0] + 1j * array[..., 1]
    re, im = array[..., 0::2], array[..., 1::2]
    if re.shape != im.shape:
        raise PPOJaxError(f"real numbers of the shape {array.shape} are no complex ones: an odd number in a row")
    return re + 1j * im


def _split(array: np.ndarray) -> np.ndarray:
    """[N, 2 D], real parts and then imaginary ones, of [N, D] complex."""
    return np.concatenate([array.real, array.imag], axis=-1).astype(np.float32)


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise PPOJaxError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PPOJaxError(f"{path} is no array that numpy reads: {error}") from None


def _text(path: Path) -> str:
    try:
        return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_bytes().decode()
    except FileNotFoundError:
        raise PPOJaxError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise PPOJaxError(f"cannot read {path}: {error}") from None


def _tsv(folder: Path, name: str) -> Path:
    plain = folder / f"{name}.tsv"
    return plain if plain.is_file() else folder / f"{name}.tsv.gz"


def _dictionary(path: Path) -> list[str]:
    """Names by id from lines ``id<TAB>name``; a first line ``id<TAB>label`` or the columns the other way round too."""
    rows = [line.split("\t") for line in _text(path).splitlines() if line]
    columns = {"id": 0, "label": 1}
    if rows and set(rows[0]) == set(columns):
        columns = {name: column for column, name in enumerate(rows.pop(0))}
    try:
        names = {int(row[columns["id"]]): row[columns["label"]] for row in rows}
        return [names[i] for i in range(len(rows))]
    except (ValueError, IndexError, KeyError):
        raise PPOJaxError(f"{path}: its lines are not `id<TAB>name` with the ids 0, 1, 2, ...") from None
