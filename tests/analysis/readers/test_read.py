"""Finding the form of a log by itself, for every command that takes one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ppo_jax.analysis.readers import read
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


def test_what_is_not_there(tmp_path):
    assert "no run there" in fail("diagnose", tmp_path / "nothing")
    assert "nothing.csv" in fail("diagnose", tmp_path / "nothing.csv")
    assert "nothing.csv" in fail("diagnose", "--sb3", tmp_path / "nothing.csv")
    assert "read are: SB3's progress.csv" in fail("diagnose", tmp_path)
    assert "no TensorBoard event file" in fail("diagnose", "--tensorboard", tmp_path)
