"""Embeddings on the command line."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving.priors import embeddings
from ppo_jax.proving.priors.prior import load_prior, save_prior
from tests.cli.console import call, fail, succeed

SHORT = ("--dim", "4", "--epochs", "4")


def test_embeddings_are_trained_shown_and_written(workplace, tmp_path):
    file = tmp_path / "prior.npz"
    result = call("embed", workplace / "data", *SHORT, "--seed", "3", "--out", file, "--test")
    assert result.code == 0, result
    assert "epoch 2: loss" in result.err and "valid MRR" in result.err
    for word in ("complex of dimension 4 on data", "MRR", "Hits@10", "valid", "test", f"written to {file}"):
        assert word in " ".join(result.out.split())
    assert f"{file}: exists; choose another file with --out" in fail("embed", workplace / "data", "--out", file)
    file = tmp_path / "other.npz"
    found = json.loads(succeed("embed", workplace / "data", *SHORT, "--seed", "3", "--out", file, "--json"))
    assert (found["model"], found["dim"], found["seed"], found["epochs"]) == ("complex", 4, 3, 4)
    assert set(found["splits"]) == {"valid"}
    dataset = datasets.load(workplace / "data")
    prior = load_prior(file, dataset)
    assert (prior.seed, prior.describe()["seed"]) == (3, 3)
    assert embeddings.rank_answers(prior.params, dataset, "valid") == pytest.approx(found["splits"]["valid"])


@pytest.fixture
def interrupted_once(monkeypatch):
    """The first ranking is interrupted."""
    ranked = embeddings.rank_answers

    def interrupt(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return ranked(*arguments, **options)

    calls = iter([interrupt])
    monkeypatch.setattr(embeddings, "rank_answers", lambda *args, **options: next(calls, ranked)(*args, **options))


def test_an_interruption_keeps_the_best_so_far(workplace, tmp_path, interrupted_once):
    file = tmp_path / "prior.npz"
    result = call("embed", workplace / "data", *SHORT, "--model", "rotate", "--out", file, "--json")
    assert (result.code, json.loads(result.out)["stopped"]) == (130, "interrupted")
    assert result.err == f"interrupted; the same command goes on from {file}.unfinished\n"
    load_prior(file, datasets.load(workplace / "data"))


@pytest.mark.parametrize("model", ["complex", "rotate"])
def test_the_same_command_goes_on_and_ends_the_same(workplace, tmp_path, model, request):
    dataset = datasets.load(workplace / "data")
    settings = replace(embeddings.default_settings(dataset, model), dim=4, epochs=6, eval_every=2)
    whole = embeddings.train(dataset, settings)
    request.getfixturevalue("interrupted_once")
    command = ("embed", workplace / "data", "--dim", "4", "--epochs", "6", "--model", model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "default_settings", lambda dataset, model: settings)
        first = call(*command, "--out", tmp_path / "prior.npz")
        assert first.code == 130, first
        again = call(*command, "--out", tmp_path / "prior.npz")
        other = call(*command, "--out", tmp_path / "whole.npz")
    assert again.code == 0, again
    assert f"going on from {tmp_path / 'prior.npz.unfinished'}\n" in again.err
    epochs = [line.split(":")[0] for line in (first.err + again.err).splitlines() if line.startswith("epoch")]
    assert epochs == ["epoch 2", "epoch 4", "epoch 6"]
    save_prior(tmp_path / "library.npz", whole.params, dataset, seed=0)
    for name in ("whole", "library"):
        assert (tmp_path / "prior.npz").read_bytes() == (tmp_path / f"{name}.npz").read_bytes()
    assert not list(tmp_path.glob("*.unfinished")) and other.code == 0


def test_a_state_of_other_settings_is_set_aside(workplace, tmp_path, interrupted_once):
    command = ("embed", workplace / "data", *SHORT, "--out", tmp_path / "prior.npz")
    assert call(*command).code == 130
    result = call(*command, "--seed", "1")
    assert result.code == 0
    assert "prior.npz.unfinished is of other data, settings or versions: set aside" in result.err
    assert (tmp_path / "prior.npz.unfinished.old").is_file()


def test_mistakes_are_said_before_anything_is_trained(workplace, tmp_path):
    assert "--dim must be at least 1, not 0" in fail("embed", workplace / "data", "--dim", "0")
    assert "--dim must be at most 65536, not 100000000" in fail("embed", workplace / "data", "--dim", "100000000")
    assert "--seed must be at least 0, not -1" in fail("embed", workplace / "data", "--seed", "-1")
    missing = tmp_path / "no" / "prior.npz"
    assert f"cannot write {missing}: there is no folder" in fail("embed", workplace / "data", "--out", missing)
    assert "no data set 'nowhere'" in fail("embed", "nowhere", "--out", tmp_path / "x.npz")
