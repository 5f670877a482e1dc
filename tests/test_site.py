"""The site: it builds without a warning, its links lead somewhere, it fetches nothing, and its reference is whole."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import ppo_jax
from ppo_jax import ppo
from ppo_jax.analysis.diagnose import RULES
from ppo_jax.cli.commands import COMMANDS
from ppo_jax.config import SECTIONS
from ppo_jax.runs.metric_table import METRICS

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="building the site needs mkdocs: pip install 'ppo-jax[docs]'"
)


class Page(HTMLParser):
    """What of a page can be linked to, where its links lead, and what it has the browser fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.ids, self.links, self.fetched = path, {""}, set(), set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag in ("script", "link", "img", "iframe") and (source := given.get("src") or given.get("href")):
            self.fetched.add(source)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, Page]:
    """The pages of a strict build, by their path: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]  # --quiet hides warnings
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert all(line.startswith("INFO") for line in built.stderr.splitlines()), built.stderr
    return {str(path.relative_to(folder)): Page(path) for path in folder.rglob("*.html") if path.name != "404.html"}


def test_every_link_leads_to_a_place_of_the_site(site):
    pages = {page.path: page for page in site.values()}
    dead = []
    for page in site.values():
        for link in page.links | page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            if not target.exists() or (target in pages and unquote(parts.fragment) not in pages[target].ids):
                dead.append(f"{page.path.name}: {link}")
    assert dead == []


def test_nothing_is_fetched_from_other_hosts(site):
    assert [source for page in site.values() for source in page.fetched if urlsplit(source).netloc] == []


def test_every_setting_is_in_the_reference(site):
    keys = {field.name for section in SECTIONS.values() for field in dataclasses.fields(section)}
    assert keys | SECTIONS.keys() <= site["reference/settings.html"].ids


def test_settings_are_shown_with_type_range_and_default(site):
    text = re.sub(r"<[^>]+>", "", site["reference/settings.html"].text)
    for facts in (
        "integer from 1 to 10¹⁵ · default 100000",  # total_timesteps, 10 to the 15th
        "number of at least 0 or schedule · default 0.0003",
        "number from 0 to 1 · default 0.99",
        "hrt or htr or rht · default none · proof tasks only",
        "list, each integer from 1 to 2¹⁶ · default [64, 64]",
        "true or false · default false · environments only",
    ):
        assert facts in text, facts
    for row in (  # what an environment of one's own is trained with, the default, and that of SB3
        ("n_envs", "16", "64", "1"),
        ("n_steps", "128", "128", "2,048"),
        ("learning_rate", "1e-3 → 0", "3e-4", "3e-4"),
        ("normalize_rewards", "yes", "no", "no"),
        ("eval_interval", "50", "0", "–"),
    ):
        assert "\n".join(row) in text, row


def test_every_rule_of_the_analyst_is_in_the_reference(site):
    page = site["reference/diagnosis_rules.html"]
    assert {rule.id for rule in RULES} <= page.ids
    assert all(page.text.count(f">{rule.severity}</span>") for rule in RULES)


def test_every_metric_is_in_the_reference(site):
    assert {metric.name for metric in METRICS} | {"greedy.mrr", "answers.mrr"} <= site["reference/metrics.html"].ids


def test_every_command_is_in_the_reference(site):
    text = re.sub(r"<[^>]+>", "", site["reference/command_line.html"].text)
    shown = {usage.removeprefix("usage: ppo-jax ").split(" [-h]")[0] for usage in re.findall(r"usage: .*", text)}
    assert shown == {*COMMANDS, "data build", "data check", "data describe"}
    assert "\x1b" not in text


def test_environments_are_in_the_reference(site):
    page = site["reference/environments.html"].text
    for name in ("CartPole-v1", "Breakout-MinAtar", "Proof-countries_s3", "ppo-jax envs brax"):
        assert name in page


def test_the_public_names_are_in_the_reference(site):
    page = site["reference/api.html"]
    public = {f"ppo_jax.{name}" for name in ppo_jax.__all__ if name != "__version__"}
    public |= {f"ppo_jax.ppo.{name}" for name in ppo.__all__ if name not in ("Batch", "TrainState", "Trainer")}
    assert public <= page.ids


def test_comments_on_fields_are_shown_and_names_in_docstrings_are_links(site):
    text = site["reference/api.html"].text
    assert "[T, B] bool, whether the observation begins an episode." in text.replace("<code>", "")
    assert re.search(r'an <a [^>]*href="#ppo_jax.Environment"><code>Environment</code></a> or one of gymnax', text)
