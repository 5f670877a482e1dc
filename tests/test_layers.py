"""The order of imports between modules, what each may never import, and how long a file may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "ppo_jax"

# Lower rows first. A module imports rows above its own and, within its row, only what stands before it here. A package
# stands for its modules, which the second table orders, and at last its __init__.py.
ROWS = (
    ("types", "parsing", "sections", "config", "schedules", "metrics", "programs"),
    ("distributions", "networks", "logic", "envs"),
    ("reductions", "permutation", "groups", "normalization", "diagnostics", "optimizer", "ppo"),
    ("evaluation",),
    ("checkpoint", "processor"),
    (
        *("experiment", "run_folder", "distributed", "interrupts", "journal", "training", "runner"),
        *("grid", "members", "sweep", "policy", "export", "play", "bench"),
    ),
    ("analysis",),
    (
        *(
            "present",
            "present_analysis",
            "present_bench",
            "tuning",
            "cli_shared",
            "cli_sweep",
            "cli_runs",
            "cli_policy",
        ),
        *("cli_analysis", "cli_bench", "cli", "__main__"),
    ),
)
PACKAGES = {
    "networks": ("mlp", "proof"),
    "logic": ("kb", "countries", "datasets", "index", "resolution", "sampling"),
    "envs": ("proof", "gymnax", "drawing", "wrappers"),
    "evaluation": ("episodes", "ranking", "derivations", "search", "proofs", "explain", "protocol"),
    "analysis": (
        *("logs", "view", "rules_critic", "rules_policy", "rules_task", "diagnose"),
        *("statistics", "validate", "compare", "reading", "axes", "figures", "sweeps", "trees", "document", "report"),
    ),
}
ORDER = [
    module
    for row in ROWS
    for name in row
    for module in (*(f"{name}.{child}" for child in PACKAGES.get(name, ())), name)
]

JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex", "gymnax"}
NUMERICS = JAX | {"numpy", "scipy"}
INPUT_OUTPUT = {
    *("csv", "io", "json", "logging", "os", "pathlib", "pickle", "shutil", "socket", "subprocess", "sys", "tempfile"),
    *("tomlkit", "tomllib", "orbax", "rich", "tensorboardX", "wandb", "matplotlib", "open", "print"),
}
# A ban on a package holds for all of its modules, and one laid on a package binds all of its modules. Names are those
# of ppo_jax's modules ("ppo_jax.envs"), of other libraries ("jax"), or of the built-in functions that do I/O.
BANS = {
    "types": JAX,
    "parsing": JAX | {"ppo_jax.envs", "ppo_jax.networks"},
    "sections": JAX | {"ppo_jax.envs", "ppo_jax.networks"},
    "config": JAX | {"ppo_jax.envs", "ppo_jax.networks"},
    "schedules": {"ppo_jax.ppo"},
    "programs": {"ppo_jax.ppo", "ppo_jax.envs", "ppo_jax.networks"},
    "distributions": {"ppo_jax.config", "ppo_jax.envs"},
    "networks": {"ppo_jax.envs", "ppo_jax.logic", "ppo_jax.ppo"},
    "logic": {"ppo_jax.networks", "ppo_jax.ppo", "ppo_jax.envs"},
    "logic.kb": JAX,
    "envs": {"ppo_jax.networks", "ppo_jax.ppo"},
    "reductions": INPUT_OUTPUT | {"ppo_jax.envs", "ppo_jax.networks"},
    "groups": INPUT_OUTPUT | {"ppo_jax.envs", "ppo_jax.networks"},
    "normalization": INPUT_OUTPUT | {"ppo_jax.envs", "ppo_jax.networks"},
    "diagnostics": INPUT_OUTPUT | {"ppo_jax.envs", "ppo_jax.networks"},
    "optimizer": INPUT_OUTPUT | {"ppo_jax.envs", "ppo_jax.networks"},
    "ppo": INPUT_OUTPUT | {"ppo_jax.envs", "ppo_jax.networks"},
    "evaluation": INPUT_OUTPUT | {"optax", "ppo_jax.ppo"},
    "checkpoint": {"ppo_jax.ppo", "ppo_jax.envs"},
    "processor": {"ppo_jax.ppo", "ppo_jax.envs"},
    "metrics": {"ppo_jax.ppo", "ppo_jax.envs"},
    "experiment": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "run_folder": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "interrupts": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "journal": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "training": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "runner": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "grid": JAX,
    "members": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "policy": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "export": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "play": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "bench": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "sweep": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "distributed": {"ppo_jax.cli", "ppo_jax.analysis.report"},
    "analysis": JAX | {"ppo_jax.ppo", "ppo_jax.envs"},
    "cli": NUMERICS,
    "cli_shared": NUMERICS,
    "cli_policy": NUMERICS,
    "cli_analysis": NUMERICS,
    "cli_bench": NUMERICS,
    "cli_runs": NUMERICS,
    "cli_sweep": NUMERICS,
}

MAX_LINES = 400
MAX_LINES_OF = {"ppo": 350}


def module_name(path: Path) -> str:
    """``logic.kb`` for logic/kb.py, ``logic`` for logic/__init__.py, the empty string for the top level's."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
MODULES = [name for name in FILES if name]  # the top-level __init__.py may import everything lazily


