"""Embeddings on the command line."""

from __future__ import annotations

import json
import os
import signal

import pytest

from ppo_jax.proving import datasets
from ppo_jax.proving.priors import embeddings
from ppo_jax.proving.priors.prior import load_prior
from tests.cli.console import call, fail, succeed

SHORT = ("--dim", "4", "--epochs", "4")


def test_embeddings_are_trained_shown_and_written(workplace, tmp_path):
    file = tmp_path / "prior.npz"
    result = call("embed", workplace / "data", *SHORT, "--seed", "3", "--output", file, "--test")
    assert result.code == 0, result
    assert "epoch 2: loss" in result.err and "valid MRR" in result.err
    for word in ("complex of dimension 4 on data", "MRR", "Hits@10", "valid", "test", f"written to {file}"):
        assert word in " ".join(result.out.split())
    found = json.loads(succeed("embed", workplace / "data", *SHORT, "--seed", "3", "--output", file, "--json"))
    assert (found["model"], found["dim"], found["seed"], found["epochs"]) == ("complex", 4, 3, 4)
    assert set(found["splits"]) == {"valid"}
    dataset = datasets.load(workplace / "data")
    prior = load_prior(file, dataset)
    assert embeddings.rank_answers(prior.params, dataset, "valid") == pytest.approx(found["splits"]["valid"])


def test_an_interruption_keeps_the_best_so_far(workplace, tmp_path, monkeypatch):
    ranked = embeddings.rank_answers

    def interrupt(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return ranked(*arguments, **options)

    calls = iter([interrupt])
    monkeypatch.setattr(embeddings, "rank_answers", lambda *args, **options: next(calls, ranked)(*args, **options))
    file = tmp_path / "prior.npz"
    result = call("embed", workplace / "data", *SHORT, "--model", "rotate", "--output", file, "--json")
    assert (result.code, json.loads(result.out)["stopped"]) == (130, "interrupted")
    assert "interrupted" in result.err
    load_prior(file, datasets.load(workplace / "data"))


def test_mistakes_are_said_before_anything_is_trained(workplace, tmp_path):
    assert "--dim must be at least 1, not 0" in fail("embed", workplace / "data", "--dim", "0")
    missing = tmp_path / "no" / "prior.npz"
    assert f"cannot write {missing}: there is no folder" in fail("embed", workplace / "data", "--output", missing)
    assert "no data set 'nowhere'" in fail("embed", "nowhere", "--output", tmp_path / "x.npz")
