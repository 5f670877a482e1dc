"""Vectors of a prior brought to the width of a policy's embeddings, which then begin with what the prior knows."""

from __future__ import annotations

import hashlib

import numpy as np

from ppo_jax.proving.networks import InitialEmbeddings
from ppo_jax.proving.priors.prior import Prior

__all__ = ["initial_embeddings", "principal_components"]


def initial_embeddings(prior: Prior, size: int, *, constants: bool) -> InitialEmbeddings:
    """Principal components of the vectors of predicates, and where `constants` says so of those of constants."""
    predicates = principal_components(prior.params.relation_vectors(), size)
    of_constants = principal_components(np.asarray(prior.params.entities), size) if constants else None
    digest = hashlib.sha256(predicates.tobytes() + (b"" if of_constants is None else of_constants.tobytes()))
    return InitialEmbeddings(digest.hexdigest(), predicates, of_constants)


def principal_components(vectors: np.ndarray, size: int) -> np.ndarray:
    """The leading `size` principal components of `vectors` [N, D], scaled to a mean square of 1, [N, size] float32.

    Rows of zeros stand for nothing: they do not count, and are nan. Components beyond the rank of the rest are 0.
    """
    known = vectors.any(axis=1)
    rows = vectors[known].astype(np.float64)
    rows -= rows.mean(axis=0)
    _, directions = np.linalg.eigh(rows.T @ rows)  # in ascending order of the variance
    leading = rows @ directions[:, ::-1][:, : min(size, len(rows) - 1)]
    leading /= max(np.sqrt((leading**2).sum() / (len(rows) * size)), np.finfo(np.float32).tiny)
    found = np.full((len(vectors), size), np.nan, np.float32)
    found[known] = np.pad(leading, ((0, 0), (0, size - leading.shape[1])))
    return found
