"""A report as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppo_jax.analysis.report.blocks import IN_BACKTICKS, Document
from ppo_jax.config.legible import legible

__all__ = ["to_html"]


def to_html(document: Document) -> str:
    """One page that needs nothing else: no script, no request."""
    import jinja2

    templates = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    page = jinja2.Environment(
        loader=templates, autoescape=True, finalize=_finalize, trim_blocks=True, lstrip_blocks=True
    )
    page.filters["prose"] = _prose
    return page.get_template("report.html").render(document=document)


def _finalize(value: Any) -> Any:
    """Whatever a template shows; text of our own that is HTML already stays."""
    return legible(value, keep="\n") if type(value) is str else value


def _prose(text: str) -> str:
    """Text for HTML, escaped; what stands in backticks is code."""
    from markupsafe import Markup, escape

    parts = enumerate(IN_BACKTICKS.split(legible(text)))
    return Markup("").join(Markup("<code>{}</code>").format(part[1:-1]) if i % 2 else escape(part) for i, part in parts)
