"""Data sets of facts, rules and queries: the built-in Countries benchmarks, and folders on disk.

A data set is a set of named texts (`Files`), whether they lie in a folder or are built here:

=======================  ==========================================================================================
``train.txt``            training facts; those whose predicate heads a rule are the training queries
``graph.txt``            optional background facts; where it exists only the lines of ``train.txt`` are queries
``valid.txt``            queries to select by (``dev.txt`` where the file goes by that name)
``test.txt``             queries for the one final evaluation
``rules.txt``            the rules; another file can be named in its place
``domain2constants.txt`` optional, ``domain c1 c2 ...`` a line: what corruptions of an argument are drawn from
=======================  ==========================================================================================

`ppo_jax.proving.knowledge_base` describes the notations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.proving.countries import BUILTIN, build_countries
from ppo_jax.proving.derive import derive
from ppo_jax.proving.formats.ids import OPENKE, RELATIONS, named_rules, named_triples
from ppo_jax.proving.knowledge_base import (
    KnowledgeBase,
    Statements,
    build,
    nearest,
    parse_statements,
    underivable_predicates,
)
from ppo_jax.types import PPOJaxError

__all__ = ["BUILTIN", "Dataset", "Files", "build_countries", "describe", "from_files", "load", "write_folder"]

Files = dict[str, str]
"""The texts of a data set by file name."""

_RULES = "rules.txt"
_DOMAINS = "domain2constants.txt"
_FACT_FILES = ("graph.txt", "train.txt")
_QUERY_FILES = {"valid": ("valid.txt", "dev.txt"), "test": ("test.txt",)}
MOST_DERIVED = 10_000  # atoms that are derived where training facts ask nothing
VALID_SHARE = 0.1  # of the training queries, where there are no valid ones
_COUNTRIES_PREDICATES = frozenset({"locatedInCR", "locatedIn"})


@dataclass(frozen=True, eq=False)
class Dataset:
    """A knowledge base with queries, cleaned so that nothing of valid or test is among facts or training queries."""

    name: str
    kb: KnowledgeBase
    queries: dict[str, np.ndarray]  # "train" | "valid" | "test" -> [N, 3] int32 (predicate, argument, argument)
    domains: dict[tuple[int, int], np.ndarray]  # (predicate id, argument 0 | 1) -> [D] int32 constant ids, sorted
    overlaps: dict[str, int]  # "train/valid", "train/test", "valid/test" -> atoms in both files
    warnings: tuple[str, ...]  # one line each
    sha256: str  # over the names and bytes of the files that were read
    corrupt: str  # which argument corruptions replace by default: "tail" (Countries) or "both"


def load(
    name_or_folder: str | Path, rules: str = _RULES, *, require_rules: bool = True, columns: str | None = None
) -> Dataset:
    """Load a built-in data set by name, or the folder at a path.

    Args:
        name_or_folder: one of `BUILTIN`, ``<builtin>@<split seed>``, or a folder. A `Path` is always a folder.
        rules: name of the rule file in the data set, or else the path of one. The S3 benchmarks also have
            ``rules_full.txt``, which adds the rule through the subregion.
        require_rules: whether a data set without rules is refused; else every training fact is a training query.
        columns: order of the columns of triples, such as ``"rht"``; None: ``"hrt"``, or what a header says.

    Raises:
        PPOJaxError: the data set is unknown, a file is missing or malformed (``file:line`` and the text), or there is
            no training query.
    """
    builtin = re.fullmatch(r"(\w+)(?:@(\d+))?", name_or_folder) if isinstance(name_or_folder, str) else None
    if builtin and builtin[1] in BUILTIN:
        name = builtin[0]
        files = build_countries(builtin[1], int(builtin[2]) if builtin[2] else None)
    else:
        folder = Path(name_or_folder)
        if not folder.is_dir():
            raise PPOJaxError(
                f"no data set {str(name_or_folder)!r}: neither a folder nor a built-in name ({', '.join(BUILTIN)}; "
                f"`countries_s3@7` is resampled with split seed 7){nearest(str(name_or_folder), BUILTIN)}"
            )
        name = folder.resolve().name
        candidates = [*_FACT_FILES, *(file for names in _QUERY_FILES.values() for file in names), rules, _DOMAINS]
        files = {file: _read(folder / file) for file in candidates if (folder / file).is_file()}
        if "train.txt" not in files:
            files |= _other_layout(folder, name)
        if rules in files and (folder / RELATIONS).is_file():
            files[rules] = named_rules(files[rules], _read(folder / RELATIONS), rules) or files[rules]
    if rules not in files and rules != _RULES and Path(rules).is_file():
        files[rules] = _read(Path(rules))
    return from_files(name, files, rules, require_rules=require_rules, columns=columns)


def from_files(
    name: str,
    files: Mapping[str, str],
    rules: str = _RULES,
    *,
    require_rules: bool = True,
    columns: str | None = None,
) -> Dataset:
    """Parse the texts of a data set.

    Training facts that are also queries of valid or test are left out, as facts and as queries, with a warning.

    Args:
        name: what the data set is called.
        files: texts by file name, as the table at the top of this module lists them; others are ignored.
        rules: which of them holds the rules.
        require_rules: as in `load`.
        columns: as in `load`.

    Raises:
        PPOJaxError: as in `load`.
    """
    if "train.txt" not in files:
        raise PPOJaxError(f"data set {name!r} has no train.txt with its training facts")
    sources = {file: parse_statements(files[file], file, columns) for file in (*_FACT_FILES, rules) if file in files}
    none = not any(source.clauses for source in sources.values())
    if (rules not in files and rules != _RULES) or (require_rules and none):
        missing = f"no rules in {rules!r}" if rules in files else f"no rule file {rules!r}"
        raise PPOJaxError(
            f"data set {name!r} has {missing}: put some there, with lines `name:weight:b1, b2 -> head` or "
            "`head :- b1, b2.`, set `rules` to the name or path of another, or mine some: `ppo-jax rules mine FOLDER "
            "--output FOLDER/rules.txt`"
        )
    evaluation: dict[str, Statements] = {}
    for split, names in _QUERY_FILES.items():
        file = next((file for file in names if file in files), names[0])
        evaluation[split] = parse_statements(files.get(file, ""), file, columns)
    asked = [name for statements in evaluation.values() for fact in statements.facts for name in fact[1:]]
    domain_names = _parse_domains(files.get(_DOMAINS, ""))
    kb = build(
        sources.values(),
        constants=(constant for constants in domain_names.values() for constant in constants),
        last_constants=asked,
        predicates=(fact[0] for statements in evaluation.values() for fact in statements.facts),
    )

    used = [*sources, *(statements.file for statements in evaluation.values()), _DOMAINS]
    queries = {split: _query_rows(statements, kb) for split, statements in evaluation.items()}
    train = _unique(_rows(sources["train.txt"], kb)) if "graph.txt" in files else kb.facts
    seen = {"train": kb.facts, **queries}
    overlaps = {
        f"{first}/{second}": int(_is_in(_unique(seen[first]), seen[second], kb).sum())
        for first, second in combinations(("train", "valid", "test"), 2)
    }
    held_out = np.concatenate([queries["valid"], queries["test"]])
    heads = sorted({rule.head[0] for rule in kb.rules}) or sorted(set(kb.facts[:, 0].tolist()))
    is_query = np.isin(train[:, 0], heads) & ~_is_in(train, held_out, kb)
    notes = [note for statements in (*sources.values(), *evaluation.values()) for note in statements.warnings]
    notes += _odd_rules(sources.values(), kb) + _unknown_constants(evaluation.values(), kb)
    train_queries = train[is_query]
    if not len(train_queries) and kb.rules:
        train_queries = derive(kb, MOST_DERIVED)
        train_queries = train_queries[~_is_in(train_queries, held_out, kb) & ~_is_in(train_queries, kb.facts, kb)]
        if len(train_queries):
            notes.append(
                f"no training fact has a predicate that heads a rule; training queries are {len(train_queries)} "
                "atoms that the rules derive"
            )
    if not len(train_queries):
        if require_rules or _relation_first(kb, heads):
            raise PPOJaxError(_why_no_queries(name, kb, train, heads))
        notes.append(_why_no_queries(name, kb, train, heads))
    if not len(queries["valid"]):
        queries["valid"], note = _split_off(train_queries)
        notes.append(note)
        train_queries = train_queries[~_is_in(train_queries, queries["valid"], kb)]
        held_out = np.concatenate([held_out, queries["valid"]])
    if not len(queries["test"]):
        notes.append("no test queries; put some in test.txt to judge a policy at the end")
    if not kb.rules:
        notes.append("no rules; a run that answers mines some from the training facts")
    queries = {"train": _frozen(train_queries), **{split: _frozen(rows) for split, rows in queries.items()}}
    kb = replace(kb, facts=_frozen(kb.facts[~_is_in(kb.facts, held_out, kb)]))
    return Dataset(
        name=name,
        kb=kb,
        queries=queries,
        domains=_domains(kb, domain_names),
        overlaps=overlaps,
        warnings=(*_warnings(kb, queries, overlaps, heads), *notes),
        sha256=_sha256({file: files[file] for file in used if file in files}),
        corrupt="tail" if {kb.predicates[head - 1] for head in heads} <= _COUNTRIES_PREDICATES else "both",
    )


def write_folder(files: Mapping[str, str], folder: str | Path) -> None:
    """Write the texts of a data set to a folder, which `load` then reads back as the same data set.

    Raises:
        PPOJaxError: the folder already holds one of the files, or cannot be written; nothing is replaced or left.
    """
    folder = Path(folder)
    present = [file for file in files if (folder / file).exists()]
    if present:
        raise PPOJaxError(f"{folder} already holds {', '.join(present)}; name another folder or remove them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_bytes(text.encode())
    except OSError as error:
        with suppress(OSError):
            for file in files:
                (folder / file).unlink(missing_ok=True)
        raise PPOJaxError(f"cannot write the data set to {folder}: {error.strerror}") from error


def describe(dataset: Dataset) -> dict[str, Any]:
    """Count what a data set holds, as plain values for JSON."""
    kb = dataset.kb
    predicates, counts = np.unique(kb.facts[:, 0], return_counts=True)
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "constants": len(kb.constants),
        "facts": len(kb.facts),
        "facts_by_predicate": {
            kb.predicates[predicate - 1]: int(count) for predicate, count in zip(predicates, counts, strict=True)
        },
        "rules": {f"{rule.name} ({rule.source})": kb.format_rule(rule) for rule in kb.rules},
        "queries": {split: len(rows) for split, rows in dataset.queries.items()},
        "overlaps": dict(dataset.overlaps),
        "corrupt": dataset.corrupt,
        "warnings": list(dataset.warnings),
    }


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise PPOJaxError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PPOJaxError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def _other_layout(folder: Path, name: str) -> Files:
    """The texts of a folder without ``train.txt``, brought to our names."""
    if any((folder / file).is_file() for file in OPENKE):
        present = (*OPENKE, "entity2id.txt", "relation2id.txt")
        return named_triples({file: _read(folder / file) for file in present if (folder / file).is_file()})
    if (folder / "bk.pl").is_file():
        raise PPOJaxError(
            f"data set {name!r} is a folder for learning rules; copy the facts of bk.pl to train.txt, write the rules "
            "into rules.txt, and the positive examples of exs.pl, without `pos(…)`, into test.txt"
        )
    return {}


def _sha256(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for file, text in files.items():
        content = text.encode()
        # The length keeps apart texts that would run together to the same bytes.
        digest.update(f"{Path(file).name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _parse_domains(text: str) -> dict[str, list[str]]:
    """Constants by domain name."""
    domains: dict[str, list[str]] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        name, *constants = line.split() or [""]
        if name and name[0] not in "%#":
            if not constants:
                raise PPOJaxError(
                    f"{_DOMAINS}:{number}: '{line.strip()}' is not `domain c1 c2 ...`: no constants follow"
                )
            domains.setdefault(name, []).extend(constants)
    return domains


def _rows(statements: Statements, kb: KnowledgeBase) -> np.ndarray:
    """The facts of a file as ids, [N, 3] int32; all names must be in the vocabulary."""
    predicates, constants = kb.predicate_ids, kb.constant_ids
    rows = [(predicates[predicate], constants[left], constants[right]) for predicate, left, right in statements.facts]
    return np.array(rows, np.int32).reshape(-1, 3)


def _query_rows(statements: Statements, kb: KnowledgeBase) -> np.ndarray:
    """The queries of valid or test as ids, [N, 3] int32."""
    for clause in statements.clauses:
        raise PPOJaxError(f"{clause.source}: '{clause.text}' is a rule; a query is a ground atom such as `pred(a,b)`")
    return _rows(statements, kb)


def _keys(atoms: np.ndarray, kb: KnowledgeBase) -> np.ndarray:
    """One int64 for each atom, [N], equal only for equal atoms."""
    predicate, left, right = atoms.astype(np.int64).T
    size = len(kb.constants) + 1
    return (predicate * size + left) * size + right


def _is_in(atoms: np.ndarray, others: np.ndarray, kb: KnowledgeBase) -> np.ndarray:
    return np.isin(_keys(atoms, kb), _keys(others, kb))


def _unique(atoms: np.ndarray) -> np.ndarray:
    """Without repetitions, in order of first appearance."""
    _, first = np.unique(atoms, axis=0, return_index=True)
    return atoms[np.sort(first)]


def _frozen(rows: np.ndarray) -> np.ndarray:
    rows.flags.writeable = False
    return rows


def _domains(kb: KnowledgeBase, domain_names: Mapping[str, list[str]]) -> dict[tuple[int, int], np.ndarray]:
    """For each argument the union of the domains of the constants that facts have there.

    All constants where no fact has the predicate, or where one of those constants is in no domain.
    """
    everything = _frozen(np.arange(1, len(kb.constants) + 1, dtype=np.int32))
    belongs = np.zeros((len(domain_names), len(kb.constants) + 1), bool)  # [domain, constant id]
    for row, constants in zip(belongs, domain_names.values(), strict=True):
        row[[kb.constant_ids[constant] for constant in constants]] = True
    in_some_domain = np.any(belongs, axis=0)
    domains: dict[tuple[int, int], np.ndarray] = {}
    for predicate in range(1, len(kb.predicates) + 1):
        facts = kb.facts[kb.facts[:, 0] == predicate]
        for argument in (0, 1):
            present = np.unique(facts[:, 1 + argument])
            domains[predicate, argument] = everything
            if len(present) and in_some_domain[present].all():
                allowed = belongs[belongs[:, present].any(1)].any(0)
                domains[predicate, argument] = _frozen(np.flatnonzero(allowed).astype(np.int32))
    return domains


def _warnings(
    kb: KnowledgeBase, queries: Mapping[str, np.ndarray], overlaps: Mapping[str, int], heads: list[int]
) -> list[str]:
    warnings = []
    for split in ("valid", "test"):
        if count := overlaps[f"train/{split}"]:
            warnings.append(f"training facts that are also {split} queries: {count}, left out of the training data")
    if count := overlaps["valid/test"]:
        warnings.append(f"valid queries that are also test queries: {count}, in both: valid is not independent of test")
    for predicate, rule in underivable_predicates(kb).items():
        warnings.append(
            f"{rule.source}: the predicate {kb.predicates[predicate - 1]} has no facts and no rule that could derive "
            "one, so no rule that uses it can be applied"
        )
    for split in ("valid", "test"):
        headless = queries[split][~np.isin(queries[split][:, 0], heads)]
        if len(headless):
            names = ", ".join(kb.predicates[predicate - 1] for predicate in np.unique(headless[:, 0]))
            warnings.append(
                f"{split} queries whose predicate heads no rule, so that none can be proved: {len(headless)} ({names})"
            )
    return warnings


def _split_off(train: np.ndarray) -> tuple[np.ndarray, str]:
    """Some training queries for valid, and what is to be said of it."""
    n = max(1, round(VALID_SHARE * len(train))) if len(train) > 1 else 0
    if not n:
        return train[:0], "no valid queries, and too few training queries to draw some; put some in valid.txt"
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:n])
    return train[chosen], f"no valid queries; {n} of {len(train)} training queries were drawn for it, with seed 0"


def _unknown_constants(evaluation: Iterable[Statements], kb: KnowledgeBase) -> list[str]:
    """Queries with constants that no fact knows."""
    present = set(np.unique(kb.facts[:, 1:]).tolist())
    known = {kb.constants[i - 1] for i in present}
    notes: list[str] = []
    for statements in evaluation:
        for fact, line in zip(statements.facts, statements.lines, strict=True):
            for constant in fact[1:]:
                if constant not in known and len(notes) < 10:
                    notes.append(
                        f"{statements.file}:{line}: {constant!r} is in no fact, so no proof can reach it"
                        f"{nearest(constant, known)}"
                    )
                    known.add(constant)
    return notes


def _odd_rules(sources: Iterable[Statements], kb: KnowledgeBase) -> list[str]:
    """Rules that are written twice, and names in them that may not be what they look like."""
    facts = set(np.unique(kb.facts[:, 1:]).tolist())
    known = {kb.constants[i - 1] for i in facts}
    notes: list[str] = []
    seen: dict[object, str] = {}
    firsts = [seen.setdefault((rule.head, rule.body, rule.different), rule.source) for rule in kb.rules]
    twice = [f"{rule.source} as {first}" for rule, first in zip(kb.rules, firsts, strict=True) if first != rule.source]
    if twice:
        more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
        notes.append(f"rules that are written twice: {', '.join(twice[:3])}{more}")
    for clause in (clause for source in sources for clause in source.clauses):
        names = [name for atom in (clause.head, *clause.body) for name in atom[1:]]
        for name in dict.fromkeys(names):
            if clause.variables is not None and name in clause.variables and name in known:
                notes.append(
                    f"{clause.source}: {name} is a variable here and a constant of the facts; quote the constant"
                )
            elif clause.variables is not None and name not in clause.variables and name not in known:
                notes.append(f"{clause.source}: the constant {name!r} is in no fact{nearest(name, known)}")
            elif clause.variables is None and names.count(name) == 1 and name not in known and nearest(name, known):
                notes.append(f"{clause.source}: {name!r} is in no fact and thus a variable{nearest(name, known)}")
            elif clause.variables is None and name in known and len(name) == 1:
                notes.append(
                    f"{clause.source}: {name!r} is a constant here, as in the facts; rename it to mean a variable"
                )
    return notes[:20]


def _relation_first(kb: KnowledgeBase, heads: list[int]) -> bool:
    """Whether what heads rules stands among the constants: the columns of triples are in another order."""
    return bool({kb.predicates[head - 1] for head in heads} & set(kb.constants))


def _why_no_queries(name: str, kb: KnowledgeBase, train: np.ndarray, heads: list[int]) -> str:
    if np.isin(train[:, 0], heads).any():
        return f"data set {name!r} has no training queries: every one of them is also a valid or test query"
    if _relation_first(kb, heads):
        return (
            f"data set {name!r} has no training queries: the columns of the triples look like relation first; say so "
            "by a header `relation<TAB>head<TAB>tail` or `--columns rht`"
        )
    rule_heads = ", ".join(kb.predicates[head - 1] for head in heads) or "nothing"
    predicates = ", ".join(kb.predicates[predicate - 1] for predicate in np.unique(train[:, 0])) or "nothing"
    return (
        f"data set {name!r} has no training queries: no rule head matches a training fact; "
        f"the rules conclude {rule_heads}, the training facts are about {predicates}"
    )
