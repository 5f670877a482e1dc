"""How fast this machine trains, beside what it could do at most, and where the time goes.

Everything compared is measured in one process, interleaved (A B A B …), and reported as a median with its spread: on a
shared machine a ratio taken that way holds, an absolute time does not. The bound is a fixed program, `reference`: the
forward and backward passes of the same run and nothing else.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import ppo
from ppo_jax.config import Config, Settings, from_dict
from ppo_jax.devices import cpu, mesh
from ppo_jax.devices.mesh import Placement
from ppo_jax.ops import schedules
from ppo_jax.proving import environment as proof
from ppo_jax.runs.experiment import Experiment, build
from ppo_jax.runs.loop import chunk_length, compile_chunk
from ppo_jax.types import PPOJaxError

__all__ = ["CASES", "environment_speed", "import_seconds", "machine", "measure", "ratios", "reference", "run", "worse"]

PyTree = Any
REPEATS = 5  # measurements of each program
SECONDS = 0.4  # that one of them takes at least
HIDDEN = 64  # width of the reference's two layers
TOLERANCE = 0.15  # by which a ratio may be worse than the recorded one


def cartpole(n_envs: int) -> Config:
    """The setting in which trainers are compared: 2 x 64 tanh, separate critic, 128 steps, 4 epochs, 4 minibatches."""
    ppo_settings = {"n_envs": n_envs, "n_steps": 128, "n_epochs": 4, "batch_size": 32 * n_envs, "ent_coef": 0.01}
    return from_dict(
        {
            "task": {"env_id": "CartPole-v1"},
            "ppo": ppo_settings | {"total_timesteps": 10**8},
            # A program that small gains nothing from threads.
            "run": {"threads": 1} if n_envs <= 4 else {},
        }
    )


def countries() -> Config:
    """The recommended configuration of Countries S3 without schedules and KL limit: every update does the same work."""
    return from_dict(
        {
            "task": {"env_id": "Proof-countries_s3", "max_atoms": 4, "reward": "sound", "fact_dropout": 0.15},
            "ppo": {
                **{"n_envs": 128, "n_steps": 16, "n_epochs": 2, "batch_size": 512, "total_timesteps": 10**8},
                **{"learning_rate": 1.3e-3, "critic_learning_rate": 3e-3, "ent_coef": 0.1},
            },
            "network": {"network": "proof_actions", "embedding_size": 32, "fact_layers": 2},
        }
    )


CASES: Mapping[str, Callable[[], Config]] = {
    "cartpole_4": partial(cartpole, 4),
    "cartpole_64": partial(cartpole, 64),
    "cartpole_1024": partial(cartpole, 1024),
    "countries_s3": countries,
}


def reference(settings: Settings, n_features: int, n_actions: int) -> Callable[..., PyTree]:
    """The bound of the machine: one update's forward and backward passes in plain jnp, and nothing beside them.

    Two towers of two 64-wide tanh layers; a forward pass for each step of the rollout and its end, then a gradient for
    each minibatch of each epoch. There is no environment, no shuffling and no optimizer. It stays as it is when the
    networks of this package change.

    Args:
        settings: numbers and sizes of the batches.
        n_features: inputs of the towers.
        n_actions: outputs of the first tower; the second has one.

    Returns:
        ``program(params, x, action)`` for x [N, n_features] and action [N], N the rollout's size, and
        ``program.params``, its initial parameters.
    """
    n_minibatches = settings.rollout_size // settings.batch_size
    keys = iter(jax.random.split(jax.random.key(0), 6))
    sizes = {"actor": (n_features, HIDDEN, HIDDEN, n_actions), "critic": (n_features, HIDDEN, HIDDEN, 1)}
    params = {
        tower: [
            (jax.random.normal(next(keys), shape) * shape[0] ** -0.5, jnp.zeros(shape[1]))
            for shape in itertools.pairwise(s)
        ]
        for tower, s in sizes.items()
    }

    def tower(layers: Any, x: jax.Array) -> jax.Array:
        for weights, bias in layers[:-1]:
            x = jnp.tanh(x @ weights + bias[None])
        return x @ layers[-1][0] + layers[-1][1][None]

    def loss(params: PyTree, x: jax.Array, action: jax.Array) -> jax.Array:
        log_probs = jax.nn.log_softmax(tower(params["actor"], x))
        chosen = jnp.take_along_axis(log_probs, action[:, None], axis=1)
        return jnp.mean(tower(params["critic"], x) ** 2) - jnp.mean(chosen)

    @jax.jit
    def program(params: PyTree, x: jax.Array, action: jax.Array) -> PyTree:
        steps = x.reshape(settings.n_steps, settings.n_envs, -1)

        def forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return tower(params["actor"], x), tower(params["critic"], x)

        _, outputs = jax.lax.scan(lambda carry, x: (carry, forward(x)), None, steps)
        minibatches = (x.reshape(n_minibatches, settings.batch_size, -1), action.reshape(n_minibatches, -1))

        def minibatch(total: PyTree, batch: Any) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, jax.grad(loss)(params, *batch)), None

        def epoch(total: PyTree, _: None) -> tuple[PyTree, None]:
            return jax.lax.scan(minibatch, total, minibatches)

        total, _ = jax.lax.scan(epoch, jax.tree.map(jnp.zeros_like, params), length=settings.n_epochs)
        return total, outputs, forward(steps[-1])

    return partial(program, params)


def interleaved(programs: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds a call of each program, `REPEATS` times, taken in turns."""
    calls = {}
    for name, program in programs.items():
        jax.block_until_ready(program())
        begin = time.perf_counter()
        jax.block_until_ready(program())
        calls[name] = max(1, round(SECONDS / (time.perf_counter() - begin)))
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(REPEATS):
        for name, program in programs.items():
            begin = time.perf_counter()
            for _ in range(calls[name]):
                result = program()
            jax.block_until_ready(result)
            seconds[name].append((time.perf_counter() - begin) / calls[name])
    return seconds


