"""Lines put together to updates: callbacks' lines, runs that went on, counts of epochs and transitions."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.analysis.readers import read
from tests.analysis.readers.logs import sb3_lines, to_csv, write

EVAL = ("eval/mean_reward", "eval/mean_ep_length")


@pytest.fixture
def read_lines(tmp_path):
    return lambda lines: read(write(tmp_path / "log.csv", to_csv(lines)))


def with_evaluations(lines, every: int) -> list[dict]:
    """The lines that EvalCallback makes of them: its own take the train/* numbers that wait for the next line."""
    out, waiting, done = [], {}, 0
    for line in lines:
        waiting |= {name: value for name, value in line.items() if name.startswith("train/")}
        end = line["time/total_timesteps"]
        for step in range(done + every - done % every, end + 1, every):
            out.append({"time/total_timesteps": step, EVAL[0]: step / 100.0, EVAL[1]: 50.0, **waiting})
            waiting = {}
        out.append({name: value for name, value in line.items() if not name.startswith("train/")} | waiting)
        waiting, done = {}, end
    return out


@pytest.mark.parametrize("every", [1024, 1000, 500, 2048, 5000, 10240])
def test_lines_of_an_evaluation_callback_are_merged_and_nothing_is_lost(read_lines, every):
    plain = read_lines(sb3_lines(30))
    log = read_lines(with_evaluations(sb3_lines(30), every))
    assert log.n_updates == plain.n_updates == 29
    for name in ("episode_return_mean", "approx_kl", "early_stopped", "epochs_completed", "value_loss"):
        measured = np.isfinite(log.columns[name])
        assert measured.all(), name
    np.testing.assert_allclose(log.columns["episode_return_mean"], plain.columns["episode_return_mean"])
    np.testing.assert_allclose(log.columns["env_steps"], plain.columns["env_steps"])
    np.testing.assert_allclose(log.columns["early_stopped"], 0.0)
    assert log.settings["n_epochs"] == 10
    assert log.settings["rollout_size"] == 2048
    evaluations = log.columns["eval/episode_return_mean"]
    assert np.isfinite(evaluations).sum() >= min(29, 30 * 2048 // every) - 1
    assert np.nanmax(evaluations) <= 30 * 20.48
    assert np.nanmean(log.columns["eval/episode_length_mean"]) == 50.0


def test_evaluations_more_often_than_lines_of_rollouts(read_lines):
    """log_interval = 4: the losses of most updates stand in the lines of evaluations alone."""
    lines = with_evaluations(sb3_lines(40), 1000)
    kept = [line for line in lines if line.get("time/iterations", 4) % 4 == 0]
    log = read_lines(kept)
    assert log.n_updates == 39
    np.testing.assert_allclose(log.columns["early_stopped"], 0.0)
    assert (log.settings["n_epochs"], log.settings["rollout_size"]) == (10, 2048)


def test_several_evaluations_in_an_update_are_averaged(read_lines):
    lines = [
        *sb3_lines(2),
        {"time/total_timesteps": 4500, "eval/mean_reward": 1.0},
        {"time/total_timesteps": 5000, "eval/mean_reward": 3.0},
        *sb3_lines(3)[2:],
    ]
    log = read_lines(lines)
    np.testing.assert_allclose(log.columns["eval/episode_return_mean"], [np.nan, 2.0])


def test_what_comes_after_the_last_update_joins_it(read_lines):
    log = read_lines([*sb3_lines(3), {"time/total_timesteps": 9000, "eval/mean_reward": 7.0}])
    assert log.columns["eval/episode_return_mean"][-1] == 7.0
    assert log.columns["env_steps"][-1] == 3 * 2048


def test_losses_that_are_not_numbers_are_kept_and_empty_cells_are_none(read_lines):
    lines = sb3_lines(5)
    lines[3] |= {"train/value_loss": float("nan"), "train/approx_kl": float("inf")}
    log = read_lines(lines)
    assert np.isnan(log.columns["value_loss"][2])
    assert np.isinf(log.columns["approx_kl"][2])
    # as some programs save empty cells
    nothing = {name: float("nan") for name in lines[1]} | {"time/total_timesteps": 5000, "eval/mean_reward": 1.0}
    assert read_lines([*lines[:2], nothing, *lines[2:]]).n_updates == 4


def test_a_run_that_was_continued_is_one_run(read_lines):
    """learn() twice with reset_num_timesteps=False: iterations begin again, steps and n_updates do not."""
    first, second = sb3_lines(10), sb3_lines(10)
    for line in second:
        line["time/total_timesteps"] += 10 * 2048
        line["train/n_updates"] = 10 * (line["time/iterations"] + 9)
    second[0] |= {key: value for key, value in first[-1].items() if key.startswith("train/")} | {"train/n_updates": 100}
    log = read_lines([*first, *second])
    assert log.n_updates == 19
    assert log.settings == {"n_epochs": 10, "rollout_size": 2048, "learning_rate": 3e-4, "clip_range": 0.2}
    np.testing.assert_allclose(log.columns["early_stopped"], 0.0)
    np.testing.assert_allclose(log.columns["env_steps"], 2048.0 * np.arange(2, 21))


def test_steps_that_begin_again_are_added_on(read_lines):
    """learn() twice with one logger and reset_num_timesteps=True: n_updates alone goes on."""
    first, second = sb3_lines(10), sb3_lines(10)
    for line in second:
        line["train/n_updates"] = 10 * (line["time/iterations"] + 9)
        line |= {key: first[-1][key] for key in first[-1] if key.startswith("train/") and key not in line}
    log = read_lines([*first, *second])
    assert log.n_updates == 19
    assert (np.diff(log.columns["env_steps"]) > 0).all()
    assert log.settings["n_epochs"] == 10
    assert any("learning began again at step 20480" in note for note in log.notes)
    np.testing.assert_allclose(log.columns["early_stopped"], 0.0)


def test_a_run_loaded_with_epochs_behind_it(read_lines):
    lines = sb3_lines(10)
    for line in lines[1:]:
        line["train/n_updates"] += 1230
    log = read_lines(lines)
    assert log.settings["n_epochs"] == 10
    np.testing.assert_allclose(log.columns["early_stopped"], [np.nan] + [0.0] * 8)


def test_learn_called_for_each_rollout(read_lines):
    log = read_lines([line | {"time/iterations": 1} for line in sb3_lines(10)])
    assert (log.settings["n_epochs"], log.settings["rollout_size"]) == (10, 2048)
    np.testing.assert_allclose(log.columns["early_stopped"], 0.0)


def test_a_gap_in_the_log_is_not_an_update_of_many_epochs(read_lines):
    lines = sb3_lines(30)
    del lines[10:15]
    log = read_lines(lines)
    assert log.settings["n_epochs"] == 10
    np.testing.assert_allclose(log.columns["early_stopped"], 0.0)


def test_one_strange_difference_does_not_decide(read_lines):
    lines = sb3_lines(30)
    for line in lines[15:]:
        line["train/n_updates"] += 500  # another checkpoint was loaded
    log = read_lines(lines)
    assert log.settings["n_epochs"] == 10
    assert np.isnan(log.columns["early_stopped"]).sum() == 1


def test_epochs_that_a_limit_cuts_short_tell_the_most(read_lines):
    lines, total = sb3_lines(12), 0
    for line, begun in zip(lines[1:], [10, 3, 7, 10, 2, 4, 1, 9, 10, 5, 6], strict=True):
        total += begun
        line["train/n_updates"] = total
    log = read_lines(lines)
    assert log.settings["n_epochs"] == 10
    np.testing.assert_allclose(log.columns["early_stopped"], [0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1])


@pytest.mark.parametrize("rollout", [2, 640, 2048, 16384])
def test_the_transitions_of_an_update(read_lines, rollout):
    assert read_lines(sb3_lines(5, rollout=rollout)).settings["rollout_size"] == rollout
    assert read_lines(sb3_lines(2, rollout=rollout)).settings["rollout_size"] == rollout
    assert read_lines(sb3_lines(40, rollout=rollout)[3::4]).settings["rollout_size"] == rollout  # log_interval = 4


def test_rollouts_of_changing_size_are_not_guessed_at(read_lines):
    lines = sb3_lines(12)
    for i, line in enumerate(lines):
        line["time/total_timesteps"] = 100 * i**2
    assert "rollout_size" not in read_lines(lines).settings


def test_two_runs_in_one_file(read_lines):
    short, long = sb3_lines(6, rollout__ep_rew_mean=1.0), sb3_lines(20, rollout__ep_rew_mean=2.0)
    log = read_lines([*short, *long])
    assert log.n_updates == 19
    assert set(log.columns["episode_return_mean"]) == {2.0}
    assert "2 runs in one log; read is the longest, run 2, of 19 updates" in log.notes


def test_a_run_that_went_on_from_a_checkpoint(read_lines):
    lines = sb3_lines(20)
    log = read_lines([*lines, *sb3_lines(30, rollout__ep_rew_mean=-1.0)[15:]])
    assert log.n_updates == 29
    assert (np.diff(log.columns["env_steps"]) == 2048).all()
    assert (log.columns["episode_return_mean"] == -1.0).sum() == 15
    assert any("learning went on from step 32768" in note for note in log.notes)


@pytest.mark.parametrize("shuffle", [lambda lines: lines[::-1], lambda lines: lines[1::2] + lines[::2][::-1]])
def test_lines_out_of_order_are_sorted(read_lines, shuffle):
    log = read_lines(shuffle(sb3_lines(30)))
    assert log.n_updates == 29
    assert (np.diff(log.columns["env_steps"]) > 0).all()
    assert any("out of order" in note for note in log.notes)
    assert log.settings["n_epochs"] == 10


def test_entropies_of_continuous_actions_are_not_held_against_the_uniform_policy(read_lines):
    normal = 0.5 * np.log(2 * np.pi * np.e)
    cleanrl = [{"global_step": 512 * i, "losses/entropy": 2 * normal / i, "losses/approx_kl": 0.01} for i in (1, 2, 3)]
    log = read_lines(cleanrl)
    assert "entropy_normalized" not in log.columns
    assert "2 standard normal" in log.notes[0]
    discrete = [line | {"losses/entropy": np.log(4) / i} for i, line in enumerate(cleanrl, start=1)]
    np.testing.assert_allclose(read_lines(discrete).columns["entropy_normalized"], [1, 1 / 2, 1 / 3])
    discrete[1]["losses/entropy"] = 100.0  # one freak does not count
    np.testing.assert_allclose(read_lines(discrete).columns["entropy_normalized"], [1, 1, 1 / 3])
