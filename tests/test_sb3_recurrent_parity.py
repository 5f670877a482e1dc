"""A recurrent rollout and update against sb3-contrib's RecurrentPPO, written by scripts/golden_sb3_recurrent.py.

The rollout is run again: an environment replays what the other side saw, and its actions are those taken there.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ppo_jax import ppo
from ppo_jax.config import Hyperparams, Settings
from ppo_jax.ops.distributions import Categorical
from ppo_jax.ops.normalization import initial_moments, standardize
from ppo_jax.ops.optimizer import set_hyperparams
from ppo_jax.ops.schedules import constant
from ppo_jax.ops.sequences import flatten
from ppo_jax.types import Batch, EnvStep, Learner, Normalizers, Rollout, TrainState
from tests.toys import given_order

GOLDEN = sorted(Path(__file__).with_name("golden").glob("recurrent_*.npz"))
# A module of ours to the module of the other side.
LSTMS = {"actor_lstm": "lstm_actor", "critic_lstm": "lstm_critic"}
DENSE = {
    "actor": "mlp_extractor.policy_net.0",
    "critic": "mlp_extractor.value_net.0",
    "actor_head": "action_net",
    "critic_head": "value_net",
}
GATES = "ifgo"  # in the order of torch
KEY = jax.random.key(0)
PyTree = Any


class LSTMActorCritic(nn.Module):
    """MlpLstmPolicy: an LSTM, a tanh layer and a head, for actor and critic each; or the critic reads the actor's LSTM.

    A shared LSTM learns from the actor alone.
    """

    shared_lstm: bool
    n_actions: int = 3
    lstm_size: int = 8
    hidden_size: int = 6

    def initial_carry(self, n: int) -> PyTree:
        zeros = jnp.zeros((n, self.lstm_size))
        return {name: (zeros, zeros) for name in ("actor", "critic")[: 1 if self.shared_lstm else 2]}  # cell, hidden

    @nn.compact
    def __call__(
        self, observation: jax.Array, carry: PyTree, start: jax.Array
    ) -> tuple[Categorical, jax.Array, PyTree]:
        fresh = self.initial_carry(len(observation))
        carry = jax.tree.map(lambda old, new: jnp.where(start[:, None], new, old), carry, fresh)
        carry["actor"], actor = nn.OptimizedLSTMCell(self.lstm_size, name="actor_lstm")(carry["actor"], observation)
        if self.shared_lstm:
            critic = jax.lax.stop_gradient(actor)
        else:
            cell = nn.OptimizedLSTMCell(self.lstm_size, name="critic_lstm")
            carry["critic"], critic = cell(carry["critic"], observation)
        actor = nn.tanh(nn.Dense(self.hidden_size, name="actor")(actor))
        critic = nn.tanh(nn.Dense(self.hidden_size, name="critic")(critic))
        logits = nn.Dense(self.n_actions, name="actor_head")(actor)
        return Categorical(logits), nn.Dense(1, name="critic_head")(critic)[:, 0], carry


class Chosen(NamedTuple):
    """A distribution whose sample is given."""

    logits: jax.Array  # [n, actions]
    action: jax.Array  # [n]

    def sample(self, key: jax.Array) -> jax.Array:
        return self.action

    def log_prob(self, action: jax.Array) -> jax.Array:
        return Categorical(self.logits).log_prob(action)


class ReplayedActorCritic(LSTMActorCritic):
    """The same network for observations that come with the action to take."""

    @nn.compact
    def __call__(self, observation: PyTree, carry: PyTree, start: jax.Array) -> tuple[Any, jax.Array, PyTree]:
        distribution, value, carry = super().__call__(observation["seen"], carry, start)
        return Chosen(distribution.logits, observation["action"]), value, carry


class Replay:
    """Environments that say what was recorded, whatever is done; their state [2] is the time and the environment."""

    can_truncate = True

    def step(self, key: jax.Array, state: jax.Array, action: jax.Array, recorded: dict[str, jax.Array]) -> EnvStep:
        time, env = state
        now = {name: x[time, env] for name, x in recorded.items()}
        after = {"seen": recorded["observations"][time + 1, env], "action": recorded["actions"][time + 1, env]}
        nothing = jnp.zeros(())
        return EnvStep(
            observation=after,
            state=state.at[0].add(1),
            reward=now["rewards"],
            terminated=now["terminated"],
            truncated=now["truncated"],
            info={
                "final_observation": {"seen": now["final_observations"], "action": now["actions"]},
                **{"episode_done": nothing > 0, "episode_return": nothing, "episode_length": nothing},
            },
        )


def flax_lstm_params(
    weight_ih: np.ndarray, weight_hh: np.ndarray, bias_ih: np.ndarray, bias_hh: np.ndarray
) -> dict[str, dict[str, jax.Array]]:
    """Parameters of flax's OptimizedLSTMCell from those of torch's LSTM: [4 H, inputs], [4 H, H], [4 H] and [4 H].

    torch stacks the gates; flax names them, transposes the kernels, and has one bias where torch adds two.
    """
    params: dict[str, dict[str, jax.Array]] = {}
    columns = zip(GATES, *(np.split(x, 4) for x in (weight_ih, weight_hh, bias_ih + bias_hh)), strict=True)
    for gate, from_input, from_hidden, bias in columns:
        params[f"i{gate}"] = {"kernel": jnp.asarray(from_input.T)}
        params[f"h{gate}"] = {"kernel": jnp.asarray(from_hidden.T), "bias": jnp.asarray(bias)}
    return params


def torch_lstm_weights(golden: dict[str, np.ndarray], moment: str, lstm: str) -> tuple[np.ndarray, ...]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(golden[f"{moment}/{lstm}.{name}_l0"] for name in names)


def weights(golden: dict[str, np.ndarray], moment: str) -> PyTree:
    """Parameters of our network from a state dict of torch, whose kernels are transposed."""
    params: dict[str, PyTree] = {
        ours: {
            "kernel": jnp.asarray(golden[f"{moment}/{theirs}.weight"].T),
            "bias": jnp.asarray(golden[f"{moment}/{theirs}.bias"]),
        }
        for ours, theirs in DENSE.items()
    }
    for ours, theirs in LSTMS.items():
        if f"{moment}/{theirs}.weight_ih_l0" in golden:
            params[ours] = flax_lstm_params(*torch_lstm_weights(golden, moment, theirs))
    return {"params": params}


class Case(NamedTuple):
    name: str
    golden: dict[str, np.ndarray]
    trainer: ppo.Trainer
    hyperparams: Hyperparams
    scheduled: dict[str, float]
    before: PyTree  # parameters of the rollout
    after: PyTree  # parameters after the update

    @property
    def sequence_length(self) -> int:
        return self.trainer.settings.sequence_length

    def carry(self, prefix: str = "") -> PyTree:
        """The carry before each step [T, B, H], or with the prefix `last_` that after the last step [B, H]."""
        parts = {"actor": "pi"} | ({} if self.trainer.network.shared_lstm else {"critic": "vf"})
        states = {ours: [f"{prefix}{kind}_{part}" for kind in ("cell", "hidden")] for ours, part in parts.items()}
        return {ours: tuple(jnp.asarray(self.golden[name]) for name in names) for ours, names in states.items()}

    @property
    def batch(self) -> Batch:
        """The rollout as the other side kept it, so that errors of GAE and of the loss do not mix.

        S sequences of L steps [S, L, ...], those of all environments before the next in time, and the carry [S, ...]
        that opens each.
        """
        g, length = self.golden, self.sequence_length

        def sequences(name: str) -> jax.Array:
            x = jnp.asarray(g[name])
            chunks = x.reshape(-1, length, *x.shape[1:])  # [T / L, L, B, ...]
            return chunks.swapaxes(1, 2).reshape(-1, length, *x.shape[2:])

        return Batch(
            observation=sequences("observations"),
            action=sequences("actions")[..., 0],
            log_prob=sequences("log_probs"),
            value=sequences("values"),
            advantages=sequences("advantages"),
            returns=sequences("returns"),
            start=sequences("start"),
            carry=jax.tree.map(lambda x: x[::length].reshape(-1, x.shape[-1]), self.carry()),
        )

    @property
    def learner(self) -> Learner:
        """Before the update, its rates set."""
        rates = {name: jnp.asarray(self.scheduled[name]) for name in ("learning_rate", "critic_learning_rate")}
        return Learner(self.before, set_hyperparams(self.trainer.optimizer.init(self.before), **rates))

    @property
    def order(self) -> np.ndarray:
        """Indices of the sequences of every minibatch, [epochs, minibatches, sequences]."""
        step, env = np.divmod(self.golden["minibatches"][..., :: self.sequence_length], self.golden["start"].shape[1])
        return step // self.sequence_length * self.golden["start"].shape[1] + env


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda path: path.stem.removeprefix("recurrent_"))
def case(request: pytest.FixtureRequest) -> Case:
    with np.load(request.param) as file:
        golden = dict(file)
    given = json.loads(str(golden["settings"]))
    settings = Settings(
        n_envs=golden["rewards"].shape[1],
        n_steps=given["n_steps"],
        n_epochs=given["n_epochs"],
        batch_size=given["batch_size"],
        sequence_length=given["sequence_length"],
        n_updates=1,
        normalize_advantage=given["normalize_advantage"],
    )
    scheduled = {name: given[name] for name in ("learning_rate", "ent_coef", "clip_range")}
    scheduled["critic_learning_rate"] = given["learning_rate"]
    limits = {name: np.inf if given[name] is None else given[name] for name in ("clip_range_vf", "target_kl")}
    plain = {name: given[name] for name in ("gamma", "gae_lambda", "vf_coef", "max_grad_norm")}
    network = LSTMActorCritic(shared_lstm=given["policy_kwargs"].get("shared_lstm", False))
    return Case(
        name=request.param.stem.removeprefix("recurrent_"),
        golden=golden,
        # The environment plays no part: the rollout is given.
        trainer=ppo.Trainer(env=None, env_params=(), network=network, settings=settings),
        hyperparams=Hyperparams(
            **{name: constant(x) for name, x in scheduled.items()}, **plain, **limits, total_timesteps=1.0
        ),
        scheduled=scheduled,
        before=weights(golden, "before"),
        after=weights(golden, "after"),
    )


def close(actual: Any, expected: Any) -> None:
    """Agreement to 1e-5: relative for numbers above one, absolute below."""
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def torch_lstm_step(
    weights: tuple[np.ndarray, ...], observation: np.ndarray, hidden: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step of torch's LSTM in numpy, as its documentation writes it. Returns hidden and cell state [n, H]."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    gates = observation @ weight_ih.T + bias_ih + hidden @ weight_hh.T + bias_hh
    i, f, g, o = np.split(gates, 4, axis=-1)
    i, f, o = (1.0 / (1.0 + np.exp(-x)) for x in (i, f, o))
    cell = f * cell + i * np.tanh(g)
    return o * np.tanh(cell), cell


def test_every_case_is_there() -> None:
    assert {path.stem.removeprefix("recurrent_") for path in GOLDEN} == {"separate", "shared", "short_sequences"}


def test_equations_of_the_lstm(case: Case) -> None:
    """States, values and the values at the ends, from the weights and the first state alone."""
    g = case.golden
    parts = {"pi": "lstm_actor", "vf": "lstm_actor" if case.name == "shared" else "lstm_critic"}
    for part, lstm in parts.items():
        of_lstm = torch_lstm_weights(g, "before", lstm)

        def value(hidden: np.ndarray) -> np.ndarray:
            layer, head = (f"before/{DENSE[name]}" for name in ("critic", "critic_head"))
            features = np.tanh(hidden @ g[f"{layer}.weight"].T + g[f"{layer}.bias"])
            return (features @ g[f"{head}.weight"].T + g[f"{head}.bias"])[..., 0]

        hidden, cell = g[f"hidden_{part}"][0], g[f"cell_{part}"][0]
        for t, start in enumerate(g["start"]):
            close(hidden, g[f"hidden_{part}"][t])
            close(cell, g[f"cell_{part}"][t])
            hidden, cell = (np.where(start[:, None], np.float32(0.0), x) for x in (hidden, cell))
            hidden, cell = torch_lstm_step(of_lstm, g["observations"][t], hidden, cell)
            if part == "vf":
                close(value(hidden), g["values"][t])
                cut = g["truncated"][t] & ~g["terminated"][t]
                final, _ = torch_lstm_step(of_lstm, g["final_observations"][t], hidden, cell)
                close(np.where(cut, value(final), 0.0), g["final_values"][t])
        close(hidden, g[f"last_hidden_{part}"])
        close(cell, g[f"last_cell_{part}"])
        if part == "vf":
            ended = (g["terminated"] | g["truncated"])[-1, :, None]
            hidden, cell = (np.where(ended, np.float32(0.0), x) for x in (hidden, cell))
            close(value(torch_lstm_step(of_lstm, g["last_observations"], hidden, cell)[0]), g["last_values"])


def test_parameters_of_flax() -> None:
    """The cell of flax is that of torch, where a gate or a transposition mistaken would show."""
    rng = np.random.default_rng(0)
    shapes = {"weight_ih": (20, 3), "weight_hh": (20, 5), "bias_ih": (20,), "bias_hh": (20,)}
    of_torch = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    observation, hidden, cell = (rng.normal(size=(7, n)).astype(np.float32) for n in (3, 5, 5))
    module = nn.OptimizedLSTMCell(5)
    params = {"params": flax_lstm_params(**of_torch)}
    expected = module.init(jax.random.key(0), (cell, hidden), observation)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, expected)
    (new_cell, new_hidden), output = module.apply(params, (cell, hidden), observation)
    close(output, new_hidden)
    stepped = torch_lstm_step(tuple(of_torch.values()), observation, hidden, cell)
    jax.tree.map(close, (new_hidden, new_cell), stepped)


def test_rollout(case: Case) -> None:
    g, apply = case.golden, case.trainer.network.apply
    carry = jax.tree.map(lambda x: x[0], case.carry())
    expected = case.carry()
    unended = np.zeros(g["start"].shape[1], bool)
    for t, start in enumerate(g["start"]):
        jax.tree.map(lambda actual, of_all: close(actual, of_all[t]), carry, expected)  # noqa: B023
        policy, value, carry = apply(case.before, g["observations"][t], carry, start)
        close(policy.log_prob(g["actions"][t, :, 0]), g["log_probs"][t])
        close(value, g["values"][t])
        # The step's own carry goes on into the final observation, and no episode starts there.
        final_value = apply(case.before, g["final_observations"][t], carry, unended)[1]
        close(np.where(g["truncated"][t] & ~g["terminated"][t], final_value, 0.0), g["final_values"][t])
    jax.tree.map(close, carry, case.carry("last_"))
    ended = (g["terminated"] | g["truncated"])[-1]
    close(apply(case.before, g["last_observations"], carry, ended)[1], g["last_values"])


def test_advantages_and_returns(case: Case) -> None:
    g, hp = case.golden, case.hyperparams
    close(g["rewards"] + hp.gamma * g["final_values"], g["bootstrapped_rewards"])
    advantages = ppo.gae(
        rewards=g["rewards"],
        values=g["values"],
        last_value=g["last_values"],
        final_values=g["final_values"],
        terminated=g["terminated"],
        truncated=g["truncated"],
        gamma=hp.gamma,
        gae_lambda=hp.gae_lambda,
    )
    close(advantages, g["advantages"])
    close(advantages + g["values"], g["returns"])


def replay(case: Case) -> tuple[ppo.Trainer, TrainState]:
    """Before the rollout: environments, memory and parameters as the other side had them."""
    g = case.golden
    recorded = {name: jnp.asarray(g[name]) for name in ("rewards", "terminated", "truncated", "final_observations")}
    recorded["observations"] = jnp.concatenate([g["observations"], g["last_observations"][None]])
    recorded["actions"] = jnp.pad(g["actions"][..., 0].astype(np.int32), ((0, 1), (0, 0)))
    n_envs = case.trainer.settings.n_envs
    network = ReplayedActorCritic(case.trainer.network.shared_lstm)
    now = Rollout(
        env_state=jnp.stack([jnp.zeros(n_envs, jnp.int32), jnp.arange(n_envs)], axis=1),
        observation={"seen": recorded["observations"][0], "action": recorded["actions"][0]},
        carry=jax.tree.map(lambda x: x[0], case.carry()),
        start=jnp.asarray(g["start"][0]),
        discounted_return=jnp.zeros(n_envs),
    )
    state = TrainState(
        learner=case.learner,
        rollout=now,
        normalizers=Normalizers(observation=(), reward=initial_moments(), value=initial_moments()),
        key=KEY,
        step=jnp.zeros((), jnp.int32),
        hyperparams=case.hyperparams,
    )
    return replace(case.trainer, env=Replay(), env_params=recorded, network=network), state


def test_replayed_rollout(case: Case) -> None:
    """Our rollout and the batch made of it: values, carries, sequences, advantages."""
    g = case.golden
    trainer, state = replay(case)
    state, transitions = jax.jit(ppo.rollout)(trainer, state)
    cut = g["truncated"] & ~g["terminated"]
    np.testing.assert_array_equal(transitions.start, g["start"])
    np.testing.assert_array_equal(transitions.truncated, cut)
    close(np.where(cut, transitions.final_value, 0.0), g["final_values"])
    jax.tree.map(close, transitions.carry, case.carry())
    jax.tree.map(close, state.rollout.carry, case.carry("last_"))
    np.testing.assert_array_equal(state.rollout.start, (g["terminated"] | g["truncated"])[-1])
    _, batch, metrics = jax.jit(ppo.make_batch)(trainer, state, transitions)
    jax.tree.map(close, batch._replace(observation=batch.observation["seen"]), case.batch)
    close(metrics["explained_variance"], g["explained_variance"])


@jax.jit
def one_minibatch(trainer: ppo.Trainer, learner: Learner, minibatch: Batch, scheduled: Any, hp: Hyperparams) -> Any:
    """The loss [] of sequences [S, L, ...], its terms, and the learner one step on."""
    minibatch = minibatch._replace(advantages=standardize(minibatch.advantages))
    total, _ = ppo.loss(learner.params, trainer, flatten(minibatch), scheduled, hp)
    grads, terms = ppo.gradient(learner.params, trainer, minibatch, scheduled, hp)
    learner, norms = ppo.gradient_step(trainer, learner, grads, hp)
    return total, terms | norms, learner


def test_every_minibatch(case: Case) -> None:
    """One minibatch at a time; the parameters are our own all along."""
    g, learner = case.golden, case.learner
    minibatches = case.order.reshape(-1, case.order.shape[-1])
    assert len(minibatches) == len(g["grad_norm"])
    for k, indices in enumerate(minibatches):
        minibatch = jax.tree.map(lambda x: x[indices], case.batch)  # noqa: B023
        total, terms, learner = one_minibatch(case.trainer, learner, minibatch, case.scheduled, case.hyperparams)
        close(total, g["loss"][k])
        for name in ("policy_loss", "value_loss", "approx_kl", "clip_fraction", "grad_norm"):
            close(terms[name], g[name][k])
        close(terms["entropy"], -g["entropy_loss"][k])
        assert terms["grad_clip_fraction"] == (g["grad_norm"][k] > case.hyperparams.max_grad_norm)
    jax.tree.map(close, learner.params, case.after)


def test_the_whole_update(case: Case) -> None:
    g = case.golden
    with given_order(case.order, KEY) as update_epochs:
        learner, metrics = update_epochs(case.trainer, case.learner, case.batch, KEY, case.scheduled, case.hyperparams)
    jax.tree.map(close, learner.params, case.after)
    assert metrics["minibatches_applied"] == len(g["grad_norm"])
    assert metrics["epochs_completed"] == len(g["minibatches"])
    for name in ("policy_loss", "value_loss", "approx_kl", "clip_fraction", "loss", "grad_norm"):
        close(metrics[name], g[name].mean())
    close(metrics["entropy"], -g["entropy_loss"].mean())


def test_the_stored_carry_matters(case: Case) -> None:
    """Sequences that open with an empty carry have another loss: the numbers above would tell."""
    minibatch = jax.tree.map(lambda x: x[case.order[0, 0]], case.batch)
    empty = minibatch._replace(carry=jax.tree.map(jnp.zeros_like, minibatch.carry))
    given = (case.scheduled, case.hyperparams)
    kept, lost = (one_minibatch(case.trainer, case.learner, x, *given)[0] for x in (minibatch, empty))
    assert abs(kept - lost) > 1e-3
