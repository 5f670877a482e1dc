"""Evaluation: returns of episodes, ranking metrics, and the proofs behind a score."""
