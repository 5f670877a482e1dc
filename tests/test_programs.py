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

from ppo_jax import cli_shared, experiment, programs, training
from ppo_jax.config import from_dict
from ppo_jax.evaluation import derivations
from ppo_jax.types import Discrete, PPOJaxError


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
    with jax.default_matmul_precision("bfloat16"):
        function.run(1), function.run(1)
    assert function.traced == i + 2
    monkeypatch.setenv("FLAX_FIX_RNG_SEPARATOR", "1")
    function.run(1), function.run(1)
    assert function.traced == i + 3
    monkeypatch.setattr(programs, "_code", lambda: "changed")  # on disk, not in memory: nothing is kept
    function.run(1), function.run(1)
    assert function.traced == i + 5 and len(list(folder.iterdir())) == i + 3
    monkeypatch.setattr(programs, "CODE", "changed")
    function.run(1), function.run(1)
    assert function.traced == i + 6 and len(list(folder.iterdir())) == i + 4


def test_the_code_of_the_package_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "PACKAGE", tmp_path)
    digests = []
    for content in ("x = 1", "x = 2", "x = 1"):
        (tmp_path / "a.py").write_text(content)
        digests.append(programs._code())
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert digests[0] == digests[2] != digests[1]
    assert programs._code() != digests[0]


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


def test_names_in_a_tree_decide(folder):
    def pick(tree: dict[str, jax.Array]) -> jax.Array:
        return tree["x"] if "x" in tree else 2 * tree["y"]

    found = [jax.jit(lambda tree: programs.kept("pick", pick, 1)(tree))({name: jnp.ones(())}) for name in "xy"]
    assert [float(x) for x in found] == [1.0, 2.0]


def test_what_jax_was_told_to_do_without_is_not_done(folder):
    function = Counted()
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        programs.keep_in(folder)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert programs._folder is None
    programs.keep_in(folder)
    with jax.default_device(jax.devices()[0]):
        assert programs.kept("f", function, 1) is function
    assert programs.kept("f", function, 1) is not function


def test_a_module_of_ones_own_ends_it(folder):
    assert programs._folder == folder
    config = from_dict({"task": {"env_id": "tests.toys:NotThere"}, "ppo": {"total_timesteps": 10**4}})
    with pytest.raises(PPOJaxError):
        experiment.build(config)
    assert programs._folder is None


def test_damage_is_mended_and_the_oldest_go(folder, monkeypatch):
    function = Counted()
    function.run(1)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    one_bit = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damage in (b"", b"nonsense", whole[:middle], one_bit):
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


def test_a_program_begun_beside_the_initial_state_trains_alike(folder, proving, monkeypatch):
    program = training.start_compiling(proving).result()
    expected = training.run_chunk(proving.trainer, proving.initial_state(3), jnp.int32(2))
    found = program.chunk(proving.trainer, proving.initial_state(3), jnp.int32(2))
    plain = lambda tree: (jax.device_get((tree[0].params, tree[1])), jax.random.key_data(tree[0].key))  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, plain(found), plain(expected))
    assert program.seconds > 0
    monkeypatch.setattr(programs, "_folder", None)
    assert training.start_compiling(proving) is None


def test_the_command_line_keeps_programs_beside_the_compilation_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_folder", None)
    before = jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cli_shared, "own_process", True)
    cli_shared.use_caches()
    assert programs._folder is None  # JAX was told of another folder
    try:
        for own_process in (False, True):
            monkeypatch.setattr(cli_shared, "own_process", own_process)
            jax.config.update("jax_compilation_cache_dir", None)
            cli_shared.use_caches()
            assert programs._folder == (tmp_path / "ppo_jax" / "programs" if own_process else None)
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "ppo_jax" / "xla")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
