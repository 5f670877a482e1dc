"""Settings every test runs under, made before JAX is imported, and the fixtures shared between folders."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
COMPILATION_CACHE = REPOSITORY / ".cache" / "jax"

# Environment variables rather than `jax.config`: programs that a test starts inherit them, and tests without JAX stay
# quick. Cached programs can execute code, so the folder is the user's alone.
COMPILATION_CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
for _kind in ("STATE", "CONFIG"):  # what a user has in theirs is neither read nor changed
    os.environ[f"XDG_{_kind}_HOME"] = str(REPOSITORY / ".cache" / _kind.lower())
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILATION_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
# The suite is mostly compiling: without LLVM's optimizations and with XLA's older fusion it takes half the time. What
# is compared bit by bit asks for `WELL`. A worker has one core.
_QUICK = "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false"
_QUICK += " --xla_cpu_parallel_codegen_split_count=1"  # each part costs its own passes
if version("jaxlib").startswith("0.10."):  # later ones have the newer fusion alone, and refuse to start
    _QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _QUICK)

# A suite started by `nohup` or with `&` inherits ignored signals, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Tracing makes millions of objects that stay: looking through them less often saves a twentieth of the time.
gc.set_threshold(50_000, 20, 10)

WELL = {"xla_backend_optimization_level": 1}

# The first example of a jitted function compiles it, which no deadline should count.
settings.register_profile("ppo_jax", deadline=None, derandomize=True)
settings.load_profile("ppo_jax")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public reference data sets, which are not part of the repository."""
    folder = Path(os.environ.get("PPO_JAX_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; PPO_JAX_SHARED_DATA names another folder")
    return folder


@pytest.fixture
def well_compiled(monkeypatch) -> None:
    """Programs that train and policies that are judged are compiled well, for exact comparisons."""
    import jax

    from ppo_jax.devices import cpu
    from ppo_jax.proving import derivations
    from ppo_jax.tasks import episodes

    options = cpu.compiler_options()
    monkeypatch.setattr(cpu, "compiler_options", lambda: options | WELL)
    for module, name, static in ((episodes, "_evaluate", (0, 1, 2, 3)), (derivations, "_log_probs", (0, 1))):
        function = getattr(module, name).__wrapped__
        monkeypatch.setattr(module, name, jax.jit(function, static_argnums=static, compiler_options=WELL))


@pytest.fixture(scope="module", autouse=True)
def room_for_programs() -> Iterator[None]:
    """Drop compiled programs before the process holds more memory mappings than Linux allows one (65,530)."""
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        sys.modules["jax"].clear_caches()
        gc.collect()
