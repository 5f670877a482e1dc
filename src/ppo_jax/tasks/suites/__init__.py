"""Environments of other JAX libraries behind the `Environment` protocol: a module for each, imported when used.

`registry` knows them all by the prefix of their ids, `common` is what they share.
"""
