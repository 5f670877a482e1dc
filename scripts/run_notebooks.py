"""Execute notebooks top to bottom and keep their outputs: all of examples/notebooks, or those named.

python scripts/run_notebooks.py [--out FOLDER] [NOTEBOOK ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "examples" / "notebooks"


def execute(notebook: Path, target: Path) -> None:
    """Run `notebook` in its own folder and write it with its outputs to `target`; an error in a cell is raised."""
    content = nbformat.read(notebook, as_version=4)
    folder = {"metadata": {"path": str(notebook.parent)}}
    client = NotebookClient(content, timeout=900, record_timing=False, resources=folder)
    client.execute()
    content.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(content, target)


def main() -> None:
    """Execute what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write there and leave the notebooks as they are")
    arguments = parser.parse_args()
    for notebook in arguments.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        execute(notebook, arguments.out / notebook.name if arguments.out else notebook)
        print(notebook.name, flush=True)


if __name__ == "__main__":
    main()
