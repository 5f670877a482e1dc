"""What `build` makes of parts of your own, and what it says of those that do not fit, before anything is written."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ppo_jax
from ppo_jax import ppo
from ppo_jax.config import Config, PPOConfig, TaskConfig
from ppo_jax.runs import experiment
from ppo_jax.types import PPOJaxError
from tests import toys

CONFIG = Config(task=TaskConfig(env_id="CartPole-v1"), ppo=PPOConfig(n_envs=4, n_steps=8, batch_size=16))


def reading(read):
    """PPO's loss, and metrics of what it reads of its coefficients."""

    def loss(params, trainer, batch, scheduled, hyperparams):
        total, metrics = ppo.loss(params, trainer, batch, scheduled, hyperparams)
        return total, metrics | {"mine": 2.0 * read(hyperparams.loss_coefs)}

    return loss


class Measured(toys.Walk):
    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(info=step.info | {"metrics": {"mine": (step.reward, jnp.ones(()))}})


def without(*names):
    def loss(*arguments):
        total, metrics = ppo.loss(*arguments)
        return total, {name: value for name, value in metrics.items() if name not in names}

    return loss


def test_parts_of_your_own_take_their_places():
    loss, optimizer, env = without("entropy"), optax.sgd(0.1), toys.Walk()
    experiment = ppo_jax.build(CONFIG, env=env, loss=loss, optimizer=optimizer)
    trainer = experiment.trainer
    assert (trainer.loss.function, trainer.optimizer, experiment.env) == (loss, optimizer, env)
    _, metrics = jax.eval_shape(ppo.update, trainer, experiment.shapes()[0])
    assert "entropy" not in metrics and "approx_kl" in metrics


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        (without("approx_kl"), "loss: its metrics lack approx_kl, which ends the epochs"),
        (lambda *arguments: ppo.loss(*arguments)[0], r"loss: must return \(loss, metrics\)"),
        (
            lambda params, trainer, batch, *_: (batch.returns, {"approx_kl": 0.0}),
            r"must be one number \[\], got \[32\]",
        ),
        (
            lambda params, trainer, batch, *_: (0.0 * batch.returns.sum(), {"approx_kl": 0.0, "mine": batch.returns}),
            r"its metric mine is \[32\]: a metric must be one number; take its mean",
        ),
        (
            lambda params, trainer, batch, *_: (0.0 * batch.returns.sum(), {"approx_kl": 0.0, "update": 0.0}),
            "update is a metric of the update itself; give the loss's own another name",
        ),
        (
            lambda *arguments: (0.0, {"approx_kl": 0.0, "loss": 0.0}),
            "loss is a metric of the update itself; give the loss's own another name",
        ),
        (
            lambda params, trainer, batch, *_: batch.nothing,
            r"loss raised AttributeError.*; it has observation, action, .*\(test_experiment.py:\d+\)",
        ),
        (lambda *arguments: float(ppo.loss(*arguments)[0]), r": jnp.where for if, no float\(\) \(test_exp"),
        (lambda *arguments: np.asarray(ppo.loss(*arguments)[0]), r"write jnp for np, x.at\[i\].set\(v\) \(test_exp"),
        (lambda params, batch: 0.0, "^loss: must be a function of params, trainer, .*: too many positional arguments$"),
        (3, "^loss: must be a function of params, trainer, .*: 3 is not a callable object$"),
    ],
)
def test_a_loss_that_does_not_fit(loss, complaint):
    with pytest.raises(PPOJaxError, match=complaint) as raised:
        ppo_jax.build(CONFIG, loss=loss)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["high", None, {"a": 1.0}, (1.0, 2.0, 3.0), 1j, object()])
def test_a_metric_that_is_no_number(value):
    def loss(*arguments):
        return 0.0, {"approx_kl": 0.0, "mine": value}

    told = rf"loss: {__name__}.test_a_metric_\S+loss returns a {type(value).__name__} as its metric mine: a metric is a"
    with pytest.raises(PPOJaxError, match=told):
        experiment.OwnLoss(loss)(CONFIG.hyperparams)


@pytest.mark.parametrize(
    ("coefs", "complaint"),
    [
        ({"b": 1.0}, r"^loss_coefs\.b: the loss does not read it; it reads a$"),
        ({}, r'^the loss reads loss_coefs\["a"\], .* or "a" to hyperparams.loss_coefs in Python$'),
        (None, r'^the loss reads loss_coefs\["a"\], which nobody set'),
        (0.5, r"^hyperparams.loss_coefs: must be a dict of numbers"),
        ({"a": 1.0}, None),
    ],
)
def test_numbers_put_into_hyperparams_later_are_checked_too(coefs, complaint):
    loss = experiment.OwnLoss(lambda hp: (hp.loss_coefs["a"], {}))
    with pytest.raises(PPOJaxError, match=complaint) if complaint else nullcontext():
        loss(CONFIG.hyperparams._replace(loss_coefs=coefs))


@pytest.mark.parametrize("name", ["env", "network", "loss", "optimizer"])
def test_what_is_given_as_text(name):
    key = "env_id" if name == "env" else name
    with pytest.raises(PPOJaxError, match=f"build: {name} is no text; .* in the configuration: {key} = 'mine:own'"):
        ppo_jax.build(CONFIG, **{name: "mine:own"})


