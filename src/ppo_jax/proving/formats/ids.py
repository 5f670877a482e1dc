"""Reads graphs whose files hold ids: those of OpenKE, and the dictionaries of RNNLogic."""

from __future__ import annotations

from ppo_jax.proving.formats.statements import Statements, Triple, complain

__all__ = ["read_id_triples", "read_names"]


def read_names(text: str, file: str, id_first: bool = False) -> dict[int, str]:
    """Names by id, from lines `name<TAB>id`, or `id<TAB>name` where `id_first`; a first line may hold their number.

    Raises:
        PPOJaxError: a line is neither.
    """
    names: dict[int, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.strip()
        if not content or (number == 1 and content.isdecimal()):
            continue
        fields = content.split("\t") if "\t" in content else content.rsplit(None, 1)
        if id_first:
            fields = content.split(None, 1)[::-1]
        if len(fields) != 2 or not fields[1].strip().isdecimal():
            raise complain(file, number, line, " is not a name and its id with a tab between")
        names[int(fields[1])] = fields[0].strip()
    return names


def read_id_triples(
    text: str, file: str, entities: dict[int, str], relations: dict[int, str], order: str | None = None
) -> Statements:
    """Parse lines `head tail relation` or `head relation tail` of ids, after a line with their number.

    OpenKE writes the relation last. Where that cannot be, because some id is no relation's, it is in the middle. An
    `order`, "htr" or "hrt", settles it.

    Raises:
        PPOJaxError: a line holds something else, or an id without a name.
    """
    rows: list[tuple[int, int, int]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields or (number == 1 and len(fields) == 1 and fields[0].isdecimal()):
            continue
        if len(fields) != 3 or not all(field.isdecimal() for field in fields):
            raise complain(file, number, line, " is not three ids: of the head, of the tail and of the relation")
        rows.append((int(fields[0]), int(fields[1]), int(fields[2])))
        lines.append(number)
    last = order == "htr" if order else all(row[2] in relations and row[1] in entities for row in rows)
    facts: list[Triple] = []
    for row, number in zip(rows, lines, strict=True):
        head, tail, relation = row if last else (row[0], row[2], row[1])
        for one, names, source in (
            (head, entities, "entity2id.txt"),
            (tail, entities, "entity2id.txt"),
            (relation, relations, "relation2id.txt"),
        ):
            if one not in names:
                raise complain(file, number, " ".join(map(str, row)), f": the id {one} is not in {source}")
        facts.append((relations[relation], entities[head], entities[tail]))
    return Statements(file, facts, lines, [], (), "htr" if last else "hrt")
