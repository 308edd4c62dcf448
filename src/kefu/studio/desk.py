"""The owner's table on the desk: taken in, mended, filled up with wordings.

An adapter between a table of texts and the doors of the rooms. The owner's own file is never
written to: the table is a workbook in the workspace's folder `studio`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import jobs
from ..errors import FaqError
from ..faq import read, write
from ..records import Faq, Finding, Origin, Pair
from ..reword import Rewording, filled, reword
from ..workspace import Workspace
from .words import Say

FOLDER = "studio"
WORDINGS = 5
"""Wordings that a question is filled up to, for a person to read; see the design's figures."""
COLUMNS = ("finding", "question", "answer", "wordings", "topic", "must")
YES = ("yes", "y", "1", "true", "是", "✓", "v", "x")
SIGNS = {"stop": "✗", "warn": "▲", "note": "●"}


def on_desk(workspace: Workspace) -> Path | None:
    """The table in work: the one that was saved last."""
    found = list((workspace.root / FOLDER).glob("[!.~]*.xlsx"))
    return max(found, key=lambda p: p.stat().st_mtime) if found else None


def take_in(workspace: Workspace, file: Path) -> Path:
    """Reads any FAQ file and lays its table on the desk; tables that lie there stay."""
    faq = read(file)
    stem = re.sub(r"[^\w\-]+", "-", file.stem).strip("-")[:50] or "faq"
    to, number = workspace.root / FOLDER / f"{stem}.xlsx", 1
    while to.exists():
        number += 1
        to = to.with_name(f"{stem}-{number}.xlsx")
    return write(_in_order(faq), to)


def sample(workspace: Workspace) -> Path:
    """The FAQ that kefu.toml names, or the sample that `kefu init` makes."""
    jobs.init(workspace.root)
    return take_in(workspace, workspace.root / (workspace.settings().faq or "faq.csv"))


def save(file: Path, rows: Sequence[Sequence[Any]]) -> None:
    """The table as it stands in the browser: columns of `table`. Empty rows are left out."""
    pairs = []
    for i, cells in enumerate(rows, start=2):
        _, question, answer, wordings, topic, must = (str(c or "").strip() for c in cells[:6])
        if question or answer:
            others = tuple(w.strip() for w in re.split(r"[|｜\n]", wordings) if w.strip())
            origin, must_pass = Origin(file.name, i), must.lower() in YES
            pairs.append(Pair(question, answer, origin, others, topic or None, must_pass))
    if not pairs:
        raise FaqError("The table is empty.", "Write at least one question with its answer.")
    write(pairs, file)


def table(faq: Faq, findings: Sequence[Finding], say: Say) -> list[list[str]]:
    """Rows for the browser, in the order of COLUMNS; each begins with what was found in it."""
    marks: dict[int, str] = {}
    for finding in findings:
        mark = f"{SIGNS[finding.level]} {say('level_' + finding.level)}"
        for row in {o.row for o in finding.origins}:
            if mark not in marks.get(row, ""):
                marks[row] = f"{marks.get(row, '')} {mark}"
    return [
        [
            f"{p.origin.row} {marks.get(p.origin.row, ' ✓')}",
            *(p.question, p.answer, "|".join(p.wordings)),
            *(p.topic or "", "✓" if p.must_pass else ""),
        ]
        for p in _in_order(faq)
    ]


def _in_order(faq: Faq) -> list[Pair]:
    return sorted((*faq.pairs, *faq.incomplete), key=lambda p: (p.origin.file, p.origin.row))


def proposals(workspace: Workspace, file: Path) -> list[list[Any]]:
    """Wordings to read: whether to use it, the wording, the question."""
    made = reword(read(file), per_pair=WORDINGS, seed=workspace.settings().seed)
    return [[True, r.wording, r.pair_question] for r in made]


def accept(file: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Writes the ticked wordings into the table."""
    kept = [
        Rewording(str(question), str(wording).strip(), ())
        for use, wording, question in rows
        if use in (True, "true", "True") and str(wording or "").strip()
    ]
    if kept:
        write(filled(read(file), kept).pairs, file)
