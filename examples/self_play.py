"""Self-play: noughts and crosses against frozen opponents, whose parameters are those of the environment.

The environment's step holds the opponent's reply. Which opponent that is, is drawn for each game among the earlier
generations, and their networks' parameters are the environment's `params`: an argument of the compiled update, so a new
opponent compiles nothing. Prints, for each generation, the mean result (1 won, 0 drawn, -1 lost) and the share of games
lost against the untrained network, and against the last generation. Takes a minute on two CPU cores.
"""

import argparse
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import ppo_jax
from ppo_jax import ppo
from ppo_jax.networks.mlp import MLPActorCritic

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=100_000, help="moves of a generation")
parser.add_argument("--generations", type=int, default=8)
args = parser.parse_args()

NETWORK = MLPActorCritic(ppo_jax.Discrete(9), hidden_sizes=(128, 128))
ROWS = jnp.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]])


def observe(board):
    """What the player whose marks are 1 sees, the opponent's being -1."""
    return {"board": jnp.concatenate([board == 1, board == -1]).astype(jnp.float32), "action_mask": board == 0}


class Game(NamedTuple):
    """A position."""

    board: jax.Array  # [9]: 1 the player's, -1 the opponent's, 0 free
    opponent: jax.Array  # [], which one of the pool


@dataclass(frozen=True)
class NoughtsAndCrosses:
    """A game of nine fields; `params` is a pool of networks [n, ...], one of which replies. Either may begin."""

    default_params: Any = field(compare=False)  # the environment must have a hash, and arrays have none
    action_space, can_truncate = ppo_jax.Discrete(9), False

    def reply(self, key, game, pool):
        """The board after the opponent's move."""
        params = jax.tree.map(lambda x: x[game.opponent], pool)
        seen = jax.tree.map(lambda x: x[None], observe(-game.board))
        distribution, _ = NETWORK.apply(params, seen)
        return game.board.at[distribution.sample(key)[0]].set(-1)

    def reset(self, key, params):
        draw_key, begins_key, reply_key = jax.random.split(key, 3)
        n = len(jax.tree.leaves(params)[0])
        game = Game(jnp.zeros(9, jnp.int32), jax.random.randint(draw_key, (), 0, n))
        board = jnp.where(jax.random.bernoulli(begins_key), self.reply(reply_key, game, params), game.board)
        return observe(board), game._replace(board=board)

    def step(self, key, state, action, params):
        reply_key, reset_key = jax.random.split(key)
        mine = state._replace(board=state.board.at[action].set(1))
        won = jnp.any(jnp.all(mine.board[ROWS] == 1, axis=1))
        over = won | jnp.all(mine.board != 0)
        board = jnp.where(over, mine.board, self.reply(reply_key, mine, params))
        lost = jnp.any(jnp.all(board[ROWS] == -1, axis=1))
        over = over | lost | jnp.all(board != 0)
        fresh = self.reset(reset_key, params)
        after = jax.tree.map(lambda x, y: jnp.where(over, x, y), fresh, (observe(board), state._replace(board=board)))
        reward = won.astype(jnp.float32) - lost.astype(jnp.float32)
        metrics = {"lost": (lost.astype(jnp.float32), over.astype(jnp.float32))}
        return ppo_jax.EnvStep(*after, reward, over, jnp.array(False), {"metrics": metrics})


nothing = jax.tree.map(lambda x: x[None], observe(jnp.zeros(9, jnp.int32)))
untrained = NETWORK.init(jax.random.key(0), nothing)
pool = jax.tree.map(lambda x: jnp.repeat(x[None], args.generations, axis=0), untrained)

training = {"total_timesteps": args.steps, "n_envs": 64, "n_steps": 32, "batch_size": 512, "learning_rate": 1e-3}
config = ppo_jax.load_config("cartpole", training)
experiment = ppo_jax.build(config, env=NoughtsAndCrosses(pool), network=NETWORK)


@jax.jit
def generation(trainer, state):
    """Train for `--steps` moves against the opponents in the trainer's environment."""
    return jax.lax.scan(lambda state, _: ppo.update(trainer, state), state, length=config.settings.n_updates)[0]


@jax.jit
def play(player, opponents, key):
    """Mean result and share of games lost of a network against opponents [n, ...]."""
    trainer = replace(experiment.trainer, env_params=opponents)
    state = ppo.init(trainer, key, config.hyperparams)
    state = state._replace(learner=state.learner._replace(params=player))
    info = ppo.rollout(trainer, state)[1].info
    (lost, over), results = info["metrics"]["lost"], info["episode_return"]
    return results.sum() / over.sum(), lost.sum() / over.sum()


def with_newest(pool, params, n):
    """The pool with the newest network in all places from the n-th on; those before keep earlier generations."""
    return jax.tree.map(lambda x, new: x.at[n:].set(new), pool, params)


trainer, state, players = experiment.trainer, experiment.initial_state(0), [untrained]
for n in range(args.generations):
    state = generation(trainer, state)
    players.append(state.learner.params)
    pool = with_newest(pool, state.learner.params, n + 1)
    trainer = replace(trainer, env_params=pool)

print("           against the untrained     against the last\ngeneration    result      lost    result      lost")
alone = [jax.tree.map(lambda x: x[None], one) for one in (untrained, players[-1])]
for n, player in enumerate(players):
    against = [play(player, opponent, jax.random.key(n)) for opponent in alone]
    print(f"{n:>10}", *(f"{result:>10.2f} {lost:>9.0%}" for result, lost in against))
