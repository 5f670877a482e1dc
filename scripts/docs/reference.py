"""The pages of the reference, made of the code: a function a page, which returns Markdown."""

from __future__ import annotations

import html
import inspect
import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any
from unittest import mock

import msgspec
import tomlkit
from msgspec import inspect as types

from ppo_jax.analysis.diagnose import CAUSES, EXCLUDES, RULES
from ppo_jax.analysis.formatting import write_setting
from ppo_jax.analysis.reference_settings import DEFAULTS, SB3_DEFAULTS
from ppo_jax.analysis.rules.rule import Rule
from ppo_jax.analysis.vocabulary import say
from ppo_jax.cli.commands import COMMANDS, DESCRIPTION
from ppo_jax.cli.parsing import parse
from ppo_jax.cli.tables.data import describe_actions, describe_shape
from ppo_jax.config import SECTIONS, ScheduleConfig
from ppo_jax.config.checks import field_docs
from ppo_jax.config.experiments import read_experiment
from ppo_jax.config.schema import ENVIRONMENT_KEYS, PROOF_KEYS
from ppo_jax.proving.results import AnswerResults, ProofResults
from ppo_jax.results import Metric, Results
from ppo_jax.runs import contents
from ppo_jax.runs.metric_table import METRICS
from ppo_jax.tasks.episode_results import EpisodeTaskResults

TASKS: Mapping[str, type[Results]] = {
    "Environments": EpisodeTaskResults,
    "Proving ground queries": ProofResults,
    "Answering open queries": AnswerResults,
}
COLUMNS = "80"  # of the help of a command: as many as a page has room for
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")  # a copied text keeps them, unlike <sup>


def settings() -> str:
    """Every key of a configuration: type, range, default and meaning."""
    page = [
        "# Settings",
        "A configuration is TOML with the sections below. A key is unique across them, so `--set key=value` takes it "
        "alone; `--set key=none` unsets it. Integers go up to 2³¹ − 1 and numbers to 10³⁰ where "
        "no other limit stands. `ppo-jax config` prints the keys in the terminal.",
    ]
    for section, cls in SECTIONS.items():
        page += [f"## `[{section}]` {{ #{section} }}", _prose(inspect.getdoc(cls) or ""), *_keys(cls)]
    page += [
        "## Schedules",
        _prose(inspect.getdoc(ScheduleConfig) or ""),
        '```toml\nlearning_rate = { init = 3e-4, final = 3e-5, shape = "cosine", warmup = 0.02 }\n```',
        "`--set learning_rate.final=3e-5` changes one part.",
        *_keys(ScheduleConfig, prefix="schedule."),
        "## Environments without an experiment { #environments }",
        "`ppo-jax train my_module:Env`, or an environment that no experiment is of, is trained with settings of its "
        "own. `ppo-jax init my_module:Env` writes them to a file. A run that is too short for ten evaluations by the "
        "`eval_interval` has about ten.",
        _settings_of_environments(),
    ]
    return _page(page)


def _settings_of_environments() -> str:
    """What an environment that no experiment is of is trained with, beside our defaults and those of SB3."""
    rows = []
    for section, table in read_experiment("my_module:Env").items():
        for name, value in table.items() if section != "task" else ():
            sb3 = f"`{write_setting(SB3_DEFAULTS[name])}`" if name in SB3_DEFAULTS else "–"
            rows.append(
                (f"[`{name}`](#{name})", f"`{write_setting(value)}`", f"`{write_setting(DEFAULTS[name])}`", sb3)
            )
    return _table(("setting", "environment", "default", "Stable-Baselines3"), rows)


def metrics() -> str:
    """What updates and evaluations measure, with units."""
    page = [
        "# Metrics",
        "A unit of 1 is a share or a ratio. What could not be measured is `null`.",
        "## Of an update { #update }",
        "An object a line of `metrics.jsonl`, beside `update` and `env_steps`. A loss or an environment of your own "
        "adds metrics of its own.",
        _metrics(METRICS),
        "## Of an evaluation { #evaluation }",
        "In `eval.jsonl`, and in `summary.json` under `valid`, `test`, `test_last` and each of the `baselines`.",
    ]
    for title, task in TASKS.items():
        page.append(f"### {title}")
        for path, some in task.metrics.items():
            page += [f"Under `{path}`:"] * bool(path) + [_metrics(some, f"{path}." if path else "")]
    return _page(page)


