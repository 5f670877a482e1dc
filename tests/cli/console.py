"""Commands as a user types them, in this process, and a small data set for them."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from ppo_jax.cli import main

# Two islands of places that lie near each other; one of the queries of train is also one of valid.
PLACES = {
    "train.txt": "\n".join(
        [f"near({a},{b}).\nnear({b},{a})." for a, b in ("ab", "bc", "cd", "de", "xy", "yz")]
        + [f"in({place},{island})." for place, island in ("an", "bn", "dn", "en", "xs", "ys")]
    ),
    "valid.txt": "in(c,n).\nin(e,n).\n",
    "test.txt": "in(c,n).\nin(z,s).\n",
    "rules.txt": "r1:1:near(X,Y), in(Y,Z) -> in(X,Z)\n",
    "domain2constants.txt": "places a b c d e x y z\nislands n s\n",
}


class Result(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def succeed(*arguments) -> str:
    result = call(*arguments)
    assert result.code == 0, result
    return result.out


def fail(*arguments) -> str:
    """The one line that a mistake gets."""
    result = call(*arguments)
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    return result.err


def fields_of(value, told, path: str = "") -> set[str]:
    """The fields of JSON data, written as those of `told`; what is in one of these is not looked at."""
    if path in told or not isinstance(value, dict | list):
        return {path}
    parts = value.items() if isinstance(value, dict) else (("[]", one) for one in value)
    inner = (fields_of(one, told, f"{path}.{name}".replace(".[]", "[]").removeprefix(".")) for name, one in parts)
    return set().union(*inner)


def write_data(folder: Path, **changes: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in (PLACES | {f"{name}.txt": text for name, text in changes.items()}).items():
        (folder / name).write_text(text)
    return folder


def read_summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())