class Training:
    """Training as a run does it, compiled: updates in chunks, on the devices of a placement."""

    def __init__(self, experiment: Experiment, state: ppo.TrainState, placement: Placement) -> None:
        self._trainer, (self._state, _) = experiment.trainer, placement.put(state, 0)
        begin = time.perf_counter()
        self._compiled = compile_chunk(self._trainer, self._state, placement=placement)
        self.compile_seconds, self.updates = time.perf_counter() - begin, 1
        jax.block_until_ready(self.chunk())
        begin = time.perf_counter()
        jax.block_until_ready(self.chunk())
        self.updates = chunk_length(time.perf_counter() - begin)

    def chunk(self) -> jax.Array:
        """The next `updates` updates."""
        self._state, _ = self._compiled(self._trainer, self._state, jnp.int32(self.updates))
        return self._state.step


def measure(name: str) -> dict[str, Any]:
    """One case: training, its bound and its stages, in turns, in this process."""
    config = CASES[name]()
    cpu.prepare(config)
    config = mesh.resolve(config)
    experiment, placement = build(config), mesh.placement(config)
    settings = experiment.config.settings
    state = experiment.initial_state(0)
    jax.block_until_ready(state)
    data = jax.tree.map(jnp.copy, state)  # training donates its own
    training, peak = {"train": Training(experiment, state, placement)}, peak_rss_mib()
    if placement != (one := Placement()):
        training["train on one device"] = Training(experiment, experiment.initial_state(0), one)

    observation = jax.tree.leaves(state.rollout.observation)[0]
    # An observation of several arrays has no width of its own.
    n_features = int(np.prod(observation.shape[1:])) if isinstance(state.rollout.observation, jax.Array) else HIDDEN
    n_actions = experiment.env.action_space.n  # type: ignore[union-attr]
    x = jax.random.normal(jax.random.key(1), (settings.rollout_size, n_features))
    action = jax.random.randint(jax.random.key(2), (settings.rollout_size,), 0, n_actions)
    bound = reference(settings, n_features, n_actions)

    stages = _stages(experiment, data)
    programs = {key: program.chunk for key, program in training.items()}
    seconds = interleaved({**programs, "bound": lambda: bound(x, action), **stages})
    for key, program in training.items():
        seconds[key] = [total / program.updates for total in seconds[key]]
    median = {key: float(np.median(values)) for key, values in seconds.items()}
    share = [b / t for t, b in zip(seconds["train"], seconds["bound"], strict=True)]
    return {
        "name": name,
        "steps_per_second": settings.rollout_size / median["train"],
        "bound_steps_per_second": settings.rollout_size / median["bound"],
        "share_of_bound": float(np.median(share)),
        "share_of_bound_range": [min(share), max(share)],
        "devices": placement.size,
        "compile_seconds": training["train"].compile_seconds,
        "peak_rss_mib": peak,
        "milliseconds": {key: 1000 * value for key, value in median.items() if key != "bound"},
    }


