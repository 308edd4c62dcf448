"""The owner sets anew how sure a trained run must be, without training it again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import export_runs as tiny
from kefu import jobs
from kefu.bot import Bot
from kefu.bot.weighing import WITNESSES
from kefu.cli import cli
from kefu.errors import BaseError, GateError, RunError
from kefu.jobs import thresholds
from kefu.records import WEIGHED, Calibration, Candidate, Report, Tally
from kefu.weights import warm
from kefu.workspace import RunFolder, Workspace, read_json, write_json

CURVE = ((0.9, 0.4, 0.01), (0.8, 0.6, 0.03), (0.6, 0.8, 0.04), (0.2, 1.0, 0.2))
"""(threshold, share answered, share of those that is wrong)."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    """A run that was examined at 2 % allowed."""
    found = tiny.run(tmp_path / "runs" / "shop", tiny.base(tmp_path / "base", "qwen2"))
    kept = Calibration(
        (1.0,), (0.0,), (1.0,), threshold=0.9, curve=CURVE, asked=50, weighed=WEIGHED
    )
    write_json(found.calibration_file, kept, Calibration)
    tally = Tally("known", 1, 1, 0, 0, 0, 0, 0)
    report = Report(
        "shop (verbatim)", "e", "f", "2026-01-02T03:04:05Z", (Candidate("shop", (tally,), tally),),
        (), "It earned its keep.", threshold=0.9,
    )  # fmt: skip
    write_json(found.file("report.json"), report, Report)
    yield found


def test_the_threshold_follows_from_the_curve_that_the_run_has(run: RunFolder) -> None:
    made = jobs.set_threshold(run, 0.05)
    assert (made.now.threshold, made.now.answered, made.now.wrong) == (0.6, 0.8, 0.04)
    kept = read_json(run.calibration_file, Calibration)
    assert (kept.threshold, kept.allowed, kept.curve, kept.weights) == (0.6, 0.05, CURVE, (1.0,))
    assert [(line.allowed, line.answered) for line in made.others] == [
        (0.01, 0.4), (0.02, 0.4), (0.05, 0.8), (0.1, 0.8)
    ]  # fmt: skip
    strict = jobs.set_threshold(run, 0.001)
    assert strict.now.threshold > 0.9 and strict.now.answered == 0


def test_a_run_is_let_out_only_with_the_threshold_that_was_examined(
    run: RunFolder, tmp_path: Path
) -> None:
    room = Workspace(tmp_path)
    assert "asked nothing" in " ".join(jobs.refused(room, "shop", "en"))  # the gate was reached
    jobs.set_threshold(run, 0.05)
    for ask in (lambda: jobs.refused(room, "shop", "en"), lambda: jobs.let_out(room, "shop", 0.0)):
        with pytest.raises(RunError, match="anew after its exam") as caught:
            ask()
        assert "kefu eval shop" in caught.value.fix
    jobs.set_threshold(run, 0.02)
    with pytest.raises(GateError, match="asked nothing"):
        jobs.let_out(room, "shop", 0.0)


def test_a_run_that_never_got_its_curve_gets_it_or_is_refused(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.calibration_file.unlink()
    monkeypatch.setattr(thresholds, "settle", lambda folder, allowed: None)
    with pytest.raises(RunError, match="no curve"):  # as one of the tutorial's recipe
        jobs.set_threshold(run, 0.05)

    def settled(folder: RunFolder, allowed: float) -> None:
        found = Calibration((2.0,), curve=CURVE, weighed=WEIGHED)
        write_json(folder.calibration_file, found, Calibration)

    monkeypatch.setattr(thresholds, "settle", settled)
    assert jobs.set_threshold(run, 0.05).now.threshold == 0.6


def files(run: RunFolder) -> dict[str, tuple[bytes, int]]:
    return {
        name: (run.file(name).read_bytes(), run.file(name).stat().st_mtime_ns)
        for name in ("plan.json", "calibration.json")
    }


def test_what_fails_leaves_the_run_as_it_was(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(run)
    with pytest.raises(BaseError, match="no adapter"):
        jobs.set_threshold(run, 0.05, "gemma-3-270m")
    assert files(run) == before
    seen = []

    def fails(folder: RunFolder, allowed: float) -> Any:
        seen.append(folder.plan().reranker.value)
        raise RuntimeError("The cable was pulled.")

    monkeypatch.setattr(thresholds, "settle", fails)
    with pytest.raises(RuntimeError):
        jobs.set_threshold(run, 0.05, "Qwen/Qwen2.5-Coder-1.5B-Instruct")
    assert seen == ["Qwen/Qwen2.5-Coder-1.5B-Instruct"]
    after = files(run)
    assert {name: text for name, (text, _) in after.items()} == {
        name: text for name, (text, _) in before.items()
    }
    assert after["plan.json"] == before["plan.json"]


def test_a_larger_base_that_reads_rows_is_kept_with_the_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Qwen/Qwen2.5-Coder-1.5B-Instruct"
    adapter = warm.reading_digest(run.plan().reads_by, "qwen2.5-coder-1.5b")

    def settled(folder: RunFolder, allowed: float) -> None:
        assert not folder.calibration_file.exists()  # the old threshold is of other evidence
        curve = ((0.7, 0.9, 0.02), (0.1, 1.0, 0.1))
        found = Calibration((2.0,), curve=curve, cross=adapter, weighed=WEIGHED)
        write_json(folder.calibration_file, found, Calibration)

    run.file("exam").mkdir()
    at = run.file("plan.json").stat().st_mtime_ns
    monkeypatch.setattr(thresholds, "settle", settled)
    made = jobs.set_threshold(run, 0.02, name)
    assert (made.reranker, made.now.threshold) == (name, 0.7)
    assert run.plan().reranker.value == name
    assert not run.file("exam").exists()  # replies of the bot before
    assert run.file("plan.json").stat().st_mtime_ns == at
    monkeypatch.setattr(thresholds, "settle", None)
    assert jobs.set_threshold(run, 0.1, name).now.threshold == 0.1  # nothing is asked again


@pytest.mark.parametrize(
    ("other", "how"),
    [
        ({"cross": "older"}, "read by another adapter"),
        ({"weighed": WEIGHED - 1}, "weighed the evidence otherwise"),
    ],
)
def test_a_run_of_another_version_is_asked_anew_and_not_trained(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], how: str
) -> None:
    """As after an update of kefu that reads by another adapter, or weighs otherwise."""
    before = read_json(run.calibration_file, Calibration)
    older = replace(before, witnesses=WITNESSES, **other)
    write_json(run.calibration_file, older, Calibration)
    with pytest.raises(RunError, match=how) as caught:
        Bot.open(run)
    assert "kefu threshold shop" in caught.value.fix

    def settled(folder: RunFolder, allowed: float) -> None:
        write_json(folder.calibration_file, replace(before, curve=CURVE[1:]), Calibration)

    monkeypatch.setattr(thresholds, "settle", settled)
    told: list[str] = []
    made = jobs.set_threshold(run, 0.02, say=told.append)
    assert made.now.threshold > 0.8  # none of the new curve's is so sure
    assert len(told) == 1 and "held-out questions anew" in told[0]  # it takes a while


def test_the_command_tells_what_each_share_would_mean(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["threshold", "shop", "--allowed", "0.05"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["now", "5%", "0.6000", "80%", "4.0%"] in lines
    assert ["1%", "0.9000", "40%", "1.0%"] in lines
    assert "kefu eval shop" in done.output
    told = json.loads(CliRunner().invoke(cli, ["threshold", "shop", "--json"]).output)
    assert told["now"]["allowed"] == 0.02  # as kefu.toml says


def test_no_model_is_loaded_for_it(run: RunFolder, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom kefu.cli import cli\n"
        "cli(['threshold', 'shop', '--allowed', '0.05'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'peft'} & sys.modules.keys()\nassert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "0.6000" in done.stdout
