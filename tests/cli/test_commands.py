"""The command line as a whole: quick help, and exit code 2 and no harm for each mistake."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from unittest.mock import Mock

import pytest

from ppo_jax.cli import main
from ppo_jax.runs import runner
from ppo_jax.types import PPOJaxError
from tests.cli.console import call, fail


def test_help_and_mistakes_do_not_wait_for_jax():
    program = """
import sys
import ppo_jax
assert "ppo_jax.config" not in sys.modules
from ppo_jax.cli import main
assert main(["--help"]) == main(["train", "--help"]) == main(["data", "build", "--help"]) == main(["config"]) == 0
assert main(["train", "nothing.toml"]) == main(["nothing"]) == 2
assert not {"jax", "flax", "gymnax", "numpy"} & set(sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    for word in (
        "train",
        "eval",
        "prove",
        "play",
        "export",
        "envs",
        "data",
        "config",
        "--run-dir",
        "--split-seed",
        "batch_size",
    ):
        assert word in found.stdout
    assert "error: nothing.toml: no such file" in found.stderr


def test_help_is_whole_wherever_it_is_asked_for():
    for command, *given in (("diagnose", "runs/x"), ("ask", "runs/x", "p(a,X)"), ("data", "check", "x"), ("train",)):
        word = given[:1] if command == "data" else []
        assert call(command, *given, "--help") == call(command, *word, "--help")
    assert "RUN" in call("diagnose", "runs/x", "-h")[1] and "FOLDER_OR_NAME" in call("data", "check", "x", "-h")[1]


def test_the_module_is_the_command():
    found = subprocess.run(
        [sys.executable, "-m", "ppo_jax", "config", "gamma"], capture_output=True, text=True, check=True
    )
    assert "Discount of a step." in found.stdout


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "runs/x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PPOJaxError("one\nand two"), "error: one and two"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "out of memory; lower n_envs"),
        (MemoryError(), "out of memory; lower n_envs"),
        (ValueError("std::bad_alloc"), "out of memory; lower n_envs"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (PPOJaxError("x" * 10_000), "x…"),
    ],
)
def test_what_goes_wrong_around_a_run_is_one_line(workplace, tmp_path, monkeypatch, error, complaint):
    monkeypatch.setattr(runner, "train", Mock(side_effect=error))  # raised by no code of the user's
    assert complaint in fail("train", workplace / "cartpole.toml", "--run-dir", tmp_path / "run")


def test_a_defect_of_the_program_is_not_hidden(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "train", Mock(side_effect=RuntimeError("a defect")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    arguments = ["train", str(workplace / "cartpole.toml"), "--run-dir", str(tmp_path / "run")]
    file = tmp_path / "ppo_jax" / "traceback.txt"
    code, out, err = call(*arguments)
    assert (code, out) == (70, "")
    assert re.fullmatch(
        rf"error: internal error: RuntimeError: a defect \(\w+.py:\d+\); please report it with {file}, "
        "which has the traceback\n",
        err,
    )
    assert "RuntimeError: a defect" in file.read_text()
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    assert "; PPO_JAX_TRACEBACK=1 shows the traceback" in call(*arguments).err
    monkeypatch.setenv("PPO_JAX_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="a defect"):
        main(arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train x.toml --sed 1", "no option --sed; did you mean --seed? see `ppo-jax train --help`"),
        ("train --overwite x.toml", "no option --overwite; did you mean --overwrite? see `ppo-jax train --help`"),
        ("train x.toml --run-dri=y", "no option --run-dri; did you mean --run-dir? see `ppo-jax train --help`"),
        (
            "train x.toml --lr 1e-3",
            "no option --lr; it is a setting: --set learning_rate=…; see `ppo-jax train --help`",
        ),
        (
            "train x.toml --total-timesteps=9",
            "no option --total-timesteps; it is a setting: --set total_timesteps=…; see `ppo-jax train --help`",
        ),
        ("train x.toml --zzz", "no option --zzz; see `ppo-jax train --help`"),
        ("data build x --splt-seed 3", "no option --splt-seed; did you mean --split-seed? see `ppo-jax data --help`"),
        ("--seed 1 train x.toml", "--seed stands where a command should; see `ppo-jax --help`"),
        ("train", "missing from ppo-jax train: EXPERIMENT .* see `ppo-jax train --help`"),
        ("train --on_nan skip", "missing from ppo-jax train: EXPERIMENT .* see `ppo-jax train --help`"),
        ("train x.toml y.toml", "unrecognized options: y.toml; see `ppo-jax train --help`"),
        ("train x.toml seed=1", "unrecognized options: seed=1; settings stand behind --set: --set seed=1"),
        ("train x.toml --run-dir", "missing value for argument '--run-dir'. .*; see `ppo-jax train --help`"),
        ("train x.toml --seed one", "error parsing --seed: expected INT, got 'one'; see `ppo-jax train --help`"),
        (
            "scores x --format xls",
            "invalid choice 'xls' for argument '--format'. Expected one of csv, latex, parquet, table; see `ppo-jax "
            "scores --help`",
        ),
        ("eval x --split train", "invalid choice 'train' for argument '--split'. .*valid.*; see `ppo-jax eval --help`"),
        ("data bild", "unrecognized options: bild; see `ppo-jax data --help`"),
        ("sweep extract x", "missing from ppo-jax sweep extract: MEMBER .* --out FOLDER .*"),
        ("", "no command given; known: init, train, resume, sweep, .*; see `ppo-jax --help`"),
        ("test runs/x", "no command 'test'; did you mean eval? see `ppo-jax --help`"),
        ("trian x.toml", "no command 'trian'; did you mean train? see `ppo-jax --help`"),
    ],
)
def test_arguments_that_do_not_fit_are_one_line(arguments, said):
    assert re.fullmatch(f"error: {said.replace('?', '[?]')}\n", fail(*arguments.split()))