def test_a_metric_of_a_loss_does_not_hide_that_of_the_environment():
    with pytest.raises(PPOJaxError, match="loss: mine is a metric of the environment; give the loss's own another"):
        ppo_jax.build(CONFIG, env=Measured(), loss=reading(lambda coefs: 1.0))


def test_a_network_with_memory_on_a_proof_task():
    proofs = CONFIG.override({"env_id": "Proof-countries_s1"})
    with pytest.raises(PPOJaxError, match=r"network.core = 'gru': a proof network has no memory; leave out core"):
        ppo_jax.build(proofs.override({"core": "gru"}))


def test_a_network_by_import_path_is_checked(tmp_path, monkeypatch):
    (tmp_path / "wide_value.py").write_text(
        "import flax.linen as nn\nimport ppo_jax\n\n"
        "class Wide(nn.Module):\n    action_space: object\n\n    @nn.compact\n    def __call__(self, x):\n"
        "        return ppo_jax.Categorical(nn.Dense(2)(x)), nn.Dense(1)(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = CONFIG.override({"network": "wide_value:Wide"})
    with pytest.raises(PPOJaxError, match=r"network: value must be \[n\], got \[n, 1\]"):
        ppo_jax.train(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_loss_and_an_optimizer_by_import_path():
    config = CONFIG.override({"loss": "ppo_jax.ppo:loss", "optimizer": "optax:lion"})
    with pytest.raises(PPOJaxError, match=r"ppo.optimizer = 'optax:lion'"):
        ppo_jax.build(config)  # it needs a learning rate
    assert ppo_jax.build(config.override({"optimizer": None})).trainer.loss is ppo.loss
    named = CONFIG.override({"loss": "gone:loss"})  # of which nothing is needed where another is given
    assert ppo_jax.build(named, loss=without()).code == {}


def test_a_number_of_a_loss_is_traced():
    config = CONFIG.override(["loss_coefs.mine=3", "total_timesteps=32"])
    trainer = ppo_jax.build(config, loss=reading(lambda coefs: coefs["mine"])).trainer
    rates = config.hyperparams._replace(loss_coefs={"mine": jnp.array([1.0, 3.0])})
    axes = config.hyperparams._replace(**(dict.fromkeys(config.hyperparams._fields) | {"loss_coefs": 0}))
    train = jax.vmap(ppo.train, (None, None, axes))
    assert jax.eval_shape(train, trainer, jax.random.key(0), rates)[1]["mine"].shape == (2, 1)
    assert config == ppo_jax.config.from_dict(config.to_dict())
    with pytest.raises(PPOJaxError, match=r"ppo\.loss_coefs: PPO's own loss reads none"):
        ppo_jax.build(config)


@pytest.mark.parametrize(
    ("coefs", "read", "complaint"),
    [
        ("a = 1, b = 1", lambda coefs: coefs["a"] + coefs.get("b"), None),
        ("a = 1, b = 1", lambda coefs: sum(coefs.values()), None),
        ("a = 1", lambda coefs: ({"b": 0.5} | coefs)["a"], None),
        ("a = 1", lambda coefs: jax.jit(lambda coefs: coefs["a"])(coefs), None),
        ("a = 1", lambda coefs: coefs["a"] if "b" not in coefs else coefs["b"], None),
        ("", lambda coefs: 1.0 if coefs is None else coefs["a"], None),
        (
            "as = 1",
            lambda coefs: coefs.get("a", 0.5) + coefs["b"],
            r"^loss_coefs\.as: the loss does not read it; .* a, b$",
        ),
        ("a = 1", lambda coefs: 1.0, r"^loss_coefs\.a: the loss does not read it; it reads none$"),
        (
            "a = 1",
            lambda coefs: coefs["a"] / coefs["b"],
            r'reads loss_coefs\["b"\], which nobody set: add loss_coefs\.b=',
        ),
        ("", lambda coefs: coefs["a"], r'^the loss reads loss_coefs\["a"\], which nobody set'),
        (
            "",
            lambda coefs: coefs.a,
            r'^loss raised AttributeError: write loss_coefs\["a"\].*\(test_experiment.py:\d+\)',
        ),
    ],
)
def test_numbers_that_are_set_and_read_are_the_same(coefs, read, complaint):
    config = CONFIG.override([f"loss_coefs={{ {coefs} }}"] if coefs else [])
    with pytest.raises(PPOJaxError, match=complaint) if complaint else nullcontext():
        ppo_jax.build(config, loss=reading(read))


def test_an_environment_as_training_steps_it():
    env, params = ppo_jax.make_env("CartPole-v1", gravity=5)
    assert params.gravity == 5.0
    observation, state = jax.eval_shape(env.reset, jax.random.key(0), params)
    step = jax.eval_shape(env.step, jax.random.key(0), state, jnp.int32(0), params)
    assert step.observation.shape == observation.shape == (4,)
    with pytest.raises(PPOJaxError, match="has no parameter 'gravita'; did you mean gravity"):
        ppo_jax.make_env("CartPole-v1", gravita=5)


@pytest.mark.parametrize(("flags", "options"), [("", {"xla_backend_optimization_level": 1}), (None, None)])
def test_the_level_that_is_asked_of_the_compiler_holds_for_initial_states_too(monkeypatch, flags, options):
    if flags is not None:  # the tests ask for one
        monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(jax, "jit", lambda _, compiler_options: compiler_options)
    assert experiment._init.__wrapped__() == options
