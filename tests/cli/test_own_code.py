"""What a user's own code raises is one line that says where, exit code 2, and no run is written over."""

from __future__ import annotations

import pytest

from tests.cli.console import call

MODULE = """
import jax, jax.numpy as jnp, optax
from ppo_jax import ppo
from ppo_jax.networks.mlp import MLPActorCritic
from tests.toys import NeverEnds, Probe

class Resets(Probe):
    def reset(self, key, params):
        return self.nothing

class Steps(Probe):
    def helper(self):
        raise ValueError("no such move\\nat all")

    def step(self, key, state, action, params):
        self.helper()

class OnlyInBatches(Probe):
    def outcome(self, key, state, action):
        if params_of_ten is not None and jnp.ndim(key) == 0:
            {}["lost"]
        return super().outcome(key, state, action)

class Mutable(Probe):
    __hash__ = None  # as of a data class that is not frozen

class StartsNaN(Probe):
    def start(self, key):
        return jnp.full(1, jnp.nan)

params_of_ten = 1

def Made():
    return 1 / 0

def Exits():
    raise SystemExit(0)

def network(action_space):
    raise RuntimeError("no network today")

def loss(params, trainer, batch, scheduled, hyperparams):
    return batch.reward.sum(), {}

def optimizer():
    return optax.adam("fast")

def stretched():
    return optax.GradientTransformation(lambda p: (), lambda g, s, p: (jax.tree.map(lambda x: x[None], g), s))

def exported():
    return 3
"""
LINES = {
    "env_id=own_code:Resets": "own_code.py:9 in Resets.reset",
    "env_id=own_code:Steps": "own_code.py:13 in Steps.helper",
    "env_id=own_code:OnlyInBatches": "KeyError: 'lost'",
    "env_id=own_code:Mutable": "environment: unhashable type: 'Mutable', and what is compiled",
    "env_id=own_code:StartsNaN": "environment: observation of reset is not finite",
    "env_id=own_code:resets": "own_code has no resets; did you mean Resets",
    "env_id=own_code:Made": "ZeroDivisionError: division by zero",
    "env_id=own_code:Exits": "sys.exit(0)",
    "network=own_code:network": "RuntimeError: no network today",
    "loss=own_code:loss": "AttributeError: 'Batch' object has no attribute 'reward'",
    "loss=there/own_code.py:loss": "ppo.loss = 'there/own_code.py:loss': leave out .py: own_code:loss",
    "optimizer=own_code:optimizer": "optimizer",
    "optimizer=own_code:stretched": "optimizer: its updates must have the shapes of the parameters",
    "optimizer=own_code:exported": "optimizer: must be one of optax's, got int",
    "env_id=own_exit:Env": "own_exit.py:2: ended the process with sys.exit(0)",
    "env_id=own_syntax:Env": "own_syntax.py:1: raised SyntaxError",
    "env_id=own_name:Env": "own_name.py:1: raised NameError: name 'undefined' is not defined",
}


@pytest.fixture(scope="module", autouse=True)
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "own_code.py").write_text(MODULE)
    (folder / "own_exit.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "own_syntax.py").write_text("class Env(:\n")
    (folder / "own_name.py").write_text("Env = undefined\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.mark.parametrize("setting", LINES)
def test_one_line_says_what_and_where(workplace, tmp_path, setting, modules):
    result = call("train", workplace / "cartpole.toml", "--run-dir", tmp_path / "run", "--set", setting)
    assert result.code == 2
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert LINES[setting] in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_a_run_in_which_no_episode_ends_says_so(workplace, tmp_path):
    settings = ("env_id=own_code:NeverEnds", "total_timesteps=32")
    result = call("train", workplace / "cartpole.toml", "--run-dir", tmp_path / "run", "--set", *settings)
    assert result.code == 0
    assert "No episode ended (trained (best), trained (last), random policy)" in " ".join(result.out.split())
