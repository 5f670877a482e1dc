"""Docstrings for the site: the comment behind a field is its text, and names in backticks link to what they name."""

from __future__ import annotations

import re
from typing import Any

from griffe import AliasResolutionError, Attribute, Docstring, Extension, NameResolutionError, Object

COMMENT = re.compile(r"^[^#\"']*#\s*(.+)$")
CODE = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")


class Docstrings(Extension):
    """Loaded by mkdocstrings."""

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Take the comment on the line of a field for its docstring, where it has none."""
        if attr.docstring is not None or attr.parent is None or not attr.parent.is_class or not attr.lineno:
            return
        if comment := COMMENT.match(attr.lines_collection[attr.filepath][attr.lineno - 1]):
            text = comment[1]
            attr.docstring = Docstring(f"{text[0].upper()}{text[1:]}.", parent=attr)

    def on_package(self, *, pkg: Object, **kwargs: Any) -> None:
        """Once all is read, link names."""
        _link(pkg)


def _link(thing: Object) -> None:
    if thing.docstring is not None:
        thing.docstring.value = CODE.sub(lambda name: _reference(thing, name[1]), thing.docstring.value)
    for member in thing.members.values():
        if not member.is_alias:
            _link(member)


def _reference(scope: Object, name: str) -> str:
    """The name as a link, where the site turns out to have a place for it."""
    first, *rest = name.split(".")
    try:
        path = ".".join((first if first == "ppo_jax" else scope.resolve(first), *rest))
    except (NameResolutionError, AliasResolutionError):
        return f"`{name}`"
    outside = path == scope.path or not path.startswith("ppo_jax.")
    return f"`{name}`" if outside else f'<autoref identifier="{path}" optional>`{name}`</autoref>'
