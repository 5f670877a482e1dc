"""Data sets far larger than Countries load, step as the reference says, train, and stay within 4 GiB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import ppo
from ppo_jax.config import Config, NetworkConfig, PPOConfig, TaskConfig
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.runs import experiment
from ppo_jax.runs.experiment import Experiment
from tests.proving import reference
from tests.proving.logic_programs import as_program
from tests.proving.reference import FACT, Action, Resolvent

CAP = 64
N_WALKERS, N_STEPS = 4, 8
# slots for facts with the cap of 64, and how many more the widest row has
WIDTHS = {"umls": (52, 242), "family": (52, 2101), "wn18rr": (58, 29657)}
GIB = 2**30

# Programs that run for moments: compile them quickly rather than well.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

TRAIN_ONE_UPDATE = """
import json, resource, sys
import jax
from ppo_jax import ppo
from ppo_jax.config import Config, PPOConfig, TaskConfig
from ppo_jax.runs import experiment

folder, cap = sys.argv[1], json.loads(sys.argv[2])
config = Config(
    TaskConfig(dataset=folder, mode="verify", max_atoms=4, max_successors=cap),
    PPOConfig(n_envs=64, n_steps=128, n_epochs=4, batch_size=1024),
)
trainer = experiment.build(config).trainer
state = jax.jit(ppo.init)(trainer, jax.random.key(0), config.hyperparams)
state, metrics = jax.jit(ppo.update, donate_argnums=1)(trainer, state)
print(json.dumps({
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "overflow_fraction": float(metrics["overflow_fraction"]),
    "policy_loss": float(metrics["policy_loss"]),
}))
"""


@pytest.fixture(scope="module", params=["umls", "family", pytest.param("wn18rr", marks=pytest.mark.slow)])
def built(request: pytest.FixtureRequest, shared_data: Path) -> Experiment:
    config = Config(
        TaskConfig(dataset=str(shared_data / request.param), mode="verify", max_atoms=4, max_successors=CAP),
        PPOConfig(n_envs=N_WALKERS, n_steps=8, n_epochs=1, batch_size=16, total_timesteps=32),
        NetworkConfig(hidden_sizes=(8,), embedding_size=8),
    )
    return experiment.build(config)


def assert_first_of(found: list[Action], every: list[Action], max_facts: int) -> None:
    """The rules are all there, of the facts those that have a slot."""
    facts, kept = ([a for a in actions if a.kind == FACT] for actions in (every, found))
    assert found[len(kept) :] == every[len(facts) :]
    assert kept == facts[: len(kept)]
    assert len(kept) >= min(len(facts), max_facts) - 1  # the query itself can take a slot, in which it is not valid


def actions_of(state: Any) -> list[Action]:
    """A state's successors in the reference's terms."""
    return [
        Action(int(kind), tuple(constants.tolist()), atoms(resolvent))
        for kind, constants, resolvent, is_open in zip(
            state.action_kind, state.action_constants, state.successors.T, state.action_mask, strict=False
        )
        if is_open
    ]


def atoms(resolvent: np.ndarray) -> Resolvent:
    return tuple((p, s, t) for p, s, t in resolvent.tolist() if p)


def test_sizes_are_those_of_the_data_cut_at_the_cap(built: Experiment) -> None:
    env = built.env
    assert isinstance(env, ProofEnv)
    assert (env.sizes.max_facts, env.widest_cut) == WIDTHS[env.dataset.name]
    assert env.sizes.max_successors == CAP == env.action_space.n - 1
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(env.default_params))
    assert n_bytes < 512 * len(env.dataset.kb.facts)  # far from one for each predicate, constant and constant


def test_steps_offer_what_the_reference_offers(built: Experiment) -> None:
    """Without collapse and pruning, which test_environment.py covers, a state offers plainly its successors."""
    env = replace(built.env, collapse_proved=False, prune_visited=False)
    program, params, rng = as_program(env.dataset.kb), env.default_params, np.random.default_rng(0)
    reset = quick_jit(jax.vmap(env.reset, in_axes=(0, None)))
    step_all = quick_jit(jax.vmap(env.step, in_axes=(0, 0, 0, None)))
    keys = jax.random.split(jax.random.key(0), (1 + N_STEPS, N_WALKERS))
    states = reset(keys[0], params)[1]
    n_facts = 0
    for step_keys in keys[1:]:
        actions = []
        host = jax.device_get(states)
        for i in range(N_WALKERS):
            state = jax.tree.map(lambda x, i=i: x[i], host)
            query = tuple(state.root.tolist())
            assert (query in program.known) == state.label
            found = actions_of(state)
            every, _ = reference.successors(program, atoms(state.resolvent), query, env.sizes.max_atoms)
            assert_first_of(found, every, env.sizes.max_facts)
            n_facts += sum(action.kind == FACT for action in found)
            open_slots = np.flatnonzero(state.action_mask)
            actions.append(rng.choice(open_slots[:-1] if len(open_slots) > 1 else open_slots))
        states = step_all(step_keys, states, jnp.array(actions, jnp.int32), params).state
    assert n_facts > 0


def test_an_update_trains(built: Experiment) -> None:
    trainer = built.trainer
    state = quick_jit(ppo.init)(trainer, jax.random.key(0), built.config.hyperparams)
    before = jax.device_get(state.learner.params)
    state, metrics = quick_jit(ppo.update)(trainer, state)
    for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "grad_norm", "overflow_fraction"):
        assert np.isfinite(metrics[name]), name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.learner.params))
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, state.learner.params)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cap"), [("countries_s3", CAP), ("family", CAP), ("umls", CAP), ("wn18rr", CAP), ("family", None)]
)
def test_an_update_of_8192_steps_takes_less_than_4_gib(name: str, cap: int | None, shared_data: Path) -> None:
    """The peak of a program of its own, compilation included; without a cap all 2153 facts of family have a slot."""
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-c", TRAIN_ONE_UPDATE, str(shared_data / name), json.dumps(cap)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert finished.returncode == 0, finished.stderr
    measured = json.loads(finished.stdout.splitlines()[-1])
    assert measured["peak_bytes"] < 4 * GIB
    assert np.isfinite(measured["policy_loss"])
    assert (measured["overflow_fraction"] > 0.1) == (cap is not None and name != "countries_s3")
