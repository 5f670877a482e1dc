"""How what Python gave a run is told."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from functools import partial

import jax
import optax
import pytest
from flax import linen as nn

from ppo_jax.runs.given import LONGEST, describe_code, describe_given, same_name
from ppo_jax.runs.run_folder import check_given
from ppo_jax.types import PPOJaxError


class Env:
    def __init__(self, size: int) -> None:
        self.size, self.step = size, lambda: size


def penalty(x, c=1.0):
    return c * x


def around(c):
    return lambda x: c * penalty(x)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda c: partial(penalty, c=c), rf"{__name__}.penalty#\w{{8}}\(1.0\)\(c=0.5\)"),
        (around, rf"{__name__}.around.<locals>.<lambda>#\w{{8}}\(c=0.5\)"),
        (lambda c: jax.jit(around(c)), rf"{__name__}.around.<locals>.<lambda>#\w{{8}}\(c=0.5\)"),
        (Env, None),
        (optax.sgd, None),
        (lambda c: optax.chain(optax.add_decayed_weights(c), optax.adam(1e-3)), None),
        (lambda c: nn.Dense(int(100 * c)), None),
    ],
)
def test_what_was_given_is_told_apart(make, told):
    texts = [describe_given(make(c)) for c in (0.5, 0.5, 0.25)]
    assert texts[0] == texts[1] != texts[2]
    assert told is None or re.fullmatch(told, texts[0])
    assert all("0x" not in text and "\n" not in text and len(text) < LONGEST + 20 for text in texts)


def test_other_code_by_the_same_name_is_something_else():
    """Wherever it stands: the same code a line further down is the same."""

    def told(source):
        names = {}
        exec(source, names)
        return describe_given(names["loss"])

    codes = ["lambda x: x", "lambda x: 2 * x", "lambda x: 3 * x", "lambda x: (lambda y: y)", "lambda x: (lambda y: 2)"]
    codes += ["lambda x: abs(x)", "lambda x: sum(x)", "lambda x: x in {'a', 'b', 'c'}"]
    assert len({told(f"loss = {code}") for code in codes}) == len(codes)
    assert [told(f"loss = {code}") for code in codes] == [told(f"\n\nloss = {code}") for code in codes]


@pytest.mark.parametrize(
    ("told", "now", "outcome"),
    [
        ("mine.drift#aa82eadf", "mine.drift#aa82eadf", []),
        ("mine.drift#aa82eadf", "mine.drift#00000000", ["mine.drift is not what it began with"]),
        ("mine.drift#aa82eadf(c=1)", "mine.drift#aa82eadf(c=2)", ["mine.drift is not what it began with"]),
        ("__main__.drift#aa82eadf", "mine.drift#aa82eadf", []),
        ("mine.drift#aa82eadf", "__main__.drift#00000000", ["__main__.drift is not what it began with"]),
        ("mine.drift#aa82eadf", "mine.other#aa82eadf", None),
        ("mine.drift#aa82eadf", "yours.drift#aa82eadf", None),
        ("__main__.drift", "mine.adrift", None),
    ],
)
def test_what_is_given_again_has_the_same_name(tmp_path, told, now, outcome):
    (tmp_path / "environment.json").write_text(json.dumps({"given": {"loss": told, "env": "mine.Env"}}))
    assert same_name(told, now) == (outcome is not None)
    with (
        pytest.raises(PPOJaxError, match=r"its loss was \S+drift, not .*; again$") if outcome is None else nullcontext()
    ):
        lines = check_given(tmp_path, {"loss": now}, ["loss", "hook"], "again")
        assert len(lines) == len(outcome) and all(part in line for part, line in zip(outcome, lines, strict=True))


def test_the_code_of_a_class_is_that_of_its_methods():
    def make(scale):
        source = f"class Env:\n    limit = 5\n    @staticmethod\n    def step(x):\n        return x * {scale}\n"
        exec(source, namespace := {"__name__": "mine"})
        return describe_code(namespace["Env"])

    assert make(2) == make(2) != make(3)
    assert make(2).startswith("mine.Env#")
    assert describe_code(jax.nn.relu) == describe_given(jax.nn.relu)


def test_an_object_whose_repr_fails():
    class Broken:
        def __repr__(self):
            raise ValueError

    assert describe_given(Broken()).endswith("Broken")
