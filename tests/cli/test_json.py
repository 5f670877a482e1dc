"""What --json prints can be parsed by others, for every command on every kind of task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.console import call

SHORT = ("--set", "total_timesteps=32", "eval_interval=1", "untrained_networks=1")
# kind -> settings of it, for `cartpole.toml` or, of a knowledge graph, `places.toml`
KINDS = {
    "episodes": ("cartpole.toml", "env_id=CartPole-v1"),
    "continuous": ("cartpole.toml", "env_id=Pendulum-v1"),
    "endless": ("cartpole.toml", "env_id=tests.toys:NeverEnds"),
    "proofs": ("places.toml", "mode=verify"),
    "answers": ("places.toml", "mode=answer"),
}


def parse(*arguments: Any, codes: tuple[int, ...] = (0,)) -> Any:
    """What a command prints with --json, read as strictly as the standard asks."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    result = call(*arguments, "--json")
    assert result.code in codes, result
    return json.loads(result.out, parse_constant=refuse)


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def experiment(workplace, kind) -> tuple[Any, ...]:
    name, setting = KINDS[kind]
    return (workplace / name, *SHORT, setting)


@pytest.fixture(scope="module")
def run(workplace, kind, experiment) -> Path:
    """A completed run, trained with --json."""
    folder = workplace / "runs" / f"json-{kind}"
    printed = parse("train", *experiment, "--run-dir", folder)
    assert printed.pop("run") == str(folder)
    assert printed == json.loads((folder / "summary.json").read_text())
    return folder


def test_what_is_not_known_is_null(run, kind):
    final = parse("train", run / "config.toml", "--run-dir", run, "--reuse")["final"]
    assert (final["entropy_normalized"] is None) == (kind == "continuous")
    assert kind not in ("endless", "continuous") or final["episode_return_mean"] is None


def test_commands_on_a_run(run, kind, tmp_path):
    assert parse("resume", run)["status"] == "completed"
    for split in ("valid", "test"):
        assert parse("eval", run, "--split", split)["split"] == split
    assert parse("export", run, "--out", tmp_path / "policy")["out"] == str(tmp_path / "policy")
    parse("diagnose", run, codes=(0, 1))
    parse("compare", run, run)
    assert parse("report", run, "--out", tmp_path / "report")["files"]
    if kind not in ("endless", "answers"):
        parse("play", run, "--max-steps", "2", "--out", tmp_path / "played")
    if kind == "proofs":
        parse("prove", run, "in(z,s)", codes=(0, 1))
    if kind == "answers":
        parse("ask", run, "in(z,X)")


@pytest.mark.parametrize(
    "kind",
    ["continuous", *(pytest.param(name, marks=pytest.mark.slow) for name in KINDS if name != "continuous")],
    indirect=True,
)
def test_commands_that_train(experiment, kind, workplace, tmp_path):
    folder = tmp_path / "sweep"
    found = parse("sweep", *experiment, "--seeds", "1", "--run-dir", folder)
    assert found["status"] == "completed"
    assert parse("sweep", "extract", folder, "s0", "--out", tmp_path / "run")["member"] == "s0"
    path = tmp_path / f"{kind}.toml"
    path.write_text((workplace / KINDS[kind][0]).read_text() + "[search]\ngamma = { choices = [0.9, 0.99] }\n")
    assert parse("tune", path, *experiment[1:], "--trials", "1", "--seeds", "1")["study"] == kind
    if kind == "proofs":
        assert parse("validate", *experiment, "--run-dir", tmp_path / "validate", codes=(0, 1))["runs"]


def test_commands_on_data(workplace, tmp_path):
    data = workplace / "data"
    assert parse("envs", "CartPole")
    assert parse("config", "gamma")
    assert parse("data", "describe", data)
    assert parse("data", "check", data)
    assert parse("rules", "mine", data, "--out", tmp_path / "rules.txt")
    assert parse("embed", data, "--dim", "4", "--epochs", "1", "--out", tmp_path / "prior.npz")
