"""Ctrl-C, SIGTERM and SIGHUP: while it compiles, twice, and where they are ignored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppo_jax.runs import loop, runner, signals
from tests.runs.test_resume import TOY, assert_same, resume

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    runner.train(TOY, folder, progress=False)
    return folder


@pytest.mark.parametrize("number", ALL)
def test_a_signal_while_it_compiles_stops_the_run_at_a_checkpoint(whole, tmp_path, monkeypatch, number):
    compile_chunk = loop.compile_chunk

    def interrupted(*arguments):
        os.kill(os.getpid(), number)
        return compile_chunk(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "compile_chunk", interrupted)
        with pytest.raises(signals.Interrupted) as caught:
            runner.train(TOY, tmp_path / "run", progress=False)
    assert caught.value.signal == number
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    resume(tmp_path / "run", warned=(warned := []))
    assert warned == []
    assert_same(tmp_path / "run", whole)


HOLD = """
import os, signal, sys, time
from ppo_jax.runs import signals
with signals.Signals() as held:
    print("held", flush=True)
    while not held.received:
        time.sleep(0.01)
    print("received", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", ALL)
def test_a_second_signal_ends_a_command_at_once_and_cleanly(number):
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in ("held\n", "received\n"):
            assert process.stdout.readline() == line
            process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + number, "interrupted twice, ended at once\n")


def test_in_a_notebook_a_second_signal_interrupts(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with signals.Signals() as held:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        with pytest.raises(signals.Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        assert held.received == signal.SIGINT


def test_what_is_ignored_stays_ignored():
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals.Signals() as held, signals.sigterm_interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert not held.received
    finally:
        signal.signal(signal.SIGHUP, old)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
