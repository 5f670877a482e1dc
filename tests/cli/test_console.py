"""What is printed is shown, never obeyed."""

from __future__ import annotations

from rich.text import Text

from ppo_jax.cli.console import make_console, make_pairs, make_table, say, warn
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