def walk(node: ast.AST, inside_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `node`, with whether it runs only when a function is called."""
    for child in ast.iter_child_nodes(node):
        yield child, inside_function
        yield from walk(child, inside_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(module: str, tree: ast.AST, is_package: bool) -> Iterator[tuple[str, int, bool]]:
    """Dotted name, line and whether inside a function of all that `tree` imports, relative imports made absolute.

    ``from a import b`` gives ``a.b``, whether b is a module or a name in one; `known` tells these apart.
    """
    parents = ["ppo_jax", *module.split(".")]
    for node, inside_function in walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, inside_function
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = parents[: len(parents) - node.level + is_package] + base
            for alias in node.names:
                yield ".".join([*base, alias.name]), node.lineno, inside_function


def known(target: str) -> str | None:
    """The module of the table that the import ``ppo_jax.…`` reaches, or None for the top-level package itself."""
    parts = target.split(".")[1:]
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in ORDER), None)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """One line for each import of `source`, the text of `module`, that the tables above do not allow."""
    if module not in ORDER:
        return [f"{module} stands in no row: give it a place in ROWS or PACKAGES of {Path(__file__).name}"]
    tree = ast.parse(source)
    banned = {name for owner, names in BANS.items() if within(module, owner) for name in names}
    found = []
    for target, line, inside_function in imports(module, tree, is_package):
        place = f"{module}, line {line}: {target}"
        if within(target, "ppo_jax"):
            imported = known(target)
            if imported is None:
                if target != "ppo_jax.__version__":
                    found.append(f"{place} is no module of the table")
            elif ORDER.index(imported) >= ORDER.index(module):
                found.append(f"{place} does not stand before {module}")
        elif within(target, "gymnax") and module not in ("envs.gymnax", "envs.drawing"):
            found.append(f"{place} is for envs.gymnax and envs.drawing alone to import")
        elif within(target, "gymnax") and not inside_function:
            found.append(f"{place} takes seconds to import: do it inside the functions that need it")
        found += [f"{place} is banned here ({name})" for name in sorted(banned) if within(target, name)]
    for node, _ in walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in banned:
            found.append(f"{module}, line {node.lineno}: a call of {node.func.id}() is banned here")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_the_order_of_the_layers(module):
    path = FILES[module]
    assert violations(module, path.read_text(encoding="utf-8"), path.name == "__init__.py") == []


@pytest.mark.parametrize("module", FILES)
def test_no_file_outgrows_one_sitting(module):
    lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES_OF.get(module, MAX_LINES), f"{FILES[module].name} has {lines} lines"


def test_the_tables_name_each_module_once():
    assert MODULES, f"no modules under {SOURCE}"
    assert len(set(ORDER)) == len(ORDER)
    assert set(PACKAGES) | set(BANS) <= set(ORDER)
    assert {name.removeprefix("ppo_jax.") for names in BANS.values() for name in names if "." in name} <= set(ORDER)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("schedules", "from ppo_jax import types, config"),
        ("runner", "from ppo_jax import __version__"),
        ("envs.proof", "from ppo_jax.logic.kb import parse\nfrom ..logic import index"),
        ("envs.gymnax", "def make():\n    import gymnax"),
        ("evaluation.proofs", "import jax\nfrom . import ranking"),
        ("cli", "def main():\n    from ppo_jax import runner\n    print(runner)"),
    ],
)
def test_what_the_order_allows(module, source):
    assert violations(module, source) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("newcomer", "", "stands in no row"),
        ("logic.newcomer", "", "stands in no row"),
        ("types", "import ppo_jax.config", "does not stand before"),
        ("config", "def f():\n    from .schedules import g", "does not stand before"),
        ("logic.kb", "from ppo_jax.logic import index", "does not stand before"),
        ("logic.kb", "from . import nothing", "does not stand before"),  # the package's own __init__
        ("logic.kb", "from ..envs import proof", "does not stand before"),
        ("envs.proof", "from ppo_jax.networks.mlp import MLP", r"banned here \(ppo_jax.networks\)"),
        ("evaluation.proofs", "from ppo_jax import ppo", r"banned here \(ppo_jax.ppo\)"),
        ("evaluation.proofs", "import optax", r"banned here \(optax\)"),
        ("config", "from jax import numpy", r"banned here \(jax\)"),
        ("cli", "import numpy as np", r"banned here \(numpy\)"),
        ("ppo", "import json", r"banned here \(json\)"),
        ("ppo", "print(1)", r"a call of print\(\) is banned"),
        ("runner", "import gymnax", "for envs.gymnax and envs.drawing alone"),
        ("envs.gymnax", "from gymnax.environments import spaces", "inside the functions"),
        ("envs.gymnax", "class A:\n    import gymnax", "inside the functions"),
        ("runner", "import ppo_jax", "no module of the table"),
        ("runner", "from ppo_jax import newcomer", "no module of the table"),
    ],
)
def test_what_the_order_forbids(module, source, complaint):
    with pytest.raises(AssertionError, match=complaint):
        assert violations(module, source) == []


def test_a_package_may_import_its_own_modules():
    assert violations("logic", "from . import kb\nfrom .index import Index", is_package=True) == []
    assert "does not stand before" in violations("logic", "from ..envs import proof", is_package=True)[0]
