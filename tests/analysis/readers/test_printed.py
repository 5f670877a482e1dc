"""Printed tables: log.txt, a console, a notebook, a page they are pasted in."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ppo_jax.analysis.readers import read, read_sb3
from ppo_jax.types import PPOJaxError
from tests.analysis.readers.logs import pipe, sb3_lines, to_csv, to_tables, write
from tests.cli.console import call

LINES = sb3_lines(10, time__fps=900, train__std=0.93)
TABLES = to_tables(LINES)
CONSOLE = """Using cpu device
Wrapping the env with a `Monitor` wrapper
Training for total_timesteps = 20480
Logging to logs/PPO_1
"""


@pytest.fixture
def read_text(tmp_path):
    return lambda text: read(write(tmp_path / "console.txt", text))


@pytest.fixture
def plain(tmp_path):
    return read(write(tmp_path / "plain.csv", to_csv(LINES)))


def assert_same(log, plain) -> None:
    assert log.settings == plain.settings
    assert log.columns.keys() == plain.columns.keys()
    for name, column in plain.columns.items():
        np.testing.assert_allclose(log.columns[name], column, err_msg=name)
    assert log.notes == ()


def noisy(text: str) -> str:
    """With what evaluations, progress bars and warnings print between and around the tables."""
    end = "-" * 41 + "\n" + "-" * 41 + "\n"
    between = (
        "Eval num_timesteps=2048, episode_reward=9.00 +/- 0.50\nEpisode length: 9.00 +/- 0.50\nNew best mean reward!\n"
    )
    bar = "\r 10% ━━━━ 2,048/20,480  [ 0:00:02 < 0:00:09 , 950 it/s ]\r"
    halves = end.split("\n", 1)
    return CONSOLE + text.replace(end, halves[0] + "\n" + between + bar + "\n" + halves[1])


@pytest.mark.parametrize(
    "pasted",
    [
        TABLES,
        TABLES.replace("\n", "\r\n"),
        noisy(TABLES),
        CONSOLE * 900 + TABLES,
        "I train PPO and this is what I see:\n```\n" + TABLES + "```\nWhat is wrong?\n",
        "\n".join("> " + line for line in TABLES.splitlines()),
        "\n".join("    " + line for line in TABLES.splitlines()),
        re.sub(" +", " ", TABLES),  # blanks lost on a web page
        "\n".join(line for line in TABLES.splitlines() if not line.startswith("---")),  # its rules lost
        TABLES.replace(" |\n", "\n"),  # the last border lost
        "".join(f"\x1b[32m{line}\x1b[0m\n" for line in TABLES.splitlines()),
        "".join(f"2024-01-01 12:00:00 [INFO] {line}\n" for line in TABLES.splitlines()),
        TABLES.encode("utf-16"),
    ],
)
def test_pasted_tables_are_read_the_same(read_text, plain, pasted):
    assert_same(read_text(pasted), plain)


def test_from_standard_input(monkeypatch, plain):
    pipe(TABLES, monkeypatch)
    log = read("-")
    assert_same(log, plain)
    assert log.name == "standard input"
    pipe(TABLES, monkeypatch)
    assert call("diagnose", "-").code == 0
    pipe(TABLES, monkeypatch)
    assert call("diagnose", "--sb3", "-").code == 0
    pipe(to_csv(LINES), monkeypatch)
    assert_same(read_sb3("-"), plain)


def test_tables_that_are_cut_at_both_ends(read_text, plain):
    lines = TABLES.splitlines()
    log = read_text("\n".join(lines[20:-4]))
    assert log.n_updates == 9
    np.testing.assert_allclose(log.columns["approx_kl"][1:], 0.01)


def test_tables_with_evaluations(read_text):
    lines = [*LINES[:3], {"time/total_timesteps": 8192, "eval/mean_reward": 33.0, **LINES[3]}, *LINES[4:]]
    lines[3] = {key: value for key, value in lines[3].items() if key != "rollout/ep_rew_mean"}
    log = read_text(to_tables(lines))
    assert log.n_updates == 9
    assert log.columns["eval/episode_return_mean"][2] == 33.0


def test_tables_of_baselines(read_text):
    """Without sections, time steps to three digits."""
    table = "-" * 30 + "\n| approxkl | 0.013 |\n| clipfrac | 0.1 |\n| ep_reward_mean | {0} |\n| nupdates | {0} |\n"
    table += "| policy_entropy | 1.3 |\n| total_timesteps | {1:.3g} |\n| value_loss | 2.5 |\n" + "-" * 30 + "\n"
    log = read_text("".join(table.format(i, 128.0 * i) for i in range(1, 40)))
    assert (log.trainer, log.n_updates) == ("baselines", 39)
    np.testing.assert_allclose(log.columns["value_loss"], 5.0)


def test_a_notebook_with_its_outputs(tmp_path, plain):
    halves = TABLES.splitlines(keepends=True)
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": halves[:100]},
        {"output_type": "display_data", "data": {"image/png": "iVBOR"}},
        {"output_type": "stream", "name": "stdout", "text": "".join(halves[100:])},
    ]
    cells = [{"cell_type": "markdown", "source": ["| a | 1 |"]}, {"cell_type": "code", "outputs": outputs}]
    file = write(tmp_path / "train.ipynb", json.dumps({"cells": cells, "nbformat": 4}, indent=1))
    assert_same(read(file), plain)
    with pytest.raises(PPOJaxError, match="not a notebook of Jupyter, or cut off"):
        read(write(tmp_path / "cut.ipynb", file.read_text()[:-40]))
    with pytest.raises(PPOJaxError, match=r"no line with train/\* columns"):
        read(write(tmp_path / "empty.ipynb", json.dumps({"cells": [], "nbformat": 4})))


def test_text_without_a_table(read_text):
    with pytest.raises(PPOJaxError, match="read are: SB3's progress"):
        read_text(CONSOLE)
    with pytest.raises(PPOJaxError, match=r"no line with train/\* columns"):
        read_text("| epoch | 3 |\n| accuracy | 0.5 |\n")
