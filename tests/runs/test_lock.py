"""One writer a folder: whoever comes second is told who holds it, and nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ppo_jax.runs import lock, manifest, runner
from ppo_jax.types import PPOJaxError
from tests.cli.console import call, fail
from tests.runs.test_runner import CARTPOLE, snapshot

HOLD = """
import sys, time
from pathlib import Path
from ppo_jax.runs import lock
with lock.one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that writes to the folder ``run``."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_writer_is_told_who_the_first_is(holder, tmp_path):
    told = rf"run: process {holder.pid} on {socket.gethostname()} has been writing to it since 20\d\d-"
    with pytest.raises(lock.InUse, match=told), lock.one_writer(tmp_path / "run"):
        pass


def test_death_releases_the_folder(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / lock.LOCK).exists()
    with lock.one_writer(tmp_path / "run"):
        pass
    assert not list((tmp_path / "run").iterdir())


def test_of_many_that_come_at_once_one_writes(tmp_path):
    inside, most, refused = [0], [0], []

    def write():
        for _ in range(30):
            try:
                with lock.one_writer(tmp_path):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.0005)
                    inside[0] -= 1
            except lock.InUse:
                refused.append(1)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert 0 < len(refused) < 240


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def leave_lease(folder: Path, **holder) -> Path:
    (folder / lock.LEASE).write_text(json.dumps(holder))
    return folder / lock.LEASE


def test_without_locks_a_lease_takes_their_place(no_locks, tmp_path):
    with lock.one_writer(tmp_path):
        assert json.loads((tmp_path / lock.LEASE).read_text())["pid"] == os.getpid()
        with pytest.raises(lock.InUse, match=f"process {os.getpid()} on"), lock.one_writer(tmp_path):
            pass
    assert not (tmp_path / lock.LEASE).exists()


def test_the_lease_of_a_dead_process_counts_for_nothing(no_locks, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    leave_lease(tmp_path, host=socket.gethostname(), pid=process.pid)
    with lock.one_writer(tmp_path):
        pass


def test_a_lease_of_another_host_counts_while_it_shows_signs_of_life(no_locks, tmp_path):
    lease = leave_lease(tmp_path, host="elsewhere", pid=1)
    with pytest.raises(lock.InUse, match="process 1 on elsewhere"), lock.one_writer(tmp_path):
        pass
    os.utime(lease, (0, time.time() - lock.SILENT - 1))
    with lock.one_writer(tmp_path):
        pass


def test_default_names_do_not_collide(tmp_path):
    with (
        manifest.unused(tmp_path / "runs" / "a") as first,
        manifest.unused(tmp_path / "runs" / "a") as second,
        manifest.unused(tmp_path / "runs" / "a") as third,
    ):
        assert [path.name for path in (first, second, third)] == ["a", "a-2", "a-3"]
        (second / "kept").write_text("")
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "a-2"]


def test_of_two_that_begin_in_one_second_each_gets_a_folder(tmp_path):
    for i in range(10):
        begin, names = threading.Barrier(2), []

        def write(runs=tmp_path / str(i), begin=begin, names=names):
            begin.wait()
            with manifest.unused(runs / "a") as folder:
                (folder / "kept").write_text("")
                names.append(folder.name)

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(names) == ["a", "a-2"]


# ------------------------------------------------------------------------------------- the commands that write a run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lock") / "run"
    runner.train(CARTPOLE, folder, progress=False)
    return folder


@pytest.fixture
def written_to(run, tmp_path):
    """A stopped run that another process, or thread, writes to; and its configuration."""
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "summary.json").write_text('{"status": "running"}')
    (tmp_path / "a.toml").write_text(CARTPOLE.to_toml())
    with lock.one_writer(folder):
        yield folder


@pytest.mark.parametrize(
    "command",
    [
        ("resume", "{run}"),
        ("train", "{config}", "--run-dir", "{run}", "--reuse"),
        ("train", "{config}", "--run-dir", "{run}", "--overwrite"),
        ("validate", "{config}", "--run-dir", "{parent}", "--limit", "early_stopped=1"),
    ],
)
def test_a_second_command_is_refused_and_nothing_is_lost(written_to, tmp_path, command):
    if command[0] == "validate":  # which calls the folders of its runs by their seeds
        written_to = written_to.rename(tmp_path / "s0")
    names = {"run": written_to, "config": tmp_path / "a.toml", "parent": tmp_path}
    before = snapshot(written_to)
    for _ in range(10):
        assert f"process {os.getpid()} on" in fail(*(part.format(**names) for part in command))
    assert snapshot(written_to) == before


def test_two_that_train_into_one_new_folder(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text(CARTPOLE.to_toml())
    begin, results = threading.Barrier(2), []

    def train():
        begin.wait()
        try:
            results.append(runner.train(CARTPOLE, tmp_path / "run", progress=False)["status"])
        except PPOJaxError as error:
            results.append(str(error))

    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (refused,) = (result for result in results if result != "completed")
    assert "has been writing to it" in refused or "already holds a run" in refused or "in use by" in refused
    assert call("resume", tmp_path / "run").code == 0
