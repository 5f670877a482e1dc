"""Standard output and error as a shell gives them: pipes that end, closed and full ones, terminals without Unicode."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

TERMINALS = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"TERM": "dumb"}, {"COLUMNS": "40"}]


def shell(line: str, *arguments, cwd=None, **environment: str) -> subprocess.CompletedProcess[str]:
    """`line` in bash, where ``ppo`` is the command; it gets `arguments` as ``$1`` and so on."""
    program = f'ppo() {{ "{sys.executable}" -m ppo_jax "$@"; }}\n{line}'
    command = ["bash", "-c", program, "bash", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "80", **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)


@pytest.mark.parametrize("command", ["config", "config --json", "--help", "train --help"])
def test_a_reader_that_has_enough_ends_it_quietly(command):
    found = shell(f"ppo {command} | true; echo ${{PIPESTATUS[0]}}")
    assert (found.stdout, found.stderr) == ("141\n", "")


@pytest.mark.parametrize("command", ["config", "config --json", "--help"])
def test_a_full_disk_behind_the_output_is_one_line(command):
    found = shell(f"ppo {command} > /dev/full")
    assert (found.returncode, found.stderr) == (2, "error: No space left on device\n")


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2> /dev/full"])
def test_closed_streams_change_no_exit_code(redirect):
    found = shell(f"ppo config gamma {redirect}; echo $?; ppo nothing {redirect}; echo $?")
    assert found.stdout.splitlines()[-1] == "2" and "0" in found.stdout.splitlines()
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("environment", TERMINALS)
def test_a_terminal_without_unicode_or_width_gets_what_it_can_show(environment, places):
    found = shell('ppo config; ppo compare "$1"; ppo --help; ppo diagnose größe–→…', places, **environment)
    assert found.returncode == 2 and "Traceback" not in found.stdout + found.stderr
    if "PYTHONIOENCODING" in environment:
        assert "gr\\xf6\\xdfe-->...: no run there" in found.stderr
        assert found.stdout.isascii()


def test_training_goes_on_where_nobody_listens(workplace, tmp_path):
    redirect = '"$1" --run-dir "$2" --set total_timesteps=32 >&- 2>&-; echo $?'
    found = shell(f"ppo train {redirect}", workplace / "cartpole.toml", tmp_path / "run", JAX_LOG_COMPILES="1")
    assert found.stdout == "0\n"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"
    for name in ("metrics.jsonl", "eval.jsonl", "timing.jsonl"):
        assert all(json.loads(line)["update"] for line in (tmp_path / "run" / name).read_text().splitlines())


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"JAX_PLATFORMS": "banana"}, "error: JAX finds no such device: Unable to initialize backend 'banana'"),
        ({"JAX_NUM_CPU_DEVICES": "abc"}, 'error: JAX: Invalid value "abc" for JAX flag jax_num_cpu_devices'),
        ({"JAX_ENABLE_X64": "perhaps"}, "error: JAX: invalid truth value 'perhaps'"),
    ],
)
def test_what_jax_cannot_read_in_its_environment_is_one_line(workplace, tmp_path, environment, said):
    found = shell('ppo train "$1" --run-dir "$2"', workplace / "cartpole.toml", tmp_path / "run", **environment)
    assert found.returncode == 2 and found.stderr.startswith(said) and found.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_working_directory_that_is_gone(tmp_path):
    found = shell("mkdir here; cd here; rmdir ../here; ppo config gamma", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == "error: the working directory is gone; change to one that is there\n"
