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

The files may also end in ``.tsv``, ``.csv``, ``.nt``, ``.ttl`` or ``.pl``. In their place a folder may hold those of
OpenKE (``entity2id.txt``, ``relation2id.txt``, ``train2id.txt``, ...), or of Popper (``bk.pl`` with the facts and
``exs.pl`` with examples); beside ``relations.dict`` the rules may be the ids of RNNLogic.

What is missing is made up for, and said in a warning: queries to select by are split off from the training queries,
and where no training fact has a predicate that heads a rule, the training queries are what the rules derive.

`ppo_jax.proving.knowledge_base` says what is a variable.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.proving.countries import BUILTIN, build_countries
from ppo_jax.proving.formats.columns import ORDERS, guess_order
from ppo_jax.proving.formats.ids import read_id_triples, read_names
from ppo_jax.proving.formats.mined import read_limits, read_relation_ids
from ppo_jax.proving.formats.read import parse_statements
from ppo_jax.proving.formats.statements import Statements, is_number, quote
from ppo_jax.proving.forward import derive
from ppo_jax.proving.knowledge_base import KnowledgeBase, build, nearest, underivable_predicates
from ppo_jax.proving.oddities import odd_facts, odd_queries, odd_rules, with_known_predicates
from ppo_jax.types import PPOJaxError

__all__ = [
    "BUILTIN",
    "Dataset",
    "Files",
    "build_countries",
    "describe",
    "from_files",
    "load",
    "split_off",
    "write_folder",
]

Files = dict[str, str]
"""The texts of a data set by file name."""

_RULES = "rules.txt"
_MINED_RULES = "mined_rules.txt"  # those of RNNLogic
_DOMAINS = "domain2constants.txt"
_ENDINGS = ("txt", "tsv", "csv", "nt", "ttl", "pl")


def _candidates(*stems: str) -> tuple[str, ...]:
    return tuple(f"{stem}.{ending}" for ending in _ENDINGS for stem in stems)


_GRAPH_FILES = _candidates("graph")
_TRAIN_FILES = (*_candidates("train"), "train2id.txt", "bk.pl")
_QUERY_FILES = {
    "valid": (*_candidates("valid", "dev"), "valid2id.txt"),
    "test": (*_candidates("test"), "test2id.txt"),
}
_EXAMPLES = "exs.pl"
_ENTITY_IDS, _RELATION_IDS, _RELATION_DICT = "entity2id.txt", "relation2id.txt", "relations.dict"
_OTHER_FILES = (_EXAMPLES, _ENTITY_IDS, _RELATION_IDS, _RELATION_DICT)
_SPLIT_SHARE = 0.1  # of the training queries, where there are none to select by
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
    mined_by: dict[str, Any] | None = None  # limits of the mining, where the rules are as a mining wrote them


def load(
    name_or_folder: str | Path, rules: str = _RULES, columns: str | None = None, require_rules: bool = True
) -> Dataset:
    """Load a built-in data set by name, or the folder at a path.

    Args:
        name_or_folder: one of `BUILTIN`, ``<builtin>@<split seed>``, or a folder. A `Path` is always a folder.
        rules: name of the rule file in the data set, or else the path of one. The S3 benchmarks also have
            ``rules_full.txt``, which adds the rule through the subregion.
        columns: order of the columns of triples, "hrt" (head, relation, tail), "rht" or "htr"; without it the order
            is that of a header, or "hrt".
        require_rules: whether a data set without rules is an error; otherwise it has none, and its training queries
            are all training facts.

    Raises:
        PPOJaxError: the data set is unknown, a file is missing or malformed (``file:line`` and the text), the columns
            are in another order, or there are no training queries.
    """
    builtin = re.fullmatch(r"(\w+)(?:@(\d+))?", name_or_folder) if isinstance(name_or_folder, str) else None
    if builtin and builtin[1] in BUILTIN:
        name = builtin[0]
        files = build_countries(builtin[1], int(builtin[2]) if builtin[2] else None)
    else:
        folder = Path(name_or_folder)
        if folder.is_file():
            raise PPOJaxError(f"{folder}: is a file; a data set is its folder, {folder.parent}")
        if not folder.is_dir():
            raise PPOJaxError(
                f"no data set {str(name_or_folder)!r}: neither a folder nor a built-in name ({', '.join(BUILTIN)}; "
                f"`countries_s3@7` is resampled with split seed 7){nearest(str(folder), [*BUILTIN, *_beside(folder)])}"
            )
        name = folder.resolve().name
        wanted = [_first(folder, _GRAPH_FILES), _first(folder, _TRAIN_FILES)]
        wanted += [_first(folder, names) for names in _QUERY_FILES.values()]
        wanted += [rules, _DOMAINS, *_OTHER_FILES]
        if rules == _RULES and not (folder / rules).is_file():
            wanted.append(_MINED_RULES)
        files = {file: _read(folder / file) for file in dict.fromkeys(wanted) if (folder / file).is_file()}
    if rules not in files and rules != _RULES and Path(rules).is_file():
        files[rules] = _read(Path(rules))
    return from_files(name, files, rules, columns, require_rules)


