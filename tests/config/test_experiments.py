"""Experiments found by name and by environment, and what a configuration says of the other kind of task."""

from __future__ import annotations

import pytest

from ppo_jax.config import SECTIONS, load_config
from ppo_jax.config.experiments import experiment_file, experiment_names
from ppo_jax.config.schema import ENVIRONMENT_KEYS, PROOF_KEYS
from ppo_jax.config.suggestions import OTHER_NAMES
from ppo_jax.types import PPOJaxError

KEYS = {key for cls in SECTIONS.values() for key in cls.__dataclass_fields__}


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_is_found_by_name_and_by_environment(name):
    config = load_config(name)
    assert config == load_config(experiment_file(name)) == load_config(f"experiments/{name}.toml")
    if config.task.env_id:
        assert load_config(config.task.env_id) == config


def test_an_environment_without_an_experiment_has_the_settings_of_its_suite():
    car, asterix, chain = map(load_config, ("MountainCar-v0", "Asterix-MinAtar", "MemoryChain-bsuite"))
    assert (car.task.env_id, car.ppo.normalize_observations, car.network.core) == ("MountainCar-v0", True, None)
    assert asterix.override({"env_id": "Breakout-MinAtar"}) == load_config("breakout")
    assert chain.network.core == "gru"
    assert load_config("my_package.module:Walk").task.env_id == "my_package.module:Walk"
    assert load_config("suite/walk").task.env_id == "suite/walk"


@pytest.mark.parametrize(
    ("steps", "more", "interval"),
    [
        *((1_000_000, {}, 50), (921_600, {}, 45), (120_000, {}, 6), (30_000, {}, 2), (2048, {}, 1)),
        (30_000, {"evaluation.eval_interval": 50}, 50),
    ],
)
def test_a_short_run_by_default_settings_is_evaluated_about_ten_times(steps, more, interval):
    config = load_config("my_package.module:Walk", {"total_timesteps": steps} | more)
    assert config.evaluation.eval_interval == interval
    told = (
        "evaluation.eval_interval = 50 exceeds the 15 updates: one evaluation, at the end; eval_interval = 1 gives more"
    )
    assert config.warnings == ((told,) if more else ())


def test_a_file_comes_before_a_name_and_a_name_before_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cartpole").mkdir()
    assert load_config("cartpole").task.env_id == "CartPole-v1"
    (tmp_path / "pendulum").write_text("[task]\nenv_id = 'Mine-v0'\n")
    assert load_config("pendulum").task.env_id == "Mine-v0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "nonsense: no such file, and no experiment; known: acrobot, .*`ppo-jax envs` lists environments"),
        ("Cartpol", "did you mean cartpole"),
        ("fall.Fall", "fall.Fall: no such file, and no experiment; did you mean the import path fall:Fall\\?"),
        ("breakuot.toml", "no such file; did you mean breakout"),
        ("run", "run: is a folder; use run/config.toml"),
        ("graph", "graph: is a folder; to train on the graph in it: `ppo-jax train family --set dataset=graph`"),
        ("cue.py", "cue.py: Python code; an environment in it is cue:Name, Name being its class"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_what_is_no_experiment(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "train.tsv").touch()
    (tmp_path / "cue.py").touch()
    with pytest.raises(PPOJaxError, match=message):
        load_config(name)


def test_parameters_of_the_environment_are_a_table(tmp_path):
    path = tmp_path / "sea.toml"
    path.write_text("[task]\nenv_id = 'DeepSea-bsuite'\n[task.env_params]\nsize = 20\n")
    config = load_config(path)
    assert config.task.env_params == {"size": 20}
    changed = config.override(["env_params.size=10", "task.env_params.deterministic=false"])
    assert changed.task.env_params == {"size": 10, "deterministic": False}
    assert load_config("cartpole", ["env_params.gravity=3.5"]).task.env_params == {"gravity": 3.5}
    path.write_text(changed.to_toml())
    assert load_config(path) == changed
    assert hash(changed) != hash(config.override({"seed": 3}))  # sweeps put configurations together by it
    with pytest.raises(PPOJaxError, match=r"task.env_params.*got `array`"):
        config.override({"env_params.size": [1]})


@pytest.mark.parametrize(
    "key, meant",
    [
        ("lr", "did you mean learning_rate"),
        ("num_envs", "did you mean n_envs"),
        ("clip_coef", "did you mean clip_range"),
        ("lstm_hidden_size", "did you mean core_size"),
        ("policy_kwargs", "its parts are keys"),
        ("verbose", "leave it out; -"),
        ("device", "leave it out: JAX"),
        ("run_dir", "the folder of a run is not a setting: --run-dir FOLDER"),
        ("tensorboard_log", "set tensorboard = true"),
    ],
)
def test_names_of_other_libraries(key, meant):
    with pytest.raises(PPOJaxError, match=f"--set {key}: unknown key '{key}'; {meant}"):
        load_config("cartpole", [f"{key}=1"])


@pytest.mark.parametrize(
    ("name", "assignments", "told"),
    [
        ("cartpole", ["beam_width=4"], ["evaluation.beam_width is set, but only a proof task reads it; leave it out"]),
        (
            "family",
            ["time_limit=9"],
            ["task.time_limit is set, but only a run in an environment reads it; leave it out"],
        ),
        ("cartpole", ["core_size=32"], ['network.core_size is set, but there is no core; core = "gru" gives one']),
        ("cartpole", ["core_size=32", "core=gru"], []),
    ],
)
def test_what_is_set_and_nothing_reads_is_told(name, assignments, told):
    assert list(load_config(name, assignments).warnings) == told


@pytest.mark.parametrize("assignment", ["ppo.core=gru", "run.learning_rate=0.1", "task.network=cnn"])
def test_a_key_under_another_section_names_its_own(assignment):
    section = {"core": "network", "learning_rate": "ppo", "network": "network"}
    name = assignment.partition("=")[0].partition(".")[2]
    with pytest.raises(PPOJaxError, match=rf"{name} belongs under \[{section[name]}\]; {name} alone is enough"):
        load_config("cartpole", [assignment])


def test_other_names_are_of_keys_that_there_are():
    assert set(OTHER_NAMES.values()) <= KEYS and not OTHER_NAMES.keys() & KEYS
    assert PROOF_KEYS | ENVIRONMENT_KEYS <= KEYS and not PROOF_KEYS & ENVIRONMENT_KEYS


def test_a_run_says_nothing_of_the_other_kind_of_task_unless_it_is_set(tmp_path):
    path = tmp_path / "config.toml"
    for name, others in (("cartpole", PROOF_KEYS), ("countries_s3", ENVIRONMENT_KEYS), ("family", ENVIRONMENT_KEYS)):
        config = load_config(name)
        path.write_text(config.to_toml())
        assert load_config(path) == config
        assert not others & {line.partition(" =")[0] for line in path.read_text().splitlines()}
    set_all_the_same = load_config("cartpole", ["max_depth=7", "fact_layers=1"])
    path.write_text(set_all_the_same.to_toml())
    assert load_config(path) == set_all_the_same