def diagnosis_rules() -> str:
    """Every rule of the analyst: what it sees, why that is bad, what to do, where that comes from."""
    page = [
        "# Diagnosis rules",
        f"`ppo-jax diagnose` judges a run by {len(RULES)} rules. An *error* says not to trust the run, a *warning* "
        "that it could be better, *info* is worth knowing. Among findings as severe as each other, earlier rules are "
        "reported first.",
        *(_rule(one) for one in RULES),
    ]
    return _page(page)


def run_folder() -> str:
    """Every file of a run, and the fields of those that are JSON."""
    listed = {"summary.json": contents.SUMMARY, "environment.json": contents.ENVIRONMENT}
    lines = {"metrics.jsonl": contents.POSITION, "eval.jsonl": contents.POSITION, "timing.jsonl": contents.TIMING}
    page = [
        "# Run folder",
        "Every tool reads a run from its folder, and later versions read the folders of earlier ones. That of a member "
        "of a sweep is `SWEEP/members/NAME`. A number that is not finite is `null`.",
        _fields(contents.FILES | contents.FOLDERS, "file"),
    ]
    for name, fields in (listed | lines).items():
        page += [f"## {name}", _fields(fields)]
        if name in ("metrics.jsonl", "eval.jsonl"):
            what = "update" if name == "metrics.jsonl" else "evaluation"
            page.append(f"The other fields are the [metrics of an {what}](metrics.md#{what}).")
    page += ["## queries.jsonl", "`[]` is each object of a list, a dot a field of an object."]
    for title, task in TASKS.items():
        if fields := task.files.get("queries.jsonl"):
            page += [f"### {title}", _fields(fields)]
    return _page(page)


def command_line() -> str:
    """The help of every command."""
    page = ["# Command line", *(_prose(part) for part in DESCRIPTION.split("\n\n"))]
    for name in COMMANDS:
        page += [f"## {name}", _block(usage(name))]
        page += [_block(usage(name, part)) for part in re.findall(r"• (\w+)", usage(name))]
    return _page(page)


def environments() -> str:
    """Every environment id, by suite."""
    from ppo_jax.tasks import describe  # needs JAX
    from ppo_jax.tasks.suites.registry import SUITES

    rows: dict[str, list[Sequence[str]]] = {}
    for one in map(describe.describe, describe.environment_ids("")):
        notes = filter(None, (one["note"], 'needs a memory: `core = "gru"`' if one["needs_memory"] else None))
        cells = (f"`{one['env_id']}`", describe_shape(one["observation_shape"]), describe_actions(one["action_space"]))
        rows.setdefault(one["suite"], []).append(
            (*cells, str(one["max_episode_length"] or ""), _prose("; ".join(notes)))
        )
    page = [
        "# Environments",
        "What `env_id` takes. An environment of your own goes by its import path, `package.module:factory`. "
        "`ppo-jax envs` prints this page in the terminal.",
    ]
    for suite, cells in rows.items():
        title = suite.capitalize() if " " in suite else suite  # bsuite is written so
        page += [f"## {title}", _table(("env_id", "observes", "actions", "steps", ""), cells)]
    suites = [
        (f"`{one.prefix}/…`", one.title, f"`pip install 'ppo-jax[{one.extra}]'`", f"`ppo-jax envs {one.prefix}`")
        for one in SUITES.values()
    ]
    page += ["## Other suites", "Each is an extra, and lists its ids once it is installed."]
    page += [_table(("env_id", "suite", "install", "list"), suites)]
    return _page(page)


def usage(*words: str) -> str:
    """The help of a command, as a terminal without colours shows it."""
    name, *arguments = words
    said = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS=COLUMNS), redirect_stdout(said), suppress(SystemExit):
        parse(COMMANDS[name], [*arguments, "--help"], f"ppo-jax {name}")
    return "\n".join(line.rstrip() for line in said.getvalue().strip().splitlines())


