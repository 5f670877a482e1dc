"""A disk that fills up, in bytes or in files: one line, what was there can be read, and with room the run goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ppo_jax.runs import loop, runner
from tests.cli.console import call
from tests.runs.test_resume import TOY, assert_same, kill_at

# Where the disk fills up while orbax writes, its threads end as they like.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own at `folder`, with a bound on its bytes or its files."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHUNK_SECONDS", 0.0)
        runner.train(TOY, folder, progress=False)
    return folder


SIZES = [f"size={n}k" for n in (8, 24, 48, 80, 120, 170, 230, 300, 380, 470)]
FILES = [f"nr_inodes={n}" for n in (3, 6, 10, 16, 24, 34, 46, 60, 78, 100)]


@pytest.mark.parametrize("options", [*SIZES, *FILES])
def test_a_run_on_a_full_disk(whole, tmp_path, options):
    (tmp_path / "a.toml").write_text(TOY.to_toml())
    with small_disk(tmp_path / "disk", options) as disk:
        folder = disk / "run"
        result = call("train", tmp_path / "a.toml", "--run-dir", folder, "--quiet")
        assert (result.code, result.err.count("\n")) in ((2, 1), (0, 0)), result
        if result.code == 2:
            assert "cannot be written: No space left on device" in result.err
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=100k", str(disk)], check=True)
        again = ("resume", folder) if (folder / "config.toml").exists() else ("train", tmp_path / "a.toml", "--run-dir")
        assert call(*(again if again[0] == "resume" else (*again, folder)), "--quiet").code == 0
        assert_same(folder, whole)


@pytest.mark.parametrize("room", [0, 4, 12, 40, 90])
def test_a_stopped_run_on_a_full_disk_loses_nothing(whole, tmp_path, room):
    kill_at(tmp_path / "stopped", 8)
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in (tmp_path / "stopped").rglob("*") if path.is_file())
    with small_disk(tmp_path / "disk", "size=64m") as disk:
        folder = shutil.copytree(tmp_path / "stopped", disk / "run")
        summary = (folder / "summary.json").read_bytes()
        subprocess.run(["mount", "-o", f"remount,size={used + room}k", str(disk)], check=True)
        result = call("resume", folder, "--quiet")
        assert result.code == 2 and result.err.count("\n") == 1, result
        assert json.loads((folder / "summary.json").read_text())["status"] in ("running", "failed")
        assert room or (folder / "summary.json").read_bytes() == summary
        runner.load(folder)  # the best so far can be read
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert call("resume", folder, "--quiet").code == 0
        assert_same(folder, whole)