def _stages(experiment: Experiment, state: ppo.TrainState) -> dict[str, Callable[[], Any]]:
    """The functions that `ppo.update` calls, each a program of its own on the data of a real rollout.

    `gradients` and `steps` are the two parts of `update_epochs` that compute, as often as an update does them.
    """
    trainer, settings, hp = experiment.trainer, experiment.config.settings, state.hyperparams
    compiled = partial(jax.jit, compiler_options=cpu.compiler_options())
    rollout, make_batch = compiled(ppo.rollout), compiled(ppo.make_batch)
    update_epochs = compiled(ppo.update_epochs)
    after, transitions = rollout(trainer, state)
    _, batch, _ = make_batch(trainer, after, transitions)
    scheduled = jax.jit(schedules.scheduled, static_argnums=2)(hp, state.step, settings.rollout_size)
    n = settings.n_minibatches
    minibatches = jax.tree.map(lambda x: x.reshape(n, len(x) // n, *x.shape[1:]), batch)
    grads = jax.tree.map(lambda x: 1e-3 * x, state.learner.params)

    @compiled
    def gradients(trainer: ppo.Trainer, params: PyTree, minibatches: ppo.Batch) -> Any:
        def minibatch(total: PyTree, batch: ppo.Batch) -> tuple[PyTree, Any]:
            grads, metrics = ppo.gradient(params, trainer, batch, scheduled, hp)
            return jax.tree.map(jnp.add, total, grads), metrics

        def epoch(total: PyTree, _: None) -> tuple[PyTree, Any]:
            return jax.lax.scan(minibatch, total, minibatches)

        return jax.lax.scan(epoch, jax.tree.map(jnp.zeros_like, params), length=settings.n_epochs)

    @compiled
    def steps(trainer: ppo.Trainer, learner: ppo.Learner, grads: PyTree) -> Any:
        def step(learner: ppo.Learner, _: None) -> tuple[ppo.Learner, Any]:
            return ppo.gradient_step(trainer, learner, grads, hp)

        return jax.lax.scan(step, learner, length=settings.n_epochs * n)

    key = jax.random.key(3)
    return {
        "rollout": lambda: rollout(trainer, state)[1].reward,
        "make_batch": lambda: make_batch(trainer, after, transitions),
        "update_epochs": lambda: update_epochs(trainer, state.learner, batch, key, scheduled, hp),
        "of them gradients": lambda: gradients(trainer, state.learner.params, minibatches),
        "of them steps": lambda: steps(trainer, state.learner, grads),
    }


def environment_speed(dataset: str = "countries_s3", n_envs: int = 1024, n_steps: int = 50, **options: Any) -> float:
    """Steps a second of the proof environment alone, with random valid actions."""
    env = proof.make(dataset, **{"max_atoms": 4, **options})
    params = env.default_params
    assert params is not None

    @partial(jax.jit, compiler_options=cpu.compiler_options())
    def walk(states: Any, params: Any) -> Any:
        def step(states: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            pick_key, step_key = jax.random.split(key)
            # The k-th valid action for a uniform k: one random number an environment.
            order = jnp.cumsum(states.action_mask, axis=1)
            k = jax.random.randint(pick_key, (n_envs,), 0, order[:, -1])
            action = jnp.argmax(order > k[:, None], axis=1)
            moved = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                jax.random.split(step_key, n_envs), states, action, params
            )
            return moved.state, moved.reward.mean()

        return jax.lax.scan(step, states, jax.random.split(jax.random.key(0), n_steps))

    _, states = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(jax.random.split(jax.random.key(0), n_envs), params)
    seconds = interleaved({"walk": lambda: walk(states, params)})["walk"]
    return n_envs * n_steps / float(np.median(seconds))


def import_seconds() -> dict[str, float]:
    """Median seconds of a process that imports JAX, imports this package, or shows the help; in turns."""
    programs = {
        "jax": ["-c", "import jax"],
        "ppo_jax": ["-c", "import ppo_jax, ppo_jax.ppo"],
        "help": ["-m", "ppo_jax", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(REPEATS):
        for name, arguments in programs.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def peak_rss_mib() -> float:
    """Most memory this process ever held."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    device = jax.devices()[0]
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "device": device.device_kind,
        "system": f"{platform.system()} {platform.release()}",
    }


def run(names: list[str], say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """The benchmark as JSON data; each case in a process of its own, whose peak memory is the case's.

    Args:
        names: of `CASES`.
        say: receives a line before each part.

    Raises:
        PPOJaxError: the process of a case failed.
    """
    cases = []
    for name in names:
        say(name)
        command = [
            sys.executable,
            "-c",
            f"import json; from ppo_jax import bench; print(json.dumps(bench.measure({name!r})))",
        ]
        environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        found = subprocess.run(command, capture_output=True, text=True, env=environment)
        if found.returncode:
            last = (found.stderr.strip() or f"it ended with code {found.returncode}").splitlines()[-1]
            raise PPOJaxError(f"bench: {name} could not be measured: {last}")
        cases.append(json.loads(found.stdout.splitlines()[-1]))
    say("the proof environment alone")
    speed = environment_speed()
    say("imports")
    return {
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {n: version(n) for n in ("jax", "jaxlib", "flax", "gymnax")},
        "cases": cases,
        "proof_environment_steps_per_second": speed,
        "import_seconds": import_seconds(),
    }


def ratios(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a benchmark that compare between runs on as many devices, all of them better when higher."""
    imports = result["import_seconds"]
    shares = {f"{c['name']}, devices {c['devices']}: share of the bound": c["share_of_bound"] for c in result["cases"]}
    return shares | {
        f"import {name}: jax alone against it": imports["jax"] / imports[name] for name in ("ppo_jax", "help")
    }


def worse(result: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    """A line for each ratio that is more than `TOLERANCE` below the recorded one."""
    now, then = ratios(result), ratios(recorded)
    return [
        f"{name}: {now[name]:.3f}, recorded {then[name]:.3f}"
        for name in now
        if name in then and now[name] < (1 - TOLERANCE) * then[name]
    ]
