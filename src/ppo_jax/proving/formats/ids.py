"""Folders that write constants and relations as numbers: OpenKE's triples and RNNLogic's rules."""

from __future__ import annotations

from collections.abc import Mapping

from ppo_jax.proving.formats.statements import problem
from ppo_jax.types import PPOJaxError

__all__ = ["OPENKE", "RELATIONS", "named_rules", "named_triples"]

OPENKE = {"train2id.txt": "train.txt", "valid2id.txt": "valid.txt", "test2id.txt": "test.txt"}
RELATIONS = "relations.dict"


def named_triples(files: Mapping[str, str]) -> dict[str, str]:
    """Files of OpenKE, with lines ``head tail relation`` of ids, as files of triples with tabs by our names.

    Raises:
        PPOJaxError: a file of names is missing, or an id has no name.
    """
    names = {kind: _names(files, f"{kind}2id.txt", name_first=True) for kind in ("entity", "relation")}
    found = {}
    for theirs, ours in OPENKE.items():
        rows = []
        for number, line in enumerate(files.get(theirs, "").splitlines()[1:], start=2):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != 3:
                raise problem(f"{theirs}:{number}", line, "is not `head tail relation`")
            head, tail, relation = fields
            rows.append(
                "\t".join(
                    _name(names, kind, i, f"{theirs}:{number}", line)
                    for kind, i in (("entity", head), ("relation", relation), ("entity", tail))
                )
            )
        if theirs in files:
            found[ours] = "\n".join(rows)
    return found


def named_rules(text: str, relations: str, file: str) -> str | None:
    """Rules of RNNLogic, lines ``head body1 body2 …`` of relation ids, as clauses; None where the text is none.

    An id from n on, the number of relations, is the relation of id - n backwards.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or not all(field.isdigit() for line in lines for field in line):
        return None
    names = {"relation": _names({RELATIONS: relations}, RELATIONS, name_first=False)}
    n = len(names["relation"])
    rules = []
    for number, (head, *body) in enumerate(lines, start=1):
        places = ["X", *(f"Z{i}" for i in range(1, len(body))), "Y"]
        atoms = []
        for relation, here, there in zip((head, *body), ("X", *places[:-1]), ("Y", *places[1:]), strict=True):
            backwards = int(relation) >= n
            name = _name(names, "relation", str(int(relation) % n), f"{file}:{number}", " ".join((head, *body)))
            name = "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
            atoms.append(f"{name}({there},{here})" if backwards else f"{name}({here},{there})")
        rules.append(f"{atoms[0]} :- {', '.join(atoms[1:])}.")
    return "\n".join(rules)


def _names(files: Mapping[str, str], file: str, name_first: bool) -> dict[str, str]:
    if file not in files:
        raise PPOJaxError(f"there are triples of ids, and no {file} with their names; put it beside them")
    rows = [line.rsplit(None, 1) if name_first else line.split(None, 1) for line in files[file].splitlines()]
    pairs = [(row[1], row[0]) if name_first else (row[0], row[1]) for row in rows if len(row) == 2]
    return {number.strip(): name.strip() for number, name in pairs}


def _name(names: Mapping[str, Mapping[str, str]], kind: str, number: str, source: str, text: str) -> str:
    if number not in names[kind]:
        raise problem(source, text, f"the {kind} {number} has no name")
    return names[kind][number]
