"""What is printed is shown, never obeyed."""

from __future__ import annotations

import pytest
from rich.text import Text

from ppo_jax.analysis.conclusions import explain_p
from ppo_jax.cli.console import make_console, make_pairs, make_table, say, warn
from ppo_jax.cli.tables.sweep import show_sweep
from tests.cli.console import fail

ESCAPE = "a\x1b]0;owned\x9bz\u202eb"
SHOWN = r"a\x1b]0;owned\x9bz\u202eb"


def test_lines_tables_and_styled_text_are_legible(capsys):
    console = make_console()
    table = make_table("name", f">{ESCAPE}")
    table.add_row(ESCAPE, Text(ESCAPE, "bold"))
    for one in (ESCAPE, Text(ESCAPE, "red"), table, make_pairs({ESCAPE: ESCAPE})):
        console.print(one)
    say(f"first\n{ESCAPE}")
    warn(ESCAPE)
    out, err = capsys.readouterr()
    assert out.count(SHOWN) == 7 and not set("\x1b\x9b\u202e") & set(out)
    assert err == f"first\n{SHOWN}\nwarning: {SHOWN}\n"


def test_an_error_with_a_strange_path_is_one_legible_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fail("train", f"{ESCAPE}\n.toml").startswith(f"error: {SHOWN} .toml: no such file")
    assert fail("diagnose", "\udcff").startswith("error: \\udcff: no run there")


COMPARED = {"improvement": {"value": 0.9, "low": 0.6, "high": 1.0}, "p_value": 0.2, "verdict": "exploratory: better"}


@pytest.mark.parametrize("n_settings", [1, 2, 3])
def test_a_sweep_says_how_sure_its_comparisons_are_as_compare_does(n_settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    score = {"iqm": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    groups = [
        {"setting": {"gamma": 0.1 * i}, "members": 3, "scores": {"valid MRR": score | (COMPARED if i else {})}}
        for i in range(n_settings)
    ]
    record = {"groups": groups, "members": [{"name": "s0", "status": "completed"}], "seeds": [0, 1, 2]}
    record |= {"baseline": {"gamma": 0.0}, "programs": [], "compiles": 1, "seconds": 1.0}
    show_sweep(record, tmp_path)
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("0.2 exploratory: better") == n_settings - 1
    assert (explain_p([(3, 3)] * (n_settings - 1)) in out) == (n_settings > 1)
    assert "first, gamma=0." in out or n_settings == 1


@pytest.mark.parametrize(("n_settings", "enough"), [(1, None), (2, 4), (3, 5)])
def test_a_sweep_of_one_seed_says_how_many_would_suffice(n_settings, enough, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    score = {"iqm": 0.5, "low": None, "high": None, "n": 1}
    groups = [{"setting": {"gamma": 0.1 * i}, "members": 1, "scores": {"valid MRR": score}} for i in range(n_settings)]
    record = {"groups": groups, "members": [{"name": "s0", "status": "completed"}], "seeds": [0]}
    show_sweep(record | {"baseline": {"gamma": 0.0}, "programs": [], "compiles": 1, "seconds": 1.0}, tmp_path)
    out = " ".join(capsys.readouterr().out.split())
    assert ("Too few seeds to conclude" in out) == (enough is not None)
    assert enough is None or f"{enough} seeds each would suffice" in out


def test_a_sweep_shows_the_baselines_of_each_setting_where_they_differ(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    score = {"iqm": 30.0, "low": 20.0, "high": 40.0, "n": 3}

    def shown(*returns: float) -> list[str]:
        groups = [
            {
                "setting": {"env_params.gravity": float(i)},
                "members": 3,
                "scores": {"valid return": score, "test return": score},
                "baselines": {"random policy": {"test return": value}},
            }
            for i, value in enumerate(returns)
        ]
        record = {"groups": groups, "members": [{"name": "s0", "status": "completed"}], "seeds": [0, 1, 2]}
        record |= {"baseline": groups[0]["setting"], "programs": [], "compiles": 1, "seconds": 1.0}
        show_sweep(record, tmp_path)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines() if "random" in line]

    assert [line.split() for line in shown(9.5, 9.5)] == [["random", "policy", "9.500"]]
    assert [" ".join(line.split()) for line in shown(9.5, 12.0)] == [
        "random policy, env_params.gravity=0 9.500",
        "random policy, env_params.gravity=1 12.00",
    ]


def test_settings_of_a_sweep_can_be_told_apart_on_a_narrow_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    score = {"iqm": -150.123456, "low": -160.0, "high": -140.0, "n": 3}
    settings = [{"learning_rate.init": 3e-4, "network.state_dependent_std": std} for std in (False, True)]
    groups = [{"setting": one, "members": 3, "scores": {"valid return": score | COMPARED}} for one in settings]
    record = {"groups": groups, "members": [{"name": "s0", "status": "completed"}], "seeds": [0, 1, 2]}
    show_sweep(record | {"baseline": settings[0], "programs": [], "compiles": 1, "seconds": 1.0}, tmp_path)
    out = capsys.readouterr().out
    labels = "".join(line[:29].strip() for line in out.splitlines())
    assert "state_dependent_std=no" in labels and "state_dependent_std=yes" in labels and " -150.1 " in out
