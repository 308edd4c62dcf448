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


def test_the_time_left_is_the_plan_s_at_first_and_then_what_the_steps_take(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = show.Progress()
    bar.planned = 1000.0
    seconds = 0.0
    for number in range(1, 61):
        # The first ones are slow, one in ten saves; the machine is half as fast from 31 on.
        seconds += 30.0 if number < 4 else 1.0 if number <= 30 else 2.0
        seconds += 0.5 * (number % 10 == 0)
        bar.step(Step(number, 100, 1.0, 1e-3, 1.0, seconds=seconds, memory=0))
    left = [line.partition("left=")[2] for line in capsys.readouterr().out.splitlines()]
    assert left[0] == "16 min"  # 99 of the plan's 1000 seconds / 100
    assert left[9] == "2 min"  # 90 steps of 1 second, and what saving takes
    assert left[59] == "81 s"  # 40 steps of 2 seconds, and what saving takes


def test_what_happened_in_training_is_said_between_the_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = show.Progress()
    bar.step(Step(1, 2, 1.0, 1e-3, 1.0, seconds=1.0, memory=0))
    bar.step(Step(2, 2, 1.0, 1e-3, 1.0, seconds=2.0, memory=0, note="Went back to step 0."))
    assert capsys.readouterr().out.splitlines()[1] == "Went back to step 0."


def test_the_next_command_can_be_typed_also_where_the_environment_is_not_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    said = show.command("-C", tmp_path / "一 店", "runs", "--json")
    assert shlex.split(said)[1:] == ["-C", str(tmp_path / "一 店"), "runs", "--json"]
    done = subprocess.run(said, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stderr
