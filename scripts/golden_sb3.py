"""Write the golden numbers of tests/test_sb3_parity.py: Stable-Baselines3's own PPO on a small fixed rollout.

It needs an environment apart from the project's, for torch is no dependency of ppo_jax::

    python -m venv sb3 && sb3/bin/pip install torch==2.13.0 stable-baselines3==2.9.2
    sb3/bin/python scripts/golden_sb3.py  # rewrites tests/golden/sb3_*.npz

Each case runs the real `collect_rollouts`, `compute_returns_and_advantage` and `PPO.train` of Stable-Baselines3. What
they compute is read from their local variables while they run; no formula is repeated here. The files hold::

    before/*, after/*              state dict of the policy before the rollout and after the update
    observations [T, B, 3], actions, log_probs, values, rewards, terminated, truncated, final_observations [T, B, ...]
    last_observations [B, 3], advantages, returns [T, B]
    minibatches [epochs, M, size]  indices into the rollout flattened with time first
    policy_loss, value_loss, entropy_loss, approx_kl, clip_fraction [K]   each minibatch seen, the stopping one included
    loss, grad_norm [applied]                                             each minibatch applied
    explained_variance []
    settings                       JSON: the arguments of PPO, and the versions that wrote the file

`rewards` are the environment's, before Stable-Baselines3 adds gamma V(final observation) where a time limit cuts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper

N_STEPS, N_ENVS, N_EPOCHS, BATCH_SIZE = 16, 4, 3, 16
OUT = Path(__file__).resolve().parents[1] / "tests" / "golden"

COMMON: dict[str, Any] = {
    "learning_rate": 0.01,
    "n_steps": N_STEPS,
    "batch_size": BATCH_SIZE,
    "n_epochs": N_EPOCHS,
    "gamma": 0.97,
    "gae_lambda": 0.9,
    "clip_range": 0.1,
    "clip_range_vf": None,
    "ent_coef": 0.02,
    "vf_coef": 0.5,
    "max_grad_norm": 2.4,
    "target_kl": None,
    "normalize_advantage": True,
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clip_range_vf": {"clip_range_vf": 0.05},
    "kl_stop": {"target_kl": 0.004, "n_epochs": N_EPOCHS + 1},
    "unnormalised": {"normalize_advantage": False},
    "shared_trunk": {},
    "continuous": {},
}


class Drift(gymnasium.Env):
    """A point turned and pushed by the action; ends past a wall, is cut after six steps, sometimes both at once."""

    TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 0.9]])
    PUSH = np.array([[0.5, 0.0, 0.3], [-0.3, 0.4, 0.1], [0.0, -0.2, -0.5]])

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def __init__(self, continuous: bool) -> None:
        self.continuous = continuous
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,)) if continuous else gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = self.np_random.normal(size=3), 0
        return self.x.astype(np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.x = self.TURN @ self.x + (action @ self.PUSH[:2] if self.continuous else self.PUSH[action])
        self.t += 1
        terminated, truncated = bool(abs(self.x[0]) > 1.4), self.t == 6
        flags = {"terminated": terminated, "truncated": truncated}
        return self.x.astype(np.float32), float(1.0 + self.x[0] - self.x[2] ** 2), terminated, truncated, flags


class Recorder(VecEnvWrapper):
    """Keeps what the environments gave, before the algorithm adds to the rewards."""

    def __init__(self, venv: DummyVecEnv) -> None:
        super().__init__(venv)
        self.steps: list[tuple[np.ndarray, ...]] = []

    def reset(self) -> np.ndarray:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        final = [info.get("terminal_observation", o) for info, o in zip(infos, observations, strict=True)]
        flags = [np.array([info[name] for info in infos]) for name in ("terminated", "truncated")]
        self.steps.append((rewards.copy(), *flags, np.stack(final)))
        return observations, rewards, dones, infos


class SharedTrunk(BaseFeaturesExtractor):
    """One hidden layer for actor and critic together."""

    def __init__(self, observation_space: gymnasium.spaces.Box) -> None:
        super().__init__(observation_space, features_dim=8)
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layers(observations)


def settings_of(changes: dict[str, Any], **more: Any) -> np.ndarray:
    """JSON of a case's arguments and of the versions that run it."""
    versions = {"stable_baselines3": stable_baselines3.__version__, "torch": torch.__version__}
    return np.array(json.dumps(COMMON | changes | versions | more))


def state_dict(moment: str, model: OnPolicyAlgorithm) -> dict[str, np.ndarray]:
    """A copy of the policy's weights, by name."""
    return {f"{moment}/{name}": w.numpy().copy() for name, w in model.policy.state_dict().items()}


def rollout(model: OnPolicyAlgorithm, env: Recorder, callback: BaseCallback) -> dict[str, np.ndarray]:
    """Run one rollout and return what the environments gave and the algorithm made of it, [T, B, ...]."""
    env.steps.clear()
    model.collect_rollouts(model.env, callback, model.rollout_buffer, N_STEPS)
    buffer = model.rollout_buffer
    names = ("observations", "actions", "log_probs", "values", "advantages", "returns")
    golden = {name: getattr(buffer, name).copy() for name in names}
    recorded = [np.stack(x) for x in zip(*env.steps, strict=True)]
    golden |= dict(zip(("rewards", "terminated", "truncated", "final_observations"), recorded, strict=True))
    golden["last_observations"] = model._last_obs.copy()
    return golden


