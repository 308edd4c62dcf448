"""What a terminal prints: times that come true, and commands that can be typed."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from kefu import show
from kefu.records import Step


def test_the_time_left_does_not_count_what_comes_once_before_the_first_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = show.Progress()
    bar.start(10, 100)
    for number in (1, 2, 3):
        bar.step(Step(number, 11, 1.0, 1e-3, 1.0, seconds=600.0 + 2 * number, memory=0))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("left=?") and lines[3].endswith("left=16 s")


def test_the_next_command_can_be_typed_also_where_the_environment_is_not_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    said = show.command("-C", tmp_path / "一 店", "runs", "--json")
    assert shlex.split(said)[1:] == ["-C", str(tmp_path / "一 店"), "runs", "--json"]
    done = subprocess.run(said, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stderr
