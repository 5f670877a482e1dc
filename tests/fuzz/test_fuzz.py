"""500 inputs that nobody should write: each is read, or gets exit code 2 and one line; no traceback."""

from __future__ import annotations

import sys

import pytest

from ppo_jax.runs import runner
from ppo_jax.sweeps import sweep, tuning
from ppo_jax.types import PPOJaxError
from tests.cli.console import call
from tests.fuzz.generator import KINDS, make_case, write

EVERY = [(kind, number) for kind, (n, _) in KINDS.items() for number in range(n)]
QUICK = 500 // 60


def build_alone(experiment, *_arguments):
    """In place of training: what a run needs is built and traced."""
    experiment.shapes()
    return {}


def enough(*_arguments, **_options):
    raise PPOJaxError("read")


@pytest.fixture
def no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_run", build_alone)
    monkeypatch.setattr(sweep, "run", enough)
    monkeypatch.setattr(tuning, "tune", enough)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "number"),
    [pytest.param(*one, marks=[pytest.mark.slow] * bool(i % QUICK)) for i, one in enumerate(EVERY)],
)
def test_what_is_wrong_is_one_line(kind, number, no_training):
    case = make_case(kind, number)
    write(case, no_training)
    code, out, err = call(*case.arguments)
    assert "Traceback" not in out + err and code in (0, 1, 2), err
    if code == 2:
        said = [line for line in err.splitlines() if not line.startswith(("warning: ", "note: "))]
        assert len(said) == 1 and said[0].startswith("error: ") and len(said[0]) <= 1010


def test_there_are_500_cases_of_which_60_are_quick():
    assert len(EVERY) == 500 and len(EVERY[::QUICK]) >= 60
    assert make_case("config", 0) == make_case("config", 0) != make_case("config", 1)
