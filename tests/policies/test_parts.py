"""A run on an environment of many parts: trained, judged, used and exported."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from ppo_jax import ppo
from ppo_jax.config import from_dict
from ppo_jax.policies.export import export_policy
from ppo_jax.policies.policy import Policy
from ppo_jax.runs.experiment import build
from ppo_jax.types import PPOJaxError
from tests.toys import Switchboard

CONFIG = from_dict(
    {
        "task": {"env_id": "tests.toys:Switchboard"},
        "ppo": {"total_timesteps": 16, "n_envs": 4, "n_steps": 4, "batch_size": 8, "normalize_observations": True},
        "network": {"hidden_sizes": [4]},
        "evaluation": {"eval_episodes": 8},
    }
)


@pytest.fixture(scope="module")
def policy():
    experiment = build(CONFIG, env=Switchboard())
    state, _ = jax.jit(ppo.train)(experiment.trainer, jax.random.key(0), CONFIG.hyperparams)
    return Policy(experiment, experiment.trained(state))


def observations(n: int):
    observation, _ = jax.vmap(Switchboard().reset, in_axes=(0, None))(jax.random.split(jax.random.key(1), n), ())
    return observation


def test_it_is_judged_beside_a_random_policy(policy):
    task = policy.experiment.task
    result = task.evaluate(policy.experiment.policy, policy.params, "valid", seed=0)
    random = task.baselines(policy.experiment.policy, lambda seed: policy.params)["random"]
    assert result["episodes"] == random["episodes"] == 8
    assert -1.0 <= random["return_mean"] <= 2.0


def test_a_policy_in_use_does_without_what_the_critic_saw(policy):
    everything = observations(32)
    public = {name: x for name, x in everything.items() if name != "privileged"}
    keys = jax.random.split(jax.random.key(2), 32)
    actions = jax.vmap(policy)(public, keys)
    assert actions.shape == (32, 2)
    assert (actions[:, 1] < 2 + public["action_mask"][:, 4]).all()
    np.testing.assert_array_equal(actions, jax.vmap(policy)(everything, keys))
    assert set(policy.observation) == {"goal", "action_mask"}
    with pytest.raises(PPOJaxError, match="the observation has the shape"):
        policy({"goal": (jnp.zeros(2),), "action_mask": jnp.ones(5, bool)}, keys[0])


def test_it_is_exported_with_what_it_needs(policy, tmp_path):
    export_policy(policy, tmp_path / "policy.bin")
    described = json.loads((tmp_path / "policy.json").read_text())
    assert described["action"] == {"shape": ["n", 2], "dtype": "int32", "type": "multi_discrete", "sizes": [2, 3]}
    assert set(described["inputs"]["observation"]) == {"goal", "action_mask"}
    public = {name: x for name, x in observations(3).items() if name != "privileged"}
    keys = jax.random.split(jax.random.key(2), 3)
    loaded = export.deserialize(bytearray((tmp_path / "policy.bin").read_bytes()))
    np.testing.assert_array_equal(loaded.call(public, keys), jax.vmap(policy)(public, keys))
