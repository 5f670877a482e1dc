"""Settings that are given for a log which lacks them."""

from __future__ import annotations

import pytest

from ppo_jax.analysis.readers import check_settings
from ppo_jax.types import PPOJaxError


def test_settings_for_a_log_are_checked():
    assert check_settings({"n_steps": 2048, "n_envs": 3}) == {"n_steps": 2048, "n_envs": 3}
    with pytest.raises(PPOJaxError, match=r"--set n_step: unknown key; did you mean n_steps"):
        check_settings({"n_step": 5})
    with pytest.raises(PPOJaxError, match=r"--set gamma: Expected `float` <= 1.0"):
        check_settings({"gamma": 3})
