"""Adds to the site the pages that are made of the code when it is built; a hook of MkDocs."""

from __future__ import annotations

import re
from pathlib import Path

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "reference/settings.md": reference.settings,
    "reference/metrics.md": reference.metrics,
    "reference/diagnosis_rules.md": reference.diagnosis_rules,
    "reference/run_folder.md": reference.run_folder,
    "reference/command_line.md": reference.command_line,
    "reference/environments.md": reference.environments,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the pages of the reference, that of the changes, and one of each example."""
    root = Path(config.config_file_path).parent
    made = {path: make() for path, make in PAGES.items()}
    made["changelog.md"] = re.sub(r"\]\(docs/", "](", (root / "CHANGELOG.md").read_text(encoding="utf-8"))
    for example in sorted((root / "examples").glob("*.py")):
        source = example.read_text(encoding="utf-8").rstrip()
        made[f"examples/{example.stem}.md"] = f"# {example.name}\n\n```python\n{source}\n```\n"
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links on examples to their pages; the notebooks have none."""
    if page.file.src_uri != "examples.md":
        return markdown
    markdown = re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](examples/\1.md)", markdown)
    return re.sub(r"\[([^\]]+)\]\(\.\./examples[^)]*\)", r"`\1`", markdown)
