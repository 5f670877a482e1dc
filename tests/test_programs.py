"""Programs kept beyond tracing: the same bits, found again only by what decides them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ppo_jax import experiment, programs, runner, training
from ppo_jax.config import from_dict
from ppo_jax.evaluation import derivations
from ppo_jax.types import Discrete


class Pair(NamedTuple):
    first: jax.Array
    second: dict[str, jax.Array]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_folder", tmp_path / "programs")
    return tmp_path / "programs"


class Counted:
    """A function of pytrees that counts how often it is traced."""

    def __init__(self, factor: float = 2.0) -> None:
        self.factor, self.traced = factor, 0

    def __call__(self, pair: Pair, key: jax.Array) -> Pair:
        self.traced += 1
        noise = jax.random.normal(key, pair.first.shape)
        return Pair(self.factor * pair.first + noise, {"seen": pair.second["x"] + 1})

    def run(self, *static: Any, shape: tuple[int, ...] = (3,)) -> Pair:
        """As a process that has not traced it before would."""
        program = jax.jit(lambda *given: programs.kept("f", self, *static)(*given))
        return program(Pair(jnp.arange(3.0).reshape(shape), {"x": jnp.int32(4)}), jax.random.key(7))


def test_what_was_kept_is_not_traced_again(folder):
    function = Counted()
    first, second = function.run("a"), function.run("a")
    assert function.traced == 1 and len(list(folder.iterdir())) == 1
    expected = function(Pair(jnp.arange(3.0), {"x": jnp.int32(4)}), jax.random.key(7))
    for found in (first, second):
        assert isinstance(found, Pair) and int(found.second["seen"]) == 5
        np.testing.assert_array_equal(found.first, expected.first)
    assert folder.stat().st_mode & 0o077 == 0  # programs can execute code


def test_anything_else_that_decides_is_another_program(folder, monkeypatch):
    function = Counted()
    for i, run in enumerate(
        [
            lambda: function.run(1),
            lambda: function.run(True),
            lambda: function.run(1.0),
            lambda: function.run((1,)),
            lambda: function.run(Discrete(1)),
            lambda: function.run(Discrete(2)),
            lambda: function.run(1, shape=(3, 1)),
        ]
    ):
        run(), run()
        assert function.traced == i + 1
    monkeypatch.setattr(programs, "_code", lambda: "changed")
    function.run(1)
    assert function.traced == i + 2
    with jax.default_matmul_precision("bfloat16"):
        function.run(1)
    assert function.traced == i + 3


def test_the_code_of_the_package_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "PACKAGE", tmp_path)
    digests = []
    for content in ("x = 1", "x = 2", "x = 1"):
        (tmp_path / "a.py").write_text(content)
        digests.append(programs._code.__wrapped__())
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert digests[0] == digests[2] != digests[1]
    assert programs._code.__wrapped__() != digests[0]


@dataclass(frozen=True)
class Foreign:
    size: int = 1


def test_code_of_others_is_not_kept(folder):
    function = Counted()
    for static in (Foreign(), len, np.ones(2), optax.sgd(1.0), (1, Foreign()), object()):
        assert programs.kept("f", function, static) is function
    cartpole = experiment.build(from_dict({"task": {"env_id": "CartPole-v1"}, "ppo": {"total_timesteps": 10**4}}))
    assert programs.kept("f", function, *experiment.static(cartpole.trainer)) is function


def test_nothing_is_kept_unless_asked():
    function = Counted()
    assert programs._folder is None and programs.kept("f", function, 1) is function


def test_damage_is_mended_and_the_oldest_go(folder, monkeypatch):
    function = Counted()
    function.run(1)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    for damage in (b"", b"nonsense", whole[: len(whole) // 2]):
        traced = function.traced
        file.write_bytes(damage)
        function.run(1), function.run(1)
        assert function.traced == traced + 1
    monkeypatch.setattr(programs, "MOST", 2)
    for i in range(4):
        function.run("more", i)
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(programs, "_folder", Path("/dev/null/nowhere"))
    function.run(2)  # no room to keep it costs nothing but time


@pytest.fixture(scope="module")
def proving() -> experiment.Experiment:
    return experiment.build(
        from_dict(
            {
                "task": {"env_id": "Proof-countries_s1", "max_depth": 4, "max_atoms": 3, "fact_dropout": 0.1},
                "ppo": {"n_envs": 8, "n_steps": 4, "batch_size": 16, "n_epochs": 2, "total_timesteps": 64},
                "network": {"embedding_size": 8, "hidden_sizes": [8, 8], "fact_layers": 1},
                "evaluation": {"beam_width": 4, "n_queries": 4},
            }
        )
    )


def test_a_proof_task_is_computed_to_the_same_bits(folder, proving, monkeypatch):
    derivations_derive = derivations._derive.__wrapped__

    def everything() -> Any:
        """A state, updates, evaluations and derivations, by programs that nothing traced before."""
        experiment._init.cache_clear()
        derive = lambda *given: derivations_derive(*given)  # noqa: E731
        monkeypatch.setattr(derivations, "_derive", jax.jit(derive, static_argnums=0))
        fresh = proving.variant(proving.config)
        del fresh.__dict__["judge"]
        state = fresh.initial_state(3)
        chunk = lambda *given: training._kept_chunk.__wrapped__(*given, False, training.Placement())  # noqa: E731
        state, rows = jax.jit(chunk)(fresh.trainer, state, jnp.int32(2))
        params = experiment.policy_params(fresh.trainer, state)
        judged, errors = fresh.evaluate(params, "valid"), fresh.value_errors(params)
        return jax.device_get((state.params, rows)), judged, errors

    with monkeypatch.context() as patch:
        patch.setattr(programs, "_folder", None)
        plain = everything()
    kept = everything()
    assert len(list(folder.iterdir())) == 5
    monkeypatch.setattr(programs, "_export", lambda *_: pytest.fail("traced again"))
    again = everything()
    for found in (kept, again):
        jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_the_command_line_keeps_programs_beside_the_compilation_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_folder", None)
    runner.use_compilation_cache()
    assert programs._folder is None  # a folder that the user chose is the user's
    before = jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        runner.use_compilation_cache()
        assert programs._folder == tmp_path / "ppo_jax" / "programs"
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "ppo_jax" / "xla")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
