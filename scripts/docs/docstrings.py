"""Docstrings for the site: comments on fields are said, and names in backticks link to what they name.

The code tells of a field in a comment behind it, shape first. Here these become the list of a class's attributes.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from griffe import AliasResolutionError, Attribute, Class, Docstring, Extension, NameResolutionError, Object

COMMENT = re.compile(r"[^#\"']*#\s*(.+)")
CODE = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")
BLOCK = re.compile(r"::$", re.MULTILINE)  # the next paragraph, indented, is code


class Docstrings(Extension):
    """Loaded by mkdocstrings."""

    def on_package(self, *, pkg: Object, **kwargs: Any) -> None:
        """Once all is read, mend every docstring."""
        _mend(pkg)


def _mend(thing: Object) -> None:
    for member in thing.members.values():
        if not member.is_alias:
            _mend(member)
    if isinstance(thing, Attribute) and thing.docstring is None and thing.parent and thing.parent.is_module:
        thing.docstring = Docstring(_comment(thing), parent=thing) if _comment(thing) else None
    if thing.docstring is None:
        return
    if isinstance(thing, Class):
        thing.docstring.value += _attributes(thing)
    text = BLOCK.sub(":", thing.docstring.value)
    thing.docstring.value = CODE.sub(lambda name: _reference(thing, name[1]), text)


def _attributes(cls: Class) -> str:
    """The section on the fields that have no docstring of their own; empty where no comment says anything of them."""
    fields = {
        name: _comment(member)
        for name, member in cls.members.items()
        if isinstance(member, Attribute) and member.annotation and not member.docstring and not name.startswith("_")
    }
    named = any(str(base) == "NamedTuple" for base in cls.bases)  # its signature does not tell them
    if not any(fields.values()) and not named:
        return ""
    return "\n\nAttributes:\n" + "".join(f"    {name}: {text}\n" for name, text in fields.items())


def _comment(attribute: Attribute) -> str:
    """What stands behind it or right above it, as a sentence."""
    lines, here = attribute.lines_collection[attribute.filepath], attribute.lineno - 1
    if behind := COMMENT.match(lines[here]):
        return f"{behind[1].rstrip('.')}."
    above = itertools.takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[:here]))
    return " ".join(line.lstrip(" #") for line in reversed(list(above)))


def _reference(scope: Object, name: str) -> str:
    """The name as a link, where the site turns out to have a place for it."""
    first, *rest = name.split(".")
    try:
        path = ".".join((first if first == "ppo_jax" else scope.resolve(first), *rest))
    except (NameResolutionError, AliasResolutionError):
        return f"`{name}`"
    outside = path == scope.path or not path.startswith("ppo_jax.")
    return f"`{name}`" if outside else f'<autoref identifier="{path}" optional>`{name}`</autoref>'
