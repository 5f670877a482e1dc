"""Adds to the site the pages that are made of the code when it is built; a hook of MkDocs."""

from __future__ import annotations

import re
from pathlib import Path

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = {
    "reference/settings.md": reference.settings,
    "reference/metrics.md": reference.metrics,
    "reference/diagnosis_rules.md": reference.diagnosis_rules,
    "reference/run_folder.md": reference.run_folder,
    "reference/command_line.md": reference.command_line,
    "reference/environments.md": reference.environments,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the pages of the reference and that of the changes."""
    changes = Path(config.config_file_path).with_name("CHANGELOG.md").read_text(encoding="utf-8")
    made = {path: make() for path, make in PAGES.items()}
    made["changelog.md"] = re.sub(r"\]\(docs/", "](", changes)
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files
