"""The notebooks run top to bottom, and what is committed of them is their whole output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "notebooks"
FIGURES = {"first_run": 2, "sweep": 2, "triples_alone": 1, "your_environment": 2, "your_knowledge_graph": 3}


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def figures(path: Path) -> int:
    return sum("image/png" in output.get("data", {}) for cell in code_cells(path) for output in cell.outputs)


def printed(path: Path) -> str:
    """Text that the cells printed; what they wrote to stderr is a warning and fails."""
    streams = [output for cell in code_cells(path) for output in cell.outputs if output.output_type == "stream"]
    assert {output.name for output in streams} <= {"stdout"}, streams
    return "".join(output.text for output in streams)


def test_every_notebook_is_known():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_outputs_are_committed(name):
    path = FOLDER / f"{name}.ipynb"
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert figures(path) == FIGURES[name]
    printed(path)
    assert not re.search(r"/(home|root|tmp|usr|work|opt|Users)/|Traceback|Warning", path.read_text(encoding="utf-8"))


def learnt(name: str, text: str) -> bool:
    """Whether the numbers that a notebook prints show what its words say."""
    rows = [line for line in text.splitlines() if line]
    numbers = {row.split()[0]: [float(x) for x in re.findall(r"\d+(?:\.\d+)?", row)] for row in rows}
    if name == "your_environment":
        return numbers["trained"][0] >= 35 and numbers["untrained"][0] <= 5
    if name == "your_knowledge_graph":
        return numbers["trained"][0] >= numbers["untrained"][0] + 25
    return name != "sweep" or "programs compiled: 1" in text


@pytest.mark.parametrize(
    "name", [name if name == "your_environment" else pytest.param(name, marks=pytest.mark.slow) for name in FIGURES]
)
def test_a_notebook_runs_top_to_bottom(name, tmp_path):
    command = [sys.executable, ROOT / "scripts" / "run_notebooks.py", "--out", tmp_path, FOLDER / f"{name}.ipynb"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}  # kernels start in the folder of their notebook
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert found.returncode == 0, found.stderr[-3000:]
    executed = tmp_path / f"{name}.ipynb"
    assert [cell.source for cell in code_cells(executed)] == [
        cell.source for cell in code_cells(FOLDER / f"{name}.ipynb")
    ]
    assert figures(executed) == FIGURES[name]
    assert learnt(name, printed(executed))
    assert learnt(name, printed(FOLDER / f"{name}.ipynb"))
