"""The wheel: what it carries, its page, and that it trains where nothing else is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ppo_jax.config.experiments import experiment_names

ROOT = Path(__file__).resolve().parents[1]
needs_hatchling = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="building needs hatchling: pip install 'ppo-jax[dev]'"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@needs_hatchling
def test_the_wheel_carries_the_experiments_and_a_page_without_dead_links(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        metadata = archive.read(next(name for name in files if name.endswith("METADATA"))).decode()
    assert {f"ppo_jax/experiments/{name}.toml" for name in experiment_names()} <= files
    assert {"ppo_jax/py.typed", "ppo_jax/data/countries/facts.txt"} <= files
    page = metadata.split("\n\n", 1)[1]
    assert not [target for target in re.findall(r"\]\(([^)]*)\)", page) if not target.startswith(("http", "#"))]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Callable[..., str]:
    """Runs commands in an empty folder, where the wheel is installed in an environment that borrows our libraries."""
    home, empty = tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = next((home / "lib").glob("python*")) / "site-packages"
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    packages.joinpath("borrowed.pth").write_text("\n".join(borrowed))
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *arguments: str) -> str:
        command = [home / "bin" / program, *arguments]
        return subprocess.run(command, cwd=empty, env=environment, check=True, capture_output=True, text=True).stdout

    assert Path(run("python", "-c", "import ppo_jax; print(ppo_jax.__file__)")).is_relative_to(home)
    return run


@needs_hatchling
def test_an_installed_wheel_copies_experiments(installed):
    assert "wrote cartpole.toml" in installed("ppo-jax", "init", "cartpole")


@pytest.mark.slow
@needs_hatchling
@pytest.mark.parametrize("name", ["cartpole", "CartPole-v1", "MountainCar-v0"])
def test_an_installed_wheel_trains_in_an_empty_folder(name, installed):
    few = ("--set", "total_timesteps=1024", "eval_episodes=4", "--json")
    summary = json.loads(installed("ppo-jax", "train", name, *few))
    assert summary["status"] == "completed" and summary["env_id"] in ("CartPole-v1", "MountainCar-v0")


def test_the_page_links_to_the_repository_where_the_project_names_one(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    page_of = pytest.importorskip("hatch_build", exc_type=ImportError).package_page
    text = "![A run](docs/a.png)\n[results](docs/results.md#x), [site](https://e.org) and [here](#use)"
    source = "https://example.org/ppo_jax"
    assert page_of(text, None) == "\nresults, [site](https://e.org) and [here](#use)"
    assert page_of(text, source) == (
        f"![A run]({source}/raw/HEAD/docs/a.png)\n[results]({source}/blob/HEAD/docs/results.md#x), "
        "[site](https://e.org) and [here](#use)"
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = r"```.*?```"
    assert re.findall(code, page_of(readme, None), re.DOTALL) == re.findall(code, readme, re.DOTALL)


def test_the_citation_is_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()
