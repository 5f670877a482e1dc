"""Configurations: TOML in and out, overrides, and one clear line for each mistake."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest

from ppo_jax.config import (
    SECTIONS,
    Config,
    KLAdaptive,
    Schedule,
    ScheduleConfig,
    TaskConfig,
    checks,
    from_dict,
    load_config,
    suggestions,
)
from ppo_jax.types import PPOJaxError

CARTPOLE = {"task": {"env_id": "CartPole-v1"}}


def write(tmp_path, text):
    path = tmp_path / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(**settings):
    return from_dict(CARTPOLE).override(settings)


def test_a_small_file_is_read_with_the_defaults_of_the_rest(tmp_path):
    path = write(
        tmp_path,
        """
        [task]
        env_id = "Proof-countries_s3"
        [ppo]
        n_envs = 8
        learning_rate = { init = 1e-3, final = 1e-4, shape = "cosine" }
        [network]
        hidden_sizes = [32]
        """,
    )
    config = load_config(path)
    assert config.task == TaskConfig(env_id="Proof-countries_s3")
    assert config.ppo.n_envs == 8
    assert config.ppo.learning_rate == ScheduleConfig(1e-3, 1e-4, "cosine")
    assert config.network.hidden_sizes == (32,)
    assert config.ppo.gamma == 0.99


@pytest.mark.parametrize(
    "config",
    [
        from_dict(CARTPOLE),
        Config(task=TaskConfig(dataset='päth/with "quotes" and \\ in it')),
        changed(
            learning_rate={
                "init": 1e-3,
                "final": 0.0,
                "shape": "exponential",
                "start": 0.25,
                "end": 0.5,
                "warmup": 0.1,
            },
            clip_range_vf=0.2,
            max_grad_norm=math.inf,
            target_kl=0.02,
            hidden_sizes=(3, 5),
            separate_critic=False,
            seed=2**31 - 1,
        ),
    ],
)
def test_toml_out_and_in_again_is_the_same(tmp_path, config):
    path = write(tmp_path, config.to_toml())
    assert load_config(path) == config
    assert load_config(path).to_toml() == config.to_toml()


def test_every_key_is_unique_and_explained():
    keys = [field.name for cls in SECTIONS.values() for field in dataclasses.fields(cls)]
    assert len(keys) == len(set(keys))
    for cls in SECTIONS.values():
        assert set(checks.field_docs(cls)) == {field.name for field in dataclasses.fields(cls)}, cls


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("n_envs=32", "n_envs", 32),
        ("ppo.n_envs = 32", "n_envs", 32),
        ("total_timesteps=1e6", "total_timesteps", 1_000_000),
        ("gamma=1", "gamma", 1.0),
        ("env_id=Acrobot-v1", "env_id", "Acrobot-v1"),
        ('env_id="Acrobot-v1"', "env_id", "Acrobot-v1"),
        ("hidden_sizes=[8, 4]", "hidden_sizes", (8, 4)),
        ("network.network=mlp", "network", "mlp"),
        ("max_grad_norm=inf", "max_grad_norm", math.inf),
        ("normalize_rewards=true", "normalize_rewards", True),
        ("target_kl=none", "target_kl", None),
        ("learning_rate.final=1e-6", "learning_rate", ScheduleConfig(3e-4, 1e-6)),
        ("ppo.learning_rate.shape=cosine", "learning_rate", ScheduleConfig(3e-4, 3e-4, "cosine")),
        ("ent_coef={ init = 0.1, final = 0 }", "ent_coef", ScheduleConfig(0.1, 0.0)),
    ],
)
def test_overrides(assignment, key, value):
    config = from_dict(CARTPOLE).override([assignment])
    values = {name: x for section in SECTIONS for name, x in vars(getattr(config, section)).items()}
    assert values[key] == value
    assert type(values[key]) is type(value)


def test_overrides_act_together_and_in_order(tmp_path):
    path = write(tmp_path, from_dict(CARTPOLE).to_toml())
    # Alone either would leave a batch that does not divide the rollout.
    config = load_config(
        path, ["n_envs=10", "n_steps=3", "batch_size=15", "learning_rate.final=0", "learning_rate.end=0.5"]
    )
    assert config.settings.n_minibatches == 2
    assert config.ppo.learning_rate == ScheduleConfig(3e-4, 0.0, end=0.5)
    assert load_config(path, ["env_id=none", "dataset=somewhere"]).task == TaskConfig(dataset="somewhere")


def test_long_runs_are_counted_exactly():
    config = from_dict(CARTPOLE).override({"total_timesteps": 2**40 + 1, "n_envs": 64, "n_steps": 128})
    assert config.settings.n_updates == 2**40 // (64 * 128) + 1
    with pytest.raises(PPOJaxError, match="is 4,294,967,296 updates, at most 2,147,483,647 can be counted"):
        from_dict(CARTPOLE).override({"total_timesteps": 2**32, "n_envs": 1, "n_steps": 1, "batch_size": 1})


@pytest.mark.parametrize(
    ("first", "second"),
    [("gamma=0.9", "gamma=0.9"), ("gamma=0.9", "ppo.gamma=0.8"), ("learning_rate.init=1", "learning_rate=2")],
)
def test_a_key_given_twice_is_a_mistake_under_any_name(first, second):
    key, before = second.partition("=")[0], first.partition("=")[0]
    with pytest.raises(PPOJaxError, match=f"--set {key}: .* is given twice, before as {before}"):
        from_dict(CARTPOLE).override([first, second])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[ppo]\nn_env = 3", r"\[ppo\]: unknown key 'n_env'; did you mean n_envs"),
        ("[ppo]\nenv_id = 'x'", r"\[ppo\] has no key 'env_id'; it belongs under \[task\]"),
        ("[pop]\nn_envs = 3", r"unknown section \[pop\]; did you mean ppo"),
        ("[ppo]\nn_envs = 'three'", r"ppo.n_envs: Expected `int`, got `str`"),
        ("[ppo]\nn_envs = true", r"ppo.n_envs: Expected `int`, got `bool`"),
        ("[ppo]\nn_envs = 2.5", r"ppo.n_envs: Expected `int`, got `float`"),
        ("[ppo]\nn_envs = 0", r"ppo.n_envs: Expected `int` >= 1"),
        ("[ppo]\nn_envs = { init = 1 }", r"ppo.n_envs: Expected `int`, got `object`"),
        ("[ppo]\ngamma = 1.5", r"ppo.gamma: Expected `float` <= 1.0"),
        ("[ppo]\ngamma = nan", r"ppo.gamma: Expected a number, got nan"),
        ("[ppo]\nlearning_rate = inf", r"ppo.learning_rate: Expected `float` <= 1e\+30"),
        (
            "[ppo]\nlearning_rate = 'fast'",
            r"learning_rate: Expected a number, or a table { init, final, shape }, got 'fast'",
        ),
        (
            "[ppo]\nlearning_rate = { init = 1, finale = 0 }",
            r"ppo.learning_rate: unknown key 'finale'; did you mean final",
        ),
        ("[ppo]\nlearning_rate = { init = 1 }", r"ppo.learning_rate: Object missing required field `final`"),
        ("[ppo]\nlearning_rate = { init = 1, final = -1 }", r"ppo.learning_rate.final: Expected `float` >= 0.0"),
        (
            "[ppo]\nent_coef = { init = 1, final = 0, shape = 'flat' }",
            r"ppo.ent_coef.shape: Expected constant or linear or cosine or exponential or kl_adaptive, got 'flat'",
        ),
        (
            "[ppo]\nent_coef = { shape = 'kl_adaptive', init = 1e-3, desired_kl = 0.01 }",
            r"ppo.ent_coef: shape = \"kl_adaptive\" is for learning rates alone",
        ),
        (
            "[ppo]\nlearning_rate = { shape = 'kl_adaptive', init = 1e-3 }",
            r"ppo.learning_rate: write \{ shape = \"kl_adaptive\", init = 3e-4, desired_kl = 0.01 \}, these three",
        ),
        (
            "[ppo]\nlearning_rate = { shape = 'kl_adaptive', init = 1e-3, final = 0, desired_kl = 0.01 }",
            r"ppo.learning_rate: write \{ shape = \"kl_adaptive\"",
        ),
        (
            "[ppo]\nlearning_rate = { shape = 'kl_adaptive', init = 0.1, desired_kl = 0.01 }",
            r"ppo.learning_rate: init = 0.1 must lie in what KL moves it in, 1e-05 to 0.01",
        ),
        (
            "[ppo]\nlearning_rate = { init = 1e-3, final = 0, desired_kl = 0.01 }",
            r"ppo.learning_rate: desired_kl belongs to shape = \"kl_adaptive\"",
        ),
        (
            "[ppo]\nent_coef = { init = 1, final = 0, start = 0.5, end = 0.5 }",
            r"ppo.ent_coef: end = 0.5 must lie after",
        ),
        ("[ppo]\ntarget_kl = 'x'", r"ppo.target_kl: Expected `float \| null`, got `str`"),
        ("[network]\nactivation = 'selu'", r"network.activation: Expected tanh or relu or gelu, got 'selu'"),
        ("[network]\nhidden_sizes = [8, 0]", r"network.hidden_sizes: Expected `int` >= 1 - at `\$\[1\]`"),
        ("[network]\nhidden_sizes = 8", r"network.hidden_sizes: Expected a list such as \[8\], got 8"),
        ("reward = 'win'", r"task.reward: Expected prove or sound or decide or strict or verify or refuse, got 'win'"),
        ("reward = 4", r"task.reward: Expected `str`, got `int`"),
        ("reward_type = 6", r"\[task\]: reward_type = 6 was never a reward; write reward = one of prove, sound"),
        ("[ppo]\nshuffle_groups = 4", r"\[ppo\]: shuffle_groups is gone; remove it"),
        (
            "[ppo]\nent_coef = { init = 1, final = 0, shape = 'logarithmic' }",
            r"ppo.ent_coef.shape: Expected constant or linear or cosine or .* or kl_adaptive, got 'logarithmic'",
        ),
        ("corrupt = 'all'", r"task.corrupt: Expected tail or head or both, got 'all'"),
        ("[run]\nseed = -1", r"run.seed: Expected `int` >= 0"),
        ("[ppo]\nbatch_size = 5000", r"does not divide .* n_envs \* n_steps = 64 \* 128 = 8192; .*: 2048, 4096, 8192"),
        ("[ppo", r"experiment.toml: not valid TOML: Expected ']'"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_says_where(tmp_path, text, complaint):
    path = write(tmp_path, f"[task]\nenv_id = 'CartPole-v1'\n{text}")
    with pytest.raises(PPOJaxError, match=complaint) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("n_envs = 3", r"unknown section \[n_envs\]; write it under \[ppo\]"),
        ("ppo = 3", r"ppo must be a table: \[ppo\]"),
        ("", r"task: give env_id or dataset, one of the two"),
        ("[task]\nenv_id = 'a'\ndataset = 'b'", r"task: give env_id or dataset, one of the two"),
    ],
)
def test_a_mistake_at_the_top_of_a_file(tmp_path, text, complaint):
    with pytest.raises(PPOJaxError, match=complaint):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("n_env=3", "--set n_env: unknown key 'n_env'; did you mean n_envs"),
        ("policy=CnnPolicy", "unknown key 'policy'; did you mean network? CnnPolicy is network = \"cnn\", MlpPolicy"),
        ("n_envs", "--set n_envs: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("ent_coef=0,01", "--set: ppo.ent_coef: Expected a number, or a table { init, final, shape }, got '0,01'"),
        ("learning_rate=none", "ppo.learning_rate: Expected a number, or a table { init, final, shape }, got None"),
        ({"ppo": {"n_envs": 8}}, "settings ppo: is a section; give its keys without it, such as {'n_envs': 8}"),
        ({"network": {"core": "gru"}}, "settings network: is a section; give its keys without it"),
        ("n_envs=", "--set: ppo.n_envs: Expected `int`, got `str`"),
        ("n_envs=none", "--set: ppo.n_envs: Expected `int`, got `null`"),
        ("n_envs.final=3", "--set n_envs.final: n_envs has no such part"),
        ("learning_rate.final.x=3", "learning_rate has no such part"),
        ("learning_rate.last=3", "ppo.learning_rate: unknown key 'last'"),
        ("critic_learning_rate.final=3", "missing required field `init`"),
        ("zzz=3", "unknown key 'zzz'; `ppo-jax config` explains each key; a parameter of the environment is"),
        ("env_id=none", "task: give env_id or dataset"),
        ("dataset=x", "task: give env_id or dataset"),
        ("batch_size=7", "ppo.batch_size = 7 does not divide"),
        ("loss_coefs=1", "--set: ppo.loss_coefs: Expected a table of numbers, loss_coefs.name=…, got 1"),
        ("env_params='x'", "--set: task.env_params: Expected a table, env_params.name=…, got 'x'"),
        ("loss_coefs.x=abc", "ppo.loss_coefs.x: Expected `float`, got `str`"),
        ("loss_coefs.x=nan", "--set: ppo.loss_coefs.x: Expected a number, got nan"),
        ("loss_coefs={ x = -inf }", "ppo.loss_coefs.x = -inf: must be a finite number"),
    ],
)
def test_a_mistake_in_an_override(assignment, complaint):
    with pytest.raises(PPOJaxError, match=re.escape(complaint)):
        from_dict(CARTPOLE).override(assignment)


@pytest.mark.parametrize("loss", ["loss=mine:drift", "ppo.loss=mine:drift"])
def test_an_unknown_key_may_be_a_number_of_a_loss(tmp_path, loss):
    hint = "; a number of your loss is loss_coefs.drift"
    with pytest.raises(PPOJaxError, match=rf"^--set drift: unknown key 'drift'; `ppo-jax config` .*{hint}$"):
        from_dict(CARTPOLE).override(["drift=0.1", loss])
    with pytest.raises(PPOJaxError, match=rf"unknown key 'drift'.*{hint}$"):
        load_config(write(tmp_path, "[ppo]\nloss = 'mine:drift'\ndrift = 0.1"))
    for without in (["drift=0.1"], ["drift=strong", loss]):
        with pytest.raises(PPOJaxError, match=r"a parameter of the environment is env_params\.drift$"):
            from_dict(CARTPOLE).override(without)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(PPOJaxError, match="no such file"):
        load_config(tmp_path / "nothing.toml")
    with pytest.raises(PPOJaxError, match="is a folder; a TOML file is needed"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"[task]\nenv_id = '\xe9'")
    with pytest.raises(PPOJaxError, match="not UTF-8 text"):
        load_config(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("factors", "wanted", "nearest"),
    [
        ((4, 8), 15, [4, 8, 16]),
        ((4, 8), 33, [8, 16, 32]),
        ((1, 13), 6, [1, 13]),
        ((3, 7), 5, [1, 3, 7]),
        ((65_536, 1_048_576), 3_000_000, [1_048_576, 2_097_152, 4_194_304]),
    ],
)
def test_nearest_divisors(factors, wanted, nearest):
    assert suggestions.nearest_divisors(factors, wanted) == nearest
    assert all(math.prod(factors) % divisor == 0 for divisor in nearest)


def test_a_batch_larger_than_the_rollout_is_the_rollout_and_a_warning():
    config = changed(n_envs=4, n_steps=8, batch_size=33)
    assert config.settings.batch_size == 32
    assert config.settings.n_minibatches == 1
    assert [warning.split(":")[0] for warning in config.warnings] == [
        "ppo.batch_size = 33 is larger than the rollout of 32"
    ]
    assert changed(n_envs=4, n_steps=8, batch_size=32).warnings == ()


def test_a_rate_that_follows_kl_is_written_and_read(tmp_path):
    config = from_dict(CARTPOLE).override(["learning_rate.shape=kl_adaptive", "learning_rate.desired_kl=0.02"])
    assert config.hyperparams.learning_rate == KLAdaptive(3e-4, 0.02)
    assert load_config(write(tmp_path, config.to_toml())) == config
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target_kl": 0.03}, []),
        ({"target_kl": 0.01}, ["1.5 target_kl = 0.015, and it falls over 2 desired_kl = 0.02; raise target_kl"]),
        (
            {"n_epochs": 1, "batch_size": 128},
            ["learning_rate never moves: with one minibatch in an update its KL is 0"],
        ),
    ],
)
def test_a_rate_that_cannot_follow_kl_is_a_warning(changes, said):
    rate = {"shape": "kl_adaptive", "init": 1e-3, "desired_kl": 0.01}
    warnings = changed(**{"learning_rate": rate, "n_envs": 4, "n_steps": 32, "batch_size": 32} | changes).warnings
    assert len(warnings) == len(said) and all(text in line for text, line in zip(said, warnings, strict=True))


def test_old_keys_are_read_as_what_they_mean_today(tmp_path):
    path = write(tmp_path, "[task]\nenv_id = 'CartPole-v1'\nreward_type = 1\n[ppo]\nshuffle_groups = 1\n")
    config = load_config(path)
    assert config == changed(reward="sound")
    assert 'reward = "sound"' in config.to_toml()
    for number, name in enumerate(("prove", "sound", "decide", "strict", "verify", "refuse")):
        assert load_config(path, [f"reward_type={number}", "shuffle_groups=1"]).task.reward == name
    assert config.override(["task.reward_type=5"]) == changed(reward="refuse")
    with pytest.raises(PPOJaxError, match="--set: shuffle_groups is gone"):
        config.override(["shuffle_groups=2"])


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({}, 1),
        ({"core": "gru"}, 16),
        ({"core": "lstm", "n_steps": 8}, 8),
        ({"core": "gru", "n_steps": 40, "n_envs": 4, "batch_size": 16}, 8),  # 10 divides the steps and not the batch
        ({"core": "gru", "n_steps": 17, "n_envs": 4, "batch_size": 34}, 1),
        ({"core": "gru", "sequence_length": 64}, 64),
        ({"sequence_length": 4}, 4),  # a network of your own with memory
        ({"n_envs": 4, "n_steps": 8, "batch_size": 1000, "sequence_length": 8}, 8),  # the batch is the rollout
    ],
)
def test_the_length_of_sequences_follows_the_network_unless_set(settings, length):
    config = changed(**settings)
    assert config.settings.sequence_length == length
    assert config.ppo.sequence_length == settings.get("sequence_length")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"sequence_length": 5}, "ppo.sequence_length = 5 does not divide n_steps = 128; the nearest that do: 2, 4, 8"),
        (
            {"n_envs": 3, "n_steps": 16, "batch_size": 24, "sequence_length": 16},
            "ppo.batch_size = 24 is no multiple of sequence_length = 16; the nearest sizes that are: 16, 48",
        ),
    ],
)
def test_sequences_divide_steps_and_minibatches(settings, complaint):
    with pytest.raises(PPOJaxError, match=re.escape(complaint)):
        changed(**settings)


def test_updates_are_rounded_up_and_the_schedules_run_over_them():
    config = changed(n_envs=4, n_steps=8, batch_size=32, total_timesteps=65)
    assert config.settings.n_updates == 3
    assert config.hyperparams.total_timesteps == 96.0


def test_hyperparams_follow_the_file():
    hyperparams = changed(ent_coef={"init": 0.1, "final": 0.0, "shape": "cosine", "warmup": 0.5}).hyperparams
    assert hyperparams.ent_coef == Schedule(0.1, 0.0, "cosine", 0.0, 1.0, 0.5)
    assert hyperparams.learning_rate == Schedule(3e-4, 3e-4)
    assert hyperparams.critic_learning_rate is None  # it follows the other
    assert hyperparams.target_kl == hyperparams.clip_range_vf == math.inf
    assert changed(critic_learning_rate=1.0).hyperparams.critic_learning_rate == Schedule(1.0, 1.0)


def test_a_configuration_does_not_change():
    config = from_dict(CARTPOLE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ppo.n_envs = 3
    assert config.override({"n_envs": 32}).ppo.n_envs == 32
    assert config.ppo.n_envs == 64


@pytest.mark.parametrize(
    "key",
    ["max_depth", "max_atoms", "max_successors", "hidden_sizes", "residual_layers", "embedding_size", "core_size"],
)
def test_a_size_that_no_memory_holds_is_refused_before_anything_is_built(key):
    value = [2**31 - 1] if key == "hidden_sizes" else 2**31 - 1
    with pytest.raises(PPOJaxError, match=rf"{key}: Expected `int` <= \d+"):
        Config(TaskConfig(env_id="CartPole-v1")).override({key: value})


def test_numbers_of_any_length_and_values_nested_to_any_depth_are_one_line(tmp_path):
    file = tmp_path / "x.toml"
    for value in ("1" * 5000, "1" * 400, "-" + "9" * 4000, "[" * 100_000, "[" * 5000 + "]" * 5000):
        file.write_text(f"[task]\nenv_id = 'CartPole-v1'\n[ppo]\ngamma = {value}\n")
        with pytest.raises(PPOJaxError):
            load_config(file)
        with pytest.raises(PPOJaxError):
            Config(TaskConfig(env_id="CartPole-v1")).override([f"gamma={value}"])


def test_a_key_like_no_other_may_be_a_parameter_of_the_environment():
    with pytest.raises(PPOJaxError) as error:
        Config(TaskConfig(env_id="CartPole-v1")).override({"qqqq" * 10_000: 1})
    said = str(error.value).replace("qqqq", "")
    assert len(said) < 500 and said.endswith("; a parameter of the environment is env_params.")


@pytest.mark.parametrize("value", ["64,64", 64])
def test_a_list_written_without_brackets_is_shown_with_them(value):
    with pytest.raises(PPOJaxError, match=rf"hidden_sizes: Expected a list such as \[{value}\], got"):
        Config(TaskConfig(env_id="CartPole-v1")).override({"hidden_sizes": value})


@pytest.mark.parametrize(("text", "value"), [(".1", 0.1), ("1.", 1.0), ("-.5e-1", -0.05)])
def test_a_number_without_its_zero_is_one(text, value):
    config = load_config("cartpole", [f"loss_coefs.logit={text}"])
    assert config.ppo.loss_coefs == {"logit": value}


def test_files_beside_the_data_are_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for file in ("data/mine.txt", "mine.txt", "other.txt"):
        Path(file).touch()
    for rules, kept in (("mine.txt", "mine.txt"), ("./other.txt", str(tmp_path / "other.txt")), ("no.txt", "no.txt")):
        task = Config(task=TaskConfig(dataset="data", rules=rules, prior="p.npz")).with_absolute_dataset().task
        assert (task.rules, task.dataset, task.prior) == (kept, str(tmp_path / "data"), str(tmp_path / "p.npz"))
