"""Pictures and GIFs: environments that draw themselves, classic control as Gymnasium does, grids and points as gymnax.

An environment draws itself where it has ``render(state)``, of NumPy arrays, which returns a picture [height, width, 3]
of uint8. Of one that nothing draws and that observes an image, that image is shown.
"""

from __future__ import annotations

import colorsys
import importlib.util
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppo_jax.networks.check import call_own_code
from ppo_jax.tasks.gymnax import GymnaxEnvironment
from ppo_jax.tasks.suites import registry
from ppo_jax.tasks.wrappers import rewrap, steps_outside, unwrap
from ppo_jax.types import ActionSpace, Environment, EnvStep, PPOJaxError, PyTree

__all__ = ["DRAWABLE", "animate", "draw", "drawable", "frames_per_second"]

# By the name that an environment gives itself, which one of your own keeps if it extends one of these.
_CLASSIC_CONTROL = ("Acrobot-v1", "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1")
_GRIDS_AND_POINTS = (
    *("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar", "SpaceInvaders-MinAtar"),
    *("Catch-bsuite", "FourRooms-misc", "MetaMaze-misc", "PointRobot-misc", "Pong-misc"),
)
DRAWABLE = (*_CLASSIC_CONTROL, *_GRIDS_AND_POINTS)
DOTS_PER_INCH = 60
CAPTION_HEIGHT = 22  # pixels
COLORS = 64
PAUSE = 700  # milliseconds more for the last frame of an episode
LEAST_WIDTH = 240  # pixels of a picture: the caption fits


def drawable(env: Environment, env_id: str) -> Environment:
    """`env`, or one like it, in its wrappers, whose states `draw` can draw.

    Raises:
        PPOJaxError: there is none (names those that can be drawn), or it needs a library that is not installed.
    """
    inner: Any = unwrap(env, [])[0]
    if steps_outside(env):
        return rewrap(env, registry.make(inner.env_id, **inner.options | {"render_mode": "rgb_array"}))
    if _draws_itself(inner):
        return env
    if not isinstance(inner, GymnaxEnvironment) or inner.environment.name not in DRAWABLE:
        observation = jax.eval_shape(inner.reset, jax.random.key(0), inner.default_params)[0]
        if _image(observation) is not None:
            return rewrap(env, _Observed(inner))
        raise PPOJaxError(
            f"{env_id} cannot be drawn; gymnax draws {', '.join(DRAWABLE)}, and one of your own is drawn by its "
            "render(state), or by the image that it observes"
        )
    if inner.environment.name in _CLASSIC_CONTROL and importlib.util.find_spec("pygame") is None:
        raise PPOJaxError(f"drawing {inner.environment.name} needs the library pygame: pip install 'ppo-jax[play]'")
    return env


def frames_per_second(env: Environment) -> int:
    """Grids, points and environments that draw themselves as gymnax animates grids."""
    return 20 if isinstance(env, GymnaxEnvironment) and env.environment.name in _CLASSIC_CONTROL else 10


