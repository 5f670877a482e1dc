"""A trained policy in use: load, export, play."""
