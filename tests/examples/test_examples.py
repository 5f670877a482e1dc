"""Every example runs as it stands; the long forms show what their docstrings say."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
SHORT = {
    "auxiliary_loss": ["--steps", "4096"],
    "gru": ["--steps", "4096"],
    "gymnasium_loop": ["--steps", "10000"],
    "own_graph": ["--steps", "4096"],
    "own_metric": ["--steps", "10000"],
    "rnd": ["--steps", "4000"],
    "sb3_logs": [],
    "self_play": ["--steps", "20000", "--generations", "1"],
    "vmapped_notebook_sweep": ["--steps", "2048", "--seeds", "2"],
}
SERVED = {"serve_policy"}  # tests/policies runs it


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run an example here, where what it compiles is shared; returns the numbers of each line by its first words."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> tuple[str, dict[str, list[float]]]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        printed = capsys.readouterr().out
        return printed, rows(printed)

    return run


def rows(printed: str) -> dict[str, list[float]]:
    """Lines that end in numbers, by the words before them."""
    found = re.findall(r"^(.*?)[: ]*((?:\s+(?:-?[\d.]+%?|nan))+)$", printed, flags=re.MULTILINE)
    return {words.strip(): [float(x.rstrip("%")) for x in numbers.split()] for words, numbers in found}


def test_every_example_is_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == SHORT.keys() | SERVED


@pytest.mark.parametrize("name", sorted(SHORT.keys() | SERVED))
def test_an_example_is_short_and_says_what_it_prints_and_how_long_it_takes(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert source.count("\n") < 120
    about = ast.get_docstring(ast.parse(source))
    assert re.search(r"[Pp]rints", about)
    assert name in SERVED or "Takes" in about


def test_gru(run):
    _, found = run("gru", *SHORT["gru"])
    assert found.keys() == {"feed-forward", "gru"}
    assert all(len(returns) == 3 and all(-1.0 <= x <= 1.0 for x in returns) for returns in found.values())


def test_rnd(run):
    _, found = run("rnd", *SHORT["rnd"])
    assert [len(returns) for returns in found.values()] == [3, 3]
    assert all(-0.011 <= x < 0.0 for returns in found.values() for x in returns)  # the bonus is not among the returns


def test_auxiliary_loss(run):
    _, found = run("auxiliary_loss", *SHORT["auxiliary_loss"])
    assert found["coefficient 0.0  unforeseen"] == pytest.approx([1.0, 1.0, 1.0])
    assert max(found["coefficient 1.0  unforeseen"]) < 0.9


def test_own_metric(run):
    _, found = run("own_metric", *SHORT["own_metric"])
    (first, *_), (*_, last) = found[""], found[""]
    print(found)


def test_self_play(run):
    _, found = run("self_play", *SHORT["self_play"])
    print(found)


def test_gymnasium_loop(run):
    _, found = run("gymnasium_loop", *SHORT["gymnasium_loop"])
    print(found)
    returns = [numbers[0] for words, numbers in found.items() if words.startswith("episode")]
    assert len(returns) == 5 and sum(returns) / 5 > 100.0


def test_vmapped_notebook_sweep(run, tmp_path):
    _, found = run("vmapped_notebook_sweep", *SHORT["vmapped_notebook_sweep"])
    print(found)
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


def test_own_graph(run):
    printed, _ = run("own_graph", *SHORT["own_graph"])
    print(printed)


def test_sb3_logs_without_jax():
    script = f"import runpy, sys; sys.modules['jax'] = None; runpy.run_path({str(FOLDER / 'sb3_logs.py')!r})"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "error: too-many-epochs" in found.stdout and "set     n_epochs=5" in found.stdout
    assert "not judged" not in found.stdout
