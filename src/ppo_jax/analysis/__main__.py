"""``python -m ppo_jax.analysis LOG`` is ``ppo-jax diagnose LOG``, with next to nothing imported.

It reads a log with numpy, msgspec, tomlkit and rich alone, so it works where JAX is not installed, and answers at
once. What draws or compares is in ``ppo-jax``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ppo_jax.analysis.diagnose import diagnose
from ppo_jax.analysis.readers import check_settings, read
from ppo_jax.cli.console import print_json, say
from ppo_jax.cli.errors import explain
from ppo_jax.cli.streams import prepare_streams
from ppo_jax.cli.tables.analyse import show_diagnosis
from ppo_jax.config.toml import parse_assignment


def main() -> int:
    """Diagnose one log; returns the exit code, 1 where a finding is an error."""
    about = "Say what is wrong with a run, why, and what to change: `ppo-jax diagnose` without JAX."
    parser = argparse.ArgumentParser(prog="python -m ppo_jax.analysis", description=about)
    parser.add_argument("log", type=Path, help="a run folder, the log of another trainer, - for a pipe")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="what the log lacks")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    log = read(given.log, check_settings(dict(map(parse_assignment, given.set))))
    diagnosis = diagnose(log)
    if given.json:
        print_json(diagnosis.to_dict())
    else:
        for note in log.notes:
            say(f"note: {log.name}: {note}")
        show_diagnosis(log.name, diagnosis)
    return int(diagnosis.has_error)


if __name__ == "__main__":
    prepare_streams()
    try:
        code = main()
    except BaseException as error:
        code = explain(error)
    raise SystemExit(code)
