"""What a run trains on and how it is judged.

Nothing is imported here, so that a proof task never pays for importing gymnax.
"""
