"""A sweep whose head is killed in the middle goes on with every trial, and trains none twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import tiny
from kefu import faq as faqs
from kefu.scale.trials import read_trials
from kefu.train import checkpoints
from kefu.workspace import RunFolder

pytest.importorskip("ray", reason="needs ray: pip install 'kefu[scale]'")
BUSY = 1200
"""Seconds that a busy machine may take for half of a sweep."""


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False


def until(said: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Waits for `said`; fails where the process ends before, or it takes too long."""
    end = time.monotonic() + BUSY
    while not said():
        assert process is None or process.poll() is None, "the sweep ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.05)


def stepped(run: RunFolder) -> list[str]:
    path = run.steps_file
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


@pytest.mark.timeout(2 * BUSY)
def test_a_sweep_goes_on_when_its_head_was_killed_with_all_trials_and_none_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEFU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else a busy machine starves them
    base = tiny.base(tmp_path / "base")
    faqs.write(tiny.FAQ.pairs, tmp_path / "shop.csv")
    command = [sys.executable, "-m", "kefu", "-C", "shop", "sweep"]
    new = ["../shop.csv", "--base", str(base), "--reader", "none", "--precision", "fp32"]
    new += ["--trials", "8"]
    sweep = tmp_path / "shop" / "sweeps" / "found"

    def runs() -> list[RunFolder]:
        return [RunFolder(path) for path in sorted(sweep.glob("runs/trial-*"))]

    def midway() -> bool:
        found = runs()
        begun = [r for r in found if not r.finished and checkpoints.newest(r) is not None]
        return len(found) < 8 and bool(begun) and any(r.finished for r in found)

    head = subprocess.Popen(
        [*command, *new, "--steps", "12", "--name", "found"],
        cwd=tmp_path, text=True, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        until(midway, head)
        others = psutil.Process(head.pid).children(recursive=True)
    finally:
        os.kill(head.pid, signal.SIGKILL)
        head.wait()
    until(lambda: not any(lives(process) for process in others))

    before = {run.name: (run.finished, checkpoints.newest(run), stepped(run)) for run in runs()}
    assert any(finished for finished, *_ in before.values())
    adapters = {
        name: (sweep / "runs" / name / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
        for name, (finished, *_) in before.items()
        if finished
    }
    done = subprocess.run(
        [*command, "--resume", "found"], cwd=tmp_path, capture_output=True, text=True, timeout=BUSY
    )
    assert done.returncode == 0, done.stderr
    trials = read_trials(sweep)
    assert [t.name for t in trials] == [f"trial-{i}" for i in range(8)]
    assert all(t.each and not t.fault for t in trials)
    for run in runs():
        lines = stepped(run)
        numbers = [json.loads(line)["step"] for line in lines]
        assert numbers == list(range(1, len(numbers) + 1))
        finished, kept, told = before.get(run.name, (False, None, []))
        if finished:
            place = run.adapter / "adapter_model.safetensors"
            assert lines == told and place.stat().st_mtime_ns == adapters[run.name]
        elif kept is not None:  # with its times of day: they were not done again
            step = checkpoints.step_of(kept)
            assert step >= 3 and lines[:step] == told[:step]
    assert RunFolder(tmp_path / "shop" / "runs" / "found").finished
