"""Commands as a user types them, in this process."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

from ppo_jax.cli import main


def call(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def fail(*arguments: object) -> str:
    """The one line that a mistake gets."""
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
    assert err.startswith("error: ")
    return err
