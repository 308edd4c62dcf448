"""What came of the runs of a workspace: listed, compared, released."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

from ..errors import RunError
from ..records import Choice, Comparison, Plan, Release, Report
from ..workspace import RunFolder, Workspace, read_json, read_lines


def report_of(folder: RunFolder) -> Report:
    """The report of a run that was examined."""
    path = folder.file("report.json")
    if not path.is_file():
        raise RunError(
            f"The run {folder.name} was not examined yet.",
            f"Examine it: `kefu eval {folder.name}`.",
        )
    return read_json(path, Report)


CONTROLS = 3
"""Examinees beside the run and the release before."""


def how_far(folder: RunFolder, previous: bool) -> tuple[int, int]:
    """Where an exam is: answers so far, of the run and its controls, and of how many.

    `previous` is whether the release before is examined too.
    """
    done = sum(len(read_lines(p)) for p in folder.path.glob("exam/*.jsonl"))
    return done, len(read_lines(folder.file("exam.jsonl"))) * (1 + CONTROLS + previous)


def loss_curve(folder: RunFolder) -> str:
    """The loss of a run as a line of bars."""
    from ..train import loss_text

    return loss_text(list(folder.steps()))


def summary(folder: RunFolder) -> dict[str, str | int | float]:
    """One line about a run."""
    plan = folder.plan()
    steps = list(folder.steps())
    right = ""
    if folder.file("report.json").is_file():
        overall = report_of(folder).candidates[0].overall
        right = f"{overall.right}/{overall.asked}"
    at = datetime.fromtimestamp(folder.file("plan.json").stat().st_mtime)
    return {
        "name": folder.name,
        "state": "finished" if folder.finished else "stopped",
        "base": plan.base.value,
        "recipe": plan.recipe.value,
        "steps": f"{steps[-1].step if steps else 0}/{plan.steps.value}",
        "loss": f"{steps[-1].loss:.4f}" if steps else "",
        "right": right,
        "at": at.strftime("%Y-%m-%d %H:%M"),
    }


def compare_runs(a: RunFolder, b: RunFolder) -> Comparison:
    """Two examined runs: what changed in data and plan, and what it did to the answers."""
    from ..score import compare

    changed = []
    one, two = a.plan(), b.plan()
    for field in fields(Plan):
        x, y = getattr(one, field.name), getattr(two, field.name)
        if isinstance(x, Choice) and x.value != y.value:
            changed.append((field.name, str(x.value), str(y.value)))
    if one.faq_digest != two.faq_digest:
        changed.append(("FAQ", one.faq_digest[:12], two.faq_digest[:12]))
    return compare(report_of(a), report_of(b), changed)


def let_out(workspace: Workspace, run: str | None, allow_worse: float) -> Release:
    """Releases a run if its report passes the gate."""
    from .. import releases

    folder = workspace.run(run)
    placed = releases.current(workspace)
    previous = None
    if placed is not None and placed.run != folder.name:
        previous = report_of(workspace.run(placed.run))
    return releases.release(
        workspace, folder.name, report_of(folder), previous, allow_worse=allow_worse
    )
