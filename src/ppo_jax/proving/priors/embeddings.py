"""Embeddings of constants and predicates that score every answer of an open query: ComplEx and RotatE.

Both hold complex vectors, stored as real parts followed by imaginary ones. They are trained on the facts of a
knowledge base alone; valid queries choose when to stop.

* ComplEx (Trouillon et al. 2016) scores ``Re Σ h r t̄``. Each fact is asked from both sides with a relation of its own
  for each, as a classification among all constants, under the nuclear 3-norm (Lacroix et al. 2018) and beside the
  prediction of the predicate (Chen et al. 2021).
* RotatE (Sun et al. 2019) scores ``−Σ |h r − t|`` with ``|r| = 1``, trained by self-adversarial negatives.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ppo_jax.proving.datasets import Dataset
from ppo_jax.proving.open_queries import HEAD, TAIL, OpenQueries, answer_ranks, known_answers, open_queries
from ppo_jax.proving.ranking import expected_hits, expected_reciprocal_rank
from ppo_jax.proving.unfinished import Unfinished, digest
from ppo_jax.types import PPOJaxError

__all__ = [
    "MODELS",
    "ComplEx",
    "Embeddings",
    "EuclideanRotatE",
    "Progress",
    "RotatE",
    "Settings",
    "Trained",
    "combine",
    "default_settings",
    "log_normalizers",
    "log_scores",
    "rank_answers",
    "score",
    "score_all",
    "state_of",
    "train",
]

Array = Any

SCORES_AT_ONCE = 2**24  # scores of a chunk of queries: 64 MB
MASK_BYTES = 2**27  # largest table of the answers that the facts know
EXACT_SOFTMAX_CONSTANTS = 5_000  # above, a softmax is estimated by a sample
METRICS = ("mrr", "hits@1", "hits@3", "hits@10")


class ComplEx(NamedTuple):
    """Parameters of ComplEx."""

    entities: Array  # [n_constants + 1, 2 D] by constant id; row 0 is padding
    relations: Array  # [2, n_predicates + 1, 2 D] by the side that is open, and predicate id

    def vectors(self, predicate: Array, known: Array, side: Array) -> Array:
        """What a query looks for, [Q, 2 D]: the known constant times the relation of the side."""
        return _times(self.entities[known], self.relations[side, predicate])

    @staticmethod
    def similarity(vectors: Array, entities: Array) -> Array:
        """Real part of the product with the conjugate, [Q, E] of [Q, 2 D] and [E, 2 D]."""
        return vectors @ entities.T

    def relation_vectors(self) -> Array:
        """What is learnt of each predicate, [n_predicates + 1, 4 D]: its vectors for both sides."""
        return np.concatenate([np.asarray(one) for one in self.relations], axis=-1)

    @classmethod
    def from_one_relation(cls, entities: Array, relations: Array) -> Self:
        """ComplEx with one relation [n_predicates + 1, 2 D] for both sides: the head is found by its conjugate."""
        return cls(entities, jnp.stack([_conjugate(relations), relations]))


class RotatE(NamedTuple):
    """Parameters of RotatE."""

    entities: Array  # [n_constants + 1, 2 D] by constant id; row 0 is padding
    phases: Array  # [n_predicates + 1, D] radians

    def vectors(self, predicate: Array, known: Array, side: Array) -> Array:
        """What a query looks for, [Q, 2 D]: the known constant turned by the phases, back where the head is open."""
        phases = jnp.where(side == TAIL, 1.0, -1.0)[:, None] * self.phases[predicate]
        return _times(self.entities[known], jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=-1))

    @staticmethod
    def similarity(vectors: Array, entities: Array) -> Array:
        """Minus the sum of the moduli of the differences, [Q, E] of [Q, 2 D] and [E, 2 D]."""
        return -jnp.sqrt(_squared_moduli(vectors[:, None] - entities[None])).sum(axis=-1)

    def relation_vectors(self) -> Array:
        """What is learnt of each predicate, [n_predicates + 1, 2 D]: the complex numbers of its phases; 0 without."""
        phases = np.asarray(self.phases)
        known = phases.any(axis=-1, keepdims=True)
        return np.concatenate([np.cos(phases), np.sin(phases)], axis=-1) * known


class EuclideanRotatE(RotatE):
    """RotatE with the Euclidean norm over all components in place of the sum of moduli, as PyKEEN has it."""

    __slots__ = ()

    @staticmethod
    def similarity(vectors: Array, entities: Array) -> Array:
        """Minus the Euclidean norm of the difference, [Q, E] of [Q, 2 D] and [E, 2 D]."""
        return -jnp.sqrt(_squared_moduli(vectors[:, None] - entities[None]).sum(axis=-1))


Embeddings = ComplEx | RotatE
MODELS: dict[str, type[ComplEx] | type[RotatE]] = {"complex": ComplEx, "rotate": RotatE, "rotate_l2": EuclideanRotatE}


@dataclass(frozen=True)
class Settings:
    """How embeddings are trained."""

    model: str = "complex"  # "complex" or "rotate"
    dim: int = 100  # complex components of a vector
    epochs: int = 100  # at most
    batch_size: int = 256  # open queries, two for each fact
    learning_rate: float = 0.1
    eval_every: int = 5  # epochs from one ranking of the valid queries to the next
    patience: int = 5  # rankings without a better one, after which training stops
    valid_queries: int | None = 3_000  # triples of valid that are ranked, drawn once; None: all
    negatives: int = 0  # constants that stand for all, drawn for each batch; 0: all of them
    n3: float = 0.01  # ComplEx: weight of the nuclear 3-norm
    relation_weight: float = 0.0  # ComplEx: weight of predicting the predicate
    margin: float = 6.0  # RotatE: distance at which a fact is as likely as not
    temperature: float = 1.0  # RotatE: how much more the better negatives weigh


def combine(members: Sequence[ComplEx]) -> ComplEx:
    """ComplEx whose scores are the sums of those of its members: their components side by side."""

    def side_by_side(arrays: list[Array]) -> np.ndarray:
        halves = [np.split(np.asarray(array), 2, axis=-1) for array in arrays]
        return np.concatenate([half[part] for part in (0, 1) for half in halves], axis=-1)

    return ComplEx(side_by_side([m.entities for m in members]), side_by_side([m.relations for m in members]))


def default_settings(dataset: Dataset, model: str = "complex") -> Settings:
    """Settings for the size of a data set, chosen on valid queries of graphs of 14 to 40,559 constants.

    Raises:
        PPOJaxError: there is no such model to train.
    """
    n_constants, n_facts = len(dataset.kb.constants), len(dataset.kb.facts)
    if model == "rotate":
        negatives = 0 if n_constants <= 300 else 128
        return Settings(model, epochs=300, batch_size=256, learning_rate=0.01, eval_every=10, negatives=negatives)
    if model != "complex":
        raise PPOJaxError(f"no embeddings {model!r} to train; known: complex, rotate")
    if n_constants > EXACT_SOFTMAX_CONSTANTS:
        sampled = Settings(dim=256, epochs=20, batch_size=1_000, negatives=3_000, n3=0.1, relation_weight=0.1)
        return replace(sampled, eval_every=1, patience=3, valid_queries=1_000)
    if n_facts > 10_000:
        return Settings(dim=200, eval_every=2, patience=3, valid_queries=1_000, n3=0.02, relation_weight=0.5)
    if n_constants <= 50:  # so few that the predicates would outweigh the answers
        return Settings(dim=200, batch_size=64, eval_every=2, patience=10)
    if n_facts < 5_000:  # so few that only strong norms keep them from being learnt by heart
        return Settings(epochs=40, batch_size=128, eval_every=2, n3=0.2, relation_weight=4.0)
    return Settings(dim=200, batch_size=64, patience=3, n3=0.05, relation_weight=8.0)


def _conjugate(x: Array) -> Array:
    re, im = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([re, -im], axis=-1)


def _times(x: Array, y: Array) -> Array:
    """Product of complex vectors [..., 2 D]."""
    (x_re, x_im), (y_re, y_im) = jnp.split(x, 2, axis=-1), jnp.split(y, 2, axis=-1)
    return jnp.concatenate([x_re * y_re - x_im * y_im, x_re * y_im + x_im * y_re], axis=-1)


def _squared_moduli(x: Array) -> Array:
    """[..., D] of complex vectors [..., 2 D]; not quite 0, where a root has no gradient."""
    re, im = jnp.split(x, 2, axis=-1)
    return re**2 + im**2 + 1e-12


class _Queries(NamedTuple):
    """Open queries on the device, as many as a batch or all of them."""

    predicate: Array  # [N]
    known: Array  # [N]
    side: Array  # [N]
    answer: Array  # [N]
    row: Array  # [N] the same for queries that ask the same


class _State(NamedTuple):
    params: Embeddings
    optimizer: Any
    key: Array


def score_all(params: Embeddings, predicate: Array, known: Array, side: Array) -> Array:
    """Score every constant as the answer of each query.

    Args:
        params: ComplEx or RotatE.
        predicate: [n] predicate ids.
        known: [n] ids of the constant that is not asked for.
        side: [n] `HEAD` or `TAIL`, which argument is open.

    Returns:
        [n, n_constants + 1] by constant id; column 0, padding, is -inf.
    """
    scores = params.similarity(params.vectors(predicate, known, side), params.entities)
    return scores.at[:, 0].set(-jnp.inf)


def score(params: Embeddings, predicate: Array, known: Array, side: Array, answer: Array) -> Array:
    """The scores [n] of one answer [n] to each query; `score_all` has those of all."""
    vectors, answers = params.vectors(predicate, known, side), params.entities[answer]
    return jax.vmap(lambda vector, answer: params.similarity(vector[None], answer[None])[0, 0])(vectors, answers)


@jax.jit
def _log_scores(params: Embeddings, predicate: Array, known: Array, side: Array) -> Array:
    return jax.nn.log_softmax(score_all(params, predicate, known, side), axis=-1)


def _chunks(params: Embeddings, n_queries: int) -> list[slice]:
    floats = params.entities.shape[0] * (params.entities.shape[1] if isinstance(params, RotatE) else 1)
    size = max(1, min(n_queries, SCORES_AT_ONCE // floats))
    return [slice(start, start + size) for start in range(0, n_queries, size)]


@jax.jit
def _log_normalizers(params: Embeddings, predicate: Array, known: Array, side: Array) -> Array:
    return jax.nn.logsumexp(score_all(params, predicate, known, side), axis=-1)


def _padded(function: Any, params: Embeddings, queries: OpenQueries, size: int) -> np.ndarray:
    """`function` of at most `size` queries, padded to that so that one program is enough."""
    padded = [np.resize(column, size) for column in (queries.predicate, queries.known, queries.side)]
    return np.asarray(function(params, *padded))[: len(queries.known)]


def log_scores(params: Embeddings, queries: OpenQueries) -> np.ndarray:
    """Log-softmax of the scores over all constants, [Q, n_constants + 1] float32; column 0, padding, is -inf."""
    scores = np.empty((len(queries.known), params.entities.shape[0]), np.float32)
    chunks = _chunks(params, len(queries.known))
    for rows in chunks:
        part = OpenQueries(*(column[rows] for column in queries))
        scores[rows] = _padded(_log_scores, params, part, chunks[0].stop)
    return scores


def log_normalizers(params: Embeddings, queries: OpenQueries) -> np.ndarray:
    """What scores exceed log-probabilities by, [Q] float32: the log of the sum of the exponentials of all."""
    asked = np.stack([queries.predicate, queries.known, queries.side], axis=1)
    _, first, row = np.unique(asked, axis=0, return_index=True, return_inverse=True)
    distinct = OpenQueries(*(column[first] for column in queries))
    chunks = _chunks(params, len(first))
    parts = [OpenQueries(*(column[rows] for column in distinct)) for rows in chunks]
    return np.concatenate([_padded(_log_normalizers, params, part, chunks[0].stop) for part in parts])[row.reshape(-1)]


def rank_answers(
    params: Embeddings, dataset: Dataset, split: str, n_queries: int | None = None, seed: int = 0
) -> dict[str, float]:
    """Rank the answers of a split among all constants: protocol `answers`, both sides, filtered.

    Args:
        params: what scores.
        dataset: where the queries and the filter are from; valid is filtered without test.
        split: ``"valid"`` or ``"test"``.
        n_queries: triples to rank; None: all.
        seed: of their draw.

    Returns:
        Expected ``mrr``, ``hits@1``, ``hits@3`` and ``hits@10``.
    """
    queries, known = open_queries(dataset, split, n_queries, seed), known_answers(dataset, split)
    chunks = _chunks(params, len(queries.known))
    ranks = []
    for rows in chunks:
        part = OpenQueries(*(column[rows] for column in queries))
        ranks.append(answer_ranks(_padded(_log_scores, params, part, chunks[0].stop), part, known)[:2])
    better, tied = (np.concatenate(column) for column in zip(*ranks, strict=True))
    hits = {f"hits@{k}": float(expected_hits(better, tied, k).mean()) for k in (1, 3, 10)}
    return {"mrr": float(expected_reciprocal_rank(better, tied).mean()), **hits}


class Progress(NamedTuple):
    """Where training stands after a ranking of the valid queries."""

    epoch: int
    loss: float  # mean since the last ranking
    valid: dict[str, float]  # mrr, hits@1, hits@3, hits@10
    best_epoch: int
    best_mrr: float
    seconds: float


class Trained(NamedTuple):
    """Embeddings at their best on the valid queries."""

    params: Embeddings  # numpy arrays
    history: tuple[Progress, ...]
    stopped: str  # "epochs", "plateau" or "interrupted"


def state_of(output: Path, dataset: Dataset, settings: Settings, seed: int, say: Callable[[str], None]) -> Unfinished:
    """What is kept of the training of embeddings that are to be written to `output`; `say` is told what becomes of it.

    Valid queries choose the epoch, so it depends on them too.
    """
    facts = digest(dataset.kb, dataset.queries["valid"])
    return Unfinished(output, {"facts": facts, "seed": seed, **asdict(settings)}, say)


def train(
    dataset: Dataset,
    settings: Settings,
    seed: int = 0,
    report: Callable[[Progress], object] | None = None,
    unfinished: Unfinished | None = None,
) -> Trained:
    """Train embeddings on the facts of a data set until the valid queries rank no better.

    Args:
        dataset: its facts are trained on; its valid queries choose the epoch; its test queries are not looked at.
        settings: as `default_settings` has them for the size of the data set.
        seed: of the first parameters, the order of the facts and the negatives.
        report: called after each ranking; training stops where it returns something true.
        unfinished: where the state is kept, as of `state_of`, and a training that was interrupted goes on; the caller
            removes it once the embeddings are written.

    Raises:
        PPOJaxError: there are no facts, no valid queries, or the loss is not finite.
    """
    if not len(dataset.kb.facts) or not len(dataset.queries["valid"]):
        raise PPOJaxError(f"data set {dataset.name!r} needs training facts and valid queries to train embeddings")
    queries = _training_queries(dataset)
    answers = _known_to_facts(dataset, queries) if settings.model == "rotate" else None
    settings = replace(settings, batch_size=min(settings.batch_size, len(queries.answer)))
    state = _first_state(dataset, settings, seed)
    best, history = state.params, list[Progress]()
    if unfinished and (found := unfinished.found()):
        state, best, history = _from_arrays(found, state)
    best_mrr, best_epoch, epoch, seconds = -1.0, 0, 0, 0.0
    if history:
        epoch, _, _, best_epoch, best_mrr, seconds = history[-1]
    start = time.perf_counter() - seconds
    patience = settings.patience * settings.eval_every
    interrupted = False
    while epoch < settings.epochs and epoch - best_epoch < patience and not interrupted:
        n_epochs = min(settings.eval_every, settings.epochs - epoch)
        state, loss = _train_epochs(state, queries, answers, settings, n_epochs)
        epoch += n_epochs
        if not np.isfinite(loss):
            raise PPOJaxError(f"the loss of the embeddings is not finite after {epoch} epochs; lower the learning rate")
        valid = rank_answers(state.params, dataset, "valid", settings.valid_queries)
        if valid["mrr"] > best_mrr:
            best_mrr, best_epoch = valid["mrr"], epoch
            best = jax.tree.map(np.array, state.params)
        progress = Progress(epoch, float(loss), valid, best_epoch, best_mrr, time.perf_counter() - start)
        history.append(progress)
        interrupted = bool(report and report(progress))
        if unfinished and (interrupted or unfinished.due):
            unfinished.keep(_to_arrays(state, best, history))
    stopped = "interrupted" if interrupted else "plateau" if epoch - best_epoch >= patience else "epochs"
    return Trained(best, tuple(history), stopped)


def _to_arrays(state: _State, best: Embeddings, history: Sequence[Progress]) -> dict[str, np.ndarray]:
    """A training under way, by names."""
    leaves = jax.tree.leaves((state._replace(key=jax.random.key_data(state.key)), best))
    numbered = {f"leaf {i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    return numbered | {"history": np.array(json.dumps(history))}


def _from_arrays(arrays: dict[str, np.ndarray], like: _State) -> tuple[_State, Embeddings, list[Progress]]:
    """What `_to_arrays` gave, of a training that begins at `like`."""
    leaves = [jnp.asarray(arrays[f"leaf {i}"]) for i in range(len(arrays) - 1)]
    state, best = jax.tree.unflatten(jax.tree.structure((like, like.params)), leaves)
    history = [Progress(*row) for row in json.loads(str(arrays["history"]))]
    return state._replace(key=jax.random.wrap_key_data(state.key)), jax.tree.map(np.array, best), history


def _training_queries(dataset: Dataset) -> _Queries:
    """Both sides of the facts, [2 F]."""
    predicate, first, second = dataset.kb.facts.T
    side = np.repeat(np.array([TAIL, HEAD], np.int32), len(predicate))
    known, answer = np.concatenate([first, second]), np.concatenate([second, first])
    predicate = np.tile(predicate, 2)
    keys = (predicate.astype(np.int64) * 2 + side) * (len(dataset.kb.constants) + 1) + known
    _, row = np.unique(keys, return_inverse=True)
    return _Queries(*map(jnp.asarray, (predicate, known, side, answer, row.astype(np.int32))))


def _known_to_facts(dataset: Dataset, queries: _Queries) -> Array:
    """Which constants the facts know to answer each row, [rows, n_constants + 1]; None where that is too large."""
    shape = int(queries.row.max()) + 1, len(dataset.kb.constants) + 1
    if shape[0] * shape[1] > MASK_BYTES:
        return None
    table = np.zeros(shape, bool)
    table[queries.row, queries.answer] = True
    return jnp.asarray(table)


def _first_state(dataset: Dataset, settings: Settings, seed: int) -> _State:
    key, entity_key, relation_key = jax.random.split(jax.random.key(seed), 3)
    n_entities, n_relations, dim = len(dataset.kb.constants) + 1, len(dataset.kb.predicates) + 1, settings.dim
    params: Embeddings
    if settings.model == "complex":
        entities = 1e-3 * jax.random.normal(entity_key, (n_entities, 2 * dim))
        params = ComplEx(entities, 1e-3 * jax.random.normal(relation_key, (2, n_relations, 2 * dim)))
    else:
        reach = _reach(settings)
        entities = jax.random.uniform(entity_key, (n_entities, 2 * dim), minval=-reach, maxval=reach)
        params = RotatE(entities, jax.random.uniform(relation_key, (n_relations, dim), minval=-np.pi, maxval=np.pi))
    return _State(params, _optimizer(settings).init(params), key)


def _reach(settings: Settings) -> float:
    """First entities of RotatE lie within this, so that distances begin around the margin."""
    return (settings.margin + 2.0) / settings.dim


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    if settings.model == "complex":
        return optax.adagrad(settings.learning_rate, initial_accumulator_value=0.0, eps=1e-30)

    def turn_faster(updates: RotatE, state: Any, params: Any = None) -> tuple[RotatE, Any]:
        """Phases lie within π where entities lie within their reach; both move by the same share of it."""
        return updates._replace(phases=updates.phases * (np.pi / _reach(settings))), state

    faster = optax.GradientTransformation(lambda params: optax.EmptyState(), turn_faster)
    return optax.chain(optax.adam(settings.learning_rate), faster)


@partial(jax.jit, static_argnames=("settings", "n_epochs"), donate_argnames="state")
def _train_epochs(
    state: _State, queries: _Queries, answers: Array, settings: Settings, n_epochs: int
) -> tuple[_State, Array]:
    """So many passes over the queries, each in an order of its own; the rest below a batch waits for another pass."""
    n_queries, batch_size = len(queries.answer), settings.batch_size
    optimizer = _optimizer(settings)
    loss_of = _complex_loss if settings.model == "complex" else _rotate_loss

    def step(state: _State, rows: Array) -> tuple[_State, Array]:
        key, negatives_key = jax.random.split(state.key)
        batch = jax.tree.map(lambda column: column[rows], queries)
        loss, gradient = jax.value_and_grad(loss_of)(state.params, batch, answers, negatives_key, settings)
        updates, opt_state = optimizer.update(gradient, state.optimizer, state.params)
        return _State(optax.apply_updates(state.params, updates), opt_state, key), loss

    def epoch(state: _State, _: None) -> tuple[_State, Array]:
        key, order_key = jax.random.split(state.key)
        n_batches = n_queries // batch_size
        order = jax.random.permutation(order_key, n_queries)[: n_batches * batch_size]
        state, losses = jax.lax.scan(step, state._replace(key=key), order.reshape(n_batches, batch_size))
        return state, losses.mean()

    state, losses = jax.lax.scan(epoch, state, None, length=n_epochs)
    return state, losses.mean()


def _candidates(params: Embeddings, key: Array, settings: Settings) -> Array:
    """Ids of the constants that a batch is compared with, [K]: all, or a sample with repetitions."""
    n = params.entities.shape[0] - 1
    if settings.negatives and settings.negatives < n:
        return jax.random.randint(key, (settings.negatives,), 1, n + 1)
    return jnp.arange(1, n + 1)


def _complex_loss(params: ComplEx, batch: _Queries, answers: Array, key: Array, settings: Settings) -> Array:
    """Cross-entropy of the answer among the candidates, cross-entropy of the predicate, and the norms.

    A sample stands for all constants: each counts as many times as there are constants to one of the sample.
    """
    n = params.entities.shape[0] - 1
    vectors = params.vectors(batch.predicate, batch.known, batch.side)
    answer = params.entities[batch.answer]
    own = (vectors * answer).sum(axis=-1)
    ids = _candidates(params, key, settings)
    others = params.similarity(vectors, params.entities[ids]) + np.log(n / len(ids))
    others = jnp.where(ids[None] == batch.answer[:, None], -jnp.inf, others)
    loss = (jnp.logaddexp(own, jax.nn.logsumexp(others, axis=-1)) - own).mean()

    known, relation = params.entities[batch.known], params.relations[batch.side, batch.predicate]
    if settings.relation_weight:
        # Re Σ k r ā is linear in r: its coefficients are the conjugate of k ā.
        coefficients = _conjugate(_times(known, _conjugate(answer)))
        logits = jnp.einsum("bd,spd->bsp", coefficients, params.relations[:, 1:])
        logits = jnp.take_along_axis(logits, batch.side[:, None, None], axis=1)[:, 0]
        loss += (
            settings.relation_weight
            * optax.softmax_cross_entropy_with_integer_labels(logits, batch.predicate - 1).mean()
        )
    cubes = sum((_squared_moduli(factor) ** 1.5).sum(axis=-1) for factor in (known, relation, answer))
    return loss + settings.n3 * cubes.mean()


def _rotate_loss(params: RotatE, batch: _Queries, answers: Array, key: Array, settings: Settings) -> Array:
    """Negatives count by their own softmax, which the gradient leaves alone: equations 5 and 6 of Sun et al."""
    vectors = params.vectors(batch.predicate, batch.known, batch.side)
    own = settings.margin - jnp.sqrt(_squared_moduli(vectors - params.entities[batch.answer])).sum(axis=-1)
    ids = _candidates(params, key, settings)
    wrong = ids[None] != batch.answer[:, None] if answers is None else ~answers[batch.row][:, ids]
    others = settings.margin + params.similarity(vectors, params.entities[ids])
    weights = jax.nn.softmax(jnp.where(wrong, settings.temperature * others, -jnp.inf), axis=-1)
    negative = (jax.lax.stop_gradient(weights) * jax.nn.log_sigmoid(-others)).sum(axis=-1)
    return -(jax.nn.log_sigmoid(own) + negative).mean() / 2
