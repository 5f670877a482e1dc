"""Several devices and several processes train as one device does, and a lost process ends the others."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.cli import main
from ppo_jax.config import Config, from_dict, load_config
from ppo_jax.devices import cpu, mesh, processes
from ppo_jax.runs import runner
from ppo_jax.types import PPOJaxError
from tests import toys
from tests.cli.console import succeed
from tests.devices import many_devices
from tests.runs.test_resume import REPOSITORY, lines

KEY = jax.random.key(0)
TOY = from_dict(
    {
        "task": {"env_id": "tests.toys:ObservedReward"},
        "ppo": {
            **{"total_timesteps": 768, "n_envs": 8, "n_steps": 16, "n_epochs": 2, "batch_size": 32},
            **{"learning_rate": {"init": 1e-2, "final": 1e-4}, "normalize_observations": True},
            **{"normalize_rewards": True, "normalize_values": True},
        },
        "network": {"hidden_sizes": [8]},
        "evaluation": {"eval_interval": 2, "eval_episodes": 4},
        "run": {"checkpoint_interval": 1},
    }
)  # 6 updates
LONG = TOY.override({"total_timesteps": 128 * 50})  # long enough to be hit
SECONDS = 60  # within which processes end whose fellow was killed


def close(actual: object, expected: object) -> None:
    """Agreement to 1e-5: relative for numbers above one, absolute below."""
    within = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # noqa: E731
    jax.tree.map(within, actual, expected)


def assert_same_rows(folder: Path, expected: Path, n: int | None = None) -> None:
    nan = lambda row: {name: np.nan if x is None else x for name, x in row.items()}  # noqa: E731
    for name in ("metrics.jsonl", "eval.jsonl"):
        ours, theirs = lines(folder / name)[:n], lines(expected / name)[:n]
        assert [row["update"] for row in ours] == [row["update"] for row in theirs]
        for a, b in zip(ours, theirs, strict=True):
            close(nan(a), nan(b))


def command(*arguments: object, devices: int = 1) -> subprocess.Popen:
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", *map(str, arguments)], cwd=REPOSITORY, env=environment, **pipes)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def two_processes(folder: Path, config: Config) -> list[subprocess.Popen]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "experiment.toml"
    file.write_text(config.to_toml())
    train = ("ppo_jax", "train", file, "--run-dir", folder, "--json", "--coordinator", f"127.0.0.1:{free_port()}")
    return [command(*train, "--num-processes", 2, "--process-id", index) for index in range(2)]


def wait_for_lines(process: subprocess.Popen, path: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """A run on one device."""
    folder = tmp_path_factory.mktemp("one") / "run"
    runner.train(TOY, folder, progress=False)
    return folder


# ---------------------------------------------------------------------------------------------------- devices


@pytest.fixture(scope="module")
def updates(tmp_path_factory) -> dict:
    """Of each case: every update from one state, on each number of devices."""
    file = tmp_path_factory.mktemp("devices") / "updates.pickle"
    _, err = (process := command("tests.devices.many_devices", file)).communicate(timeout=600)
    assert process.returncode == 0, err
    return pickle.loads(file.read_bytes())


@pytest.mark.parametrize("case", many_devices.CASES)
def test_an_update_on_many_devices_is_that_on_one(updates, case) -> None:
    for results in updates[case]:
        expected, expected_metrics = results[1]
        for state, metrics in (results[devices] for devices in many_devices.DEVICES[case]):
            close(metrics, expected_metrics)
            close(state, expected)
            np.testing.assert_array_equal(state.key, expected.key)


def test_the_cases_stop_within_an_epoch_and_cut_episodes(updates) -> None:
    applied = [results[1][1]["minibatches_applied"] for results in updates["kl_stop"]]
    assert any(n % 4 for n in applied)
    assert all(results[1][1]["early_stopped"] for results in updates["kl_stop"])
    assert all(0 < results[1][1]["truncated_fraction"] < 1 for case in updates.values() for results in case)
    assert all(np.isfinite(results[1][1]["height_late"]) for results in updates["continuous"])


def test_a_run_goes_on_on_another_number_of_devices(one, tmp_path) -> None:
    folder = tmp_path / "run"
    runner.train(TOY.override({"total_timesteps": 384}), folder, progress=False)
    resume = ("ppo_jax", "resume", folder, "--set", "total_timesteps=768", "--devices", 4, "--json")
    out, err = (process := command(*resume, devices=4)).communicate(timeout=300)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "completed"
    assert load_config(folder / "config.toml").run.devices == 4
    assert [row["update"] for row in lines(folder / "metrics.jsonl")] == list(range(1, 7))
    assert_same_rows(folder, one, 1)  # schedules ran over the shorter total then


# ---------------------------------------------------------------------------------------------------- processes


def test_two_processes_train_as_one(one, tmp_path) -> None:
    leader, follower = two_processes(tmp_path / "run", TOY)
    (out, err), (follower_out, follower_err) = (process.communicate(timeout=300) for process in (leader, follower))
    assert (leader.returncode, follower.returncode) == (0, 0), err + follower_err
    assert json.loads(out)["status"] == "completed"
    assert follower_out == ""
    assert_same_rows(tmp_path / "run", one)
    for a, b in zip(*(jax.tree.leaves(runner.load(x, "last")[1]) for x in (tmp_path / "run", one)), strict=True):
        close(a, b)
    recorded = load_config(tmp_path / "run" / "config.toml")
    assert recorded.run.devices == 2


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_the_run_goes_on(tmp_path, victim) -> None:
    processes = two_processes(tmp_path / "run", LONG)
    wait_for_lines(processes[0], tmp_path / "run" / "metrics.jsonl", 5)
    processes[victim].kill()
    begin = time.monotonic()
    _, err = processes[1 - victim].communicate(timeout=SECONDS)
    processes[victim].communicate()
    assert time.monotonic() - begin < SECONDS
    assert processes[1 - victim].returncode not in (0, None)
    said = "another process ended or cannot be reached" in err or "another task died" in err
    assert said and "Traceback" not in err, err
    alone = {"devices": 1, "checkpoint_interval": 100}  # a checkpoint costs more than a hundred of these updates
    summary = runner.resume(tmp_path / "run", alone, progress=False, warn=lambda text: None)
    assert (summary["status"], summary["updates"]) == ("completed", 50)
    assert [row["update"] for row in lines(tmp_path / "run" / "metrics.jsonl")] == list(range(1, 51))


def test_a_signal_to_one_process_stops_all_at_a_checkpoint(tmp_path) -> None:
    processes = two_processes(tmp_path / "run", LONG)
    wait_for_lines(processes[0], tmp_path / "run" / "metrics.jsonl", 5)
    processes[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=SECONDS)[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], errors
    assert f"interrupted; go on with: ppo-jax resume {tmp_path / 'run'}" in errors[0]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "resume" / str(summary["updates"])).is_dir()


@pytest.mark.parametrize("index", [0, 1])
def test_processes_that_do_not_find_each_other(index) -> None:
    join = f"join('127.0.0.1:{free_port()}', 2, {index}, errors.explain)"
    program = (
        "from ppo_jax.cli import errors; from ppo_jax.devices import processes; "
        f"processes.CONNECT_SECONDS = 2; processes.{join}"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1, found.stderr
    assert "the processes did not find each other within 2 s" in found.stderr
    assert "Traceback" not in found.stderr


# ---------------------------------------------------------------------------------------------------- mistakes


def test_devices_that_are_not_there(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(cpu, "cores", lambda: 1)
    file = tmp_path / "experiment.toml"
    file.write_text(TOY.to_toml())
    assert main(["train", str(file), "--run-dir", str(tmp_path / "run"), "--devices", "16"]) == 2
    err = capsys.readouterr().err
    assert "devices = 16, but 1 cpu device is there" in " ".join(err.split())
    assert "JAX_NUM_CPU_DEVICES=16" in " ".join(err.split())
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(cpu, "cores", lambda: 4)
    assert main(["sweep", str(file), "--run-dir", str(tmp_path / "run"), "--devices", "16"]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "devices = 16, but 1 cpu device and 4 cores are there; take them with --devices 4" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"devices": 3}, "n_envs = 8 cannot be split over 3 devices; the nearest that can: 6 or 9"),
        (
            {"devices": 8, "batch_size": 4},
            "batch_size = 4 cannot be split over 8 devices; the nearest that can: 8",
        ),
        (
            {"devices": 3, "n_envs": 12, "batch_size": 64},
            "batch_size = 64 cannot be split over 3 devices; the nearest that can: 24 or 48 or 96",
        ),
        (
            {"devices": 2, "core": "gru", "sequence_length": 16, "batch_size": 16},
            "batch_size = 16 cannot be split over 2 devices in sequences of 16; the nearest that can: 32 or 64 or 128",
        ),
    ],
)
def test_environments_that_cannot_be_spread(monkeypatch, settings, complaint) -> None:
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(PPOJaxError, match=complaint):
        mesh.resolve(TOY.override(settings))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--coordinator", "a:1", "--num-processes", "2"], "go together; missing: --process-id"),
        (["--process-id", "0"], "missing: --coordinator, --num-processes"),
        (["--coordinator", "a", "--num-processes", "2", "--process-id", "0"], "--coordinator a: expected HOST:PORT"),
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "2"], "the 2 processes are 0 to 1"),
    ],
)
def test_processes_half_described(tmp_path, capsys, options, complaint) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text(TOY.to_toml())
    assert main(["train", str(file), *options]) == 2
    assert complaint in " ".join(capsys.readouterr().err.split())


def test_a_step_of_slurm_needs_no_options(monkeypatch) -> None:
    variables = dict(zip(processes.SLURM, ("7", "node[01-02]", "2", "1", "0"), strict=True))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    called = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given, **_: called.append(given))
    monkeypatch.setattr(processes, "_keep_stdout_for_results", lambda: None)
    monkeypatch.setattr(processes.jax.config, "update", lambda *_: None)
    processes.join()
    assert called == [(None, None, None)]
    processes.join(num_processes=1)
    assert len(called) == 1


def test_seeds_lie_apart() -> None:
    keys = jax.random.split(KEY, 4)
    placed = mesh.shard_seeds({"key": keys, "x": jnp.arange(4.0)}, 1)
    np.testing.assert_array_equal(placed["x"], np.arange(4.0))
    assert placed["key"].sharding.spec == jax.P(mesh.AXIS)


def test_a_long_run_takes_what_is_there_and_records_it(monkeypatch) -> None:
    monkeypatch.setattr(cpu, "LONG", 768)
    monkeypatch.setattr(cpu, "SMALL", 32 * 8 // 4)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(cpu, "cores", lambda: 8)
    assert mesh.resolve(TOY).run.devices == 4  # of 8, by minibatches
    assert mesh.resolve(TOY, begins=False) == TOY  # it was on one
    assert mesh.resolve(TOY.override({"devices": 1})).run.devices == 1
    monkeypatch.setattr(cpu, "cores", lambda: 2)
    assert mesh.resolve(TOY).run.devices == 2


def test_a_long_run_repeats_itself_on_as_many_devices(tmp_path) -> None:
    """From the command line, without a word on devices: train, look again, go on."""
    (tmp_path / "toy.toml").write_text(TOY.override({"total_timesteps": 384}).to_toml())
    begin = "import sys; from ppo_jax.devices import cpu as p; p.LONG, p.SMALL, p.cores = 384, 128, lambda: 2; "
    program = begin + "from ppo_jax.cli import main; sys.exit(main(sys.argv[1:]))"

    def call(*arguments: object) -> str:
        process = command("-c", program, *arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out + err

    def command(*arguments: object) -> subprocess.Popen:
        environment = {name: x for name, x in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *map(str, arguments)], cwd=REPOSITORY, env=environment, **pipes)

    folder = tmp_path / "run"
    call("train", tmp_path / "toy.toml", "--run-dir", folder, "--json")
    assert load_config(folder / "config.toml").run.devices == 2
    assert "other settings" not in call("train", tmp_path / "toy.toml", "--run-dir", folder, "--reuse")
    call("resume", folder, "--set", "total_timesteps=768", "--json")
    assert load_config(folder / "config.toml").run.devices == 2
    assert [row["update"] for row in lines(folder / "metrics.jsonl")] == list(range(1, 7))


def test_one_device_needs_no_mesh() -> None:
    assert mesh.resolve(TOY) == TOY
    assert mesh.placement(TOY) == mesh.Placement()
    state = toys.build(toys.Walk())
    assert mesh.Placement().part(state) is state


def test_the_members_of_a_sweep_are_spread_over_devices(tmp_path):
    (tmp_path / "toy.toml").write_text(TOY.override({"total_timesteps": 256}).to_toml())

    def arguments(devices: int) -> tuple[object, ...]:
        options = ("--seeds", 3, "--devices", devices, "--chunk", 3, "--json", "--run-dir", tmp_path / str(devices))
        return "sweep", tmp_path / "toy.toml", *options

    out, err = (process := command("ppo_jax", *arguments(2), devices=2)).communicate(timeout=300)
    assert process.returncode == 0, err
    found = [json.loads(succeed(*arguments(1))), json.loads(out)]
    assert [one["programs"][0]["width"] for one in found] == [3, 4]
    for one, two in zip(*(record["members"] for record in found), strict=True):
        assert_same_rows(tmp_path / "2" / "members" / two["name"], tmp_path / "1" / "members" / one["name"])
    assert main(["sweep", str(tmp_path / "toy.toml"), "--devices", "999", "--run-dir", str(tmp_path / "3")]) == 2