def from_files(
    name: str,
    files: Mapping[str, str],
    rules: str = _RULES,
    columns: str | None = None,
    require_rules: bool = True,
) -> Dataset:
    """Parse the texts of a data set.

    Training facts that are also queries of valid or test are left out, as facts and as queries, with a warning.

    Args:
        name: what the data set is called.
        files: texts by file name, as the table at the top of this module lists them; others are ignored.
        rules: which of them holds the rules.
        columns: as in `load`.
        require_rules: as in `load`.

    Raises:
        PPOJaxError: as in `load`.
    """
    if columns not in (None, *ORDERS):
        raise PPOJaxError(f"columns is {columns!r}; take one of {', '.join(ORDERS)}")
    if rules == _RULES and rules not in files and _MINED_RULES in files:
        rules = _MINED_RULES
    notes: list[str] = []
    train_file, sources, evaluation = _parse(name, files, rules, columns, require_rules, notes)
    if not any(part.facts for part in sources.values()):
        raise PPOJaxError(f"{train_file}:1: the file holds no facts; put one a line, such as `pred(a,b).`")
    domain_names = _parse_domains(files.get(_DOMAINS, ""))
    declared = [constant for constants in domain_names.values() for constant in constants]
    parts = with_known_predicates(list(sources.values()), notes)
    kb = build(
        parts,
        constants=declared,
        predicates=(fact[0] for statements in evaluation.values() for fact in statements.facts),
    )
    if not kb.rules and require_rules:
        train = _unique(_rows(sources[train_file], kb))
        raise PPOJaxError(_why_no_queries(name, kb, train, []))
    kb, unknown = _with_query_constants(kb, evaluation)

    used = [*sources, *(statements.file for statements in evaluation.values()), _DOMAINS, *_OTHER_FILES]
    queries = {split: _rows(statements, kb) for split, statements in evaluation.items()}
    has_graph = any(file in sources for file in _GRAPH_FILES)
    train = _unique(_rows(sources[train_file], kb)) if has_graph else kb.facts
    seen = {"train": kb.facts, **queries}
    overlaps = {
        f"{first}/{second}": int(_is_in(_unique(seen[first]), seen[second], kb).sum())
        for first, second in combinations(("train", "valid", "test"), 2)
    }
    held_out = np.concatenate([queries["valid"], queries["test"]])
    heads = sorted({rule.head[0] for rule in kb.rules})
    left = ~_is_in(train, held_out, kb)
    is_query = left & (np.isin(train[:, 0], heads) if kb.rules else True)
    kb = replace(kb, facts=_frozen(kb.facts[~_is_in(kb.facts, held_out, kb)]))
    training = train[is_query]
    if not len(training):
        training = _other_queries(name, kb, train, queries, heads, require_rules, notes)
    if not len(queries["valid"]):
        training, queries["valid"] = _split(training, evaluation["valid"].file in files, notes)
        kb = replace(kb, facts=_frozen(kb.facts[~_is_in(kb.facts, queries["valid"], kb)]))
    if not len(queries["test"]):
        notes.append(f"no test queries, without which `ppo-jax train` does not begin: {split_off('test')}")
    if not kb.rules:
        notes.append("no rules: they will be mined from the training facts")
    queries["train"] = training
    queries = {split: _frozen(queries[split]) for split in ("train", "valid", "test")}
    conclusions = {kb.predicates[head - 1] for head in heads}
    return Dataset(
        name=name,
        kb=kb,
        queries=queries,
        domains=_domains(kb, domain_names),
        overlaps=overlaps,
        warnings=(
            *_warnings(kb, queries, overlaps, heads),
            *(note for part in (*sources.values(), *evaluation.values()) for note in part.notes),
            *(f"{part.file}: queries, left out: {len(part.asked)}" for part in sources.values() if part.asked),
            *odd_facts(sources[train_file]),
            *odd_rules(parts, kb, declared),
            *unknown,
            *notes,
        ),
        sha256=_sha256({file: files[file] for file in used if file in files}),
        corrupt="tail" if conclusions and conclusions <= _COUNTRIES_PREDICATES else "both",
        mined_by=read_limits(files.get(rules, ""), len(kb.rules)),
    )


