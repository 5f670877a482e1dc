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
    "gru": ["--steps", "2048"],
    "gymnasium_loop": ["--steps", "10000"],
    "own_graph": ["--steps", "2048"],
    "own_metric": ["--steps", "10000"],
    "pixels": ["--steps", "2048"],
    "rnd": ["--steps", "4000"],
    "sb3_logs": [],
    "self_play": ["--steps", "20000", "--generations", "1"],
    "vmapped_notebook_sweep": ["--steps", "2048", "--seeds", "2"],
}
FORMS = ["short", pytest.param("long", marks=pytest.mark.slow)]
SERVED = {"serve_policy"}  # tests/policies runs it


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run an example in this process, whose compiled programs it shares; returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def rows(printed: str) -> dict[str, list[float]]:
    """Numbers of the lines that are a label and numbers, by the label."""
    lines = (re.fullmatch(r"(.*?\S)((?: +-?\d+(?:\.\d+)?%?)+) *", line) for line in printed.splitlines())
    return {line[1].rstrip(":"): [float(x.rstrip("%")) for x in line[2].split()] for line in lines if line}


def test_every_example_is_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == SHORT.keys() | SERVED


@pytest.mark.parametrize("name", sorted(SHORT.keys() | SERVED))
def test_an_example_is_short_and_says_what_it_prints_and_how_long_it_takes(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert source.count("\n") < 120
    about = ast.get_docstring(ast.parse(source))
    assert re.search(r"[Pp]rints", about)
    assert name in SERVED or "Takes" in about


@pytest.mark.parametrize("name", ["gru", "pixels"])
@pytest.mark.parametrize("form", FORMS)
def test_a_memory(run, name, form):
    returns = rows(run(name, *(SHORT[name] if form == "short" else [])))
    assert returns.keys() == {"feed-forward", "gru"}
    assert all(len(seeds) == 3 and all(-1.0 <= x <= 1.0 for x in seeds) for seeds in returns.values())
    if form == "long":
        assert max(map(abs, returns["feed-forward"])) < 0.3 and min(returns["gru"]) > 0.9


@pytest.mark.parametrize("form", FORMS)
def test_rnd(run, form):
    returns = rows(run("rnd", *(SHORT["rnd"] if form == "short" else [])))
    without, bonus = returns["bonus times 0.0"], returns["bonus times 0.5"]
    assert len(without) == len(bonus) == 3
    assert all(-0.011 <= x <= 0.99 for x in (*without, *bonus))  # the environment's own: the bonus is not in them
    assert max(without) <= 0.0
    if form == "long":
        assert min(bonus) > 0.9


@pytest.mark.parametrize("form", FORMS)
def test_auxiliary_loss(run, form):
    found = rows(run("auxiliary_loss", *(SHORT["auxiliary_loss"] if form == "short" else [])))
    assert found["coefficient 0.0 unforeseen"] == [1.0, 1.0, 1.0]
    assert max(found["coefficient 1.0 unforeseen"]) < (0.9 if form == "short" else 0.1)


def test_own_metric(run):
    lines = [[float(x) for x in line.split()] for line in run("own_metric", *SHORT["own_metric"]).splitlines()[1:]]
    (_, first_return, first_angle, _), _, (_, later_return, *_), (*_, last_angle, ratio) = lines
    assert later_return > 2.0 * first_return  # in the last update no episode may end
    assert 0.0 < last_angle < first_angle < 12.0  # it falls at 12 degrees
    assert ratio >= 1.0


@pytest.mark.parametrize("form", FORMS)
def test_self_play(run, form):
    printed = run("self_play", *(SHORT["self_play"] if form == "short" else []))
    table = [[float(x.rstrip("%")) for x in line.split()] for line in printed.splitlines()[2:]]
    untrained, *_, last = table
    assert [row[0] for row in table] == list(range(2 if form == "short" else 9))
    assert last[1] > untrained[1] + (0.2 if form == "short" else 0.7)  # result against the untrained
    if form == "long":
        assert last[2] < 10.0 and untrained[4] > 60.0  # lost: the last to the untrained, the untrained to the last


def test_gymnasium_loop(run):
    found = rows(run("gymnasium_loop", *SHORT["gymnasium_loop"]))
    returns = [found[f"episode {episode}: return"][0] for episode in range(5)]
    assert sum(returns) / 5 > 100.0  # chance has 22


def test_vmapped_notebook_sweep(run, tmp_path):
    found = rows(run("vmapped_notebook_sweep", *SHORT["vmapped_notebook_sweep"]))
    rates = [f"learning rate {rate}: return" for rate in ("0.0003", "0.001", "0.003", "0.01")]
    assert list(found) == rates and all(0.0 < found[rate][0] <= 500.0 for rate in rates)
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


@pytest.mark.parametrize("form", FORMS)
def test_own_graph(run, form):
    printed = run("own_graph", *(SHORT["own_graph"] if form == "short" else []))
    trained, uniform = map(float, re.search(r"trained ([\d.]+) uniform ([\d.]+)", printed).groups())
    assert re.search(r"^\w+ +0\.\d{3}( known)?", printed, flags=re.MULTILINE)
    assert "proof:\n  " in printed and "fact " in printed
    if form == "long":
        assert trained >= uniform


def test_sb3_logs_without_jax():
    script = f"import runpy, sys; sys.modules['jax'] = None; runpy.run_path({str(FOLDER / 'sb3_logs.py')!r})"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "error: too-many-epochs" in found.stdout and "set     n_epochs=5" in found.stdout
    assert "not judged" not in found.stdout
