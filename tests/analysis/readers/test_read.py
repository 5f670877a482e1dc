"""Finding the form of a log by itself, for every command that takes one."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppo_jax.analysis.readers import read
from ppo_jax.types import PPOJaxError
from tests.analysis.readers.logs import sb3_lines, to_csv, to_json_lines, to_tables, write
from tests.cli.console import call, fail

FORMS = {"progress.csv": to_csv, "progress.json": to_json_lines, "log.txt": to_tables}


@pytest.fixture
def logs(tmp_path):
    """One log in each form, in a folder of its own."""
    return [write(tmp_path / name.replace(".", "_") / name, form(sb3_lines(20))) for name, form in FORMS.items()]


def test_a_file_and_its_folder_are_the_same_log(logs):
    for file in logs:
        log, in_folder = read(file), read(file.parent)
        assert log.name == in_folder.name == file.parent.name
        assert log.trainer == log.kind == "sb3"
        np.testing.assert_array_equal(log.columns["approx_kl"], in_folder.columns["approx_kl"])


def test_settings_are_given_with_the_file(logs):
    given = ("--set", "n_envs=1", "n_steps=64", "batch_size=256", "--json")
    for file in logs:
        for option in ([], ["--sb3"]):
            found = json.loads(call("diagnose", *option, file, *given).out)["findings"]
            assert "batch-exceeds-rollout" in [finding["id"] for finding in found]


def test_others_compare_and_report_take_the_same_files(tmp_path, logs):
    assert call("diagnose", logs[0], "--others", *logs[1:]).code == 0
    result = call("compare", *logs, "--json")
    assert (result.code, len(json.loads(result.out)["groups"])) == (0, 3)
    assert call("report", logs[0], logs[2], "--out", tmp_path / "report").code == 0
    assert (tmp_path / "report" / "report.md").exists()


def test_a_file_of_a_run_folder_stands_for_the_run(tmp_path):
    write(tmp_path / "metrics.jsonl", '{"update": 1, "env_steps": 8, "approx_kl": 0.1}\n')
    assert read(tmp_path / "metrics.jsonl").kind == "ppo_jax"


def test_folders_of_several_runs_are_listed(tmp_path, logs):
    error = fail("diagnose", tmp_path)
    assert "3 runs there; give the path of one" in error
    assert all(str(file.parent) in error for file in logs)


def test_what_is_not_there(tmp_path):
    assert "no run there" in fail("diagnose", tmp_path / "nothing")
    assert "nothing.csv" in fail("diagnose", tmp_path / "nothing.csv")
    assert "nothing.csv" in fail("diagnose", "--sb3", tmp_path / "nothing.csv")
    assert "read are: SB3's progress.csv" in fail("diagnose", tmp_path)
    assert "no TensorBoard event file" in fail("diagnose", "--tensorboard", tmp_path)


CELLS = st.one_of(
    st.sampled_from(["", "nan", "inf", "-inf", "0", "-1", "1e308", "1e-320", "2048", "x", "1,5", '"', " ", "10"]),
    st.integers(-5, 5000).map(str),
    st.floats().map(str),
)
NAMES = [
    *sb3_lines(2)[1],
    "eval/mean_reward",
    "train/std",
    "time/fps",
    "rollout/success_rate",
    "mine",
    "losses/entropy",
]


@given(
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True),
    rows=st.lists(st.lists(CELLS, max_size=10), max_size=12),
    delimiter=st.sampled_from([",", ";", " ", "\t"]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cells_in_any_order_are_a_log_or_one_line(tmp_path, names, rows, delimiter):
    text = "\n".join(map(delimiter.join, [names, *rows]))
    try:
        log = read(write(tmp_path / "log.csv", text))
    except PPOJaxError as error:
        assert "\n" not in str(error)
        return
    assert {len(column) for column in log.columns.values()} == {log.n_updates}
    assert log.n_updates > 0
    np.testing.assert_array_equal(log.columns["update"], np.arange(1, log.n_updates + 1))
    steps = log.columns["env_steps"][np.isfinite(log.columns["env_steps"])]
    if len(steps) == log.n_updates and not any("out of order" in note for note in log.notes):
        assert (np.diff(steps) >= 0).all()
    assert log.settings.get("rollout_size", 1) >= 1
    assert log.settings.get("n_epochs", 1) >= 1


@given(text=st.text(alphabet=st.sampled_from('abc/|-{}[]":,;0123.\n #\r\t'), max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gets_one_line(tmp_path, text):
    with pytest.raises(PPOJaxError) as error:
        read(write(tmp_path / "log.txt", text))
    assert "\n" not in str(error.value)


def test_a_long_log_is_read_in_one_pass(tmp_path):
    """What is held at a time is the numbers of its columns and not its lines."""
    file = write(tmp_path / "log.csv", to_csv(sb3_lines(10_000)))
    tracemalloc.start()
    log = read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    numbers = sum(column.nbytes for column in log.columns.values())
    assert peak < 4 * numbers + 2**20