def _keys(cls: type, prefix: str = "") -> list[str]:
    """A heading, type and default, and the meaning of each field."""
    docs, parts = field_docs(cls), []
    for field in types.type_info(cls).fields:  # type: ignore[union-attr]
        default = "required" if field.default is msgspec.NODEFAULT else f"default `{_toml(field.default)}`"
        kinds = {"proof tasks": PROOF_KEYS, "environments": ENVIRONMENT_KEYS}
        only = [f"{task} only" for task, keys in kinds.items() if field.name in keys]
        facts = " · ".join((_kind(field.type), default, *only))
        parts += [f"### `{field.name}` {{ #{prefix}{field.name} }}", f"{facts}\n{{ .facts }}", _prose(docs[field.name])]
    return parts


def _kind(kind: types.Type) -> str:
    """A type with its range, in words."""
    match kind:
        case types.IntType() | types.FloatType():
            return ("integer" if isinstance(kind, types.IntType) else "number") + _range(kind.gt, kind.ge, kind.le)
        case types.BoolType():
            return "true or false"
        case types.StrType():
            return "text"
        case types.LiteralType(values):
            return " or ".join(f"`{value}`" for value in values)
        case types.DictType():
            return "table"
        case types.VarTupleType(item):
            return f"list, each {_kind(item)}"
        case types.DataclassType():
            return "[schedule](#schedules)"
        case types.UnionType(kinds):
            return " or ".join(_kind(one) for one in kinds if not isinstance(one, types.NoneType))
    raise NotImplementedError(f"a setting of the type {kind}")


def _range(above: float | None, least: float | None, most: float | None) -> str:
    if least is not None and most not in (None, 2**31 - 1, 1e30):
        return f" from {least:g} to {_limit(most)}"
    return f" above {above:g}" if above is not None else f" of at least {least:g}" if least is not None else ""


def _limit(most: float) -> str:
    """A bound; a large power as that."""
    powers = {base ** (power := round(math.log(most, base))): (base, power) for base in (2, 10)} if most > 2000 else {}
    if most not in powers:
        return f"{most:g}"
    base, power = powers[most]
    return f"{base}{str(power).translate(SUPERSCRIPTS)}"


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    return tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string()


def _metrics(some: Iterable[Metric], prefix: str = "") -> str:
    cells = [(_named(prefix, one.name), one.unit or "–", _prose(one.meaning)) for one in some]
    return _list(("metric", "unit", "meaning"), cells)


def _named(prefix: str, name: str) -> str:
    """A name that can be linked to."""
    return f'<code id="{prefix}{name}">{name}</code>'


def _rule(rule: Rule) -> str:
    facts = {
        "Sees": rule.threshold,
        "Why": rule.cause,
        "Do": say(rule.advice, "ppo_jax"),
        "Needs": ", ".join(f"`{one.replace('|', '` or `')}`" for one in (*rule.columns, *rule.settings)),
        "Explained by": _links(CAUSES.get(rule.id, ())),
        "Rules out": _links(EXCLUDES.get(rule.id, ())),
        "Source": rule.source,
    }
    lines = [f"{name}\n:   {_prose(text)}" for name, text in facts.items() if text]
    severity = f'<span class="{rule.severity}">{rule.severity}</span>\n{{ .facts }}'
    return "\n\n".join((f"## `{rule.id}` {{ #{rule.id} }}", severity, *lines))


def _links(ids: Iterable[str]) -> str:
    return ", ".join(f"[{one}](#{one})" for one in ids)


def _fields(fields: Mapping[str, str], what: str = "field") -> str:
    return _list((what, "what it holds"), [(f"`{name}`", _prose(meaning)) for name, meaning in fields.items()])


def _list(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose last column is text; on a phone that stands below the others."""
    return f'<div class="list" markdown>\n\n{_table(headers, rows)}\n\n</div>'


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


def _prose(text: str) -> str:
    """Text of the code as Markdown: what is no code in it is literal, and pages it names are links."""
    parts = re.split(r"(`+[^`]+`+)", text)
    parts[::2] = [html.escape(part, quote=False).replace("*", "\\*") for part in parts[::2]]
    return re.sub(r"\bdocs/([\w/]+)\.md", r"[\1](../\1.md)", "".join(parts))


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"
