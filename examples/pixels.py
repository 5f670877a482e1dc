"""An environment of your own: pixels to see, a lamp to remember, and actions that are not always allowed.

A corridor begins with a lamp, left or right, and ends after five steps at two doors. The door on the lamp's side earns
1, the other -1. On the way a mask allows WALK alone, and at the doors it forbids it. Prints what the last episodes of
training earned, for three seeds of each policy: close to 1 with the GRU, and close to 0, as guessing does, without.
Takes a minute and a half on two CPU cores. The class trains from the command line too:

    PYTHONPATH=examples ppo-jax train pixels:Corridor --set network=cnn core=gru
"""

import argparse
import dataclasses

import jax
import jax.numpy as jnp

import ppo_jax
from ppo_jax import ppo

LEFT, RIGHT, WALK = range(3)


@dataclasses.dataclass(frozen=True)
class Corridor:
    """One corridor is one episode."""

    length: int = 5  # steps from the lamp to the doors

    action_space = ppo_jax.Discrete(3)
    needs_memory = True
    can_truncate = False
    default_params = None

    def reset(self, key, params):
        state = {"lamp": jax.random.randint(key, (), LEFT, WALK), "place": jnp.int32(0)}
        return self.observe(state), state

    def step(self, key, state, action, params):
        at_doors = state["place"] == self.length
        reward = jnp.where(at_doors, jnp.where(action == state["lamp"], 1.0, -1.0), 0.0)
        first_observation, first_state = self.reset(key, params)
        walked = state | {"place": state["place"] + 1}
        observation, state = jax.tree.map(
            lambda new, next_one: jnp.where(at_doors, new, next_one),
            (first_observation, first_state),
            (self.observe(walked), walked),
        )
        return ppo_jax.EnvStep(observation, state, reward, terminated=at_doors, truncated=jnp.bool_(False), info={})

    def observe(self, state):
        at_doors = state["place"] == self.length
        mask = jnp.array([at_doors, at_doors, ~at_doors])  # of LEFT, RIGHT and WALK
        return {"image": self.render(state), "action_mask": mask}

    def render(self, state):
        """The corridor as uint8 [16, 16, 3]: a floor that grows with the way gone, the lamp, the doors."""
        row, column = jnp.mgrid[:16, :16]
        floor = (row == 15) & (column <= 15 * state["place"] // self.length)
        on_its_side = jnp.where(state["lamp"] == LEFT, column < 6, column > 9)
        lamp = (row < 6) & on_its_side & (state["place"] == 0)
        doors = (row > 7) & (row < 14) & (jnp.abs(column - 7.5) > 2) & (state["place"] == self.length)
        return jnp.where(jnp.stack([lamp, doors, floor], axis=-1), jnp.uint8(255), jnp.uint8(0))


def returns(core: str | None, steps: int) -> jax.Array:
    """Mean return of the episodes in the last rollout [seeds], of policies with this recurrent core."""
    settings = {"total_timesteps": steps, "n_envs": 32, "n_steps": 32, "batch_size": 256, "learning_rate": 1e-3}
    config = ppo_jax.load_config("cartpole", settings | {"network": "cnn", "core": core, "sequence_length": 8})
    trainer = ppo_jax.build(config, env=Corridor()).trainer
    train = jax.jit(jax.vmap(ppo.train, in_axes=(None, 0, None)))
    _, metrics = train(trainer, jax.random.split(jax.random.key(0), 3), config.hyperparams)
    return metrics["episode_return_mean"][:, -1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps of a run")
    for core in (None, "gru"):
        print(f"{core or 'feed-forward':<14}", *(f"{x:6.2f}" for x in returns(core, parser.parse_args().steps)))
