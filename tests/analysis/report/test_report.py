"""The report: sections, figures, proof trees, escaping, and the page as a browser shows it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import select
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppo_jax.analysis import report
from ppo_jax.analysis.readers import RunLog, read_run
from ppo_jax.analysis.report import figures, proof_trees, to_html, to_markdown
from ppo_jax.analysis.report.blocks import Cell, Document, Drawings, Item, Items, Section, Table, Text, Title
from ppo_jax.analysis.report.svg import make_figure
from ppo_jax.analysis.run_sets import gather_run_sets
from ppo_jax.config import Config, TaskConfig
from ppo_jax.runs.metric_table import METRICS
from ppo_jax.types import PPOJaxError
from tests.analysis.report.attempts import queries

U = 12
HOSTILE = "<script>alert(1)</script>|`*x*`](javascript:alert(2))"
SECTIONS = [
    "Summary",
    "Metrics before and after",
    "Issues",
    "Root causes",
    "Configuration against reference",
    "Recommendations by priority",
    "Validation",
    "Example proofs",
    "Appendix: reading each metric",
]


def run(name: str, seed: int = 0, constant: str = "a", **settings: Any) -> RunLog:
    rng = np.random.default_rng(seed)
    columns = {metric.name: rng.uniform(0.1, 0.9, U) for metric in METRICS}
    columns |= {"update": np.arange(1.0, U + 1), "env_steps": 64.0 * np.arange(1.0, U + 1)}
    columns["my <angle>"] = rng.uniform(10.0, 90.0, U)
    scores = [{"env_steps": 64.0 * i, "greedy": {"mrr": 0.5 + 0.1 * i}} for i in range(1, 5)]
    summary = {
        "status": "completed",
        "test": {"greedy": {"mrr": 0.9}, "marginal": {"mrr": 0.9, "auc_pr": 0.8}},
        "baselines": {"untrained": {"greedy": {"mrr": 0.5}}},
    }
    settings = {"env_id": "Proof-x", "n_epochs": 10, "target_kl": 0.02, "seed": seed} | settings
    return RunLog(
        name, "ppo_jax", settings, columns, tuple(scores), summary, queries(constant), ("a line was cut off",)
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    logs = [
        *(run(f"before-s{i}", i, n_epochs=20) for i in range(2)),
        *(run(f"{HOSTILE}-s{i}", i, HOSTILE, env_id=HOSTILE) for i in range(2)),
    ]
    folder = tmp_path_factory.mktemp("report")
    files = report.write(logs, folder)
    assert all(file.exists() for file in files)
    assert [file.name for file in files[:2]] == ["report.html", "report.md"]
    return folder


def test_the_sections_of_the_report(written):
    markdown = (written / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \d+\. (.*)$", markdown, re.MULTILINE) == SECTIONS
    page = (written / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<h2><span class="number">\d+</span>(.*)</h2>', page) == SECTIONS
    assert re.search(r"\| untrained, a baseline of before \| – \| 0\.500 \|.* – \|\n", markdown)  # beside the test
    assert "a line was cut off" in page and "a line was cut off" in markdown


def test_names_from_data_and_configurations_are_escaped(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    markdown = (written / "report.md").read_text(encoding="utf-8")
    outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    assert "<script" not in outside and not re.search(r"(?<!\\)\]\(javascript", outside)
    for block in re.findall(r"(?:^\|.*\n)+", outside, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
    for svg in (written / "figures").iterdir():
        assert "<script" not in svg.read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_elsewhere(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r"(?:https?:)?//[^\s\"'<)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_markdown_links_every_figure_and_each_is_a_drawing_of_its_own(written):
    markdown = (written / "report.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\(figures/(.*?)\.svg\)", markdown))
    assert linked == {file.stem for file in (written / "figures").iterdir()}
    assert linked >= {"learning", "explained-variance", "value-loss", "entropy", "kl", "clipping", "proofs", "ranks"}
    assert "**my &lt;angle>.** A metric of your own." in markdown and "own-1-my-angle-" in linked
    assert re.search(r"\| my &lt;angle> at the end \|.*\| Δ −?[\d.]+ \(−?[\d.]+ to −?[\d.]+\) \|", markdown)
    for file in (written / "figures").iterdir():
        assert ElementTree.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_figure_follows_the_pages_colours(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    drawing = (written / "figures" / "entropy.svg").read_text(encoding="utf-8")
    assert "currentColor" in page and "var(--series-2, #d55e00)" in page
    assert "currentColor" in drawing and "#d55e00" in drawing
    assert "var(" not in drawing  # which programs other than browsers do not know
    assert "#010101" not in drawing and "DejaVu" not in drawing


def test_explained_variance_far_below_zero_is_still_drawn(tmp_path):
    columns = {"update": np.arange(1.0, 9), "env_steps": np.arange(1.0, 9), "explained_variance": np.full(8, -4e5)}
    columns["explained_variance"][:4] = -1.5
    drawing = next(one for one in figures.draw(gather_run_sets([RunLog("far", "sb3", {}, columns)])))
    line = re.search(
        r'id="explained-variance-line2d_\d+">\s*<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--series-1',
        drawing.svg,
    )
    heights = [float(y) for _, y in re.findall(r"[ML] (\S+) (\S+)", line[1])]
    top, bottom = 0.0, float(re.search(r'viewBox="0 0 \S+ (\S+)"', drawing.svg)[1])
    assert top < min(heights) < max(heights) < bottom
    assert "−100,000" in drawing.svg


def test_a_run_that_blew_up_is_reported():
    columns = {name: np.array([0.1, 1e200, np.inf, np.nan, -1e308, 1e308]) for name in run("a").columns}
    columns |= {"update": np.arange(1.0, 7), "env_steps": np.arange(1.0, 7)}
    document = report.build([dataclasses.replace(run("a"), columns=columns)])
    assert "non-finite" in to_markdown(document)
    assert to_html(document).count("<svg") >= 8


def test_names_that_no_page_or_file_can_hold_are_written_out(tmp_path):
    folder = tmp_path / "run\x1b[31m"
    folder.mkdir()
    strange = "\x00\ud800\u202e" + HOSTILE
    (folder / "metrics.jsonl").write_text('{"update": 1, "env_steps": 1, "approx_kl": 0.1}\n')
    (folder / "queries.jsonl").write_text(json.dumps(queries(strange)[0]) + "\n")
    (folder / "summary.json").write_text(json.dumps({"status": strange, "baselines": {strange: 1}}))
    config = Config(TaskConfig(dataset=strange.replace("\ud800", "")))
    (folder / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    for file in report.write([read_run(folder)], tmp_path / "out"):
        text = file.read_text(encoding="utf-8")
        assert "x1b" in text or file.suffix == ".svg"
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert "<script" not in text or file.suffix == ".md"  # there it may stand within a fence
        if file.suffix == ".svg":
            ElementTree.parse(file)


def test_text_that_no_reader_made_legible_is_written_out_in_every_form():
    strange = "a\x1b[31mb\u202e"
    blocks = (
        Text(strange),
        Title(strange),
        Table((strange, "b"), ((Cell(strange, note=strange), Cell(f"`{strange}`", strong=True)),)),
        Items((Item(strange, strange, "", (strange,), code=strange, remark=strange),)),
        Drawings((make_figure("x", strange, strange, lambda axes: axes.set_title(strange)),)),
    )
    document = Document(strange, strange, (Section(strange, blocks),))
    for text in (to_html(document), to_markdown(document)):
        assert not set("\x1b\u202e") & set(text)
        assert text.count("x1b") >= 10


def test_another_trainers_log_leaves_out_what_it_lacks(tmp_path):
    columns = {"update": np.arange(1.0, 5), "env_steps": np.arange(1.0, 5), "explained_variance": np.full(4, 0.5)}
    columns["value_loss"] = np.full(4, np.nan)
    files = report.write([RunLog("sb3", "sb3", {}, columns)], tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["report.html", "report.md", "explained-variance.svg"]
    text = files[1].read_text(encoding="utf-8")
    assert "Validation" not in text and "Example proofs" not in text
    assert "do not tell their configuration" in text


def test_a_run_without_any_update_is_reported():
    summary = {"test": {"return_mean": 9.0}, "baselines": {"random": {"return_mean": 5.0}}}
    columns = {"update": np.zeros(0), "env_steps": np.zeros(0)}
    log = RunLog("crashed", "ppo_jax", {}, columns, summary=summary, notes=("metrics: empty",))
    text = to_markdown(report.build([log]))
    assert "metrics: empty" in text and "| random policy, a baseline |" in text
    assert figures.draw(gather_run_sets([log])) == ()


@pytest.fixture
def without_figures(monkeypatch):
    """They take most of the time of a report."""
    monkeypatch.setattr(figures, "draw", lambda run_sets: ())


def test_a_verdict_needs_seeds_enough_for_the_number_of_comparisons(without_figures):
    def verdict(n: int) -> str:
        logs = [run(f"{name}-s{i}", i, n_epochs=epochs) for name, epochs in (("a", 20), ("b", 5)) for i in range(n)]
        for log in logs[n:]:
            log.summary["test"]["greedy"]["mrr"] = 0.95
        logs = [
            dataclasses.replace(log, columns={key: log.columns[key] for key in ("update", "env_steps")}) for log in logs
        ]
        return to_markdown(report.build(logs)).partition("b against a: ")[2].partition("\n")[0]

    assert verdict(2) == "too few seeds to conclude."
    assert verdict(3).startswith("exploratory: better in test MRR (greedy)")
    assert verdict(6).startswith("better in test MRR (greedy)")


def test_a_number_of_fewer_seeds_says_of_how_many(without_figures):
    logs = [run(f"{name}-s{i}", i, n_epochs=epochs) for name, epochs in (("a", 20), ("b", 5)) for i in range(2)]
    for i, log in enumerate(logs):
        log.columns["returns_degenerate"] = np.full(U, float(i == 3))
    told = "explained variance at the end: b 1 of 2 seeds: the returns of the others hardly vary, there is nothing to"
    assert told in to_markdown(report.build(logs))


def judged(document: Document, title: str) -> dict[tuple[str, str], list[str]]:
    """(check, limit) -> the words of each run set, in a section with a table of checks."""
    section = next((one for one in document.sections if one.title == title), Section("", ()))
    table = next((block for block in section.blocks if isinstance(block, Table)), Table((), ()))
    return {(row[0].text, row[1].text.replace("–", "")): [cell.note for cell in row[2:]] for row in table.rows}


@pytest.mark.parametrize("limits", [{}, {"mrr": 0.85, "value_loss": 0.5}])
@pytest.mark.parametrize("tasks", [("Proof-countries_s3",), ("Proof-countries_s3", "Proof-x"), ("Proof-x", "CartPole")])
def test_expected_and_validation_say_the_same(tasks, limits, without_figures):
    logs = [run(f"{task}-s{i}", i, env_id=task) for task in tasks for i in range(2)]
    logs[0].summary["test"]["greedy"]["mrr"] = 0.1  # the mean of the seeds may well reach what one misses
    for log in logs[:2]:
        log.columns["explained_variance"][:] = np.nan
        log.columns["entropy_normalized"][:] = np.linspace(0.9, 0.1, U)
    document = report.build(logs, limits)
    expected, validated = judged(document, "Expected against achieved"), judged(document, "Validation")
    words = {"PASS": "reached", "FAIL": "missed by", "not judged": "not judged", "": ""}
    assert set(expected) <= set(validated)
    assert bool(expected) == (tasks[0] == "Proof-countries_s3" or bool(limits))  # else nothing is expected
    for check, cells in expected.items():
        assert all(a.startswith(words[b]) and bool(a) == bool(b) for a, b in zip(cells, validated[check], strict=True))
    said = {word for cells in validated.values() for word in cells}
    assert said >= ({"PASS", "FAIL", "not judged"} if tasks[0] == "Proof-countries_s3" else {""})
    assert ("FAIL" in said) == (tasks[0] == "Proof-countries_s3" or bool(limits))


def test_only_the_benchmark_is_judged_by_its_limits(without_figures):
    for task, limits in (("Proof-family", {}), ("CartPole-v1", {}), ("CartPole-v1", {"explained_variance": 0.99})):
        text = to_markdown(report.build([run("fam", env_id=task)], limits))
        assert ("FAIL" in text) == bool(limits) == ("fam does not pass" in text)
        assert "environment steps" not in text and "value loss" in text
        assert ("missed" in text or "reached" in text) == bool(limits)
    assert "FAIL" in to_markdown(report.build([run("s3", env_id="Proof-countries_s3")]))


def test_a_report_does_not_tell_where_files_lie(tmp_path, without_figures):
    """Of data, of their rules and prior, and of a run whose configuration has a mistake."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        task = TaskConfig(dataset=str(folder / "family"), rules=str(folder / "mined.txt"), prior=str(folder / "prior"))
        (folder / "config.toml").write_text(Config(task).to_toml(), encoding="utf-8")
        (folder / "metrics.jsonl").write_text('{"update": 1, "env_steps": 1, "approx_kl": 0.1}\n')
        (folder / "summary.json").write_text(json.dumps({"env_id": str(folder / "family")}))
    with open(folders[1] / "config.toml", "a", encoding="utf-8") as file:
        file.write("unknown = 1\n")
    document = report.build([read_run(folder) for folder in folders])
    for text in (to_html(document), to_markdown(document)):
        assert str(tmp_path) not in text
        assert "first/family" in text and "second/family" in text and "unknown key" in text


