"""Text from outside as people may be shown it."""

from __future__ import annotations

import unicodedata

import pytest

from ppo_jax.config.legible import LONGEST, legible, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\rb\bc\x07\x7f", r"a\x0db\x08c\x07\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edef\u2066\u200f", r"abc\u202edef\u2066\u200f"),
        ("bad\udcff", r"bad\udcff"),
        ("größe – Ω → 答え 🙂", "größe – Ω → 答え 🙂"),
        ("two\nlines", r"two\x0alines"),
    ],
)
def test_what_is_obeyed_is_written_out(text, shown):
    assert legible(text) == shown
    assert legible(shown) == shown


def test_no_control_character_and_no_half_character_is_left():
    every = "".join(map(chr, range(0x110000)))
    left = legible(every, keep="\n")
    assert [c for c in left if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")] == ["\n"]
    assert [
        c
        for c in left
        if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ] == []


def test_a_value_of_any_size_fits_a_line():
    assert shorten("abc") == "'abc'"
    assert shorten("x" * 10_000_000) == f"'{'x' * (LONGEST - 1)}… (10,000,002 characters)"
    assert shorten(10**5000) == "a very large int"
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert shorten(deep) == "a very large list"
    while deep:
        deep = deep[0]  # Python would take it apart recursively
