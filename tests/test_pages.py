"""The pages do what they say: their Python runs, their commands are understood, their links lead somewhere.

Python runs as it stands, page by page from top to bottom, on fewer steps, in a folder of its own where the runs lie that
the page speaks of. Commands that only read such a run are run; all others are parsed, with their settings.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import ppo_jax
from ppo_jax.cli import main
from ppo_jax.cli.arguments import flat
from ppo_jax.cli.commands import COMMANDS
from ppo_jax.cli.parsing import parse
from tests.cli.console import succeed

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ("docs/reference/", "docs/changelog.md", "docs/examples.md")  # of the site, which checks them itself
PAGES = sorted(
    name
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if not (name := path.relative_to(ROOT).as_posix()).startswith(GENERATED)
)
MOST_LINES = 150  # three screens
SMALL = ("total_timesteps=256", "n_envs=4", "n_steps=32", "batch_size=64", "learning_rate=1e-3", "eval_episodes=4")
NOT_RUN = {  # the beginning of a snippet or of a command that is not a whole one, or needs what is not here
    "info = {": "a line of a step",
    "from ppo_jax.tasks.suites": "needs the extra pgx, and an opponent",
    "python -m ppo_jax.analysis": "tested where JAX is not, in tests/analysis",
    ".venv/bin/": "the environment that make makes",
    "pip install ppo_jax-": "a wheel",
}
READING = {"eval", "prove", "ask", "scores", "export", "diagnose", "compare", "data", "config", "init", "envs"}
KIN = """parent bo zoe; parent al zoe; parent bo max; parent cy eve; parent cy tim; sister ann bo; sister bea cy;
sister eve tim; aunt ann max; aunt bea eve; father al zoe"""


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page, "" for commands."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def with_blocks(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


def not_run(text: str) -> bool:
    return text.startswith(tuple(NOT_RUN))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Runs that pages read: of CartPole, with a memory, and over a graph of kin; a log of Stable-Baselines3."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "logs").mkdir()
    shutil.copy(ROOT / "tests" / "golden" / "sb3_healthy.csv", folder / "logs" / "progress.csv")
    kin = folder / "my_family"
    kin.mkdir()
    facts = (fact.split() for fact in KIN.split(";"))
    (kin / "train.txt").write_text("".join(f"{head}\t{relation}\t{tail}\n" for relation, head, tail in facts))
    (kin / "valid.txt").write_text("bea\taunt\ttim\n")
    (kin / "test.txt").write_text("ann\taunt\tzoe\n")
    (kin / "rules.txt").write_text("aunt(X,Y) :- sister(X,Z), parent(Z,Y).\nfather(X,Y) :- parent(X,Y).\n")
    runs = folder / "runs"
    succeed("train", "cartpole", "--run-dir", runs / "cartpole", "--set", *SMALL, "--quiet")
    succeed("train", "cartpole", "--run-dir", runs / "memory", "--set", *SMALL, "core=gru", "--quiet")
    graph = (f"dataset={kin}", "embedding_size=8", "hidden_sizes=[8]", "beam_width=4", "max_depth=4")
    succeed("train", "family", "--run-dir", runs / "family", "--set", *SMALL, *graph, "--quiet")
    succeed("export", runs / "cartpole", "--out", folder / "policy.jaxexport")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Iterator[Path]:
    """The working directory of a page, with links to what was made."""
    for path in made.iterdir():
        if path.name != "runs":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return tmp_path


def lay_out(made: Path, here: Path, text: str) -> None:
    """Copy the runs that `text` reads and does not make."""
    for run in (made / "runs").iterdir():
        if re.search(rf"(load_\w+\(\"|\b)runs/{run.name}\b", text) and not (here / "runs" / run.name).exists():
            shutil.copytree(run, here / "runs" / run.name)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_the_python_of_a_page(page, made, here, monkeypatch):
    load = ppo_jax.load_config
    monkeypatch.setattr(ppo_jax, "load_config", lambda name, more=(): load(name, [*more, *SMALL]), raising=False)
    code = "\n".join(block for block in blocks(page, "python") if not not_run(block))
    if "load_" in code.replace("load_config", ""):
        lay_out(made, here, code)
    names = {"observation": jnp.zeros(4), "observations": jnp.zeros((3, 4)), "key": jax.random.key(0)}
    exec(compile(code, page, "exec"), names)
    for name in ("metrics", "answer", "actions"):
        if name in names:
            assert jax.tree.leaves(names[name]), name


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
    lay_out(made, here, " ".join(arguments))
    paths = [word for word in arguments if re.match(r"(runs|logs)/|my_", word)]
    if name in READING and "-" not in arguments and all((here / path).exists() for path in paths):
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
