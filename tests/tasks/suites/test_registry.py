"""Ids of other suites, without their libraries: prefixes, extras, errors."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import tomllib
from types import ModuleType
from typing import Any

import pytest

from ppo_jax.config import Config, TaskConfig
from ppo_jax.tasks.make import make_task
from ppo_jax.tasks.suites import registry
from ppo_jax.types import PPOJaxError
from tests.conftest import REPOSITORY


def task_of(env_id: str) -> Any:
    return make_task(Config(task=TaskConfig(env_id)))


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """In place of Brax and its adapter, two environments that complain of every argument."""

    def make(name: str, **options: Any) -> Any:
        if options:
            raise TypeError(f"no argument {next(iter(options))!r}")
        return object()

    library, adapter = ModuleType("brax"), ModuleType("ppo_jax.tasks.suites.brax")
    adapter.names, adapter.make = lambda: ["hopper", "ant"], make  # type: ignore[attr-defined]
    adapter.NOT_OFFERED = {"fast": "is no task"}  # type: ignore[attr-defined]
    library.__spec__ = importlib.machinery.ModuleSpec("brax", None)
    monkeypatch.setitem(sys.modules, "brax", library)
    monkeypatch.setitem(sys.modules, adapter.__name__, adapter)
    registry.make.cache_clear()
    return adapter


def test_every_suite_has_an_extra_a_module_and_a_place_among_all() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for prefix, suite in registry.SUITES.items():
        assert prefix == suite.prefix and extras[suite.extra]
        assert importlib.util.find_spec(f"ppo_jax.tasks.suites.{prefix}") is not None
    assert extras["suites"] == [f"ppo-jax[{','.join(registry.SUITES)}]"]


@pytest.mark.usefixtures("not_installed")
@pytest.mark.parametrize("prefix", registry.SUITES)
def test_a_suite_that_is_not_installed_says_which_extra_is(prefix: str) -> None:
    assert not registry.SUITES[prefix].installed
    with pytest.raises(
        PPOJaxError, match=rf"{prefix}/ needs .*, which is not installed: pip install 'ppo-jax\[{prefix}"
    ):
        task_of(f"{prefix}/anything")


def test_a_library_that_cannot_be_imported_is_named_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgx", None)  # what Python does with this is raise ImportError
    monkeypatch.setattr(registry.Suite, "installed", True)
    with pytest.raises(PPOJaxError, match=r"Pgx cannot be imported: \w+: import of pgx"):
        task_of("pgx/connect_four")


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("brx/ant", "unknown env_id 'brx/ant': there is no suite 'brx'; did you mean brax?"),
        (
            "zzz/ant",
            "there is no suite 'zzz'; known: brax, craftax, gymnasium, jumanji, navix, pgx, playground, xminigrid",
        ),
        ("brax/ent", "unknown env_id 'brax/ent'; did you mean brax/ant or brax/hopper?"),
        ("brax/fast", "'brax/fast' is no task and is not offered"),
    ],
)
def test_ids_that_do_not_exist(stand_in: ModuleType, env_id: str, message: str) -> None:
    with pytest.raises(PPOJaxError) as raised:
        task_of(env_id)
    assert message in str(raised.value)


def test_ids_have_the_prefix_and_an_environment_is_made_once(stand_in: ModuleType) -> None:
    assert registry.SUITES["brax"].installed
    assert registry.SUITES["brax"].ids() == ["brax/ant", "brax/hopper"]
    assert registry.make("brax/ant") is registry.make("brax/ant")
    with pytest.raises(PPOJaxError, match=r"'brax/ant' cannot be made with the arguments .*no argument 'size'"):
        registry.make("brax/ant", size=3)


@pytest.mark.parametrize(
    ("env_id", "meant"),
    [
        ("Ant-v4", "brax/ant"),
        ("HalfCheetah-v5", "brax/halfcheetah"),
        ("humanoid", "brax/humanoid"),
        ("InvertedDoublePendulum-v4", "brax/inverted_double_pendulum"),
        ("InvertedPendulum-v2", "brax/inverted_pendulum"),
        ("Reacher-v4", "brax/reacher"),
        ("Walker2d-v4", "brax/walker2d"),
        ("Swimmer-v4", "playground/SwimmerSwimmer6"),
        ("LunarLander-v3", "gymnasium/LunarLander-v3"),
        ("ALE/Pong-v5", "gymnasium/ale_py:ALE/Pong-v5"),
        ("PongNoFrameskip-v4", "gymnasium/ale_py:ALE/Pong-v5"),
        ("Craftax-Symbolic-v1", "craftax/Craftax-Symbolic-v1"),
        ("Navix-Empty-8x8-v0", "navix/Navix-Empty-8x8-v0"),
        ("MiniGrid-Empty-8x8-v0", "xminigrid/MiniGrid-Empty-8x8"),
        ("XLand-MiniGrid-R1-9x9", "xminigrid/XLand-MiniGrid-R1-9x9"),
    ],
)
def test_names_from_elsewhere_lead_to_the_suite(env_id: str, meant: str) -> None:
    with pytest.raises(PPOJaxError) as raised:
        task_of(env_id)
    assert str(raised.value) == f"unknown env_id {env_id!r}; did you mean {meant}?"


def test_an_older_version_leads_to_the_one_that_there_is() -> None:
    pytest.importorskip("gymnasium")
    assert registry.other_name("LunarLander-v2") == "gymnasium/LunarLander-v3"
    with pytest.raises(PPOJaxError, match=r"did you mean gymnasium/ale_py:ALE/Pong-v5\?"):
        registry.make("gymnasium/ALE/Pong-v5")


@pytest.mark.parametrize("env_id", ["Reacher-misc", "Swimmer-misc"])
def test_names_of_gymnax_are_no_others(env_id: str) -> None:
    assert registry.other_name(env_id) is None and not registry.is_named(env_id)
