"""The commands that a face starts as children, so that they go on when it is closed."""

from __future__ import annotations

from pathlib import Path

from .. import background
from ..background import Job
from ..workspace import Workspace
from .asking import let_go


def start_training(workspace: Workspace, faq: Path, run: str, thorough: str, steps: int = 0) -> Job:
    """Trains `run`; `steps` 0 for as many as the plan says."""
    words = ["train", str(faq), "--name", run, "--thorough", thorough, "--json"]
    return _start(workspace, "train", run, *words, *(["--steps", str(steps)] if steps else []))


def start_again(workspace: Workspace) -> Job:
    """Goes on with the training that was stopped."""
    run = background.last(workspace).run
    return _start(workspace, "train", run, "train", "--resume", run, "--json")


def start_exam(workspace: Workspace, run: str | None = None) -> Job:
    """Examines a run, by default the one that was trained last."""
    name = workspace.run(run or background.last(workspace).run).name
    return _start(workspace, "eval", name, "eval", name, "--json")


def start_export(workspace: Workspace, run: str | None, form: str) -> Job:
    """Packs a run into the folder `exports`."""
    name = workspace.run(run).name
    out = str(workspace.root / "exports" / f"{name}{'.zip' if form == 'zip' else f'-{form}'}")
    words = ["export", name, "--to", form, "--out", out, "--force"]
    return _start(workspace, "export", name, *words, out=out)


def stop(workspace: Workspace) -> None:
    """Stops whatever is under way, as Ctrl-C does: a training keeps its last checkpoint."""
    background.stop(background.last(workspace))


def _start(
    workspace: Workspace, kind: background.Kind, run: str, *words: str, out: str = ""
) -> Job:
    let_go()  # the memory is wanted
    return background.start(workspace, kind, run, *words, out=out)