def test_no_runs_and_no_folder_are_explained(tmp_path):
    with pytest.raises(PPOJaxError, match="no runs"):
        report.build([])
    (tmp_path / "file").write_text("")
    with pytest.raises(PPOJaxError, match="choose another folder"):
        report.write([run("a")], tmp_path / "file" / "report")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120  # seconds for the whole visit, on a busy machine
VISIBLE = """[...document.querySelectorAll('figure svg, figure .tree')].map(one => {
  const box = one.getBoundingClientRect();
  return [one.closest('figure').id, box.width, box.height];
})"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
def test_the_page_in_a_browser(written, tmp_path):
    """No request beyond the file itself, no console error, every figure visible; legible dark and on a phone."""
    address = (written / "report.html").as_uri()
    with browser(tmp_path) as call:
        target = call("Target.createTarget", url="about:blank")["targetId"]
        session = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        events: list[dict[str, Any]] = []

        def ask(method: str, **params: Any) -> dict[str, Any]:
            return call(method, session, events, **params)

        def value(expression: str) -> Any:
            return ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

        for domain in ("Network", "Log", "Runtime", "Page"):
            ask(f"{domain}.enable")
        ask("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in events):
            ask("Runtime.evaluate", expression="1")
            time.sleep(0.05)
        shown = value(VISIBLE)
        assert len(shown) == len(list((written / "figures").iterdir())) + 6  # three proof trees of each group
        assert all(width > 200 and height > 24 for _, width, height in shown), shown
        colours = []
        for scheme in ("light", "dark"):
            ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            colours.append(value("['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name])"))
        (ink, paper), (dark_ink, dark_paper) = (
            [sum(map(int, re.findall(r"\d+", one))) for one in two] for two in colours
        )
        assert ink + 300 < paper and dark_paper + 300 < dark_ink
        ask("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
        assert value("document.documentElement.scrollWidth") <= 390
        trees_fit = (
            "[...document.querySelectorAll('.attempt .scroll')].every(one => one.scrollWidth <= one.clientWidth)"
        )
        assert value(trees_fit)
        smallest = (
            "Math.min(...[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height))"
        )
        assert value(smallest) >= 9
        requests = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
        assert {url for url in requests if not url.startswith("data:")} == {address}
        assert [e for e in events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")] == []
        assert [e for e in events if e["method"] == "Runtime.consoleAPICalled"] == []


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """Headless Chromium on the pipe of its debugging protocol: messages are JSON that ends with a zero byte."""
    read_end, to_browser = os.pipe()
    from_browser, write_end = os.pipe()
    flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-sync "
    flags += "--disable-background-networking --disable-component-update --disable-quic --remote-debugging-pipe"
    command = f'exec "$0" {flags} --user-data-dir="$1" 3<&{read_end} 4>&{write_end}'
    process = subprocess.Popen(
        ["bash", "-c", command, str(CHROMIUM), str(folder / "profile")],
        pass_fds=(read_end, write_end),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_end)
    os.close(write_end)
    buffer, number, deadline = b"", 0, time.monotonic() + PATIENCE

    def message() -> dict[str, Any]:
        nonlocal buffer
        while b"\0" not in buffer:
            assert select.select([from_browser], [], [], max(0.0, deadline - time.monotonic()))[0], "Chromium hangs"
            more = os.read(from_browser, 1 << 16)
            if not more and number == 1:
                pytest.skip(f"{CHROMIUM} does not start")
            assert more, "Chromium ended"
            buffer += more
        text, _, buffer = buffer.partition(b"\0")
        return json.loads(text)

    def call(method: str, session: str | None = None, events: list | None = None, **params: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        request = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        with suppress(BrokenPipeError):  # then the answer does not come either
            os.write(to_browser, json.dumps(request).encode() + b"\0")
        while (answer := message()).get("id") != number:
            if events is not None:
                events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    try:
        yield call
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(from_browser)
        os.close(to_browser)


@pytest.mark.parametrize(
    "candidates",
    [
        None,
        3,
        [[]],
        [{"steps": 3}],
        [{"query": "a", "steps": [{}]}],
        [{"query": "a", "steps": [{"action": "end", "probability": "x", "resolvent": []}]}],
        [{"query": "a", "steps": [{"action": "end", "probability": 1.0, "resolvent": [], "goal": 7}]}],
        [{"query": "a", "steps": [{"action": "end", "probability": 1.0, "resolvent": [], "goal": 0, "known": [3]}]}],
    ],
)
def test_attempts_of_another_build_are_passed_over(candidates):
    good = queries("x")[0]
    assert proof_trees.examples("run", ({"candidates": candidates}, good)) == proof_trees.examples("run", (good,))
