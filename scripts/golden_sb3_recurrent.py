"""Write the golden numbers of tests/test_sb3_recurrent_parity.py: RecurrentPPO of sb3-contrib on a small fixed rollout.

It needs an environment apart from the project's, for torch is no dependency of ppo_jax::

    python -m venv sb3 && sb3/bin/pip install torch==2.13.0 stable-baselines3==2.9.2 sb3-contrib==2.9.2
    sb3/bin/python scripts/golden_sb3_recurrent.py  # rewrites tests/golden/recurrent_*.npz

Each case runs the real `collect_rollouts` twice, so that the rollout kept opens in the middle of episodes, and the real
`RecurrentPPO.train` once. The files hold what scripts/golden_sb3.py writes, and::

    start [T, B]                             whether an episode starts at this step
    hidden_pi, cell_pi, hidden_vf, cell_vf [T, B, H]   LSTM state before each step, not yet reset where `start` is set
    last_hidden_pi, ... [B, H]               after the last step
    bootstrapped_rewards [T, B]              rewards with gamma V(final observation) where a time limit cuts
    final_values [T, B]                      V(final observation) where a time limit cuts, else zero
    last_values [B]                          V(last_observations)
    minibatches [epochs, M, size]            as there: whole sequences one after the other, each in the order of time

Two choices keep both sides comparable:

- Minibatches. Its buffer cuts the rollout, environment after environment, into minibatches of neighbours, and shifts
  the cut at random. Here the buffer is handed whole sequences of `sequence_length` steps in a shuffled order, each
  marked as a sequence of its own. How it makes a minibatch of them and trains on it is its own affair.
- Biases. An LSTM of torch adds two biases, whose gradients are equal: Adam moves their sum twice as far as it would
  move one bias, and the gradient's norm counts both. `bias_ih_l0` is kept as it was initialised, so that the other
  learns what the one bias of another library learns.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import golden_sb3
import numpy as np
import sb3_contrib
import torch
from golden_sb3 import COMMON, N_ENVS, N_STEPS, OUT, Drift, Recorder
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

TRAINING: dict[str, Any] = {"batch_size": 32, "n_epochs": 2, "max_grad_norm": 1.5}
ARCHITECTURE: dict[str, Any] = {"lstm_hidden_size": 8, "net_arch": {"pi": [6], "vf": [6]}}
SEPARATE, SHARED = {"enable_critic_lstm": True}, {"shared_lstm": True, "enable_critic_lstm": False}
CASES: dict[str, dict[str, Any]] = {
    "separate": SEPARATE | {"sequence_length": N_STEPS},
    "shared": SHARED | {"sequence_length": N_STEPS},
    "short_sequences": SEPARATE | {"sequence_length": 4},
}


def lstm_states(states: RNNStates, prefix: str = "") -> dict[str, np.ndarray]:
    """Hidden and cell states [B, H] of actor (pi) and critic (vf), by name."""
    names = ("hidden_pi", "cell_pi", "hidden_vf", "cell_vf")
    return {prefix + name: x.numpy()[0].copy() for name, x in zip(names, (*states.pi, *states.vf), strict=True)}


def record(architecture: dict[str, Any]) -> dict[str, np.ndarray]:
    """Run two rollouts and one update and return everything a golden file holds."""
    architecture = ARCHITECTURE | architecture
    length = architecture.pop("sequence_length")
    env = Recorder(DummyVecEnv([lambda: Drift(continuous=False)] * N_ENVS))
    model = RecurrentPPO("MlpLstmPolicy", env, seed=19, device="cpu", policy_kwargs=architecture, **COMMON | TRAINING)
    model.set_logger(Logger(None, []))
    with torch.no_grad():
        # The usual policy head is almost uniform: too dull to tell a right gradient from a wrong one.
        model.policy.action_net.weight.mul_(60.0)
    for lstm in (model.policy.lstm_actor, model.policy.lstm_critic):
        if lstm is not None:
            lstm.bias_ih_l0.requires_grad_(False)
    before = golden_sb3.state_dict("before", model)

    predicted: list[np.ndarray] = []
    real_predict = model.policy.predict_values

    def predict_values(*arguments: Any) -> torch.Tensor:
        values = real_predict(*arguments)
        predicted.append(values.numpy().ravel())
        return values

    _, callback = model._setup_learn(10**6, CallbackList([]))
    golden_sb3.rollout(model, env, callback)
    with mock.patch.object(model.policy, "predict_values", predict_values):
        golden = golden_sb3.rollout(model, env, callback)
    buffer = model.rollout_buffer
    golden["start"] = buffer.episode_starts.astype(bool)
    golden["bootstrapped_rewards"] = buffer.rewards.copy()
    for name in ("hidden_states_pi", "cell_states_pi", "hidden_states_vf", "cell_states_vf"):
        golden[name.replace("_states", "")] = getattr(buffer, name)[:, 0].copy()
    golden |= lstm_states(model._last_lstm_states, "last_")
    # One value for each step that a time limit cuts, in the order of time and environments, then those after the end.
    *finals, golden["last_values"] = predicted
    golden["final_values"] = np.zeros_like(golden["values"])
    golden["final_values"][golden["truncated"] & ~golden["terminated"]] = np.concatenate(finals)

    rng = np.random.default_rng(0)
    transitions = np.arange(N_STEPS * N_ENVS)
    opens_sequence = (transitions % length == 0)[:, None]
    epochs = [rng.permutation(transitions.reshape(-1, length)) for _ in range(model.n_epochs)]
    minibatches = np.stack(epochs).reshape(model.n_epochs, -1, model.batch_size)
    real_samples, given = buffer._get_samples, iter(minibatches.reshape(-1, model.batch_size))

    def get_samples(indices: np.ndarray, env_change: np.ndarray) -> Any:
        return real_samples(next(given), opens_sequence)

    with mock.patch.object(buffer, "_get_samples", get_samples):
        golden |= golden_sb3.update(model)
    golden["minibatches"] = golden_sb3.time_first()[minibatches].astype(np.int32)
    golden |= before | golden_sb3.state_dict("after", model)
    more = {"sb3_contrib": sb3_contrib.__version__, "sequence_length": length, "policy_kwargs": architecture}
    return golden | {"settings": golden_sb3.settings_of(TRAINING, **more)}


def check(case: str, golden: dict[str, np.ndarray]) -> None:
    """Refuse a rollout that misses what the tests are about."""
    terminated, truncated, start = golden["terminated"], golden["truncated"], golden["start"]
    ended, length = terminated | truncated, CASES[case]["sequence_length"]
    assert (terminated & ~truncated).any() and (truncated & ~terminated).any() and (terminated & truncated).any(), case
    assert ended[-1].any() and not ended[-1].all(), f"{case}: the last step must end some episodes, not all"
    openings = start[::length]
    assert openings.any() and not openings.all(), f"{case}: sequences must open at and within episodes"
    assert golden["hidden_pi"][::length].any(axis=-1).all(), f"{case}: a state is zero, which a reset leaves as it is"
    assert start[np.arange(N_STEPS) % length != 0].any(), f"{case}: no episode starts in the middle of a sequence"
    clipped = golden["grad_norm"] > TRAINING["max_grad_norm"]
    assert clipped.any() and not clipped.all(), f"{case}: the norm must be clipped in some minibatches, not all"
    assert golden["clip_fraction"].any(), case
    assert len(golden["grad_norm"]) == golden["minibatches"].shape[0] * golden["minibatches"].shape[1], case
    kept = [name for name in golden if name.startswith("before/") and name.endswith("bias_ih_l0")]
    assert all((golden[name] == golden[name.replace("before", "after")]).all() for name in kept), case


def main() -> None:
    """Write one file per case."""
    torch.set_num_threads(1)
    for case, architecture in CASES.items():
        golden = record(architecture)
        check(case, golden)
        np.savez_compressed(OUT / f"recurrent_{case}.npz", **golden)
        print(f"{case}: {len(golden['grad_norm'])} minibatches applied, largest KL {golden['approx_kl'].max():.4f}")


if __name__ == "__main__":
    main()
