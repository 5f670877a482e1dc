"""The script behind docs/before_after.md: what it trains, and where it writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ppo_jax.analysis.readers import read_run
from ppo_jax.config import load_config

REPOSITORY = Path(__file__).resolve().parents[2]
OLD_RUN = REPOSITORY / "tests" / "fixtures" / "old_runs" / "countries"


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("before_after", REPOSITORY / "scripts" / "before_after.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_four_configurations_and_writes_beside_the_runs(script, monkeypatch, tmp_path, capsys):
    trained = {}

    def train(config_file: Path, folder: Path, seeds: int) -> list:
        trained[folder.name] = (load_config(config_file).ppo.n_epochs, seeds)
        return [read_run(OLD_RUN)]

    monkeypatch.setattr(script, "trained", train)
    monkeypatch.setattr(script, "use_compilation_cache", lambda: None)
    monkeypatch.setattr("sys.argv", ["before_after.py", "--runs", str(tmp_path), "--seeds", "2", "--fix-seeds", "4"])
    script.main()
    assert trained == {"before": (20, 4), "fixed": (2, 4), "after": (10, 2), "recommended": (2, 2)}
    assert (tmp_path / "report" / "report.html").is_file()
    assert str(tmp_path / "report" / "report.md") in capsys.readouterr().out
