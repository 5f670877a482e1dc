"""Priors of answers: embeddings of constants and predicates."""
