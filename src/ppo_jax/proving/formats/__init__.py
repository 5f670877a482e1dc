"""Readers of the notations in which people keep rules and graphs; `read.parse_statements` takes any of them."""