def split_off(split: str) -> str:
    """What to do where valid or test has no queries."""
    return f"move some lines of train.txt, such as every tenth, to {split}.txt"


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
        "confidences": {f"{rule.name} ({rule.source})": rule.confidence for rule in kb.rules},
        "queries": {split: len(rows) for split, rows in dataset.queries.items()},
        "overlaps": dict(dataset.overlaps),
        "corrupt": dataset.corrupt,
        "warnings": list(dataset.warnings),
    }


def _beside(folder: Path) -> list[str]:
    """The data sets that lie where `folder` would."""
    try:
        return [str(other) for other in folder.parent.iterdir() if (other / _first(other, _TRAIN_FILES)).is_file()]
    except OSError:
        return []


def _first(folder: Path, names: Sequence[str]) -> str:
    return next((name for name in names if (folder / name).is_file()), names[0])


def _parse(
    name: str, files: Mapping[str, str], rules: str, columns: str | None, require_rules: bool, notes: list[str]
) -> tuple[str, dict[str, Statements], dict[str, Statements]]:
    """The training file, the files that hold facts and rules, and those of valid and test, parsed."""
    train_file = next((file for file in _TRAIN_FILES if file in files), None)
    if train_file is None:
        raise PPOJaxError(
            f"data set {name!r} has no train.txt with its training facts; put them there, one `pred(a,b).` or "
            "`head<TAB>relation<TAB>tail` a line (of Aleph: the facts of the .b file, and its examples in test.txt)"
        )
    named: dict[str, Statements] = {}
    if rules in files:
        named[rules] = _parse_rules(files[rules], rules, files)
    predicates = {atom[0] for part in named.values() for clause in part.clauses for atom in (clause.head, *clause.body)}
    graph_file = next((file for file in _GRAPH_FILES if file in files), None)
    sources: dict[str, Statements] = {}
    for file in (graph_file, train_file):
        if file is not None:
            sources[file], columns = _parse_facts(files, file, columns, predicates)
    sources |= named
    if rules not in files and (
        rules != _RULES or (require_rules and not any(part.clauses for part in sources.values()))
    ):
        raise PPOJaxError(
            f"data set {name!r} has no rule file {rules!r}: put one there with lines `name:weight:b1, b2 -> head` or "
            "`head :- b1, b2.`, or set `rules` to the name or path of another"
        )
    evaluation: dict[str, Statements] = {}
    predicates |= {fact[0] for part in sources.values() for fact in part.facts}
    for split, names in _QUERY_FILES.items():
        file = next((file for file in names if file in files), names[0])
        statements, _ = _parse_facts({file: "", **files}, file, columns, predicates, judge=False)
        evaluation[split] = statements._replace(
            facts=[*statements.facts, *(query for _, query in statements.asked)],
            lines=[*statements.lines, *(line for line, _ in statements.asked)],
        )
        for clause in evaluation[split].clauses:
            raise PPOJaxError(
                f"{clause.source}: {quote(clause.text)} is a rule; a query is a ground atom such as `pred(a,b)`"
            )
        if statements.facts and predicates.isdisjoint(fact[0] for fact in statements.facts):
            notes.append(_unknown_relations(statements, sources[train_file], predicates))
        else:
            notes += odd_queries(evaluation[split], predicates)
    if _EXAMPLES in files:
        examples = parse_statements(files[_EXAMPLES], _EXAMPLES)
        if any(part.clauses for part in sources.values()) and not evaluation["test"].facts:
            evaluation["test"] = examples
            notes.append(f"{_EXAMPLES}: the positive examples are the test queries")
        else:
            sources[_EXAMPLES] = examples
            notes.append(f"{_EXAMPLES}: the positive examples are training facts")
    return train_file, sources, evaluation


