"""Code that a run names is called with consent alone, and only what was made to be called."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.cli.console import call, fail, succeed

EVIL = "from pathlib import Path\nPath(__file__).with_name('was_run').touch()\n"
MINE = """
from ppo_jax.networks.mlp import MLPActorCritic


class Small(MLPActorCritic):
    hidden_sizes: tuple = (4,)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with somebody's module, and a user who has no state and no settings yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    yield tmp_path
    for name in ("evil_module", "module_of_mine"):
        sys.modules.pop(name, None)


def receive(run, to, **changed):
    """A copy of a run, as it is received from somebody, with other settings."""
    shutil.copytree(run, to)
    lines = (to / "config.toml").read_text().splitlines()
    new = [next((f'{key} = "{value}"' for key, value in changed.items() if line.startswith(f"{key} =")), line)
           for line in lines]  # fmt: skip
    (to / "config.toml").write_text("\n".join(new) + "\n")
    return to


@pytest.mark.parametrize(("key", "before"), [("network", ""), ("env_id", ""), ("env_id", "gymnasium/")])
def test_no_command_runs_the_code_of_a_received_run(cartpole, here, key, before):
    (here / "evil_module.py").write_text(EVIL)
    run = receive(cartpole, here / "run", **{key: f"{before}evil_module:Thing"})
    config = run / "config.toml"
    for arguments in (
        ("eval", run),
        ("prove", run, "p(a)"),
        ("ask", run, "p(a,X)"),
        ("play", run),
        ("export", run),
        ("resume", run, "--set", "total_timesteps=1000"),
        ("train", config, "--run-dir", "new"),
        ("sweep", config, "--run-dir", "new"),
        ("tune", config),
        ("validate", config, "--run-dir", "new"),
    ):
        said = fail(*arguments)
        assert "code of the module evil_module ('evil_module:Thing')" in said and "--trust" in said, arguments
    assert sorted(path.name for path in here.iterdir()) == ["evil_module.py", "run"]


def test_consent_is_typed_once_and_remembered_for_the_run(workplace, here, monkeypatch):
    (here / "module_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(here)
    own = ("--set", "network=module_of_mine:Small")
    succeed("train", workplace / "cartpole.toml", "--run-dir", "run", "--quiet", *own)
    succeed("eval", "run")
    shutil.move("run", "moved")
    succeed("eval", "moved")
    shutil.rmtree(here / "state")  # as for somebody else, who received it
    assert "--trust" in fail("eval", "moved")
    succeed("eval", "moved", "--trust")
    succeed("eval", "moved")
    assert "'module_of_mine:Other'" in fail(
        "eval", receive(here / "moved", here / "changed", network="module_of_mine:Other")
    )
    shutil.rmtree(here / "state")
    settings = here / "config" / "ppo_jax" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('trusted_modules = ["module_of"]')  # another one
    assert "--trust" in fail("eval", "moved")
    settings.write_text('trusted_modules = ["module_of_mine"]')
    succeed("eval", "moved")
    settings.write_text("trusted_modules = 3")
    assert f"{settings}: trusted_modules must be a list" in fail("eval", "moved")


def test_a_sweep_remembers_and_a_received_one_does_not_go_on(workplace, here, monkeypatch):
    (here / "module_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(here)
    own = ("--set", "network=module_of_mine:Small", "n_epochs=1")
    succeed("sweep", workplace / "cartpole.toml", "--seeds", "1", "--run-dir", "sweep", "--quiet", *own)
    succeed("sweep", "extract", "sweep", "s0", "--out", "taken")
    succeed("eval", "taken")
    assert call("resume", "sweep", "--quiet").code == 0
    shutil.rmtree(here / "state")
    assert "sweep: would run code of the module module_of_mine" in fail("resume", "sweep")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("env_id=os:abort", "os is a module of Python itself"),
        ("network=os:abort", "os is a module of Python itself"),
        ("env_id=things:abort", "abort is no class or function that was written for ppo_jax"),
        ("network=things:abort", "abort is no class or function that was written for ppo_jax"),
        ("network=things:Path", "Path is no network: it has no init and apply"),
        ("env_id=things:Path", "Path is no environment: it has no reset and step"),
        ("env_id=things:needs", "needs() must work, but: missing a required argument: 'x'"),
        ("env_id=things:raises", "raised KeyError: 'lost' (things.py:8 in raises)"),
        ("optimizer=things:abort", "abort is no class or function"),
        ("optimizer=things:gives_three", "must be one of optax's, got int"),
        ("env_id=leaves:X", "leaves.py:2: ended the process with sys.exit(0)"),
        ("env_id=things:lost", "things has no lost"),
        ("env_id=nowhere:lost", "cannot import nowhere: No module named 'nowhere'"),
        ("env_id=.:x", "expected an import path such as"),
    ],
)
def test_only_what_was_made_to_be_called_is_called(workplace, here, monkeypatch, setting, said):
    (here / "things.py").write_text(
        "from os import abort\nfrom pathlib import Path\n\n\ndef needs(x): ...\n\n\n"
        "def raises(): raise KeyError('lost')\n\n\ndef gives_three(): return 3\n"
    )
    (here / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(here)
    try:
        assert said in fail("train", workplace / "cartpole.toml", "--run-dir", "run", "--set", setting)
    finally:
        for name in ("things", "leaves"):
            sys.modules.pop(name, None)
    assert not (here / "run").exists()
