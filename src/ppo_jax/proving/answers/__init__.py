"""Answering queries with a variable: environment, search, protocol and task."""