def _parse_rules(text: str, file: str, files: Mapping[str, str]) -> Statements:
    first = next((line.split() for line in text.split("\n") if line.strip()), [])
    if _RELATION_DICT in files and first and all(field.isdecimal() for field in first[:-1]) and is_number(first[-1]):
        return read_relation_ids(text, file, read_names(files[_RELATION_DICT], _RELATION_DICT, id_first=True))
    return parse_statements(text, file)


def _parse_facts(
    files: Mapping[str, str], file: str, columns: str | None, predicates: Collection[str], judge: bool = True
) -> tuple[Statements, str | None]:
    """A file of facts, and the order of its columns where that was seen from them.

    Blanks between columns follow no convention, so that the order that fits is taken. With tabs or commas the head
    comes first nearly always, and another order is better said than guessed.
    """
    if file.endswith("2id.txt"):
        missing = [source for source in (_ENTITY_IDS, _RELATION_IDS) if source not in files]
        if missing:
            raise PPOJaxError(f"{file}:1: the ids have no names; put {' and '.join(missing)} beside the file")
        entities, relations = (read_names(files[source], source) for source in (_ENTITY_IDS, _RELATION_IDS))
        statements = read_id_triples(files[file], file, entities, relations, columns)
        return statements, statements.columns
    statements = parse_statements(files[file], file, columns)
    if not judge or columns is not None or statements.stated or not statements.separator:
        return statements, columns
    order = guess_order(statements.facts, predicates)
    if order == ORDERS[0]:
        return statements, columns
    what = "relation first" if order == "rht" else "relation last"
    if statements.separator != " ":
        second, first, third = statements.facts[0]
        raise PPOJaxError(
            f"{file}:{statements.lines[0]}: {quote(f'{first} {second} {third}')}: the columns look like {what}; say "
            f'so with columns = "{order}", or columns = "hrt" if the head does come first'
        )
    found = parse_statements(files[file], file, order)
    note = f'{file}: the columns look like {what} and are read so; columns = "hrt" says otherwise'
    return found._replace(notes=(*found.notes, note)), order


def _unknown_relations(queries: Statements, train: Statements, predicates: Collection[str]) -> str:
    """What to say of queries none of whose relations facts or rules know.

    Raises:
        PPOJaxError: most of them have a known relation in another column.
    """
    file, said = train.file, f"no relation of {queries.file} occurs in {train.file}"
    for order in ORDERS if queries.columns else ():
        column = order.index("r")
        place = "rht".index(queries.columns[column])  # of that column in a fact
        if 2 * sum(fact[place] in predicates for fact in queries.facts) > len(queries.facts):
            remedy = (
                f'say so with columns = "{order}"'
                if train.columns == order
                else f"write the columns of both files in one order (that of {file} is {train.columns or ORDERS[0]})"
            )
            line = queries.lines[0]
            raise PPOJaxError(
                f"{queries.file}:{line}: {said}, whose relations stand in column {column + 1} there; {remedy}"
            )
    return said


def _with_query_constants(kb: KnowledgeBase, evaluation: Mapping[str, Statements]) -> tuple[KnowledgeBase, list[str]]:
    """Add the constants that only queries name, and warn of them."""
    known = kb.constant_ids
    new: dict[str, None] = {}
    warnings: list[str] = []
    for statements in evaluation.values():
        for fact, line in zip(statements.facts, statements.lines, strict=True):
            for constant in fact[1:]:
                if constant not in known and constant not in new:
                    new[constant] = None
                    if len(new) <= 5:
                        query = quote(f"{fact[0]}({fact[1]},{fact[2]})")
                        warnings.append(
                            f"{statements.file}:{line}: {query} names the constant {constant!r}, which no fact, rule "
                            f"or domain knows, so no proof can reach it{nearest(constant, kb.constants)}"
                        )
    if len(new) > 5:
        warnings.append(f"constants that only queries name, which no proof can reach: {len(new)}")
    return (replace(kb, constants=(*kb.constants, *new)) if new else kb), warnings


