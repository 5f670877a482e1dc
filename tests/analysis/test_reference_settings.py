"""The settings to hold a configuration against are those of their sources."""

from __future__ import annotations

import json
from pathlib import Path

from ppo_jax.analysis.formatting import write_setting
from ppo_jax.analysis.reference_settings import DEFAULTS, RECOMMENDED, SB3_DEFAULTS
from ppo_jax.config import load_config

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_recommendation_is_the_published_experiment():
    tables = load_config("countries_s3").to_dict()
    published = {key: value for table in tables.values() for key, value in table.items()}
    del published["env_id"]
    for key, value in published.items():
        assert write_setting(RECOMMENDED.get(key, DEFAULTS[key])) == write_setting(value), key


def test_the_defaults_of_stable_baselines3_are_its_own():
    signature = json.loads((REPOSITORY / "tests" / "golden" / "sb3_defaults.json").read_text())
    assert len(SB3_DEFAULTS.keys() & signature.keys()) >= 12
    for key in SB3_DEFAULTS.keys() & signature.keys():
        assert signature[key] == SB3_DEFAULTS[key], key
