"""What came of the runs of a workspace: listed, compared, released."""

from __future__ import annotations

from datetime import datetime

from .. import releases
from ..errors import RunError
from ..records import Comparison, Release, Report
from ..score import Language, compare, gate
from ..workspace import RunFolder, Workspace, read_json


def report_of(folder: RunFolder) -> Report:
    """The report of a run that was examined."""
    path = folder.file("report.json")
    if not path.is_file():
        raise RunError(
            f"The run {folder.name} was not examined yet.",
            f"Examine it: `kefu eval {folder.name}`.",
        )
    return read_json(path, Report)


def examined_as_it_is(folder: RunFolder) -> Report:
    """The report of a run whose threshold is the one that was examined.

    Raises RunError where it was set anew since: the report is of another bot then.
    """
    report = report_of(folder)
    if folder.calibration_file.is_file() and folder.calibration().threshold != report.threshold:
        raise RunError(
            f"The threshold of {folder.name} was set anew after its exam.",
            f"Examine it as it is: `kefu eval {folder.name}`.",
        )
    return report


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


def compare_runs(a: RunFolder, b: RunFolder, language: Language = "en") -> Comparison:
    """Two examined runs: what changed in data and plan, and what it did to the answers."""
    one, two = a.plan(), b.plan()
    changed = [
        (name, str(x.value), str(y.value))
        for name, x in one.choices.items()
        if x.value != (y := two.choices[name]).value
    ]
    if one.faq_digest != two.faq_digest:
        changed.append(("FAQ", one.faq_digest[:12], two.faq_digest[:12]))
    return compare(report_of(a), report_of(b), changed, language)


def refused(workspace: Workspace, run: str | None, language: Language) -> tuple[str, ...]:
    """Why a run may not be released, in whole sentences; empty when it may."""
    folder = workspace.run(run)
    report = examined_as_it_is(folder)
    return gate(report, _placed(workspace, folder), language=language)


def let_out(workspace: Workspace, run: str | None, allow_worse: float) -> Release:
    """Releases a run if its report passes the gate."""
    folder = workspace.run(run)
    report, previous = examined_as_it_is(folder), _placed(workspace, folder)
    return releases.release(workspace, folder.name, report, previous, allow_worse=allow_worse)


def _placed(workspace: Workspace, folder: RunFolder) -> Report | None:
    """The report of the release in place, where that is another run."""
    placed = releases.current(workspace)
    if placed is None or placed.run == folder.name:
        return None
    return report_of(workspace.run(placed.run))