def animate(env: Environment, episodes: Sequence[tuple[Sequence[PyTree], np.ndarray]]) -> bytes:
    """A GIF of episodes one after the other, each frame captioned with its step and the return so far.

    Args:
        env: what was played, without wrappers.
        episodes: T states, of NumPy arrays, and rewards [T] of each.
    """
    frames = [
        _captioned(picture, f"episode {i}   step {t}   return {total:.6g}")
        for i, (states, rewards) in enumerate(episodes, start=1)
        for t, (picture, total) in enumerate(zip(draw(env, states), np.cumsum(rewards), strict=True), start=1)
    ]
    file = io.BytesIO()
    shown = 1000 // frames_per_second(env)  # milliseconds of a frame
    durations = [ms for states, _ in episodes for ms in (*[shown] * (len(states) - 1), shown + PAUSE)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def _captioned(picture: np.ndarray, text: str) -> Image.Image:
    height, width, _ = picture.shape
    frame = Image.new("RGB", (width, height + CAPTION_HEIGHT), "white")
    frame.paste(Image.fromarray(picture))
    ImageDraw.Draw(frame).text((6, height + 2), text, "black", ImageFont.load_default(14))
    return frame.quantize(COLORS, dither=Image.Dither.NONE)


def draw(env: Any, states: Sequence[PyTree]) -> Iterator[np.ndarray]:
    """A picture [height, width, 3] uint8 of each of `states`, which are NumPy's, not JAX's, to be quick."""
    if _draws_itself(env):
        return _draw_own(env, states)
    return (_draw_classic_control if env.environment.name in _CLASSIC_CONTROL else _draw_others)(env, states)


def _draws_itself(env: Any) -> bool:
    return callable(getattr(env, "render", None))


def _draw_own(env: Any, states: Sequence[PyTree]) -> Iterator[np.ndarray]:
    for state in states:
        picture = np.asarray(call_own_code("environment: render", env.render, state))
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise PPOJaxError(
                "environment: render(state) must return uint8 [height, width, 3], got "
                f"{picture.dtype} {list(picture.shape)}"
            )
        yield _enlarged(picture)


@dataclass(frozen=True)
class _Observed:
    """An environment that draws the image it observes, which its state holds."""

    env: Environment

    @property
    def action_space(self) -> ActionSpace:
        return self.env.action_space

    @property
    def can_truncate(self) -> bool:
        return self.env.can_truncate

    @property
    def default_params(self) -> PyTree:
        return self.env.default_params

    def reset(self, key: Any, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, state = self.env.reset(key, params)
        return observation, (state, _image(observation))

    def step(self, key: Any, state: PyTree, action: Any, params: PyTree) -> EnvStep:
        step = self.env.step(key, state[0], action, params)
        return step._replace(state=(step.state, _image(step.observation)))

    def render(self, state: PyTree) -> np.ndarray:
        return _as_picture(np.asarray(state[1]))


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """A picture wide enough for its caption, and large enough to see."""
    times = -(-LEAST_WIDTH // picture.shape[1])
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def _image(observation: PyTree) -> Any:
    """The first image [height, width, channels] of an observation; None without."""
    return next((x for x in jax.tree.leaves(observation) if x.ndim == 3), None)


def _as_picture(image: np.ndarray) -> np.ndarray:
    """An observed image: grey, colours, or where there are other channels a hue for each."""
    brightness = np.asarray(image, np.float32) / (255.0 if image.dtype == np.uint8 else max(1.0, float(image.max())))
    n = image.shape[2]
    if n not in (1, 3):
        hues = np.array([colorsys.hsv_to_rgb(i / n, 0.7, 1.0) for i in range(n)])
        brightness = hues[brightness.argmax(axis=2)] * brightness.max(axis=2, keepdims=True)
    bytes_ = np.rint(np.clip(np.broadcast_to(brightness, (*image.shape[:2], 3)), 0.0, 1.0) * 255.0).astype(np.uint8)
    return bytes_


def _draw_classic_control(env: GymnaxEnvironment, states: Sequence[PyTree]) -> Iterator[np.ndarray]:
    # pygame reads these when it is imported: no window, no sound, no greeting.
    for name, value in {
        "SDL_VIDEODRIVER": "dummy",
        "SDL_AUDIODRIVER": "dummy",
        "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    }.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame 2.6 uses what setuptools deprecates
        import pygame  # noqa: F401
    import gymnasium
    from gymnax.visualize import vis_gym

    name = env.environment.name
    drawn: Any = gymnasium.make(name, render_mode="rgb_array").unwrapped
    try:
        drawn.reset()
        vis_gym.set_gym_params(drawn, name, env.default_params)
        for state in states:
            drawn.state = vis_gym.get_gym_state(state, name)
            if name == "Pendulum-v1":
                drawn.last_u = np.asarray(state.last_u, np.float64)  # the torque, drawn as an arrow
            yield drawn.render()
    finally:
        drawn.close()


def _draw_others(env: GymnaxEnvironment, states: Sequence[PyTree]) -> Iterator[np.ndarray]:
    from gymnax.visualize import Visualizer
    from matplotlib import pyplot

    picture = Visualizer(env.environment, env.default_params, states)
    try:
        picture.fig.set_dpi(DOTS_PER_INCH)
        picture.init()
        for t in range(len(states)):
            picture.update(t)
            picture.ax.set_title("")
            picture.fig.canvas.draw()
            yield np.asarray(picture.fig.canvas.buffer_rgba())[..., :3].copy()
    finally:
        pyplot.close(picture.fig)
