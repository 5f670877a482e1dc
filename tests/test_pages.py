"""The pages do what they say: their Python runs, their commands are understood, their links lead somewhere.

Python runs as it stands, page by page from top to bottom, on fewer steps, in a folder of its own with the runs that the
page speaks of. Commands that only read such a run are run; all others are parsed, with their settings.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import ppo_jax
from ppo_jax import ppo
from ppo_jax.cli import main
from ppo_jax.cli.arguments import flat
from ppo_jax.cli.commands import COMMANDS
from ppo_jax.cli.parsing import parse
from tests.cli.console import succeed, write_data

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ("docs/reference/", "docs/changelog.md")  # of the site, which checks them itself
PAGES = sorted(
    name
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if not (name := path.relative_to(ROOT).as_posix()).startswith(GENERATED)
)
MOST_LINES = 150  # three screens
SMALL = (
    *("total_timesteps=256", "n_envs=4", "n_steps=32", "batch_size=64", "learning_rate=1e-3", "eval_episodes=4"),
    "eval_interval=0",
)
NOT_RUN = {  # the beginning of a snippet or of a command that is not a whole one, or needs what is not here
    "info = {": "a line of a step",
    "import ppo_jax\n\nprover =": "run in tests/cli/test_answers.py, where there is a prover",
    "from ppo_jax.tasks.suites": "needs the extra pgx, and an opponent",
    "python -m ppo_jax.analysis": "tested where JAX is not, in tests/analysis",
    ".venv/bin/": "the environment that make makes",
    "pip install ppo_jax-": "a wheel",
}
RUNS = {"cartpole": (), "memory": ("core=gru",)}  # of CartPole
READING = {"eval", "prove", "ask", "scores", "export", "diagnose", "compare", "data", "config", "init"}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page, "" for commands."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [block for name, block in fenced if name == language]


def with_blocks(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


def not_run(text: str) -> bool:
    return text.startswith(tuple(NOT_RUN))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a log of Stable-Baselines3 and a small graph; `lay_out` adds runs where a page speaks of them."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "logs").mkdir()
    shutil.copy(ROOT / "tests" / "golden" / "sb3_healthy.csv", folder / "logs" / "progress.csv")
    write_data(folder / "my_family")
    return folder


def make_run(made: Path, name: str) -> Path:
    folder = made / "runs" / name
    if not folder.exists():
        succeed("train", "cartpole", "--run-dir", folder, "--quiet", "--set", *SMALL, *RUNS[name])
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Iterator[Path]:
    """The working directory of a page."""
    for name in ("logs", "my_family"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return tmp_path


def lay_out(made: Path, here: Path, text: str) -> None:
    """Copy the runs that `text` reads, and export the policy that it loads."""
    for name in RUNS:
        if re.search(rf"\bruns/{name}\b", text) and not (here / "runs" / name).exists():
            shutil.copytree(make_run(made, name), here / "runs" / name)
    if '"policy.jaxexport"' in text:
        succeed("export", make_run(made, "cartpole"), "--out", here / "policy.jaxexport")


@pytest.mark.parametrize("page", with_blocks("python"))
def test_the_python_of_a_page(page, made, here, monkeypatch):
    load = ppo_jax.load_config
    monkeypatch.setattr(ppo_jax, "load_config", lambda *given: load(*given).override(SMALL), raising=False)
    code = "\n".join(block for block in blocks(page, "python") if not not_run(block))
    if re.search(r"load_policy\(", code):
        lay_out(made, here, code)
    names = {"observation": jnp.zeros(4), "observations": jnp.zeros((3, 4)), "key": jax.random.key(0)}
    exec(compile(code, page, "exec"), names)
    if page in CHECKS:
        CHECKS[page](names)


def entropies_side_by_side(names: dict[str, Any]) -> None:
    assert names["states"].step.shape == (3,)
    assert names["metrics"]["ent_coef"][:, 0].tolist() == pytest.approx([0.0, 0.01, 0.1])


def seeds_side_by_side(names: dict[str, Any]) -> None:
    assert names["states"].step.tolist() == [2] * 8
    assert len({float(loss) for loss in names["metrics"]["policy_loss"][:, -1]}) == 8


def losses_optimizer_and_hook(names: dict[str, Any]) -> None:
    rows = [json.loads(line) for line in Path("runs/huber/metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(row["huber_loss"]) for row in rows)
    assert names["experiment"].trainer.optimizer is names["optimizer"]
    assert float(names["state"].learner.opt_state.hyperparams["learning_rate"]) == pytest.approx(1e-3)
    assert names["summary"]["status"] == "completed" and Path("runs/heavier/summary.json").exists()
    trainer, _ = names["heavier"](names["experiment"].trainer, names["state"])
    assert trainer.env_params.gravity == pytest.approx(9.8 + 0.01)
    assert math.isfinite(float(names["metrics"]["policy_loss"])) and int(names["state"].step) == 1


def walks_end(names: dict[str, Any]) -> None:
    experiment, hyperparams = names["experiment"], names["config"].hyperparams
    state, metrics = jax.jit(ppo.train)(experiment.trainer, jax.random.key(0), hyperparams)
    assert int(state.step) == 2 and jnp.all(jnp.isfinite(metrics["policy_loss"]))
    assert float(metrics["episodes"].sum()) > 0


def carries_of_own_network(names: dict[str, Any]) -> None:
    assert names["config"].sequence_length == 16
    assert names["state"].rollout.carry.shape == (4, 32)


def actions_with_and_without_memory(names: dict[str, Any]) -> None:
    assert names["actions"].shape == (3,) and names["action"].shape == ()
    assert jax.tree.leaves(names["carry"])[0].shape == (64,)


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "README.md": entropies_side_by_side,
    "docs/start/first_run.md": seeds_side_by_side,
    "docs/start/from_purejaxrl.md": seeds_side_by_side,
    "docs/how_to/change_the_algorithm.md": losses_optimizer_and_hook,
    "docs/how_to/environments.md": walks_end,
    "docs/how_to/networks.md": carries_of_own_network,
    "docs/how_to/use_a_policy.md": actions_with_and_without_memory,
}


def commands(page: str) -> list[str]:
    """The commands of a page, without comments and prompts; a line that ends with a backslash goes on."""
    lines = "".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s+#.*", "", line).strip())]


@pytest.mark.parametrize("page", with_blocks(""))
def test_the_commands_of_a_page(page, made, here):
    for command in commands(page):
        if not not_run(command):
            words = shlex.split(command)
            check_command(words, made, here)


def check_command(words: list[str], made: Path, here: Path) -> None:
    match words:
        case ["ppo-jax", *arguments]:
            check_own(arguments, made, here)
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), script
        case ["pip", "install", package]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert package.removeprefix("ppo-jax[").removesuffix("]") in extras, package
        case _:
            raise AssertionError(f"no way to check {words}")


def check_own(arguments: list[str], made: Path, here: Path) -> None:
    """Parse a command and its settings; run it where it only reads what is there."""
    name = next(" ".join(arguments[:n]) for n in (2, 1) if " ".join(arguments[:n]) in COMMANDS)
    command = parse(COMMANDS[name], arguments[len(name.split()) :], f"ppo-jax {name}")
    if name in ("train", "sweep", "tune") and not str(command.config).endswith(".toml"):
        ppo_jax.load_config(str(command.config), flat(command.assignments))
    if name in READING:
        lay_out(made, here, " ".join(arguments))
        if all((here / word).exists() for word in arguments if re.match(r"(runs|logs)/|my_|queries|-$", word)):
            assert main(arguments) in (0, 1), arguments


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_within_sentences(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`ppo-jax ([a-z][^`]*)`", text):
        words = code.split()
        assert words[0] in COMMANDS or " ".join(words[:2]) in COMMANDS, code


@pytest.mark.parametrize("page", with_blocks("toml"))
def test_the_settings_of_a_page(page, here):
    for block in blocks(page, "toml"):
        for section, settings in tomllib.loads(block).items():
            if section == "trusted_modules":
                continue
            first = {key: searched(value) for key, value in settings.items()} if section == "search" else settings
            ppo_jax.load_config("cartpole").override(first)


def searched(space: dict) -> object:
    """A value that a table [search] may try."""
    if "init" in space:
        return {"init": space["init"]["low"], "final": 0.0}
    return space.get("low", space.get("choices", [None])[0])


def anchors(path: Path) -> set[str]:
    """Of the headings of a page, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        name = path.resolve().relative_to(ROOT).as_posix()
        if not (target.startswith("https://") or name.startswith(GENERATED)):
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target


def test_no_page_is_longer_than_three_screens():
    lengths = {page: len((ROOT / page).read_text(encoding="utf-8").splitlines()) for page in PAGES}
    assert {page: n for page, n in lengths.items() if n > MOST_LINES} == {}


def test_figures_are_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs").glob("**/*.png")}
    assert sizes["learning.png"] < 300_000 and sum(sizes.values()) < 5_000_000