def update(model: OnPolicyAlgorithm) -> dict[str, np.ndarray]:
    """Run the epochs and return the numbers of every minibatch."""
    seen: dict[str, list[float]] = {name: [] for name in ("approx_kl", "loss", "grad_norm")}
    finished: dict[str, Any] = {}
    real_clip, real_step = torch.nn.utils.clip_grad_norm_, model.policy.optimizer.step

    def locals_of_train() -> dict[str, Any]:
        frame = sys._getframe()
        while frame.f_code is not type(model).train.__code__:
            frame = frame.f_back
        return frame.f_locals

    def clip_grad_norm(parameters: Any, max_norm: float) -> torch.Tensor:
        norm = real_clip(parameters, max_norm)
        seen["grad_norm"].append(norm.item())
        return norm

    def step() -> None:
        running = locals_of_train()
        seen["loss"].append(running["loss"].item())
        seen["approx_kl"].append(float(running["approx_kl_divs"][-1]))
        real_step()

    def log(key: str, value: Any, exclude: Any = None) -> None:
        finished.update(locals_of_train())

    with (
        mock.patch.object(torch.nn.utils, "clip_grad_norm_", clip_grad_norm),
        mock.patch.object(model.policy.optimizer, "step", step),
        mock.patch.object(model.logger, "record", log),
    ):
        model.train()

    if not finished["continue_training"]:
        seen["approx_kl"].append(float(finished["approx_kl_divs"][-1]))
    lists = {"policy_loss": "pg_losses", "value_loss": "value_losses", "entropy_loss": "entropy_losses"}
    for name, local in (lists | {"clip_fraction": "clip_fractions"}).items():
        seen[name] = finished[local]
    seen["explained_variance"] = finished["explained_var"]
    return {name: np.float32(values) for name, values in seen.items()}


def time_first() -> np.ndarray:
    """Index into the rollout flattened with time first, for each index of the buffer, which has environments first."""
    return np.arange(N_STEPS * N_ENVS).reshape(N_STEPS, N_ENVS).T.ravel()


def record(case: str, changes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Run one rollout and one update and return everything a golden file holds."""
    env = Recorder(DummyVecEnv([lambda: Drift(case == "continuous")] * N_ENVS))
    policy: dict[str, Any] = {"net_arch": [8]}
    if case == "shared_trunk":
        policy = {"net_arch": [], "features_extractor_class": SharedTrunk}
    model = PPO("MlpPolicy", env, seed=17, device="cpu", policy_kwargs=policy, **COMMON | changes)
    model.set_logger(Logger(None, []))
    with torch.no_grad():
        # The usual policy head is almost uniform: too dull to tell a right gradient from a wrong one.
        model.policy.action_net.weight.mul_(60.0)
    before = state_dict("before", model)
    _, callback = model._setup_learn(10**6, CallbackList([]))
    golden = rollout(model, env, callback)

    permutations: list[np.ndarray] = []
    rng = np.random.default_rng(0)

    def permutation(n: int) -> np.ndarray:
        permutations.append(rng.permutation(n))
        return permutations[-1]

    with mock.patch.object(np.random, "permutation", permutation):
        golden |= update(model)
    minibatches = np.stack([time_first()[p] for p in permutations])
    golden["minibatches"] = minibatches.reshape(len(permutations), -1, BATCH_SIZE).astype(np.int32)
    golden |= before | state_dict("after", model)
    return golden | {"settings": settings_of(changes)}


def check(case: str, golden: dict[str, np.ndarray]) -> None:
    """Refuse a rollout that misses what the tests are about."""
    terminated, truncated = golden["terminated"], golden["truncated"]
    ended, applied = terminated | truncated, len(golden["grad_norm"])
    per_epoch = golden["minibatches"].shape[1]
    assert (terminated & ~truncated).any() and (truncated & ~terminated).any() and (terminated & truncated).any(), case
    assert ended[-1].any() and not ended[-1].all(), f"{case}: the last step must end some episodes, not all"
    clipped = golden["grad_norm"] > COMMON["max_grad_norm"]
    assert clipped.any() and not clipped.all(), f"{case}: the norm must be clipped in some minibatches, not all"
    assert golden["clip_fraction"].any(), case
    if case == "kl_stop":
        # Neither in the first epoch nor in the last: an epoch must be left out.
        assert applied % per_epoch and per_epoch < applied < N_EPOCHS * per_epoch, f"{case}: stopped after {applied}"
    else:
        assert applied == N_EPOCHS * per_epoch, case


def main() -> None:
    """Write one file per case."""
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    for case, changes in CASES.items():
        golden = record(case, changes)
        check(case, golden)
        np.savez_compressed(OUT / f"sb3_{case}.npz", **golden)
        print(f"{case}: {len(golden['grad_norm'])} minibatches applied, largest KL {golden['approx_kl'].max():.4f}")


if __name__ == "__main__":
    main()
