"""A policy as an ONNX graph: the same actions by onnxruntime, and one line where it cannot be."""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.policies.onnx import export_onnx
from ppo_jax.policies.policy import Policy
from ppo_jax.types import PPOJaxError
from tests.tasks.test_check import Masked


def policy_of(env: Any = None, **settings: Any) -> Policy:
    """One with decided weights, whose actions are no near ties, and statistics that change what is seen."""
    config = ppo_jax.load_config("cartpole", {"normalize_observations": True, "hidden_sizes": [16], **settings})
    experiment = ppo_jax.build(config, env=env)
    params = experiment.untrained(0)
    moments = jax.tree.map(lambda x: x + 0.5, params.observation_moments)
    weights = jax.tree.map(lambda x: 3.0 * x + 0.1, params.params)
    return Policy(experiment, params._replace(params=weights, observation_moments=moments), deterministic=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"core": "gru"}, "for policies without a memory; this one has a recurrent core"),
        ({"env_id": "Proof-countries_s1"}, "not for a proof task"),
        ({}, r"needs the extra: pip install 'ppo-jax\[onnx\]'"),
    ],
)
def test_what_has_no_graph_is_one_line(settings, said, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(PPOJaxError, match=f"export --onnx: {said}"):
        export_onnx(policy_of(**settings), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.suites
@pytest.mark.parametrize(
    "settings",
    [
        {"env_id": "CartPole-v1"},
        {"env_id": "Pendulum-v1", "squash_actions": True},
        {"env_id": "Breakout-MinAtar", "network": "cnn"},
        {"env": Masked(mask=(True, False))},
    ],
    ids=["vector", "continuous", "cnn", "mask"],
)
def test_onnxruntime_takes_the_same_actions(settings, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")
    policy = policy_of(**settings)
    described = export_onnx(policy, tmp_path / "policy.onnx")
    assert described["compared"] == 256
    n, rng = 5, np.random.default_rng(0)

    def draw(like: jax.ShapeDtypeStruct) -> np.ndarray:
        return np.asarray(
            rng.normal(size=(n, *like.shape)) > 0.5 if like.dtype == bool else rng.normal(size=(n, *like.shape)),
            like.dtype,
        )

    observations = jax.tree.map(draw, policy.observation)
    leaves = jax.tree.leaves(observations)
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    assert [one.name for one in session.get_inputs()] == list(described["inputs"])
    (actions,) = session.run(None, dict(zip(described["inputs"], leaves, strict=True)))
    np.testing.assert_allclose(actions, jax.vmap(policy)(observations), atol=1e-5)
    # A graph whose actions are others is not written.
    other = Policy(policy.experiment, policy.params, deterministic=True)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch, pytest.raises(PPOJaxError, match="takes other actions than the policy"):
        patch.setattr("ppo_jax.policies.onnx._agree", lambda *_: False)
        export_onnx(other, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
