"""CSV logs: of several trainers, exported, saved again, cut off."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_jax.analysis.readers import csv_table, read, updates
from ppo_jax.types import PPOJaxError
from tests.analysis.readers.logs import sb3_lines, to_csv, write

LINES = sb3_lines(12, train__std=1.0)
TEXT = to_csv(LINES)


@pytest.fixture
def read_text(tmp_path):
    return lambda text: read(write(tmp_path / "log.csv", text))


@pytest.fixture
def plain(read_text):
    return read_text(TEXT)


def assert_same(log, plain) -> None:
    assert log.settings == plain.settings
    assert log.columns.keys() == plain.columns.keys()
    for name, column in plain.columns.items():
        np.testing.assert_array_equal(log.columns[name], column, err_msg=name)


def aligned(text: str) -> str:
    """As a data frame is printed: no cell empty."""
    return "\n".join("  ".join(f"{cell or 'NaN':>12}" for cell in line.split(",")) for line in text.splitlines())


@pytest.mark.parametrize(
    "saved",
    [
        to_csv(LINES, ";"),
        to_csv(LINES, "\t"),
        to_csv(LINES, " "),
        to_csv(LINES, ";").replace(".", ","),  # a decimal comma
        aligned(TEXT),
        TEXT.replace(",", ", "),
        "sep=;\n" + to_csv(LINES, ";"),
        "# saved by hand\n\n" + TEXT,
        "Here is my progress.csv, what is wrong?\n```csv\n" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r\r\n"),
        TEXT.replace("\n", "\n\n"),
        TEXT.rstrip("\n"),
        TEXT.replace("\n", ",\n"),  # a comma at the end of each line
        "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in TEXT.splitlines()),
        "\n".join(f"{i - 1 if i else ''},{line}" for i, line in enumerate(TEXT.splitlines())),  # pandas' index
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        to_csv(LINES, "\t").encode("utf-16"),  # Excel's "Unicode text"
    ],
)
def test_files_saved_again_are_read_the_same(read_text, plain, saved):
    log = read_text(saved)
    assert_same(log, plain)
    assert log.notes == ()


def test_latin_1(read_text, plain):
    lines = TEXT.splitlines()
    text = "\n".join([lines[0] + ",train/déjà_vu", *(line + ",0" for line in lines[1:])])
    assert_same(read_text(text.encode("latin-1")), plain)


def test_a_second_header(read_text, plain):
    lines = TEXT.splitlines()
    log = read_text("\n".join([*lines[:6], lines[0], *lines[6:]]))
    assert_same(log, plain)
    assert log.notes == ("log.csv:7: the header again",)


def test_a_second_header_with_other_columns(read_text, plain):
    names = TEXT.splitlines()[0].split(",")
    other = [dict(reversed(line.items())) for line in LINES[5:]]
    log = read_text(to_csv(LINES[:5]) + to_csv(other))
    assert_same(log, plain)
    assert list(other[0]) != names


def test_lines_longer_and_shorter_than_the_header(read_text, plain):
    lines = TEXT.splitlines()
    lines[4] += ",7"
    lines[6] += ",8"
    log = read_text("\n".join(lines))
    assert_same(log, plain)
    assert log.notes == ("log.csv:5: longer than the header; what is beyond it is left out (and in 1 more lines)",)
    lines = TEXT.splitlines()
    lines[5] = lines[5].rsplit(",", 2)[0]
    log = read_text("\n".join(lines))
    assert log.notes == ("log.csv:6: shorter than the header; read as far as it goes",)
    assert np.isnan(log.columns["action_std"]).sum() == 1
    np.testing.assert_array_equal(log.columns["approx_kl"], plain.columns["approx_kl"])


def test_a_number_that_was_cut_is_not_read(read_text, plain):
    log = read_text(TEXT.replace("0.0003", "0.00035")[:-6])
    assert "log.csv:13: cut off" in log.notes[0] or log.n_updates == plain.n_updates
    text = TEXT[: TEXT.rindex("0.8") + 2]  # "0." of an explained variance of 0.8
    log = read_text(text)
    assert log.notes == ("log.csv:13: cut off; read as far as it goes",)
    assert np.isnan(log.columns["explained_variance"][-1])


def test_lines_that_do_not_fit_the_header_are_not_guessed_at(read_text):
    lines = TEXT.splitlines()
    with pytest.raises(PPOJaxError, match="most lines have more cells than the header"):
        read_text("\n".join([lines[0], *(f"{i},{line}" for i, line in enumerate(lines[1:]))]))


def test_words_among_the_numbers_are_no_numbers(read_text):
    lines = TEXT.splitlines()
    lines[3] = lines[3].replace("0.01", "None", 1).replace("0.8", "N/A")
    log = read_text("\n".join([*lines, "Traceback (most recent call last):", '  File "train.py", line 3']))
    assert log.n_updates == 11
    assert np.isfinite(log.columns["approx_kl"]).sum() == 10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        (TEXT.splitlines()[0] + "\n", "below its header is nothing"),
        ("\n".join(TEXT.splitlines()[:2]), r"no line with train/\* columns"),
        ("a,b\n1,2\n", r"no line with train/\* columns"),
        ("<html><body>404</body></html>", "read are: SB3's progress.csv"),
        (bytes(range(256)) * 20, "read are: SB3's progress.csv"),
        ("Name,State,Created,train/approx_kl\nrun-1,finished,2024,0.01\n", "W&B's table of runs"),
    ],
)
def test_what_is_no_log_gets_one_line(read_text, text, why):
    with pytest.raises(PPOJaxError, match=why) as error:
        read_text(text)
    assert "\n" not in str(error.value)


def test_the_csv_of_baselines_and_sb2(read_text):
    line = {"approxkl": 0.05, "clipfrac": 0.2, "ep_len_mean": 150, "ep_reward_mean": 11.0, "explained_variance": -0.2}
    line |= {"fps": 800, "policy_entropy": 1.28, "policy_loss": -0.01, "value_loss": 41.0}
    sb2 = [line | {"n_updates": i, "serial_timesteps": 128 * i, "total_timesteps": 1024 * i} for i in range(1, 20)]
    log = read_text(to_csv(sb2))
    assert (log.trainer, log.n_updates, log.settings["rollout_size"]) == ("baselines", 19, 1024)
    np.testing.assert_allclose(log.columns["value_loss"], 82.0)  # half the squared error is what they log
    np.testing.assert_allclose(log.columns["entropy"], 1.28)
    np.testing.assert_allclose(log.columns["episode_return_mean"], 11.0)
    assert "n_epochs" not in log.settings  # n_updates counts updates there
    names = {"approxkl": "loss/approxkl", "clipfrac": "loss/clipfrac", "policy_entropy": "loss/policy_entropy"}
    names |= {"value_loss": "loss/value_loss", "policy_loss": "loss/policy_loss", "n_updates": "misc/nupdates"}
    names |= {"explained_variance": "misc/explained_variance", "total_timesteps": "misc/total_timesteps"}
    names |= {"ep_reward_mean": "eprewmean", "ep_len_mean": "eplenmean"}
    newer = read_text(to_csv([{names.get(key, key): value for key, value in one.items()} for one in sb2]))
    assert_same(newer, log)


def rllib_line(i: int) -> dict[str, object]:
    policy = "info/learner/default_policy/learner_stats/"
    numbers = {
        "kl": 0.01,
        "entropy": 1.0,
        "vf_explained_var": 0.6,
        "vf_loss": 3.0,
        "policy_loss": -0.02,
        "cur_lr": 5e-5,
    }
    counts = {"training_iteration": i, "timesteps_total": 4000 * i, "episode_reward_mean": 20.0 + i}
    return {**counts, "episode_len_mean": 30.0, **{policy + name: value for name, value in numbers.items()}}


def test_the_csv_of_rllib(read_text):
    log = read_text(to_csv([rllib_line(i) for i in range(1, 15)]))
    assert (log.trainer, log.n_updates, log.settings["rollout_size"]) == ("rllib", 14, 4000)
    assert log.settings["learning_rate"] == 5e-5
    for name, value in {"approx_kl": 0.01, "entropy": 1.0, "explained_variance": 0.6, "value_loss": 3.0}.items():
        np.testing.assert_allclose(log.columns[name], value)
    np.testing.assert_allclose(log.columns["episode_return_mean"], 20.0 + np.arange(1, 15))


def test_several_policies_of_rllib(read_text):
    lines = []
    for i in range(1, 5):
        line = rllib_line(i)
        lines.append({name.replace("default_policy", "red"): value for name, value in line.items()})
        lines[-1] |= {name.replace("default_policy", "blue"): 9.0 for name in line if "default_policy" in name}
    log = read_text(to_csv(lines))
    np.testing.assert_allclose(log.columns["approx_kl"], 0.01)
    assert "several policies learn here (red, blue); read is red" in log.notes


def cleanrl_lines(n: int) -> list[dict]:
    """Exported from W&B: a line for each episode and for each update."""
    lines: list[dict] = []
    for i in range(1, n + 1):
        lines += [{"global_step": 512 * i - back, "charts/episodic_return": 10.0 * i + back} for back in (300, 100)]
        losses = {
            "losses/value_loss": 3.0,
            "losses/policy_loss": -0.01,
            "losses/entropy": 0.6,
            "losses/approx_kl": 0.01,
        }
        losses |= {"losses/clipfrac": 0.1, "losses/explained_variance": 0.9, "charts/learning_rate": 1e-3 / i}
        lines.append({"global_step": 512 * i, **losses})
    return [{"_step": i, "_runtime": 2 * i, "_timestamp": 1.7e9 + i, **line} for i, line in enumerate(lines)]


def test_the_history_that_wandb_exports_of_cleanrl(read_text):
    log = read_text(to_csv(cleanrl_lines(12)))
    assert (log.trainer, log.n_updates, log.settings["rollout_size"]) == ("cleanrl", 12, 512)
    np.testing.assert_allclose(log.columns["episode_return_mean"], 200.0 + 10.0 * np.arange(1, 13))
    np.testing.assert_allclose(log.columns["value_loss"], 6.0)
    assert log.settings["learning_rate"]["init"] > log.settings["learning_rate"]["final"]
    filled = to_csv(cleanrl_lines(12)).replace(",,", ",NaN,").replace(",,", ",NaN,").replace(",\n", ",NaN\n")
    assert_same(read_text(filled), log)


def test_the_history_that_wandb_exports_of_sb3(read_text):
    lines = [{name: x for name, x in line.items() if not name.startswith("time/")} for line in LINES]
    lines = [{"_step": i, "global_step": 2048 * (i + 1), "time/fps": 900.0, **line} for i, line in enumerate(lines)]
    log = read_text(to_csv(lines))
    assert (log.trainer, log.settings["n_epochs"], log.settings["rollout_size"]) == ("sb3", 10, 2048)
    np.testing.assert_allclose(log.columns["env_steps"], 2048.0 * np.arange(2, 13))


def test_charts_that_wandb_exports(read_text):
    header = [
        f'"Step","a - b - train/{name}","a - b - train/{name}__MIN","a - b - train/{name}__MAX"' for name in ("x",)
    ]
    text = header[0].replace("train/x", "train/explained_variance") + "\n"
    log = read_text(text + "".join(f'"{2048 * i}","0.5","0.4","0.6"\n' for i in range(1, 9)))
    np.testing.assert_allclose(log.columns["explained_variance"], 0.5)
    assert log.columns["env_steps"][-1] == 8 * 2048
    with pytest.raises(PPOJaxError, match=r"2 runs side by side \(first, second\)"):
        read_text('"Step","first - train/approx_kl","second - train/approx_kl"\n"1","0.1","0.2"\n')


@pytest.mark.parametrize("odd", [None, "nan", "", "text", '"3"', "1,2", "3\n\n3"])
@pytest.mark.parametrize("at", [3, 40, 59])
def test_lines_read_in_blocks_are_those_read_one_by_one(read_text, monkeypatch, odd, at):
    lines = to_csv(sb3_lines(60)).splitlines()
    if odd is not None:
        lines[at] = lines[at].rsplit(",", 1)[0] + f",{odd}"
    text = "\n".join(lines) + "\n"
    monkeypatch.setattr(csv_table, "BLOCK", 2)  # too few to be taken at once
    one_by_one = read_text(text)
    monkeypatch.setattr(csv_table, "BLOCK", 7)
    in_blocks = read_text(text)
    assert in_blocks.notes == one_by_one.notes and in_blocks.settings == one_by_one.settings
    assert in_blocks.columns.keys() == one_by_one.columns.keys()
    for name, column in one_by_one.columns.items():
        np.testing.assert_array_equal(in_blocks.columns[name], column)


def test_plain_lines_are_read_in_blocks(read_text, monkeypatch):
    taken, add_rows = [], updates.Updates.add_rows
    monkeypatch.setattr(csv_table, "BLOCK", 7)
    monkeypatch.setattr(updates.Updates, "add_rows", lambda *given: taken.append(add_rows(*given)) or taken[-1])
    read_text(to_csv(sb3_lines(60)))
    assert sum(taken) == 7
