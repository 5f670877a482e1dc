"""Environments: the proof task, the adapter to gymnax, and wrappers.

Nothing is imported here, so that a proof task never pays for importing gymnax.
"""
