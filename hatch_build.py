"""The page of the package: README.md, whose links and pictures lead somewhere outside the repository too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


class PackagePage(MetadataHookInterface):
    """Sets `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Put the page into the metadata of the project."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {"content-type": "text/markdown", "text": package_page(text, source)}


def package_page(text: str, source: str | None) -> str:
    """A README whose relative links are absolute ones below `source`; without that plain text, and without pictures.

    Args:
        text: of the README.
        source: address of the repository, the `Source` of `[project.urls]`.
    """

    def replace(link: re.Match[str]) -> str:
        picture, words, target = link["picture"], link["text"], link["target"]
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        if source:
            return f"{picture}[{words}]({source}/{'raw' if picture else 'blob'}/HEAD/{target})"
        return "" if picture else words

    return LINK.sub(replace, text)
