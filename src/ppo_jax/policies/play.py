"""Watch a trained policy: episodes as a GIF, or the proofs that it finds."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppo_jax.policies.policy import Policy
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.runs import runner
from ppo_jax.runs.experiment import Experiment, PolicyParams
from ppo_jax.tasks import drawing
from ppo_jax.tasks.gymnax import GymnaxEnvironment
from ppo_jax.types import PyTree

__all__ = ["Episode", "animate", "play", "proof", "proofs"]

CAPTION_HEIGHT = 22  # pixels
COLORS = 64


class Episode(NamedTuple):
    """One episode of T steps."""

    states: list[PyTree]  # T states acted in, of NumPy arrays
    rewards: np.ndarray  # [T] float32
    finished: bool  # it ended within the steps allowed


def play(policy: Policy, seed: int, n_episodes: int, max_steps: int) -> list[Episode]:
    """Play episodes of at most `max_steps` steps, each from a random key of its own."""
    keys = jax.random.split(jax.random.key(seed), n_episodes)
    run = jax.jit(partial(_run, policy, max_steps))
    episodes = []
    for key in keys:
        states, rewards, done = jax.device_get(run(policy.experiment.trainer.env_params, key))
        length = int(np.argmax(done)) + 1 if done.any() else max_steps
        states = [jax.tree.map(lambda x, t=t: x[t], states) for t in range(length)]
        episodes.append(Episode(states, rewards[:length], bool(done.any())))
    return episodes


def _run(policy: Policy, max_steps: int, env_params: PyTree, key: jax.Array) -> tuple[PyTree, jax.Array, jax.Array]:
    env = policy.experiment.env

    def step(carry: tuple[PyTree, PyTree], key: jax.Array) -> tuple[tuple[PyTree, PyTree], Any]:
        observation, state = carry
        key_policy, key_env = jax.random.split(key)
        taken = env.step(key_env, state, policy(observation, key_policy), env_params)
        return (taken.observation, taken.state), (state, taken.reward, taken.terminated | taken.truncated)

    key_reset, key_steps = jax.random.split(key)
    return jax.lax.scan(step, env.reset(key_reset, env_params), jax.random.split(key_steps, max_steps))[1]


def animate(env: GymnaxEnvironment, episodes: Sequence[Episode]) -> bytes:
    """A GIF of episodes one after the other, each frame captioned with its step and the return so far."""
    frames = [
        _captioned(picture, f"episode {i}   step {t}   return {total:.6g}")
        for i, episode in enumerate(episodes, start=1)
        for t, (picture, total) in enumerate(_with_returns(env, episode), start=1)
    ]
    file = io.BytesIO()
    duration = 1000 // drawing.frames_per_second(env)  # milliseconds
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0)
    return file.getvalue()


def _with_returns(env: GymnaxEnvironment, episode: Episode) -> Iterator[tuple[np.ndarray, float]]:
    return zip(drawing.draw(env, episode.states), np.cumsum(episode.rewards), strict=True)


def _captioned(picture: np.ndarray, text: str) -> Image.Image:
    height, width, _ = picture.shape
    frame = Image.new("RGB", (width, height + CAPTION_HEIGHT), "white")
    frame.paste(Image.fromarray(picture))
    ImageDraw.Draw(frame).text((6, height + 2), text, "black", ImageFont.load_default(14))
    return frame.quantize(COLORS, dither=Image.Dither.NONE)


def proof(experiment: Experiment, params: PolicyParams, query: str) -> dict[str, Any]:
    """The greedy attempt at a proof of `query`, as JSON data: `proved`, `stopped_by` and `steps`.

    Raises:
        PPOJaxError: as `runner.prove`.
    """
    steps, proved, stopped_by = runner.prove(experiment, params, query)
    return {
        "query": query,
        "proved": proved,
        "stopped_by": stopped_by or None,
        "steps": [step.to_dict() for step in steps],
    }


def proofs(experiment: Experiment, params: PolicyParams, seed: int, n: int) -> list[dict[str, Any]]:
    """Attempts at `n` of the test queries, drawn by `seed`; at all of them where they are fewer."""
    assert isinstance(experiment.env, ProofEnv) and experiment.env.dataset is not None
    experiment.require_queries()
    queries, kb = experiment.env.dataset.queries["test"], experiment.env.dataset.kb
    chosen = np.random.default_rng(seed).permutation(len(queries))[:n]
    return [proof(experiment, params, kb.format_atom(queries[i])) for i in chosen]
