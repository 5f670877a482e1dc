"""Settings and numbers as a person writes them."""

from __future__ import annotations

import math

import pytest

from ppo_jax.analysis.formatting import without_folders, write_changes, write_number, write_setting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "yes"),
        (100_000, "100,000"),
        (3e-4, "3e-4"),
        (1.5e-5, "1.5e-5"),
        (0.05, "0.05"),
        ({"init": 0.2, "final": 0.2}, "0.2"),
        ({"init": 1e-3, "final": 0.0, "shape": "linear", "start": 0.0, "end": 1.0, "warmup": 0.0}, "1e-3 → 0"),
        (
            {"init": 0.2, "final": 0.0, "shape": "cosine", "start": 0.1, "end": 1.0},
            "0.2 → 0 (cosine, from 10% to 100%)",
        ),
        ({"shape": "kl_adaptive", "init": 1e-3, "desired_kl": 0.02}, "1e-3, following KL 0.02"),
        ((64, 64), "64 × 64"),
    ],
)
def test_settings_as_a_person_writes_them(value, text):
    assert write_setting(value) == text


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (math.nan, "–"),
        (0.0, "0"),
        (20.0, "20"),
        (-2.0809, "−2.081"),
        (12.34, "12.3"),
        (0.00677, "0.007"),
        (1.23e-5, "1e-5"),
        (-1234.5, "−1,234"),
    ],
)
def test_numbers_for_tables(x, text):
    assert write_number(x) == text


def test_changes_as_lines_of_a_configuration():
    changes = {"n_epochs": 5, "ent_coef": {"init": 0.1, "final": 0.01}, "clip_range_vf": None}
    assert write_changes(changes).splitlines() == [
        "n_epochs = 5",
        "ent_coef = {init = 0.1, final = 0.01}",
        "# leave out clip_range_vf",
    ]
    assert write_changes({}) == ""


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([], []),
        (["/home/me/data/family", "rules.txt", None, 3, "../family"], ["family", "rules.txt", None, 3, "../family"]),
        (["/home/me/old/family", "/home/me/new/family"], ["old/family", "new/family"]),  # told apart
        (["/family", "/data/family", "/data/family"], ["family", "data/family", "data/family"]),
        (["C:\\data\\family", "D:\\data\\family"], ["data/family", "data/family"]),
        (["Proof-countries_s3", "my.module:make"], ["Proof-countries_s3", "my.module:make"]),
    ],
)
def test_paths_do_not_tell_where_on_a_machine_they_lie(values, written):
    assert without_folders(values) == written
