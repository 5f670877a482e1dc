"""What code of a user's own raised: which function, in which file and line."""

from __future__ import annotations

import json
import sys

import pytest

from ppo_jax.config.own_code import describe_raised, last_place, summarize_error
from ppo_jax.config.toml import read_toml
from ppo_jax.types import PPOJaxError


def caught(function) -> BaseException:
    try:
        function()
    except BaseException as error:
        error.__traceback__ = error.__traceback__.tb_next  # without this function's own frame
        return error
    raise AssertionError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A file of a user's, imported by name."""

    def write(text: str):
        (tmp_path / "my_code.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "my_code", raising=False)
        return __import__("my_code")

    return write


def test_the_last_function_of_the_users_is_named(module):
    mine = module("import json\nclass Env:\n    def step(self):\n        return json.loads('{')\n")
    error = caught(mine.Env().step)
    assert last_place(error) == "my_code.py:4 in Env.step"
    assert describe_raised(error).startswith("my_code.py:4 in Env.step: raised JSONDecodeError: Expecting property")


def test_what_python_and_ppo_jax_raise_is_nobodys(tmp_path):
    def frames_below(function):
        error = caught(function)
        error.__traceback__ = error.__traceback__.tb_next
        return error

    assert last_place(frames_below(lambda: json.loads("{"))) is None
    assert last_place(frames_below(lambda: read_toml(tmp_path / "none"))) is None
    assert describe_raised(PPOJaxError("x")) is None


def test_a_module_that_cannot_be_read_or_ends_the_process(module):
    error = caught(lambda: module("x = 1\ndef broken(:\n"))
    assert last_place(error) == "my_code.py:2"
    assert summarize_error(error) == "SyntaxError: invalid syntax"
    error = caught(lambda: module("import sys\nsys.exit(0)\n"))
    assert describe_raised(error) == "my_code.py:2: ended the process with sys.exit(0)"