def _other_queries(
    name: str,
    kb: KnowledgeBase,
    train: np.ndarray,
    queries: Mapping[str, np.ndarray],
    heads: list[int],
    require_rules: bool,
    notes: list[str],
) -> np.ndarray:
    """Training queries where no training fact is one: what the rules derive, or else queries of valid or test."""
    derived = np.array(derive(kb), np.int32).reshape(-1, 3)
    held_out = np.concatenate([queries["valid"], queries["test"]])
    new = derived[~_is_in(derived, held_out, kb)]
    why = "no training fact that is not also a valid or test query has a predicate that heads a rule"
    if len(new):
        notes.append(f"{why}, so the training queries are what the rules derive: {len(new)}")
        return new
    for split in ("valid", "test"):
        rows = _unique(queries[split])
        rows = rows[np.isin(rows[:, 0], heads)]
        if len(rows):
            notes.append(
                f"{why}, so the training queries are those of {split}: {len(rows)}; results on them say nothing "
                "about other queries"
            )
            return rows
    if require_rules:
        raise PPOJaxError(_why_no_queries(name, kb, train, heads))
    notes.append("no rule derives anything, so the training queries are all training facts")
    return train[~_is_in(train, held_out, kb)]


def _split(training: np.ndarray, empty: bool, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Training queries without those that are split off to select by, and these."""
    why = "valid.txt holds no queries" if empty else "no valid.txt"
    count = min(max(1, round(_SPLIT_SHARE * len(training))), len(training) // 2)
    if not count:
        notes.append(f"{why}, and too few training queries to split some off: there are none to select by")
        return training, training[:0]
    chosen = np.zeros(len(training), bool)
    chosen[np.random.default_rng(0).permutation(len(training))[:count]] = True
    notes.append(f"{why}: {count} of {len(training)} training queries are split off as valid, the same ones every time")
    return training[~chosen], training[chosen]


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise PPOJaxError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PPOJaxError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        raise PPOJaxError(f"{path} is not UTF-8 text (byte {text.index(chr(0))}); save it as UTF-8")
    return text


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
            f"one, so no rule that uses it can be applied{nearest(kb.predicates[predicate - 1], _stated(kb))}"
        )
    named = np.unique(np.concatenate([rows[:, 0] for rows in (kb.facts, *queries.values())]))
    used = {atom[0] for rule in kb.rules for atom in rule.body} | set(named.tolist())
    for predicate, rule in {rule.head[0]: rule for rule in reversed(kb.rules)}.items():
        if predicate not in used and (near := nearest(name := kb.predicates[predicate - 1], _stated(kb))):
            warnings.append(f"{rule.source}: the predicate {name} of a conclusion is in no fact, query or body{near}")
    for split in ("valid", "test") if kb.rules else ():
        headless = queries[split][~np.isin(queries[split][:, 0], heads)]
        if len(headless):
            names = ", ".join(kb.predicates[predicate - 1] for predicate in np.unique(headless[:, 0]))
            warnings.append(
                f"{split} queries whose predicate heads no rule, so that none can be proved: {len(headless)} ({names})"
            )
    return warnings


def _stated(kb: KnowledgeBase) -> list[str]:
    """The predicates of facts."""
    return [kb.predicates[predicate - 1] for predicate in np.unique(kb.facts[:, 0])]


def _why_no_queries(name: str, kb: KnowledgeBase, train: np.ndarray, heads: list[int]) -> str:
    rule_heads = ", ".join(kb.predicates[head - 1] for head in heads) or "nothing"
    predicates = ", ".join(kb.predicates[predicate - 1] for predicate in np.unique(train[:, 0])) or "nothing"
    return (
        f"data set {name!r} has no training queries: no rule head matches a training fact; "
        f"the rules conclude {rule_heads}, the training facts are about {predicates}"
    )
