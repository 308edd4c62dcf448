"""Which run is out: a list of releases in the workspace, one line each, never rewritten.

`release` is a gate (see `score.gate`); two at once wait for each other.
"""

from __future__ import annotations

import getpass
import json
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from .errors import GateError
from .records import Release, Report, digest
from .score import gate
from .workspace import Workspace, append_lines, dump, now, parse, read_lines

FILE = "releases.jsonl"


def history(workspace: Workspace) -> tuple[Release, ...]:
    """All releases, oldest first. A torn last line is passed over."""
    found = []
    for line in read_lines(workspace.root / FILE):
        with suppress(ValueError):
            found.append(parse(Release, json.loads(line)))
    return tuple(found)


def current(workspace: Workspace) -> Release | None:
    """The release in place."""
    found = history(workspace)
    return found[-1] if found else None


def release(
    workspace: Workspace,
    run: str,
    report: Report,
    previous: Report | None,
    *,
    allow_worse: float = 0.0,
    by: str = "",
) -> Release:
    """Lets a run out, or raises GateError with every reason why not.

    `previous` is the report of the release in place, on the same exam. `allow_worse` is the
    share of right answers that may be lost, 0 to 1.
    """
    reasons = gate(report, previous, allow_worse)
    if reasons:
        raise GateError(
            f"{run} is not released. {' '.join(reasons)}", "Mend these and train again."
        )
    return _write(workspace, Release(run, by or _who(), now(), digest(dump(report))))


def back(workspace: Workspace, by: str = "") -> Release:
    """Returns to the release before the one in place; going back twice goes back further."""
    with _lock(workspace):
        stack: list[Release] = []
        for record in history(workspace):
            if record.back and stack:
                stack.pop()
            elif not record.back:
                stack.append(record)
        if len(stack) < 2:
            raise GateError(
                "There is no earlier release to go back to.", "Release a run: `kefu release RUN`."
            )
        old = stack[-2]
        made = Release(old.run, by or _who(), now(), old.report_digest, back=True)
        return _write(workspace, made, held=True)


def _write(workspace: Workspace, record: Release, held: bool = False) -> Release:
    path = workspace.root / FILE
    line = json.dumps(dump(record), ensure_ascii=False)
    if held:
        append_lines(path, [line])
    else:
        with _lock(workspace):
            append_lines(path, [line])
    return record


def _lock(workspace: Workspace) -> FileLock:
    return FileLock(Path(workspace.root) / f".{FILE}.lock", timeout=30)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "somebody"
