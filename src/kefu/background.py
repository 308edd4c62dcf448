"""Heavy work as child `kefu` commands: started, watched and stopped, whatever the page does.

What is under way stands in `.studio/job.json` of the workspace, so a closed tab or a studio that
was started anew loses nothing. Knows nothing of pages, nor of what the commands do.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from .errors import RunError
from .workspace import Workspace, cannot_write, read_json, write_json

Kind = Literal["train", "eval", "export"]
FOLDER = ".studio"
ROOM = 2**16
"""Bytes that are kept for what a child says: that the disk is full must have a place there."""
# A studio that was started in the background may pass on that Ctrl-C is to be ignored.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from kefu.cli import main; main()"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A child command: what it does, to which run, and as which process."""

    kind: Kind
    run: str
    pid: int
    born: float
    """When the process began, by the system's clock: numbers of processes are used again."""
    out: str = ""
    """What it makes, for an export."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What was wrong, the remedy, and the kind of error: its anchor in the papers, or nothing."""

    what: str
    fix: str
    anchor: str


def start(workspace: Workspace, kind: Kind, run: str, *words: str, out: str = "") -> Job:
    """Starts `kefu` with `words` in the workspace. Raises RunError while another job runs."""
    import psutil  # comes with the studio: other faces need none

    folder = workspace.root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=10):
            job = last(workspace)
            if runs(job):
                raise RunError(
                    f"{job.kind} {job.run} is still under way.", "Wait for it, or stop it."
                )
            with (folder / "log.txt").open("wb") as log:
                log.write(bytes(ROOM))
                log.seek(0)
                child = subprocess.Popen(
                    [sys.executable, "-c", COMMAND, *words],
                    cwd=workspace.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C at the studio is not meant for the training
                )
            made = Job(kind, run, child.pid, psutil.Process(child.pid).create_time(), out)
            try:
                write_json(folder / "job.json", made)
            except RunError:  # what nobody could stop shall not begin
                child.kill()
                raise
    except OSError as error:
        raise cannot_write(folder, error) from None
    return made


def last(workspace: Workspace) -> Job:
    """The newest job, under way or ended; one of no run where there was none."""
    with suppress(RunError):
        return read_json(workspace.root / FOLDER / "job.json", Job)
    return Job("train", "", 0, 0.0)


def runs(job: Job) -> bool:
    """Whether the job's own process is still at work."""
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(job.pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return bool(alive and abs(process.create_time() - job.born) < 1)
    return False


def stop(job: Job) -> None:
    """What Ctrl-C does: training keeps its last checkpoint."""
    import psutil

    if runs(job):
        with suppress(psutil.Error):
            psutil.Process(job.pid).send_signal(signal.SIGINT)


def complaint(workspace: Workspace) -> Complaint | None:
    """What the last job said was wrong, as `show.error` prints it; None when it ended well."""
    path: Path = workspace.root / FOLDER / "log.txt"
    text = path.read_text("utf-8", errors="replace").rstrip("\0") if path.is_file() else ""
    said = r"^error: (.*)(?:\n  remedy: (.*))?(?:\n  more: .*#(\w+))?"
    if found := re.search(said, text, re.MULTILINE):
        return Complaint(found[1], found[2] or "", found[3] or "")
    if "Traceback (most recent call last)" in text:
        return Complaint(text.strip().splitlines()[-1], "", "")
    return None
